/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * HTTPS requests to the one server, on libevent (curl's multi socket interface).
 *
 *	fg_http_open -> fg_http_start… -> done (once each) -> fg_http_close
 *
 * TLS 1.3; the server's certificate must chain to the configured CA only and name its IP address; we show the agent's
 * certificate.  No proxy, redirect, cookie, compression, name lookup or HTTP/0.9.  Connections are re-used.
 *
 * An error says only that the server could not be asked or would not answer:
 *	UNREACHABLE  no connection, TLS refused, 5xx, or an answer that is no proper HTTP answer to what was asked
 *	TIMEOUT      the deadline of the request passed
 *	NOTALLOWED 401, 403; NOTFOUND 404; REFUSED other 4xx, with the server's words
 * Never UNTRUSTED, FORMAT or LIMIT: a broken or hostile server (or something that plays it) must not be able to have a
 * fix rejected for good.
 */
#ifndef FG_NET_HTTP_H
#define FG_NET_HTTP_H

#include "identity.h"

#include <fixgate/filter.h>

struct event_base;
struct fg_http;
struct fg_http_call;

#define FG_HTTP_HEADERS_MAX 16384 /* bytes of an answer's header lines together */
#define FG_HTTP_ERROR_BODY_MAX 4096 /* bytes of the body of a 4xx or 5xx */
#define FG_HTTP_CONNECT_MS 10000
#define FG_HTTP_SLOW_BYTES 1000L /* a second: a range that comes slower than this … */
#define FG_HTTP_SLOW_S 30L /* … for so long has failed */
#define FG_HTTP_CONNECTIONS_MAX 8 /* more requests wait for one of these */

struct fg_http_config {
	struct event_base *base;
	struct fg_ip address;
	uint16_t port;
	const struct fg_identity *identity; /* borrowed until close */
};

struct fg_http_request {
	const char *method; /* "GET", "PUT", "POST"; static */
	const char *path; /* from "/v1" on; copied */
	char *body; /* JSON; taken (freed by http); NULL: none */
	uint64_t range_from, range_bytes; /* range_bytes 0: the whole; else exactly these bytes or failure */
	size_t max_bytes; /* of the answer's body */
	uint32_t timeout_ms; /* for the whole of it */
};

struct fg_http_answer {
	uint8_t *body; /* NUL-terminated; set to NULL to take it */
	size_t len;
	uint64_t total; /* length of the whole, from Content-Range; 0 without a range */
};

/* rc 0: a 2xx answer.  Otherwise -FG_E… and answer is NULL.  May start new requests, not cancel this one. */
typedef void fg_http_done_cb(void *arg, int rc, struct fg_http_answer *answer, const struct fg_error *err);

int fg_http_open(const struct fg_http_config *config, struct fg_http **out, struct fg_error *err) FG_MUST_CHECK;
/* Never fails: what fails is told to done, later. */
struct fg_http_call *fg_http_start(struct fg_http *http, const struct fg_http_request *request, fg_http_done_cb *done,
				   void *arg);
/* No callbacks for what is under way. */
void fg_http_close(struct fg_http *http);

#endif
