/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What came back is compared with what was stopped. */
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
	snprintf(dir, sizeof(dir), "%s", "/dev/shm/fg-start-XXXXXX");
	test_folder_make(dir);
}

static void teardown(void)
{
	test_folder_remove(dir);
	fake_world_free(w);
}

static bool being_fixed(struct fake *fake)
{
	const struct fg_job *job = TAILQ_FIRST(&fake->agent.jobs);

	return job && job->r.state == FG_STATE_FIXING;
}

/* _i: NICs and disks that it has when it comes back; half a domain has none. */
static const struct {
	unsigned n_nics;
	bool more_disks;
	const char *end;
} back[] = { { 1, false, "done" }, { 0, false, "held" }, { 2, false, "held" }, { 1, true, "held" } };

START_TEST(half_a_guest_is_not_done)
{
	struct fake_guest *g = fake_guest(w, FAKE_WEB1);

	g->n_nics = 1;
	fake_offer(w, FAKE_WEB1, 1);
	fake_start(&f, w, dir, NULL, NULL);
	fake_pump(&f, being_fixed);
	g->n_nics = back[_i].n_nics;
	g->disk_readonly2 = back[_i].more_disks;
	fake_pump(&f, NULL);
	fake_end(&f);
	ck_assert_str_eq(fake_last_state(w, FAKE_WEB1), back[_i].end);
	if (!strcmp(back[_i].end, "held")) {
		ck_assert_ptr_nonnull(strstr(fake_report_of(w, FAKE_WEB1, "held")->reason, "came back as another"));
		ck_assert_int_eq(g->state, FG_GUEST_PAUSED);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("start");
	TCase *tc = tcase_create("all");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, half_a_guest_is_not_done, 0, (int)FG_COUNT(back));
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
