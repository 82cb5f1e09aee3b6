/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a rollout does next, over a table. */
#include <check.h>
#include <lib/util.h>
#include <server/rollout/decide.h>
#include <string.h>

#define NOW 1767607200000 /* 2026-01-05T10:00:00Z, a Monday */
#define HOUR 3600000
#define NEVER INT64_MAX

enum {
	W = FG_TARGET_WAITING,
	O = FG_TARGET_OFFERED,
	L = FG_TARGET_LEAVING,
	K = FG_TARGET_OK,
	F = FG_TARGET_FAILED,
	S = FG_TARGET_SKIPPED
};

struct row {
	const char *name;
	enum fg_rollout_state state;
	int64_t wave, reached_ms, forgiven, oldest_ms;
	int64_t n[2][FG_TARGET_STATE_COUNT];
	const char *more; /* of the plan */
	enum fg_rollout_action action;
	int64_t next_ms;
};

#define RUN FG_ROLLOUT_RUNNING
#define PLAN90 ",\"success_pct\":90,\"max_failures\":-1"
#define SHUT ",\"windows\":[\"11:00-12:00\"]"
#define OPEN ",\"windows\":[\"09:00-12:00\"]"

static const struct row table[] = {
	/* states in which nothing is done by itself */
	{ "awaits approval", FG_ROLLOUT_AWAITING_APPROVAL, 0, 0, 0, 0, { { [W] = 1 } }, "", FG_DO_WAIT, NEVER },
	{ "paused", FG_ROLLOUT_PAUSED, 0, 0, 0, 0, { { [W] = 1 } }, "", FG_DO_WAIT, NEVER },
	{ "paused with failures", FG_ROLLOUT_PAUSED, 0, 0, 0, 0, { { [F] = 9 } }, "", FG_DO_WAIT, NEVER },
	{ "stopped", FG_ROLLOUT_STOPPED, 0, 0, 0, 0, { { [O] = 1 } }, "", FG_DO_WAIT, NEVER },
	{ "cancelled", FG_ROLLOUT_CANCELLED, 0, 0, 0, 0, { { [W] = 1 } }, "", FG_DO_WAIT, NEVER },
	{ "done", FG_ROLLOUT_DONE, 1, 0, 0, 0, { { [K] = 1 } }, "", FG_DO_WAIT, NEVER },
	/* taking back */
	{ "stopping", FG_ROLLOUT_STOPPING, 0, 0, 0, 0, { { [O] = 1 } }, "", FG_DO_CANCEL, NOW },
	{ "cancelling", FG_ROLLOUT_CANCELLING, 0, 0, 0, 0, { { [W] = 1 } }, "", FG_DO_CANCEL, NOW },
	{ "stopping outside of the window", FG_ROLLOUT_STOPPING, 0, 0, 0, 0, { { [O] = 1 } }, SHUT, FG_DO_CANCEL, NOW },
	/* waves */
	{ "begins", RUN, 0, 0, 0, 0, { { [W] = 2 }, { [W] = 8 } }, "", FG_DO_OFFER, NOW },
	{ "at work", RUN, 0, 0, 0, 0, { { [O] = 2 }, { [W] = 8 } }, "", FG_DO_WAIT, NEVER },
	{ "one is there", RUN, 0, 0, 0, 0, { { [O] = 1, [K] = 1 }, { [W] = 8 } }, "", FG_DO_WAIT, NEVER },
	{ "all are there", RUN, 0, 0, 0, 0, { { [K] = 2 }, { [W] = 8 } }, "", FG_DO_REACHED, NEVER },
	{ "and it goes on", RUN, 0, NOW, 0, 0, { { [K] = 2 }, { [W] = 8 } }, "", FG_DO_NEXT_WAVE, NEVER },
	{ "after a wait", RUN, 0, NOW, 0, 0, { { [K] = 2 }, { [W] = 8 } }, ",\"wait_s\":60", FG_DO_WAIT, NOW + 60000 },
	{ "that is over",
	  RUN,
	  0,
	  NOW - 60000,
	  0,
	  0,
	  { { [K] = 2 }, { [W] = 8 } },
	  ",\"wait_s\":60",
	  FG_DO_NEXT_WAVE,
	  NEVER },
	{ "a wave of none that could be offered",
	  RUN,
	  0,
	  0,
	  0,
	  0,
	  { { [S] = 2 }, { [W] = 8 } },
	  "",
	  FG_DO_REACHED,
	  NEVER },
	{ "stragglers do not hold up",
	  RUN,
	  0,
	  0,
	  0,
	  0,
	  { { [O] = 1, [K] = 9 }, { [W] = 8 } },
	  PLAN90,
	  FG_DO_REACHED,
	  NEVER },
	{ "not enough yet", RUN, 0, 0, 0, 0, { { [O] = 2, [K] = 8 }, { [W] = 8 } }, PLAN90, FG_DO_WAIT, NEVER },
	{ "one may fail", RUN, 0, 0, 0, 0, { { [F] = 1, [K] = 9 }, { [W] = 8 } }, PLAN90, FG_DO_REACHED, NEVER },
	{ "two may not", RUN, 0, 0, 0, 0, { { [F] = 2, [K] = 8 }, { [W] = 8 } }, PLAN90, FG_DO_STOP, NEVER },
	{ "it can no longer be reached",
	  RUN,
	  0,
	  0,
	  0,
	  0,
	  { { [F] = 2, [O] = 8 }, { [W] = 8 } },
	  PLAN90,
	  FG_DO_STOP,
	  NEVER },
	{ "a person went on",
	  RUN,
	  0,
	  NOW,
	  2,
	  0,
	  { { [F] = 2, [K] = 8 }, { [W] = 8 } },
	  PLAN90,
	  FG_DO_NEXT_WAVE,
	  NEVER },
	{ "a job on its way back counts as at work",
	  RUN,
	  0,
	  0,
	  0,
	  0,
	  { { [L] = 1, [K] = 1 }, { [W] = 8 } },
	  "",
	  FG_DO_WAIT,
	  NEVER },
	/* errors */
	{ "the first failure", RUN, 0, 0, 0, 0, { { [F] = 1, [W] = 1 }, { [W] = 8 } }, "", FG_DO_STOP, NEVER },
	{ "as many as may",
	  RUN,
	  1,
	  0,
	  0,
	  0,
	  { { [F] = 1 }, { [F] = 1, [O] = 1 } },
	  ",\"max_failures\":2",
	  FG_DO_WAIT,
	  NEVER },
	{ "one more, over all waves",
	  RUN,
	  1,
	  0,
	  0,
	  0,
	  { { [F] = 1 }, { [F] = 2, [O] = 1 } },
	  ",\"max_failures\":2",
	  FG_DO_STOP,
	  NEVER },
	{ "forgiven ones do not count",
	  RUN,
	  1,
	  0,
	  2,
	  0,
	  { { [F] = 1 }, { [F] = 2, [O] = 1 } },
	  ",\"max_failures\":2",
	  FG_DO_WAIT,
	  NEVER },
	/* the end */
	{ "the last wave offers", RUN, 1, 0, 0, 0, { { [K] = 2 }, { [W] = 8 } }, "", FG_DO_OFFER, NOW },
	{ "the last wave waits for all",
	  RUN,
	  1,
	  0,
	  0,
	  0,
	  { { [K] = 2 }, { [K] = 7, [O] = 1 } },
	  "",
	  FG_DO_WAIT,
	  NEVER },
	{ "also for stragglers of the first", RUN, 1, 0, 0, 0, { { [O] = 1 }, { [K] = 8 } }, "", FG_DO_WAIT, NEVER },
	{ "done", RUN, 1, 0, 0, 0, { { [K] = 2 }, { [K] = 7, [S] = 1 } }, "", FG_DO_FINISH, NEVER },
	{ "done with failures that may be",
	  RUN,
	  1,
	  0,
	  0,
	  0,
	  { { [K] = 2 }, { [K] = 4, [F] = 4 } },
	  PLAN90,
	  FG_DO_FINISH,
	  NEVER },
	{ "tried again in an earlier wave", RUN, 1, 0, 0, 0, { { [W] = 1 }, { [K] = 8 } }, "", FG_DO_OFFER, NOW },
	/* windows */
	{ "in a window", RUN, 0, 0, 0, 0, { { [W] = 2 }, { [W] = 8 } }, OPEN, FG_DO_OFFER, NOW },
	{ "at work in a window", RUN, 0, 0, 0, 0, { { [O] = 2 }, { [W] = 8 } }, OPEN, FG_DO_WAIT, NOW + 2 * HOUR },
	{ "before a window", RUN, 0, 0, 0, 0, { { [W] = 2 }, { [W] = 8 } }, SHUT, FG_DO_WAIT, NOW + HOUR },
	{ "after a window", RUN, 0, 0, 0, 0, { { [O] = 2 }, { [W] = 8 } }, SHUT, FG_DO_CLOSE, NOW + HOUR },
	{ "no next wave outside", RUN, 0, NOW, 0, 0, { { [K] = 2 }, { [W] = 8 } }, SHUT, FG_DO_WAIT, NOW + HOUR },
	{ "an end outside", RUN, 1, 0, 0, 0, { { [K] = 2 }, { [K] = 8 } }, SHUT, FG_DO_FINISH, NOW + HOUR },
	{ "a failure outside", RUN, 0, 0, 0, 0, { { [F] = 1, [O] = 1 }, { [W] = 8 } }, SHUT, FG_DO_STOP, NEVER },
	/* no answer */
	{ "in time",
	  RUN,
	  0,
	  0,
	  0,
	  NOW - HOUR,
	  { { [O] = 2 }, { [W] = 8 } },
	  ",\"timeout_s\":7200",
	  FG_DO_WAIT,
	  NOW + HOUR },
	{ "too late",
	  RUN,
	  0,
	  0,
	  0,
	  NOW - 2 * HOUR,
	  { { [O] = 2 }, { [W] = 8 } },
	  ",\"timeout_s\":7200",
	  FG_DO_EXPIRE,
	  NOW },
	{ "no limit", RUN, 0, 0, 0, 1, { { [O] = 2 }, { [W] = 8 } }, "", FG_DO_WAIT, NEVER },
	{ "what comes first",
	  RUN,
	  0,
	  NOW,
	  0,
	  NOW - HOUR,
	  { { [O] = 1, [K] = 9 }, { [W] = 8 } },
	  ",\"timeout_s\":7200,\"wait_s\":60" PLAN90,
	  FG_DO_WAIT,
	  NOW + 60000 },
};

START_TEST(decides)
{
	const struct row *t = &table[_i];
	fg_autofree char *text = fg_asprintf("{\"select\":\"all\",\"waves\":[\"2\",\"100%%\"]%s}", t->more);
	fg_autojson json_t *json = NULL;
	struct fg_plan plan;
	struct fg_store_rollout r = { .id = 1,
				      .state = t->state,
				      .n_waves = 2,
				      .wave = t->wave,
				      .reached_ms = t->reached_ms,
				      .forgiven = t->forgiven };

	memcpy(r.n, t->n, sizeof(t->n));
	ck_assert_int_eq(fg_json_parse(text, strlen(text), &json, NULL), 0);
	ck_assert_int_eq(fg_plan_read(json, &plan, NULL), 0);
	struct fg_rollout_decision d = fg_rollout_decide(&r, &plan, t->oldest_ms, NOW);
	ck_assert_msg(d.action == t->action, "%s: action %d, wanted %d", t->name, (int)d.action, (int)t->action);
	ck_assert_msg(d.next_ms == t->next_ms, "%s: next %lld", t->name, (long long)d.next_ms);
	ck_assert_msg((d.action == FG_DO_STOP) == (d.why[0] != '\0'), "%s: why '%s'", t->name, d.why);
	fg_plan_release(&plan);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("decide");
	TCase *t = tcase_create("decide");

	tcase_add_loop_test(t, decides, 0, (int)FG_COUNT(table));
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
