/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "test/unit/server/store/store_kit.h"

#include <check.h>
#include <server/api/writer.h>
#include <string.h>

static struct event_base *base;
static struct fg_writer *writer;
static char told[64]; /* a letter for each that was told: its name, or in upper case if it failed */

struct job {
	char name;
	bool fails;
};

static int64_t visible(void)
{
	return kit_number(store_path, "SELECT COUNT(*) FROM audit WHERE who = 'job'");
}

static int on_write(struct fg_store *s, void *arg, struct fg_error *err)
{
	const struct job *job = arg;

	ck_assert_int_eq(visible(), 0); /* nothing of the group before all of it */
	int rc = fg_store_audit_add(s, NOW, "job", "write", "", err);
	return rc < 0 || !job->fails ? rc : fg_error_set(err, FG_EREFUSED, "on purpose");
}

static void on_done(int rc, const struct fg_error *err, void *arg)
{
	const struct job *job = arg;
	size_t len = strlen(told);

	ck_assert(rc == 0 || err->text[0]);
	told[len] = (char)(rc == 0 ? job->name : job->name - 'a' + 'A');
	if (rc == 0)
		ck_assert_int_gt(visible(), 0); /* only once it is committed */
}

static void add(struct job *job)
{
	struct fg_write w = { on_write, on_done, job };

	fg_writer_add(writer, &w);
}

static void setup(void)
{
	kit_setup();
	base = event_base_new();
	writer = fg_writer_new(base, store);
	memset(told, 0, sizeof(told));
}

static void teardown(void)
{
	fg_writer_free(writer);
	event_base_free(base);
	kit_teardown();
}

START_TEST(one_transaction_for_all)
{
	struct job a = { 'a', false }, b = { 'b', false }, c = { 'c', false };

	add(&a);
	add(&b);
	add(&c);
	ck_assert_str_eq(told, "");
	event_base_dispatch(base);
	ck_assert_str_eq(told, "abc");
	ck_assert_int_eq(visible(), 3);
}
END_TEST

START_TEST(a_failure_is_its_own)
{
	struct job a = { 'a', false }, b = { 'b', true }, c = { 'c', false };

	add(&a);
	add(&b);
	add(&c);
	event_base_dispatch(base);
	ck_assert_str_eq(told, "aBc");
	ck_assert_int_eq(visible(), 2);
}
END_TEST

/* The database goes away under the group: nobody is told that it is written. */
START_TEST(a_commit_that_fails_fails_all)
{
	struct job a = { 'a', false }, b = { 'b', false };

	add(&a);
	add(&b);
	kit_sql(store_path, "CREATE TRIGGER no BEFORE INSERT ON audit BEGIN SELECT RAISE(ROLLBACK, 'disk full'); END");
	event_base_dispatch(base);
	ck_assert_str_eq(told, "AB");
	kit_sql(store_path, "DROP TRIGGER no");
	ck_assert_int_eq(visible(), 0);
	memset(told, 0, sizeof(told));
	add(&a);
	event_base_dispatch(base);
	ck_assert_str_eq(told, "a");
}
END_TEST

START_TEST(the_rest_is_written_at_the_end)
{
	struct job a = { 'a', false };

	add(&a);
	fg_writer_free(writer);
	writer = NULL;
	ck_assert_str_eq(told, "a");
	ck_assert_int_eq(visible(), 1);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("writer");
	TCase *t = tcase_create("writer");

	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, one_transaction_for_all);
	tcase_add_test(t, a_failure_is_its_own);
	tcase_add_test(t, a_commit_that_fails_fails_all);
	tcase_add_test(t, the_rest_is_written_at_the_end);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
