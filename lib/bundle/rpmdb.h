/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The packages that a guest's rpm database names.  Read is the format "sqlite" of rpm 4.16 and later (lib/backend/sqlite.c): rpmdb.sqlite
 * in one of two folders (%_dbpath: /usr/lib/sysimage/rpm of Fedora 36, RHEL 10, SUSE; /var/lib/rpm before), table
 * Packages (hnum INTEGER PRIMARY KEY, blob BLOB), each blob a header (rpmhdr.h).  That table is what rpm itself makes its other tables
 * from (--rebuilddb), so they are not looked at.
 *
 * The database is hostile.  It is read where it lies, so its size costs time and no memory.  SQLite gets no path and
 * nothing writable (rpmvfs.h), may run no trigger, view, virtual table or function, and has the limits below.  A write-ahead log that
 * rpm left behind when it was killed is taken into account, as rpm would at its next start.
 *
 *	no database, no rpm								0, no packages
 *	Berkeley DB, ndb, a journal, symlinks, two databases, rpm without a database	UNREACHABLE
 *	no SQLite database, no such table, a header that rpm would not have written	FORMAT
 *	over a limit									LIMIT
 */
#ifndef FG_BUNDLE_RPMDB_H
#define FG_BUNDLE_RPMDB_H

#include "rpmhdr.h"

#include <stddef.h>

#define FG_RPMDB_FILE_MAX (1u << 30) /* database, and its log, each: FG_RPMDB_PACKAGES_MAX headers of 16 KiB */
#define FG_RPMDB_PACKAGES_MAX 65536u /* as many as a large distribution has in all */
#define FG_RPMDB_TEXT_MAX (16u << 20) /* bytes of all names and versions; 65,536 of usual length need 4 MiB */
#define FG_RPMDB_HEAP_MAX (16 << 20) /* SQLite's memory: cache 2 MiB, index of a 1 GiB log 2 MiB, schema some KiB */
#define FG_RPMDB_SQL_MAX (64 << 10) /* a statement of the schema; rpm's longest has 200 bytes */
#define FG_RPMDB_STEPS_MAX 10000000 /* of SQLite's machine: some ten a package */
/*
 * A header is read in at most six pieces, and no piece costs more than the header is long.  So an honest database, where no two
 * headers share a byte, costs at most six times its length; a forged one can go in circles.
 */
#define FG_RPMDB_PASSES_MAX 8u

struct fg_rpm_packages {
	struct fg_rpm_package *list; /* of one name there may be several: kernels, architectures */
	size_t n;
};

int fg_rpmdb_read(int root_fd, struct fg_rpm_packages *out, struct fg_error *err) FG_MUST_CHECK;
void fg_rpm_packages_release(struct fg_rpm_packages *p);

#endif
