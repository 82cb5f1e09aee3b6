/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The way of a request to its handler; draining. */
#include "connection.h"
#include "request.h"

#include <event2/buffer.h>
#include <event2/bufferevent_ssl.h>
#include <event2/listener.h>
#include <fixgate/protocol.h>
#include <inttypes.h>
#include <lib/log.h>
#include <string.h>

#define METHODS                                                                                                        \
	(EVHTTP_REQ_GET | EVHTTP_REQ_HEAD | EVHTTP_REQ_PUT | EVHTTP_REQ_POST | EVHTTP_REQ_DELETE |                     \
	 EVHTTP_REQ_OPTIONS | EVHTTP_REQ_PATCH)

#define TOO_MANY_REQUESTS 429 /* RFC 6585, 4 */

/* ---- requests ---- */

static bool path_matches(const char *pattern, const char *path, const char **tail)
{
	size_t len = strlen(pattern);

	*tail = "";
	if (pattern[len - 1] != '*')
		return !strcmp(pattern, path);
	if (strncmp(pattern, path, len - 1) != 0 || path[len - 1] == '\0' || strchr(path + len - 1, '/'))
		return false;
	*tail = path + len - 1;
	return true;
}

/* NULL with *status: 404, or 405 where the path exists. */
static const struct fg_route *route_find(struct fg_request *req, const char *path, int *status)
{
	const char *tail;
	unsigned method = evhttp_request_get_command(req->ev);

	*status = 404;
	for (const struct fg_route *r = req->http->setup.routes; r->path; r++) {
		if (!path_matches(r->path, path, &tail))
			continue;
		*status = 405;
		if (!(r->methods & method))
			continue;
		req->tail = tail;
		return r;
	}
	return NULL;
}

int fg_request_still_allowed(const struct fg_request *req, struct fg_error *err)
{
	const struct fg_http_setup *setup = &req->http->setup;

	if (req->peer.role == FG_ROLE_NOBODY)
		return 0;
	if (req->peer.not_after_s * 1000 <= fg_now_ms())
		return fg_error_set(err, FG_ENOTALLOWED, "the certificate has expired");
	return setup->gate ? setup->gate(&req->peer, setup->ctx, err) : 0;
}

static int role_check(struct fg_request *req, const struct fg_route *route, struct fg_error *err)
{
	const char *role = fg_tls_role_name(req->peer.role);
	int rc = fg_request_still_allowed(req, err);

	if (rc < 0 || route->roles & req->peer.role) {
		if (rc < 0)
			fg_request_header(req, "Connection", "close");
		return rc;
	}
	return fg_error_set(err, FG_ENOTALLOWED, "not allowed %s%s", role ? "in the role of " : "without a certificate",
			    role ? role : "");
}

static void dispatch(struct fg_request *req, struct connection *c)
{
	const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(req->ev);
	const char *path = uri ? evhttp_uri_get_path(uri) : NULL;
	struct fg_error err = FG_ERROR_INIT;
	json_t *answer = NULL;
	int status;
	const struct fg_route *route = route_find(req, path ? path : "", &status);

	if (!route) {
		fg_request_reply(req, status,
				 json_pack("{s:{s:s, s:s}}", "error", "code", fg_error_name(FG_ENOTFOUND), "text",
					   status == 405 ? "the method is not allowed here" : "no such path"));
		return;
	}
	c->route = route;
	int rc = role_check(req, route, &err);
	if (rc == 0)
		rc = route->handler(req, req->http->setup.ctx, &answer, &err);
	if (rc < 0) {
		json_decref(answer);
		fg_request_fail(req, &err);
	} else if (rc != FG_HTTP_LATER) {
		fg_request_reply(req, rc, answer);
	}
}

static const char *method_name(enum evhttp_cmd_type method)
{
	switch ((int)method) {
	case EVHTTP_REQ_GET:
		return "GET";
	case EVHTTP_REQ_HEAD:
		return "HEAD";
	case EVHTTP_REQ_PUT:
		return "PUT";
	case EVHTTP_REQ_POST:
		return "POST";
	case EVHTTP_REQ_DELETE:
		return "DELETE";
	}
	return "-";
}

static void log_request(const struct connection *c, struct evhttp_request *ev, int64_t us)
{
	const char *role = fg_tls_role_name(c->peer.role);
	const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(ev);
	const char *path = uri ? evhttp_uri_get_path(uri) : NULL;

	fg_log_debug("peer=%s role=%s method=%s path=%s status=%d ms=%" PRId64 " bytes=%zu",
		     c->peer.name[0] ? c->peer.name : "-", role ? role : "-",
		     method_name(evhttp_request_get_command(ev)), path ? path : "-",
		     evhttp_request_get_response_code(ev), us / 1000,
		     evbuffer_get_length(evhttp_request_get_input_buffer(ev)));
}

static void on_reply_sent(struct evhttp_request *ev, void *arg)
{
	struct connection *c = fg_connection_of(ev);

	(void)arg;
	if (!c)
		return;
	struct fg_metrics_slot *metrics = c->http->setup.metrics;
	size_t i = c->route ? (size_t)(c->route - c->http->setup.routes) : FG_METRICS_ROUTES_MAX;
	int64_t us = fg_http_now_us() - c->began_us;
	fg_metrics_request(i < FG_METRICS_ROUTES_MAX ? &metrics->route[i] : &metrics->none,
			   evhttp_request_get_response_code(ev), us);
	log_request(c, ev, us);
	fg_connection_replying(c, false);
	fg_connection_deadline(c, c->http->setup.next_s * 1000);
}

static const char *bearer(struct evhttp_request *ev)
{
	const char *value = evhttp_find_header(evhttp_request_get_input_headers(ev), "Authorization");

	return value && !strncasecmp(value, "Bearer ", 7) ? value + 7 : NULL;
}

static void too_many(struct fg_request *req, const struct fg_error *err)
{
	fg_request_header(req, "Connection", "close");
	fg_request_header(req, "Retry-After", "5");
	fg_request_reply(req, HTTP_SERVUNAVAIL,
			 json_pack("{s:{s:s, s:s}}", "error", "code", fg_error_name(err->code), "text", err->text));
}

/* The connection stays: another handshake would cost more than this answer. */
static void too_often(struct fg_request *req, int64_t wait_us)
{
	fg_request_header(req, "Retry-After", "%" PRId64, (wait_us + 999999) / 1000000);
	fg_request_reply(req, TOO_MANY_REQUESTS,
			 json_pack("{s:{s:s, s:s}}", "error", "code", fg_error_name(FG_ELIMIT), "text",
				   "more requests than this client may make: see Retry-After"));
}

static void on_request(struct evhttp_request *ev, void *arg)
{
	struct fg_http *http = arg;
	struct connection *c = fg_connection_of(ev);
	struct evbuffer *body = evhttp_request_get_input_buffer(ev);
	struct fg_request *req = fg_calloc(1, sizeof(*req));
	const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(ev);
	struct fg_error err = FG_ERROR_INIT;
	int64_t wait_us = 0;

	if (!c) { /* cannot be: the request came from it */
		free(req);
		evhttp_send_error(ev, HTTP_INTERNAL, NULL);
		return;
	}
	fg_connection_deadline(c, 0);
	fg_connection_replying(c, true);
	c->began_us = fg_http_now_us();
	c->route = NULL;
	evhttp_request_set_on_complete_cb(ev, on_reply_sent, NULL);
	int rc = fg_connection_identify(c, &err);
	req->ev = ev;
	req->http = http;
	req->peer = c->peer;
	req->token = bearer(ev);
	req->body_len = evbuffer_get_length(body);
	req->body = req->body_len ? (const char *)evbuffer_pullup(body, -1) : "";
	TAILQ_INIT(&req->query);
	const char *query = uri ? evhttp_uri_get_query(uri) : NULL;
	if (rc < 0) {
		too_many(req, &err);
	} else if ((wait_us = fg_connection_rate(c)) > 0) {
		too_often(req, wait_us);
	} else if (query && evhttp_parse_query_str(query, &req->query) < 0) {
		fg_error_set(&err, FG_EFORMAT, "malformed query");
		fg_request_fail(req, &err);
	} else {
		dispatch(req, c);
	}
}

/* Certificates may have been revoked. */
void fg_http_recheck(struct fg_http *http)
{
	struct connection *c, *next;

	for (c = TAILQ_FIRST(&http->all); c; c = next) {
		struct fg_error err = FG_ERROR_INIT;
		next = TAILQ_NEXT(c, all);
		if (c->closing || !c->client || c->peer.role == FG_ROLE_NOBODY || !http->setup.gate ||
		    http->setup.gate(&c->peer, http->setup.ctx, &err) != -FG_ENOTALLOWED)
			continue;
		fg_log_warn("peer=%s serial=%s connection closed: %s", c->peer.name, c->peer.serial, err.text);
		http->setup.metrics->revoked_closed++;
		fg_connection_close(c);
	}
}

/* ---- the server ---- */

struct fg_http *fg_http_new(const struct fg_http_setup *setup)
{
	struct fg_http *http = fg_calloc(1, sizeof(*http));

	http->setup = *setup;
	fg_clients_init(&http->clients);
	fg_connection_setup(http);
	TAILQ_INIT(&http->all);
	TAILQ_INIT(&http->half_open);
	http->ev = evhttp_new(setup->base);
	if (!http->ev)
		abort();
	evhttp_set_bevcb(http->ev, fg_connection_new, http);
	evhttp_set_gencb(http->ev, on_request, http);
	evhttp_set_allowed_methods(http->ev, METHODS);
	evhttp_set_max_headers_size(http->ev, FG_HTTP_HEADER_MAX);
	evhttp_set_max_body_size(http->ev, FG_PROTOCOL_BODY_MAX);
	evhttp_set_timeout(http->ev, setup->stall_s);
	evhttp_set_default_content_type(http->ev, NULL);
	return http;
}

static void on_drained(evutil_socket_t fd, short what, void *arg)
{
	struct fg_http *http = arg;
	void (*done)(void *) = http->drained;

	(void)fd, (void)what;
	http->drained = NULL;
	if (done)
		done(http->drained_arg);
}

bool fg_http_is_draining(const struct fg_http *http)
{
	return http->drain != NULL;
}

void fg_http_drain(struct fg_http *http, int ms, bool patient, void (*done)(void *arg), void *arg)
{
	struct timeval tv = { ms / 1000, ms % 1000 * 1000 };

	if (http->drain) { /* less time than was said before */
		if (event_add(http->drain, &tv) < 0)
			abort();
		fg_connection_drain_check(http);
		return;
	}
	for (size_t i = 0; i < http->n_listeners; i++)
		evconnlistener_disable(http->listeners[i]);
	http->patient = patient;
	http->drained = done;
	http->drained_arg = arg;
	http->drain = evtimer_new(http->setup.base, on_drained, http);
	if (!http->drain || event_add(http->drain, &tv) < 0)
		abort();
	fg_connection_drain_check(http);
}

void fg_http_free(struct fg_http *http)
{
	if (!http)
		return;
	if (http->drain)
		event_free(http->drain);
	http->drain = NULL;
	http->n_listeners = 0; /* freed by evhttp before the connections */
	evhttp_free(http->ev);
	SSL_CTX_free(http->setup.tls);
	/* libevent finalizes bufferevents in a later turn of the loop, or with the base. */
	http->over = true;
	fg_http_release(http);
}

void fg_http_release(struct fg_http *http)
{
	if (http->connections > 0)
		return;
	fg_clients_release(&http->clients);
	free(http);
}

int fg_http_accept(struct fg_http *http, int fd, struct fg_error *err)
{
	if (http->n_listeners == LISTENERS_MAX)
		return fg_error_set(err, FG_ELIMIT, "more than %d addresses to listen on", LISTENERS_MAX);
	struct evhttp_bound_socket *handle = evhttp_accept_socket_with_handle(http->ev, fd);
	if (!handle)
		abort();
	http->listeners[http->n_listeners++] = evhttp_bound_socket_get_listener(handle);
	return 0;
}
