/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fixvm/init/job.h"

#include "lib/util.h"

#include <arpa/inet.h>
#include <string.h>

static const char *const keys_top[] = { "format", "mode", "job",    "nonce", "now_s",	      "guest", "name",
					"server", "net",  "bundle", "disks", "closed_wait_s", NULL };
static const char *const keys_server[] = { "host", "port", "token", NULL };
static const char *const keys_net[] = { "mac", "mode", "address", "gateway", "neighbours", NULL };
static const char *const keys_neighbour[] = { "address", "mac", NULL };
static const char *const keys_bundle[] = { "digest", "head_digest", NULL };
static const char *const keys_disk[] = { "vdev", "mode", NULL };

static int check_keys(const json_t *obj, const char *const *keys, const char *where, struct fg_error *err)
{
	const char *key;
	json_t *value;

	if (!json_is_object(obj))
		return fg_error_set(err, FG_EFORMAT, "%s: not an object", where);
	json_object_foreach ((json_t *)obj, key, value) {
		const char *const *k = keys;

		while (*k && strcmp(*k, key) != 0)
			k++;
		if (!*k)
			return fg_error_set(err, FG_EFORMAT, "%s: unknown key \"%s\"", where, key);
	}
	return 0;
}

/* Text of at most size - 1 bytes, all of them in the set, not empty (set NULL: any but control characters, or empty). */
static int copy_text(const json_t *obj, const char *key, char *out, size_t size, const char *set, struct fg_error *err)
{
	const char *s;
	int rc = fg_json_string(obj, key, &s, err);

	if (rc)
		return rc;
	size_t len = strlen(s);
	if ((!len && set) || len >= size)
		return fg_error_set(err, FG_EFORMAT, "\"%s\": %zu characters, limit %zu", key, len, size - 1);
	for (size_t i = 0; i < len; i++) {
		if (set ? !strchr(set, s[i]) : ((unsigned char)s[i] < 0x20 || s[i] == 0x7f))
			return fg_error_set(err, FG_EFORMAT, "\"%s\": character not allowed at %zu", key, i);
	}
	memcpy(out, s, len + 1);
	return 0;
}

int fg_job_address_parse(const char *text, bool prefix, struct fg_job_address *out, struct fg_error *err)
{
	struct fg_job_address a = { .prefix = 0 };
	const char *slash = strchr(text, '/');
	char host[INET6_ADDRSTRLEN];

	if (!slash != !prefix)
		return fg_error_set(err, FG_EFORMAT, prefix ? "no /prefix" : "unexpected /");
	size_t len = slash ? (size_t)(slash - text) : strlen(text);
	if (len >= sizeof(host))
		return fg_error_set(err, FG_EFORMAT, "not an address");
	snprintf(host, sizeof(host), "%.*s", (int)len, text);
	a.family = strchr(host, ':') ? AF_INET6 : AF_INET;
	if (inet_pton(a.family, host, a.bytes) != 1)
		return fg_error_set(err, FG_EFORMAT, "not an address: %s", host);
	inet_ntop(a.family, a.bytes, a.text, sizeof(a.text));
	unsigned bits = a.family == AF_INET6 ? 128 : 32;
	a.prefix = bits;
	if (slash) {
		char *end;

		a.prefix = (unsigned)strtoul(slash + 1, &end, 10);
		if (slash[1] < '0' || slash[1] > '9' || *end || a.prefix > bits)
			return fg_error_set(err, FG_EFORMAT, "prefix length %s", slash + 1);
	}
	*out = a;
	return 0;
}

static int copy_address(const json_t *obj, const char *key, bool prefix, struct fg_job_address *out,
			struct fg_error *err)
{
	char text[INET6_ADDRSTRLEN + 4];
	int rc = copy_text(obj, key, text, sizeof(text), "0123456789abcdefABCDEF:./", err);

	if (rc)
		return rc;
	rc = fg_job_address_parse(text, prefix, out, err);
	if (rc)
		fg_error_wrap(err, "\"%s\"", key);
	return rc;
}

static int copy_mac(const json_t *obj, uint8_t out[6], struct fg_error *err)
{
	const char *s;
	int rc = fg_json_string(obj, "mac", &s, err);

	return rc ? rc : fg_mac_parse(s, out, err);
}

static int copy_uuid(const json_t *obj, const char *key, char out[FG_UUID_TEXT], struct fg_error *err)
{
	const char *s;
	int rc = fg_json_string(obj, key, &s, err);

	return rc ? rc : fg_uuid_parse(s, out, err);
}

static int copy_digest(const json_t *obj, const char *key, uint8_t out[FG_DIGEST_BYTES], struct fg_error *err)
{
	const char *s;
	int rc = fg_json_string(obj, key, &s, err);

	return rc ? rc : fg_hex_decode(s, out, FG_DIGEST_BYTES, err);
}

static int parse_server(const json_t *top, struct fg_job *job, struct fg_error *err)
{
	json_t *obj;
	int64_t port;
	int rc = fg_json_object(top, "server", &obj, err);

	if (!rc)
		rc = check_keys(obj, keys_server, "server", err);
	if (!rc)
		rc = copy_address(obj, "host", false, &job->server, err);
	if (!rc)
		rc = fg_json_int(obj, "port", 1, 65535, &port, err);
	if (!rc)
		rc = copy_text(obj, "token", job->token, sizeof(job->token),
			       "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-._~+/=", err);
	if (!rc)
		job->port = (uint16_t)port;
	return rc;
}

static int parse_neighbours(const json_t *net, struct fg_job *job, struct fg_error *err)
{
	json_t *list, *obj;
	size_t i;

	if (!json_object_get(net, "neighbours"))
		return 0;
	int rc = fg_json_array(net, "neighbours", FG_JOB_NEIGHBOURS_MAX, &list, err);
	if (rc)
		return rc;
	json_array_foreach (list, i, obj) {
		rc = check_keys(obj, keys_neighbour, "neighbours", err);
		if (!rc)
			rc = copy_address(obj, "address", false, &job->neighbours[i].address, err);
		if (!rc)
			rc = copy_mac(obj, job->neighbours[i].mac, err);
		if (rc)
			return rc;
		job->n_neighbours++;
	}
	return 0;
}

static int parse_net(const json_t *top, struct fg_job *job, struct fg_error *err)
{
	json_t *obj;
	const char *mode;
	int rc = fg_json_object(top, "net", &obj, err);

	if (!rc)
		rc = check_keys(obj, keys_net, "net", err);
	if (!rc)
		rc = copy_mac(obj, job->mac, err);
	if (!rc)
		rc = fg_json_string(obj, "mode", &mode, err);
	if (rc)
		return rc;
	job->dhcp = !strcmp(mode, "dhcp");
	if (!job->dhcp && strcmp(mode, "static") != 0)
		return fg_error_set(err, FG_EFORMAT, "\"mode\": %s", mode);
	if (job->dhcp && (json_object_get(obj, "address") || json_object_get(obj, "gateway")))
		return fg_error_set(err, FG_EFORMAT, "\"address\" or \"gateway\" with mode dhcp");
	if (!job->dhcp)
		rc = copy_address(obj, "address", true, &job->address, err);
	json_t *gateway = json_object_get(obj, "gateway");
	if (!rc && gateway && !json_is_null(gateway))
		rc = copy_address(obj, "gateway", false, &job->gateway, err);
	if (rc)
		return rc;
	if (!job->dhcp && (job->address.family != job->server.family ||
			   (job->gateway.family && job->gateway.family != job->server.family)))
		return fg_error_set(err, FG_EFORMAT, "server, address and gateway of different families");
	return parse_neighbours(obj, job, err);
}

static int parse_disks(const json_t *top, struct fg_job *job, struct fg_error *err)
{
	json_t *list, *obj;
	size_t i;
	int rc = fg_json_array(top, "disks", FG_JOB_DISKS_MAX, &list, err);

	if (rc)
		return rc;
	json_array_foreach (list, i, obj) {
		struct fg_job_disk *d = &job->disks[i];
		char mode[2];

		rc = check_keys(obj, keys_disk, "disks", err);
		if (!rc)
			rc = copy_text(obj, "vdev", d->vdev, sizeof(d->vdev), "abcdefghijklmnopqrstuvwxyz0123456789",
				       err);
		if (!rc)
			rc = copy_text(obj, "mode", mode, sizeof(mode), "rw", err);
		if (rc)
			return rc;
		d->writable = mode[0] == 'w';
		if (d->writable && job->inspect)
			return fg_error_set(err, FG_EFORMAT, "disk %s is writable in mode inspect", d->vdev);
		job->n_disks++;
	}
	return job->n_disks ? 0 : fg_error_set(err, FG_EFORMAT, "no disk");
}

static int parse_identity(const json_t *top, struct fg_job *job, struct fg_error *err)
{
	int64_t format;
	const char *mode;
	uint8_t bytes[FG_DIGEST_BYTES];
	int rc = fg_json_int(top, "format", 1, 1, &format, err);

	if (!rc)
		rc = fg_json_string(top, "mode", &mode, err);
	if (rc)
		return rc;
	job->inspect = !strcmp(mode, "inspect");
	if (!job->inspect && strcmp(mode, "fix") != 0)
		return fg_error_set(err, FG_EFORMAT, "\"mode\": %s", mode);
	rc = copy_uuid(top, "job", job->job, err);
	if (!rc)
		rc = copy_uuid(top, "guest", job->guest, err);
	if (!rc)
		rc = copy_text(top, "name", job->name, sizeof(job->name), NULL, err);
	if (!rc)
		rc = copy_text(top, "nonce", job->nonce, sizeof(job->nonce), "0123456789abcdef", err);
	if (!rc)
		rc = fg_hex_decode(job->nonce, bytes, FG_FIXVM_NONCE_HEX / 2, err);
	if (!rc)
		rc = fg_json_int(top, "now_s", 1, 1ll << 40, &job->now_s, err);
	if (!rc)
		rc = fg_json_int_opt(top, "closed_wait_s", 1, 3600, FG_JOB_CLOSED_WAIT_S, &job->closed_wait_s, err);
	return rc;
}

static int parse_bundle(const json_t *top, struct fg_job *job, struct fg_error *err)
{
	json_t *obj;
	uint8_t bytes[FG_DIGEST_BYTES];
	int rc = fg_json_object(top, "bundle", &obj, err);

	if (!rc)
		rc = check_keys(obj, keys_bundle, "bundle", err);
	if (!rc)
		rc = copy_digest(obj, "digest", bytes, err);
	if (!rc)
		rc = copy_digest(obj, "head_digest", job->head_digest, err);
	if (!rc)
		fg_hex_encode(bytes, sizeof(bytes), job->digest);
	return rc;
}

int fg_job_parse(const char *text, size_t len, struct fg_job *out, struct fg_error *err)
{
	fg_autojson json_t *top = NULL;
	fg_autofree struct fg_job *job = fg_calloc(1, sizeof(*job));
	int rc = len > FG_JOB_BYTES_MAX ? fg_error_set(err, FG_ELIMIT, "%zu bytes, limit %u", len, FG_JOB_BYTES_MAX)
					: fg_json_parse(text, len, &top, err);

	if (!rc)
		rc = check_keys(top, keys_top, "job", err);
	if (!rc)
		rc = parse_identity(top, job, err);
	if (!rc && job->inspect && (json_object_get(top, "server") || json_object_get(top, "net")))
		rc = fg_error_set(err, FG_EFORMAT, "\"server\" or \"net\" in mode inspect");
	if (!rc && !job->inspect)
		rc = parse_server(top, job, err);
	if (!rc && !job->inspect)
		rc = parse_net(top, job, err);
	if (!rc)
		rc = parse_bundle(top, job, err);
	if (!rc)
		rc = parse_disks(top, job, err);
	if (rc)
		return rc;
	*out = *job;
	return 0;
}
