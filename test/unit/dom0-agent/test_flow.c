/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The whole way of a job, against the fakes, to each of its ends. */
#include <check.h>
#include <test/fakes/world.h>
#include <test/folder.h>

#include <string.h>
#include <unistd.h>

static struct fake_world *w;
static struct fake f;
static char dir[32];

static void setup(void)
{
	memset(&f, 0, sizeof(f));
	w = fake_world_new();
	snprintf(dir, sizeof(dir), "%s", "/dev/shm/fg-flow-XXXXXX");
	test_folder_make(dir);
}

static void teardown(void)
{
	test_folder_remove(dir);
	fake_world_free(w);
}

static void run(void)
{
	fake_start(&f, w, dir, NULL, NULL);
	fake_pump(&f, NULL);
	ck_assert_msg(!w->violation[0], "%s", w->violation);
	ck_assert_msg(!w->fatal[0], "%s", w->fatal);
	for (size_t i = 0; i < FG_COUNT(w->vms); i++)
		ck_assert(!w->vms[i].exists && !w->vms[i].marked);
	fake_end(&f);
	ck_assert_msg(!w->violation[0], "%s", w->violation);
}

static const struct fake_guest *web1(void)
{
	return fake_guest(w, FAKE_WEB1);
}

static void expect(const char *state, const char *reason)
{
	const struct fake_report *r = fake_report_of(w, FAKE_WEB1, state);

	ck_assert_str_eq(fake_last_state(w, FAKE_WEB1), state);
	if (reason)
		ck_assert_msg(strstr(r->reason, reason) != NULL, "reason is '%s'", r->reason);
}

static void expect_order(const char *const *states, size_t n)
{
	size_t at = 0;

	for (unsigned i = 0; i < w->n_reports; i++) {
		ck_assert_msg(at < n && strcmp(w->reports[i].state, states[at]) == 0, "report %u is %s", i,
			      w->reports[i].state);
		at++;
	}
	ck_assert_uint_eq(at, n);
}

static void expect_running(bool isolated, int disk)
{
	ck_assert_int_eq(web1()->state, FG_GUEST_RUNNING);
	ck_assert_int_eq(web1()->marked, isolated);
	ck_assert_int_eq(web1()->disk, disk);
	if (isolated)
		ck_assert(web1()->armed);
}

static void configure(void)
{
	fake_configure(&f, dir);
}

START_TEST(fixed_and_back)
{
	static const char *const states[] = { "offered", "queued",   "isolated",  "stopped", "fixing",
					      "fixed",	 "released", "rebooting", "done" };

	fake_offer(w, FAKE_WEB1, 3);
	run();
	expect_order(states, FG_COUNT(states));
	expect_running(false, 1100);
	ck_assert_uint_eq(w->looks_made, 1);
	ck_assert_uint_eq(w->vms_made, 1);
	ck_assert_uint_eq(web1()->starts, 1);
	ck_assert_int_eq(fake_guest(w, FAKE_WEB2)->marked, false);
}
END_TEST

START_TEST(offered_again_is_not_needed_and_not_touched)
{
	fake_offer(w, FAKE_WEB1, 3);
	run();
	unsigned isolations = w->isolations;
	fake_offer(w, FAKE_WEB1, 3);
	run();
	expect("not-needed", "this host gave it");
	ck_assert_uint_eq(w->isolations, isolations);
	ck_assert_uint_eq(w->looks_made, 1);
}
END_TEST

START_TEST(older_version_is_rejected)
{
	fake_offer(w, FAKE_WEB2, 3);
	run();
	fake_offer(w, FAKE_WEB1, 2);
	run();
	expect("rejected", "older than 3");
	ck_assert_uint_eq(web1()->starts, 0);
}
END_TEST

/* Whatever fixgate-net says: the mark is in the journal. */
START_TEST(older_catalogue_is_rejected)
{
	w->catalogue_version = 5;
	fake_offer(w, FAKE_WEB2, 1);
	run();
	unsigned isolations = w->isolations;
	w->catalogue_version = 4;
	fake_offer(w, FAKE_WEB1, 1);
	run();
	expect("rejected", "its catalogue is older");
	ck_assert_uint_eq(web1()->starts, 0);
	ck_assert_uint_eq(w->isolations, isolations);
}
END_TEST

static void expect_trusted(uint64_t mark, uint64_t counter)
{
	fg_autofree char *path = fg_asprintf("%s/journal.db", f.config.state_dir);
	struct fg_catalogue_mark found = { 0, 0 };
	struct fg_journal *journal = NULL;
	uint64_t verified = 0;

	ck_assert_int_eq(fg_journal_open(path, &journal, NULL), 0);
	ck_assert_int_eq(fg_journal_catalogue(journal, &found, NULL), 0);
	ck_assert_int_eq(fg_journal_counter(journal, "demo-fix", &verified, NULL), 0);
	fg_journal_close(journal);
	ck_assert_uint_eq(found.version, mark);
	ck_assert_uint_eq(verified, counter);
}

/* Trusted counters are written only after everything verified: else whoever forges one locks the true ones out. */
START_TEST(what_does_not_verify_leaves_no_mark)
{
	w->catalogue_version = 4;
	fake_offer(w, FAKE_WEB2, 1);
	run();
	expect_trusted(5, 1);
	w->catalogue_version = 1000;
	w->head_untrusted = _i == 0;
	w->head_of_another = _i == 1;
	w->copy_differs = _i == 2;
	fake_offer(w, FAKE_WEB1, 7);
	run();
	expect("rejected", NULL);
	expect_trusted(5, 1);
	w->head_untrusted = w->head_of_another = w->copy_differs = false;
	w->catalogue_version = 5;
	fake_offer(w, FAKE_WEB1, 2);
	run();
	expect("done", NULL);
	expect_trusted(6, 2);
}
END_TEST

START_TEST(untrusted_is_rejected)
{
	w->head_untrusted = true;
	fake_offer(w, FAKE_WEB1, 1);
	run();
	expect("rejected", "signature");
	ck_assert_uint_eq(w->isolations, 0);
}
END_TEST

START_TEST(refused_guest_is_rejected)
{
	fake_guest(w, FAKE_WEB1)->refused = true;
	fake_offer(w, FAKE_WEB1, 1);
	run();
	expect("rejected", "passed through");
	ck_assert_uint_eq(w->isolations, 0);
}
END_TEST

START_TEST(unknown_guest_is_rejected)
{
	fake_offer(w, "f19a0000-0000-4000-8000-0000000000ff", 1);
	run();
	ck_assert_str_eq(fake_last_state(w, "f19a0000-0000-4000-8000-0000000000ff"), "rejected");
}
END_TEST

START_TEST(inspection_saves_the_guest)
{
	w->look = FAKE_LOOK_NOT_NEEDED;
	fake_offer(w, FAKE_WEB1, 1);
	run();
	expect("not-needed", "receipt");
	ck_assert_uint_eq(w->isolations, 0);
	expect_running(false, 100);
}
END_TEST

/* Not the same as "it has the fix": the server keeps the two apart. */
START_TEST(not_applicable_is_reported)
{
	w->look = FAKE_LOOK_NOT_APPLICABLE;
	fake_offer(w, FAKE_WEB1, 1);
	run();
	expect("not-needed", "os");
	ck_assert_ptr_nonnull(
		strstr(fake_report_of(w, FAKE_WEB1, "not-needed")->evidence, "\"applies\":\"not-applicable\""));
}
END_TEST

START_TEST(unclear_inspection_goes_on)
{
	w->look = (enum fake_look)_i;
	fake_offer(w, FAKE_WEB1, 1);
	run();
	expect("done", NULL);
	ck_assert_uint_eq(w->looks_made, 1);
}
END_TEST

START_TEST(not_needed_in_the_fix_vm)
{
	w->script = FAKE_NOT_NEEDED;
	fake_offer(w, FAKE_WEB1, 1);
	run();
	expect("not-needed", "receipt");
	expect_running(false, 100);
}
END_TEST

struct end {
	enum fake_script script;
	const char *state, *reason;
};
static const struct end ends[] = {
	{ FAKE_FAILS, "failed", "exit status 1" },	    { FAKE_DOWNLOAD_FAILS, "failed", "block" },
	{ FAKE_HANGS_AT_BOOT, "rolled-back", "to boot" },   { FAKE_HANGS_AT_DOWNLOAD, "rolled-back", "download" },
	{ FAKE_HANGS_AT_FIX, "rolled-back", "result" },	    { FAKE_NEVER_POWERS_OFF, "rolled-back", "power off" },
	{ FAKE_CRASHES, "rolled-back", "Kernel panic" },    { FAKE_LIES, "rolled-back", "may not say" },
	{ FAKE_SAYS_NEEDED, "rolled-back", "may not say" },
};

START_TEST(bad_fix_leaves_the_disk_and_isolates)
{
	w->script = ends[_i].script;
	fake_offer(w, FAKE_WEB1, 1);
	run();
	expect(ends[_i].state, ends[_i].reason);
	expect_running(true, 100);
	ck_assert_uint_eq(web1()->starts, 1);
}
END_TEST

START_TEST(on_failure_release)
{
	configure();
	f.config.release_on_failure = true;
	w->script = FAKE_FAILS;
	fake_offer(w, FAKE_WEB1, 1);
	run();
	expect("failed", NULL);
	expect_running(false, 100);
}
END_TEST

START_TEST(release_after_health)
{
	static const char *const states[] = { "offered", "queued",    "isolated", "stopped", "fixing",
					      "fixed",	 "rebooting", "released", "done" };

	configure();
	f.config.release_after_health = true;
	fake_offer(w, FAKE_WEB1, 1);
	run();
	expect_order(states, FG_COUNT(states));
	expect_running(false, 1100);
}
END_TEST

START_TEST(unhealthy_is_held_and_isolated)
{
	w->unhealthy = true;
	fake_offer(w, FAKE_WEB1, 1);
	run();
	expect("held", "not connected");
	expect_running(true, 1100);
}
END_TEST

START_TEST(unhealthy_is_released_by_policy)
{
	configure();
	f.config.release_on_health_failure = true;
	w->unhealthy = true;
	fake_offer(w, FAKE_WEB1, 1);
	run();
	expect("done", "not healthy");
	expect_running(false, 1100);
}
END_TEST

START_TEST(guest_that_was_off_stays_off)
{
	struct fake_guest *g = fake_guest(w, FAKE_WEB1);

	g->state = FG_GUEST_OFF;
	g->off_known = true;
	fake_offer(w, FAKE_WEB1, 1);
	run();
	expect("done", NULL);
	ck_assert_int_eq(g->state, FG_GUEST_OFF);
	ck_assert_int_eq(g->disk, 1100);
	ck_assert(!g->marked);
	ck_assert_uint_eq(g->starts, 0);
}
END_TEST

/* A guest in its own reboot is no domain for two seconds, whenever that is; its owner must not bring it back then. */
static const char *const reboot_calls[] = { "find", "save", "isolate", "stop" };

START_TEST(guest_that_reboots_is_not_gone)
{
	struct fake_guest *g = fake_guest(w, FAKE_WEB1);

	for (unsigned nth = 1; nth <= 6; nth++) {
		for (int known = 0; known < 2; known++) {
			teardown();
			setup();
			g = fake_guest(w, FAKE_WEB1);
			g->off_known = known; /* its file pins the UUID */
			fake_happens(w, FAKE_REBOOTS, reboot_calls[_i], nth);
			fake_offer(w, FAKE_WEB1, 1);
			run();
			if (!known && nth == 1 && _i == 0) /* nothing tells it from one that never was */
				continue;
			expect("done", NULL);
			expect_running(false, 1100);
		}
	}
}
END_TEST

/* Somebody starts the guest while it is fixed: what the fix wrote must not come under it. */
struct start {
	const char *call;
	unsigned nth;
	const char *state;
};
static const struct start starts[] = {
	{ "token", 1, "failed" },
	{ "fixvm create", 2, "failed" },
	{ "fixvm send", 1, "rolled-back" },
	{ "fixvm destroy", 2, "rolled-back" },
};

START_TEST(guest_that_somebody_starts_meanwhile_runs_on_isolated)
{
	fake_happens(w, FAKE_STARTED, starts[_i].call, starts[_i].nth);
	fake_offer(w, FAKE_WEB1, 1);
	run();
	expect(starts[_i].state, "the guest runs");
	expect_running(true, 100);
	ck_assert_uint_eq(web1()->starts, 0);
	ck_assert(web1()->by_somebody);
	ck_assert(!w->layers[0][0].exists);
}
END_TEST

/* Its file pins no UUID: it is another guest then, on the same disk. */
START_TEST(guest_that_somebody_starts_with_another_uuid_is_seen)
{
	fake_happens(w, FAKE_STARTED_AS_ANOTHER, starts[_i].call, starts[_i].nth);
	fake_offer(w, FAKE_WEB1, 1);
	run();
	expect("held", "runs and has its disk");
	ck_assert_int_eq(web1()->state, FG_GUEST_OFF); /* not started on a disk that is in use */
	ck_assert_int_eq(web1()->disk, 100);
	ck_assert(web1()->marked);
}
END_TEST

/* Half of the disks are merged: no way back, and none forward while it runs. */
START_TEST(guest_that_somebody_starts_in_the_merge_is_held)
{
	w->started_in_merge = true;
	fake_offer(w, FAKE_WEB1, 1);
	run();
	expect("held", "the guest runs");
	ck_assert(web1()->marked && web1()->armed);
}
END_TEST

static const char *const from[] = { "token", "fixvm create", "fixvm send" };

START_TEST(whether_it_is_gone_cannot_be_asked)
{
	fake_offer(w, FAKE_WEB1, 1);
	w->unknown_from = from[_i];
	configure();
	f.config.inspect = false;
	run();
	expect("held", "is the guest still gone");
	ck_assert_int_eq(web1()->state, FG_GUEST_OFF);
	ck_assert_int_eq(web1()->disk, 100);
	ck_assert(web1()->marked);
}
END_TEST

START_TEST(guest_that_was_paused_stays_paused)
{
	fake_guest(w, FAKE_WEB1)->state = FG_GUEST_PAUSED;
	fake_offer(w, FAKE_WEB1, 1);
	run();
	expect("done", NULL);
	ck_assert_int_eq(web1()->state, FG_GUEST_PAUSED);
}
END_TEST

START_TEST(guest_that_does_not_stop_runs_on_isolated)
{
	w->stop_ignored = true;
	fake_offer(w, FAKE_WEB1, 1);
	run();
	expect("failed", "cannot stop");
	expect_running(true, 100);
	ck_assert_uint_eq(web1()->starts, 0);
}
END_TEST

START_TEST(nic_that_comes_meanwhile_is_cut_off_too)
{
	w->nic_comes = true;
	fake_offer(w, FAKE_WEB1, 1);
	run();
	expect("done", NULL);
	expect_running(false, 1100);
}
END_TEST

START_TEST(link_address_that_comes_later_is_waited_for)
{
	w->link_unknown = 2;
	fake_offer(w, FAKE_WEB1, 1);
	run();
	expect("done", NULL);
	expect_running(false, 1100);
	ck_assert_uint_eq(w->vms_made, 1);
}
END_TEST

START_TEST(link_address_that_never_comes)
{
	w->link_unknown = 1000;
	fake_offer(w, FAKE_WEB1, 1);
	run();
	expect_running(true, 100);
	ck_assert_uint_eq(w->vms_made, 0);
	ck_assert_str_eq(fake_last_state(w, FAKE_WEB1), "failed");
}
END_TEST

START_TEST(several_disks)
{
	fake_guest(w, FAKE_WEB1)->disk_readonly2 = true;
	fake_offer(w, FAKE_WEB1, 1);
	run();
	expect("done", NULL);
	ck_assert(!w->layers[0][1].exists);
}
END_TEST

START_TEST(store_that_overflowed_rolls_back)
{
	w->overflow = true;
	fake_offer(w, FAKE_WEB1, 1);
	run();
	expect("rolled-back", "overflowed");
	expect_running(true, 100);
}
END_TEST

START_TEST(merge_that_breaks_is_held_and_the_guest_stays_off)
{
	w->merge_breaks = true;
	fake_offer(w, FAKE_WEB1, 1);
	run();
	expect("held", "cannot merge");
	ck_assert_int_eq(web1()->state, FG_GUEST_OFF);
	ck_assert(web1()->marked);
	ck_assert(w->layers[0][0].exists); /* what is needed to go on */
}
END_TEST

START_TEST(one_after_the_other)
{
	fake_offer(w, FAKE_WEB1, 1);
	fake_offer(w, FAKE_WEB2, 1);
	fake_offer(w, FAKE_DB1, 1);
	fake_offer(w, FAKE_WEB1, 1); /* twice: dropped */
	run();
	ck_assert_uint_eq(fake_count(w, FAKE_WEB1, "done"), 1);
	ck_assert_uint_eq(fake_count(w, FAKE_WEB2, "done"), 1);
	ck_assert_uint_eq(fake_count(w, FAKE_DB1, "done"), 1);
	ck_assert_uint_eq(fake_count(w, FAKE_WEB1, "offered"), 1);
}
END_TEST

START_TEST(held_guest_takes_no_other_job)
{
	w->unhealthy = true;
	fake_offer(w, FAKE_WEB1, 1);
	run();
	fake_offer(w, FAKE_WEB1, 2);
	run();
	expect("failed", "held by job");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("agent");
	TCase *t = tcase_create("flow");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, fixed_and_back);
	tcase_add_test(t, offered_again_is_not_needed_and_not_touched);
	tcase_add_test(t, older_version_is_rejected);
	tcase_add_test(t, older_catalogue_is_rejected);
	tcase_add_test(t, untrusted_is_rejected);
	tcase_add_loop_test(t, what_does_not_verify_leaves_no_mark, 0, 3);
	tcase_add_test(t, refused_guest_is_rejected);
	tcase_add_test(t, unknown_guest_is_rejected);
	tcase_add_test(t, inspection_saves_the_guest);
	tcase_add_test(t, not_applicable_is_reported);
	tcase_add_loop_test(t, unclear_inspection_goes_on, FAKE_LOOK_CRASHES, FAKE_LOOK_HANGS + 1);
	tcase_add_test(t, not_needed_in_the_fix_vm);
	tcase_add_loop_test(t, bad_fix_leaves_the_disk_and_isolates, 0, FG_COUNT(ends));
	tcase_add_test(t, on_failure_release);
	tcase_add_test(t, release_after_health);
	tcase_add_test(t, unhealthy_is_held_and_isolated);
	tcase_add_test(t, unhealthy_is_released_by_policy);
	tcase_add_test(t, guest_that_was_off_stays_off);
	tcase_add_loop_test(t, guest_that_reboots_is_not_gone, 0, FG_COUNT(reboot_calls));
	tcase_add_test(t, guest_that_somebody_starts_in_the_merge_is_held);
	tcase_add_loop_test(t, guest_that_somebody_starts_with_another_uuid_is_seen, 0, FG_COUNT(starts));
	tcase_add_loop_test(t, whether_it_is_gone_cannot_be_asked, 0, FG_COUNT(from));
	tcase_add_loop_test(t, guest_that_somebody_starts_meanwhile_runs_on_isolated, 0, FG_COUNT(starts));
	tcase_add_test(t, guest_that_was_paused_stays_paused);
	tcase_add_test(t, guest_that_does_not_stop_runs_on_isolated);
	tcase_add_test(t, nic_that_comes_meanwhile_is_cut_off_too);
	tcase_add_test(t, link_address_that_comes_later_is_waited_for);
	tcase_add_test(t, link_address_that_never_comes);
	tcase_add_test(t, several_disks);
	tcase_add_test(t, store_that_overflowed_rolls_back);
	tcase_add_test(t, merge_that_breaks_is_held_and_the_guest_stays_off);
	tcase_add_test(t, one_after_the_other);
	tcase_add_test(t, held_guest_takes_no_other_job);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
