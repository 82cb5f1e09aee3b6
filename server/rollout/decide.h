/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a rollout is to do next.  Pure: no clock, no database. */
#ifndef FG_SERVER_DECIDE_H
#define FG_SERVER_DECIDE_H

#include "plan.h"
#include <server/store/rollouts.h>

enum fg_rollout_action {
	FG_DO_WAIT, /* for a report, a person, or next_ms */
	FG_DO_OFFER, /* to waiting targets of the waves up to this one */
	FG_DO_EXPIRE, /* targets without an end in time */
	FG_DO_CLOSE, /* the window is over: offers that no host has isolated for wait for the next one */
	FG_DO_REACHED, /* note since when enough of the wave succeeded */
	FG_DO_NEXT_WAVE,
	FG_DO_STOP, /* and say why */
	FG_DO_CANCEL, /* offers that no host has isolated for; when there are no more: stopped or cancelled */
	FG_DO_FINISH,
};

struct fg_rollout_decision {
	enum fg_rollout_action action;
	int64_t next_ms; /* look again then, INT64_MAX = only after a report or a person's word */
	char why[160]; /* of FG_DO_STOP */
};

/* oldest_ms: since when the oldest offer without an end is out, 0 = none. */
struct fg_rollout_decision fg_rollout_decide(const struct fg_store_rollout *rollout, const struct fg_plan *plan,
					     int64_t oldest_ms, int64_t now_ms);

/* Targets of all waves in a state. */
int64_t fg_rollout_total(const struct fg_store_rollout *rollout, enum fg_target_state state);

#endif
