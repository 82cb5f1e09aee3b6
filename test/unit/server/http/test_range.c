/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <check.h>
#include <lib/util.h>
#include <server/http/range.h>
#include <string.h>

static const struct {
	const char *header;
	uint64_t total;
	enum fg_range_kind kind;
	uint64_t first, last;
} ranges[] = {
	{ NULL, 10, FG_RANGE_ALL, 0, 0 },
	{ "bytes=0-9", 10, FG_RANGE_PART, 0, 9 },
	{ "bytes=0-0", 10, FG_RANGE_PART, 0, 0 },
	{ "bytes=3-", 10, FG_RANGE_PART, 3, 9 },
	{ "bytes=9-", 10, FG_RANGE_PART, 9, 9 },
	{ "bytes=2-100", 10, FG_RANGE_PART, 2, 9 },
	{ "bytes=2-18446744073709551615", 10, FG_RANGE_PART, 2, 9 },
	{ "Bytes= 2-3 ", 10, FG_RANGE_PART, 2, 3 },
	{ "bytes=-4", 10, FG_RANGE_PART, 6, 9 },
	{ "bytes=-400", 10, FG_RANGE_PART, 0, 9 },
	{ "bytes=4294967296-", 4294967300u, FG_RANGE_PART, 4294967296u, 4294967299u },
	{ "bytes=10-", 10, FG_RANGE_BAD, 0, 0 },
	{ "bytes=10-20", 10, FG_RANGE_BAD, 0, 0 },
	{ "bytes=-0", 10, FG_RANGE_BAD, 0, 0 },
	{ "bytes=0-", 0, FG_RANGE_BAD, 0, 0 },
	{ "bytes=-1", 0, FG_RANGE_BAD, 0, 0 },
	/* Ignored: RFC 9110 14.2 lets a server do that with what it does not understand. */
	{ "bytes=5-4", 10, FG_RANGE_ALL, 0, 0 },
	{ "bytes=0-1,4-5", 10, FG_RANGE_ALL, 0, 0 },
	{ "bytes=", 10, FG_RANGE_ALL, 0, 0 },
	{ "bytes=-", 10, FG_RANGE_ALL, 0, 0 },
	{ "bytes=--1", 10, FG_RANGE_ALL, 0, 0 },
	{ "bytes=a-b", 10, FG_RANGE_ALL, 0, 0 },
	{ "bytes=1-2x", 10, FG_RANGE_ALL, 0, 0 },
	{ "bytes=1", 10, FG_RANGE_ALL, 0, 0 },
	{ "bytes=18446744073709551616-", 10, FG_RANGE_ALL, 0, 0 },
	{ "items=0-1", 10, FG_RANGE_ALL, 0, 0 },
};

START_TEST(a_range)
{
	uint64_t first = 0, last = 0;

	ck_assert_int_eq(fg_range_parse(ranges[_i].header, ranges[_i].total, &first, &last), ranges[_i].kind);
	ck_assert_uint_eq(first, ranges[_i].first);
	ck_assert_uint_eq(last, ranges[_i].last);
}
END_TEST

START_TEST(content_range)
{
	uint64_t a = 7, b = 7, t = 7;

	ck_assert(fg_content_range_parse("bytes 0-9/10", &a, &b, &t));
	ck_assert(a == 0 && b == 9 && t == 10);
	static const char *const bad[] = { "",
					   "bytes",
					   "bytes 0-10/10",
					   "bytes 5-4/10",
					   "bytes */10",
					   "bytes 0-9/*",
					   "bytes 0-9",
					   "bytes=0-9/10",
					   "bytes 0-9/10x",
					   "bytes -1-9/10",
					   "bytes 0-18446744073709551616/18446744073709551617" };
	a = 7;
	for (size_t i = 0; i < FG_COUNT(bad); i++)
		ck_assert(!fg_content_range_parse(bad[i], &a, &b, &t));
	ck_assert(!fg_content_range_parse(NULL, &a, &b, &t));
	ck_assert_uint_eq(a, 7);
}
END_TEST

START_TEST(etags)
{
	ck_assert(fg_etag_matches("\"abc\"", "abc", false));
	ck_assert(fg_etag_matches("\"x\", \"abc\"", "abc", false));
	ck_assert(fg_etag_matches("*", "abc", false));
	ck_assert(fg_etag_matches("W/\"abc\"", "abc", true));
	ck_assert(!fg_etag_matches("W/\"abc\"", "abc", false));
	ck_assert(!fg_etag_matches("abc", "abc", true));
	ck_assert(!fg_etag_matches("\"abcd\"", "abc", true));
	ck_assert(!fg_etag_matches("\"ab\"", "abc", true));
	ck_assert(!fg_etag_matches("\"abc", "abc", true));
	ck_assert(!fg_etag_matches("", "abc", true));
	ck_assert(!fg_etag_matches("Wed, 21 Oct 2026 07:28:00 GMT", "abc", false));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("range");
	TCase *t = tcase_create("range");

	tcase_add_loop_test(t, a_range, 0, (int)FG_COUNT(ranges));
	tcase_add_test(t, content_range);
	tcase_add_test(t, etags);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
