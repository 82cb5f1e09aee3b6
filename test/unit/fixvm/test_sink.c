/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fixvm/steps/download.h"

#include "lib/util.h"

#include <check.h>
#include <openssl/sha.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define BYTES (3 * FG_BUNDLE_BLOCK_BYTES + 1000)
#define BLOCKS 4

static uint8_t payload[BYTES], hashes[BLOCKS * FG_DIGEST_BYTES];
static struct fg_manifest manifest;
static struct fg_bundle_head head;
static struct fg_sink sink;
static int fd;

static void setup(void)
{
	for (size_t i = 0; i < BYTES; i++)
		payload[i] = (uint8_t)(i * 7 + i / 251);
	for (size_t i = 0; i < BLOCKS; i++) {
		size_t at = i * FG_BUNDLE_BLOCK_BYTES;
		SHA256(payload + at, BYTES - at < FG_BUNDLE_BLOCK_BYTES ? BYTES - at : FG_BUNDLE_BLOCK_BYTES,
		       hashes + i * FG_DIGEST_BYTES);
	}
	SHA256(payload, BYTES, manifest.payload_digest);
	manifest.payload_bytes = BYTES;
	head = (struct fg_bundle_head){
		.payload_bytes = BYTES, .hashes_bytes = sizeof(hashes), .hashes = hashes, .manifest = &manifest
	};
	fd = memfd_create("payload", MFD_CLOEXEC);
	ck_assert_int_eq(fg_sink_init(&sink, &head, fd, NULL), 0);
}

static void teardown(void)
{
	fg_sink_release(&sink);
	close(fd);
}

static void feed_all(size_t from, size_t portion)
{
	for (size_t at = from; at < BYTES; at += portion)
		ck_assert_int_eq(fg_sink_feed(&sink, payload + at, BYTES - at < portion ? BYTES - at : portion, NULL),
				 0);
}

static void assert_kept(size_t bytes)
{
	fg_autofree uint8_t *kept = fg_calloc(1, BYTES + 1);

	ck_assert_int_eq(pread(fd, kept, BYTES + 1, 0), (ssize_t)bytes);
	ck_assert_int_eq(memcmp(kept, payload, bytes), 0);
}

START_TEST(any_portions_make_the_payload)
{
	static const size_t portions[] = { 1, 999, 65535, 65536, 65537, BYTES };

	feed_all(0, portions[_i]);
	ck_assert_int_eq(fg_sink_finish(&sink, NULL), 0);
	assert_kept(BYTES);
	ck_assert_int_eq(fg_sink_feed(&sink, payload, 1, NULL), -FG_ELIMIT);
}
END_TEST

START_TEST(a_cut_transfer_goes_on_after_the_last_block)
{
	ck_assert_int_eq(fg_sink_feed(&sink, payload, 2 * FG_BUNDLE_BLOCK_BYTES + 77, NULL), 0);
	ck_assert_int_eq(fg_sink_finish(&sink, NULL), -FG_EFORMAT);
	fg_sink_rewind(&sink);
	ck_assert_uint_eq(fg_sink_done(&sink), 2 * FG_BUNDLE_BLOCK_BYTES);
	feed_all(2 * FG_BUNDLE_BLOCK_BYTES, 5000);
	ck_assert_int_eq(fg_sink_finish(&sink, NULL), 0);
	assert_kept(BYTES);
}
END_TEST

START_TEST(a_wrong_bit_is_not_kept)
{
	size_t at = 2 * FG_BUNDLE_BLOCK_BYTES + 5;

	payload[at] ^= 0x10;
	ck_assert_int_eq(fg_sink_feed(&sink, payload, BYTES, NULL), -FG_EUNTRUSTED);
	ck_assert_uint_eq(fg_sink_done(&sink), 2 * FG_BUNDLE_BLOCK_BYTES);
	assert_kept(2 * FG_BUNDLE_BLOCK_BYTES);
}
END_TEST

START_TEST(the_whole_must_be_the_manifests)
{
	manifest.payload_digest[0] ^= 1;
	feed_all(0, BYTES);
	ck_assert_int_eq(fg_sink_finish(&sink, NULL), -FG_EUNTRUSTED);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("fixvm");
	TCase *t = tcase_create("sink");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_loop_test(t, any_portions_make_the_payload, 0, 6);
	tcase_add_test(t, a_cut_transfer_goes_on_after_the_last_block);
	tcase_add_test(t, a_wrong_bit_is_not_kept);
	tcase_add_test(t, the_whole_must_be_the_manifests);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
