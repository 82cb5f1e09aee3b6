/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * SQLite's way to a guest's database: two open descriptors and nothing else.  It opens no path, so no link of the guest leads it
 * anywhere; it writes, creates, deletes and maps nothing.  The write-ahead log is read as SQLite reads it after a
 * crash: with checksums, its index in memory (locking mode EXCLUSIVE, https://sqlite.org/wal.html#noshm).
 *
 *	fg_rpmvfs_open -> sqlite3_open_v2(FG_RPMVFS_FILE, …, SQLITE_OPEN_READONLY, fg_rpmvfs_name()) -> sqlite3_close
 *	-> fg_rpmvfs_close
 */
#ifndef FG_BUNDLE_RPMVFS_H
#define FG_BUNDLE_RPMVFS_H

#include <fixgate/error.h>

#define FG_RPMVFS_FILE "rpmdb.sqlite" /* a name for SQLite, not a path */

struct fg_rpmvfs;
/* db, wal: descriptors of regular files, the caller's, open as long as the vfs; wal is -1 if there is none. */
int fg_rpmvfs_open(int db, int wal, struct fg_rpmvfs **out, struct fg_error *err) FG_MUST_CHECK;
const char *fg_rpmvfs_name(const struct fg_rpmvfs *vfs);
void fg_rpmvfs_close(struct fg_rpmvfs *vfs);

#endif
