/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The n-th call to the outside fails, for every n, with each class of error, with or without its effect having taken
 * place, once or from then on.  Whatever happens, the job ends in a state that is allowed, and what that state says is
 * true.
 */
#include <check.h>
#include <lib/log.h>
#include <test/fakes/world.h>
#include <test/folder.h>

#include <string.h>
#include <unistd.h>

#define CALLS_MAX 400

struct fault {
	int code;
	bool after, for_ever;
};

static const struct fault faults[] = {
	{ FG_EUNREACHABLE, false, false }, { FG_ETIMEOUT, true, false },  { FG_EIO, false, false },
	{ FG_EREFUSED, false, false },	   { FG_EDIFFERS, false, false }, { FG_EFAILED, true, false },
	{ FG_EUNREACHABLE, false, true },  { FG_ETIMEOUT, true, true },	  { FG_EREFUSED, false, true },
};

static const enum fake_script scripts[] = { FAKE_VERIFIED, FAKE_FAILS };

/* What the end says must be so. */
static void check_truth(const struct fake_world *w, const char *state, const char *what)
{
	const struct fake_guest *g = &w->guests[0];
	bool vm = false;

	for (size_t i = 0; i < FG_COUNT(w->vms); i++)
		vm |= w->vms[i].exists && !w->vms[i].inspect;
	if (strcmp(state, "done") == 0) {
		ck_assert_msg(g->disk == 1100 && g->state == FG_GUEST_RUNNING && !g->marked && !vm,
			      "%s: done, but not so", what);
	} else if (strcmp(state, "held") == 0) {
		/* Where nothing answers any more it is still being tried. */
		ck_assert_msg(w->fail_for_ever || g->marked, "%s: held, not marked", what);
		ck_assert_msg(w->fail_for_ever || g->state != FG_GUEST_RUNNING || g->armed, "%s: held, not armed",
			      what);
		ck_assert_msg(!(vm && g->state != FG_GUEST_OFF), "%s: held with two writers", what);
	} else if (strcmp(state, "failed") == 0 || strcmp(state, "rolled-back") == 0) {
		ck_assert_msg(g->disk == 100 && g->state == FG_GUEST_RUNNING && !vm, "%s: %s, but not so", what, state);
	} else if (strcmp(state, "rejected") == 0) {
		ck_assert_msg(g->disk == 100 && g->state == FG_GUEST_RUNNING && !g->marked && !vm,
			      "%s: rejected, touched", what);
	} else {
		/* Offers whose head cannot be had are asked for again, for ever. */
		ck_assert_msg(w->n_reports == 0 && !g->marked, "%s: ended as %s", what, state);
	}
}

static bool a_day(struct fake *f)
{
	return f->w->now_ms > 1800000000000 + 86400000;
}

static bool one(const struct fault *fault, enum fake_script script, unsigned at)
{
	char dir[] = "/dev/shm/fg-fault-XXXXXX", what[300];
	struct fake_world *w = fake_world_new();
	struct fake f;

	memset(&f, 0, sizeof(f));
	test_folder_make(dir);
	w->script = script;
	w->fail_at = at;
	w->fail_code = fault->code;
	w->fail_after = fault->after;
	w->fail_for_ever = fault->for_ever;
	fake_offer(w, FAKE_WEB1, 3);
	fake_start(&f, w, dir, NULL, NULL);
	fake_pump(&f, a_day);
	snprintf(what, sizeof(what), "call %u (%s) fails with %s%s%s", at, w->failed_name, fg_error_name(fault->code),
		 fault->after ? " after its effect" : "", fault->for_ever ? ", and all that follow" : "");
	ck_assert_msg(!w->violation[0], "%s: %s", what, w->violation);
	ck_assert_msg(!w->fatal[0], "%s: %s", what, w->fatal);
	/* Who could not be asked has not said no. */
	if (fg_code_unknown(-fault->code))
		ck_assert_msg(fake_count(w, FAKE_WEB1, "rejected") == 0, "%s: rejected", what);
	if (w->failed)
		check_truth(w, fake_last_state(w, FAKE_WEB1), what);
	bool failed = w->failed;
	fake_end(&f);
	test_folder_remove(dir);
	fake_world_free(w);
	return failed;
}

START_TEST(nth_call_fails)
{
	const struct fault *fault = &faults[(size_t)_i / FG_COUNT(scripts)];
	unsigned at = 1;

	while (one(fault, scripts[(size_t)_i % FG_COUNT(scripts)], at))
		ck_assert_uint_lt(at++, CALLS_MAX);
	ck_assert_uint_gt(at, 20); /* a job asks for more than that */
}
END_TEST

int main(void)
{
	fg_log_init("sweep", FG_LOG_NONE);
	Suite *s = suite_create("agent");
	TCase *t = tcase_create("fault");

	tcase_set_timeout(t, 400);
	tcase_add_loop_test(t, nth_call_fails, 0, FG_COUNT(faults) * FG_COUNT(scripts));
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
