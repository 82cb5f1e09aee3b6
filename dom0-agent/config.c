/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "config.h"

#include <fixgate/protocol.h>
#include <lib/util.h>

#include <arpa/inet.h>
#include <errno.h>
#include <ini.h>
#include <stddef.h>
#include <string.h>

#define LINE_MAX_BYTES 4200 /* a path of PATH_MAX with its key */

enum kind { KIND_NUMBER, KIND_BOOL, KIND_TEXT, KIND_OPTIONAL, KIND_PATH, KIND_ADDRESS, KIND_PORT };

struct key {
	const char *section, *name;
	enum kind kind;
	size_t offset; /* in struct fg_agent_config */
	uint32_t min, max; /* NUMBER */
	const char *no, *yes; /* BOOL */
	const char *fallback; /* as it would stand in the file; NULL: must be given */
};

#define AT(field) offsetof(struct fg_agent_config, field)
#define NUMBER(s, n, f, lo, hi, def)                                                                                   \
	{                                                                                                              \
		s, n, KIND_NUMBER, AT(f), lo, hi, NULL, NULL, def                                                      \
	}
#define CHOICE(s, n, f, no, yes, def)                                                                                  \
	{                                                                                                              \
		s, n, KIND_BOOL, AT(f), 0, 0, no, yes, def                                                             \
	}
#define VALUE(s, n, kind, f, def)                                                                                      \
	{                                                                                                              \
		s, n, kind, AT(f), 0, 0, NULL, NULL, def                                                               \
	}

static const struct key keys[] = {
	VALUE("server", "address", KIND_ADDRESS, server_address, NULL),
	VALUE("server", "port", KIND_PORT, server_port, "8443"),
	VALUE("server", "ca", KIND_PATH, server_ca, "/etc/fixgate/server-ca.pem"),
	VALUE("server", "cert", KIND_PATH, server_cert, "/etc/fixgate/agent.pem"),
	VALUE("server", "key", KIND_PATH, server_key, "/etc/fixgate/agent.key"),
	VALUE("trust", "dir", KIND_PATH, trust_dir, "/etc/fixgate/trust"),
	VALUE("agent", "state_dir", KIND_PATH, state_dir, "/var/lib/fixgate"),
	VALUE("agent", "run_dir", KIND_PATH, run_dir, "/run/fixgate"),
	VALUE("agent", "user", KIND_TEXT, user, "fixgate"),
	VALUE("agent", "net", KIND_PATH, net_program, "/usr/sbin/fixgate-net"),
	VALUE("fixvm", "kernel", KIND_PATH, fixvm_kernel, "/usr/lib/fixgate/fixvm/vmlinux"),
	VALUE("fixvm", "initrd", KIND_PATH, fixvm_initrd, "/usr/lib/fixgate/fixvm/initrd.img"),
	CHOICE("fixvm", "type", fixvm_pv, "auto", "pv", "auto"),
	NUMBER("fixvm", "memory_mb", fixvm_memory_mb, 64, 65536, "512"),
	NUMBER("fixvm", "vcpus", fixvm_vcpus, 1, 64, "1"),
	NUMBER("fixvm", "parallel", parallel, 1, 64, "1"),
	VALUE("fixvm", "layer_dir", KIND_PATH, layer_dir, ""), /* below state_dir, see finish() */
	CHOICE("toolstack", "xl", xl, "no", "yes", "yes"),
	VALUE("toolstack", "libvirt", KIND_OPTIONAL, libvirt_uri, "xen:///system"),
	CHOICE("policy", "release", release_after_health, "before-boot", "after-health", "before-boot"),
	CHOICE("policy", "on_failure", release_on_failure, "isolate", "release", "isolate"),
	CHOICE("policy", "on_health_failure", release_on_health_failure, "hold", "release", "hold"),
	CHOICE("policy", "inspect", inspect, "no", "yes", "yes"),
	NUMBER("deadlines", "shutdown", shutdown_s, 0, 86400, "60"),
	NUMBER("deadlines", "acpi", acpi_s, 0, 86400, "30"),
	NUMBER("deadlines", "destroy", destroy_s, 1, 86400, "60"),
	NUMBER("deadlines", "fixvm_boot", fixvm_boot_s, 1, 86400, "180"),
	NUMBER("deadlines", "download", download_s, 1, 604800, "3600"),
	NUMBER("deadlines", "health", health_s, 1, 86400, "300"),
};

struct reading {
	FILE *file;
	unsigned line;
	bool stop; /* an error was found: the rest of the file is not read */
	struct fg_agent_config *config;
	bool seen[FG_COUNT(keys)];
	bool seen_network[FG_NETWORKS_MAX][5];
	struct fg_error *err;
};

static int parse_number(const char *text, uint32_t min, uint32_t max, uint32_t *out, struct fg_error *err)
{
	char *end = NULL;
	unsigned long long n;

	errno = 0;
	n = strtoull(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end || errno)
		return fg_error_set(err, FG_EUSAGE, "'%s' is no number", text);
	if (n < min || n > max)
		return fg_error_set(err, FG_EUSAGE, "%s is not between %u and %u", text, min, max);
	*out = (uint32_t)n;
	return 0;
}

static int parse_address(const char *text, struct fg_ip *out, struct fg_error *err)
{
	struct fg_ip ip = { 0 };

	if (inet_pton(AF_INET, text, &ip.v4) == 1)
		ip.family = AF_INET;
	else if (inet_pton(AF_INET6, text, &ip.v6) == 1)
		ip.family = AF_INET6;
	else
		return fg_error_set(err, FG_EUSAGE, "'%s' is no IP address (names are not looked up)", text);
	*out = ip;
	return 0;
}

static void take_text(char **field, const char *value)
{
	free(*field);
	*field = value ? fg_strdup(value) : NULL;
}

static int apply(struct fg_agent_config *config, const struct key *key, const char *value, struct fg_error *err)
{
	void *field = (char *)config + key->offset;
	uint32_t n = 0;
	int rc;

	switch (key->kind) {
	case KIND_NUMBER:
		return parse_number(value, key->min, key->max, field, err);
	case KIND_PORT:
		rc = parse_number(value, 1, 65535, &n, err);
		if (rc == 0)
			*(uint16_t *)field = (uint16_t)n;
		return rc;
	case KIND_BOOL:
		if (strcmp(value, key->yes) != 0 && strcmp(value, key->no) != 0)
			return fg_error_set(err, FG_EUSAGE, "'%s' is neither '%s' nor '%s'", value, key->no, key->yes);
		*(bool *)field = strcmp(value, key->yes) == 0;
		return 0;
	case KIND_PATH:
		if (value[0] != '/')
			return fg_error_set(err, FG_EUSAGE, "'%s' is no absolute path", value);
		take_text(field, value);
		return 0;
	case KIND_TEXT:
		if (!value[0])
			return fg_error_set(err, FG_EUSAGE, "it is empty");
		take_text(field, value);
		return 0;
	case KIND_OPTIONAL:
		take_text(field, value[0] ? value : NULL);
		return 0;
	case KIND_ADDRESS:
		return parse_address(value, field, err);
	}
	return fg_error_set(err, FG_EBUG, "key '%s' of no kind", key->name);
}

/* The entry of "network <bridge>", made when it is new. */
static int network_of(struct fg_agent_config *config, const char *bridge, size_t *out, struct fg_error *err)
{
	size_t i = 0;

	if (!bridge[0] || strlen(bridge) >= IFNAMSIZ || strpbrk(bridge, " /"))
		return fg_error_set(err, FG_EUSAGE, "'%s' is no name of a bridge", bridge);
	while (i < config->n_networks && strcmp(config->networks[i].bridge, bridge) != 0)
		i++;
	if (i == FG_NETWORKS_MAX)
		return fg_error_set(err, FG_ELIMIT, "more than %d networks", FG_NETWORKS_MAX);
	if (i == config->n_networks) {
		snprintf(config->networks[i].bridge, IFNAMSIZ, "%s", bridge);
		config->n_networks++;
	}
	*out = i;
	return 0;
}

static int network_address(const char *value, int family, struct fg_ip *out, struct fg_error *err)
{
	struct fg_ip ip = { 0 };
	int rc = parse_address(value, &ip, err);

	if (rc < 0)
		return rc;
	if (ip.family != family)
		return fg_error_set(err, FG_EUSAGE, "'%s' is of the other address family", value);
	*out = ip;
	return 0;
}

static int set_network(struct reading *r, const char *bridge, const char *name, const char *value, struct fg_error *err)
{
	static const char *const names[] = { "prefix", "gateway", "prefix6", "gateway6", "dhcp" };
	size_t n = 0, which = 0;
	int rc = network_of(r->config, bridge, &n, err);

	if (rc < 0 || !name)
		return rc;
	while (which < FG_COUNT(names) && strcmp(names[which], name) != 0)
		which++;
	if (which == FG_COUNT(names))
		return fg_error_set(err, FG_EUSAGE, "unknown key");
	if (r->seen_network[n][which])
		return fg_error_set(err, FG_EUSAGE, "given twice");
	r->seen_network[n][which] = true;

	struct fg_network *net = &r->config->networks[n];
	if (which == 0)
		return parse_number(value, 1, 32, &net->prefix, err);
	if (which == 1)
		return network_address(value, AF_INET, &net->gateway, err);
	if (which == 2)
		return parse_number(value, 1, 128, &net->prefix6, err);
	if (which == 3)
		return network_address(value, AF_INET6, &net->gateway6, err);
	return network_address(value, AF_INET, &net->dhcp, err);
}

/* name NULL: a section begins (it may have no key, and must still be a known one). */
static int set_key(struct reading *r, const char *section, const char *name, const char *value, struct fg_error *err)
{
	bool known = false;

	if (strncmp(section, "network ", 8) == 0)
		return set_network(r, section + 8, name, value, err);
	for (size_t i = 0; i < FG_COUNT(keys); i++) {
		if (strcmp(keys[i].section, section) != 0)
			continue;
		known = true;
		if (!name || strcmp(keys[i].name, name) != 0)
			continue;
		if (r->seen[i])
			return fg_error_set(err, FG_EUSAGE, "given twice");
		r->seen[i] = true;
		return apply(r->config, &keys[i], value, err);
	}
	if (!known)
		return fg_error_set(err, FG_EUSAGE, "unknown section");
	return name ? fg_error_set(err, FG_EUSAGE, "unknown key") : 0;
}

/* ini_handler (ini.h): 1 = go on.  Also called by read_line, for sections, with name NULL. */
static int on_key(void *user, const char *section, const char *name, const char *value)
{
	struct reading *r = user;
	struct fg_error err = FG_ERROR_INIT;

	if (r->stop)
		return 0;
	if (set_key(r, section, name, value, &err) == 0)
		return 1;
	r->stop = true;
	if (name)
		fg_error_set(r->err, (enum fg_error_code)err.code, "line %u: [%s] %s: %s", r->line, section, name,
			     err.text);
	else
		fg_error_set(r->err, (enum fg_error_code)err.code, "line %u: [%s]: %s", r->line, section, err.text);
	return 0;
}

/* Debian's libinih does not report sections. */
static void see_section(struct reading *r, const char *line)
{
	const char *begin = line + strspn(line, " \t"), *end = strchr(begin, ']');
	char section[64];

	if (*begin != '[' || !end)
		return;
	snprintf(section, sizeof(section), "%.*s", (int)(end - begin - 1), begin + 1);
	on_key(r, section, NULL, NULL);
}

/* ini_reader (ini.h), like fgets; counts lines and refuses what libinih would cut in two. */
static char *read_line(char *out, int size, void *user)
{
	struct reading *r = user;
	size_t len;

	if (r->stop || !fgets(out, size, r->file))
		return NULL;
	r->line++;
	len = strlen(out);
	if (len + 1 == (size_t)size && out[len - 1] != '\n') {
		r->stop = true;
		fg_error_set(r->err, FG_ELIMIT, "line %u: longer than %d bytes", r->line, size - 2);
		return NULL;
	}
	see_section(r, out);
	return r->stop ? NULL : out;
}

static int finish(struct reading *r, struct fg_error *err)
{
	struct fg_agent_config *c = r->config;

	for (size_t i = 0; i < FG_COUNT(keys); i++) {
		if (r->seen[i])
			continue;
		if (!keys[i].fallback)
			return fg_error_set(err, FG_EUSAGE, "[%s] %s is missing", keys[i].section, keys[i].name);
		if (!keys[i].fallback[0])
			continue;
		int rc = apply(c, &keys[i], keys[i].fallback, err);
		if (rc < 0)
			return rc;
	}
	if (!c->layer_dir)
		c->layer_dir = fg_asprintf("%s/layers", c->state_dir);
	return 0;
}

static int load(const char *path, struct reading *r, struct fg_error *err)
{
	r->err = err;
	r->file = fopen(path, "re");
	if (!r->file)
		return fg_error_errno(err, errno == ENOENT ? FG_ENOTFOUND : FG_EIO, errno, "open");

	/* Settings of libinih are global; they are the same for all of our readers. */
	ini_max_line = LINE_MAX_BYTES;
	ini_allow_multiline = false;
	ini_stop_on_first_error = true;
	int bad = ini_parse_stream(read_line, r, on_key, r);
	int failed = ferror(r->file);
	fclose(r->file);
	if (r->stop)
		return err ? -err->code : -FG_EUSAGE;
	if (failed)
		return fg_error_set(err, FG_EIO, "reading failed");
	if (bad < 0)
		return fg_error_set(err, FG_ENOMEM, "out of memory");
	if (bad > 0)
		return fg_error_set(err, FG_EUSAGE, "line %d: neither [section] nor key = value", bad);
	return finish(r, err);
}

int fg_agent_config_load(const char *path, struct fg_agent_config **out, struct fg_error *err)
{
	struct fg_error own = FG_ERROR_INIT;
	struct fg_error *e = err ? err : &own;
	struct reading r = { .config = fg_calloc(1, sizeof(*r.config)) };
	int rc = load(path, &r, e);

	if (rc < 0) {
		fg_agent_config_free(r.config);
		fg_error_wrap(e, "%s", path);
		return rc;
	}
	*out = r.config;
	return 0;
}

void fg_agent_config_free(struct fg_agent_config *config)
{
	if (!config)
		return;
	free(config->server_ca);
	free(config->server_cert);
	free(config->server_key);
	free(config->trust_dir);
	free(config->state_dir);
	free(config->run_dir);
	free(config->user);
	free(config->net_program);
	free(config->fixvm_kernel);
	free(config->fixvm_initrd);
	free(config->layer_dir);
	free(config->libvirt_uri);
	free(config);
}
