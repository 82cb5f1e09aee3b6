/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The hash list: input = 8 bytes of payload length, then a hash list, put into the head of the signed seed with lengths
 * and head digest set right.  Only the list that the manifest names is taken, and only its blocks.
 */
#include <fixgate/bundle.h>
#include <lib/util.h>

#include <openssl/evp.h>
#include <string.h>

#include "target.h"

#define SEED "test/data/fuzz_head/signed"

static uint64_t get64(const uint8_t *p)
{
	uint64_t v = 0;

	for (int i = 0; i < 8; i++)
		v = v << 8 | p[i];
	return v;
}

static void put64(uint8_t *p, uint64_t v)
{
	for (int i = 7; i >= 0; i--, v >>= 8)
		p[i] = (uint8_t)v;
}

static void digest(uint8_t *head, size_t len)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();

	if (!ctx || EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1 || EVP_DigestUpdate(ctx, head, 48) != 1 ||
	    EVP_DigestUpdate(ctx, head + FG_BUNDLE_HEADER_BYTES, len - FG_BUNDLE_HEADER_BYTES) != 1 ||
	    EVP_DigestFinal_ex(ctx, head + 48, NULL) != 1)
		abort();
	EVP_MD_CTX_free(ctx);
}

static void try_blocks(const struct fg_bundle_head *head, const uint8_t *data, size_t size)
{
	uint8_t sum[FG_DIGEST_BYTES];
	size_t len = size < FG_BUNDLE_BLOCK_BYTES ? size : FG_BUNDLE_BLOCK_BYTES;
	const uint64_t indexes[] = { 0, 1, head->hashes_bytes / FG_DIGEST_BYTES, UINT64_MAX,
				     size > 8 ? get64(data) : 7 };

	EVP_Digest(data, len, sum, NULL, EVP_sha256(), NULL);
	for (size_t i = 0; i < FG_COUNT(indexes); i++)
		if (fg_bundle_block_verify(head, indexes[i], data, len, NULL) == 0 &&
		    memcmp(head->hashes + indexes[i] * FG_DIGEST_BYTES, sum, sizeof(sum)) != 0)
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct fg_trust *trust;
	static char *seed;
	static size_t seed_len, cms_len;
	struct fg_bundle_head head = { 0 };

	if (!seed &&
	    (fg_file_read(SEED, 65536, &seed, &seed_len, NULL) < 0 || fg_trust_load(FUZZ_TRUST, &trust, NULL) < 0))
		abort();
	cms_len = (size_t)get64((uint8_t *)seed + 16);
	if (size < 8)
		return 0;
	size_t hashes = size - 8, fixed = FG_BUNDLE_HEADER_BYTES + cms_len;
	fg_autofree uint8_t *buf = fg_calloc(fixed + hashes, 1);
	memcpy(buf, seed, fixed);
	memcpy(buf + fixed, data + 8, hashes);
	put64(buf + 24, hashes);
	put64(buf + 32, get64(data));
	digest(buf, fixed + hashes);
	if (fg_bundle_head_parse(buf, fixed + hashes, &head, NULL) < 0)
		return 0;
	try_blocks(&head, data, size);
	if (fg_bundle_head_verify(&head, trust, FUZZ_NOW, NULL) == 0 &&
	    (fixed + hashes != seed_len || memcmp(buf + fixed, seed + fixed, hashes) != 0))
		abort(); /* another hash list than the manifest's */
	fg_bundle_head_release(&head);
	return 0;
}
