/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Heads of bundles: fetched, verified, left in a file for fixgated.
 *	ask -> on_turn -> on_catalogue -> [from the file of an earlier offer] -> judge
 *	                               -> fetch -> on_header -> on_rest -> judge -> write -> answer
 *	judge says "not by this catalogue", which is older than the question -> on_newer_catalogue -> judge
 *
 * Nothing is believed: the lengths are within the limits before they are used, the signatures are those of publishers
 * that the trust folder names, id, version and length are the offer's, and the server's catalogue has this very bundle.  A few at a time, since a head may have 33 MiB.
 */
#include "net.h"

#include <lib/log.h>
#include <lib/util.h>

#include <dirent.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIR_NAME "heads"
#define ACTIVE_MAX 2
#define CATALOGUE_AGE_MS 10000 /* many guests are offered a fix at once: not one catalogue for each */
#define KEPT_MAX 64 /* files; the oldest goes */
#define KEPT_BYTES_MAX (128u << 20)

struct head {
	STAILQ_ENTRY(head) next;
	struct fg_heads *heads;
	int64_t id;
	struct fg_offer_terms offer;
	int64_t asked_ms; /* monotonic */
	uint8_t *buf; /* the head, as far as it is there */
	size_t len;
};

struct kept {
	STAILQ_ENTRY(kept) next;
	char digest[FG_DIGEST_HEX];
	size_t bytes;
};

struct fg_heads {
	struct fg_net *net;
	struct event *turn;
	STAILQ_HEAD(head_list, head) waiting, active;
	unsigned n_waiting, n_active;
	STAILQ_HEAD(kept_list, kept) kept;
	size_t n_kept, kept_bytes;
};

static void on_turn(evutil_socket_t fd, short what, void *arg);
static void on_catalogue(void *arg, int rc, const struct fg_error *err);
static void on_newer_catalogue(void *arg, int rc, const struct fg_error *err);
static void on_header(void *arg, int rc, struct fg_http_answer *answer, const struct fg_error *err);
static void on_rest(void *arg, int rc, struct fg_http_answer *answer, const struct fg_error *err);

static char *file_of(const char *digest)
{
	return fg_asprintf(DIR_NAME "/%s.head", digest);
}

static void turn_soon(struct fg_heads *heads)
{
	static const struct timeval now = { 0, 0 };

	if (evtimer_add(heads->turn, &now) < 0)
		abort();
}

static void end(struct head *head)
{
	struct fg_heads *heads = head->heads;

	STAILQ_REMOVE(&heads->active, head, head, next);
	heads->n_active--;
	free(head->buf);
	free(head);
	turn_soon(heads);
}

static void fail(struct head *head, struct fg_error *err)
{
	fg_error_wrap(err, "head of %s version %llu", head->offer.fix, (unsigned long long)head->offer.version);
	fg_net_failed(head->heads->net, head->id, err);
	end(head);
}

int fg_heads_ask(struct fg_heads *heads, int64_t id, const json_t *message, struct fg_error *err)
{
	struct fg_error busy = FG_ERROR_INIT;
	struct fg_offer_terms offer;
	struct head *head;
	json_t *json = NULL;
	int rc;

	if ((rc = fg_json_object(message, "offer", &json, err)) < 0 ||
	    (rc = fg_offer_parse_bundle(json, &offer, err)) < 0)
		return rc;
	if (heads->n_waiting == FG_NET_ASKS_MAX) {
		fg_error_set(&busy, FG_EUNREACHABLE, "%u heads wait already", heads->n_waiting);
		fg_net_failed(heads->net, id, &busy);
		return 0;
	}
	head = fg_calloc(1, sizeof(*head));
	head->heads = heads;
	head->id = id;
	head->offer = offer;
	head->asked_ms = fg_monotonic_ms();
	STAILQ_INSERT_TAIL(&heads->waiting, head, next);
	heads->n_waiting++;
	turn_soon(heads);
	return 0;
}

/* Keeps what was written in memory too, as a list, and removes the oldest files. */
static void keep(struct fg_heads *heads, const char *digest, size_t bytes)
{
	struct kept *k;

	STAILQ_FOREACH (k, &heads->kept, next)
		if (strcmp(k->digest, digest) == 0)
			return;
	k = fg_calloc(1, sizeof(*k));
	snprintf(k->digest, sizeof(k->digest), "%s", digest);
	k->bytes = bytes;
	STAILQ_INSERT_TAIL(&heads->kept, k, next);
	heads->n_kept++;
	heads->kept_bytes += bytes;
	while (heads->n_kept > 1 && (heads->n_kept > KEPT_MAX || heads->kept_bytes > KEPT_BYTES_MAX)) {
		struct kept *oldest = STAILQ_FIRST(&heads->kept);
		fg_autofree char *file = file_of(oldest->digest);
		unlink(file);
		STAILQ_REMOVE_HEAD(&heads->kept, next);
		heads->n_kept--;
		heads->kept_bytes -= oldest->bytes;
		free(oldest);
	}
}

static bool is_kept(const struct fg_heads *heads, const char *digest)
{
	const struct kept *k;

	STAILQ_FOREACH (k, &heads->kept, next)
		if (strcmp(k->digest, digest) == 0)
			return true;
	return false;
}

static int matches_offer(const struct fg_bundle_head *b, const struct fg_offer_terms *offer, struct fg_error *err)
{
	if (strcmp(b->manifest->id, offer->fix) != 0 || b->manifest->version != offer->version)
		return fg_error_set(err, FG_EUNTRUSTED, "the signed manifest is of %s version %llu", b->manifest->id,
				    (unsigned long long)b->manifest->version);
	return 0;
}

static int check_length(const struct fg_bundle_head *b, uint64_t bytes, struct fg_error *err)
{
	if (b->head_bytes <= FG_BUNDLE_HEADER_BYTES || b->head_bytes > FG_BUNDLE_HEAD_MAX)
		return fg_error_set(err, FG_EFORMAT, "its head has %llu bytes", (unsigned long long)b->head_bytes);
	if (b->payload_bytes != bytes - b->head_bytes)
		return fg_error_set(err, FG_EFORMAT, "its parts have %llu bytes, the offer says %llu",
				    (unsigned long long)(b->head_bytes + b->payload_bytes), (unsigned long long)bytes);
	return 0;
}

/* Signatures and everything else about the head in memory; the answer is left in *summary and digest. */
static int judge(const struct head *head, json_t **summary, char digest[FG_DIGEST_HEX], bool *by_catalogue,
		 struct fg_error *err)
{
	const struct fg_catalogue *catalogue = fg_catalogues_now(fg_net_catalogues(head->heads->net), NULL);
	struct fg_bundle_head b = { 0 };
	int rc;

	*by_catalogue = false;
	if ((rc = fg_bundle_head_parse(head->buf, head->len, &b, err)) == 0 &&
	    (rc = check_length(&b, head->offer.bytes, err)) == 0 &&
	    (rc = fg_bundle_head_verify(&b, fg_net_trust(head->heads->net), fg_now_ms() / 1000, err)) == 0 &&
	    (rc = matches_offer(&b, &head->offer, err)) == 0) {
		rc = fg_catalogue_admits(catalogue, head->offer.fix, head->offer.version, head->offer.digest,
					 b.head_digest, err);
		*by_catalogue = rc < 0;
	}
	if (rc == 0) {
		*summary = fg_head_summary_json(b.manifest);
		fg_hex_encode(b.head_digest, FG_DIGEST_BYTES, digest);
	}
	fg_bundle_head_release(&b);
	return rc;
}

static void answer(struct head *head, json_t *summary, const char *digest)
{
	struct fg_net *net = head->heads->net;
	const struct fg_catalogue *catalogue = fg_catalogues_now(fg_net_catalogues(net), NULL);
	fg_autofree char *path = fg_asprintf("%s/net/" DIR_NAME "/%s.head", fg_net_state_dir(net), head->offer.digest);

	fg_net_send(net, json_pack("{s:s, s:I, s:s, s:o, s:o, s:s}", "type", "head-verified", "id",
				   (json_int_t)head->id, "head_digest", digest, "manifest", summary, "catalogue",
				   fg_mark_json(&catalogue->mark), "path", path));
	end(head);
}

static int write_file(struct head *head, struct fg_error *err)
{
	fg_autofree char *file = file_of(head->offer.digest);
	int rc = 0;

	if (is_kept(head->heads, head->offer.digest))
		return 0;
	rc = fg_file_write_durable(file, head->buf, head->len, 0600, err);
	if (rc == 0) {
		keep(head->heads, head->offer.digest, head->len);
		fg_log_info("head of %s version %llu verified (%zu bytes)", head->offer.fix,
			    (unsigned long long)head->offer.version, head->len);
	}
	return rc;
}

/* The whole head is here.  A catalogue from before the question may not have what was published meanwhile. */
static void decide(struct head *head)
{
	struct fg_catalogues *catalogues = fg_net_catalogues(head->heads->net);
	struct fg_error err = FG_ERROR_INIT;
	char digest[FG_DIGEST_HEX];
	json_t *summary = NULL;
	bool by_catalogue = false;
	int64_t asked_ms = 0;
	int rc = judge(head, &summary, digest, &by_catalogue, &err);

	fg_catalogues_now(catalogues, &asked_ms);
	if (rc < 0 && by_catalogue && asked_ms < head->asked_ms) {
		fg_catalogues_want(catalogues, 0, on_newer_catalogue, head);
		return;
	}
	if (rc == 0 && (rc = write_file(head, &err)) < 0)
		json_decref(summary);
	if (rc < 0)
		fail(head, &err);
	else
		answer(head, summary, digest);
}

static void on_newer_catalogue(void *arg, int rc, const struct fg_error *cause)
{
	struct head *head = arg;
	struct fg_error err = cause ? *cause : (struct fg_error)FG_ERROR_INIT;

	if (rc < 0)
		fail(head, &err);
	else
		decide(head);
}

/* Another guest was offered the same bundle.  The file is judged like what comes from the network. */
static bool decided_from_file(struct head *head)
{
	fg_autofree char *file = file_of(head->offer.digest);
	char *text = NULL;

	if (!is_kept(head->heads, head->offer.digest) ||
	    fg_file_read(file, FG_BUNDLE_HEAD_MAX, &text, &head->len, NULL) < 0)
		return false;
	head->buf = (uint8_t *)text;
	decide(head);
	return true;
}

static void fetch(struct head *head, uint64_t from, uint64_t bytes, fg_http_done_cb *done)
{
	fg_autofree char *path = fg_asprintf("/v1/blobs/%s", head->offer.digest);
	struct fg_http_request req = { .method = "GET",
				       .path = path,
				       .range_from = from,
				       .range_bytes = bytes,
				       .max_bytes = (size_t)bytes,
				       .timeout_ms = FG_NET_HEAD_TIMEOUT_MS };

	fg_http_start(fg_net_http(head->heads->net), &req, done, head);
}

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
	struct fg_heads *heads = arg;
	struct head *head = STAILQ_FIRST(&heads->waiting);

	(void)fd, (void)what;
	if (!head || heads->n_active == ACTIVE_MAX)
		return;
	STAILQ_REMOVE_HEAD(&heads->waiting, next);
	heads->n_waiting--;
	STAILQ_INSERT_TAIL(&heads->active, head, next);
	heads->n_active++;
	turn_soon(heads); /* one judgement a turn, so that nothing else waits for long */
	fg_catalogues_want(fg_net_catalogues(heads->net), CATALOGUE_AGE_MS, on_catalogue, head);
}

static void on_catalogue(void *arg, int rc, const struct fg_error *cause)
{
	struct head *head = arg;
	struct fg_error err = cause ? *cause : (struct fg_error)FG_ERROR_INIT;

	if (rc < 0)
		fail(head, &err);
	else if (!decided_from_file(head))
		fetch(head, 0, FG_BUNDLE_HEADER_BYTES, on_header);
}

static int check_total(const struct head *head, uint64_t total, struct fg_error *err)
{
	if (total != head->offer.bytes)
		return fg_error_set(err, FG_EFORMAT, "the bundle has %llu bytes, the offer says %llu",
				    (unsigned long long)total, (unsigned long long)head->offer.bytes);
	return 0;
}

static void on_header(void *arg, int rc, struct fg_http_answer *got, const struct fg_error *cause)
{
	struct head *head = arg;
	struct fg_bundle_head b = { 0 };
	struct fg_error err = *cause;

	if (rc == 0)
		rc = check_total(head, got->total, &err);
	if (rc == 0 && (rc = fg_bundle_header_parse(got->body, &b, &err)) == 0)
		rc = check_length(&b, head->offer.bytes, &err);
	if (rc < 0) {
		fail(head, &err);
		return;
	}
	free(head->buf);
	head->buf = FG_TAKE(got->body);
	head->len = FG_BUNDLE_HEADER_BYTES;
	fetch(head, FG_BUNDLE_HEADER_BYTES, b.head_bytes - FG_BUNDLE_HEADER_BYTES, on_rest);
}

static int take_rest(struct head *head, const struct fg_http_answer *got, struct fg_error *err)
{
	uint8_t *buf = realloc(head->buf, head->len + got->len);

	if (!buf)
		return fg_error_set(err, FG_ENOMEM, "out of memory");
	memcpy(buf + head->len, got->body, got->len);
	head->buf = buf;
	head->len += got->len;
	return 0;
}

static void on_rest(void *arg, int rc, struct fg_http_answer *got, const struct fg_error *cause)
{
	struct head *head = arg;
	struct fg_error err = *cause;

	if (rc == 0 && (rc = check_total(head, got->total, &err)) == 0)
		rc = take_rest(head, got, &err);
	if (rc < 0)
		fail(head, &err);
	else
		decide(head);
}

/* Files of an earlier run: fixgated has copied what it wanted. */
static int empty_folder(struct fg_error *err)
{
	struct dirent *entry;
	DIR *dir;

	if (mkdir(DIR_NAME, 0700) < 0 && errno != EEXIST)
		return fg_error_errno(err, FG_EIO, errno, "folder " DIR_NAME);
	dir = opendir(DIR_NAME);
	if (!dir)
		return fg_error_errno(err, FG_EIO, errno, "folder " DIR_NAME);
	while ((entry = readdir(dir)))
		if (entry->d_name[0] != '.' || strlen(entry->d_name) > 2)
			unlinkat(dirfd(dir), entry->d_name, 0);
	closedir(dir);
	return 0;
}

int fg_heads_new(struct fg_net *net, struct fg_heads **out, struct fg_error *err)
{
	struct fg_heads *heads;
	int rc = empty_folder(err);

	if (rc < 0)
		return rc;
	heads = fg_calloc(1, sizeof(*heads));
	heads->net = net;
	STAILQ_INIT(&heads->waiting);
	STAILQ_INIT(&heads->active);
	STAILQ_INIT(&heads->kept);
	heads->turn = evtimer_new(fg_net_base(net), on_turn, heads);
	if (!heads->turn)
		abort();
	*out = heads;
	return 0;
}

void fg_heads_free(struct fg_heads *heads)
{
	if (!heads)
		return;
	STAILQ_CONCAT(&heads->waiting, &heads->active);
	while (!STAILQ_EMPTY(&heads->waiting)) {
		struct head *head = STAILQ_FIRST(&heads->waiting);
		STAILQ_REMOVE_HEAD(&heads->waiting, next);
		free(head->buf);
		free(head);
	}
	while (!STAILQ_EMPTY(&heads->kept)) {
		struct kept *k = STAILQ_FIRST(&heads->kept);
		STAILQ_REMOVE_HEAD(&heads->kept, next);
		free(k);
	}
	event_free(heads->turn);
	free(heads);
}
