/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "job.h"

#define S(name) (1u << FG_STATE_##name)

/*
 * The order of a job and every step beside it.  Left: from.  A job starts with `offered`, or with an outcome that
 * needs no job.
 */
static const unsigned may[FG_STATE_COUNT + 1] = {
	[FG_STATE_NONE] = S(OFFERED) | S(NOT_NEEDED) | S(REJECTED),
	[FG_STATE_OFFERED] = S(QUEUED) | S(NOT_NEEDED) | S(REJECTED) | S(FAILED),
	[FG_STATE_QUEUED] = S(ISOLATED) | S(REJECTED) | S(FAILED) | S(HELD),
	[FG_STATE_ISOLATED] = S(STOPPED) | S(FAILED) | S(HELD),
	[FG_STATE_STOPPED] = S(FIXING) | S(FAILED) | S(ROLLED_BACK) | S(HELD),
	/* stopped: once more, after a crash of the agent */
	[FG_STATE_FIXING] = S(FIXED) | S(STOPPED) | S(NOT_NEEDED) | S(FAILED) | S(ROLLED_BACK) | S(HELD),
	/* rebooting: the guest stays isolated until it is healthy, or a person isolated it */
	[FG_STATE_FIXED] = S(RELEASED) | S(REBOOTING) | S(DONE) | S(ROLLED_BACK) | S(HELD),
	[FG_STATE_RELEASED] = S(REBOOTING) | S(DONE) | S(HELD),
	[FG_STATE_REBOOTING] = S(RELEASED) | S(DONE) | S(HELD),
	/* held: a person has it go on from where it stopped, or gives it up */
	[FG_STATE_HELD] = S(QUEUED) | S(ISOLATED) | S(STOPPED) | S(FIXING) | S(FIXED) | S(RELEASED) | S(REBOOTING) |
			  S(FAILED) | S(DONE),
};

bool fg_job_may(enum fg_state from, enum fg_state to)
{
	if ((unsigned)from > FG_STATE_COUNT || (unsigned)to >= FG_STATE_COUNT)
		return false;
	return (may[from] & 1u << to) != 0;
}
