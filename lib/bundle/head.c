/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The fixed part of a bundle: lengths and digests, no signatures. */
#include "head.h"

#include <lib/util.h>

#include <inttypes.h>
#include <openssl/evp.h>
#include <string.h>

#define HEADER_DIGESTED 48u /* bytes of the header that the head digest covers */

static uint64_t get_be(const uint8_t *p, size_t n)
{
	uint64_t v = 0;

	while (n--)
		v = v << 8 | *p++;
	return v;
}

static void put_be(uint8_t *p, size_t n, uint64_t v)
{
	while (n--) {
		p[n] = (uint8_t)v;
		v >>= 8;
	}
}

uint64_t fg_bundle_block_count(uint64_t payload_bytes)
{
	return payload_bytes / FG_BUNDLE_BLOCK_BYTES + (payload_bytes % FG_BUNDLE_BLOCK_BYTES != 0);
}

int fg_sha256(const void *bytes, size_t len, uint8_t out[FG_DIGEST_BYTES], struct fg_error *err)
{
	if (EVP_Digest(bytes, len, out, NULL, EVP_sha256(), NULL) != 1)
		return fg_error_set(err, FG_ENOMEM, "SHA-256 is not available");
	return 0;
}

static int head_digest(const uint8_t *head, size_t len, uint8_t out[FG_DIGEST_BYTES], struct fg_error *err)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	int ok = ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1 &&
		 EVP_DigestUpdate(ctx, head, HEADER_DIGESTED) == 1 &&
		 EVP_DigestUpdate(ctx, head + FG_BUNDLE_HEADER_BYTES, len - FG_BUNDLE_HEADER_BYTES) == 1 &&
		 EVP_DigestFinal_ex(ctx, out, NULL) == 1;

	EVP_MD_CTX_free(ctx);
	return ok ? 0 : fg_error_set(err, FG_ENOMEM, "SHA-256 is not available");
}

int fg_bundle_header_parse(const uint8_t header[FG_BUNDLE_HEADER_BYTES], struct fg_bundle_head *out,
			   struct fg_error *err)
{
	struct fg_bundle_head head = { 0 };

	if (memcmp(header, FG_BUNDLE_MAGIC, 8) != 0)
		return fg_error_set(err, FG_EFORMAT, "no fix bundle: the magic is missing");
	if (get_be(header + 8, 4) != 1)
		return fg_error_set(err, FG_EFORMAT, "bundle format %" PRIu64 " is not known, only 1",
				    get_be(header + 8, 4));
	if (get_be(header + 12, 4) != FG_BUNDLE_HEADER_BYTES)
		return fg_error_set(err, FG_EFORMAT, "header length is %" PRIu64 ", not %u", get_be(header + 12, 4),
				    FG_BUNDLE_HEADER_BYTES);
	if (get_be(header + 40, 8) != 0)
		return fg_error_set(err, FG_EFORMAT, "reserved bytes of the header are not 0");
	head.cms_bytes = get_be(header + 16, 8);
	head.hashes_bytes = get_be(header + 24, 8);
	head.payload_bytes = get_be(header + 32, 8);
	if (head.cms_bytes > FG_BUNDLE_CMS_MAX || head.hashes_bytes > FG_BUNDLE_HASHES_MAX ||
	    head.payload_bytes > FG_BUNDLE_PAYLOAD_MAX)
		return fg_error_set(err, FG_ELIMIT, "signature, hash list or payload is longer than a bundle may have");
	if (head.cms_bytes == 0 || head.payload_bytes == 0)
		return fg_error_set(err, FG_EFORMAT, "signature or payload is empty");
	if (head.hashes_bytes != fg_bundle_block_count(head.payload_bytes) * FG_DIGEST_BYTES)
		return fg_error_set(err, FG_EFORMAT,
				    "%" PRIu64 " bytes of hash list do not fit %" PRIu64 " bytes of payload",
				    head.hashes_bytes, head.payload_bytes);
	head.head_bytes = FG_BUNDLE_HEADER_BYTES + head.cms_bytes + head.hashes_bytes;
	memcpy(head.head_digest, header + HEADER_DIGESTED, FG_DIGEST_BYTES);
	*out = head;
	return 0;
}

int fg_bundle_head_parse(const uint8_t *buf, size_t len, struct fg_bundle_head *out, struct fg_error *err)
{
	struct fg_bundle_head head = { 0 };
	uint8_t digest[FG_DIGEST_BYTES];
	int rc;

	if (len < FG_BUNDLE_HEADER_BYTES)
		return fg_error_set(err, FG_EFORMAT, "%zu bytes are no bundle: the header alone has %u", len,
				    FG_BUNDLE_HEADER_BYTES);
	rc = fg_bundle_header_parse(buf, &head, err);
	if (rc < 0)
		return rc;
	if (len != head.head_bytes)
		return fg_error_set(err, FG_EFORMAT, "head has %zu bytes, its header says %" PRIu64, len,
				    head.head_bytes);
	rc = head_digest(buf, len, digest, err);
	if (rc < 0)
		return rc;
	if (memcmp(digest, head.head_digest, sizeof(digest)) != 0)
		return fg_error_set(err, FG_EUNTRUSTED, "head digest does not match: the bundle is damaged");
	head.cms = buf + FG_BUNDLE_HEADER_BYTES;
	head.hashes = head.cms + head.cms_bytes;
	*out = head;
	return 0;
}

int fg_bundle_head_build(const uint8_t *cms, size_t cms_bytes, const uint8_t *hashes, uint64_t payload_bytes,
			 uint8_t **out, size_t *len, struct fg_error *err)
{
	size_t hashes_bytes = (size_t)fg_bundle_block_count(payload_bytes) * FG_DIGEST_BYTES;
	size_t total = FG_BUNDLE_HEADER_BYTES + cms_bytes + hashes_bytes;
	struct fg_bundle_head check = { 0 };
	int rc;

	if (cms_bytes > FG_BUNDLE_CMS_MAX || payload_bytes > FG_BUNDLE_PAYLOAD_MAX)
		return fg_error_set(err, FG_ELIMIT, "signature or payload is longer than a bundle may have");
	fg_autofree uint8_t *head = fg_calloc(total, 1);
	memcpy(head, FG_BUNDLE_MAGIC, 8);
	put_be(head + 8, 4, 1);
	put_be(head + 12, 4, FG_BUNDLE_HEADER_BYTES);
	put_be(head + 16, 8, cms_bytes);
	put_be(head + 24, 8, hashes_bytes);
	put_be(head + 32, 8, payload_bytes);
	memcpy(head + FG_BUNDLE_HEADER_BYTES, cms, cms_bytes);
	memcpy(head + FG_BUNDLE_HEADER_BYTES + cms_bytes, hashes, hashes_bytes);
	rc = head_digest(head, total, head + HEADER_DIGESTED, err);
	if (rc < 0)
		return rc;
	rc = fg_bundle_head_parse(head, total, &check, err);
	if (rc < 0)
		return rc;
	*out = FG_TAKE(head);
	*len = total;
	return 0;
}

int fg_bundle_block_verify(const struct fg_bundle_head *head, uint64_t index, const void *block, size_t len,
			   struct fg_error *err)
{
	uint64_t blocks = fg_bundle_block_count(head->payload_bytes);
	uint8_t digest[FG_DIGEST_BYTES];

	if (index >= blocks)
		return fg_error_set(err, FG_EFORMAT, "block %" PRIu64 " of %" PRIu64, index, blocks);
	uint64_t left = head->payload_bytes - index * FG_BUNDLE_BLOCK_BYTES;
	if (len != (left < FG_BUNDLE_BLOCK_BYTES ? left : FG_BUNDLE_BLOCK_BYTES))
		return fg_error_set(err, FG_EFORMAT, "block %" PRIu64 " has %zu bytes", index, len);
	int rc = fg_sha256(block, len, digest, err);
	if (rc < 0)
		return rc;
	if (memcmp(digest, head->hashes + index * FG_DIGEST_BYTES, sizeof(digest)) != 0)
		return fg_error_set(err, FG_EUNTRUSTED, "block %" PRIu64 " of the payload has another digest", index);
	return 0;
}

void fg_bundle_head_release(struct fg_bundle_head *head)
{
	fg_manifest_free(head->manifest);
	for (size_t i = 0; i < head->n_signers; i++)
		free(head->signers[i]);
	free(head->signers);
	memset(head, 0, sizeof(*head));
}
