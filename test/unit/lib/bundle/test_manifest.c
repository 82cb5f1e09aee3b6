/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "maker.h"

#include <check.h>
#include <string.h>

static const char full[] =
	"{\"format\":1,\"id\":\"demo-1.2+x\",\"version\":9223372036854775807,\"title\":\"T\\u00e4st\","
	"\"severity\":\"critical\",\"cves\":[\"CVE-2026-0001\"],\"published\":\"2026-01-01T00:00:00Z\","
	"\"expires\":\"2027-01-01T00:00:00Z\",\"supersedes\":[\"demo-0\"],"
	"\"applies_to\":{\"os\":[{\"id\":\"debian\",\"version\":\"12\"},{\"id\":\"ubuntu\"}],\"arch\":[\"amd64\"],"
	"\"packages\":[{\"type\":\"dpkg\",\"name\":\"libc6\",\"less_than\":\"1:2.3~rc1-4+deb12u1\"}],"
	"\"files\":[{\"path\":\"/usr/bin/x\",\"sha256\":"
	"\"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"}],\"not_fix\":[\"demo-2\"]},"
	"\"entry\":\"bin/"
	"run\",\"context\":\"outside\",\"timeout_s\":86400,\"post_check\":\"check\",\"tools\":[\"dpkg\"],"
	"\"payload\":{\"bytes\":4096,\"sha256\":\"00000000000000000000000000000000000000000000000000000000000000aa\","
	"\"hashes_sha256\":\"00000000000000000000000000000000000000000000000000000000000000bb\"}}";

START_TEST(everything_is_read)
{
	struct fg_manifest *m = NULL;
	struct fg_error err = FG_ERROR_INIT;

	ck_assert_msg(fg_manifest_parse(full, strlen(full), &m, &err) == 0, "%s", err.text);
	ck_assert_str_eq(m->id, "demo-1.2+x");
	ck_assert_uint_eq(m->version, INT64_MAX);
	ck_assert_str_eq(m->title, "T\xc3\xa4st");
	ck_assert_str_eq(m->cves[0], "CVE-2026-0001");
	ck_assert_int_eq(m->expires_s - m->published_s, 365 * MAKER_DAY);
	ck_assert_uint_eq(m->n_os, 2);
	ck_assert_str_eq(m->os[0].version, "12");
	ck_assert_ptr_null(m->os[1].version);
	ck_assert_str_eq(m->arch[0], "amd64");
	ck_assert_str_eq(m->packages[0].less_than, "1:2.3~rc1-4+deb12u1");
	ck_assert_str_eq(m->files[0].path, "/usr/bin/x");
	ck_assert_str_eq(m->not_fix[0], "demo-2");
	ck_assert_int_eq(m->context, FG_CONTEXT_OUTSIDE);
	ck_assert_uint_eq(m->timeout_s, 86400);
	ck_assert_uint_eq(m->payload_digest[31], 0xaa);
	ck_assert_uint_eq(m->hashes_digest[31], 0xbb);
	fg_manifest_free(m);
	fg_manifest_free(NULL);
}
END_TEST

/* The full manifest with the value at "a.b" replaced by JSON text, or removed for NULL. */
static char *with(const char *path, const char *value)
{
	fg_autojson json_t *root = json_loads(full, 0, NULL);
	const char *dot = strchr(path, '.');
	fg_autofree char *outer = fg_asprintf("%.*s", dot ? (int)(dot - path) : 0, path);
	json_t *obj = dot ? json_object_get(root, outer) : root;
	const char *key = dot ? dot + 1 : path;

	if (value)
		json_object_set_new(obj, key, json_loads(value, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL));
	else
		json_object_del(obj, key);
	return json_dumps(root, JSON_COMPACT);
}

static int parse(const char *text, size_t len, struct fg_error *err)
{
	struct fg_manifest *m = NULL;
	int rc = fg_manifest_parse(text, len, &m, err);

	ck_assert_msg((rc == 0) == (m != NULL), "%.80s", text);
	fg_manifest_free(m);
	return rc;
}

static const struct {
	const char *path, *value;
} bad_values[] = {
	/* missing */
	{ "format", NULL },
	{ "id", NULL },
	{ "version", NULL },
	{ "title", NULL },
	{ "severity", NULL },
	{ "published", NULL },
	{ "expires", NULL },
	{ "applies_to", NULL },
	{ "entry", NULL },
	{ "context", NULL },
	{ "timeout_s", NULL },
	{ "payload", NULL },
	{ "payload.bytes", NULL },
	{ "payload.sha256", NULL },
	{ "payload.hashes_sha256", NULL },
	/* unknown */
	{ "extra", "1" },
	{ "applies_to.extra", "[]" },
	{ "payload.extra", "1" },
	{ "ID", "\"x\"" },
	/* wrong types */
	{ "format", "2" },
	{ "format", "\"1\"" },
	{ "format", "1.0" },
	{ "version", "0" },
	{ "version", "-1" },
	{ "version", "1.5" },
	{ "version", "\"1\"" },
	{ "version", "true" },
	{ "id", "1" },
	{ "id", "null" },
	{ "post_check", "null" },
	{ "cves", "null" },
	{ "cves", "{}" },
	{ "cves", "\"CVE-2026-0001\"" },
	{ "cves", "[1]" },
	{ "cves", "[[]]" },
	{ "tools", "[\"\"]" },
	{ "tools", "[\"../sh\"]" },
	{ "tools", "[\"-x\"]" },
	{ "applies_to", "[]" },
	{ "applies_to.os", "[\"debian\"]" },
	{ "applies_to.os", "[{}]" },
	{ "applies_to.os", "[{\"id\":\"debian\",\"x\":1}]" },
	{ "applies_to.os", "{\"id\":\"debian\"}" },
	{ "applies_to.packages", "[{\"type\":\"apk\",\"name\":\"x\",\"less_than\":\"1\"}]" },
	{ "applies_to.packages", "[{\"type\":\"dpkg\",\"name\":\"x\"}]" },
	{ "applies_to.packages", "[{\"type\":\"dpkg\",\"name\":\"x y\",\"less_than\":\"1\"}]" },
	{ "applies_to.packages", "[{\"type\":\"dpkg\",\"name\":\"x\",\"less_than\":\"1 2\"}]" },
	{ "applies_to.packages", "[{\"type\":\"dpkg\",\"name\":\"x\",\"less_than\":1}]" },
	{ "applies_to.files", "[{\"path\":\"x\",\"sha256\":\"00\"}]" },
	{ "applies_to.not_fix", "[\"Demo\"]" },
	{ "payload", "1" },
	{ "payload.bytes", "0" },
	{ "payload.bytes", "-1" },
	{ "payload.bytes", "68719476737" },
	{ "payload.bytes", "4096.0" },
	{ "payload.sha256", "\"00\"" },
	{ "payload.sha256", "\"00000000000000000000000000000000000000000000000000000000000000AA\"" },
	{ "payload.sha256", "\"0x000000000000000000000000000000000000000000000000000000000000aa\"" },
	/* grammar */
	{ "id", "\"\"" },
	{ "id", "\"Demo\"" },
	{ "id", "\"-x\"" },
	{ "id", "\"a/b\"" },
	{ "id", "\"a b\"" },
	{ "id", "\"..\"" },
	{ "severity", "\"high\"" },
	{ "context", "\"host\"" },
	{ "timeout_s", "0" },
	{ "timeout_s", "86401" },
	{ "title", "\"\"" },
	{ "title", "\"a\\nb\"" },
	{ "title", "\"a\\u001bb\"" },
	{ "title", "\"a\\u007fb\"" },
	{ "title", "\"a\\u0085b\"" },
	{ "title", "\"a\\u202eb\"" },
	{ "title", "\"a\\u2028b\"" },
	{ "title", "\"a\\u2066b\"" },
	{ "published", "\"2026-01-01\"" },
	{ "published", "\"2026-01-01T00:00:00+00:00\"" },
	{ "published", "\"2026-02-30T00:00:00Z\"" },
	{ "expires", "\"2026-01-01T00:00:00Z\"" },
	{ "expires", "1" },
	{ "entry", "\"/run\"" },
	{ "entry", "\"../run\"" },
	{ "entry", "\"a/../run\"" },
	{ "entry", "\"a/..\"" },
	{ "entry", "\"./run\"" },
	{ "entry", "\"a//run\"" },
	{ "entry", "\"run/\"" },
	{ "entry", "\"\"" },
	{ "entry", "\"a\\u0001\"" },
	{ "post_check", "\"../check\"" },
	{ "applies_to.files", "[{\"path\":\"/a/../b\",\"sha256\":"
			      "\"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"}]" },
};

START_TEST(bad_values_are_refused)
{
	fg_autofree char *text = with(bad_values[_i].path, bad_values[_i].value);
	struct fg_error err = FG_ERROR_INIT;

	ck_assert_msg(parse(text, strlen(text), &err) == -FG_EFORMAT, "%s = %s", bad_values[_i].path,
		      bad_values[_i].value ? bad_values[_i].value : "absent");
	ck_assert_uint_eq(strncmp(err.text, "manifest: ", 10), 0);
}
END_TEST

START_TEST(good_values_are_taken)
{
	static const struct {
		const char *path, *value;
	} good[] = { { "cves", NULL },	 { "supersedes", NULL },     { "post_check", NULL },
		     { "tools", NULL },	 { "applies_to", "{}" },     { "applies_to.os", "[]" },
		     { "version", "1" }, { "entry", "\"a..b/.c\"" }, { "payload.bytes", "68719476736" } };

	for (size_t i = 0; i < FG_COUNT(good); i++) {
		fg_autofree char *text = with(good[i].path, good[i].value);
		struct fg_error err = FG_ERROR_INIT;
		ck_assert_msg(parse(text, strlen(text), &err) == 0, "%s: %s", good[i].path, err.text);
	}
}
END_TEST

/* What jansson can express neither in nor out: the text itself is changed. */
static void refused_text(const char *find, const char *replace, size_t replace_len)
{
	const char *at = strstr(full, find);
	size_t before = (size_t)(at - full), skip = strlen(find), len = strlen(full) - skip + replace_len;
	fg_autofree char *text = fg_calloc(len + 1, 1);

	memcpy(text, full, before);
	memcpy(text + before, replace, replace_len);
	memcpy(text + before + replace_len, at + skip, strlen(at + skip));
	ck_assert_msg(parse(text, len, NULL) == -FG_EFORMAT, "%s", replace);
}

#define REFUSED_TEXT(find, replace) refused_text(find, replace, sizeof(replace) - 1)

START_TEST(bad_texts_are_refused)
{
	REFUSED_TEXT("\"format\":1", "\"format\":1,\"format\":1");
	REFUSED_TEXT("\"entry\":", "\"entry\":\"x\",\"entry\":");
	REFUSED_TEXT("\"bytes\":4096", "\"bytes\":4096,\"bytes\":4096");
	REFUSED_TEXT("\"id\":\"debian\"", "\"id\":\"debian\",\"id\":\"debian\"");
	REFUSED_TEXT("demo-1.2", "demo-1\\u0000");
	REFUSED_TEXT("demo-1.2", "demo-1\0");
	REFUSED_TEXT("{\"format\"", "{\0\"format\"");
	REFUSED_TEXT("T\\u00e4st", "T\nst");
	REFUSED_TEXT("T\\u00e4st", "T\xc3(st");
	REFUSED_TEXT("T\\u00e4st", "T\xed\xa0\x80st");
	REFUSED_TEXT("T\\u00e4st", "T\\ud800st");
	REFUSED_TEXT("9223372036854775807", "9223372036854775808");
	REFUSED_TEXT("9223372036854775807", "1e3");
	REFUSED_TEXT("9223372036854775807", "01");
	REFUSED_TEXT("bb\"}}", "bb\"}} x");
	REFUSED_TEXT("bb\"}}", "bb\"}}{}");
	REFUSED_TEXT("bb\"}}", "bb\"}}\0");
	REFUSED_TEXT("bb\"}}", "bb\"}");
	ck_assert_int_eq(parse("", 0, NULL), -FG_EFORMAT);
	ck_assert_int_eq(parse("[]", 2, NULL), -FG_EFORMAT);
	ck_assert_int_eq(parse("\"x\"", 3, NULL), -FG_EFORMAT);
}
END_TEST

START_TEST(truncated_anywhere_is_refused)
{
	for (size_t len = 0; len < strlen(full); len++)
		ck_assert_msg(parse(full, len, NULL) == -FG_EFORMAT, "%zu bytes", len);
}
END_TEST

START_TEST(limits)
{
	fg_autofree char *huge = fg_calloc(FG_BUNDLE_MANIFEST_MAX + 1, 1);
	fg_autofree char *deep = fg_calloc(8193, 1);
	json_t *list = json_array();

	memset(huge, ' ', FG_BUNDLE_MANIFEST_MAX + 1);
	ck_assert_int_eq(parse(huge, FG_BUNDLE_MANIFEST_MAX + 1, NULL), -FG_ELIMIT);
	ck_assert_int_eq(parse(huge, FG_BUNDLE_MANIFEST_MAX, NULL), -FG_EFORMAT);
	memset(deep, '[', 8192);
	ck_assert_int_eq(parse(deep, 8192, NULL), -FG_EFORMAT);
	for (int i = 0; i < FG_MANIFEST_LIST_MAX; i++)
		json_array_append_new(list, json_string("x"));
	fg_autofree char *most = json_dumps(list, 0);
	json_array_append_new(list, json_string("x"));
	fg_autofree char *more = json_dumps(list, 0);
	json_decref(list);
	fg_autofree char *ok = with("tools", most), *bad = with("tools", more);
	ck_assert_int_eq(parse(ok, strlen(ok), NULL), 0);
	ck_assert_int_eq(parse(bad, strlen(bad), NULL), -FG_ELIMIT);
}
END_TEST

START_TEST(id_length)
{
	for (int len = 127; len < 131; len++) {
		char id[140] = "\"a";
		memset(id + 2, 'b', (size_t)len - 1);
		id[len + 1] = '"';
		fg_autofree char *text = with("id", id);
		ck_assert_int_eq(parse(text, strlen(text), NULL), len <= 128 ? 0 : -FG_EFORMAT);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("bundle");
	TCase *t = tcase_create("manifest");

	tcase_add_test(t, everything_is_read);
	tcase_add_loop_test(t, bad_values_are_refused, 0, (int)FG_COUNT(bad_values));
	tcase_add_test(t, good_values_are_taken);
	tcase_add_test(t, bad_texts_are_refused);
	tcase_add_test(t, truncated_anywhere_is_refused);
	tcase_add_test(t, limits);
	tcase_add_test(t, id_length);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
