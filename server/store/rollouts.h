/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the store keeps of rollouts.  A rollout is a plan (JSON, read by server/rollout/plan.h), a state, and its targets, each in
 * a wave and a state of its own; counters say how many targets of a wave are in which state.
 *
 * A step of a rollout is made of several of these calls between fg_store_begin and fg_store_end, so that what was decided
 * and what was done are one transaction.
 */
#ifndef FG_SERVER_ROLLOUTS_H
#define FG_SERVER_ROLLOUTS_H

#include "store.h"

/* X(NAME, "name", what it means) */
#define FG_ROLLOUT_STATE_LIST(X)                                                                                       \
	X(AWAITING_APPROVAL, "awaiting-approval", "another administrator is to approve it")                            \
	X(RUNNING, "running", "offers are given out, wave after wave")                                                 \
	X(PAUSED, "paused", "nothing more is offered; what was offered goes on")                                       \
	X(STOPPING, "stopping", "too many failures: offers that no host has isolated for are being cancelled")         \
	X(STOPPED, "stopped", "too many failures: a person decides")                                                   \
	X(CANCELLING, "cancelling", "offers that no host has isolated for are being cancelled")                        \
	X(CANCELLED, "cancelled", "given up")                                                                          \
	X(DONE, "done", "every target of every wave has its end")

enum fg_rollout_state {
#define FG_ROLLOUT_ENUM(name, str, text) FG_ROLLOUT_##name,
	FG_ROLLOUT_STATE_LIST(FG_ROLLOUT_ENUM)
#undef FG_ROLLOUT_ENUM
		FG_ROLLOUT_STATE_COUNT
};

/* X(NAME, "name", what it means) */
#define FG_TARGET_STATE_LIST(X)                                                                                        \
	X(WAITING, "waiting", "nothing was offered yet")                                                               \
	X(OFFERED, "offered", "offered, or at work")                                                                   \
	X(LEAVING, "leaving", "the offer was cancelled; the host's report will tell whether in time")                  \
	X(OK, "ok", "fixed, or the fix was not needed")                                                                \
	X(FAILED, "failed", "failed, rolled back, rejected, held, or no answer in time")                               \
	X(SKIPPED, "skipped", "not offered: fixed before, held, or not in an inventory")                               \
	X(CANCELLED, "cancelled", "the offer was cancelled in time")

enum fg_target_state {
#define FG_TARGET_ENUM(name, str, text) FG_TARGET_##name,
	FG_TARGET_STATE_LIST(FG_TARGET_ENUM)
#undef FG_TARGET_ENUM
		FG_TARGET_STATE_COUNT
};

/* NULL if it is not of the list. */
const char *fg_rollout_state_name(enum fg_rollout_state state);
const char *fg_target_state_name(enum fg_target_state state);
/* …_COUNT if the name is unknown. */
enum fg_rollout_state fg_rollout_state_from_name(const char *name);
enum fg_target_state fg_target_state_from_name(const char *name);

#define FG_ROLLOUT_WAVES_MAX 32
#define FG_ROLLOUT_WHO_MAX 32
/* Who the offers of a rollout are by: "rollout-12". */
void fg_rollout_who(int64_t id, char out[FG_ROLLOUT_WHO_MAX]);

struct fg_store_rollout {
	int64_t id, version;
	const char *fix, *plan, *reason, *created_by, *approved_by; /* reason, approved_by: or NULL */
	enum fg_rollout_state state;
	int64_t n_waves;
	int64_t wave; /* the wave that is at work, from 0 */
	int64_t wave_ms; /* since when */
	int64_t reached_ms; /* since when enough of the wave succeeded, 0 = not yet */
	int64_t forgiven; /* failures that a person has seen and went on */
	int64_t created_ms, changed_ms;
	int64_t n[FG_ROLLOUT_WAVES_MAX][FG_TARGET_STATE_COUNT]; /* targets by wave and state */
};

/* clients: n UUIDs, wave by wave; wave[i] of each, ascending.  *id of the new one. */
int fg_store_rollout_add(struct fg_store *store, const struct fg_store_rollout *rollout, const char *const *clients,
			 const int64_t *waves, size_t n, int64_t *id, struct fg_error *err) FG_MUST_CHECK;
/* The row lives as long as the call. NOTFOUND. */
typedef int (*fg_store_rollout_fn)(const struct fg_store_rollout *rollout, void *arg, struct fg_error *err);
int fg_store_rollout(struct fg_store *store, int64_t id, fg_store_rollout_fn fn, void *arg,
		     struct fg_error *err) FG_MUST_CHECK;
/* Ids, newest first, id < before (0: all), at most limit.  only: of this state; COUNT = all. Ends when fn fails. */
typedef void (*fg_store_id_fn)(int64_t id, void *arg);
int fg_store_rollout_ids(struct fg_store *store, enum fg_rollout_state only, int64_t before, size_t limit,
			 fg_store_id_fn fn, void *arg, struct fg_error *err) FG_MUST_CHECK;
/* What of a rollout changes: state, wave, wave_ms, reached_ms, forgiven, reason, approved_by, changed_ms.  Audited as what. */
int fg_store_rollout_set(struct fg_store *store, const struct fg_store_rollout *rollout, const char *who,
			 const char *what, struct fg_error *err) FG_MUST_CHECK;

struct fg_store_target {
	const char *client, *name, *host, *reason, *status, *job_state; /* reason, status, job_state: or NULL */
	int64_t wave, tries, at_ms;
	enum fg_target_state state;
};
typedef void (*fg_store_target_fn)(const struct fg_store_target *target, void *arg);
/* By UUID, after ("" = first); only: of this state, COUNT = all. */
int fg_store_rollout_targets(struct fg_store *store, int64_t id, enum fg_target_state only, const char *after,
			     size_t limit, fg_store_target_fn fn, void *arg, struct fg_error *err) FG_MUST_CHECK;

/*
 * Work on at most limit targets; *n = how many changed.  host is called for each host that has something new.
 */
struct fg_store_rollout_work {
	int64_t id, now_ms;
	size_t limit;
	void (*host)(const char *host, void *arg);
	void *arg;
};
/* Offers the fix to waiting targets of the waves up to this one. NOTFOUND, REFUSED: the fix is withdrawn or has expired. */
int fg_store_rollout_offer(struct fg_store *store, const struct fg_store_rollout_work *work, int64_t wave, size_t *n,
			   struct fg_error *err) FG_MUST_CHECK;
/* Cancels offers that no host has isolated for; again: their targets wait again (a window ended), else they are cancelled. */
int fg_store_rollout_cancel(struct fg_store *store, const struct fg_store_rollout_work *work, bool again,
			    const char *reason, size_t *n, struct fg_error *err) FG_MUST_CHECK;
/* Targets that were offered before this time and have no end: failed, and cancelled where that is still possible. */
int fg_store_rollout_expire(struct fg_store *store, const struct fg_store_rollout_work *work, int64_t before_ms,
			    size_t *n, struct fg_error *err) FG_MUST_CHECK;
/* The oldest offer that has no end yet, 0 = none. */
int fg_store_rollout_oldest(struct fg_store *store, int64_t id, int64_t *at_ms, struct fg_error *err) FG_MUST_CHECK;
/* Cancelled targets wait again, with failed also the failed and the skipped ones; *n = how many. */
int fg_store_rollout_retry(struct fg_store *store, int64_t id, bool failed, int64_t now_ms, size_t *n,
			   struct fg_error *err) FG_MUST_CHECK;

/* Clients that are in an inventory now, by UUID: what a selector looks at. */
struct fg_store_guest_row {
	const char *uuid, *name, *host, *os;
};
typedef int (*fg_store_guest_fn)(const struct fg_store_guest_row *row, void *arg, struct fg_error *err);
int fg_store_guests(struct fg_store *store, fg_store_guest_fn fn, void *arg, struct fg_error *err) FG_MUST_CHECK;
/* The version that would be offered: 0 = the newest. NOTFOUND, REFUSED as for an offer. */
int fg_store_fix_version(struct fg_store *store, const char *fix, int64_t *version, int64_t now_ms,
			 struct fg_error *err) FG_MUST_CHECK;

/* Has a report changed a target since this was last asked? */
bool fg_store_rollouts_touched(struct fg_store *store);

#endif
