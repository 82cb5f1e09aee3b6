/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "client.h"

#include <arpa/inet.h>
#include <lib/util.h>
#include <netinet/in.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int64_t fg_rate_take(const struct fg_rate *rate, int64_t *full_us, int64_t now_us)
{
	if (rate->per_s <= 0)
		return 0;
	int64_t token_us = 1000000 / rate->per_s > 0 ? 1000000 / rate->per_s : 1;
	int64_t from = *full_us > now_us ? *full_us : now_us;
	int64_t wait = from + token_us - now_us - rate->burst * token_us;

	if (wait > 0)
		return wait;
	*full_us = from + token_us;
	return 0;
}

void fg_client_address(const struct sockaddr_storage *ss, char out[FG_CLIENT_ADDRESS])
{
	char text[INET6_ADDRSTRLEN];

	snprintf(out, FG_CLIENT_ADDRESS, "?");
	if (ss->ss_family == AF_INET) {
		inet_ntop(AF_INET, &((const struct sockaddr_in *)ss)->sin_addr, out, FG_CLIENT_ADDRESS);
	} else if (ss->ss_family == AF_INET6) {
		struct in6_addr a = ((const struct sockaddr_in6 *)ss)->sin6_addr;
		if (IN6_IS_ADDR_V4MAPPED(&a)) {
			inet_ntop(AF_INET, a.s6_addr + 12, out, FG_CLIENT_ADDRESS);
			return;
		}
		memset(a.s6_addr + 8, 0, 8);
		if (inet_ntop(AF_INET6, &a, text, sizeof(text)))
			snprintf(out, FG_CLIENT_ADDRESS, "%s/64", text);
	}
}

static int by_key(const void *a, const void *b)
{
	return strcmp(((const struct fg_client *)a)->key, ((const struct fg_client *)b)->key);
}

void fg_clients_init(struct fg_clients *clients)
{
	*clients = (struct fg_clients){ .tree = NULL };
	TAILQ_INIT(&clients->idle);
}

static void forget(struct fg_clients *clients, struct fg_client *client)
{
	tdelete(client, &clients->tree, by_key);
	free(client);
}

static void idle_end(struct fg_clients *clients, struct fg_client *client)
{
	TAILQ_REMOVE(&clients->idle, client, idle);
	clients->n_idle--;
}

void fg_clients_release(struct fg_clients *clients)
{
	struct fg_client *client;

	while ((client = TAILQ_FIRST(&clients->idle))) {
		idle_end(clients, client);
		forget(clients, client);
	}
}

struct fg_client *fg_clients_get(struct fg_clients *clients, const char *key)
{
	struct fg_client *client = fg_calloc(1, sizeof(*client));

	snprintf(client->key, sizeof(client->key), "%s", key);
	struct fg_client **found = tsearch(client, &clients->tree, by_key);
	if (!found)
		abort();
	if (*found != client) {
		free(client);
		if ((*found)->n == 0)
			idle_end(clients, *found);
	}
	(*found)->n++;
	return *found;
}

void fg_clients_put(struct fg_clients *clients, struct fg_client *client, int64_t now_us)
{
	if (!client || --client->n > 0)
		return;
	if (client->full_us <= now_us) { /* as good as new */
		forget(clients, client);
		return;
	}
	TAILQ_INSERT_TAIL(&clients->idle, client, idle);
	if (++clients->n_idle <= FG_CLIENTS_IDLE_MAX)
		return;
	client = TAILQ_FIRST(&clients->idle);
	idle_end(clients, client);
	forget(clients, client);
}
