/* SPDX-License-Identifier: GPL-3.0-or-later */
/* https://sqlite.org/c3ref/vfs.html, https://sqlite.org/c3ref/io_methods.html */
#include "rpmvfs.h"

#include <lib/util.h>

#include <errno.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct fg_rpmvfs {
	sqlite3_vfs vfs; /* pAppData is this struct */
	char name[64];
	int db, wal;
};

struct guest_file {
	sqlite3_file base;
	int fd; /* -1: an empty file */
};

static int file_close(sqlite3_file *file)
{
	file->pMethods = NULL;
	return SQLITE_OK;
}

static int file_read(sqlite3_file *file, void *out, int len, sqlite3_int64 offset)
{
	int fd = ((struct guest_file *)file)->fd;
	size_t used = 0, want = (size_t)len;

	while (fd >= 0 && used < want) {
		ssize_t n = pread(fd, (char *)out + used, want - used, offset + (off_t)used);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return SQLITE_IOERR_READ;
		if (n == 0)
			break;
		used += (size_t)n;
	}
	memset((char *)out + used, 0, want - used); /* SQLite asks for that */
	return used == want ? SQLITE_OK : SQLITE_IOERR_SHORT_READ;
}

static int file_write(sqlite3_file *file, const void *bytes, int len, sqlite3_int64 offset)
{
	(void)file, (void)bytes, (void)len, (void)offset;
	return SQLITE_READONLY;
}

static int file_truncate(sqlite3_file *file, sqlite3_int64 size)
{
	(void)file, (void)size;
	return SQLITE_READONLY;
}

static int file_sync(sqlite3_file *file, int flags)
{
	(void)file, (void)flags;
	return SQLITE_OK;
}

static int file_size(sqlite3_file *file, sqlite3_int64 *size)
{
	int fd = ((struct guest_file *)file)->fd;
	struct stat st = { 0 };

	if (fd >= 0 && fstat(fd, &st) < 0)
		return SQLITE_IOERR_FSTAT;
	*size = st.st_size;
	return SQLITE_OK;
}

/* Nobody else has the files: the guest does not run. */
static int file_lock(sqlite3_file *file, int lock)
{
	(void)file, (void)lock;
	return SQLITE_OK;
}

static int file_reserved(sqlite3_file *file, int *reserved)
{
	(void)file;
	*reserved = 0;
	return SQLITE_OK;
}

static int file_control(sqlite3_file *file, int op, void *arg)
{
	(void)file, (void)op, (void)arg;
	return SQLITE_NOTFOUND;
}

static int file_sector(sqlite3_file *file)
{
	(void)file;
	return 512; /* matters to writers only */
}

static int file_characteristics(sqlite3_file *file)
{
	(void)file;
	return 0;
}

/* Version 1: neither shared memory nor mmap, where a file that shrinks would be a SIGBUS. */
static const sqlite3_io_methods methods = {
	.iVersion = 1,
	.xClose = file_close,
	.xRead = file_read,
	.xWrite = file_write,
	.xTruncate = file_truncate,
	.xSync = file_sync,
	.xFileSize = file_size,
	.xLock = file_lock,
	.xUnlock = file_lock,
	.xCheckReservedLock = file_reserved,
	.xFileControl = file_control,
	.xSectorSize = file_sector,
	.xDeviceCharacteristics = file_characteristics,
};

static int vfs_open(sqlite3_vfs *vfs, sqlite3_filename name, sqlite3_file *file, int flags, int *out_flags)
{
	const struct fg_rpmvfs *v = vfs->pAppData;
	struct guest_file *f = (struct guest_file *)file;

	(void)name;
	f->base.pMethods = NULL;
	if (!(flags & (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL)))
		return SQLITE_CANTOPEN; /* journals, temporary files */
	f->fd = flags & SQLITE_OPEN_MAIN_DB ? v->db : v->wal;
	f->base.pMethods = &methods;
	if (out_flags)
		*out_flags = (flags & ~(SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE)) | SQLITE_OPEN_READONLY;
	return SQLITE_OK;
}

static int vfs_delete(sqlite3_vfs *vfs, const char *name, int sync_folder)
{
	(void)vfs, (void)name, (void)sync_folder;
	return SQLITE_IOERR_DELETE;
}

static int vfs_access(sqlite3_vfs *vfs, const char *name, int flags, int *out)
{
	const struct fg_rpmvfs *v = vfs->pAppData;

	(void)flags;
	*out = strcmp(name, FG_RPMVFS_FILE) == 0 || (v->wal >= 0 && strcmp(name, FG_RPMVFS_FILE "-wal") == 0);
	return SQLITE_OK;
}

static int vfs_full_path(sqlite3_vfs *vfs, const char *name, int len, char *out)
{
	(void)vfs;
	return sqlite3_snprintf(len, out, "%s", name) ? SQLITE_OK : SQLITE_CANTOPEN;
}

static int vfs_randomness(sqlite3_vfs *vfs, int len, char *out)
{
	(void)vfs;
	memset(out, 0, (size_t)len); /* names of temporary files and salts of logs: none is made */
	return len;
}

static int vfs_no_wait(sqlite3_vfs *vfs, int microseconds)
{
	(void)vfs, (void)microseconds;
	return 0;
}

static int vfs_time(sqlite3_vfs *vfs, double *out)
{
	(void)vfs;
	*out = 0;
	return SQLITE_OK;
}

static int vfs_last_error(sqlite3_vfs *vfs, int len, char *out)
{
	(void)vfs, (void)len, (void)out;
	return 0;
}

int fg_rpmvfs_open(int db, int wal, struct fg_rpmvfs **out, struct fg_error *err)
{
	struct fg_rpmvfs *v = fg_calloc(1, sizeof(*v));

	snprintf(v->name, sizeof(v->name), "fg-rpmvfs-%p", (void *)v); /* one of a name at a time */
	v->db = db;
	v->wal = wal;
	v->vfs = (sqlite3_vfs){
		.iVersion = 1,
		.szOsFile = sizeof(struct guest_file),
		.mxPathname = 64,
		.zName = v->name,
		.pAppData = v,
		.xOpen = vfs_open,
		.xDelete = vfs_delete,
		.xAccess = vfs_access,
		.xFullPathname = vfs_full_path,
		.xRandomness = vfs_randomness,
		.xSleep = vfs_no_wait,
		.xCurrentTime = vfs_time,
		.xGetLastError = vfs_last_error,
	};
	if (sqlite3_vfs_register(&v->vfs, 0) != SQLITE_OK) {
		free(v);
		return fg_error_set(err, FG_ENOMEM, "SQLite takes no file system");
	}
	*out = v;
	return 0;
}

const char *fg_rpmvfs_name(const struct fg_rpmvfs *vfs)
{
	return vfs->name;
}

void fg_rpmvfs_close(struct fg_rpmvfs *vfs)
{
	if (!vfs)
		return;
	sqlite3_vfs_unregister(&vfs->vfs);
	free(vfs);
}
