/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Moves the rollouts on: after a report, a person's word, or when a time has come.
 *
 *	fg_rollouts_new (what was at work goes on) -> fg_rollouts_kick … -> fg_rollouts_free
 *
 * A step reads the rollout, decides (decide.h) and writes what was decided in one transaction; only then are hosts woken.  So
 * any number of processes may run it on one database, and one that dies between two steps leaves nothing half done.
 */
#ifndef FG_SERVER_ENGINE_H
#define FG_SERVER_ENGINE_H

#include <event2/event.h>
#include <jansson.h>
#include <server/store/rollouts.h>

#define FG_ROLLOUT_CHUNK 200 /* targets of one step: others are served in between */

struct fg_rollouts;

/* wake: there is something new for a host; called after the step is durable. */
struct fg_rollouts *fg_rollouts_new(struct event_base *base, struct fg_store *store,
				    void (*wake)(const char *host, void *arg), void *arg);
/* Look at them all, from the loop. */
void fg_rollouts_kick(struct fg_rollouts *rollouts);
void fg_rollouts_free(struct fg_rollouts *rollouts);

/* One step of one rollout; *next_ms when to look again: now_ms or before = at once, INT64_MAX = after a report. */
int fg_rollout_step(struct fg_store *store, int64_t id, int64_t now_ms, void (*wake)(const char *host, void *arg),
		    void *arg, int64_t *next_ms, struct fg_error *err) FG_MUST_CHECK;

/*
 * A person's word: "approve" (by another administrator than the one who made it), "pause", "resume", "cancel", "retry" (those
 * that failed).  REFUSED where the state does not allow it, NOTALLOWED, NOTFOUND.
 */
int fg_rollout_control(struct fg_store *store, int64_t id, const char *action, const char *who, int64_t now_ms,
		       struct fg_error *err) FG_MUST_CHECK;

/* plan: JSON text. LIMIT, FORMAT; REFUSED if nothing is selected. */
struct fg_rollout_request {
	const char *fix, *who;
	int64_t version, now_ms; /* version 0 = the newest */
	const json_t *plan;
};
int fg_rollout_create(struct fg_store *store, const struct fg_rollout_request *request, int64_t *id, size_t *targets,
		      struct fg_error *err) FG_MUST_CHECK;

#endif
