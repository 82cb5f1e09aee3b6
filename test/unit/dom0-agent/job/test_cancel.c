/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Offers that the server cancels: before, while, and after their job can still be left. */
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
	snprintf(dir, sizeof(dir), "%s", "/dev/shm/fg-cancel-XXXXXX");
	test_folder_make(dir);
}

static void teardown(void)
{
	test_folder_remove(dir);
	fake_world_free(w);
}

static void cancelled(const char *guest, int seq, int cursor)
{
	fg_autojson json_t *message = json_pack("{ss si s[] s[{si ss ss}]}", "type", "offers", "cursor", cursor,
						"offers", "cancelled", "seq", seq, "guest", guest, "fix", FAKE_FIX);

	ck_assert_ptr_nonnull(message);
	fg_agent_net_message(&f.agent, message);
	ck_assert_msg(!w->fatal[0], "%s", w->fatal);
}

static void start(bool (*until)(struct fake *f))
{
	fake_start(&f, w, dir, NULL, NULL);
	fake_pump(&f, until);
}

static void finish(void)
{
	fake_pump(&f, NULL);
	ck_assert_msg(!w->violation[0], "%s", w->violation);
	ck_assert_msg(!w->fatal[0], "%s", w->fatal);
	for (size_t i = 0; i < FG_COUNT(w->vms); i++)
		ck_assert(!w->vms[i].exists && !w->vms[i].marked);
	fake_end(&f);
	ck_assert_msg(!w->violation[0], "%s", w->violation);
}

static void expect_left_alone(void)
{
	const struct fake_report *r = fake_report_of(w, FAKE_WEB1, "rejected");

	ck_assert_str_eq(fake_last_state(w, FAKE_WEB1), "rejected");
	ck_assert_str_eq(r->reason, "the server cancelled the offer");
	ck_assert_uint_eq(w->isolations, 0);
	ck_assert_uint_eq(fake_guest(w, FAKE_WEB1)->starts, 0);
	ck_assert(!fake_guest(w, FAKE_WEB1)->marked);
	ck_assert_int_eq(fake_guest(w, FAKE_WEB1)->disk, 100);
}

static const struct fg_job *job_of(const struct fake *fake, const char *guest)
{
	const struct fg_job *job = NULL;

	TAILQ_FOREACH (job, &fake->agent.jobs, link)
		if (!strcmp(job->r.guest, guest))
			return job;
	return NULL;
}

static bool is_asking(struct fake *fake)
{
	return !LIST_EMPTY(&fake->agent.offers);
}

static bool is_inspected(struct fake *fake)
{
	const struct fg_job *job = job_of(fake, FAKE_WEB1);

	return job && job->run;
}

static bool waits_for_a_slot(struct fake *fake)
{
	const struct fg_job *job = job_of(fake, FAKE_WEB1), *other = job_of(fake, FAKE_WEB2);

	return job && other && job->slot_wanted != FG_SLOT_NONE && other->slot != FG_SLOT_NONE;
}

static bool is_isolated(struct fake *fake)
{
	const struct fg_job *job = job_of(fake, FAKE_WEB1);

	return job && job->r.state == FG_STATE_ISOLATED;
}

START_TEST(before_there_is_a_job)
{
	fake_offer(w, FAKE_WEB1, 1);
	start(is_asking);
	cancelled(FAKE_WEB1, 1, 2);
	finish();
	expect_left_alone();
	ck_assert_uint_eq(w->n_reports, 1);
}
END_TEST

START_TEST(while_it_is_inspected)
{
	fake_offer(w, FAKE_WEB1, 1);
	start(is_inspected);
	cancelled(FAKE_WEB1, 1, 2);
	cancelled(FAKE_WEB1, 1, 2); /* twice is once */
	finish();
	expect_left_alone();
}
END_TEST

START_TEST(while_it_waits_for_its_turn)
{
	fake_offer(w, FAKE_WEB2, 1);
	fake_offer(w, FAKE_WEB1, 1);
	start(waits_for_a_slot);
	ck_assert_ptr_nonnull(job_of(&f, FAKE_WEB1));
	cancelled(FAKE_WEB1, 2, 3);
	ck_assert_ptr_null(job_of(&f, FAKE_WEB1)); /* at once */
	finish();
	ck_assert_str_eq(fake_last_state(w, FAKE_WEB1), "rejected");
	ck_assert(!fake_guest(w, FAKE_WEB1)->armed_once);
	ck_assert_str_eq(fake_last_state(w, FAKE_WEB2), "done");
}
END_TEST

START_TEST(not_once_it_is_isolated)
{
	fake_offer(w, FAKE_WEB1, 1);
	start(is_isolated);
	cancelled(FAKE_WEB1, 1, 2);
	finish();
	ck_assert_str_eq(fake_last_state(w, FAKE_WEB1), "done");
	ck_assert_int_eq(fake_guest(w, FAKE_WEB1)->disk, 1100);
}
END_TEST

START_TEST(only_what_was_meant)
{
	fake_offer(w, FAKE_WEB1, 1);
	fake_offer(w, FAKE_WEB1, 2);
	start(is_asking);
	cancelled(FAKE_WEB2, 2, 3); /* another guest */
	cancelled(FAKE_WEB1, 1, 4); /* the older offer of the two */
	finish();
	ck_assert_str_eq(fake_last_state(w, FAKE_WEB1), "done");
	ck_assert_uint_eq(fake_count(w, FAKE_WEB1, "rejected"), 1);
}
END_TEST

/* The agent dies right after it has heard of it. */
START_TEST(a_restart_does_not_forget)
{
	bool (*const until[])(struct fake *) = { is_asking, is_inspected };

	fake_offer(w, FAKE_WEB1, 1);
	start(until[_i]);
	cancelled(FAKE_WEB1, 1, 2);
	fake_end(&f);
	memset(&f, 0, sizeof(f));
	start(NULL);
	finish();
	expect_left_alone();
}
END_TEST

START_TEST(a_new_offer_counts_again)
{
	fake_offer(w, FAKE_WEB1, 1);
	start(is_asking);
	cancelled(FAKE_WEB1, 1, 1);
	finish();
	expect_left_alone();
	memset(&f, 0, sizeof(f));
	fake_offer(w, FAKE_WEB1, 1);
	start(NULL);
	finish();
	ck_assert_str_eq(fake_last_state(w, FAKE_WEB1), "done");
}
END_TEST

START_TEST(malformed_ones_are_ignored)
{
	static const char *const bad[] = {
		"{\"type\":\"offers\",\"cursor\":2,\"offers\":[],\"cancelled\":7}",
		"{\"type\":\"offers\",\"cursor\":2,\"offers\":[],\"cancelled\":[1,{},{\"seq\":0,\"guest\":\"" FAKE_WEB1
		"\",\"fix\":\"" FAKE_FIX "\"},{\"seq\":1,\"guest\":\"x\",\"fix\":\"" FAKE_FIX
		"\"},{\"seq\":1,\"guest\":\"" FAKE_WEB1 "\",\"fix\":\"../x\"}]}",
	};

	fake_offer(w, FAKE_WEB1, 1);
	start(is_asking);
	for (size_t i = 0; i < FG_COUNT(bad); i++) {
		fg_autojson json_t *message = json_loads(bad[i], 0, NULL);
		ck_assert_ptr_nonnull(message);
		fg_agent_net_message(&f.agent, message);
	}
	finish();
	ck_assert_str_eq(fake_last_state(w, FAKE_WEB1), "done");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cancel");
	TCase *t = tcase_create("cancel");

	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, before_there_is_a_job);
	tcase_add_test(t, while_it_is_inspected);
	tcase_add_test(t, while_it_waits_for_its_turn);
	tcase_add_test(t, not_once_it_is_isolated);
	tcase_add_test(t, only_what_was_meant);
	tcase_add_loop_test(t, a_restart_does_not_forget, 0, 2);
	tcase_add_test(t, a_new_offer_counts_again);
	tcase_add_test(t, malformed_ones_are_ignored);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
