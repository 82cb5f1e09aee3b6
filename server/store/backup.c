/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Copies of the database, and their way back. */
#include "db.h"
#include "schema.h"
#include "sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int sync_path(const char *path, struct fg_error *err)
{
	fg_autofree char *copy = fg_strdup(path);
	fg_autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
	fg_autoclose int dir = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || dir < 0 || fsync(fd) < 0 || fsync(dir) < 0)
		return fg_error_errno(err, FG_EIO, errno, "%s", path);
	return 0;
}

/* In one step: the copy is what one moment's reader sees, and writers go on beside it. */
static int copy(struct fg_db *from, struct fg_db *to, struct fg_error *err)
{
	sqlite3_backup *b = sqlite3_backup_init(to->handle, "main", from->handle, "main");

	if (!b)
		return fg_error_set(err, FG_EIO, "%s", sqlite3_errmsg(to->handle));
	int step = sqlite3_backup_step(b, -1);
	int end = sqlite3_backup_finish(b);
	if (step != SQLITE_DONE || end != SQLITE_OK)
		return fg_error_set(err, FG_EIO, "%s", sqlite3_errstr(end != SQLITE_OK ? end : step));
	return 0;
}

static int copy_file(const char *from, const char *to, struct fg_error *err)
{
	struct fg_db in, out;
	int rc = fg_db_open(&in, from, err);

	if (rc < 0)
		return rc;
	rc = fg_db_create(&out, to, err);
	if (rc == 0) {
		rc = copy(&in, &out, err);
		/* One file that can be moved about: not in WAL mode. */
		if (rc == 0)
			rc = fg_db_exec(&out, "PRAGMA journal_mode=DELETE", err);
		fg_db_close(&out);
	}
	fg_db_close(&in);
	return rc;
}

/* Whole, of this program or an older one, with an audit log whose chain holds. */
static int check_file(const char *path, struct fg_error *err)
{
	struct fg_store *store = NULL;
	int64_t n = 0;
	int rc = fg_store_open(path, &store, err);

	if (rc < 0)
		return rc;
	rc = fg_store_check(store, err);
	if (rc == 0)
		rc = fg_db_exec(&store->db, "PRAGMA journal_mode=DELETE", err);
	if (rc == 0)
		rc = fg_store_recount(store, err);
	if (rc == 0)
		rc = fg_store_audit_verify(store, &n, NULL, err);
	fg_store_close(store);
	return rc;
}

int fg_store_backup(const char *db_path, const char *to, struct fg_error *err)
{
	fg_autofree char *temp = fg_asprintf("%s.tmp", to);
	fg_autoclose int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (access(db_path, F_OK) < 0)
		return fg_error_errno(err, FG_ENOTFOUND, errno, "%s", db_path);
	if (fd < 0)
		return fg_error_errno(err, FG_EIO, errno, "%s", temp);
	int rc = copy_file(db_path, temp, err);
	if (rc == 0)
		rc = check_file(temp, err);
	if (rc == 0)
		rc = sync_path(temp, err);
	if (rc == 0 && rename(temp, to) < 0)
		rc = fg_error_errno(err, FG_EIO, errno, "%s", to);
	if (rc == 0)
		return sync_path(to, err);
	unlink(temp);
	return rc;
}

/* ---- restore ---- */

/* Leaving WAL mode needs the file for itself: it fails while a server has it open.  What is damaged nobody can have. */
static int nobody_uses(const char *path, struct fg_error *err)
{
	struct fg_db db;
	struct fg_error why = FG_ERROR_INIT;

	if (access(path, F_OK) < 0 || fg_db_open(&db, path, &why) < 0)
		return 0;
	sqlite3_busy_timeout(db.handle, 0);
	int code = sqlite3_exec(db.handle, "PRAGMA journal_mode=DELETE", NULL, NULL, NULL) & 0xff;
	fg_db_close(&db);
	if (code == SQLITE_BUSY || code == SQLITE_LOCKED)
		return fg_error_set(err, FG_EREFUSED, "%s is in use: stop fixgate-server first", path);
	return 0;
}

static int max_number(struct fg_store *store, int64_t *out, struct fg_error *err)
{
	fg_autostmt sqlite3_stmt *st = NULL;
	int rc = fg_db_query(&store->db, &st, err, "SELECT COALESCE(MAX(seq), 0) FROM offer", "");

	if (rc == 0)
		rc = fg_db_step(&store->db, st, err);
	if (rc < 0)
		return rc;
	*out = fg_db_int(st, 0);
	return 0;
}

/*
 * Numbers of offers given out after the backup was made are not in it.  They are counted one by one, so milliseconds since
 * the epoch are above them all: the open offers go on from there, and every later one.
 */
static int renumber(struct fg_store *store, const char *who, int64_t now_ms, struct fg_error *err)
{
	fg_autofree char *floor = fg_asprintf("%" PRId64, now_ms);
	int64_t newest = 0;
	int rc = max_number(store, &newest, err);

	if (rc == 0)
		rc = fg_db_run(&store->db, err,
			       "INSERT INTO setting (name, value) VALUES ('offer_floor', ?) ON CONFLICT (name)"
			       " DO UPDATE SET value = excluded.value",
			       "s", floor);
	if (rc == 0)
		rc = fg_db_run(&store->db, err, "UPDATE sqlite_sequence SET seq = ? WHERE name = 'offer' AND seq < ?",
			       "ii", now_ms, now_ms);
	if (rc == 0 && newest == 0)
		rc = fg_db_run(&store->db, err,
			       "INSERT INTO sqlite_sequence (name, seq) SELECT 'offer', ? WHERE NOT EXISTS"
			       " (SELECT 1 FROM sqlite_sequence WHERE name = 'offer')",
			       "i", now_ms);
	if (rc == 0)
		rc = fg_db_run(&store->db, err,
			       "INSERT INTO offer (client, host_id, fix, version, at_ms, who, force, open)"
			       " SELECT client, host_id, fix, version, at_ms, who, force, 1 FROM offer WHERE open = 1"
			       " ORDER BY seq",
			       "");
	if (rc == 0)
		rc = fg_db_run(&store->db, err, "UPDATE offer SET open = 0 WHERE open = 1 AND seq <= ?", "i", newest);
	if (rc == 0)
		rc = fg_sqlite_audit(store, now_ms, who, "restore", err, "offers go on after %" PRId64, now_ms);
	return rc;
}

static int prepare(const char *path, const char *who, int64_t now_ms, struct fg_error *err)
{
	struct fg_store *store = NULL;
	int rc = fg_store_open(path, &store, err);

	if (rc < 0)
		return rc;
	rc = fg_db_begin(&store->db, err);
	if (rc == 0)
		rc = fg_db_end(&store->db, renumber(store, who, now_ms, err), err);
	if (rc == 0)
		rc = fg_db_exec(&store->db, "PRAGMA journal_mode=DELETE", err);
	fg_store_close(store);
	return rc;
}

/* As the old file's owner and mode: the server runs as its own user. */
static int same_owner(const char *temp, const char *like, struct fg_error *err)
{
	fg_autofree char *copied = fg_strdup(like);
	struct stat st;

	if (stat(like, &st) < 0) {
		if (stat(dirname(copied), &st) < 0)
			return fg_error_errno(err, FG_EIO, errno, "%s", like);
		st.st_mode = 0600;
	}
	if (chown(temp, st.st_uid, st.st_gid) < 0 || chmod(temp, st.st_mode & 0777) < 0)
		return fg_error_errno(err, FG_EIO, errno, "%s", temp);
	return 0;
}

static int put_in_place(const char *temp, const char *path, struct fg_error *err)
{
	static const char *const rests[] = { "-wal", "-shm" };
	fg_autofree char *kept = fg_asprintf("%s.before-restore", path);
	int rc = same_owner(temp, path, err);

	if (rc < 0)
		return rc;
	/* A second name for what is there: at no moment is there no database, which a server would start without. */
	if (unlink(kept) < 0 && errno != ENOENT)
		return fg_error_errno(err, FG_EIO, errno, "%s", kept);
	if (link(path, kept) < 0 && errno != ENOENT)
		return fg_error_errno(err, FG_EIO, errno, "%s", kept);
	for (size_t i = 0; i < FG_COUNT(rests); i++) {
		fg_autofree char *from = fg_asprintf("%s%s", path, rests[i]);
		fg_autofree char *to = fg_asprintf("%s%s", kept, rests[i]);
		if (rename(from, to) < 0 && errno != ENOENT)
			return fg_error_errno(err, FG_EIO, errno, "%s", to);
	}
	if (rename(temp, path) < 0)
		return fg_error_errno(err, FG_EIO, errno, "%s", path);
	return sync_path(path, err);
}

int fg_store_restore(const char *db_path, const char *from, const char *who, int64_t now_ms, struct fg_error *err)
{
	fg_autofree char *temp = fg_asprintf("%s.restore", db_path);

	if (access(from, F_OK) < 0)
		return fg_error_errno(err, FG_ENOTFOUND, errno, "%s", from);
	int rc = nobody_uses(db_path, err);
	if (rc < 0)
		return rc;
	unlink(temp);
	rc = copy_file(from, temp, err);
	if (rc == 0)
		rc = check_file(temp, err);
	if (rc == 0)
		rc = prepare(temp, who, now_ms, err);
	if (rc == 0)
		rc = sync_path(temp, err);
	if (rc == 0)
		rc = put_in_place(temp, db_path, err);
	if (rc < 0)
		unlink(temp);
	return rc;
}
