/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the files of the SQLite store share; nobody else includes it. */
#ifndef FG_SERVER_SQLITE_H
#define FG_SERVER_SQLITE_H

#include "db.h"
#include "memo.h"
#include "store.h"

struct fg_store {
	struct fg_db db;
	bool rollouts_touched;
	struct fg_memo memo;
};

/* The same as fg_store_audit_add, inside the caller's transaction. */
int fg_sqlite_audit(struct fg_store *store, int64_t now_ms, const char *who, const char *what, struct fg_error *err,
		    const char *fmt, ...) FG_MUST_CHECK FG_PRINTF(6, 7);
/* Id of the host, made where it is new; last_seen is set. */
int fg_sqlite_host(struct fg_store *store, const char *host, int64_t now_ms, int64_t *id,
		   struct fg_error *err) FG_MUST_CHECK;
/* The row, all zero if there is none. */
int fg_sqlite_ledger_get(struct fg_store *store, const char *client, const char *fix, struct fg_ledger *out,
			 struct fg_error *err) FG_MUST_CHECK;
int fg_sqlite_ledger_put(struct fg_store *store, const char *client, const char *fix, const struct fg_ledger *row,
			 const char *state, const char *reason, const char *isolator, int64_t at_ms,
			 struct fg_error *err) FG_MUST_CHECK;
/* Sets the client's operating system; id NULL: as it was. */
int fg_sqlite_client_os(struct fg_store *store, const char *client, const char *id, const char *version,
			struct fg_error *err) FG_MUST_CHECK;
/* Guests that the host claims, or that are claimed from it, move if their host does not run them any more. */
int fg_sqlite_claims_settle(struct fg_store *store, int64_t host_id, int64_t now_ms,
			    struct fg_error *err) FG_MUST_CHECK;
/* Adds to one of fg_store_counters. */
int fg_sqlite_count(struct fg_store *store, const char *kind, const char *name, const char *word, int64_t delta,
		    struct fg_error *err) FG_MUST_CHECK;
/*
 * The client's open offers of the fix, up to this version, are dealt with, and so is the word that one was cancelled.
 * job: only those made before the job began (a job that never reported: all).
 */
int fg_sqlite_offers_close(struct fg_store *store, const char *client, const char *fix, int64_t version,
			   const char *job, struct fg_error *err) FG_MUST_CHECK;
/* Rollouts that wait for this client, after a report of the end of a job. */
int fg_sqlite_rollouts_reported(struct fg_store *store, const char *client, const char *fix, int64_t version,
				enum fg_state state, const char *reason, int64_t now_ms,
				struct fg_error *err) FG_MUST_CHECK;
/* The client's offer was cancelled, by others than a rollout. asked: its host has begun a job. */
int fg_sqlite_rollouts_cancelled(struct fg_store *store, const char *client, const char *fix, bool asked,
				 const char *reason, int64_t now_ms, struct fg_error *err) FG_MUST_CHECK;
/* 0 or NOTFOUND, REFUSED: may this version of the fix be offered?  *version 0 = the newest, which is then set. */
int fg_sqlite_fix_to_offer(struct fg_store *store, const char *fix, int64_t *version, int64_t now_ms,
			   struct fg_error *err) FG_MUST_CHECK;
/*
 * What the catalogue is made of has changed, by the caller's transaction: for all processes, until the next one is made.
 * wrong: the last one says that something is valid which is not.  A setting with one of two values.
 */
#define FG_SQLITE_CATALOGUE_CHANGED "catalogue_changed"
#define FG_SQLITE_WRONG "wrong"
#define FG_SQLITE_INCOMPLETE "incomplete"
int fg_sqlite_catalogue_changed(struct fg_store *store, bool wrong, struct fg_error *err) FG_MUST_CHECK;
/* Makes the offer, whatever the ledger says; who: of the offer. */
struct fg_sqlite_offer {
	const char *client, *host, *fix, *who;
	int64_t host_id, version, now_ms;
	bool force;
};
int fg_sqlite_offer_put(struct fg_store *store, const struct fg_sqlite_offer *offer, const struct fg_ledger *row,
			struct fg_error *err) FG_MUST_CHECK;

#endif
