/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "config.h"

#include <errno.h>
#include <fixgate/catalogue.h>
#include <ini.h>
#include <lib/util.h>
#include <string.h>

static int number(const char *text, int64_t min, int64_t *out)
{
	char *end = NULL;

	errno = 0;
	long long n = strtoll(text, &end, 10);
	if (errno || end == text || *end || n < min)
		return 0;
	*out = n;
	return 1;
}

static int seconds(const char *text, int64_t *out)
{
	return number(text, 1, out) && *out <= FG_SERVER_DEADLINE_MAX_S;
}

static int on_key(void *user, const char *section, const char *name, const char *value)
{
	struct fg_server_config *c = user;

	if (strcmp(section, "server") != 0)
		return 0;
	if (!strcmp(name, "listen")) {
		if (c->n_listen == FG_SERVER_LISTEN_MAX)
			return 0;
		c->listen[c->n_listen++] = fg_strdup(value);
		return 1;
	}
	if (!strcmp(name, "url")) {
		free(c->url);
		c->url = fg_strdup(value);
		return 1;
	}
	if (!strcmp(name, "user")) {
		free(c->user);
		c->user = fg_strdup(value);
		return 1;
	}
	if (!strcmp(name, "workers"))
		return number(value, 1, &c->workers) && c->workers <= FG_SERVER_WORKERS_MAX;
	if (!strcmp(name, "connections_per_client"))
		return number(value, 1, &c->connections_per_client);
	if (!strcmp(name, "requests_per_s"))
		return number(value, 0, &c->requests.per_s) && c->requests.per_s <= FG_SERVER_RATE_MAX;
	if (!strcmp(name, "requests_burst"))
		return number(value, 1, &c->requests.burst) && c->requests.burst <= FG_SERVER_RATE_MAX;
	if (!strcmp(name, "handshakes_per_s"))
		return number(value, 0, &c->handshakes.per_s) && c->handshakes.per_s <= FG_SERVER_RATE_MAX;
	if (!strcmp(name, "handshakes_burst"))
		return number(value, 1, &c->handshakes.burst) && c->handshakes.burst <= FG_SERVER_RATE_MAX;
	if (!strcmp(name, "first_request_s"))
		return seconds(value, &c->first_request_s);
	if (!strcmp(name, "next_request_s"))
		return seconds(value, &c->next_request_s);
	if (!strcmp(name, "stall_s"))
		return seconds(value, &c->stall_s);
	if (!strcmp(name, "catalogue_lifetime_s"))
		return number(value, FG_SERVER_CATALOGUE_MIN_S, &c->catalogue_lifetime_s) &&
		       c->catalogue_lifetime_s <= FG_SERVER_CATALOGUE_MAX_S;
	if (!strcmp(name, "bundle_max_bytes"))
		return number(value, 1, &c->bundle_max_bytes);
	if (!strcmp(name, "connections_max"))
		return number(value, 1, &c->connections_max);
	return 0;
}

int fg_server_config_read(const char *dir, struct fg_server_config *out, struct fg_error *err)
{
	struct fg_server_config config = { .bundle_max_bytes = FG_SERVER_BUNDLE_MAX_DEFAULT,
					   .requests = { FG_SERVER_REQUESTS_PER_S, FG_SERVER_REQUESTS_BURST },
					   .handshakes = { FG_SERVER_HANDSHAKES_PER_S, FG_SERVER_HANDSHAKES_BURST },
					   .first_request_s = FG_SERVER_FIRST_S,
					   .next_request_s = FG_SERVER_NEXT_S,
					   .stall_s = FG_SERVER_STALL_S,
					   .catalogue_lifetime_s = FG_CATALOGUE_LIFETIME_S,
					   .connections_max = FG_SERVER_CONNECTIONS_DEFAULT,
					   .connections_per_client = FG_SERVER_PER_CLIENT_DEFAULT };
	fg_autofree char *path = fg_asprintf("%s/%s", dir, FG_SERVER_CONF);
	int line = ini_parse(path, on_key, &config);

	if (line) {
		fg_server_config_release(&config);
		if (line < 0)
			return fg_error_errno(err, FG_ENOTFOUND, errno, "%s", path);
		return fg_error_set(err, FG_EUSAGE, "%s:%d: unknown key or bad value", path, line);
	}
	*out = config;
	return 0;
}

void fg_server_config_release(struct fg_server_config *config)
{
	for (size_t i = 0; i < config->n_listen; i++)
		free(config->listen[i]);
	free(config->url);
	free(config->user);
	memset(config, 0, sizeof(*config));
}
