/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A package's header as it lies in rpm's database: name and version are read from it, and no more of it than that.  Every
 * byte is the guest's and hostile.  Source: rpm's docs/manual/format_header.md and lib/header.c (4.18).  All big-endian:
 *
 *	offset		size
 *	0		4	il, number of index entries
 *	4		4	dl, bytes of data; 8 + 16 * il + dl is the length of the whole (hdrblobInit)
 *	8		16 * il	index entries: tag, type, offset into the data, count; 4 bytes each
 *	8 + 16 * il	dl	data
 *
 * Tags (include/rpm/rpmtag.h): NAME 1000, VERSION 1001, RELEASE 1002, each one string (type 6, ends with NUL); EPOCH 1003,
 * one big-endian number of 32 bits (type 4), may be absent.
 */
#ifndef FG_BUNDLE_RPMHDR_H
#define FG_BUNDLE_RPMHDR_H

#include <fixgate/error.h>

#include <stdint.h>

#define FG_RPMHDR_TAGS_MAX 4096u /* rpm 4.18 knows 250 (rpm --querytags), each is there once; its own limit is 65535 */
#define FG_RPMHDR_DATA_MAX 0x0fffffffu /* rpm's own: HEADER_DATA_MAX; never read whole */
#define FG_RPMHDR_TEXT_MAX 255u /* name, version, release: all three are part of a package's file name (NAME_MAX) */

/* Where the bytes of a header come from; read is never asked for a byte at or behind bytes. */
struct fg_rpmhdr_source {
	int (*read)(void *arg, uint64_t offset, void *out, size_t len, struct fg_error *err);
	void *arg;
	uint64_t bytes;
};

struct fg_rpm_package {
	char *name;
	char *evr; /* [epoch:]version-release */
};
void fg_rpm_package_release(struct fg_rpm_package *p);

/* FORMAT for what rpm would not have written, LIMIT for what is above a limit, and what source->read fails with. */
int fg_rpmhdr_read(const struct fg_rpmhdr_source *source, struct fg_rpm_package *out,
		   struct fg_error *err) FG_MUST_CHECK;

#endif
