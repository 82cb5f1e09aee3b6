/* SPDX-License-Identifier: GPL-3.0-or-later */
/* GET and HEAD /v1/blobs/<digest>: a bundle, by the digest of the whole file, which is its strong ETag too. */
#include "api.h"
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/sha.h>
#include <server/http/range.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int may_fetch(const struct fg_request *req, struct fg_api *api, const char *digest, struct fg_error *err)
{
	uint8_t sum[SHA256_DIGEST_LENGTH];
	char hash[2 * SHA256_DIGEST_LENGTH + 1];

	if (req->peer.role == FG_ROLE_IS_AGENT)
		return 0;
	if (!req->token)
		return fg_error_set(err, FG_ENOTALLOWED, "a certificate of an agent or a token is needed");
	SHA256((const unsigned char *)req->token, strlen(req->token), sum);
	fg_hex_encode(sum, sizeof(sum), hash);
	return fg_store_token_check(api->store, hash, digest, fg_now_ms(), err);
}

static int blob_open(struct fg_api *api, const char *digest, uint64_t *size, struct fg_error *err)
{
	fg_autofree char *path = fg_asprintf("%s/%s/%s", api->dir, FG_SERVER_BLOBS, digest);
	struct stat st;
	int rc = fg_store_blob_known(api->store, digest, err);

	if (rc < 0)
		return rc;
	fg_autoclose int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || fstat(fd, &st) < 0)
		return fg_error_errno(err, FG_EIO, errno, "%s", path);
	*size = (uint64_t)st.st_size;
	return FG_TAKE_FD(fd);
}

static void blob_send(struct fg_request *req, const char *digest, int fd, uint64_t size)
{
	const char *none_match = fg_request_get_header(req, "If-None-Match");
	const char *range = fg_request_get_header(req, "Range"), *if_range = fg_request_get_header(req, "If-Range");
	bool get = evhttp_request_get_command(req->ev) == EVHTTP_REQ_GET;
	uint64_t first = 0, last = 0;

	fg_request_header(req, "ETag", "\"%s\"", digest);
	fg_request_header(req, "Accept-Ranges", "bytes");
	fg_request_header(req, "Cache-Control", "private, immutable");
	if (none_match && fg_etag_matches(none_match, digest, true)) {
		close(fd);
		fg_request_empty(req, 304);
		return;
	}
	/* A date in If-Range matches nothing: a blob has none. Range has a meaning for GET only (RFC 9110 14.2). */
	if (!get || (if_range && !fg_etag_matches(if_range, digest, false)))
		range = NULL;
	switch (fg_range_parse(range, size, &first, &last)) {
	case FG_RANGE_ALL:
		fg_request_file(req, 200, fd, 0, size);
		return;
	case FG_RANGE_PART:
		fg_request_header(req, "Content-Range", "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, first, last, size);
		fg_request_file(req, 206, fd, first, last - first + 1);
		return;
	case FG_RANGE_BAD:
		close(fd);
		fg_request_header(req, "Content-Range", "bytes */%" PRIu64, size);
		fg_request_reply(req, 416,
				 json_pack("{s:{s:s, s:s}}", "error", "code", fg_error_name(FG_EFORMAT), "text",
					   "the range begins after the end"));
		return;
	}
}

int fg_api_blob(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err)
{
	struct fg_api *api = ctx;
	char digest[FG_DIGEST_HEX];
	uint64_t size = 0;
	int rc = fg_check_digest(req->tail, err);

	(void)answer;
	if (rc < 0)
		return rc;
	snprintf(digest, sizeof(digest), "%s", req->tail);
	rc = may_fetch(req, api, digest, err);
	if (rc < 0)
		return rc;
	int fd = blob_open(api, digest, &size, err);
	if (fd < 0)
		return fd;
	blob_send(req, digest, fd, size);
	return FG_HTTP_LATER;
}
