/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "poll.h"

#include <fixgate/protocol.h>
#include <inttypes.h>
#include <lib/log.h>
#include <search.h>
#include <string.h>
#include <sys/queue.h>

#define HOST_SEEN_MS (5 * 60 * 1000) /* how exactly the time of a host's last poll is kept */

struct waiter {
	TAILQ_ENTRY(waiter) entry; /* of its host */
	TAILQ_ENTRY(waiter) all; /* of all */
	struct waiting_host *host;
	struct fg_request *req;
	struct event *timer;
	int64_t cursor;
};

struct waiting_host {
	char *name;
	struct fg_poll *poll;
	TAILQ_HEAD(waiters, waiter) waiters;
	size_t n;
};

struct fg_poll {
	struct event_base *base;
	struct fg_store *store;
	bool ended;
	TAILQ_HEAD(all_waiters, waiter) all;
	void *hosts; /* tsearch(3) tree of waiting_host, by name */
	size_t n;
	void (*on_wake)(const char *host, void *arg);
	void *on_wake_arg;
};

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct waiting_host *)a)->name, ((const struct waiting_host *)b)->name);
}

static struct waiting_host *host_find(struct fg_poll *poll, const char *name)
{
	struct waiting_host key = { .name = (char *)(uintptr_t)name };
	struct waiting_host **found = tfind(&key, &poll->hosts, by_name);

	return found ? *found : NULL;
}

static struct waiting_host *host_get(struct fg_poll *poll, const char *name)
{
	struct waiting_host *host = host_find(poll, name);

	if (host)
		return host;
	host = fg_calloc(1, sizeof(*host));
	host->name = fg_strdup(name);
	host->poll = poll;
	TAILQ_INIT(&host->waiters);
	if (!tsearch(host, &poll->hosts, by_name))
		abort();
	return host;
}

/* Out of the lists; the host too when it was its last. Returns the request. */
static struct fg_request *waiter_remove(struct waiter *w)
{
	struct fg_request *req = w->req;
	struct waiting_host *host = w->host;

	TAILQ_REMOVE(&host->waiters, w, entry);
	TAILQ_REMOVE(&host->poll->all, w, all);
	host->poll->n--;
	event_free(w->timer);
	free(w);
	if (--host->n == 0) {
		tdelete(host, &host->poll->hosts, by_name);
		free(host->name);
		free(host);
	}
	return req;
}

struct found {
	json_t *offers, *cancelled;
};

static void add_offer(const struct fg_store_offer *o, void *arg)
{
	struct found *found = arg;

	if (o->cancels)
		json_array_append_new(found->cancelled,
				      json_pack("{s:I, s:s, s:s, s:I}", "seq", (json_int_t)o->cancels, "guest",
						o->guest, "fix", o->fix, "version", (json_int_t)o->version));
	else
		json_array_append_new(found->offers,
				      json_pack("{s:I, s:s, s:s, s:I, s:s, s:I}", "seq", (json_int_t)o->seq, "guest",
						o->guest, "fix", o->fix, "version", (json_int_t)o->version, "digest",
						o->digest, "bytes", (json_int_t)o->bytes));
}

/* 1 with *answer if there is something, 0 if not; *cursor goes on. */
static int look(struct fg_poll *poll, const char *host, int64_t cursor, json_t **answer, struct fg_error *err)
{
	fg_autojson json_t *offers = json_array();
	fg_autojson json_t *cancelled = json_array();
	struct found found = { offers, cancelled };
	int64_t next = cursor;
	int rc = fg_store_offers_after(poll->store, host, cursor, FG_POLL_OFFERS_MAX, add_offer, &found, &next, err);

	if (rc < 0)
		return rc;
	rc = json_array_size(offers) > 0 || json_array_size(cancelled) > 0;
	*answer = json_pack("{s:I, s:O}", "cursor", (json_int_t)next, "offers", offers);
	if (json_array_size(cancelled) > 0)
		json_object_set(*answer, "cancelled", cancelled);
	return rc;
}

static void waiter_answer(struct waiter *w, bool even_if_none)
{
	struct fg_error err = FG_ERROR_INIT;
	json_t *answer = NULL;
	int rc = fg_request_still_allowed(w->req, &err);

	if (rc == 0)
		rc = look(w->host->poll, w->host->name, w->cursor, &answer, &err);

	if (rc < 0) {
		fg_request_fail(waiter_remove(w), &err);
	} else if (rc > 0 || even_if_none) {
		fg_request_reply(waiter_remove(w), 200, answer);
	} else {
		json_decref(answer);
	}
}

static void on_time(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	waiter_answer(arg, true);
}

static void wait_for(struct fg_poll *poll, struct fg_request *req, int64_t cursor, int64_t wait_s)
{
	struct waiting_host *host = host_get(poll, req->peer.name);
	struct waiter *w = fg_calloc(1, sizeof(*w));
	struct timeval tv = { wait_s, 0 };

	*w = (struct waiter){ .host = host, .req = req, .cursor = cursor };
	w->timer = evtimer_new(poll->base, on_time, w);
	if (!w->timer || event_add(w->timer, &tv) < 0)
		abort();
	TAILQ_INSERT_TAIL(&host->waiters, w, entry);
	TAILQ_INSERT_TAIL(&poll->all, w, all);
	poll->n++;
	if (++host->n > FG_POLL_HOST_MAX)
		waiter_answer(TAILQ_FIRST(&host->waiters), true);
}

int fg_poll_request(struct fg_poll *poll, struct fg_request *req, json_t **answer, struct fg_error *err)
{
	int64_t cursor = 0, wait_s = 0;
	json_t *found = NULL;
	int rc = fg_request_query_int(req, "cursor", 0, INT64_MAX, 0, &cursor, err);

	if (rc == 0)
		rc = fg_request_query_int(req, "wait_s", 0, INT32_MAX, 0, &wait_s, err);
	if (rc == 0)
		rc = fg_store_host_seen(poll->store, req->peer.name, fg_now_ms(), HOST_SEEN_MS, err);
	if (rc == 0)
		rc = look(poll, req->peer.name, cursor, &found, err);
	if (rc < 0)
		return rc;
	if (rc > 0 || wait_s == 0 || poll->ended) {
		*answer = found;
		return 200;
	}
	json_decref(found);
	wait_for(poll, req, cursor, wait_s < FG_PROTOCOL_WAIT_MAX_S ? wait_s : FG_PROTOCOL_WAIT_MAX_S);
	return FG_HTTP_LATER;
}

static void wake_host(struct waiting_host *host)
{
	/* The host goes with its last waiter: count, do not look at it after. */
	for (size_t n = host ? host->n : 0; n > 0; n--) {
		struct waiter *w = TAILQ_FIRST(&host->waiters);
		TAILQ_REMOVE(&host->waiters, w, entry);
		TAILQ_INSERT_TAIL(&host->waiters, w, entry);
		waiter_answer(w, false);
	}
}

void fg_poll_wake_here(struct fg_poll *poll, const char *name)
{
	if (name) {
		wake_host(host_find(poll, name));
		return;
	}
	for (struct waiter *w = TAILQ_FIRST(&poll->all), *next; w; w = next) {
		next = TAILQ_NEXT(w, all);
		waiter_answer(w, false);
	}
}

void fg_poll_wake(struct fg_poll *poll, const char *name)
{
	fg_poll_wake_here(poll, name);
	if (poll->on_wake)
		poll->on_wake(name, poll->on_wake_arg);
}

void fg_poll_on_wake(struct fg_poll *poll, void (*fn)(const char *host, void *arg), void *arg)
{
	poll->on_wake = fn;
	poll->on_wake_arg = arg;
}

size_t fg_poll_count(const struct fg_poll *poll)
{
	return poll->n;
}

struct fg_poll *fg_poll_new(struct event_base *base, struct fg_store *store)
{
	struct fg_poll *poll = fg_calloc(1, sizeof(*poll));

	poll->base = base;
	poll->store = store;
	TAILQ_INIT(&poll->all);
	return poll;
}

void fg_poll_end(struct fg_poll *poll)
{
	poll->ended = true;
	for (struct waiter *w = TAILQ_FIRST(&poll->all), *next; w; w = next) {
		next = TAILQ_NEXT(w, all);
		waiter_answer(w, true);
	}
}

void fg_poll_free(struct fg_poll *poll)
{
	if (!poll)
		return;
	fg_poll_end(poll);
	free(poll);
}
