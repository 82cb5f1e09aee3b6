/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The store in SQLite: opening it, audit log, what the other sqlite_*.c files share. */
#include "sqlite.h"
#include "schema.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

int fg_store_check(struct fg_store *store, struct fg_error *err)
{
	fg_autostmt sqlite3_stmt *st = NULL;
	int rc = fg_db_query(&store->db, &st, err, "PRAGMA quick_check(1)", "");

	if (rc == 0)
		rc = fg_db_step(&store->db, st, err);
	if (rc < 0)
		return rc;
	const char *verdict = fg_db_text(st, 0);
	if (!verdict || strcmp(verdict, "ok") != 0)
		return fg_error_set(err, FG_EUNTRUSTED, "the database is damaged: %s", verdict ? verdict : "no answer");
	return 0;
}

/* An empty file is what is left of a database, and no new one. */
static int not_empty(struct fg_store *store, struct fg_error *err)
{
	int64_t version = 0;
	int rc = fg_schema_version(&store->db, &version, err);

	if (rc == 0 && version == 0)
		rc = fg_error_set(err, FG_EUNTRUSTED, "it is empty: put the database back, or restore a backup");
	return rc;
}

static int open_or_create(const char *path, bool create, struct fg_store **out, struct fg_error *err)
{
	struct fg_store *store = fg_calloc(1, sizeof(*store));
	int rc = create ? fg_db_create(&store->db, path, err) : fg_db_open(&store->db, path, err);

	if (rc < 0) {
		free(store);
		return rc;
	}
	if (!create)
		rc = not_empty(store, err);
	if (rc == 0)
		rc = fg_schema_migrate(&store->db, err);
	if (rc < 0) {
		fg_error_wrap(err, "%s", path);
		fg_store_close(store);
		return rc;
	}
	*out = store;
	return 0;
}

int fg_store_open(const char *path, struct fg_store **out, struct fg_error *err)
{
	if (access(path, F_OK) < 0 && errno == ENOENT)
		return fg_error_set(err, FG_ENOTFOUND,
				    "%s is missing: put it back, or restore a backup (fixgate-admin restore)", path);
	return open_or_create(path, false, out, err);
}

int fg_store_create(const char *path, struct fg_store **out, struct fg_error *err)
{
	return open_or_create(path, true, out, err);
}

int fg_store_ping(struct fg_store *store, struct fg_error *err)
{
	fg_autostmt sqlite3_stmt *st = NULL;
	int rc = fg_db_query(&store->db, &st, err, "SELECT id FROM host ORDER BY id LIMIT 1", "");

	if (rc == 0)
		rc = fg_db_step(&store->db, st, err);
	return rc < 0 ? rc : 0;
}

void fg_store_close(struct fg_store *store)
{
	if (!store)
		return;
	fg_db_close(&store->db);
	free(store);
}

int fg_sqlite_host(struct fg_store *store, const char *host, int64_t now_ms, int64_t *id, struct fg_error *err)
{
	fg_autostmt sqlite3_stmt *st = NULL;
	int rc = fg_db_query(&store->db, &st, err,
			     "INSERT INTO host (name, first_seen_ms, last_seen_ms) VALUES (?1, ?2, ?2)"
			     " ON CONFLICT (name) DO UPDATE SET last_seen_ms = excluded.last_seen_ms RETURNING id",
			     "si", host, now_ms);

	if (rc == 0)
		rc = fg_db_step(&store->db, st, err);
	if (rc < 0)
		return rc;
	*id = fg_db_int(st, 0);
	return 0;
}

/* 1 and the host's id if it was seen before that time, else 0. */
static int host_is_old(struct fg_store *store, const char *host, int64_t before_ms, int64_t *id, struct fg_error *err)
{
	int64_t seen[2] = { INT64_MAX, 0 }; /* when, and its id; this where there is no such host */
	uint64_t moment = fg_memo_moment(&store->memo, &store->db);
	char key[FG_MEMO_KEY];
	fg_autostmt sqlite3_stmt *st = NULL;
	int rc = 0;

	fg_memo_key(key, 's', host, NULL, NULL);
	if (!fg_memo_get(&store->memo, moment, key, seen)) {
		rc = fg_db_query(&store->db, &st, err, "SELECT last_seen_ms, id FROM host WHERE name = ?", "s", host);
		if (rc == 0)
			rc = fg_db_step(&store->db, st, err);
		if (rc < 0)
			return rc;
		if (rc > 0) {
			seen[0] = fg_db_int(st, 0);
			seen[1] = fg_db_int(st, 1);
		}
		fg_memo_put(&store->memo, moment, key, seen);
	}
	*id = seen[1];
	return seen[0] < before_ms;
}

static int host_seen(struct fg_store *store, int64_t id, int64_t now_ms, struct fg_error *err)
{
	int rc = fg_db_run(&store->db, err, "UPDATE host SET last_seen_ms = ? WHERE id = ? AND last_seen_ms < ?", "iii",
			   now_ms, id, now_ms);

	/* The host that ran a guest which this one claims may have been silent for too long by now. */
	return rc < 0 ? rc : fg_sqlite_claims_settle(store, id, now_ms, err);
}

int fg_store_host_seen(struct fg_store *store, const char *host, int64_t now_ms, int64_t grain_ms, struct fg_error *err)
{
	int64_t id = 0;
	int rc = host_is_old(store, host, now_ms - grain_ms, &id, err);

	/* An UPDATE takes the lock of who writes even if it changes nothing: polls would wait for reports. */
	if (rc <= 0)
		return rc;
	rc = fg_db_begin(&store->db, err);
	return rc < 0 ? rc : fg_db_end(&store->db, host_seen(store, id, now_ms, err), err);
}

int fg_sqlite_ledger_get(struct fg_store *store, const char *client, const char *fix, struct fg_ledger *out,
			 struct fg_error *err)
{
	fg_autostmt sqlite3_stmt *st = NULL;
	int rc = fg_db_query(&store->db, &st, err,
			     "SELECT status, version, fixed_version, job FROM ledger WHERE client = ? AND fix = ?",
			     "ss", client, fix);

	memset(out, 0, sizeof(*out));
	if (rc == 0)
		rc = fg_db_step(&store->db, st, err);
	if (rc <= 0)
		return rc;
	out->status = fg_status_from_name(fg_db_text(st, 0));
	out->version = fg_db_int(st, 1);
	out->fixed_version = fg_db_int(st, 2);
	snprintf(out->job, sizeof(out->job), "%s", fg_db_text(st, 3));
	return 0;
}

static int ledger_count(struct fg_store *store, const char *client, const char *fix, const char *status,
			struct fg_error *err)
{
	char old[32] = "";
	fg_autostmt sqlite3_stmt *st = NULL;
	int rc = fg_db_query(&store->db, &st, err, "SELECT status FROM ledger WHERE client = ? AND fix = ?", "ss",
			     client, fix);

	if (rc == 0)
		rc = fg_db_step(&store->db, st, err);
	if (rc < 0)
		return rc;
	if (rc > 0)
		snprintf(old, sizeof(old), "%s", fg_db_text(st, 0));
	if (!strcmp(old, status))
		return 0;
	rc = old[0] ? fg_sqlite_count(store, "ledger", fix, old, -1, err) : 0;
	return rc < 0 ? rc : fg_sqlite_count(store, "ledger", fix, status, 1, err);
}

int fg_sqlite_ledger_put(struct fg_store *store, const char *client, const char *fix, const struct fg_ledger *row,
			 const char *state, const char *reason, const char *isolator, int64_t at_ms,
			 struct fg_error *err)
{
	const char *status = fg_status_name(row->status);
	int rc = ledger_count(store, client, fix, status, err);

	if (rc < 0)
		return rc;
	return fg_db_run(
		&store->db, err,
		"INSERT INTO ledger (client, fix, status, version, fixed_version, job, state, reason, isolator,"
		" at_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (client, fix) DO UPDATE SET"
		" status = excluded.status, version = excluded.version,"
		" fixed_version = excluded.fixed_version, job = excluded.job, state = excluded.state,"
		" reason = excluded.reason, isolator = COALESCE(excluded.isolator, ledger.isolator),"
		" at_ms = excluded.at_ms",
		"sssiissssi", client, fix, status, row->version, row->fixed_version, row->job, state, reason, isolator,
		at_ms);
}

static int audit_append(struct fg_store *store, int64_t now_ms, const char *who, const char *what, const char *detail,
			struct fg_error *err)
{
	struct fg_store_audit entry = { .n = 1, .at_ms = now_ms, .who = who, .what = what, .detail = detail };
	char previous[65] = "0000000000000000000000000000000000000000000000000000000000000000", hash[65];
	fg_autostmt sqlite3_stmt *st = NULL;
	int rc = fg_db_query(&store->db, &st, err, "SELECT n, hash FROM audit ORDER BY n DESC LIMIT 1", "");

	if (rc == 0)
		rc = fg_db_step(&store->db, st, err);
	if (rc < 0)
		return rc;
	if (rc > 0) {
		entry.n = fg_db_int(st, 0) + 1;
		snprintf(previous, sizeof(previous), "%s", fg_db_text(st, 1));
	}
	fg_audit_hash(previous, &entry, hash);
	return fg_db_run(&store->db, err,
			 "INSERT INTO audit (n, at_ms, who, what, detail, hash) VALUES (?, ?, ?, ?, ?, ?)", "iissss",
			 entry.n, now_ms, who, what, detail, hash);
}

int fg_sqlite_audit(struct fg_store *store, int64_t now_ms, const char *who, const char *what, struct fg_error *err,
		    const char *fmt, ...)
{
	fg_autofree char *detail = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&detail, fmt, ap) < 0)
		abort();
	va_end(ap);
	return audit_append(store, now_ms, who, what, detail, err);
}

int fg_store_audit_add(struct fg_store *store, int64_t now_ms, const char *who, const char *what, const char *detail,
		       struct fg_error *err)
{
	int rc = fg_db_begin(&store->db, err);

	if (rc < 0)
		return rc;
	rc = audit_append(store, now_ms, who, what, detail, err);
	return fg_db_end(&store->db, rc, err);
}

int fg_store_audit_after(struct fg_store *store, int64_t after, size_t limit, fg_store_audit_fn fn, void *arg,
			 struct fg_error *err)
{
	fg_autostmt sqlite3_stmt *st = NULL;
	int rc = fg_db_query(&store->db, &st, err,
			     "SELECT n, at_ms, who, what, detail, hash FROM audit WHERE n > ? ORDER BY n LIMIT ?", "ii",
			     after, (int64_t)limit);

	if (rc < 0)
		return rc;
	while ((rc = fg_db_step(&store->db, st, err)) > 0) {
		struct fg_store_audit entry = { fg_db_int(st, 0),  fg_db_int(st, 1),  fg_db_text(st, 2),
						fg_db_text(st, 3), fg_db_text(st, 4), fg_db_text(st, 5) };
		fn(&entry, arg);
	}
	return rc;
}

int fg_store_audit_newest(struct fg_store *store, int64_t *n, struct fg_error *err)
{
	fg_autostmt sqlite3_stmt *st = NULL;
	int rc = fg_db_query(&store->db, &st, err, "SELECT seq FROM sqlite_sequence WHERE name = 'audit'", "");

	if (rc == 0)
		rc = fg_db_step(&store->db, st, err);
	if (rc < 0)
		return rc;
	*n = rc ? fg_db_int(st, 0) : 0;
	return 0;
}

static int audit_walk(struct fg_store *store, struct fg_audit_chain *chain, struct fg_error *err)
{
	fg_autostmt sqlite3_stmt *st = NULL;
	int rc =
		fg_db_query(&store->db, &st, err, "SELECT n, at_ms, who, what, detail, hash FROM audit ORDER BY n", "");

	fg_audit_chain_init(chain);
	while (rc == 0 && (rc = fg_db_step(&store->db, st, err)) > 0) {
		struct fg_store_audit entry = { fg_db_int(st, 0),  fg_db_int(st, 1),  fg_db_text(st, 2),
						fg_db_text(st, 3), fg_db_text(st, 4), fg_db_text(st, 5) };
		rc = fg_audit_chain_next(chain, &entry, err);
	}
	return rc;
}

int fg_store_audit_verify(struct fg_store *store, int64_t *n, char hash[65], struct fg_error *err)
{
	struct fg_audit_chain chain;
	int64_t newest = 0;
	/* Before the entries: others may add some meanwhile. */
	int rc = fg_store_audit_newest(store, &newest, err);

	if (rc == 0)
		rc = audit_walk(store, &chain, err);
	if (rc == 0)
		rc = fg_audit_chain_end(&chain, newest, err);
	if (rc < 0)
		return rc;
	*n = chain.n;
	if (hash)
		memcpy(hash, chain.hash, sizeof(chain.hash));
	return 0;
}
