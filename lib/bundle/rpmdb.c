/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * In this order: find_place -> open_place -> open_database -> check_table -> read_packages.
 */
#include "rpmdb.h"
#include "guest.h"
#include "rpmvfs.h"

#include <lib/util.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DATABASE "rpmdb.sqlite"
#define PROGRAM "/usr/bin/rpm"
#define STEPS_AT_ONCE 10000

static const char *const places[] = { "/usr/lib/sysimage/rpm", "/var/lib/rpm" };

struct rpmdb {
	const char *place; /* folder, as the guest sees it */
	int db, wal; /* descriptors */
	uint64_t budget; /* bytes that may still be read */
	int steps; /* of STEPS_AT_ONCE that may still be made */
	struct fg_rpmvfs *vfs;
	sqlite3 *handle;
};

static int open_at(int at, const char *path, uint64_t flags, uint64_t resolve)
{
	struct open_how how = { .flags = flags | O_CLOEXEC, .resolve = resolve | RESOLVE_NO_MAGICLINKS };

	return (int)syscall(SYS_openat2, at, path, &how, sizeof(how));
}

/* *fd is -1 if there is none.  A link would leave open whose log and journal are to be looked at. */
static int open_file(int folder, const char *name, int *fd, uint64_t *bytes, struct fg_error *err)
{
	fg_autoclose int f =
		open_at(folder, name, O_RDONLY | O_NONBLOCK | O_NOCTTY, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
	struct stat st;

	if (f < 0 && errno == ENOENT)
		return 0;
	if (f < 0 && errno == ELOOP)
		return fg_error_set(err, FG_EUNREACHABLE, "%s is a symbolic link", name);
	if (f < 0 || fstat(f, &st) < 0)
		return fg_error_errno(err, FG_EIO, errno, "cannot open %s", name);
	if (!S_ISREG(st.st_mode))
		return fg_error_set(err, FG_EUNREACHABLE, "%s is no regular file", name);
	if (st.st_size > FG_RPMDB_FILE_MAX)
		return fg_error_set(err, FG_ELIMIT, "%s has more than %u bytes", name, FG_RPMDB_FILE_MAX);
	*fd = FG_TAKE_FD(f);
	*bytes = (uint64_t)st.st_size;
	return 0;
}

/* What lies beside the database, or in its place, and cannot be read here. */
static int refuse_others(int folder, struct fg_error *err)
{
	static const struct {
		const char *name, *what;
		off_t from; /* bytes from which it matters */
	} others[] = {
		{ "Packages.db", "an rpm database in the format ndb", 0 },
		{ "Packages", "an rpm database in the format of Berkeley DB", 0 },
		{ DATABASE "-journal", "the journal of an interrupted rpm", 1 },
	};

	for (size_t i = 0; i < FG_COUNT(others); i++) {
		struct stat st;
		if (fstatat(folder, others[i].name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
			if (st.st_size >= others[i].from)
				return fg_error_set(err, FG_EUNREACHABLE, "cannot ask rpm: %s is %s, which is not read",
						    others[i].name, others[i].what);
		} else if (errno != ENOENT) {
			return fg_error_errno(err, FG_EIO, errno, "cannot look up %s", others[i].name);
		}
	}
	return 0;
}

/* One place: nothing happens if there is no folder; a folder without a database is noted in *empty. */
static int open_place(struct rpmdb *r, int root_fd, const char *place, const char **empty, struct fg_error *err)
{
	fg_autoclose int folder = open_at(root_fd, place, O_RDONLY | O_DIRECTORY, RESOLVE_IN_ROOT);
	fg_autoclose int db = -1;
	uint64_t db_bytes = 0, wal_bytes = 0;
	struct stat st, had;

	if (folder < 0 && (errno == ENOENT || errno == ENOTDIR))
		return 0;
	if (folder < 0)
		return fg_error_errno(err, FG_EIO, errno, "cannot open the folder");
	int rc = refuse_others(folder, err);
	if (rc == 0)
		rc = open_file(folder, DATABASE, &db, &db_bytes, err);
	if (rc < 0)
		return rc;
	if (db < 0) {
		*empty = place;
		return 0;
	}
	if (r->db >= 0) {
		if (fstat(db, &st) < 0 || fstat(r->db, &had) < 0)
			return fg_error_errno(err, FG_EIO, errno, "cannot look at %s", DATABASE);
		if (st.st_dev == had.st_dev && st.st_ino == had.st_ino)
			return 0; /* /var/lib/rpm is a link to the other place */
		return fg_error_set(err, FG_EUNREACHABLE, "cannot ask rpm: %s has a database too", r->place);
	}
	rc = open_file(folder, DATABASE "-wal", &r->wal, &wal_bytes, err);
	if (rc < 0)
		return rc;
	r->place = place;
	r->db = FG_TAKE_FD(db);
	r->budget = FG_RPMDB_PASSES_MAX * (db_bytes + wal_bytes);
	return 0;
}

static int find_place(struct rpmdb *r, int root_fd, struct fg_error *err)
{
	const char *empty = NULL;
	bool has_rpm = false;

	for (size_t i = 0; i < FG_COUNT(places); i++) {
		int rc = open_place(r, root_fd, places[i], &empty, err);
		if (rc < 0) {
			fg_error_wrap(err, "%s of the guest", places[i]);
			return rc;
		}
	}
	if (r->db >= 0)
		return 0;
	if (empty)
		return fg_error_set(err, FG_EUNREACHABLE, "cannot ask rpm: %s of the guest has no %s", empty, DATABASE);
	int rc = fg_guest_exists(root_fd, PROGRAM, &has_rpm, err);
	if (rc == 0 && has_rpm)
		rc = fg_error_set(err, FG_EUNREACHABLE, "the guest has rpm but no database of it: is /var mounted?");
	return rc;
}

/* SQLite's own words for the code: its message may have the guest's words in it. */
static int failed(int code, const char *what, struct fg_error *err)
{
	int primary = code & 0xff;
	enum fg_error_code fg = primary == SQLITE_IOERR ? FG_EIO
				: primary == SQLITE_NOMEM || primary == SQLITE_INTERRUPT || primary == SQLITE_TOOBIG
					? FG_ELIMIT
					: FG_EFORMAT;

	return fg_error_set(err, fg, "%s: %s", what, sqlite3_errstr(code));
}

static int on_steps(void *arg)
{
	struct rpmdb *r = arg;

	return --r->steps < 0; /* 1 interrupts */
}

/* The only things the two statements here and sqlite3_blob_open do, on tables themselves and not through a view or trigger. */
static int authorize(void *arg, int action, const char *table, const char *column, const char *db, const char *inner)
{
	(void)arg, (void)column, (void)db;
	if (inner)
		return SQLITE_DENY;
	if (action == SQLITE_SELECT)
		return SQLITE_OK;
	return action == SQLITE_READ && table &&
			       (sqlite3_stricmp(table, "Packages") == 0 || sqlite3_stricmp(table, "sqlite_master") == 0)
		       ? SQLITE_OK
		       : SQLITE_DENY;
}

static void set_limits(struct rpmdb *r)
{
	static const struct {
		int id, value;
	} limits[] = {
		{ SQLITE_LIMIT_LENGTH, FG_RPMDB_SQL_MAX }, /* of values that SQLite itself loads; blobs are not */
		{ SQLITE_LIMIT_SQL_LENGTH, FG_RPMDB_SQL_MAX },
		{ SQLITE_LIMIT_COLUMN, 64 }, /* rpm: 3 */
		{ SQLITE_LIMIT_EXPR_DEPTH, 16 },
		{ SQLITE_LIMIT_COMPOUND_SELECT, 1 },
		{ SQLITE_LIMIT_VDBE_OP, 10000 },
		{ SQLITE_LIMIT_FUNCTION_ARG, 8 },
		{ SQLITE_LIMIT_ATTACHED, 0 },
		{ SQLITE_LIMIT_TRIGGER_DEPTH, 1 },
		{ SQLITE_LIMIT_WORKER_THREADS, 0 },
	};

	for (size_t i = 0; i < FG_COUNT(limits); i++)
		sqlite3_limit(r->handle, limits[i].id, limits[i].value);
	r->steps = FG_RPMDB_STEPS_MAX / STEPS_AT_ONCE;
	sqlite3_progress_handler(r->handle, STEPS_AT_ONCE, on_steps, r);
}

/* https://sqlite.org/security.html, "Untrusted SQLite Database Files" */
static int harden(struct rpmdb *r)
{
	static const struct {
		int option, value;
	} options[] = {
		{ SQLITE_DBCONFIG_DEFENSIVE, 1 },	{ SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0 },
		{ SQLITE_DBCONFIG_ENABLE_VIEW, 0 },	{ SQLITE_DBCONFIG_ENABLE_TRIGGER, 0 },
		{ SQLITE_DBCONFIG_ENABLE_FKEY, 0 },	{ SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0 },
		{ SQLITE_DBCONFIG_WRITABLE_SCHEMA, 0 }, { SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1 },
	};
	/* EXCLUSIVE: a log is read without shared memory; see rpmvfs.h */
	static const char pragmas[] = "PRAGMA locking_mode=EXCLUSIVE; PRAGMA cell_size_check=ON; PRAGMA query_only=ON;"
				      "PRAGMA temp_store=MEMORY; PRAGMA cache_size=-2048;";

	for (size_t i = 0; i < FG_COUNT(options); i++) {
		int code = sqlite3_db_config(r->handle, options[i].option, options[i].value, NULL);
		if (code != SQLITE_OK)
			return code;
	}
	int code = sqlite3_exec(r->handle, pragmas, NULL, NULL, NULL);
	return code == SQLITE_OK ? sqlite3_set_authorizer(r->handle, authorize, r) : code;
}

static int open_database(struct rpmdb *r, struct fg_error *err)
{
	int rc = fg_rpmvfs_open(r->db, r->wal, &r->vfs, err);

	if (rc < 0)
		return rc;
	int code = sqlite3_open_v2(FG_RPMVFS_FILE, &r->handle,
				   SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE |
					   SQLITE_OPEN_PRIVATECACHE,
				   fg_rpmvfs_name(r->vfs));
	if (code != SQLITE_OK)
		return failed(code, "cannot open it", err);
	set_limits(r);
	code = harden(r);
	return code == SQLITE_OK ? 0 : failed(code, "cannot open it", err);
}

/*
 * A real table.  That name and type are those of the statement SQLite itself has checked; "CREATE VIRTUAL TABLE" has the type of a
 * table too, but begins otherwise.
 */
static int check_table(struct rpmdb *r, struct fg_error *err)
{
	static const char sql[] =
		"SELECT type = 'table' AND sql >= 'CREATE TABLE' AND sql < 'CREATE TABLF' FROM main.sqlite_master "
		"WHERE name = 'Packages' COLLATE NOCASE";
	sqlite3_stmt *st = NULL;
	int tables = 0, others = 0;
	int code = sqlite3_prepare_v2(r->handle, sql, -1, &st, NULL);

	while (code == SQLITE_OK && (code = sqlite3_step(st)) == SQLITE_ROW) {
		*(sqlite3_column_int(st, 0) == 1 ? &tables : &others) += 1;
		code = SQLITE_OK;
	}
	sqlite3_finalize(st);
	if (code != SQLITE_DONE)
		return failed(code, "cannot read its schema", err);
	if (tables != 1 || others != 0)
		return fg_error_set(err, FG_EFORMAT, "it has no table Packages");
	return 0;
}

struct blob {
	struct rpmdb *r;
	sqlite3_blob *handle;
};

/* The cost of a piece is the way to it through the pages of the blob. */
static int read_blob(void *arg, uint64_t offset, void *out, size_t len, struct fg_error *err)
{
	struct blob *b = arg;
	uint64_t cost = offset + len;

	if (cost > b->r->budget)
		return fg_error_set(err, FG_ELIMIT, "the database goes in circles");
	b->r->budget -= cost;
	int code = sqlite3_blob_read(b->handle, out, (int)len, (int)offset);
	return code == SQLITE_OK ? 0 : failed(code, "cannot read it", err);
}

static int read_row(struct blob *b, sqlite3_int64 row, struct fg_rpm_package *out, struct fg_error *err)
{
	int code = b->handle ? sqlite3_blob_reopen(b->handle, row)
			     : sqlite3_blob_open(b->r->handle, "main", "Packages", "blob", row, 0, &b->handle);

	if (code != SQLITE_OK)
		return failed(code, "cannot read it", err);
	struct fg_rpmhdr_source source = { read_blob, b, (uint64_t)sqlite3_blob_bytes(b->handle) };
	return fg_rpmhdr_read(&source, out, err);
}

/* Takes what p has. */
static int add(struct fg_rpm_packages *out, size_t *text, struct fg_rpm_package *p, struct fg_error *err)
{
	*text += strlen(p->name) + strlen(p->evr);
	if (out->n == FG_RPMDB_PACKAGES_MAX || *text > FG_RPMDB_TEXT_MAX) {
		fg_rpm_package_release(p);
		return fg_error_set(err, FG_ELIMIT, "it has too many packages");
	}
	if ((out->n & (out->n - 1)) == 0) { /* full: 0, 1, 2, 4, 8 … */
		size_t more = out->n ? 2 * out->n : 1;
		out->list = realloc(out->list, more * sizeof(*out->list));
		if (!out->list)
			abort(); /* as fg_calloc */
	}
	out->list[out->n++] = *p;
	return 0;
}

/* NOT INDEXED: an index could leave rows out. */
static int read_packages(struct rpmdb *r, struct fg_rpm_packages *out, struct fg_error *err)
{
	struct blob blob = { r, NULL };
	sqlite3_stmt *st = NULL;
	size_t text = 0;
	int rc = 0;
	int code = sqlite3_prepare_v2(r->handle, "SELECT rowid FROM main.Packages NOT INDEXED", -1, &st, NULL);

	while (rc == 0 && code == SQLITE_OK && (code = sqlite3_step(st)) == SQLITE_ROW) {
		struct fg_rpm_package p = { NULL, NULL };
		sqlite3_int64 row = sqlite3_column_int64(st, 0);
		rc = read_row(&blob, row, &p, err);
		if (rc < 0)
			fg_error_wrap(err, "package %lld", row);
		else
			rc = add(out, &text, &p, err);
		code = SQLITE_OK;
	}
	sqlite3_blob_close(blob.handle);
	sqlite3_finalize(st);
	if (rc < 0)
		return rc;
	return code == SQLITE_DONE ? 0 : failed(code, "cannot read it", err);
}

static int read_database(struct rpmdb *r, struct fg_rpm_packages *out, struct fg_error *err)
{
	/* of the process; nobody else in the fix VM uses SQLite */
	sqlite3_int64 before = sqlite3_hard_heap_limit64(FG_RPMDB_HEAP_MAX);
	int rc = open_database(r, err);

	if (rc == 0)
		rc = check_table(r, err);
	if (rc == 0)
		rc = read_packages(r, out, err);
	sqlite3_close(r->handle);
	fg_rpmvfs_close(r->vfs);
	sqlite3_hard_heap_limit64(before);
	if (rc < 0)
		fg_error_wrap(err, "rpm's database %s/%s of the guest", r->place, DATABASE);
	return rc;
}

int fg_rpmdb_read(int root_fd, struct fg_rpm_packages *out, struct fg_error *err)
{
	struct rpmdb r = { .db = -1, .wal = -1 };
	struct fg_rpm_packages found = { NULL, 0 };
	int rc = find_place(&r, root_fd, err);

	if (rc == 0 && r.db >= 0)
		rc = read_database(&r, &found, err);
	fg_closep(&r.db);
	fg_closep(&r.wal);
	if (rc < 0)
		fg_rpm_packages_release(&found);
	else
		*out = found;
	return rc;
}

void fg_rpm_packages_release(struct fg_rpm_packages *p)
{
	for (size_t i = 0; i < p->n; i++)
		fg_rpm_package_release(&p->list[i]);
	free(p->list);
	*p = (struct fg_rpm_packages){ NULL, 0 };
}
