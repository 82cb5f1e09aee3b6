/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <check.h>
#include <dom0-agent/journal/journal.h>
#include <lib/util.h>
#include <sqlite3.h>
#include <test/folder.h>

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char path[64];
static struct fg_journal *j;

static void setup(void)
{
	char dir[] = "/dev/shm/fg-journal-XXXXXX";

	test_folder_make(dir);
	snprintf(path, sizeof(path), "%s/journal.db", dir);
	ck_assert_int_eq(fg_journal_open(path, &j, NULL), 0);
}

static void teardown(void)
{
	fg_journal_close(j);
	*strrchr(path, '/') = '\0';
	test_folder_remove(path);
}

static void reopen(void)
{
	fg_journal_close(j);
	ck_assert_int_eq(fg_journal_open(path, &j, NULL), 0);
}

static struct fg_job_record record(const char *fix)
{
	struct fg_job_record r = { .state = FG_STATE_OFFERED, .outcome = FG_STATE_NONE, .held_from = FG_STATE_NONE };

	fg_uuid_new(r.id);
	snprintf(r.guest, sizeof(r.guest), "f19a0000-0000-4000-8000-000000000011");
	snprintf(r.nonce, sizeof(r.nonce), "00112233445566778899aabbccddeeff");
	r.fix = fg_strdup(fix);
	r.name = fg_strdup("web1");
	r.version = 7;
	r.bytes = 5000000000;
	return r;
}

START_TEST(job_comes_back_as_it_was)
{
	struct fg_job_record r = record("a"), *back = NULL;
	struct fg_journal_entry e = { .job = &r, .kind = "state", .what = "offered", .at_ms = 5 };

	ck_assert_int_eq(fg_journal_write(j, &e, NULL), 0);
	ck_assert_int_eq(r.n, 1);
	r.state = FG_STATE_FIXING;
	r.outcome = FG_STATE_FAILED;
	r.merged = r.not_applicable = true;
	r.definition = fg_strdup("{\"x\":\"'\\\"; DROP TABLE jobs\"}");
	r.was = fg_strdup("running");
	e.kind = "intent", e.what = "stop";
	ck_assert_int_eq(fg_journal_write(j, &e, NULL), 0);
	reopen();
	ck_assert_int_eq(fg_journal_job(j, r.id, &back, NULL), 0);
	ck_assert_int_eq(back->state, FG_STATE_FIXING);
	ck_assert_int_eq(back->outcome, FG_STATE_FAILED);
	ck_assert_int_eq(back->held_from, FG_STATE_NONE);
	ck_assert_uint_eq(back->bytes, 5000000000);
	ck_assert_str_eq(back->definition, r.definition);
	ck_assert_ptr_null(back->reason);
	ck_assert(back->merged);
	ck_assert(back->not_applicable);
	json_t *steps = NULL;
	ck_assert_int_eq(fg_journal_steps(j, r.id, &steps, NULL), 0);
	ck_assert_uint_eq(json_array_size(steps), 2);
	json_decref(steps);
	fg_job_record_release(back);
	free(back);
	fg_job_record_release(&r);
	ck_assert_int_eq(fg_journal_job(j, "no", &back, NULL), -FG_ENOTFOUND);
}
END_TEST

START_TEST(sequence_numbers_are_never_used_again)
{
	int64_t seq = 0, cursor = 0, acked = 0;

	for (int i = 1; i <= 3; i++) {
		fg_autojson json_t *report = json_pack("{ss}", "job", "x");
		const struct fg_journal_entry e = { .report = report };
		ck_assert_int_eq(fg_journal_write(j, &e, NULL), 0);
		seq = json_integer_value(json_object_get(report, "seq"));
		ck_assert_int_eq(seq, i);
	}
	const struct fg_journal_entry ack = { .acked = 3 };
	ck_assert_int_eq(fg_journal_write(j, &ack, NULL), 0);
	reopen();
	fg_autojson json_t *report = json_pack("{ss}", "job", "x");
	const struct fg_journal_entry e = { .report = report };
	ck_assert_int_eq(fg_journal_write(j, &e, NULL), 0);
	ck_assert_int_eq(json_integer_value(json_object_get(report, "seq")), 4);
	ck_assert_int_eq(fg_journal_cursors(j, &cursor, &acked, NULL), 0);
	ck_assert_int_eq(acked, 3);
	fg_autojson json_t *box = NULL;
	ck_assert_int_eq(fg_journal_outbox(j, 0, 256, &box, NULL), 0);
	ck_assert_uint_eq(json_array_size(box), 1);
}
END_TEST

START_TEST(inbox_and_cursor_go_together)
{
	fg_autojson json_t *offers = json_pack("[{si},{si}]", "seq", 9, "seq", 10);
	int64_t cursor = 0, acked = 0;

	const struct fg_journal_entry in = { .inbox = offers, .cursor = 10 };
	ck_assert_int_eq(fg_journal_write(j, &in, NULL), 0);
	ck_assert_int_eq(fg_journal_write(j, &in, NULL), 0); /* the same again */
	const struct fg_journal_entry out = { .inbox_done = 9 };
	ck_assert_int_eq(fg_journal_write(j, &out, NULL), 0);
	fg_autojson json_t *inbox = NULL;
	ck_assert_int_eq(fg_journal_inbox(j, &inbox, NULL), 0);
	ck_assert_uint_eq(json_array_size(inbox), 1);
	ck_assert_int_eq(fg_journal_cursors(j, &cursor, &acked, NULL), 0);
	ck_assert_int_eq(cursor, 10);

	/* One bad offer: nothing of the message, and the cursor stays. */
	fg_autojson json_t *bad = json_pack("[{si},{ss}]", "seq", 11, "seq", "x");
	const struct fg_journal_entry broken = { .inbox = bad, .cursor = 12 };
	ck_assert_int_lt(fg_journal_write(j, &broken, NULL), 0);
	ck_assert_int_eq(fg_journal_cursors(j, &cursor, &acked, NULL), 0);
	ck_assert_int_eq(cursor, 10);
}
END_TEST

START_TEST(ledger_and_counters)
{
	struct fg_job_record r = record("a");
	const struct fg_journal_entry e = { .job = &r, .ledger = true, .counter = true, .at_ms = 1 };
	uint64_t version = 99;

	ck_assert_int_eq(fg_journal_given(j, r.guest, "a", &version, NULL), 0);
	ck_assert_uint_eq(version, 0);
	ck_assert_int_eq(fg_journal_write(j, &e, NULL), 0);
	r.version = 3; /* an older one does not turn the counter back */
	ck_assert_int_eq(fg_journal_write(j, &e, NULL), 0);
	ck_assert_int_eq(fg_journal_counter(j, "a", &version, NULL), 0);
	ck_assert_uint_eq(version, 7);
	ck_assert_int_eq(fg_journal_given(j, r.guest, "a", &version, NULL), 0);
	ck_assert_uint_eq(version, 7);
	ck_assert_int_eq(fg_journal_given(j, r.guest, "b", &version, NULL), 0);
	ck_assert_uint_eq(version, 0);
	fg_job_record_release(&r);
}
END_TEST

START_TEST(open_jobs_oldest_first)
{
	static const enum fg_state states[] = { FG_STATE_DONE, FG_STATE_HELD, FG_STATE_FAILED, FG_STATE_QUEUED };
	struct fg_job_record **jobs = NULL;
	size_t n = 0;

	for (size_t i = 0; i < FG_COUNT(states); i++) {
		struct fg_job_record r = record("a");
		const struct fg_journal_entry e = { .job = &r };
		r.state = states[i];
		ck_assert_int_eq(fg_journal_write(j, &e, NULL), 0);
		fg_job_record_release(&r);
	}
	ck_assert_int_eq(fg_journal_jobs(j, FG_JOBS_OPEN, &jobs, &n, NULL), 0);
	ck_assert_uint_eq(n, 2);
	ck_assert_int_eq(jobs[0]->state, FG_STATE_HELD);
	ck_assert_int_eq(jobs[1]->state, FG_STATE_QUEUED);
	fg_journal_jobs_free(jobs, n);
	ck_assert_int_eq(fg_journal_jobs(j, FG_JOBS_ALL, &jobs, &n, NULL), 0);
	ck_assert_uint_eq(n, 4);
	ck_assert_int_eq(jobs[0]->state, FG_STATE_QUEUED);
	fg_journal_jobs_free(jobs, n);
}
END_TEST

/* Every state that is not an end is in the list of open jobs: one that is forgotten there is lost at the next start. */
START_TEST(no_active_state_is_forgotten)
{
	for (int s = 0; s < FG_STATE_COUNT; s++) {
		struct fg_job_record r = record("a"), **jobs = NULL;
		const struct fg_journal_entry e = { .job = &r };
		size_t before = 0, n = 0;
		ck_assert_int_eq(fg_journal_jobs(j, FG_JOBS_OPEN, &jobs, &before, NULL), 0);
		fg_journal_jobs_free(jobs, before);
		r.state = (enum fg_state)s;
		ck_assert_int_eq(fg_journal_write(j, &e, NULL), 0);
		ck_assert_int_eq(fg_journal_jobs(j, FG_JOBS_OPEN, &jobs, &n, NULL), 0);
		fg_journal_jobs_free(jobs, n);
		bool open = !fg_state_is_end((enum fg_state)s) || s == FG_STATE_HELD;
		ck_assert_msg(n == before + open, "%s", fg_state_name((enum fg_state)s));
		fg_job_record_release(&r);
	}
}
END_TEST

START_TEST(by_hand_is_remembered)
{
	const struct fg_journal_entry on = { .operator_guest = "g", .operator_set = true },
				      off = { .operator_guest = "g" };
	bool set = true;

	ck_assert_int_eq(fg_journal_operator(j, "g", &set, NULL), 0);
	ck_assert(!set);
	ck_assert_int_eq(fg_journal_write(j, &on, NULL), 0);
	ck_assert_int_eq(fg_journal_write(j, &on, NULL), 0);
	reopen();
	ck_assert_int_eq(fg_journal_operator(j, "g", &set, NULL), 0);
	ck_assert(set);
	ck_assert_int_eq(fg_journal_write(j, &off, NULL), 0);
	ck_assert_int_eq(fg_journal_operator(j, "g", &set, NULL), 0);
	ck_assert(!set);
}
END_TEST

static void die(void *arg)
{
	int *left = arg;

	if (--*left == 0)
		_exit(7);
}

/* Dying before the commit leaves nothing of the entry, after it all of it. */
START_TEST(an_entry_is_whole_or_not_there)
{
	int left = _i, status = 0;
	int64_t cursor = 0, acked = 0;

	fg_journal_close(j);
	pid_t pid = fork();
	if (pid == 0) {
		struct fg_job_record r = record("a");
		fg_autojson json_t *report = json_object();
		const struct fg_journal_entry e = {
			.job = &r, .kind = "state", .what = "x", .report = report, .acked = 5
		};
		if (fg_journal_open(path, &j, NULL) < 0)
			_exit(1);
		fg_journal_set_hook(j, die, &left);
		_exit(fg_journal_write(j, &e, NULL) < 0 ? 1 : 2);
	}
	waitpid(pid, &status, 0);
	ck_assert_int_eq(WEXITSTATUS(status), 7);
	ck_assert_int_eq(fg_journal_open(path, &j, NULL), 0);
	struct fg_job_record **jobs = NULL;
	size_t n = 9;
	ck_assert_int_eq(fg_journal_jobs(j, FG_JOBS_ALL, &jobs, &n, NULL), 0);
	fg_journal_jobs_free(jobs, n);
	ck_assert_int_eq(fg_journal_cursors(j, &cursor, &acked, NULL), 0);
	ck_assert_uint_eq(n, _i == 1 ? 0 : 1);
	ck_assert_int_eq(acked, _i == 1 ? 0 : 5);
}
END_TEST

START_TEST(the_mark_of_the_catalogue_only_grows)
{
	static const struct {
		struct fg_catalogue_mark in, then;
	} steps[] = { { { 1, 5 }, { 1, 5 } }, { { 1, 4 }, { 1, 5 } },
		      { { 1, 5 }, { 1, 5 } }, { { 1, INT64_MAX }, { 1, INT64_MAX } },
		      { { 2, 1 }, { 2, 1 } }, { { 1, INT64_MAX }, { 2, 1 } },
		      { { 2, 2 }, { 2, 2 } } };
	struct fg_catalogue_mark mark = { 9, 9 };

	ck_assert_int_eq(fg_journal_catalogue(j, &mark, NULL), 0);
	ck_assert_uint_eq(mark.generation, 0);
	ck_assert_uint_eq(mark.version, 0);
	for (size_t i = 0; i < FG_COUNT(steps); i++) {
		const struct fg_journal_entry e = { .catalogue = &steps[i].in };
		ck_assert_int_eq(fg_journal_write(j, &e, NULL), 0);
		ck_assert_int_eq(fg_journal_catalogue(j, &mark, NULL), 0);
		ck_assert_uint_eq(mark.generation, steps[i].then.generation);
		ck_assert_uint_eq(mark.version, steps[i].then.version);
	}
}
END_TEST

/* A new one has a name of its own and keeps it; one of version 1 reported without a name and goes on so. */
START_TEST(names)
{
	fg_autofree char *first = NULL, *again = NULL, *old = NULL;
	sqlite3 *db = NULL;

	ck_assert_int_eq(fg_journal_name(j, &first, NULL), 0);
	reopen();
	ck_assert_int_eq(fg_journal_name(j, &again, NULL), 0);
	ck_assert_uint_eq(strlen(first), 36);
	ck_assert_str_eq(first, again);
	fg_journal_close(j);
	ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
	ck_assert_int_eq(sqlite3_exec(db,
				      "DROP TABLE name; DROP TABLE catalogue;"
				      "ALTER TABLE jobs DROP COLUMN not_applicable; PRAGMA user_version=1",
				      NULL, NULL, NULL),
			 SQLITE_OK);
	sqlite3_close(db);
	ck_assert_int_eq(fg_journal_open(path, &j, NULL), 0);
	ck_assert_int_eq(fg_journal_name(j, &old, NULL), 0);
	ck_assert_str_eq(old, "");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("journal");
	TCase *t = tcase_create("journal");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, the_mark_of_the_catalogue_only_grows);
	tcase_add_test(t, names);
	tcase_add_test(t, job_comes_back_as_it_was);
	tcase_add_test(t, sequence_numbers_are_never_used_again);
	tcase_add_test(t, inbox_and_cursor_go_together);
	tcase_add_test(t, ledger_and_counters);
	tcase_add_test(t, open_jobs_oldest_first);
	tcase_add_test(t, no_active_state_is_forgotten);
	tcase_add_test(t, by_hand_is_remembered);
	tcase_add_loop_test(t, an_entry_is_whole_or_not_there, 1, 3);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
