/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Lengths, digests and damage: one good bundle, changed in every place. */
#include "maker.h"

#include <check.h>
#include <string.h>
#include <unistd.h>

#define PAYLOAD (2 * FG_BUNDLE_BLOCK_BYTES + 5000)

static struct maker_id ca, alice;
static struct fg_trust *trust;
static uint8_t *payload;
static struct maker_file good;

static void setup(void)
{
	const struct maker_id *signers[] = { &alice };

	ca = maker_id(NULL, (struct maker_spec){ .cn = "publisher ca" });
	alice = maker_id(&ca, (struct maker_spec){ .cn = "alice" });
	trust = maker_trust(ca.cert, NULL, NULL);
	payload = maker_payload(PAYLOAD);
	good = maker_file(NULL, payload, PAYLOAD, signers, 1);
}

static void teardown(void)
{
	free(good.bytes);
	free(payload);
	fg_trust_free(trust);
	maker_id_release(&alice);
	maker_id_release(&ca);
}

static int verify_fd(int fd, struct fg_error *err)
{
	fg_autofree uint8_t *buf = NULL;
	struct fg_bundle_head head = { 0 };
	int rc = fg_bundle_file_verify(fd, trust, MAKER_NOW, &buf, &head, err);

	fg_bundle_head_release(&head);
	return rc;
}

static int verify_bytes(const uint8_t *bytes, size_t len)
{
	fg_autoclose int fd = maker_memfd(bytes, len);

	return verify_fd(fd, NULL);
}

static int verify_head(struct maker_file *f)
{
	struct fg_bundle_head head = { 0 };
	int rc = fg_bundle_head_parse(f->bytes, f->head_len, &head, NULL);

	if (rc == 0)
		rc = fg_bundle_head_verify(&head, trust, MAKER_NOW, NULL);
	if (rc == 0) { /* whatever verifies says what alice signed */
		ck_assert_uint_eq(head.n_signers, 1);
		ck_assert_str_eq(head.signers[0], "CN=alice");
		ck_assert_str_eq(head.manifest->id, "demo-1");
		ck_assert_uint_eq(head.manifest->payload_bytes, PAYLOAD);
		ck_assert_int_eq(fg_bundle_block_verify(&head, 0, payload, FG_BUNDLE_BLOCK_BYTES, NULL), 0);
	}
	fg_bundle_head_release(&head);
	return rc;
}

START_TEST(a_good_bundle_verifies)
{
	fg_autoclose int fd = maker_memfd(good.bytes, good.len);
	fg_autofree uint8_t *buf = NULL;
	struct fg_error err = FG_ERROR_INIT;
	struct fg_bundle_head head;

	ck_assert_msg(fg_bundle_file_verify(fd, trust, MAKER_NOW, &buf, &head, &err) == 0, "%s", err.text);
	ck_assert_str_eq(head.manifest->id, "demo-1");
	ck_assert_uint_eq(head.manifest->version, 3);
	ck_assert_uint_eq(head.n_signers, 1);
	ck_assert_str_eq(head.signers[0], "CN=alice");
	ck_assert_uint_eq(head.payload_bytes, PAYLOAD);
	ck_assert_uint_eq(head.head_bytes + head.payload_bytes, good.len);
	for (uint64_t i = 0; i < 3; i++) {
		size_t len = i < 2 ? FG_BUNDLE_BLOCK_BYTES : 5000;
		const uint8_t *block = payload + i * FG_BUNDLE_BLOCK_BYTES;
		ck_assert_int_eq(fg_bundle_block_verify(&head, i, block, len, NULL), 0);
		ck_assert_int_eq(fg_bundle_block_verify(&head, i, block, len - 1, NULL), -FG_EFORMAT);
		ck_assert_int_eq(
			fg_bundle_block_verify(&head, (i + 1) % 2, payload + 2 * FG_BUNDLE_BLOCK_BYTES, 5000, NULL),
			-FG_EFORMAT);
	}
	ck_assert_int_eq(fg_bundle_block_verify(&head, 0, payload + FG_BUNDLE_BLOCK_BYTES, FG_BUNDLE_BLOCK_BYTES, NULL),
			 -FG_EUNTRUSTED);
	ck_assert_int_eq(fg_bundle_block_verify(&head, 3, payload, 0, NULL), -FG_EFORMAT);
	ck_assert_int_eq(fg_bundle_block_verify(&head, UINT64_MAX, payload, 0, NULL), -FG_EFORMAT);
	fg_bundle_head_release(&head);
	fg_bundle_head_release(&head); /* twice does no harm */
}
END_TEST

static void flip(int fd, size_t at, int bit)
{
	uint8_t byte = (uint8_t)(good.bytes[at] ^ 1 << bit);

	ck_assert_int_eq(pwrite(fd, &byte, 1, (off_t)at), 1);
}

static void restore(int fd, size_t at)
{
	ck_assert_int_eq(pwrite(fd, good.bytes + at, 1, (off_t)at), 1);
}

START_TEST(every_flipped_bit_of_the_head_is_seen)
{
	fg_autoclose int fd = maker_memfd(good.bytes, good.len);

	for (size_t at = 0; at < good.head_len; at++) {
		for (int bit = 0; bit < 8; bit++) {
			flip(fd, at, bit);
			int rc = verify_fd(fd, NULL);
			bool length = at >= 16 && at < 40;
			ck_assert_msg(rc == -FG_EUNTRUSTED || rc == -FG_EFORMAT || (length && rc == -FG_ELIMIT),
				      "byte %zu bit %d: %d", at, bit, rc);
			restore(fd, at);
		}
	}
	ck_assert_int_eq(verify_fd(fd, NULL), 0);
}
END_TEST

START_TEST(flipped_bits_of_the_payload_are_seen)
{
	fg_autoclose int fd = maker_memfd(good.bytes, good.len);

	for (size_t at = good.head_len; at < good.len;
	     at = at + 1021 < good.len || at == good.len - 1 ? at + 1021 : good.len - 1) {
		flip(fd, at, (int)(at % 8));
		ck_assert_msg(verify_fd(fd, NULL) == -FG_EUNTRUSTED, "byte %zu", at);
		restore(fd, at);
	}
	ck_assert_int_eq(verify_fd(fd, NULL), 0);
}
END_TEST

/*
 * An attacker sets the head digest right again: now the signatures have to see it.  They do not cover the version numbers
 * of SignedData and SignerInfo nor upper and lower case in the issuer's name (RFC 5652, 5.4): a few bits that say
 * nothing may change.
 */
START_TEST(flipped_bits_under_a_new_head_digest_are_seen)
{
	int unseen = 0;

	for (size_t at = FG_BUNDLE_HEADER_BYTES; at < good.head_len; at++) {
		for (int bit = (int)(at % 4); bit < 8; bit += 4) {
			good.bytes[at] ^= (uint8_t)(1 << bit);
			maker_redigest(&good);
			int rc = verify_head(&good);
			ck_assert_msg(rc == -FG_EUNTRUSTED || rc == -FG_EFORMAT || rc == 0, "byte %zu bit %d: %d", at,
				      bit, rc);
			unseen += rc == 0;
			good.bytes[at] ^= (uint8_t)(1 << bit);
		}
	}
	ck_assert_int_le(unseen, 16);
	maker_redigest(&good);
	ck_assert_int_eq(verify_head(&good), 0);
}
END_TEST

START_TEST(truncated_bundles_are_refused)
{
	size_t edges[] = { 0,
			   1,
			   7,
			   8,
			   79,
			   80,
			   81,
			   80 + good.cms_len - 1,
			   80 + good.cms_len,
			   80 + good.cms_len + 1,
			   good.head_len - 1,
			   good.head_len,
			   good.head_len + 1,
			   good.head_len + FG_BUNDLE_BLOCK_BYTES,
			   good.len - 1 };

	for (size_t i = 0; i < FG_COUNT(edges); i++) {
		struct fg_bundle_head head;
		ck_assert_msg(verify_bytes(good.bytes, edges[i]) == -FG_EFORMAT, "%zu bytes", edges[i]);
		if (edges[i] != good.head_len)
			ck_assert_int_eq(fg_bundle_head_parse(good.bytes, edges[i], &head, NULL), -FG_EFORMAT);
	}
	for (size_t len = 0; len < good.len; len += 4096)
		ck_assert_msg(verify_bytes(good.bytes, len) == -FG_EFORMAT, "%zu bytes", len);
}
END_TEST

START_TEST(nothing_may_follow_the_payload)
{
	fg_autofree uint8_t *longer = fg_calloc(good.len + 1, 1);

	memcpy(longer, good.bytes, good.len);
	ck_assert_int_eq(verify_bytes(longer, good.len + 1), -FG_EFORMAT);
}
END_TEST

static void put64(uint8_t *p, uint64_t v)
{
	for (int i = 7; i >= 0; i--, v >>= 8)
		p[i] = (uint8_t)v;
}

static uint64_t get64(const uint8_t *p)
{
	uint64_t v = 0;

	for (int i = 0; i < 8; i++)
		v = v << 8 | p[i];
	return v;
}

START_TEST(wrong_lengths_are_refused)
{
	static const size_t fields[] = { 16, 24, 32 };
	struct fg_bundle_head head;

	for (size_t i = 0; i < FG_COUNT(fields); i++) {
		uint8_t *field = good.bytes + fields[i];
		uint64_t is = get64(field);
		uint64_t values[] = { 0,	  1,	      is - 1,	       is + 1,	       is + 32,
				      is - 32,	  is + 65536, 1u << 31,	       1ull << 32,     (1ull << 32) + is,
				      1ull << 63, UINT64_MAX, UINT64_MAX - 31, UINT64_MAX - 79 };
		for (size_t k = 0; k < FG_COUNT(values); k++) {
			put64(field, values[k]);
			maker_redigest(&good);
			int rc = verify_bytes(good.bytes, good.len);
			ck_assert_msg(rc == -FG_EFORMAT || rc == -FG_ELIMIT || rc == -FG_EUNTRUSTED,
				      "field %zu = %llu: %d", fields[i], (unsigned long long)values[k], rc);
			rc = fg_bundle_header_parse(good.bytes, &head, NULL);
			ck_assert(rc == 0 || rc == -FG_EFORMAT || rc == -FG_ELIMIT);
			rc = verify_head(&good);
			ck_assert_msg(rc < 0, "field %zu = %llu", fields[i], (unsigned long long)values[k]);
		}
		put64(field, is);
	}
}
END_TEST

START_TEST(other_formats_are_refused)
{
	static const struct {
		size_t at;
		uint8_t value;
	} changes[] = { { 0, 'F' }, { 7, 'f' }, { 11, 0 }, { 11, 2 }, { 8, 1 },
			{ 15, 79 }, { 15, 81 }, { 47, 1 }, { 40, 1 } };

	for (size_t i = 0; i < FG_COUNT(changes); i++) {
		uint8_t was = good.bytes[changes[i].at];
		good.bytes[changes[i].at] = changes[i].value;
		maker_redigest(&good);
		ck_assert_int_eq(verify_bytes(good.bytes, good.len), -FG_EFORMAT);
		good.bytes[changes[i].at] = was;
	}
}
END_TEST

/* Lengths beyond 32 bits, without 5 GiB of hashing. */
START_TEST(blocks_beyond_4_gib)
{
	const uint64_t bytes = (5ull << 30) + 7, blocks = bytes / FG_BUNDLE_BLOCK_BYTES + 1;
	fg_autofree uint8_t *hashes = fg_calloc((size_t)blocks, FG_DIGEST_BYTES);
	struct fg_bundle_head head = { .payload_bytes = bytes,
				       .hashes_bytes = blocks * FG_DIGEST_BYTES,
				       .hashes = hashes };
	uint8_t header[FG_BUNDLE_HEADER_BYTES];
	struct fg_bundle_head parsed;

	ck_assert_int_eq(EVP_Digest(payload, 7, hashes + (blocks - 1) * FG_DIGEST_BYTES, NULL, EVP_sha256(), NULL), 1);
	ck_assert_int_eq(fg_bundle_block_verify(&head, blocks - 1, payload, 7, NULL), 0);
	ck_assert_int_eq(fg_bundle_block_verify(&head, blocks - 1, payload, 8, NULL), -FG_EFORMAT);
	ck_assert_int_eq(fg_bundle_block_verify(&head, blocks, payload, 7, NULL), -FG_EFORMAT);
	memcpy(header, good.bytes, sizeof(header));
	put64(header + 24, head.hashes_bytes);
	put64(header + 32, bytes);
	ck_assert_int_eq(fg_bundle_header_parse(header, &parsed, NULL), 0);
	ck_assert_uint_eq(parsed.payload_bytes, bytes);
	put64(header + 32, FG_BUNDLE_PAYLOAD_MAX + 1);
	ck_assert_int_eq(fg_bundle_header_parse(header, &parsed, NULL), -FG_ELIMIT);
}
END_TEST

START_TEST(outputs_are_untouched_on_failure)
{
	struct fg_bundle_head head, before;
	uint8_t *buf = (uint8_t *)&before;
	fg_autoclose int fd = maker_memfd(good.bytes, good.len - 1);

	memset(&head, 0x5a, sizeof(head));
	memcpy(&before, &head, sizeof(head));
	ck_assert_int_eq(fg_bundle_file_verify(fd, trust, MAKER_NOW, &buf, &head, NULL), -FG_EFORMAT);
	ck_assert_int_eq(fg_bundle_head_parse(good.bytes, good.len, &head, NULL), -FG_EFORMAT);
	ck_assert_mem_eq(&head, &before, sizeof(head));
	ck_assert_ptr_eq(buf, (uint8_t *)&before);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("bundle");
	TCase *t = tcase_create("head");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, a_good_bundle_verifies);
	tcase_add_test(t, every_flipped_bit_of_the_head_is_seen);
	tcase_add_test(t, flipped_bits_of_the_payload_are_seen);
	tcase_add_test(t, flipped_bits_under_a_new_head_digest_are_seen);
	tcase_add_test(t, truncated_bundles_are_refused);
	tcase_add_test(t, nothing_may_follow_the_payload);
	tcase_add_test(t, wrong_lengths_are_refused);
	tcase_add_test(t, other_formats_are_refused);
	tcase_add_test(t, blocks_beyond_4_gib);
	tcase_add_test(t, outputs_are_untouched_on_failure);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
