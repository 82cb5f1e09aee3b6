/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The store of a snapshot: read, refused when damaged, copied, copied again after a cut. */
#include "dom0-agent/fix/layer_dm_cow.h"
#include "lib/util.h"

#include <check.h>
#include <endian.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define CHUNK 8192u
#define PER_AREA (CHUNK / 16)
#define ORIGIN_CHUNKS 700u
#define ORIGIN_BYTES (ORIGIN_CHUNKS * (uint64_t)CHUNK - 4096) /* the last chunk is half one */

static int store, origin;
static uint64_t store_bytes;

static void header(uint32_t magic, uint32_t valid, uint32_t version, uint32_t sectors)
{
	uint32_t h[4] = { htole32(magic), htole32(valid), htole32(version), htole32(sectors) };
	ck_assert_int_eq(pwrite(store, h, sizeof(h), 0), sizeof(h));
}

/* Exception i: chunk `old` of the origin is at chunk `new` of the store. */
static void exception(unsigned i, uint64_t old_chunk, uint64_t new_chunk)
{
	uint64_t e[2] = { htole64(old_chunk), htole64(new_chunk) };
	off_t area = (off_t)(1 + (i / PER_AREA) * (PER_AREA + 1)) * CHUNK;
	ck_assert_int_eq(pwrite(store, e, sizeof(e), area + (i % PER_AREA) * 16), sizeof(e));
}

static void fill(int fd, uint64_t chunk, int byte)
{
	char data[CHUNK];
	memset(data, byte, sizeof(data));
	ck_assert_int_eq(pwrite(fd, data, sizeof(data), (off_t)(chunk * CHUNK)), sizeof(data));
}

static int byte_at(uint64_t at)
{
	unsigned char c;
	ck_assert_int_eq(pread(origin, &c, 1, (off_t)at), 1);
	return c;
}

static void setup(void)
{
	store = memfd_create("store", 0);
	origin = memfd_create("origin", 0);
	store_bytes = fg_cow_store_bytes(ORIGIN_BYTES);
	ck_assert_int_eq(ftruncate(store, (off_t)store_bytes), 0);
	ck_assert_int_eq(ftruncate(origin, (off_t)ORIGIN_BYTES), 0);
	header(0x70416e53, 1, 1, CHUNK / 512);
}

static void teardown(void)
{
	close(store);
	close(origin);
}

/* The kernel hands out store chunks in order and leaves out those of metadata. */
static uint64_t data_chunk(unsigned i)
{
	uint64_t chunk = 2 + i;
	return chunk + (chunk - 2) / PER_AREA;
}

START_TEST(all_chunks_are_copied)
{
	struct fg_cow cow;
	struct fg_error err = FG_ERROR_INIT;

	/* every chunk of the origin, backwards: more than one area, and the half chunk at the end */
	for (unsigned i = 0; i < ORIGIN_CHUNKS; i++) {
		exception(i, ORIGIN_CHUNKS - 1 - i, data_chunk(i));
		fill(store, data_chunk(i), (int)(i % 251) + 1);
	}
	ck_assert_msg(fg_cow_read(store, store_bytes, ORIGIN_BYTES, &cow, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(cow.n_exceptions, ORIGIN_CHUNKS);
	for (int round = 0; round < 2; round++) { /* cut off and begun anew: the same */
		ck_assert_int_eq(fg_cow_copy(&cow, store, origin, ORIGIN_BYTES, &err), 0);
		for (unsigned i = 0; i < ORIGIN_CHUNKS; i++)
			ck_assert_int_eq(byte_at((ORIGIN_CHUNKS - 1 - i) * (uint64_t)CHUNK), (int)(i % 251) + 1);
	}
	ck_assert_int_eq(lseek(origin, 0, SEEK_END), (off_t)ORIGIN_BYTES);
	fg_cow_release(&cow);
}
END_TEST

START_TEST(unchanged_chunks_stay)
{
	struct fg_cow cow;

	fill(origin, 3, 'o');
	fill(origin, 4, 'o');
	exception(0, 4, data_chunk(0));
	fill(store, data_chunk(0), 'n');
	ck_assert_int_eq(fg_cow_read(store, store_bytes, ORIGIN_BYTES, &cow, NULL), 0);
	ck_assert_int_eq(fg_cow_copy(&cow, store, origin, ORIGIN_BYTES, NULL), 0);
	ck_assert_int_eq(byte_at(4 * CHUNK - 1), 'o');
	ck_assert_int_eq(byte_at(4 * CHUNK), 'n');
	ck_assert_int_eq(byte_at(5 * CHUNK - 1), 'n');
	ck_assert_int_eq(byte_at(5 * CHUNK), 0);
	fg_cow_release(&cow);
}
END_TEST

START_TEST(empty_store)
{
	struct fg_cow cow;

	ck_assert_int_eq(fg_cow_read(store, store_bytes, ORIGIN_BYTES, &cow, NULL), 0);
	ck_assert_uint_eq(cow.n_exceptions, 0);
	fg_cow_release(&cow);
}
END_TEST

START_TEST(damaged_stores_are_refused)
{
	struct fg_cow cow;

	switch (_i) {
	case 0:
		header(0x70416e54, 1, 1, 16);
		break;
	case 1:
		header(0x70416e53, 0, 1, 16); /* invalid: it overflowed */
		break;
	case 2:
		header(0x70416e53, 1, 2, 16);
		break;
	case 3:
		header(0x70416e53, 1, 1, 0);
		break;
	case 4:
		header(0x70416e53, 1, 1, 17);
		break;
	case 5:
		header(0x70416e53, 1, 1, 1u << 20);
		break;
	case 6:
		exception(0, ORIGIN_CHUNKS, 2); /* behind the origin */
		break;
	case 7:
		exception(0, 1, store_bytes / CHUNK); /* behind the store */
		break;
	case 8:
		exception(0, 1, 1); /* metadata as data */
		break;
	case 9:
		exception(0, 1, 2);
		exception(1, 1, 3); /* twice */
		break;
	case 10:
		exception(0, UINT64_MAX / CHUNK + 2, 2); /* offset would wrap */
		break;
	case 11:
		store_bytes = 8;
		break;
	}
	ck_assert_int_eq(fg_cow_read(store, store_bytes, ORIGIN_BYTES, &cow, NULL), -FG_EDIFFERS);
}
END_TEST

START_TEST(store_is_always_large_enough)
{
	/* Room for every chunk of the origin, with header and metadata. */
	for (uint64_t chunks = 1; chunks < 3000; chunks += 7)
		ck_assert_uint_gt(fg_cow_store_bytes(chunks * CHUNK) / CHUNK, data_chunk((unsigned)chunks - 1));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("layer_cow");
	TCase *t = tcase_create("layer_cow");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, all_chunks_are_copied);
	tcase_add_test(t, unchanged_chunks_stay);
	tcase_add_test(t, empty_store);
	tcase_add_loop_test(t, damaged_stores_are_refused, 0, 12);
	tcase_add_test(t, store_is_always_large_enough);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
