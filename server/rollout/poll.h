/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Long polls of offers.  A poll is answered at once if the host has an open offer after its cursor, else when fg_poll_wake
 * says that there is one, or when its time is over.  A host keeps at most FG_POLL_HOST_MAX: the oldest gives way.
 */
#ifndef FG_SERVER_POLL_H
#define FG_SERVER_POLL_H

#include <server/http/http.h>
#include <server/store/store.h>

#define FG_POLL_HOST_MAX 4
#define FG_POLL_OFFERS_MAX 1000 /* of one answer */

struct fg_poll;

struct fg_poll *fg_poll_new(struct event_base *base, struct fg_store *store);
/* Handler of GET /v1/offers for an agent: takes the request over. Fails only before that. */
int fg_poll_request(struct fg_poll *poll, struct fg_request *req, json_t **answer, struct fg_error *err) FG_MUST_CHECK;
/* Called by fg_poll_wake: the host may be waiting in another process. */
void fg_poll_on_wake(struct fg_poll *poll, void (*fn)(const char *host, void *arg), void *arg);
/* The same for the hosts that wait here only; NULL: all. */
void fg_poll_wake_here(struct fg_poll *poll, const char *host);
/* How many wait here. */
size_t fg_poll_count(const struct fg_poll *poll);
/* There may be something new for the host. */
void fg_poll_wake(struct fg_poll *poll, const char *host);
/* Answers all that wait, and each that comes from now on at once. */
void fg_poll_end(struct fg_poll *poll);
void fg_poll_free(struct fg_poll *poll);

#endif
