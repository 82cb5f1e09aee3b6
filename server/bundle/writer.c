/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fix.h"

#include <lib/bundle/cms.h>
#include <lib/bundle/head.h>

#include <errno.h>
#include <libgen.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int write_all(int fd, const void *data, size_t len, struct fg_error *err)
{
	if (fg_fd_write_all(fd, data, len) < 0)
		return fg_error_errno(err, FG_EIO, errno, "cannot write the bundle");
	return 0;
}

static int copy(int from, uint64_t offset, uint64_t bytes, int to, struct fg_error *err)
{
	fg_autofree uint8_t *buf = fg_calloc(FG_BUNDLE_BLOCK_BYTES, 1);

	while (bytes) {
		size_t want = bytes < FG_BUNDLE_BLOCK_BYTES ? (size_t)bytes : FG_BUNDLE_BLOCK_BYTES;
		ssize_t n = pread(from, buf, want, (off_t)offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return fg_error_errno(err, FG_EIO, n < 0 ? errno : 0, "cannot read the payload");
		int rc = write_all(to, buf, (size_t)n, err);
		if (rc < 0)
			return rc;
		offset += (uint64_t)n;
		bytes -= (uint64_t)n;
	}
	return 0;
}

static int sync_folder(const char *path, struct fg_error *err)
{
	fg_autofree char *name = fg_strdup(path);
	fg_autoclose int fd = open(dirname(name), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || fsync(fd) < 0)
		return fg_error_errno(err, FG_EIO, errno, "cannot sync the folder of %s", path);
	return 0;
}

static int make_head(CMS_ContentInfo *cms, const uint8_t *hashes, uint64_t payload_bytes, uint8_t **head, size_t *len,
		     struct fg_error *err)
{
	unsigned char *der = NULL;
	int n = i2d_CMS_ContentInfo(cms, &der);

	if (n < 0)
		return fg_ssl_error(err, FG_EFAILED, "cannot encode the CMS");
	int rc = fg_bundle_head_build(der, (size_t)n, hashes, payload_bytes, head, len, err);
	OPENSSL_free(der);
	return rc;
}

int fix_bundle_write(const char *path, CMS_ContentInfo *cms, const uint8_t *hashes, uint64_t payload_bytes,
		     int payload_fd, uint64_t offset, struct fg_error *err)
{
	fg_autofree char *tmp = fg_asprintf("%s.XXXXXX", path);
	fg_autofree uint8_t *head = NULL;
	size_t len = 0;
	int rc = make_head(cms, hashes, payload_bytes, &head, &len, err);

	if (rc < 0)
		return rc;
	fg_autoclose int fd = mkostemp(tmp, O_CLOEXEC);
	if (fd < 0)
		return fg_error_errno(err, FG_EIO, errno, "cannot create %s", tmp);
	rc = write_all(fd, head, len, err);
	if (rc == 0)
		rc = copy(payload_fd, offset, payload_bytes, fd, err);
	if (rc == 0 && (fchmod(fd, 0644) < 0 || fsync(fd) < 0 || rename(tmp, path) < 0))
		rc = fg_error_errno(err, FG_EIO, errno, "cannot write %s", path);
	if (rc < 0) {
		unlink(tmp);
		return rc;
	}
	return sync_folder(path, err);
}

int fix_file_digest(int fd, char out[FG_DIGEST_HEX], struct fg_error *err)
{
	fg_autofree uint8_t *buf = fg_calloc(FG_BUNDLE_BLOCK_BYTES, 1);
	uint8_t digest[FG_DIGEST_BYTES];
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	int ok = ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1;
	off_t at = 0;
	ssize_t n = 0;

	while (ok && (n = pread(fd, buf, FG_BUNDLE_BLOCK_BYTES, at)) > 0) {
		ok = EVP_DigestUpdate(ctx, buf, (size_t)n) == 1;
		at += n;
	}
	ok = ok && n == 0 && EVP_DigestFinal_ex(ctx, digest, NULL) == 1;
	EVP_MD_CTX_free(ctx);
	if (!ok)
		return fg_error_errno(err, FG_EIO, n < 0 ? errno : 0, "cannot digest the bundle");
	fg_hex_encode(digest, sizeof(digest), out);
	return 0;
}
