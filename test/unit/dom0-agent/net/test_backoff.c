/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <check.h>
#include <dom0-agent/net/backoff.h>

START_TEST(waits_double_up_to_the_limit)
{
	static const uint32_t ceiling[] = { 1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000, 60000 };
	struct fg_backoff low = { 0 }, high = { 0 };

	for (unsigned i = 0; i < sizeof(ceiling) / sizeof(ceiling[0]); i++) {
		ck_assert_uint_eq(fg_backoff_next_ms(&low, 0), ceiling[i] / 2);
		ck_assert_uint_eq(fg_backoff_next_ms(&high, ceiling[i] / 2), ceiling[i]);
	}
	fg_backoff_reset(&low);
	ck_assert_uint_eq(fg_backoff_next_ms(&low, 0), 500);
}
END_TEST

START_TEST(no_random_number_leaves_the_range)
{
	uint32_t random = 1;

	for (unsigned i = 0; i < 10000; i++) {
		struct fg_backoff b = { .failures = i % 20 };
		uint32_t ms = fg_backoff_next_ms(&b, random);
		ck_assert_uint_ge(ms, FG_BACKOFF_MIN_MS / 2);
		ck_assert_uint_le(ms, FG_BACKOFF_MAX_MS);
		random = random * 1664525u + 1013904223u;
	}
}
END_TEST

START_TEST(a_year_of_failures_does_not_overflow)
{
	struct fg_backoff b = { 0 };

	for (unsigned i = 0; i < 20000; i++)
		ck_assert_uint_le(fg_backoff_next_ms(&b, ~0u), FG_BACKOFF_MAX_MS);
	ck_assert_uint_lt(b.failures, 32);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("net/backoff");
	TCase *t = tcase_create("backoff");

	tcase_add_test(t, waits_double_up_to_the_limit);
	tcase_add_test(t, no_random_number_leaves_the_range);
	tcase_add_test(t, a_year_of_failures_does_not_overflow);
	suite_add_tcase(s, t);

	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
