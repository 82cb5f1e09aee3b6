/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The catalogue's JSON: every key known, of the known type, each list sorted without doubles, so that there is one way to
 * write a catalogue and what is asked for is found by bisection.
 */
#include <fixgate/catalogue.h>
#include <lib/util.h>

#include <inttypes.h>
#include <string.h>

#define NAME_MAX_BYTES 256

static bool is_id(const char *s)
{
	size_t len = strlen(s);

	return len > 0 && len <= 128 && strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789.+-") == len &&
	       !strchr(".+-", s[0]);
}

/* Shown on terminals: printable ASCII and other languages' letters, no control characters (jansson checked the UTF-8). */
static bool is_name(const char *s)
{
	const unsigned char *p = (const unsigned char *)s;

	if (strlen(s) > NAME_MAX_BYTES)
		return false;
	for (; *p; p++)
		if (*p < 0x20 || *p == 0x7f || (*p == 0xc2 && p[1] < 0xa0) || (*p == 0xe2 && (p[1] & 0xfe) == 0x80))
			return false;
	return true;
}

static int known_keys(const json_t *obj, const char *where, const char *const *names, size_t n, struct fg_error *err)
{
	const char *key;
	json_t *value;

	if (!json_is_object(obj))
		return fg_error_set(err, FG_EFORMAT, "%s: no object", where);
	json_object_foreach ((json_t *)obj, key, value) {
		size_t i = 0;
		while (i < n && strcmp(key, names[i]) != 0)
			i++;
		if (i == n)
			return fg_error_set(err, FG_EFORMAT, "%s: key '%.64s' is not known", where, key);
	}
	return 0;
}

static int take_digest(const json_t *obj, const char *key, uint8_t out[FG_DIGEST_BYTES], struct fg_error *err)
{
	const char *hex = NULL;
	int rc = fg_json_string(obj, key, &hex, err);

	if (rc < 0)
		return rc;
	if (strspn(hex, "0123456789abcdef") != FG_DIGEST_HEX - 1 || strlen(hex) != FG_DIGEST_HEX - 1)
		return fg_error_set(err, FG_EFORMAT, "'%s' is no digest", key);
	return fg_hex_decode(hex, out, FG_DIGEST_BYTES, err);
}

static int take_id(const json_t *obj, struct fg_catalogue_fix *f, struct fg_error *err)
{
	const char *id = NULL;
	int64_t version = 0;
	int rc;

	if ((rc = fg_json_string(obj, "id", &id, err)) < 0 ||
	    (rc = fg_json_int(obj, "version", 1, INT64_MAX, &version, err)) < 0)
		return rc;
	if (!is_id(id))
		return fg_error_set(err, FG_EFORMAT, "'id' is no fix id");
	f->id = fg_strdup(id);
	f->version = (uint64_t)version;
	return 0;
}

static int fix_cmp(const void *a, const void *b)
{
	const struct fg_catalogue_fix *x = a, *y = b;
	int order = strcmp(x->id, y->id);

	return order ? order : (x->version > y->version) - (x->version < y->version);
}

static int take_fixes(const json_t *root, struct fg_catalogue *c, struct fg_error *err)
{
	static const char *const keys[] = { "id", "version", "head", "bundle" };
	json_t *list = NULL, *item;
	size_t i;
	int rc = fg_json_array(root, "fixes", FG_CATALOGUE_FIXES_MAX, &list, err);

	if (rc < 0)
		return rc;
	c->fixes = fg_calloc(json_array_size(list) + 1, sizeof(*c->fixes));
	json_array_foreach (list, i, item) {
		struct fg_catalogue_fix *f = &c->fixes[c->n_fixes++];
		if ((rc = known_keys(item, "fixes", keys, FG_COUNT(keys), err)) < 0 ||
		    (rc = take_id(item, f, err)) < 0 || (rc = take_digest(item, "head", f->head, err)) < 0 ||
		    (rc = take_digest(item, "bundle", f->bundle, err)) < 0)
			return rc;
		if (i > 0 && fix_cmp(f - 1, f) >= 0)
			return fg_error_set(err, FG_EFORMAT, "fixes: entry %zu is out of order", i + 1);
	}
	return 0;
}

static int take_withdrawn(const json_t *root, struct fg_catalogue *c, struct fg_error *err)
{
	static const char *const keys[] = { "id", "version" };
	json_t *list = NULL, *item;
	size_t i;
	int rc = fg_json_array(root, "withdrawn", FG_CATALOGUE_WITHDRAWN_MAX, &list, err);

	if (rc < 0)
		return rc;
	c->withdrawn = fg_calloc(json_array_size(list) + 1, sizeof(*c->withdrawn));
	json_array_foreach (list, i, item) {
		struct fg_catalogue_fix *f = &c->withdrawn[c->n_withdrawn++];
		if ((rc = known_keys(item, "withdrawn", keys, FG_COUNT(keys), err)) < 0 ||
		    (rc = take_id(item, f, err)) < 0)
			return rc;
		if (i > 0 && strcmp(f[-1].id, f->id) >= 0)
			return fg_error_set(err, FG_EFORMAT, "withdrawn: entry %zu is out of order", i + 1);
	}
	return 0;
}

static int take_revoked(const json_t *root, struct fg_catalogue *c, struct fg_error *err)
{
	static const char *const keys[] = { "key", "name" };
	json_t *list = NULL, *item;
	size_t i;
	int rc = fg_json_array(root, "revoked", FG_CATALOGUE_REVOKED_MAX, &list, err);

	if (rc < 0)
		return rc;
	c->revoked = fg_calloc(json_array_size(list) + 1, sizeof(*c->revoked));
	json_array_foreach (list, i, item) {
		struct fg_catalogue_revoked *r = &c->revoked[c->n_revoked++];
		const char *name = NULL;
		if ((rc = known_keys(item, "revoked", keys, FG_COUNT(keys), err)) < 0 ||
		    (rc = take_digest(item, "key", r->key, err)) < 0 ||
		    (rc = fg_json_string(item, "name", &name, err)) < 0)
			return rc;
		if (!is_name(name))
			return fg_error_set(err, FG_EFORMAT, "revoked: entry %zu has no valid name", i + 1);
		r->name = fg_strdup(name);
		if (i > 0 && memcmp(r[-1].key, r->key, FG_DIGEST_BYTES) >= 0)
			return fg_error_set(err, FG_EFORMAT, "revoked: entry %zu is out of order", i + 1);
	}
	return 0;
}

static int take_all(const json_t *root, struct fg_catalogue *c, struct fg_error *err)
{
	static const char *const keys[] = {
		"format", "version", "published", "expires", "fixes", "withdrawn", "revoked"
	};
	const char *published = NULL, *expires = NULL;
	int64_t number = 0;
	int rc;

	if ((rc = known_keys(root, "root", keys, FG_COUNT(keys), err)) < 0 ||
	    (rc = fg_json_int(root, "format", 1, 1, &number, err)) < 0 ||
	    (rc = fg_json_int(root, "version", 1, INT64_MAX, &number, err)) < 0 ||
	    (rc = fg_json_string(root, "published", &published, err)) < 0 ||
	    (rc = fg_time_parse(published, &c->published_s, err)) < 0 ||
	    (rc = fg_json_string(root, "expires", &expires, err)) < 0 ||
	    (rc = fg_time_parse(expires, &c->expires_s, err)) < 0)
		return rc;
	c->mark.version = (uint64_t)number;
	if (c->expires_s <= c->published_s)
		return fg_error_set(err, FG_EFORMAT, "'expires' is not after 'published'");
	if ((rc = take_fixes(root, c, err)) < 0 || (rc = take_withdrawn(root, c, err)) < 0)
		return rc;
	return take_revoked(root, c, err);
}

int fg_catalogue_parse(const void *bytes, size_t len, struct fg_catalogue **out, struct fg_error *err)
{
	fg_autojson json_t *root = NULL;

	if (len > FG_CATALOGUE_MAX)
		return fg_error_set(err, FG_ELIMIT, "catalogue: %zu bytes, at most %u are taken", len,
				    FG_CATALOGUE_MAX);
	struct fg_catalogue *c = fg_calloc(1, sizeof(*c));
	int rc = fg_json_parse(bytes, len, &root, err);
	if (rc == 0)
		rc = take_all(root, c, err);
	if (rc < 0) {
		fg_catalogue_free(c);
		fg_error_wrap(err, "catalogue");
		return rc;
	}
	*out = c;
	return 0;
}

static json_t *fixes_json(const struct fg_catalogue_fix *fixes, size_t n, bool digests)
{
	json_t *list = json_array();
	char head[FG_DIGEST_HEX], bundle[FG_DIGEST_HEX];

	for (size_t i = 0; i < n; i++) {
		json_t *item = json_pack("{s:s, s:I}", "id", fixes[i].id, "version", (json_int_t)fixes[i].version);
		if (digests) {
			fg_hex_encode(fixes[i].head, FG_DIGEST_BYTES, head);
			fg_hex_encode(fixes[i].bundle, FG_DIGEST_BYTES, bundle);
			json_object_set_new(item, "head", json_string(head));
			json_object_set_new(item, "bundle", json_string(bundle));
		}
		json_array_append_new(list, item);
	}
	return list;
}

char *fg_catalogue_text(const struct fg_catalogue *c)
{
	char published[21], expires[21], key[FG_DIGEST_HEX];
	json_t *revoked = json_array();

	for (size_t i = 0; i < c->n_revoked; i++) {
		fg_hex_encode(c->revoked[i].key, FG_DIGEST_BYTES, key);
		json_array_append_new(revoked, json_pack("{s:s, s:s}", "key", key, "name", c->revoked[i].name));
	}
	fg_time_format(c->published_s, published);
	fg_time_format(c->expires_s, expires);
	fg_autojson json_t *root =
		json_pack("{s:i, s:I, s:s, s:s, s:o, s:o, s:o}", "format", 1, "version", (json_int_t)c->mark.version,
			  "published", published, "expires", expires, "fixes", fixes_json(c->fixes, c->n_fixes, true),
			  "withdrawn", fixes_json(c->withdrawn, c->n_withdrawn, false), "revoked", revoked);
	return fg_json_dump(root);
}

void fg_catalogue_free(struct fg_catalogue *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->n_fixes; i++)
		free(c->fixes[i].id);
	for (size_t i = 0; i < c->n_withdrawn; i++)
		free(c->withdrawn[i].id);
	for (size_t i = 0; i < c->n_revoked; i++)
		free(c->revoked[i].name);
	free(c->fixes);
	free(c->withdrawn);
	free(c->revoked);
	free(c);
}

int fg_catalogue_mark_cmp(const struct fg_catalogue_mark *a, const struct fg_catalogue_mark *b)
{
	if (a->generation != b->generation)
		return a->generation > b->generation ? 1 : -1;
	return (a->version > b->version) - (a->version < b->version);
}

int fg_catalogue_admits(const struct fg_catalogue *c, const char *id, uint64_t version, const char *bundle,
			const uint8_t head[FG_DIGEST_BYTES], struct fg_error *err)
{
	const struct fg_catalogue_fix key = { .id = (char *)(uintptr_t)id, .version = version };
	const struct fg_catalogue_fix *f = bsearch(&key, c->fixes, c->n_fixes, sizeof(*c->fixes), fix_cmp);
	char digest[FG_DIGEST_HEX];

	for (size_t i = 0; i < c->n_withdrawn; i++)
		if (strcmp(c->withdrawn[i].id, id) == 0 && version <= c->withdrawn[i].version)
			return fg_error_set(err, FG_EUNTRUSTED, "fix %s version %" PRIu64 " was withdrawn", id,
					    version);
	if (!f)
		return fg_error_set(err, FG_EUNTRUSTED,
				    "fix %s version %" PRIu64 " is not in the catalogue (%" PRIu64 ".%" PRIu64 ")", id,
				    version, c->mark.generation, c->mark.version);
	fg_hex_encode(f->bundle, FG_DIGEST_BYTES, digest);
	if (strcmp(digest, bundle) != 0 || memcmp(f->head, head, FG_DIGEST_BYTES) != 0)
		return fg_error_set(err, FG_EUNTRUSTED, "the catalogue has another bundle as fix %s version %" PRIu64,
				    id, version);
	return 0;
}
