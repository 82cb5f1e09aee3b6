/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "db.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#define BUSY_OPEN_MS 5000 /* processes that start together migrate one after the other */
#define BUSY_MS 2000
#define BUSY_AGAIN_MS 20
#define WAL_INDEX_VERSION 3007000u /* its format, https://www.sqlite.org/walformat.html, 2.2 */
#define WAL_INDEX_BYTES 32768 /* of a part of it */

/*
 * How long to wait for a lock that another process has: BUSY_MS, but after a wait in vain hardly at all, until the lock is
 * had again.  So a database that stays locked holds a server's loop up once, and not with each request.
 */
static void set_locked(struct fg_db *db, bool locked)
{
	if (locked != db->locked)
		sqlite3_busy_timeout(db->handle, locked ? BUSY_AGAIN_MS : BUSY_MS);
	db->locked = locked;
}

/* TIMEOUT: another process has it locked; nothing was changed, and it may be tried again. */
static int fail(struct fg_db *db, struct fg_error *err, const char *what)
{
	bool busy = (sqlite3_errcode(db->handle) & 0xff) == SQLITE_BUSY;

	if (busy)
		set_locked(db, true);
	return fg_error_set(err, busy ? FG_ETIMEOUT : FG_EIO, "database: %s: %s", what, sqlite3_errmsg(db->handle));
}

int fg_db_exec(struct fg_db *db, const char *sql, struct fg_error *err)
{
	if (sqlite3_exec(db->handle, sql, NULL, NULL, NULL) != SQLITE_OK)
		return fail(db, err, "exec");
	return 0;
}

static int is_wal(struct fg_db *db, struct fg_error *err)
{
	fg_autofinal sqlite3_stmt *st = NULL;
	int rc = fg_db_prepare(db, &st, "PRAGMA journal_mode", NULL, 0, err);

	if (rc == 0)
		rc = fg_db_step(db, st, err);
	if (rc < 0)
		return rc;
	db->wal = rc > 0 && !strcmp(fg_db_text(st, 0), "wal");
	return 0;
}

static int open_file(struct fg_db *db, const char *path, int create, struct fg_error *err)
{
	int flags = SQLITE_OPEN_READWRITE | create | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;

	memset(db, 0, sizeof(*db));
	if (sqlite3_open_v2(path, &db->handle, flags, NULL) != SQLITE_OK) {
		int rc = fg_error_set(err, FG_EIO, "%s: %s", path,
				      db->handle ? sqlite3_errmsg(db->handle) : "out of memory");
		fg_db_close(db);
		return rc;
	}
	sqlite3_busy_timeout(db->handle, BUSY_OPEN_MS);
	/* FULL: a commit is fsync'd before it is acknowledged, also in WAL mode (NORMAL would sync at checkpoints only). */
	int rc = fg_db_exec(db,
			    "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;"
			    "PRAGMA trusted_schema=OFF;",
			    err);
	if (rc == 0)
		rc = is_wal(db, err);
	if (rc < 0) {
		fg_error_wrap(err, "%s", path);
		fg_db_close(db);
	}
	return rc;
}

int fg_db_open(struct fg_db *db, const char *path, struct fg_error *err)
{
	if (access(path, F_OK) < 0)
		return fg_error_errno(err, errno == ENOENT ? FG_ENOTFOUND : FG_EIO, errno, "%s", path);
	return open_file(db, path, 0, err);
}

int fg_db_create(struct fg_db *db, const char *path, struct fg_error *err)
{
	return open_file(db, path, SQLITE_OPEN_CREATE, err);
}

void fg_db_close(struct fg_db *db)
{
	for (size_t i = 0; i < db->n_cached; i++)
		sqlite3_finalize(db->cache[i].stmt);
	sqlite3_close(db->handle);
	memset(db, 0, sizeof(*db));
}

static int prepare(struct fg_db *db, sqlite3_stmt **st, const char *sql, struct fg_error *err)
{
	for (size_t i = 0; i < db->n_cached; i++) {
		if (db->cache[i].sql == sql && !sqlite3_stmt_busy(db->cache[i].stmt)) {
			*st = db->cache[i].stmt;
			return 0;
		}
	}
	if (db->n_cached == FG_DB_STATEMENTS_MAX)
		return fg_error_set(err, FG_EBUG, "more than %d statements", FG_DB_STATEMENTS_MAX);
	if (sqlite3_prepare_v3(db->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, st, NULL) != SQLITE_OK)
		return fail(db, err, sql);
	db->cache[db->n_cached].sql = sql;
	db->cache[db->n_cached++].stmt = *st;
	return 0;
}

static int bind(struct fg_db *db, sqlite3_stmt *st, const char *types, va_list ap, struct fg_error *err)
{
	for (int i = 1; *types; types++, i++) {
		int rc = *types == 's' ? sqlite3_bind_text(st, i, va_arg(ap, const char *), -1, SQLITE_TRANSIENT)
				       : sqlite3_bind_int64(st, i, va_arg(ap, int64_t));
		if (rc != SQLITE_OK)
			return fail(db, err, "bind");
	}
	return 0;
}

int fg_db_query(struct fg_db *db, sqlite3_stmt **st, struct fg_error *err, const char *sql, const char *types, ...)
{
	va_list ap;
	int rc = prepare(db, st, sql, err);

	if (rc < 0)
		return rc;
	va_start(ap, types);
	rc = bind(db, *st, types, ap, err);
	va_end(ap);
	return rc;
}

int fg_db_step(struct fg_db *db, sqlite3_stmt *st, struct fg_error *err)
{
	int rc = sqlite3_step(st);

	if (rc == SQLITE_ROW)
		return 1;
	return rc == SQLITE_DONE ? 0 : fail(db, err, sqlite3_sql(st));
}

int fg_db_run(struct fg_db *db, struct fg_error *err, const char *sql, const char *types, ...)
{
	fg_autostmt sqlite3_stmt *st = NULL;
	va_list ap;
	int rc = prepare(db, &st, sql, err);

	if (rc < 0)
		return rc;
	va_start(ap, types);
	rc = bind(db, st, types, ap, err);
	va_end(ap);
	return rc < 0 ? rc : fg_db_step(db, st, err);
}

int64_t fg_db_last_id(struct fg_db *db)
{
	return sqlite3_last_insert_rowid(db->handle);
}

int fg_db_begin(struct fg_db *db, struct fg_error *err)
{
	if (db->lost)
		return fg_error_set(err, FG_EIO, "database: the transaction was rolled back");
	int rc = db->depth ? fg_db_run(db, err, "SAVEPOINT nested", "") : fg_db_run(db, err, "BEGIN IMMEDIATE", "");
	if (rc == 0) {
		db->depth++;
		set_locked(db, false);
	}
	return rc;
}

static int nested_end(struct fg_db *db, int rc, struct fg_error *err)
{
	if (rc == 0)
		rc = fg_db_run(db, err, "RELEASE nested", "");
	/* SQLite may have rolled back the whole by itself (disk full). */
	if (sqlite3_get_autocommit(db->handle))
		db->lost = true;
	else if (rc < 0 &&
		 sqlite3_exec(db->handle, "ROLLBACK TO nested; RELEASE nested", NULL, NULL, NULL) != SQLITE_OK)
		db->lost = true;
	return rc;
}

int fg_db_end(struct fg_db *db, int rc, struct fg_error *err)
{
	if (--db->depth > 0)
		return nested_end(db, rc, err);
	if (rc == 0 && db->lost)
		rc = fg_error_set(err, FG_EIO, "database: the transaction was rolled back");
	db->lost = false;
	if (rc == 0)
		rc = fg_db_run(db, err, "COMMIT", "");
	/* SQLite may have rolled back by itself (disk full): then this fails, and there is nothing left to undo. */
	if (rc < 0 && !sqlite3_get_autocommit(db->handle))
		sqlite3_exec(db->handle, "ROLLBACK", NULL, NULL, NULL);
	return rc;
}

int fg_db_prepare(struct fg_db *db, sqlite3_stmt **st, const char *sql, const struct fg_db_value *values, size_t n,
		  struct fg_error *err)
{
	if (sqlite3_prepare_v2(db->handle, sql, -1, st, NULL) != SQLITE_OK)
		return fail(db, err, sql);
	for (size_t i = 0; i < n; i++) {
		int rc = values[i].text ? sqlite3_bind_text(*st, (int)i + 1, values[i].text, -1, SQLITE_TRANSIENT)
					: sqlite3_bind_int64(*st, (int)i + 1, values[i].number);
		if (rc != SQLITE_OK)
			return fail(db, err, "bind");
	}
	return 0;
}

/*
 * The header of the index of the write-ahead log, in memory that all connections share: a commit writes it twice, the second copy
 * first, with a counter and a checksum of all of the log.  Two copies that are alike are whole.
 */
bool fg_db_moment(struct fg_db *db, struct fg_db_moment *out)
{
	sqlite3_file *file = NULL;
	volatile void *index = NULL;
	struct fg_db_moment second;
	uint32_t version;

	if (!db->wal || db->depth || sqlite3_file_control(db->handle, "main", SQLITE_FCNTL_FILE_POINTER, &file) != 0 ||
	    !file || !file->pMethods || file->pMethods->iVersion < 2 ||
	    file->pMethods->xShmMap(file, 0, WAL_INDEX_BYTES, 0, &index) != SQLITE_OK || !index)
		return false;
	const volatile unsigned char *bytes = index;
	for (size_t i = 0; i < sizeof(out->bytes); i++)
		out->bytes[i] = bytes[i];
	atomic_thread_fence(memory_order_seq_cst);
	for (size_t i = 0; i < sizeof(second.bytes); i++)
		second.bytes[i] = bytes[sizeof(out->bytes) + i];
	memcpy(&version, out->bytes, sizeof(version));
	return version == WAL_INDEX_VERSION && memcmp(out, &second, sizeof(second)) == 0;
}

int64_t fg_db_changes(struct fg_db *db)
{
	return sqlite3_changes64(db->handle);
}

void fg_db_stmt_finalizep(sqlite3_stmt **st)
{
	sqlite3_finalize(*st);
}

void fg_db_stmt_resetp(sqlite3_stmt **st)
{
	if (*st)
		sqlite3_reset(*st);
}
