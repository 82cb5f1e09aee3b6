/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "check.h"

#include <lib/util.h>

#include <string.h>

static const char *const contexts[] = { [FG_CONTEXT_CHROOT] = "chroot", [FG_CONTEXT_OUTSIDE] = "outside" };

int fg_check_uuid(const char *text, struct fg_error *err)
{
	char canonical[FG_UUID_TEXT];

	if (fg_uuid_parse(text, canonical, NULL) < 0 || strcmp(canonical, text) != 0)
		return fg_error_set(err, FG_EFORMAT, "no UUID in lower case");
	return 0;
}

int fg_check_fix_id(const char *text, struct fg_error *err)
{
	static const char set[] = "abcdefghijklmnopqrstuvwxyz0123456789.+-";
	size_t len = strlen(text);

	if (len == 0 || len >= FG_FIX_ID_TEXT || strspn(text, set) != len || strchr(".+-", text[0]))
		return fg_error_set(err, FG_EFORMAT, "no fix id");
	return 0;
}

static int check_hex(const char *text, size_t min, size_t max, const char *what, struct fg_error *err)
{
	size_t len = strlen(text);

	if (len < min || len > max || len % 2 || strspn(text, "0123456789abcdef") != len)
		return fg_error_set(err, FG_EFORMAT, "no %s in lower-case hex", what);
	return 0;
}

int fg_check_digest(const char *text, struct fg_error *err)
{
	return check_hex(text, FG_DIGEST_HEX - 1, FG_DIGEST_HEX - 1, "SHA-256 digest", err);
}

int fg_check_token(const char *text, struct fg_error *err)
{
	return check_hex(text, 32, FG_TOKEN_TEXT - 1, "token", err);
}

/* A string of the object that passes check, copied. */
static int get_string(const json_t *obj, const char *key, int (*check)(const char *, struct fg_error *), char *out,
		      size_t size, struct fg_error *err)
{
	const char *text = NULL;
	int rc = fg_json_string(obj, key, &text, err);

	if (rc < 0)
		return rc;
	if ((rc = check(text, err)) < 0) {
		fg_error_wrap(err, "'%s'", key);
		return rc;
	}
	if (strlen(text) >= size)
		return fg_error_set(err, FG_ELIMIT, "'%s' is too long", key);
	snprintf(out, size, "%s", text);
	return 0;
}

int fg_offer_parse_bundle(const json_t *json, struct fg_offer_terms *out, struct fg_error *err)
{
	struct fg_offer_terms o = { 0 };
	int64_t version = 0, bytes = 0;
	int rc;

	if ((rc = get_string(json, "fix", fg_check_fix_id, o.fix, sizeof(o.fix), err)) < 0 ||
	    (rc = fg_json_int(json, "version", 1, INT64_MAX, &version, err)) < 0 ||
	    (rc = get_string(json, "digest", fg_check_digest, o.digest, sizeof(o.digest), err)) < 0 ||
	    (rc = fg_json_int(json, "bytes", FG_BUNDLE_HEADER_BYTES, FG_BUNDLE_HEAD_MAX + FG_BUNDLE_PAYLOAD_MAX, &bytes,
			      err)) < 0)
		return rc;
	o.version = (uint64_t)version;
	o.bytes = (uint64_t)bytes;
	*out = o;
	return 0;
}

int fg_offer_parse(const json_t *json, struct fg_offer_terms *out, struct fg_error *err)
{
	struct fg_offer_terms o = { 0 };
	int64_t seq = 0;
	char guest[sizeof(o.guest)];
	int rc;

	if ((rc = fg_offer_parse_bundle(json, &o, err)) < 0 ||
	    (rc = fg_json_int(json, "seq", 1, INT64_MAX, &seq, err)) < 0 ||
	    (rc = get_string(json, "guest", fg_check_uuid, guest, sizeof(guest), err)) < 0)
		return rc;
	o.seq = seq;
	memcpy(o.guest, guest, sizeof(guest));
	*out = o;
	return 0;
}

int fg_offer_cancelled_parse(const json_t *json, struct fg_offer_cancelled *out, struct fg_error *err)
{
	struct fg_offer_cancelled c = { 0 };
	int rc;

	if ((rc = fg_json_int(json, "seq", 1, INT64_MAX, &c.seq, err)) < 0 ||
	    (rc = get_string(json, "guest", fg_check_uuid, c.guest, sizeof(c.guest), err)) < 0 ||
	    (rc = get_string(json, "fix", fg_check_fix_id, c.fix, sizeof(c.fix), err)) < 0)
		return rc;
	*out = c;
	return 0;
}

bool fg_offer_is_cancelled(const struct fg_offer_terms *offer, const struct fg_offer_cancelled *c)
{
	return offer->seq <= c->seq && strcmp(offer->guest, c->guest) == 0 && strcmp(offer->fix, c->fix) == 0;
}

json_t *fg_offer_json(const struct fg_offer_terms *offer)
{
	json_t *json = json_pack("{s:I, s:s, s:s, s:I, s:s, s:I}", "seq", (json_int_t)offer->seq, "guest", offer->guest,
				 "fix", offer->fix, "version", (json_int_t)offer->version, "digest", offer->digest,
				 "bytes", (json_int_t)offer->bytes);
	if (!json)
		abort();
	return json;
}

static int check_title(const char *text, struct fg_error *err)
{
	for (const char *p = text; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			return fg_error_set(err, FG_EFORMAT, "control characters");
	return 0;
}

static int check_severity(const char *text, struct fg_error *err)
{
	static const char *const known[] = { "low", "moderate", "important", "critical" };

	for (size_t i = 0; i < FG_COUNT(known); i++)
		if (strcmp(known[i], text) == 0)
			return 0;
	return fg_error_set(err, FG_EFORMAT, "no severity");
}

static int get_context(const json_t *obj, enum fg_context *out, struct fg_error *err)
{
	const char *text = NULL;
	int rc = fg_json_string(obj, "context", &text, err);

	if (rc < 0)
		return rc;
	for (size_t i = 0; i < FG_COUNT(contexts); i++)
		if (strcmp(contexts[i], text) == 0) {
			*out = (enum fg_context)i;
			return 0;
		}
	return fg_error_set(err, FG_EFORMAT, "'context' is neither chroot nor outside");
}

static int get_manifest(const json_t *m, struct fg_head_verified *v, struct fg_error *err)
{
	int64_t version = 0, timeout = 0, payload = 0;
	int rc;

	if ((rc = get_string(m, "id", fg_check_fix_id, v->fix, sizeof(v->fix), err)) < 0 ||
	    (rc = fg_json_int(m, "version", 1, INT64_MAX, &version, err)) < 0 ||
	    (rc = fg_json_int(m, "timeout_s", 1, 86400, &timeout, err)) < 0 ||
	    (rc = get_context(m, &v->context, err)) < 0 ||
	    (rc = fg_json_int(m, "payload_bytes", 0, (int64_t)FG_BUNDLE_PAYLOAD_MAX, &payload, err)) < 0 ||
	    (rc = get_string(m, "title", check_title, v->title, sizeof(v->title), err)) < 0 ||
	    (rc = get_string(m, "severity", check_severity, v->severity, sizeof(v->severity), err)) < 0 ||
	    (rc = fg_json_int(m, "expires_s", 0, INT64_MAX, &v->expires_s, err)) < 0)
		return rc;
	v->version = (uint64_t)version;
	v->timeout_s = (uint32_t)timeout;
	v->payload_bytes = (uint64_t)payload;
	return 0;
}

/* ".../<digest>.head"; only the last part is taken, the folder is known. */
static int get_file(const json_t *message, struct fg_head_verified *v, struct fg_error *err)
{
	const char *path = NULL, *name;
	int rc = fg_json_string(message, "path", &path, err);

	if (rc < 0)
		return rc;
	name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
	size_t len = strlen(name), digest = FG_DIGEST_HEX - 1;
	if (len != digest + 5 || strspn(name, "0123456789abcdef") != digest || strcmp(name + digest, ".head") != 0)
		return fg_error_set(err, FG_EFORMAT, "'path' does not end in <digest>.head");
	snprintf(v->file, sizeof(v->file), "%s", name);
	return 0;
}

int fg_mark_parse(const json_t *json, struct fg_catalogue_mark *out, struct fg_error *err)
{
	int64_t generation = 0, version = 0;
	int rc = 0;

	if (json && ((rc = fg_json_int(json, "generation", 0, INT64_MAX, &generation, err)) < 0 ||
		     (rc = fg_json_int(json, "version", 0, INT64_MAX, &version, err)) < 0)) {
		fg_error_wrap(err, "'catalogue'");
		return rc;
	}
	*out = (struct fg_catalogue_mark){ (uint64_t)generation, (uint64_t)version };
	return 0;
}

json_t *fg_mark_json(const struct fg_catalogue_mark *mark)
{
	return json_pack("{s:I, s:I}", "generation", (json_int_t)mark->generation, "version",
			 (json_int_t)mark->version);
}

int fg_head_verified_parse(const json_t *message, struct fg_head_verified *out, struct fg_error *err)
{
	struct fg_head_verified v = { 0 };
	json_t *manifest = NULL, *catalogue = NULL;
	char digest[FG_DIGEST_HEX];
	int rc;

	if ((rc = get_string(message, "head_digest", fg_check_digest, digest, sizeof(digest), err)) < 0 ||
	    (rc = fg_hex_decode(digest, v.head_digest, FG_DIGEST_BYTES, err)) < 0 ||
	    (rc = fg_json_object(message, "manifest", &manifest, err)) < 0 ||
	    (rc = get_manifest(manifest, &v, err)) < 0 || (rc = get_file(message, &v, err)) < 0 ||
	    (rc = fg_json_object(message, "catalogue", &catalogue, err)) < 0 ||
	    (rc = fg_mark_parse(catalogue, &v.catalogue, err)) < 0)
		return rc;
	*out = v;
	return 0;
}

json_t *fg_head_summary_json(const struct fg_manifest *m)
{
	json_t *json = json_pack("{s:s, s:I, s:I, s:s, s:I, s:s, s:s, s:I}", "id", m->id, "version",
				 (json_int_t)m->version, "timeout_s", (json_int_t)m->timeout_s, "context",
				 contexts[m->context], "payload_bytes", (json_int_t)m->payload_bytes, "title", m->title,
				 "severity", m->severity, "expires_s", (json_int_t)m->expires_s);
	if (!json)
		abort(); /* the manifest's strings are UTF-8 (bundle.h) */
	return json;
}

/* Brackets outside of strings; what is no JSON is left to the parser. */
static int check_depth(const char *text, size_t len, struct fg_error *err)
{
	unsigned depth = 0;
	bool in_string = false;

	for (size_t i = 0; i < len; i++) {
		char c = text[i];
		if (in_string && c == '\\')
			i++;
		else if (c == '"')
			in_string = !in_string;
		else if (!in_string && (c == '{' || c == '[') && ++depth > FG_NET_JSON_DEPTH)
			return fg_error_set(err, FG_ELIMIT, "JSON is nested deeper than %d", FG_NET_JSON_DEPTH);
		else if (!in_string && (c == '}' || c == ']') && depth > 0)
			depth--;
	}
	return 0;
}

int fg_check_json(const char *text, size_t len, json_t **out, struct fg_error *err)
{
	fg_autojson json_t *value = NULL;
	int rc = check_depth(text, len, err);

	if (rc < 0 || (rc = fg_json_parse(text, len, &value, err)) < 0)
		return rc;
	if (!json_is_object(value))
		return fg_error_set(err, FG_EFORMAT, "no JSON object");
	*out = FG_TAKE(value);
	return 0;
}
