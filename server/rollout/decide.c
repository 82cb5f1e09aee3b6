/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "decide.h"

#include <inttypes.h>
#include <stdio.h>

int64_t fg_rollout_total(const struct fg_store_rollout *r, enum fg_target_state state)
{
	int64_t n = 0;

	for (int64_t w = 0; w < r->n_waves; w++)
		n += r->n[w][state];
	return n;
}

static struct fg_rollout_decision decision(enum fg_rollout_action action, int64_t next_ms)
{
	return (struct fg_rollout_decision){ .action = action, .next_ms = next_ms };
}

static int64_t earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* Waiting targets of the waves up to the one at work: a later wave's are not due, an earlier one's are tried again. */
static int64_t due(const struct fg_store_rollout *r)
{
	int64_t n = 0;

	for (int64_t w = 0; w <= r->wave; w++)
		n += r->n[w][FG_TARGET_WAITING];
	return n;
}

/* The wave at work: has enough succeeded, can enough still succeed? */
static struct fg_rollout_decision wave_decide(const struct fg_store_rollout *r, const struct fg_plan *plan,
					      int64_t now_ms, int64_t next_ms)
{
	const int64_t *n = r->n[r->wave];
	int64_t at_work = n[FG_TARGET_OFFERED] + n[FG_TARGET_LEAVING];
	int64_t all = n[FG_TARGET_OK] + n[FG_TARGET_FAILED] + at_work;
	struct fg_rollout_decision d = decision(FG_DO_WAIT, next_ms);

	if (r->wave == r->n_waves - 1) {
		/* Nothing to go on to: the end of the last one is the end. */
		if (fg_rollout_total(r, FG_TARGET_OFFERED) + fg_rollout_total(r, FG_TARGET_LEAVING) == 0)
			d.action = FG_DO_FINISH;
		return d;
	}
	if (!r->reached_ms && n[FG_TARGET_OK] * 100 >= plan->success_pct * all) {
		d.action = FG_DO_REACHED;
	} else if (!r->reached_ms) {
		if ((n[FG_TARGET_OK] + at_work) * 100 < plan->success_pct * all) {
			d.action = FG_DO_STOP;
			snprintf(d.why, sizeof(d.why),
				 "wave %" PRId64 ": %" PRId64 " of %" PRId64 " failed, %d%% were to succeed",
				 r->wave + 1, n[FG_TARGET_FAILED], all, plan->success_pct);
		}
	} else if (now_ms >= r->reached_ms + plan->wait_ms) {
		d.action = FG_DO_NEXT_WAVE;
	} else {
		d.next_ms = earlier(next_ms, r->reached_ms + plan->wait_ms);
	}
	return d;
}

static struct fg_rollout_decision running_decide(const struct fg_store_rollout *r, const struct fg_plan *plan,
						 int64_t oldest_ms, int64_t now_ms)
{
	int64_t failed = fg_rollout_total(r, FG_TARGET_FAILED) - r->forgiven;
	int64_t next_ms = fg_plan_change_ms(plan, now_ms);

	if (plan->max_failures >= 0 && failed > plan->max_failures) {
		struct fg_rollout_decision d = decision(FG_DO_STOP, INT64_MAX);
		snprintf(d.why, sizeof(d.why), "%" PRId64 " failed, %" PRId64 " may", failed, plan->max_failures);
		return d;
	}
	if (plan->timeout_ms && oldest_ms && now_ms >= oldest_ms + plan->timeout_ms)
		return decision(FG_DO_EXPIRE, now_ms);
	if (plan->timeout_ms && oldest_ms)
		next_ms = earlier(next_ms, oldest_ms + plan->timeout_ms);
	if (!fg_plan_open(plan, now_ms)) {
		if (fg_rollout_total(r, FG_TARGET_OFFERED) > 0)
			return decision(FG_DO_CLOSE, next_ms);
		/* What came to its end by itself may still end the rollout; the next wave waits for the window. */
		if (due(r) > 0 || r->wave < r->n_waves - 1)
			return decision(FG_DO_WAIT, next_ms);
	}
	if (due(r) > 0)
		return decision(FG_DO_OFFER, now_ms);
	return wave_decide(r, plan, now_ms, next_ms);
}

struct fg_rollout_decision fg_rollout_decide(const struct fg_store_rollout *r, const struct fg_plan *plan,
					     int64_t oldest_ms, int64_t now_ms)
{
	switch (r->state) {
	case FG_ROLLOUT_RUNNING:
		return running_decide(r, plan, oldest_ms, now_ms);
	case FG_ROLLOUT_STOPPING:
	case FG_ROLLOUT_CANCELLING:
		return decision(FG_DO_CANCEL, now_ms);
	case FG_ROLLOUT_AWAITING_APPROVAL:
	case FG_ROLLOUT_PAUSED:
	case FG_ROLLOUT_STOPPED:
	case FG_ROLLOUT_CANCELLED:
	case FG_ROLLOUT_DONE:
	case FG_ROLLOUT_STATE_COUNT:
		break;
	}
	return decision(FG_DO_WAIT, INT64_MAX);
}
