/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The persistent store of a device-mapper snapshot, read and copied into the origin.  Format: Linux
 * drivers/md/dm-snap-persistent.c (version 1, little-endian):
 *	chunk 0		header: magic "SnAp" (0x70416e53), valid, version, chunk size in sectors (4 x u32)
 *	chunk 1 + k*(E+1)	metadata area k: E = chunk bytes / 16 exceptions, each old chunk, new chunk (2 x u64);
 *			a new chunk of 0 ends the list
 *	other chunks	data
 *
 * Why not the kernel's snapshot-merge: it gives no event at its end (dm-snap.c, merge_shutdown), so it must be polled, and
 * its way can be tested on a kernel with device mapper only.  Copying is idempotent: cut off anywhere, it is begun anew.
 */
#ifndef FG_FIX_LAYER_DM_COW_H
#define FG_FIX_LAYER_DM_COW_H

#include <fixgate/error.h>

#include <stddef.h>
#include <stdint.h>

#define FG_COW_CHUNK_SECTORS 16u /* what layers are made with: 8 KiB */
#define FG_COW_CHUNK_SECTORS_MAX 2048u /* accepted when read: 1 MiB */

struct fg_cow_exception {
	uint64_t old_chunk, new_chunk; /* of the origin, of the store */
};

struct fg_cow {
	uint32_t chunk_bytes;
	struct fg_cow_exception *exceptions;
	size_t n_exceptions;
};

/*
 * Reads and checks all metadata: chunks inside the origin (origin_bytes) and the store, none twice.
 * DIFFERS: the store is marked invalid (it overflowed) or is not consistent.  Memory: 16 bytes a changed chunk.
 */
int fg_cow_read(int store_fd, uint64_t store_bytes, uint64_t origin_bytes, struct fg_cow *out,
		struct fg_error *err) FG_MUST_CHECK;
/* Writes each changed chunk into the origin and fsyncs it. */
int fg_cow_copy(const struct fg_cow *cow, int store_fd, int origin_fd, uint64_t origin_bytes,
		struct fg_error *err) FG_MUST_CHECK;
void fg_cow_release(struct fg_cow *cow);
/* Bytes that a store for this origin can need at most. */
uint64_t fg_cow_store_bytes(uint64_t origin_bytes);

#endif
