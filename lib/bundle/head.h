/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Writing heads, and what reading and writing share.  For fixgate-fix and tests; readers use <fixgate/bundle.h>. */
#ifndef FG_BUNDLE_HEAD_H
#define FG_BUNDLE_HEAD_H

#include <fixgate/bundle.h>

uint64_t fg_bundle_block_count(uint64_t payload_bytes);
int fg_sha256(const void *bytes, size_t len, uint8_t out[FG_DIGEST_BYTES], struct fg_error *err) FG_MUST_CHECK;
/* Header, CMS and hash list (32 bytes for each block of payload_bytes) as one malloc'd buffer with its digest set. */
int fg_bundle_head_build(const uint8_t *cms, size_t cms_bytes, const uint8_t *hashes, uint64_t payload_bytes,
			 uint8_t **out, size_t *len, struct fg_error *err) FG_MUST_CHECK;
/* The first 80 bytes say how long the head is; reads all of it from fd at offset 0 and parses it.  *buf is the caller's. */
int fg_bundle_head_read(int fd, uint8_t **buf, struct fg_bundle_head *out, struct fg_error *err) FG_MUST_CHECK;
/*
 * Each block and the payload digest against a head whose hash list and digest are right, and that nothing follows.  out_fd >= 0:
 * the verified blocks are also written to it, so that what is used is what was verified.
 */
int fg_bundle_payload_verify(int fd, const struct fg_bundle_head *head, const uint8_t payload_digest[FG_DIGEST_BYTES],
			     int out_fd, struct fg_error *err) FG_MUST_CHECK;
/* Manifest and head say the same about hash list and payload. */
int fg_bundle_head_consistent(const struct fg_bundle_head *head, const struct fg_manifest *m,
			      struct fg_error *err) FG_MUST_CHECK;

#endif
