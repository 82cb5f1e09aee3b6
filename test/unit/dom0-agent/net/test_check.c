/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <check.h>
#include <dom0-agent/net/check.h>
#include <lib/util.h>
#include <string.h>

#define D "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define U "6ba7b810-9dad-11d1-80b4-00c04fd430c8"

static json_t *json(const char *text)
{
	json_t *j = NULL;

	ck_assert_int_eq(fg_json_parse(text, strlen(text), &j, NULL), 0);
	return j;
}

static json_t *good_offer(void)
{
	return json("{\"seq\":7,\"guest\":\"" U "\",\"fix\":\"demo-1\",\"version\":3,\"digest\":\"" D
		    "\",\"bytes\":70000,\"new\":[1]}");
}

START_TEST(an_offer_is_read_and_written)
{
	struct fg_offer_terms o = { 0 }, again = { 0 };
	json_t *j = good_offer();

	ck_assert_int_eq(fg_offer_parse(j, &o, NULL), 0);
	ck_assert_int_eq(o.seq, 7);
	ck_assert_str_eq(o.guest, U);
	ck_assert_str_eq(o.fix, "demo-1");
	ck_assert_uint_eq(o.version, 3);
	ck_assert_str_eq(o.digest, D);
	ck_assert_uint_eq(o.bytes, 70000);
	json_decref(j);

	j = fg_offer_json(&o);
	ck_assert_int_eq(fg_offer_parse(j, &again, NULL), 0);
	ck_assert_mem_eq(&o, &again, sizeof(o));
	json_decref(j);
}
END_TEST

/* key -> a value that must be refused, as JSON */
static const char *const wrong[][2] = {
	{ "seq", "0" },
	{ "seq", "-1" },
	{ "seq", "\"7\"" },
	{ "seq", "7.0" },
	{ "seq", "null" },
	{ "guest", "\"\"" },
	{ "guest", "\"6BA7B810-9DAD-11D1-80B4-00C04FD430C8\"" },
	{ "guest", "\"6ba7b810-9dad-11d1-80b4-00c04fd430c8/\"" },
	{ "guest", "\"../../etc/passwd\"" },
	{ "guest", "[]" },
	{ "fix", "\"\"" },
	{ "fix", "\".hidden\"" },
	{ "fix", "\"-option\"" },
	{ "fix", "\"Demo\"" },
	{ "fix", "\"a/b\"" },
	{ "fix", "\"a\\nb\"" },
	{ "fix", "\"a b\"" },
	{ "fix", "\"a\\u00e9\"" },
	{ "version", "0" },
	{ "version", "-3" },
	{ "version", "1e3" },
	{ "version", "true" },
	{ "digest", "\"" D "00\"" },
	{ "digest", "\"00\"" },
	{ "digest", "\"ZZ0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\"" },
	{ "digest", "\"000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F\"" },
	{ "bytes", "79" },
	{ "bytes", "-1" },
	{ "bytes", "68754145361" }, /* one more than head and payload may have */
	{ "bytes", "9223372036854775807" },
};

START_TEST(a_wrong_field_refuses_the_offer)
{
	struct fg_offer_terms o, before;
	struct fg_error err = FG_ERROR_INIT;
	json_t *j = good_offer();
	char *text = fg_asprintf("{\"v\":%s}", wrong[_i][1]);
	json_t *value = json(text);

	memset(&o, 0x5a, sizeof(o));
	memcpy(&before, &o, sizeof(o));
	json_object_set(j, wrong[_i][0], json_object_get(value, "v"));
	ck_assert_int_lt(fg_offer_parse(j, &o, &err), 0);
	ck_assert_mem_eq(&o, &before, sizeof(o));
	ck_assert_msg(strstr(err.text, wrong[_i][0]), "'%s' does not name %s", err.text, wrong[_i][0]);
	json_object_del(j, wrong[_i][0]);
	ck_assert_int_eq(fg_offer_parse(j, &o, NULL), -FG_EFORMAT);
	json_decref(value);
	json_decref(j);
	free(text);
}
END_TEST

START_TEST(what_is_no_object_is_no_offer)
{
	struct fg_offer_terms o;
	json_t *j = json("[\"seq\"]");

	ck_assert_int_eq(fg_offer_parse(j, &o, NULL), -FG_EFORMAT);
	ck_assert_int_eq(fg_offer_parse(NULL, &o, NULL), -FG_EFORMAT);
	json_decref(j);
}
END_TEST

START_TEST(ids_and_tokens_have_a_length)
{
	char text[300];

	memset(text, 'a', sizeof(text));
	text[128] = '\0';
	ck_assert_int_eq(fg_check_fix_id(text, NULL), 0);
	text[128] = 'a';
	text[129] = '\0';
	ck_assert_int_eq(fg_check_fix_id(text, NULL), -FG_EFORMAT);
	text[129] = 'a';
	text[256] = '\0';
	ck_assert_int_eq(fg_check_token(text, NULL), 0);
	text[256] = 'a';
	text[258] = '\0';
	ck_assert_int_eq(fg_check_token(text, NULL), -FG_EFORMAT);
	text[30] = '\0';
	ck_assert_int_eq(fg_check_token(text, NULL), -FG_EFORMAT);
}
END_TEST

static const struct {
	const char *text;
	int rc;
} texts[] = {
	{ "{}", 0 },
	{ "{\"a\":[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]}", 0 }, /* 16 */
	{ "{\"a\":[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]}", -FG_ELIMIT },
	{ "{\"a\":\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\"}", 0 }, /* in a string */
	{ "{\"a\":\"\\\"[[[[[[[[[[[[[[[[[[[[[[[[[[[\"}", 0 },
	{ "{\"a\":\"\\\\\",\"b\":[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]}", -FG_ELIMIT },
	{ "{\"a\":\"\\", -FG_EFORMAT },
	{ "{\"a\":1", -FG_EFORMAT },
	{ "]]]]]]]]{}", -FG_EFORMAT },
	{ "[]", -FG_EFORMAT },
	{ "", -FG_EFORMAT },
	{ "{\"a\":1,\"a\":2}", -FG_EFORMAT },
	{ "{} x", -FG_EFORMAT },
	{ "{\"a\":\"\xff\"}", -FG_EFORMAT },
};

START_TEST(nesting_is_limited_before_the_parser)
{
	json_t *j = NULL;

	ck_assert_int_eq(fg_check_json(texts[_i].text, strlen(texts[_i].text), &j, NULL), texts[_i].rc);
	ck_assert_int_eq(j != NULL, texts[_i].rc == 0);
	json_decref(j);
}
END_TEST

START_TEST(a_head_verified_message_is_checked)
{
	struct fg_manifest m = { .id = (char *)"demo-1",
				 .version = 3,
				 .title = (char *)"Ein Fix \xc3\xa4",
				 .severity = (char *)"critical",
				 .timeout_s = 60,
				 .context = FG_CONTEXT_OUTSIDE,
				 .payload_bytes = 5,
				 .expires_s = 2000000000 };
	static const char *const paths[] = { "/x/" D ".head",  D ".head", "/x/" D,
					     "/x/" D ".head/", "/x/..",	  "/x/0" D ".head" };
	struct fg_head_verified v;

	for (size_t i = 0; i < FG_COUNT(paths); i++) {
		json_t *j = json_pack("{s:s, s:o, s:s, s:{s:i, s:i}}", "head_digest", D, "manifest",
				      fg_head_summary_json(&m), "path", paths[i], "catalogue", "generation", 2,
				      "version", 9);
		memset(&v, 0x5a, sizeof(v));
		ck_assert_int_eq(fg_head_verified_parse(j, &v, NULL), i < 2 ? 0 : -FG_EFORMAT);
		if (i < 2) {
			ck_assert_str_eq(v.file, D ".head");
			ck_assert_str_eq(v.fix, "demo-1");
			ck_assert_uint_eq(v.catalogue.generation, 2);
			ck_assert_uint_eq(v.catalogue.version, 9);
			ck_assert_str_eq(v.title, m.title);
			ck_assert_int_eq(v.context, FG_CONTEXT_OUTSIDE);
			ck_assert_uint_eq(v.timeout_s, 60);
			ck_assert_uint_eq(v.head_digest[31], 0x1f);
			json_object_set_new(json_object_get(j, "manifest"), "title", json_string("a\nb"));
			ck_assert_int_eq(fg_head_verified_parse(j, &v, NULL), -FG_EFORMAT);
		}
		json_decref(j);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("net/check");
	TCase *t = tcase_create("check");

	tcase_add_test(t, an_offer_is_read_and_written);
	tcase_add_loop_test(t, a_wrong_field_refuses_the_offer, 0, (int)FG_COUNT(wrong));
	tcase_add_test(t, what_is_no_object_is_no_offer);
	tcase_add_test(t, ids_and_tokens_have_a_length);
	tcase_add_loop_test(t, nesting_is_limited_before_the_parser, 0, (int)FG_COUNT(texts));
	tcase_add_test(t, a_head_verified_message_is_checked);
	suite_add_tcase(s, t);

	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
