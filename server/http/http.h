/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * HTTPS: libevent's evhttp over TLS, a table of routes, roles, limits and deadlines.
 *
 *	fg_http_new -> fg_http_listen … -> event_base_dispatch -> fg_http_drain -> … -> fg_http_free
 *
 * For each request the route is looked up, the peer's role is checked against the route's, and the handler called.  It
 * returns an HTTP status with *answer (taken over) to reply at once, FG_HTTP_LATER when it has kept the request and will
 * call exactly one of the fg_request_ reply functions later, or < 0: the error becomes the reply.
 *
 * Limits: request line and headers FG_HTTP_HEADER_MAX, body FG_PROTOCOL_BODY_MAX, connections as configured (the listener
 * rests while they are used up).  Deadlines: TLS handshake and first request FG_HTTP_FIRST_MS, each further request
 * FG_HTTP_NEXT_MS from the end of the reply before it, however slowly its bytes come; a reply that makes no
 * progress for FG_HTTP_STALL_S ends the connection.
 */
#ifndef FG_SERVER_HTTP_H
#define FG_SERVER_HTTP_H

#include "tls.h"

#include <event2/event.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <jansson.h>
#include <lib/util.h>

#define FG_HTTP_HEADER_MAX (16u << 10)
#define FG_HTTP_FIRST_MS 30000
#define FG_HTTP_NEXT_MS 120000
#define FG_HTTP_STALL_S 75 /* longer than the longest poll */
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

/* routes end with one whose path is NULL, and outlive the server; ctx is given to the handlers; tls is taken over. */
struct fg_http *fg_http_new(struct event_base *base, SSL_CTX *tls, const struct fg_route *routes, size_t connections,
			    void *ctx);
/* "1.2.3.4:8443", "[::1]:8443"; port 0 = any.  bound: the address that it got. */
#define FG_HTTP_ADDRESS_TEXT 64
int fg_http_listen(struct fg_http *http, const char *address, char bound[FG_HTTP_ADDRESS_TEXT],
		   struct fg_error *err) FG_MUST_CHECK;
/*
 * Takes no new connections, closes each one with its next reply, and calls done (once, from the loop) when no reply is on
 * its way any more or FG_HTTP_DRAIN_MS have passed.  Kept requests are to be answered by the caller.
 */
#define FG_HTTP_DRAIN_MS 3000
void fg_http_drain(struct fg_http *http, void (*done)(void *arg), void *arg);
/* All kept requests must have been answered. */
void fg_http_free(struct fg_http *http);

/* Replies; each ends the request (req is freed).  answer is taken over. */
void fg_request_reply(struct fg_request *req, int status, json_t *answer);
void fg_request_fail(struct fg_request *req, const struct fg_error *err);
/* No body. */
void fg_request_empty(struct fg_request *req, int status);
/*
 * length bytes of fd from offset, in slices that are read when the one before has gone out: memory stays at one slice a
 * connection.  fd is taken over.  For HEAD only the headers go.
 */
void fg_request_file(struct fg_request *req, int status, int fd, uint64_t offset, uint64_t length);

void fg_request_header(struct fg_request *req, const char *name, const char *fmt, ...) FG_PRINTF(3, 4);
/* NULL if there is none. */
const char *fg_request_get_header(const struct fg_request *req, const char *name);
/* Query parameter; fallback where it is absent; FORMAT if it is no number of the range. */
int fg_request_query_int(const struct fg_request *req, const char *key, int64_t min, int64_t max, int64_t fallback,
			 int64_t *out, struct fg_error *err) FG_MUST_CHECK;
const char *fg_request_query(const struct fg_request *req, const char *key);

#endif
