/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "journal_private.h"

#include <string.h>

static const char schema[] =
	"CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value INTEGER NOT NULL);"
	"CREATE TABLE IF NOT EXISTS jobs(n INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, guest TEXT NOT "
	"NULL,"
	" nonce TEXT NOT NULL, name TEXT, toolstack TEXT, fix TEXT NOT NULL, title TEXT, digest TEXT, head_digest TEXT,"
	" version INTEGER NOT NULL, bytes INTEGER NOT NULL, offer_seq INTEGER NOT NULL, timeout_s INTEGER NOT NULL,"
	" state TEXT NOT NULL, outcome TEXT, held_from TEXT, reason TEXT, snapshot TEXT, definition TEXT, was TEXT,"
	" merged INTEGER NOT NULL, attempts INTEGER NOT NULL, created_ms INTEGER NOT NULL, changed_ms INTEGER NOT "
	"NULL);"
	"CREATE INDEX IF NOT EXISTS jobs_state ON jobs(state);"
	"CREATE TABLE IF NOT EXISTS steps(n INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL, job TEXT NOT "
	"NULL,"
	" kind TEXT NOT NULL, what TEXT NOT NULL, reason TEXT);"
	"CREATE INDEX IF NOT EXISTS steps_job ON steps(job);"
	"CREATE TABLE IF NOT EXISTS outbox(seq INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT NOT NULL);"
	"CREATE TABLE IF NOT EXISTS inbox(seq INTEGER PRIMARY KEY, body TEXT NOT NULL);"
	"CREATE TABLE IF NOT EXISTS ledger(guest TEXT NOT NULL, fix TEXT NOT NULL, version INTEGER NOT NULL, job TEXT,"
	" at_ms INTEGER NOT NULL, PRIMARY KEY(guest, fix, version));"
	"CREATE TABLE IF NOT EXISTS counters(fix TEXT PRIMARY KEY, version INTEGER NOT NULL);"
	"CREATE TABLE IF NOT EXISTS operator(guest TEXT PRIMARY KEY, at_ms INTEGER NOT NULL);"
	"CREATE TABLE IF NOT EXISTS catalogue(id INTEGER PRIMARY KEY, generation INTEGER NOT NULL, version INTEGER NOT "
	"NULL);"
	"CREATE TABLE IF NOT EXISTS name(id INTEGER PRIMARY KEY, name TEXT NOT NULL);";

#define SCHEMA_VERSION 3 /* 2: catalogue, name; 3: jobs.not_applicable */

void fg_job_record_release(struct fg_job_record *r)
{
	char **texts[] = { &r->name,	    &r->toolstack, &r->fix,	 &r->title,	 &r->digest,
			   &r->head_digest, &r->reason,	   &r->snapshot, &r->definition, &r->was };

	for (size_t i = 0; i < FG_COUNT(texts); i++) {
		free(*texts[i]);
		*texts[i] = NULL;
	}
}

int fg_journal_error(struct fg_journal *j, const char *what, struct fg_error *err)
{
	return fg_error_set(err, FG_EIO, "journal: %s: %s", what, sqlite3_errmsg(j->db));
}

static int exec(struct fg_journal *j, const char *sql, struct fg_error *err)
{
	return sqlite3_exec(j->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : fg_journal_error(j, sql, err);
}

int fg_journal_prepare(struct fg_journal *j, sqlite3_stmt **out, struct fg_error *err, const char *sql)
{
	if (sqlite3_prepare_v2(j->db, sql, -1, out, NULL) != SQLITE_OK)
		return fg_journal_error(j, sql, err);
	return 0;
}

static int check_version(struct fg_journal *j, int *version_out, struct fg_error *err)
{
	fg_autostmt sqlite3_stmt *s = NULL;
	int rc = fg_journal_prepare(j, &s, err, "PRAGMA user_version");

	if (rc < 0)
		return rc;
	int version = sqlite3_step(s) == SQLITE_ROW ? sqlite3_column_int(s, 0) : -1;
	if (version > SCHEMA_VERSION || version < 0)
		return fg_error_set(err, FG_EREFUSED, "journal has format %d, this program knows up to %d", version,
				    SCHEMA_VERSION);
	*version_out = version;
	return 0;
}

static int run(struct fg_journal *j, struct fg_error *err, const char *sql, const char *types, ...);

/* The reports of a journal of version 1 went to the server without a name, and must go on so. */
static int make_schema(struct fg_journal *j, int version, struct fg_error *err)
{
	char name[FG_UUID_TEXT] = "";
	int rc = exec(j, "BEGIN IMMEDIATE", err);

	if (rc < 0)
		return rc;
	if (version == 0)
		fg_uuid_new(name);
	rc = exec(j, schema, err);
	if (rc == 0)
		rc = run(j, err, "INSERT OR IGNORE INTO name(id, name) VALUES(1, ?1)", "t", name);
	if (rc == 0)
		rc = exec(j, "ALTER TABLE jobs ADD COLUMN not_applicable INTEGER NOT NULL DEFAULT 0", err);
	if (rc == 0)
		rc = exec(j, "PRAGMA user_version=3", err);
	if (rc == 0)
		rc = exec(j, "COMMIT", err);
	if (rc < 0)
		sqlite3_exec(j->db, "ROLLBACK", NULL, NULL, NULL);
	return rc;
}

int fg_journal_open(const char *path, struct fg_journal **out, struct fg_error *err)
{
	struct fg_journal *j = fg_calloc(1, sizeof(*j));
	int rc = 0, version = 0;

	if (sqlite3_open_v2(path, &j->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOFOLLOW, NULL) !=
	    SQLITE_OK)
		rc = fg_journal_error(j, path, err);
	if (rc == 0)
		rc = exec(j, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA busy_timeout=5000", err);
	if (rc == 0)
		rc = check_version(j, &version, err);
	if (rc == 0 && version < SCHEMA_VERSION)
		rc = make_schema(j, version, err);
	if (rc < 0) {
		fg_journal_close(j);
		return rc;
	}
	*out = j;
	return 0;
}

void fg_journal_close(struct fg_journal *j)
{
	if (!j)
		return;
	sqlite3_close(j->db);
	free(j);
}

void fg_journal_set_hook(struct fg_journal *j, void (*hook)(void *arg), void *arg)
{
	j->hook = hook;
	j->hook_arg = arg;
}

static void bind_text(sqlite3_stmt *s, int at, const char *text)
{
	if (text)
		sqlite3_bind_text(s, at, text, -1, SQLITE_TRANSIENT);
	else
		sqlite3_bind_null(s, at);
}

static int step_done(struct fg_journal *j, sqlite3_stmt *s, const char *what, struct fg_error *err)
{
	return sqlite3_step(s) == SQLITE_DONE ? 0 : fg_journal_error(j, what, err);
}

/* One statement with some values: 't' text, 'n' number. */
static int run(struct fg_journal *j, struct fg_error *err, const char *sql, const char *types, ...)
{
	fg_autostmt sqlite3_stmt *s = NULL;
	va_list ap;
	int rc = fg_journal_prepare(j, &s, err, sql);

	if (rc < 0)
		return rc;
	va_start(ap, types);
	for (int i = 0; types[i]; i++) {
		if (types[i] == 't')
			bind_text(s, i + 1, va_arg(ap, const char *));
		else
			sqlite3_bind_int64(s, i + 1, va_arg(ap, int64_t));
	}
	va_end(ap);
	return step_done(j, s, sql, err);
}

static int put_job(struct fg_journal *j, struct fg_job_record *r, struct fg_error *err)
{
	fg_autostmt sqlite3_stmt *s = NULL;
	int rc = fg_journal_prepare(
		j, &s, err,
		"INSERT INTO jobs(n, id, guest, nonce, name, toolstack, fix, title, digest, head_digest,"
		" version, bytes, offer_seq, timeout_s, state, outcome, held_from, reason, snapshot, definition,"
		" was, merged, attempts, created_ms, changed_ms, not_applicable) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, "
		"?8, ?9,"
		" ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26)"
		" ON CONFLICT(n) DO UPDATE SET name=?5, toolstack=?6, state=?15, outcome=?16, held_from=?17,"
		" reason=?18, snapshot=?19, definition=?20, was=?21, merged=?22, attempts=?23, changed_ms=?25, "
		"not_applicable=?26");

	if (rc < 0)
		return rc;
	if (r->n)
		sqlite3_bind_int64(s, 1, r->n);
	const char *texts[] = { r->id,	r->guest, r->nonce,  r->name,	    r->toolstack,
				r->fix, r->title, r->digest, r->head_digest };
	for (int i = 0; i < (int)FG_COUNT(texts); i++)
		bind_text(s, i + 2, texts[i]);
	sqlite3_bind_int64(s, 11, (int64_t)r->version);
	sqlite3_bind_int64(s, 12, (int64_t)r->bytes);
	sqlite3_bind_int64(s, 13, r->offer_seq);
	sqlite3_bind_int64(s, 14, r->timeout_s);
	bind_text(s, 15, fg_state_name(r->state));
	bind_text(s, 16, fg_state_name(r->outcome));
	bind_text(s, 17, fg_state_name(r->held_from));
	bind_text(s, 18, r->reason);
	bind_text(s, 19, r->snapshot);
	bind_text(s, 20, r->definition);
	bind_text(s, 21, r->was);
	sqlite3_bind_int(s, 22, r->merged);
	sqlite3_bind_int64(s, 23, r->attempts);
	sqlite3_bind_int64(s, 24, r->created_ms);
	sqlite3_bind_int64(s, 25, r->changed_ms);
	sqlite3_bind_int(s, 26, r->not_applicable);
	rc = step_done(j, s, "job", err);
	if (rc == 0 && !r->n)
		r->n = sqlite3_last_insert_rowid(j->db);
	return rc;
}

/* The sequence number is inside the report too: take it first, then write the text. */
static int put_report(struct fg_journal *j, json_t *report, struct fg_error *err)
{
	int rc = run(j, err, "INSERT INTO outbox(body) VALUES('')", "");

	if (rc < 0)
		return rc;
	int64_t seq = sqlite3_last_insert_rowid(j->db);
	json_object_set_new(report, "seq", json_integer(seq));
	fg_autofree char *body = fg_json_dump(report);
	return run(j, err, "UPDATE outbox SET body=?1 WHERE seq=?2", "tn", body, seq);
}

static int put_inbox(struct fg_journal *j, const json_t *offers, int64_t cursor, struct fg_error *err)
{
	size_t i;
	json_t *offer;
	int rc = 0;

	json_array_foreach (offers, i, offer) {
		int64_t seq = 0;
		fg_autofree char *body = fg_json_dump(offer);
		rc = fg_json_int(offer, "seq", 1, INT64_MAX, &seq, err);
		if (rc == 0)
			rc = run(j, err, "INSERT OR IGNORE INTO inbox(seq, body) VALUES(?1, ?2)", "nt", seq, body);
		if (rc < 0)
			return rc;
	}
	return run(j, err, "INSERT OR REPLACE INTO meta(key, value) VALUES('cursor', ?1)", "n", cursor);
}

static int put_acked(struct fg_journal *j, int64_t seq, struct fg_error *err)
{
	int rc = run(j, err, "DELETE FROM outbox WHERE seq <= ?1", "n", seq);

	if (rc < 0)
		return rc;
	return run(j, err, "INSERT OR REPLACE INTO meta(key, value) VALUES('acked', ?1)", "n", seq);
}

static int put_knowledge(struct fg_journal *j, const struct fg_journal_entry *e, struct fg_error *err)
{
	int rc = 0;

	if (e->ledger)
		rc = run(j, err,
			 "INSERT OR IGNORE INTO ledger(guest, fix, version, job, at_ms) VALUES(?1, ?2, ?3, ?4, ?5)",
			 "ttntn", e->job->guest, e->job->fix, (int64_t)e->job->version, e->job->id, e->at_ms);
	if (rc == 0 && e->counter)
		rc = run(j, err,
			 "INSERT INTO counters(fix, version) VALUES(?1, ?2)"
			 " ON CONFLICT(fix) DO UPDATE SET version=max(version, ?2)",
			 "tn", e->job->fix, (int64_t)e->job->version);
	if (rc == 0 && e->catalogue)
		rc = run(j, err,
			 "INSERT INTO catalogue(id, generation, version) VALUES(1, ?1, ?2) ON CONFLICT(id) DO UPDATE"
			 " SET generation=?1, version=?2 WHERE ?1 > generation OR (?1 = generation AND ?2 > version)",
			 "nn", (int64_t)e->catalogue->generation, (int64_t)e->catalogue->version);
	if (rc == 0 && e->operator_guest && e->operator_set)
		rc = run(j, err, "INSERT OR IGNORE INTO operator(guest, at_ms) VALUES(?1, ?2)", "tn", e->operator_guest,
			 e->at_ms);
	if (rc == 0 && e->operator_guest && !e->operator_set)
		rc = run(j, err, "DELETE FROM operator WHERE guest=?1", "t", e->operator_guest);
	return rc;
}

static int put_entry(struct fg_journal *j, const struct fg_journal_entry *e, struct fg_error *err)
{
	int rc = 0;

	if (e->job)
		rc = put_job(j, e->job, err);
	if (rc == 0 && e->kind)
		rc = run(j, err, "INSERT INTO steps(at_ms, job, kind, what, reason) VALUES(?1, ?2, ?3, ?4, ?5)",
			 "ntttt", e->at_ms, e->job->id, e->kind, e->what, e->reason);
	if (rc == 0 && e->report)
		rc = put_report(j, e->report, err);
	if (rc == 0)
		rc = put_knowledge(j, e, err);
	if (rc == 0 && e->inbox)
		rc = put_inbox(j, e->inbox, e->cursor, err);
	if (rc == 0 && e->inbox_done)
		rc = run(j, err, "DELETE FROM inbox WHERE seq=?1", "n", e->inbox_done);
	if (rc == 0 && e->acked)
		rc = put_acked(j, e->acked, err);
	return rc;
}

int fg_journal_write(struct fg_journal *j, const struct fg_journal_entry *entry, struct fg_error *err)
{
	int64_t n = entry->job ? entry->job->n : 0;
	int rc = exec(j, "BEGIN IMMEDIATE", err);

	if (rc < 0)
		return rc;
	rc = put_entry(j, entry, err);
	if (rc == 0) {
		if (j->hook)
			j->hook(j->hook_arg);
		rc = exec(j, "COMMIT", err);
	}
	if (rc < 0) {
		sqlite3_exec(j->db, "ROLLBACK", NULL, NULL, NULL);
		if (entry->job)
			entry->job->n = n;
		return rc;
	}
	if (j->hook)
		j->hook(j->hook_arg);
	return 0;
}
