/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The states of a job: the one list from which the enum, the names in journal, log, protocol
 * and CLI, and the table in docs/flow.md are made.
 *
 * X(NAME, "name", kind, true while in it, leaves when, deadline passed or failed)
 * kind: A = active, E = end state (outcome; the job leaves the journal's work list once the
 * server has acknowledged the report).
 */
#ifndef FIXGATE_STATE_H
#define FIXGATE_STATE_H

#include <stdbool.h>

#define FG_STATE_LIST(X)                                                                                               \
	X(OFFERED, "offered", A, "offer verified and journaled; guest untouched", "decided: needed",                   \
	  "rejected, not-needed or failed; reported")                                                                  \
	X(QUEUED, "queued", A, "decided; waits for its turn; guest untouched", "slot free", "-")                       \
	X(ISOLATED, "isolated", A, "filter in the kernel equals the filter we compute; mark on disk for new vifs",     \
	  "guest is to be stopped", "held")                                                                            \
	X(STOPPED, "stopped", A, "domain gone, its backends gone, disks free, saved definition in the journal",        \
	  "fix VM created", "start the guest again, isolated; failed")                                                 \
	X(FIXING, "fixing", A, "fix VM runs on the copy-on-write layer",                                               \
	  "result line with the job's nonce and power-off", "destroy fix VM, drop layer: rolled-back")                 \
	X(FIXED, "fixed", A, "fix VM gone; its result says verified", "layer merged",                                  \
	  "rolled-back before the merge began; held once it has begun")                                                \
	X(RELEASED, "released", A, "layer merged; quarantine and mark removed", "guest started", "held")               \
	X(REBOOTING, "rebooting", A, "guest runs under its old owner",                                                 \
	  "health: vif connected (and probe, where one is configured)", "held or released by policy")                  \
	X(DONE, "done", E, "fixed and back; outcome in the outbox", "server acknowledged", "retry with back-off")      \
	X(NOT_NEEDED, "not-needed", E, "guest has the fix or it does not apply", "server acknowledged",                \
	  "retry with back-off")                                                                                       \
	X(REJECTED, "rejected", E, "offer or bundle not trusted, or refused by policy", "server acknowledged",         \
	  "retry with back-off")                                                                                       \
	X(FAILED, "failed", E, "no fix; disk unchanged; guest as it was, network by policy", "server acknowledged",    \
	  "retry with back-off")                                                                                       \
	X(ROLLED_BACK, "rolled-back", E, "fix was tried and undone; disk byte-identical; network by policy",           \
	  "server acknowledged", "retry with back-off")                                                                \
	X(HELD, "held", E, "safe state: isolated, or off; the truth is not known", "a person decides", "-")

enum fg_state {
#define FG_STATE_ENUM(name, str, kind, truth, leaves, failed) FG_STATE_##name,
	FG_STATE_LIST(FG_STATE_ENUM)
#undef FG_STATE_ENUM
		FG_STATE_COUNT
};

/* Never NULL for a state of the list; NULL otherwise. */
const char *fg_state_name(enum fg_state state);
/* FG_STATE_COUNT if the name is unknown. */
enum fg_state fg_state_from_name(const char *name);
bool fg_state_is_end(enum fg_state state);

#endif
