/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The server's catalogue.  Fetched when somebody wants one and the one here is too old; all who want one meanwhile
 * wait for the same answer.  What is here is never older than what was here before: marks (fixgate/catalogue.h) only grow,
 * also over restarts, since fixgated keeps the highest by which a head was verified and gives it with "start".
 */
#include "net.h"

#include <fixgate/catalogue.h>
#include <lib/log.h>
#include <lib/util.h>

#include <inttypes.h>
#include <string.h>
#include <sys/queue.h>

struct waiter {
	STAILQ_ENTRY(waiter) next;
	fg_catalogue_cb done;
	void *arg;
};

struct fg_catalogues {
	struct fg_net *net;
	struct fg_catalogue *now;
	struct fg_catalogue_mark oldest;
	int64_t asked_ms, asking_ms; /* of now; of the request under way */
	bool busy;
	STAILQ_HEAD(waiter_list, waiter) waiters;
};

static void on_answer(void *arg, int rc, struct fg_http_answer *answer, const struct fg_error *err);

struct fg_catalogues *fg_catalogues_new(struct fg_net *net)
{
	struct fg_catalogues *c = fg_calloc(1, sizeof(*c));

	c->net = net;
	STAILQ_INIT(&c->waiters);
	return c;
}

void fg_catalogues_start(struct fg_catalogues *c, const struct fg_catalogue_mark *oldest)
{
	c->oldest = *oldest;
}

const struct fg_catalogue *fg_catalogues_now(const struct fg_catalogues *c, int64_t *asked_ms)
{
	if (asked_ms)
		*asked_ms = c->asked_ms;
	return c->now;
}

void fg_catalogues_want(struct fg_catalogues *c, int64_t max_age_ms, fg_catalogue_cb done, void *arg)
{
	struct waiter *w;

	if (c->now && max_age_ms > 0 && c->asked_ms + max_age_ms >= fg_monotonic_ms() &&
	    fg_now_ms() / 1000 < c->now->expires_s) {
		done(arg, 0, NULL);
		return;
	}
	w = fg_calloc(1, sizeof(*w));
	w->done = done;
	w->arg = arg;
	STAILQ_INSERT_TAIL(&c->waiters, w, next);
	if (c->busy)
		return;
	const struct fg_http_request request = {
		.method = "GET", .path = "/v1/catalogue", .max_bytes = FG_CATALOGUE_MAX, .timeout_ms = FG_NET_TIMEOUT_MS
	};
	c->busy = true;
	c->asking_ms = fg_monotonic_ms();
	fg_http_start(fg_net_http(c->net), &request, on_answer, c);
}

/* From here on signers whose keys it revokes do not count. */
static void take(struct fg_catalogues *c, struct fg_catalogue *next)
{
	fg_autofree uint8_t(*keys)[FG_DIGEST_BYTES] = fg_calloc(next->n_revoked + 1, sizeof(*keys));

	if (!c->now || fg_catalogue_mark_cmp(&c->now->mark, &next->mark) != 0)
		fg_log_info("catalogue %" PRIu64 ".%" PRIu64 ": %zu fixes, %zu withdrawn, %zu signers revoked",
			    next->mark.generation, next->mark.version, next->n_fixes, next->n_withdrawn,
			    next->n_revoked);
	for (size_t i = 0; i < next->n_revoked; i++)
		memcpy(keys[i], next->revoked[i].key, FG_DIGEST_BYTES);
	fg_trust_set_revoked(fg_net_trust(c->net), (const uint8_t(*)[FG_DIGEST_BYTES])keys, next->n_revoked);
	fg_catalogue_free(c->now);
	c->now = next;
	c->oldest = next->mark;
	c->asked_ms = c->asking_ms;
}

static void on_answer(void *arg, int rc, struct fg_http_answer *answer, const struct fg_error *cause)
{
	struct fg_catalogues *c = arg;
	struct fg_error err = *cause, why = FG_ERROR_INIT;
	struct fg_catalogue *next = NULL;
	struct waiter_list waiters = STAILQ_HEAD_INITIALIZER(waiters);
	struct waiter *w;

	c->busy = false;
	if (rc < 0)
		fg_error_set(&why, FG_EUNREACHABLE, "no catalogue of the server: %s", err.text);
	else if ((rc = fg_catalogue_verify(answer->body, answer->len, fg_net_catalogue_trust(c->net), &c->oldest,
					   fg_now_ms() / 1000, &next, &err)) < 0)
		fg_error_set(&why, FG_EUNREACHABLE, "the server's %s", err.text);
	else
		take(c, next);
	if (rc < 0)
		fg_log_warn("%s", why.text);
	STAILQ_CONCAT(&waiters, &c->waiters); /* who wants another one now, waits for the next answer */
	while ((w = STAILQ_FIRST(&waiters))) {
		STAILQ_REMOVE_HEAD(&waiters, next);
		w->done(w->arg, rc < 0 ? -FG_EUNREACHABLE : 0, rc < 0 ? &why : NULL);
		free(w);
	}
}

void fg_catalogues_free(struct fg_catalogues *c)
{
	struct waiter *w;

	if (!c)
		return;
	while ((w = STAILQ_FIRST(&c->waiters))) {
		STAILQ_REMOVE_HEAD(&c->waiters, next);
		free(w);
	}
	fg_catalogue_free(c->now);
	free(c);
}
