/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Heads held against the trust, and whole files. */
#include "cms.h"
#include "head.h"

#include <lib/util.h>

#include <errno.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int fg_bundle_head_consistent(const struct fg_bundle_head *head, const struct fg_manifest *m, struct fg_error *err)
{
	uint8_t digest[FG_DIGEST_BYTES];
	int rc = fg_sha256(head->hashes, head->hashes_bytes, digest, err);

	if (rc < 0)
		return rc;
	if (m->payload_bytes != head->payload_bytes)
		return fg_error_set(err, FG_EUNTRUSTED, "payload has %" PRIu64 " bytes, the manifest says %" PRIu64,
				    head->payload_bytes, m->payload_bytes);
	if (memcmp(digest, m->hashes_digest, sizeof(digest)) != 0)
		return fg_error_set(err, FG_EUNTRUSTED, "hash list is not the one the manifest names");
	return 0;
}

/* The manifest is read from the very bytes that the signatures cover. */
static int verify_signed(struct fg_bundle_head *head, CMS_ContentInfo *cms, const struct fg_trust *trust, int64_t now_s,
			 struct fg_error *err)
{
	struct fg_manifest *m = NULL;
	char **signers = NULL, when[21];
	size_t n_signers = 0, len = 0;
	const uint8_t *bytes = NULL;
	int rc = fg_cms_verify(cms, trust, now_s, &signers, &n_signers, err);

	if (rc < 0)
		return rc;
	fg_cms_content(cms, &bytes, &len);
	rc = fg_manifest_parse(bytes, len, &m, err);
	if (rc == 0 && now_s >= m->expires_s) {
		fg_time_format(m->expires_s, when);
		rc = fg_error_set(err, FG_EUNTRUSTED, "fix %s version %" PRIu64 " expired at %s", m->id, m->version,
				  when);
	}
	if (rc == 0)
		rc = fg_bundle_head_consistent(head, m, err);
	if (rc < 0) {
		struct fg_bundle_head drop = { .manifest = m, .signers = signers, .n_signers = n_signers };
		fg_bundle_head_release(&drop);
		return rc;
	}
	head->manifest = m;
	head->signers = signers;
	head->n_signers = n_signers;
	return 0;
}

int fg_bundle_head_verify(struct fg_bundle_head *head, const struct fg_trust *trust, int64_t now_s,
			  struct fg_error *err)
{
	CMS_ContentInfo *cms = NULL;
	int rc;

	if (!head->cms || head->manifest)
		return fg_error_set(err, FG_EBUG, "head is not parsed, or verified already");
	rc = fg_cms_parse(head->cms, head->cms_bytes, &cms, err);
	if (rc < 0)
		return rc;
	rc = verify_signed(head, cms, trust, now_s, err);
	CMS_ContentInfo_free(cms);
	return rc;
}

/* All len bytes at offset; FORMAT if the file ends before. */
static int read_at(int fd, void *out, size_t len, uint64_t offset, struct fg_error *err)
{
	uint8_t *p = out;

	while (len) {
		ssize_t n = pread(fd, p, len, (off_t)offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fg_error_errno(err, FG_EIO, errno, "cannot read the bundle");
		if (n == 0)
			return fg_error_set(err, FG_EFORMAT, "the bundle is cut off at byte %" PRIu64, offset);
		p += n;
		len -= (size_t)n;
		offset += (size_t)n;
	}
	return 0;
}

/* Before anything is allocated by the word of the header. */
static int check_size(int fd, const struct fg_bundle_head *head, struct fg_error *err)
{
	uint64_t want = head->head_bytes + head->payload_bytes;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return fg_error_errno(err, FG_EIO, errno, "cannot read the bundle");
	if (!S_ISREG(st.st_mode))
		return fg_error_set(err, FG_EFORMAT, "the bundle is no regular file");
	if ((uint64_t)st.st_size != want)
		return fg_error_set(err, FG_EFORMAT, "the bundle has %" PRIu64 " bytes, its header says %" PRIu64,
				    (uint64_t)st.st_size, want);
	return 0;
}

int fg_bundle_head_read(int fd, uint8_t **buf, struct fg_bundle_head *out, struct fg_error *err)
{
	uint8_t header[FG_BUNDLE_HEADER_BYTES];
	struct fg_bundle_head head = { 0 };
	int rc;

	if ((rc = read_at(fd, header, sizeof(header), 0, err)) < 0 ||
	    (rc = fg_bundle_header_parse(header, &head, err)) < 0 || (rc = check_size(fd, &head, err)) < 0)
		return rc;
	size_t len = (size_t)head.head_bytes;
	fg_autofree uint8_t *bytes = fg_calloc(len, 1);
	if ((rc = read_at(fd, bytes, len, 0, err)) < 0 || (rc = fg_bundle_head_parse(bytes, len, &head, err)) < 0)
		return rc;
	*out = head;
	*buf = FG_TAKE(bytes);
	return 0;
}

static int write_all(int fd, const void *data, size_t len, struct fg_error *err)
{
	if (fg_fd_write_all(fd, data, len) < 0)
		return fg_error_errno(err, FG_EIO, errno, "cannot write the payload");
	return 0;
}

static int verify_blocks(int fd, const struct fg_bundle_head *head, int out_fd, EVP_MD_CTX *ctx, struct fg_error *err)
{
	fg_autofree uint8_t *block = fg_calloc(FG_BUNDLE_BLOCK_BYTES, 1);
	uint64_t blocks = fg_bundle_block_count(head->payload_bytes);
	int rc = 0;

	for (uint64_t i = 0; rc == 0 && i < blocks; i++) {
		uint64_t at = i * FG_BUNDLE_BLOCK_BYTES, left = head->payload_bytes - at;
		size_t len = left < FG_BUNDLE_BLOCK_BYTES ? (size_t)left : FG_BUNDLE_BLOCK_BYTES;
		if ((rc = read_at(fd, block, len, head->head_bytes + at, err)) < 0 ||
		    (rc = fg_bundle_block_verify(head, i, block, len, err)) < 0)
			return rc;
		if (EVP_DigestUpdate(ctx, block, len) != 1)
			return fg_ssl_error(err, FG_ENOMEM, "SHA-256 failed");
		if (out_fd >= 0)
			rc = write_all(out_fd, block, len, err);
	}
	return rc;
}

int fg_bundle_payload_verify(int fd, const struct fg_bundle_head *head, const uint8_t payload_digest[FG_DIGEST_BYTES],
			     int out_fd, struct fg_error *err)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	uint8_t digest[FG_DIGEST_BYTES];
	int rc = 0;

	if (!ctx || EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1)
		rc = fg_ssl_error(err, FG_ENOMEM, "SHA-256 is not available");
	if (rc == 0)
		rc = verify_blocks(fd, head, out_fd, ctx, err);
	if (rc == 0 && EVP_DigestFinal_ex(ctx, digest, NULL) != 1)
		rc = fg_ssl_error(err, FG_ENOMEM, "SHA-256 failed");
	EVP_MD_CTX_free(ctx);
	if (rc == 0 && memcmp(digest, payload_digest, sizeof(digest)) != 0)
		rc = fg_error_set(err, FG_EUNTRUSTED, "payload is not the one the manifest names");
	return rc < 0 ? rc : check_size(fd, head, err);
}

int fg_bundle_file_verify(int fd, const struct fg_trust *trust, int64_t now_s, uint8_t **buf,
			  struct fg_bundle_head *out, struct fg_error *err)
{
	struct fg_bundle_head head = { 0 };
	fg_autofree uint8_t *bytes = NULL;
	int rc = fg_bundle_head_read(fd, &bytes, &head, err);

	if (rc < 0)
		return rc;
	if ((rc = fg_bundle_head_verify(&head, trust, now_s, err)) < 0 ||
	    (rc = fg_bundle_payload_verify(fd, &head, head.manifest->payload_digest, -1, err)) < 0) {
		fg_bundle_head_release(&head);
		return rc;
	}
	*out = head;
	*buf = FG_TAKE(bytes);
	return 0;
}
