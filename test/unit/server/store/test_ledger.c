/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <check.h>
#include <server/store/ledger.h>
#include <string.h>

static bool report(struct fg_ledger *row, const char *job, int64_t version, enum fg_state state)
{
	struct fg_ledger new;
	bool shown = fg_ledger_reported(row, job, version, state, &new);

	*row = new;
	return shown;
}

START_TEST(names)
{
	for (int i = 0; i < FG_STATUS_COUNT; i++)
		ck_assert_int_eq(fg_status_from_name(fg_status_name((enum fg_status)i)), i);
	ck_assert_int_eq(fg_status_from_name("nonsense"), FG_STATUS_UNKNOWN);
	ck_assert_int_eq(fg_status_from_name(NULL), FG_STATUS_UNKNOWN);
	ck_assert_ptr_null(fg_status_name(FG_STATUS_COUNT));
}
END_TEST

START_TEST(the_way_of_a_job)
{
	struct fg_ledger row = { .status = FG_STATUS_UNKNOWN };

	row = fg_ledger_offered(&row, 3);
	ck_assert_int_eq(row.status, FG_STATUS_OFFERED);
	for (int s = FG_STATE_OFFERED; s <= FG_STATE_REBOOTING; s++) {
		ck_assert(report(&row, "j", 3, (enum fg_state)s));
		ck_assert_int_eq(row.status, FG_STATUS_IN_PROGRESS);
		ck_assert_int_eq(row.fixed_version, 0);
	}
	ck_assert(report(&row, "j", 3, FG_STATE_DONE));
	ck_assert_int_eq(row.status, FG_STATUS_FIXED);
	ck_assert_int_eq(row.fixed_version, 3);
}
END_TEST

START_TEST(not_for_this_guest)
{
	struct fg_ledger row = { .status = FG_STATUS_OFFERED, .version = 3 };

	ck_assert(report(&row, "j", 3, FG_STATE_NOT_NEEDED));
	fg_ledger_not_applicable(&row);
	ck_assert_int_eq(row.status, FG_STATUS_NOT_APPLICABLE);
	ck_assert_ptr_null(fg_ledger_no_offer(&row, 3, 0)); /* the guest may have changed */
	row = (struct fg_ledger){ .status = FG_STATUS_FIXED, .version = 3, .fixed_version = 3, .job = "j" };
	report(&row, "k", 3, FG_STATE_NOT_NEEDED);
	fg_ledger_not_applicable(&row);
	ck_assert_int_eq(row.status, FG_STATUS_FIXED);
}
END_TEST

/* From fixed, whatever comes of the same version: only what touches the guest shows. */
START_TEST(fixed_stays_fixed)
{
	enum fg_state state = (enum fg_state)_i;
	struct fg_ledger row = { .status = FG_STATUS_FIXED, .version = 3, .fixed_version = 3, .job = "j" };

	report(&row, "k", 3, state);
	bool at_work = state >= FG_STATE_ISOLATED && state <= FG_STATE_REBOOTING;
	ck_assert_int_eq(row.status, at_work		      ? FG_STATUS_IN_PROGRESS
				     : state == FG_STATE_HELD ? FG_STATUS_HELD
							      : FG_STATUS_FIXED);
	ck_assert_int_eq(row.fixed_version, 3);
	if (at_work) { /* the forced job leaves the disk as it was */
		report(&row, "k", 3, FG_STATE_ROLLED_BACK);
		ck_assert_int_eq(row.status, FG_STATUS_FIXED);
	}
}
END_TEST

START_TEST(a_newer_version_is_needed_again)
{
	struct fg_ledger row = { .status = FG_STATUS_FIXED, .version = 3, .fixed_version = 3, .job = "j" };

	ck_assert_str_eq(fg_ledger_no_offer(&row, 3, 0), "fixed already");
	ck_assert_str_eq(fg_ledger_no_offer(&row, 2, 0), "fixed already");
	ck_assert_ptr_null(fg_ledger_no_offer(&row, 3, 1));
	ck_assert_ptr_null(fg_ledger_no_offer(&row, 4, 0));
	row = fg_ledger_offered(&row, 4);
	ck_assert_int_eq(row.status, FG_STATUS_OFFERED);
	report(&row, "k", 4, FG_STATE_FAILED);
	ck_assert_int_eq(row.status, FG_STATUS_FAILED);
	ck_assert_int_eq(row.fixed_version, 3);
	ck_assert_ptr_null(fg_ledger_no_offer(&row, 4, 0));
}
END_TEST

START_TEST(old_news_changes_nothing)
{
	struct fg_ledger row = { .status = FG_STATUS_OFFERED, .version = 4, .job = "" };

	ck_assert(!report(&row, "old", 3, FG_STATE_ISOLATED));
	ck_assert_int_eq(row.status, FG_STATUS_OFFERED);
	ck_assert(!report(&row, "old", 3, FG_STATE_DONE));
	ck_assert_int_eq(row.status, FG_STATUS_OFFERED);
	ck_assert_int_eq(row.fixed_version, 3); /* true all the same */

	report(&row, "j", 4, FG_STATE_ROLLED_BACK);
	ck_assert(!report(&row, "j", 4, FG_STATE_FIXING));
	ck_assert_int_eq(row.status, FG_STATUS_ROLLED_BACK);
	ck_assert(report(&row, "k", 4, FG_STATE_FIXING)); /* another job may */
	ck_assert_int_eq(row.status, FG_STATUS_IN_PROGRESS);
}
END_TEST

START_TEST(held_and_busy_guests_are_not_offered)
{
	struct fg_ledger row = { .status = FG_STATUS_HELD, .version = 4, .job = "j" };

	ck_assert_str_eq(fg_ledger_no_offer(&row, 4, 0), "held: a person decides");
	ck_assert_ptr_null(fg_ledger_no_offer(&row, 4, 1));
	row.status = FG_STATUS_IN_PROGRESS;
	ck_assert_str_eq(fg_ledger_no_offer(&row, 4, 0), "a job is in progress");
	ck_assert_str_eq(fg_ledger_no_offer(&row, 3, 1), "a newer version is offered");
	row.status = FG_STATUS_OFFERED;
	ck_assert_str_eq(fg_ledger_no_offer(&row, 4, 1), "offered already");
	/* A person released the guest: the job goes on from held. */
	row.status = FG_STATUS_HELD;
	ck_assert(report(&row, "j", 4, FG_STATE_RELEASED));
	ck_assert_int_eq(row.status, FG_STATUS_IN_PROGRESS);
}
END_TEST

START_TEST(assurance)
{
	ck_assert_str_eq(fg_isolator_assurance("vmm"), "hypervisor");
	ck_assert_ptr_null(fg_isolator_assurance("magic"));
	ck_assert_ptr_null(fg_isolator_assurance(NULL));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ledger");
	TCase *t = tcase_create("ledger");

	tcase_add_test(t, names);
	tcase_add_test(t, the_way_of_a_job);
	tcase_add_test(t, not_for_this_guest);
	tcase_add_loop_test(t, fixed_stays_fixed, 0, FG_STATE_COUNT);
	tcase_add_test(t, a_newer_version_is_needed_again);
	tcase_add_test(t, old_news_changes_nothing);
	tcase_add_test(t, held_and_busy_guests_are_not_offered);
	tcase_add_test(t, assurance);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
