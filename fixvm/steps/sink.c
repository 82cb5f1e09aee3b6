/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fixvm/steps/download.h"

#include "lib/util.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <string.h>
#include <unistd.h>

int fg_sink_init(struct fg_sink *s, const struct fg_bundle_head *head, int fd, struct fg_error *err)
{
	*s = (struct fg_sink){
		.head = head, .fd = fd, .buf = malloc(FG_BUNDLE_BLOCK_BYTES), .digest = EVP_MD_CTX_new()
	};
	if (s->buf && s->digest && EVP_DigestInit_ex(s->digest, EVP_sha256(), NULL) == 1)
		return 0;
	fg_sink_release(s);
	return fg_error_set(err, FG_ENOMEM, "download");
}

void fg_sink_release(struct fg_sink *s)
{
	free(s->buf);
	EVP_MD_CTX_free(s->digest);
	s->buf = NULL;
	s->digest = NULL;
}

uint64_t fg_sink_done(const struct fg_sink *s)
{
	uint64_t done = s->block * FG_BUNDLE_BLOCK_BYTES;

	return done < s->head->payload_bytes ? done : s->head->payload_bytes;
}

void fg_sink_rewind(struct fg_sink *s)
{
	s->fill = 0;
}

static int keep_block(struct fg_sink *s, struct fg_error *err)
{
	int rc = fg_bundle_block_verify(s->head, s->block, s->buf, s->fill, err);

	if (rc)
		return rc;
	for (size_t done = 0; done < s->fill;) {
		ssize_t n =
			pwrite(s->fd, s->buf + done, s->fill - done, (off_t)(s->block * FG_BUNDLE_BLOCK_BYTES + done));

		if (n < 0 && errno != EINTR)
			return fg_error_errno(err, errno == ENOSPC ? FG_ENOMEM : FG_EIO, errno, "keep the payload");
		done += n > 0 ? (size_t)n : 0;
	}
	if (EVP_DigestUpdate(s->digest, s->buf, s->fill) != 1)
		return fg_error_set(err, FG_EFAILED, "digest of the payload");
	s->block++;
	s->fill = 0;
	return 0;
}

int fg_sink_feed(struct fg_sink *s, const void *bytes, size_t len, struct fg_error *err)
{
	const uint8_t *p = bytes;

	while (len) {
		uint64_t left = s->head->payload_bytes - fg_sink_done(s);
		size_t size = left < FG_BUNDLE_BLOCK_BYTES ? (size_t)left : FG_BUNDLE_BLOCK_BYTES;

		if (!size)
			return fg_error_set(err, FG_ELIMIT, "the server sends more than the payload");
		size_t n = size - s->fill < len ? size - s->fill : len;
		memcpy(s->buf + s->fill, p, n);
		s->fill += n;
		p += n;
		len -= n;
		int rc = s->fill == size ? keep_block(s, err) : 0;
		if (rc)
			return rc;
	}
	return 0;
}

int fg_sink_finish(struct fg_sink *s, struct fg_error *err)
{
	uint8_t digest[FG_DIGEST_BYTES];

	if (s->fill || fg_sink_done(s) != s->head->payload_bytes)
		return fg_error_set(err, FG_EFORMAT, "payload ends after %llu of %llu bytes",
				    (unsigned long long)fg_sink_done(s), (unsigned long long)s->head->payload_bytes);
	if (EVP_DigestFinal_ex(s->digest, digest, NULL) != 1)
		return fg_error_set(err, FG_EFAILED, "digest of the payload");
	if (CRYPTO_memcmp(digest, s->head->manifest->payload_digest, sizeof(digest)))
		return fg_error_set(err, FG_EUNTRUSTED, "digest of the payload differs from the manifest");
	return 0;
}
