/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "verbs.h"

#include <errno.h>
#include <fcntl.h>
#include <fixgate/bundle.h>
#include <fixgate/protocol.h>
#include <inttypes.h>
#include <lib/log.h>
#include <lib/util.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

static int file_digest(int fd, uint8_t *buf, char digest[FG_DIGEST_HEX], struct fg_error *err)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	uint8_t sum[FG_DIGEST_BYTES];
	off_t at = 0;
	ssize_t n = 0;
	int ok = ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL);

	while (ok && (n = pread(fd, buf, FG_PROTOCOL_BODY_MAX, at)) > 0) {
		ok = EVP_DigestUpdate(ctx, buf, (size_t)n);
		at += n;
	}
	ok = ok && n == 0 && EVP_DigestFinal_ex(ctx, sum, NULL);
	EVP_MD_CTX_free(ctx);
	if (!ok)
		return fg_error_errno(err, FG_EIO, errno, "cannot read the bundle");
	fg_hex_encode(sum, sizeof(sum), digest);
	return 0;
}

/* Part after part from where the server is, until it answers with the fix. */
static int upload(struct fg_admin *a, int fd, uint64_t total, uint8_t *buf, const char *path, json_t **fix,
		  struct fg_error *err)
{
	int64_t offset = 0;

	for (;;) {
		fg_autojson json_t *answer = NULL;
		int64_t received = 0;
		ssize_t n = pread(fd, buf, FG_PROTOCOL_BODY_MAX, (off_t)offset);
		if (n <= 0)
			return fg_error_errno(err, FG_EIO, errno, "cannot read the bundle");
		int rc = fg_admin_put_part(a, path, buf, (size_t)n, (uint64_t)offset, total, &answer, err);
		if (rc < 0)
			return rc;
		if (json_object_get(answer, "fix")) {
			*fix = FG_TAKE(answer);
			return 0;
		}
		rc = fg_json_int(answer, "received", 0, (int64_t)total - 1, &received, err);
		if (rc < 0)
			return rc;
		if (received == offset)
			return fg_error_set(err, FG_EFAILED, "the server took nothing at %" PRId64, offset);
		offset = received;
	}
}

int fg_admin_publish(struct fg_admin *a, const struct fg_admin_options *o, const char *file, struct fg_error *err)
{
	fg_autofree uint8_t *buf = fg_calloc(1, FG_PROTOCOL_BODY_MAX);
	fg_autoclose int fd = open(file, O_RDONLY | O_CLOEXEC);
	fg_autojson json_t *fix = NULL;
	char digest[FG_DIGEST_HEX];
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return fg_error_errno(err, errno == ENOENT ? FG_ENOTFOUND : FG_EIO, errno, "%s", file);
	if (st.st_size == 0)
		return fg_error_set(err, FG_EFORMAT, "%s is empty", file);
	int rc = file_digest(fd, buf, digest, err);
	fg_autofree char *path = fg_asprintf("/v1/fixes/%s", digest);
	if (rc == 0)
		rc = upload(a, fd, (uint64_t)st.st_size, buf, path, &fix, err);
	if (rc < 0) {
		fg_error_wrap(err, "%s", file);
		return rc;
	}
	if (o->json) {
		fg_autofree char *text = fg_json_dump(fix);
		puts(text);
		return 0;
	}
	printf("published %s version %" JSON_INTEGER_FORMAT ", %s\n", json_string_value(json_object_get(fix, "fix")),
	       json_integer_value(json_object_get(fix, "version")), digest);
	const char *why = json_string_value(json_object_get(fix, "catalogue_error"));
	if (why)
		fg_log_warn("no catalogue can be made, so no host takes it yet: %s", why);
	return 0;
}
