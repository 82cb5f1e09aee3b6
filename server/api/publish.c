/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * PUT /v1/fixes/<digest>: a bundle comes in parts of at most one body (Content-Range), each appended to
 * uploads/<digest>.part; the answer to each says how much is there, so an upload that broke off goes on where it was.
 * With the last part: fsync, digest, verification against the trust folder (in a thread), into blobs/, into the store.
 * A crash leaves an upload that can go on, or a blob that no fix names, never a fix without its blob.
 */
#include "catalogue.h"
#include "check.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <inttypes.h>
#include <lib/log.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <server/http/range.h>
#include <server/store/catalogue.h>
#include <string.h>
#include <sys/file.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <unistd.h>

#define PUBLISH_MAX 4 /* verifications at a time */
#define READ_BYTES (256u << 10)

struct publication {
	TAILQ_ENTRY(publication) entry;
	struct fg_publisher *publisher;
	struct fg_request *req;
	pthread_t thread;
	char digest[FG_DIGEST_HEX];
	char who[65];
	char *part, *trust;
	int lock; /* of the part file, held from its last byte until it is placed */
	uint8_t (*revoked)[FG_DIGEST_BYTES]; /* signers that do not count */
	size_t n_revoked;
	/* what the thread found */
	int rc;
	struct fg_error err;
	uint8_t *buf;
	struct fg_bundle_head head;
	int64_t bytes;
};

/* What a thread writes into the pipe when it is done; shorter than PIPE_BUF: whole or not at all. */
struct done {
	struct publication *publication;
};

struct fg_publisher {
	struct fg_api *api;
	int pipe[2]; /* struct done */
	struct event *event;
	TAILQ_HEAD(publications, publication) running;
	size_t n;
};

/* ---- the thread ---- */

static int digest_check(int fd, const char *expected, int64_t *bytes, struct fg_error *err)
{
	fg_autofree uint8_t *buf = fg_calloc(1, READ_BYTES);
	uint8_t sum[FG_DIGEST_BYTES];
	char text[FG_DIGEST_HEX];
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	ssize_t n = 0;
	int ok = ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL);

	*bytes = 0;
	while (ok && (n = pread(fd, buf, READ_BYTES, *bytes)) > 0) {
		ok = EVP_DigestUpdate(ctx, buf, (size_t)n);
		*bytes += n;
	}
	ok = ok && n == 0 && EVP_DigestFinal_ex(ctx, sum, NULL);
	EVP_MD_CTX_free(ctx);
	if (!ok)
		return fg_error_errno(err, FG_EIO, errno, "cannot read the upload");
	fg_hex_encode(sum, sizeof(sum), text);
	if (strcmp(text, expected) != 0)
		return fg_error_set(err, FG_EUNTRUSTED, "what was uploaded has the digest %s", text);
	return 0;
}

static int verify(struct publication *p, struct fg_error *err)
{
	struct fg_trust *trust = NULL;
	fg_autoclose int fd = open(p->part, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return fg_error_errno(err, FG_EIO, errno, "%s", p->part);
	int rc = digest_check(fd, p->digest, &p->bytes, err);
	if (rc == 0)
		rc = fg_trust_load(p->trust, &trust, err);
	if (rc == 0)
		fg_trust_set_revoked(trust, (const uint8_t(*)[FG_DIGEST_BYTES])p->revoked, p->n_revoked);
	if (rc == 0)
		rc = fg_bundle_file_verify(fd, trust, fg_now_ms() / 1000, &p->buf, &p->head, err);
	fg_trust_free(trust);
	if (rc == 0 && p->head.manifest->version > INT64_MAX)
		rc = fg_error_set(err, FG_ELIMIT, "versions go up to 2^63 - 1");
	if (rc == 0 && fsync(fd) < 0)
		rc = fg_error_errno(err, FG_EIO, errno, "%s", p->part);
	return rc;
}

static void *thread_main(void *arg)
{
	struct publication *p = arg;
	const struct done done = { p };

	p->rc = verify(p, &p->err);
	if (write(p->publisher->pipe[1], &done, sizeof(done)) != sizeof(done))
		abort();
	return NULL;
}

/* ---- back in the loop ---- */

static int blob_place(struct fg_api *api, const struct publication *p, struct fg_error *err)
{
	fg_autofree char *dir = fg_asprintf("%s/%s", api->dir, FG_SERVER_BLOBS);
	fg_autofree char *blob = fg_asprintf("%s/%s", dir, p->digest);
	fg_autoclose int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || chmod(p->part, 0444) < 0 || rename(p->part, blob) < 0 || fsync(fd) < 0)
		return fg_error_errno(err, FG_EIO, errno, "%s", blob);
	return 0;
}

static int finish(struct fg_api *api, struct publication *p, json_t **answer, struct fg_error *err)
{
	const struct fg_manifest *m = p->head.manifest;
	struct fg_store_fix fix = { .id = m->id,
				    .digest = p->digest,
				    .title = m->title,
				    .severity = m->severity,
				    .version = (int64_t)m->version,
				    .bytes = p->bytes,
				    .published_s = m->published_s,
				    .expires_s = m->expires_s,
				    .added_ms = fg_now_ms() };
	bool added = false;
	int rc = blob_place(api, p, err);

	if (rc == 0)
		rc = fg_store_fix_add(api->store, &fix, p->who, &added, err);
	if (rc < 0) {
		fg_autofree char *blob = fg_asprintf("%s/%s/%s", api->dir, FG_SERVER_BLOBS, p->digest);
		if (rc == -FG_EEXISTS)
			unlink(blob);
		return rc;
	}
	fg_log_info("fix=%s version=%" PRIu64 " digest=%s %s by=%s", m->id, m->version, p->digest,
		    added ? "published" : "was published before", p->who);
	*answer = json_pack("{s:s, s:I, s:s, s:I}", "fix", m->id, "version", (json_int_t)m->version, "digest",
			    p->digest, "bytes", (json_int_t)p->bytes);
	fg_catalogues_changed(api, *answer);
	return added ? 201 : 200;
}

static void publication_free(struct publication *p)
{
	fg_bundle_head_release(&p->head);
	free(p->buf);
	free(p->part);
	free(p->trust);
	fg_closep(&p->lock);
	free(p->revoked);
	free(p);
}

static void publication_end(struct publication *p)
{
	struct fg_publisher *publisher = p->publisher;
	json_t *answer = NULL;
	int status = p->rc;

	pthread_join(p->thread, NULL);
	TAILQ_REMOVE(&publisher->running, p, entry);
	publisher->n--;
	if (status == 0)
		status = finish(publisher->api, p, &answer, &p->err);
	else
		unlink(p->part); /* bytes that did not verify are of no use to go on from */
	if (status < 0)
		fg_request_fail(p->req, &p->err);
	else
		fg_request_reply(p->req, status, answer);
	publication_free(p);
}

static void on_verified(evutil_socket_t fd, short what, void *arg)
{
	struct done done = { NULL };

	(void)what, (void)arg;
	if (read(fd, &done, sizeof(done)) == sizeof(done))
		publication_end(done.publication);
}

/* lock is taken over. */
static int verification_start(struct fg_request *req, struct fg_api *api, const char *digest, int lock,
			      struct fg_error *err)
{
	struct fg_publisher *publisher = api->publisher;
	struct publication *p = fg_calloc(1, sizeof(*p));

	p->publisher = publisher;
	p->req = req;
	p->lock = lock;
	p->part = fg_asprintf("%s/%s/%s.part", api->dir, FG_SERVER_UPLOADS, digest);
	p->trust = fg_asprintf("%s/%s", api->dir, FG_SERVER_TRUST);
	snprintf(p->digest, sizeof(p->digest), "%s", digest);
	snprintf(p->who, sizeof(p->who), "%s", req->peer.name);
	int rc = fg_store_revoked_keys(api->store, &p->revoked, &p->n_revoked, err);
	if (rc < 0) {
		publication_free(p);
		return rc;
	}
	rc = pthread_create(&p->thread, NULL, thread_main, p);
	if (rc) {
		publication_free(p);
		return fg_error_errno(err, FG_EFAILED, rc, "cannot start a thread");
	}
	TAILQ_INSERT_TAIL(&publisher->running, p, entry);
	publisher->n++;
	return FG_HTTP_LATER;
}

/* ---- parts ---- */

struct part {
	uint64_t first, last, total;
};

static int part_read(const struct fg_request *req, const struct fg_api *api, struct part *part, struct fg_error *err)
{
	const char *header = fg_request_get_header(req, "Content-Range");

	if (!req->body_len)
		return fg_error_set(err, FG_EFORMAT, "the body is empty");
	*part = (struct part){ 0, req->body_len - 1, req->body_len };
	if (header && (!fg_content_range_parse(header, &part->first, &part->last, &part->total) ||
		       part->last - part->first + 1 != req->body_len))
		return fg_error_set(err, FG_EFORMAT, "Content-Range does not fit the body");
	if (part->total > (uint64_t)api->config->bundle_max_bytes)
		return fg_error_set(err, FG_ELIMIT, "bundles may have up to %" PRId64 " bytes (bundle_max_bytes)",
				    api->config->bundle_max_bytes);
	return 0;
}

static bool is_running(const struct fg_publisher *publisher, const char *digest)
{
	const struct publication *p;

	TAILQ_FOREACH (p, &publisher->running, entry)
		if (!strcmp(p->digest, digest))
			return true;
	return false;
}

/* Another process may be at the same upload: only who has the lock of the file that is there now goes on. */
static int part_lock(int fd, const char *path, struct stat *st, struct fg_error *err)
{
	struct stat now;
	bool mine = flock(fd, LOCK_EX | LOCK_NB) == 0;

	if (!mine && errno != EWOULDBLOCK)
		return fg_error_errno(err, FG_EIO, errno, "%s", path);
	if (!mine || stat(path, &now) < 0 || fstat(fd, st) < 0 || now.st_ino != st->st_ino)
		return fg_error_set(err, FG_EUNREACHABLE, "the bundle is being verified: try again");
	return 0;
}

/* Appends what of the part is new; *size: what is there then; *lock: the file, locked. */
static int part_append(const char *path, const struct fg_request *req, const struct part *part, uint64_t *size,
		       int *lock, struct fg_error *err)
{
	struct stat st;
	fg_autoclose int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return fg_error_errno(err, FG_EIO, errno, "%s", path);
	int rc = part_lock(fd, path, &st, err);
	if (rc < 0)
		return rc;
	uint64_t there = (uint64_t)st.st_size;
	if (there >= part->first && there <= part->last) {
		const char *from = req->body + (there - part->first);
		size_t len = (size_t)(part->last + 1 - there);
		ssize_t n = pwrite(fd, from, len, (off_t)there);
		if (n < 0 || (size_t)n != len) {
			int saved = n < 0 ? errno : ENOSPC;
			if (ftruncate(fd, (off_t)there) < 0)
				unlink(path);
			return fg_error_errno(err, FG_EIO, saved, "%s", path);
		}
		there += len;
	}
	*size = there;
	*lock = FG_TAKE_FD(fd);
	return 0;
}

int fg_api_publish(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err)
{
	struct fg_api *api = ctx;
	struct part part = { 0, 0, 0 };
	uint64_t size = 0;
	int rc = fg_check_digest(req->tail, err);

	if (rc == 0)
		rc = part_read(req, api, &part, err);
	if (rc < 0)
		return rc;
	if (api->publisher->n >= PUBLISH_MAX || is_running(api->publisher, req->tail))
		return fg_error_set(err, FG_EUNREACHABLE, "bundles are being verified: try again");
	fg_autofree char *path = fg_asprintf("%s/%s/%s.part", api->dir, FG_SERVER_UPLOADS, req->tail);
	fg_autoclose int lock = -1;
	rc = part_append(path, req, &part, &size, &lock, err);
	if (rc < 0)
		return rc;
	if (size >= part.total)
		return verification_start(req, api, req->tail, FG_TAKE_FD(lock), err);
	*answer = json_pack("{s:I, s:I}", "received", (json_int_t)size, "total", (json_int_t)part.total);
	return 202;
}

struct fg_publisher *fg_publisher_new(struct event_base *base, struct fg_api *api)
{
	struct fg_publisher *publisher = fg_calloc(1, sizeof(*publisher));

	publisher->api = api;
	TAILQ_INIT(&publisher->running);
	if (pipe2(publisher->pipe, O_CLOEXEC) < 0)
		abort();
	publisher->event = event_new(base, publisher->pipe[0], EV_READ | EV_PERSIST, on_verified, NULL);
	if (!publisher->event || event_add(publisher->event, NULL) < 0)
		abort();
	return publisher;
}

void fg_publisher_free(struct fg_publisher *publisher)
{
	if (!publisher)
		return;
	for (struct publication *p = TAILQ_FIRST(&publisher->running), *next; p; p = next) {
		next = TAILQ_NEXT(p, entry);
		publication_end(p); /* joins its thread */
	}
	event_free(publisher->event);
	close(publisher->pipe[0]);
	close(publisher->pipe[1]);
	free(publisher);
}
