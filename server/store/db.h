/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A thin layer over SQLite: prepared statements kept by their text, binding by a type string, transactions.  What another
 * process has locked for too long fails with TIMEOUT.
 *
 *	fg_autostmt sqlite3_stmt *st = NULL;
 *	int rc = fg_db_query(db, &st, err, "SELECT … WHERE a = ? AND b = ?", "si", text, (int64_t)n);
 *	while (rc == 0 && (rc = fg_db_step(db, st, err)) > 0) …
 */
#ifndef FG_SERVER_DB_H
#define FG_SERVER_DB_H

#include <fixgate/error.h>
#include <lib/util.h>
#include <sqlite3.h>
#include <stdbool.h>

#define FG_DB_STATEMENTS_MAX 256

struct fg_db {
	sqlite3 *handle;
	struct {
		const char *sql; /* a literal: compared by address */
		sqlite3_stmt *stmt;
	} cache[FG_DB_STATEMENTS_MAX];
	size_t n_cached;
	unsigned depth; /* of open transactions */
	bool locked; /* by another process, when last tried */
	bool lost; /* the outermost was rolled back by SQLite itself */
	bool wal;
};

/* NOTFOUND if there is no such file. */
int fg_db_open(struct fg_db *db, const char *path, struct fg_error *err) FG_MUST_CHECK;
/* The same, but makes the file where there is none. */
int fg_db_create(struct fg_db *db, const char *path, struct fg_error *err) FG_MUST_CHECK;
void fg_db_close(struct fg_db *db);
int fg_db_exec(struct fg_db *db, const char *sql, struct fg_error *err) FG_MUST_CHECK;

/* types: one letter a parameter: s = const char * (NULL -> null), i = int64_t. sql must be a string literal. */
int fg_db_query(struct fg_db *db, sqlite3_stmt **st, struct fg_error *err, const char *sql, const char *types,
		...) FG_MUST_CHECK;
/* 1 = a row, 0 = no more, < 0 = failed. */
int fg_db_step(struct fg_db *db, sqlite3_stmt *st, struct fg_error *err) FG_MUST_CHECK;
/* A statement that gives no rows. */
int fg_db_run(struct fg_db *db, struct fg_error *err, const char *sql, const char *types, ...) FG_MUST_CHECK;
int64_t fg_db_last_id(struct fg_db *db);

/*
 * What the database is at this moment, as bytes to compare: any commit, by whatever process, changes them before it returns, and
 * what was once is never again.  Without a system call.  false: it cannot be told (or a transaction is open here).
 */
struct fg_db_moment {
	unsigned char bytes[48];
};
bool fg_db_moment(struct fg_db *db, struct fg_db_moment *out);

/* Rows that the last statement wrote. */
int64_t fg_db_changes(struct fg_db *db);

/* A statement whose text was put together: not kept; fg_autofinal. */
struct fg_db_value {
	const char *text; /* NULL: number */
	int64_t number;
};
int fg_db_prepare(struct fg_db *db, sqlite3_stmt **st, const char *sql, const struct fg_db_value *values, size_t n,
		  struct fg_error *err) FG_MUST_CHECK;

/* Transactions nest: an inner one that fails undoes its own writes only, and only the outermost makes them durable. */
int fg_db_begin(struct fg_db *db, struct fg_error *err) FG_MUST_CHECK;
/* Commits if rc is 0; rolls back otherwise or if the commit fails. Returns rc or the commit's. */
int fg_db_end(struct fg_db *db, int rc, struct fg_error *err) FG_MUST_CHECK;

static inline const char *fg_db_text(sqlite3_stmt *st, int column)
{
	return (const char *)sqlite3_column_text(st, column);
}
static inline int64_t fg_db_int(sqlite3_stmt *st, int column)
{
	return sqlite3_column_int64(st, column);
}
void fg_db_stmt_resetp(sqlite3_stmt **st);
#define fg_autostmt fg_cleanup(fg_db_stmt_resetp)
void fg_db_stmt_finalizep(sqlite3_stmt **st);
#define fg_autofinal fg_cleanup(fg_db_stmt_finalizep)

#endif
