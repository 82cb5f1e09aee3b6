/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The manifest: JSON whose every key is known, of the known type, within limits.  Strict on purpose: a reader that
 * guesses what a signed sentence means is a reader that can be led to guess.  The schema has four levels, so nothing
 * deeper than that gets through; jansson itself stops at depth 2048.  docs/bundle.md lists the keys.
 */
#include <fixgate/bundle.h>
#include <lib/util.h>

#include <string.h>

#define TITLE_MAX 200
#define TOKEN_MAX 256
#define PATH_TEXT_MAX 1024

typedef bool (*grammar_fn)(const char *s, size_t len);

static bool is_lower_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_alnum(char c)
{
	return is_lower_alnum(c) || (c >= 'A' && c <= 'Z');
}

static bool only(const char *s, size_t len, const char *others)
{
	for (size_t i = 0; i < len; i++)
		if (!is_alnum(s[i]) && !strchr(others, s[i]))
			return false;
	return len > 0;
}

static bool is_id(const char *s, size_t len)
{
	if (len > 128 || len == 0 || !is_lower_alnum(s[0]))
		return false;
	for (size_t i = 0; i < len; i++)
		if (!is_lower_alnum(s[i]) && !strchr(".+-", s[i]))
			return false;
	return true;
}

static bool is_token(const char *s, size_t len)
{
	return len <= TOKEN_MAX && only(s, len, ".+-_") && is_alnum(s[0]);
}

static bool is_version(const char *s, size_t len)
{
	return len <= TOKEN_MAX && only(s, len, ".+-_~^:") && is_alnum(s[0]);
}

static bool is_severity(const char *s, size_t len)
{
	static const char *const known[] = { "low", "moderate", "important", "critical" };

	(void)len;
	for (size_t i = 0; i < FG_COUNT(known); i++)
		if (strcmp(s, known[i]) == 0)
			return true;
	return false;
}

/*
 * No control characters (C0, DEL, C1), no line or paragraph separator, nothing that reorders a line: titles are
 * shown on terminals.  jansson has checked the UTF-8 and refused NULs.
 */
static bool is_text(const char *s, size_t len)
{
	const unsigned char *p = (const unsigned char *)s;

	for (size_t i = 0; i < len; i++) {
		if (p[i] < 0x20 || p[i] == 0x7f)
			return false;
		if (p[i] == 0xc2 && p[i + 1] < 0xa0) /* U+0080..9F */
			return false;
		if (p[i] == 0xe2 && p[i + 1] == 0x80 && p[i + 2] >= 0xa8 && p[i + 2] <= 0xae) /* U+2028..2E */
			return false;
		if (p[i] == 0xe2 && p[i + 1] == 0x81 && p[i + 2] >= 0xa6 && p[i + 2] <= 0xa9) /* U+2066..69 */
			return false;
	}
	return true;
}

static bool is_title(const char *s, size_t len)
{
	return len > 0 && len <= TITLE_MAX && is_text(s, len);
}

/* "a/b/c": no empty part, no "." or "..". */
static bool is_relative_path(const char *s, size_t len)
{
	if (len == 0 || len > PATH_TEXT_MAX || !is_text(s, len))
		return false;
	for (const char *part = s;; part++) {
		size_t n = strcspn(part, "/");
		if (n == 0 || (n == 1 && part[0] == '.') || (n == 2 && part[0] == '.' && part[1] == '.'))
			return false;
		part += n;
		if (!*part)
			return true;
	}
}

static bool is_absolute_path(const char *s, size_t len)
{
	return s[0] == '/' && is_relative_path(s + 1, len - 1);
}

static bool is_sha256(const char *s, size_t len)
{
	return len == FG_DIGEST_HEX - 1 && strspn(s, "0123456789abcdef") == len;
}

/* Every key is in the list and none is null. */
static int known_keys(const json_t *obj, const char *where, const char *const *names, size_t n, struct fg_error *err)
{
	const char *key;
	json_t *value;

	json_object_foreach ((json_t *)obj, key, value) {
		size_t i = 0;
		while (i < n && strcmp(key, names[i]) != 0)
			i++;
		if (i == n)
			return fg_error_set(err, FG_EFORMAT, "%s: key '%.64s' is not known", where, key);
		if (json_is_null(value))
			return fg_error_set(err, FG_EFORMAT, "%s: '%s' is null", where, key);
	}
	return 0;
}

static int take_string_opt(const json_t *obj, const char *key, grammar_fn ok, char **out, struct fg_error *err)
{
	const char *s = NULL;
	int rc = fg_json_string_opt(obj, key, &s, err);

	if (rc < 0 || !s)
		return rc;
	if (!ok(s, strlen(s)))
		return fg_error_set(err, FG_EFORMAT, "'%s' has no valid value", key);
	*out = fg_strdup(s);
	return 0;
}

static int take_string(const json_t *obj, const char *key, grammar_fn ok, char **out, struct fg_error *err)
{
	int rc = take_string_opt(obj, key, ok, out, err);

	if (rc == 0 && !*out)
		return fg_error_set(err, FG_EFORMAT, "'%s' is missing", key);
	return rc;
}

/* An absent list is an empty one. */
static int list_opt(const json_t *obj, const char *key, json_t **out, struct fg_error *err)
{
	*out = NULL;
	if (!json_object_get(obj, key))
		return 0;
	return fg_json_array(obj, key, FG_MANIFEST_LIST_MAX, out, err);
}

static int take_list(const json_t *obj, const char *key, grammar_fn ok, char ***out, size_t *n_out,
		     struct fg_error *err)
{
	json_t *list = NULL, *item;
	size_t i;
	int rc = list_opt(obj, key, &list, err);

	if (rc < 0 || !list)
		return rc;
	*out = fg_calloc(json_array_size(list), sizeof(**out));
	json_array_foreach (list, i, item) {
		const char *s = json_string_value(item);
		if (!s || !ok(s, strlen(s)))
			return fg_error_set(err, FG_EFORMAT, "'%s' entry %zu has no valid value", key, i + 1);
		(*out)[(*n_out)++] = fg_strdup(s);
	}
	return 0;
}

static int take_os(const json_t *applies, struct fg_manifest *m, struct fg_error *err)
{
	static const char *const keys[] = { "id", "version" };
	json_t *list = NULL, *item;
	size_t i;
	int rc = list_opt(applies, "os", &list, err);

	if (rc < 0 || !list)
		return rc;
	m->os = fg_calloc(json_array_size(list), sizeof(*m->os));
	json_array_foreach (list, i, item) {
		struct fg_rule_os *rule = &m->os[m->n_os++];
		if ((rc = known_keys(item, "os", keys, FG_COUNT(keys), err)) < 0 ||
		    (rc = take_string(item, "id", is_token, &rule->id, err)) < 0 ||
		    (rc = take_string_opt(item, "version", is_version, &rule->version, err)) < 0)
			return rc;
	}
	return 0;
}

static int take_packages(const json_t *applies, struct fg_manifest *m, struct fg_error *err)
{
	static const char *const keys[] = { "type", "name", "less_than" };
	json_t *list = NULL, *item;
	size_t i;
	int rc = list_opt(applies, "packages", &list, err);

	if (rc < 0 || !list)
		return rc;
	m->packages = fg_calloc(json_array_size(list), sizeof(*m->packages));
	json_array_foreach (list, i, item) {
		struct fg_rule_package *rule = &m->packages[m->n_packages++];
		if ((rc = known_keys(item, "packages", keys, FG_COUNT(keys), err)) < 0 ||
		    (rc = take_string(item, "type", is_token, &rule->type, err)) < 0 ||
		    (rc = take_string(item, "name", is_token, &rule->name, err)) < 0 ||
		    (rc = take_string(item, "less_than", is_version, &rule->less_than, err)) < 0)
			return rc;
		if (strcmp(rule->type, "dpkg") != 0 && strcmp(rule->type, "rpm") != 0)
			return fg_error_set(err, FG_EFORMAT, "package type '%.32s' is not known", rule->type);
	}
	return 0;
}

static int take_files(const json_t *applies, struct fg_manifest *m, struct fg_error *err)
{
	static const char *const keys[] = { "path", "sha256" };
	json_t *list = NULL, *item;
	size_t i;
	int rc = list_opt(applies, "files", &list, err);

	if (rc < 0 || !list)
		return rc;
	m->files = fg_calloc(json_array_size(list), sizeof(*m->files));
	json_array_foreach (list, i, item) {
		struct fg_rule_file *rule = &m->files[m->n_files++];
		if ((rc = known_keys(item, "files", keys, FG_COUNT(keys), err)) < 0 ||
		    (rc = take_string(item, "path", is_absolute_path, &rule->path, err)) < 0 ||
		    (rc = take_string(item, "sha256", is_sha256, &rule->sha256, err)) < 0)
			return rc;
	}
	return 0;
}

static int take_applies(const json_t *root, struct fg_manifest *m, struct fg_error *err)
{
	static const char *const keys[] = { "os", "arch", "packages", "files", "not_fix" };
	json_t *applies = NULL;
	int rc;

	if ((rc = fg_json_object(root, "applies_to", &applies, err)) < 0 ||
	    (rc = known_keys(applies, "applies_to", keys, FG_COUNT(keys), err)) < 0 ||
	    (rc = take_os(applies, m, err)) < 0 ||
	    (rc = take_list(applies, "arch", is_token, &m->arch, &m->n_arch, err)) < 0 ||
	    (rc = take_packages(applies, m, err)) < 0 || (rc = take_files(applies, m, err)) < 0)
		return rc;
	return take_list(applies, "not_fix", is_id, &m->not_fix, &m->n_not_fix, err);
}

static int take_digest(const json_t *obj, const char *key, uint8_t out[FG_DIGEST_BYTES], struct fg_error *err)
{
	fg_autofree char *hex = NULL;
	int rc = take_string(obj, key, is_sha256, &hex, err);

	return rc < 0 ? rc : fg_hex_decode(hex, out, FG_DIGEST_BYTES, err);
}

static int take_payload(const json_t *root, struct fg_manifest *m, struct fg_error *err)
{
	static const char *const keys[] = { "bytes", "sha256", "hashes_sha256" };
	json_t *payload = NULL;
	int64_t bytes = 0;
	int rc;

	if ((rc = fg_json_object(root, "payload", &payload, err)) < 0 ||
	    (rc = known_keys(payload, "payload", keys, FG_COUNT(keys), err)) < 0 ||
	    (rc = fg_json_int(payload, "bytes", 1, (int64_t)FG_BUNDLE_PAYLOAD_MAX, &bytes, err)) < 0 ||
	    (rc = take_digest(payload, "sha256", m->payload_digest, err)) < 0)
		return rc;
	m->payload_bytes = (uint64_t)bytes;
	return take_digest(payload, "hashes_sha256", m->hashes_digest, err);
}

static int take_times(const json_t *root, struct fg_manifest *m, struct fg_error *err)
{
	const char *expires = NULL;
	int rc;

	if ((rc = take_string(root, "published", is_title, &m->published, err)) < 0 ||
	    (rc = fg_time_parse(m->published, &m->published_s, err)) < 0 ||
	    (rc = fg_json_string(root, "expires", &expires, err)) < 0 ||
	    (rc = fg_time_parse(expires, &m->expires_s, err)) < 0)
		return rc;
	if (m->expires_s <= m->published_s)
		return fg_error_set(err, FG_EFORMAT, "'expires' is not after 'published'");
	return 0;
}

static int take_run(const json_t *root, struct fg_manifest *m, struct fg_error *err)
{
	const char *context = NULL;
	int64_t timeout = 0;
	int rc;

	if ((rc = take_string(root, "entry", is_relative_path, &m->entry, err)) < 0 ||
	    (rc = take_string_opt(root, "post_check", is_relative_path, &m->post_check, err)) < 0 ||
	    (rc = take_list(root, "tools", is_token, &m->tools, &m->n_tools, err)) < 0 ||
	    (rc = fg_json_int(root, "timeout_s", 1, 86400, &timeout, err)) < 0 ||
	    (rc = fg_json_string(root, "context", &context, err)) < 0)
		return rc;
	m->timeout_s = (uint32_t)timeout;
	if (strcmp(context, "chroot") != 0 && strcmp(context, "outside") != 0)
		return fg_error_set(err, FG_EFORMAT, "context '%.32s' is neither chroot nor outside", context);
	m->context = strcmp(context, "chroot") == 0 ? FG_CONTEXT_CHROOT : FG_CONTEXT_OUTSIDE;
	return 0;
}

static int take_all(const json_t *root, struct fg_manifest *m, struct fg_error *err)
{
	static const char *const keys[] = { "format",	  "id",		"version",   "title",
					    "severity",	  "cves",	"published", "expires",
					    "supersedes", "applies_to", "entry",     "context",
					    "timeout_s",  "post_check", "tools",     "payload" };
	int64_t number = 0;
	int rc;

	if ((rc = fg_json_int(root, "format", 1, 1, &number, err)) < 0 ||
	    (rc = known_keys(root, "manifest", keys, FG_COUNT(keys), err)) < 0 ||
	    (rc = take_string(root, "id", is_id, &m->id, err)) < 0 ||
	    (rc = fg_json_int(root, "version", 1, INT64_MAX, &number, err)) < 0)
		return rc;
	m->version = (uint64_t)number;
	if ((rc = take_string(root, "title", is_title, &m->title, err)) < 0 ||
	    (rc = take_string(root, "severity", is_severity, &m->severity, err)) < 0 ||
	    (rc = take_list(root, "cves", is_token, &m->cves, &m->n_cves, err)) < 0 ||
	    (rc = take_list(root, "supersedes", is_id, &m->supersedes, &m->n_supersedes, err)) < 0 ||
	    (rc = take_times(root, m, err)) < 0 || (rc = take_applies(root, m, err)) < 0 ||
	    (rc = take_run(root, m, err)) < 0)
		return rc;
	return take_payload(root, m, err);
}

int fg_manifest_parse(const void *bytes, size_t len, struct fg_manifest **out, struct fg_error *err)
{
	fg_autojson json_t *root = NULL;

	if (len > FG_BUNDLE_MANIFEST_MAX)
		return fg_error_set(err, FG_ELIMIT, "manifest: %zu bytes, at most %u are taken", len,
				    FG_BUNDLE_MANIFEST_MAX);
	int rc = fg_json_parse(bytes, len, &root, err);
	if (rc < 0) {
		fg_error_wrap(err, "manifest");
		return rc;
	}
	struct fg_manifest *m = fg_calloc(1, sizeof(*m));
	rc = take_all(root, m, err);
	if (rc < 0) {
		fg_manifest_free(m);
		fg_error_wrap(err, "manifest");
		return rc;
	}
	*out = m;
	return 0;
}

static void free_list(char **list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(list[i]);
	free(list);
}

void fg_manifest_free(struct fg_manifest *m)
{
	if (!m)
		return;
	for (size_t i = 0; i < m->n_os; i++) {
		free(m->os[i].id);
		free(m->os[i].version);
	}
	for (size_t i = 0; i < m->n_packages; i++) {
		free(m->packages[i].type);
		free(m->packages[i].name);
		free(m->packages[i].less_than);
	}
	for (size_t i = 0; i < m->n_files; i++) {
		free(m->files[i].path);
		free(m->files[i].sha256);
	}
	free(m->os);
	free(m->packages);
	free(m->files);
	free_list(m->cves, m->n_cves);
	free_list(m->supersedes, m->n_supersedes);
	free_list(m->arch, m->n_arch);
	free_list(m->not_fix, m->n_not_fix);
	free_list(m->tools, m->n_tools);
	free(m->id);
	free(m->title);
	free(m->severity);
	free(m->published);
	free(m->entry);
	free(m->post_check);
	free(m);
}
