/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The ledger: what the server knows of one client (guest) and one fix.  Pure: no clock, no database.
 *
 * Rules
 * - "fixed" is only said by a report of `done`, and is only left for a newer version, or while a forced job is at work
 *   on the guest.  A job that leaves the disk unchanged (failed, rolled-back, not-needed, rejected) leaves it fixed.
 * - A report of an older version than the one in the ledger changes no status.
 * - After the end of a job no active state of that same job counts any more.
 */
#ifndef FG_SERVER_LEDGER_H
#define FG_SERVER_LEDGER_H

#include <fixgate/state.h>
#include <stdint.h>

/* X(NAME, "name") */
#define FG_STATUS_LIST(X)                                                                                              \
	X(UNKNOWN, "unknown")                                                                                          \
	X(NOT_APPLICABLE, "not-applicable")                                                                            \
	X(NOT_NEEDED, "not-needed")                                                                                    \
	X(NEEDED, "needed")                                                                                            \
	X(OFFERED, "offered")                                                                                          \
	X(IN_PROGRESS, "in-progress")                                                                                  \
	X(FIXED, "fixed")                                                                                              \
	X(FAILED, "failed")                                                                                            \
	X(ROLLED_BACK, "rolled-back")                                                                                  \
	X(REJECTED, "rejected")                                                                                        \
	X(HELD, "held")

enum fg_status {
#define FG_STATUS_ENUM(name, str) FG_STATUS_##name,
	FG_STATUS_LIST(FG_STATUS_ENUM)
#undef FG_STATUS_ENUM
		FG_STATUS_COUNT
};

/* NULL if status is not of the list. */
const char *fg_status_name(enum fg_status status);
/* FG_STATUS_UNKNOWN if the name is NULL or unknown. */
enum fg_status fg_status_from_name(const char *name);

#define FG_JOB_ID_MAX 64

/* What of a ledger row decides the next one. */
struct fg_ledger {
	enum fg_status status;
	int64_t version; /* of the fix that status speaks of */
	int64_t fixed_version; /* highest version that was done; 0 = none */
	char job[FG_JOB_ID_MAX + 1]; /* "" before the first report */
};

/*
 * *new: the row after a report; old is all zero for a client that never had one.  True if the row speaks of this report
 * now (its state and reason are to be shown); false if the report changed at most fixed_version.
 */
bool fg_ledger_reported(const struct fg_ledger *old, const char *job, int64_t version, enum fg_state state,
			struct fg_ledger *new);
/* The report said that the fix is not for this guest: what is not-needed is not-applicable. */
void fg_ledger_not_applicable(struct fg_ledger *row);

/* Why the client is not to be offered this version (a sentence), or NULL. */
const char *fg_ledger_no_offer(const struct fg_ledger *old, int64_t version, int force);
/* The row after an offer. */
struct fg_ledger fg_ledger_offered(const struct fg_ledger *old, int64_t version);

/* What an isolator of section "switch" vouches for: "hardware", "hypervisor", "boot", "guest"; NULL if unknown. */
const char *fg_isolator_assurance(const char *isolator);

#endif
