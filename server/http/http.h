/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * HTTPS: libevent's evhttp over TLS, a table of routes, roles, limits and deadlines.
 *
 *	fg_http_new -> fg_http_accept … -> event_base_dispatch -> fg_http_drain -> … -> fg_http_free
 *
 * For each request the route is looked up, the peer's role is checked against the route's, and the handler called.  It
 * returns an HTTP status with *answer (taken over) to reply at once, FG_HTTP_LATER when it has kept the request and will
 * call exactly one of the fg_request_ reply functions later, or < 0: the error becomes the reply.
 *
 * Limits: request line and headers FG_HTTP_HEADER_MAX, body FG_PROTOCOL_BODY_MAX, connections of all and of one client
 * (connection.h).  Deadlines: TLS handshake and first request first_s, each further request next_s from the end of the
 * reply before it, however slowly its bytes come; a reply that makes no progress for stall_s ends the connection.
 */
#ifndef FG_SERVER_HTTP_H
#define FG_SERVER_HTTP_H

#include "client.h"
#include "tls.h"

#include <event2/event.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <jansson.h>
#include <lib/util.h>
#include <server/metrics.h>

#define FG_HTTP_HEADER_MAX (16u << 10)
#define FG_HTTP_LATER 0

struct fg_http;

struct fg_request {
	struct evhttp_request *ev;
	struct fg_http *http;
	struct fg_peer peer;
	const char *tail; /* what "*" of the route matched; "" if there is none */
	const char *token; /* of "Authorization: Bearer", or NULL */
	const char *body; /* body_len bytes, not NUL-terminated */
	size_t body_len;
	struct evkeyvalq query;
};

typedef int (*fg_http_handler)(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err);

struct fg_route {
	unsigned methods; /* EVHTTP_REQ_… */
	const char *path; /* exact, or ending in a "*" that matches one path element */
	unsigned roles; /* FG_ROLE_… */
	fg_http_handler handler;
};

struct fg_http_setup {
	struct event_base *base;
	SSL_CTX *tls; /* taken over */
	const struct fg_route *routes; /* end with one whose path is NULL; outlive the server */
	void *ctx; /* of the handlers and the gate */
	size_t connections_max, per_client_max;
	int first_s, next_s, stall_s; /* deadlines; stall_s is longer than the longest poll */
	struct fg_rate requests; /* of one client; 429 beyond it */
	struct fg_rate handshakes; /* of one address; refused beyond it */
	/* Asked before each request that comes with a certificate: NOTALLOWED if it was revoked. */
	int (*gate)(const struct fg_peer *peer, void *ctx, struct fg_error *err);
	struct fg_metrics_slot *metrics;
};
struct fg_http *fg_http_new(const struct fg_http_setup *setup);
/* A listening socket (listen.h); taken over. */
int fg_http_accept(struct fg_http *http, int fd, struct fg_error *err) FG_MUST_CHECK;
/* Closes the connections of certificates that the gate refuses now. */
void fg_http_recheck(struct fg_http *http);
/*
 * Takes no new connections, closes each one with its next reply, and calls done (once, from the loop) when no reply is on
 * its way any more or ms have passed.  patient: connections without a first request have their time too.
 * Called again while draining: ms counts from now on, the rest stays as it was said first.  Kept requests are to be answered by the caller.
 */
void fg_http_drain(struct fg_http *http, int ms, bool patient, void (*done)(void *arg), void *arg);
/* All kept requests must have been answered. */
void fg_http_free(struct fg_http *http);

/* Replies; each ends the request (req is freed).  answer is taken over; NULL: it could not be made, the reply is 500. */
void fg_request_reply(struct fg_request *req, int status, json_t *answer);
void fg_request_fail(struct fg_request *req, const struct fg_error *err);
/* No body. */
void fg_request_empty(struct fg_request *req, int status);
/*
 * length bytes of fd from offset, in slices that are read when the one before has gone out: memory stays at one slice a
 * connection.  fd is taken over.  For HEAD only the headers go.
 */
void fg_request_file(struct fg_request *req, int status, int fd, uint64_t offset, uint64_t length);

/* Text of another type. */
void fg_request_text(struct fg_request *req, int status, const char *type, const char *text);
/* For a request that was kept: has its certificate expired or been revoked since?  NOTALLOWED then. */
int fg_request_still_allowed(const struct fg_request *req, struct fg_error *err) FG_MUST_CHECK;

void fg_request_header(struct fg_request *req, const char *name, const char *fmt, ...) FG_PRINTF(3, 4);
/* NULL if there is none. */
const char *fg_request_get_header(const struct fg_request *req, const char *name);
/* Query parameter; fallback where it is absent; FORMAT if it is no number of the range. */
int fg_request_query_int(const struct fg_request *req, const char *key, int64_t min, int64_t max, int64_t fallback,
			 int64_t *out, struct fg_error *err) FG_MUST_CHECK;
const char *fg_request_query(const struct fg_request *req, const char *key);

#endif
