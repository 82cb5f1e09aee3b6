/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "dom0-agent/fix/layer_dm_cow.h"

#include "lib/util.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#define SNAP_MAGIC 0x70416e53u
#define SNAP_VERSION 1u
#define SECTOR 512u
#define EXCEPTION_BYTES 16u

static int pread_all(int fd, void *buf, size_t len, uint64_t at, const char *what, struct fg_error *err)
{
	for (char *p = buf; len;) {
		ssize_t n = pread(fd, p, len, (off_t)at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fg_error_errno(err, FG_EIO, errno, "reading the %s at %llu", what,
					      (unsigned long long)at);
		if (n == 0)
			return fg_error_set(err, FG_EIO, "the %s ends at %llu", what, (unsigned long long)at);
		p += n;
		at += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

static int pwrite_all(int fd, const void *buf, size_t len, uint64_t at, struct fg_error *err)
{
	for (const char *p = buf; len;) {
		ssize_t n = pwrite(fd, p, len, (off_t)at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return fg_error_errno(err, FG_EIO, n < 0 ? errno : EIO, "writing the origin at %llu",
					      (unsigned long long)at);
		p += n;
		at += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

static int header_read(int fd, uint64_t store_bytes, uint32_t *chunk_bytes, struct fg_error *err)
{
	uint32_t header[4];

	if (store_bytes < sizeof(header))
		return fg_error_set(err, FG_EDIFFERS, "the store has no header");
	int rc = pread_all(fd, header, sizeof(header), 0, "store", err);
	if (rc < 0)
		return rc;
	uint32_t sectors = le32toh(header[3]);
	if (le32toh(header[0]) != SNAP_MAGIC || le32toh(header[2]) != SNAP_VERSION)
		return fg_error_set(err, FG_EDIFFERS, "this is no snapshot store of version %u", SNAP_VERSION);
	if (!le32toh(header[1]))
		return fg_error_set(err, FG_EDIFFERS, "the store is invalid: it overflowed or could not be written");
	if (!sectors || sectors > FG_COW_CHUNK_SECTORS_MAX || (sectors & (sectors - 1)))
		return fg_error_set(err, FG_EDIFFERS, "the store has a chunk size of %u sectors", sectors);
	*chunk_bytes = sectors * SECTOR;
	return 0;
}

static void add(struct fg_cow *cow, size_t *room, uint64_t old_chunk, uint64_t new_chunk)
{
	if (cow->n_exceptions == *room) {
		*room = *room ? *room * 2 : 1024;
		cow->exceptions = realloc(cow->exceptions, *room * sizeof(*cow->exceptions));
		if (!cow->exceptions)
			abort();
	}
	cow->exceptions[cow->n_exceptions++] = (struct fg_cow_exception){ old_chunk, new_chunk };
}

static int by_old(const void *a, const void *b)
{
	uint64_t x = ((const struct fg_cow_exception *)a)->old_chunk,
		 y = ((const struct fg_cow_exception *)b)->old_chunk;
	return x < y ? -1 : x > y;
}

/* Reads area by area until an entry is empty; every number is checked before it is used. */
static int areas_read(int fd, uint64_t store_bytes, uint64_t origin_bytes, struct fg_cow *cow, struct fg_error *err)
{
	assert(cow->chunk_bytes);
	const uint64_t per_area = cow->chunk_bytes / EXCEPTION_BYTES;
	const uint64_t store_chunks = store_bytes / cow->chunk_bytes;
	const uint64_t origin_chunks = (origin_bytes + cow->chunk_bytes - 1) / cow->chunk_bytes;
	fg_autofree uint64_t *area = fg_calloc(1, cow->chunk_bytes);
	size_t room = 0;

	for (uint64_t chunk = 1; chunk < store_chunks; chunk += per_area + 1) {
		int rc = pread_all(fd, area, cow->chunk_bytes, chunk * cow->chunk_bytes, "store", err);
		if (rc < 0)
			return rc;
		for (uint64_t i = 0; i < per_area; i++) {
			uint64_t old_chunk = le64toh(area[2 * i]), new_chunk = le64toh(area[2 * i + 1]);
			if (!new_chunk)
				return 0;
			if (old_chunk >= origin_chunks || new_chunk >= store_chunks ||
			    new_chunk % (per_area + 1) == 1 /* a metadata chunk */ ||
			    cow->n_exceptions >= origin_chunks)
				return fg_error_set(err, FG_EDIFFERS, "the store is damaged: chunk %llu at %llu",
						    (unsigned long long)old_chunk, (unsigned long long)new_chunk);
			add(cow, &room, old_chunk, new_chunk);
		}
	}
	return 0;
}

int fg_cow_read(int store_fd, uint64_t store_bytes, uint64_t origin_bytes, struct fg_cow *out, struct fg_error *err)
{
	struct fg_cow cow = { 0 };

	int rc = header_read(store_fd, store_bytes, &cow.chunk_bytes, err);
	if (rc == 0)
		rc = areas_read(store_fd, store_bytes, origin_bytes, &cow, err);
	if (rc == 0 && cow.n_exceptions)
		qsort(cow.exceptions, cow.n_exceptions, sizeof(*cow.exceptions), by_old);
	for (size_t i = 1; rc == 0 && i < cow.n_exceptions; i++)
		if (cow.exceptions[i].old_chunk == cow.exceptions[i - 1].old_chunk)
			rc = fg_error_set(err, FG_EDIFFERS, "the store is damaged: chunk %llu is there twice",
					  (unsigned long long)cow.exceptions[i].old_chunk);
	if (rc < 0) {
		fg_cow_release(&cow);
		return rc;
	}
	*out = cow;
	return 0;
}

int fg_cow_copy(const struct fg_cow *cow, int store_fd, int origin_fd, uint64_t origin_bytes, struct fg_error *err)
{
	fg_autofree char *chunk = fg_calloc(1, cow->chunk_bytes);

	for (size_t i = 0; i < cow->n_exceptions; i++) {
		const struct fg_cow_exception *e = &cow->exceptions[i];
		uint64_t at = e->old_chunk * cow->chunk_bytes, left = origin_bytes - at;
		size_t len =
			left < cow->chunk_bytes ? (size_t)left : cow->chunk_bytes; /* the last one may be shorter */
		int rc = pread_all(store_fd, chunk, len, e->new_chunk * cow->chunk_bytes, "store", err);
		if (rc == 0)
			rc = pwrite_all(origin_fd, chunk, len, at, err);
		if (rc < 0)
			return rc;
	}
	if (fsync(origin_fd) < 0)
		return fg_error_errno(err, FG_EIO, errno, "fsync of the origin");
	return 0;
}

void fg_cow_release(struct fg_cow *cow)
{
	free(cow->exceptions);
	*cow = (struct fg_cow){ 0 };
}

uint64_t fg_cow_store_bytes(uint64_t origin_bytes)
{
	const uint64_t chunk = FG_COW_CHUNK_SECTORS * SECTOR, per_area = chunk / EXCEPTION_BYTES;
	uint64_t chunks = (origin_bytes + chunk - 1) / chunk;

	/* Header, data, one metadata chunk for each full or begun area, and one empty area after it. */
	return (1 + chunks + chunks / per_area + 2) * chunk;
}
