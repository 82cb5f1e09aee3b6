/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the files of the SQLite store share; nobody else includes it. */
#ifndef FG_SERVER_SQLITE_H
#define FG_SERVER_SQLITE_H

#include "db.h"
#include "store.h"

struct fg_store {
	struct fg_db db;
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

#endif
