/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Connections: listeners, TLS, deadlines; and the way of a request to its handler. */
#include "http.h"
#include "request.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent_ssl.h>
#include <event2/listener.h>
#include <fcntl.h>
#include <fixgate/protocol.h>
#include <lib/log.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#define LISTENERS_MAX 16
#define METHODS                                                                                                        \
	(EVHTTP_REQ_GET | EVHTTP_REQ_HEAD | EVHTTP_REQ_PUT | EVHTTP_REQ_POST | EVHTTP_REQ_DELETE |                     \
	 EVHTTP_REQ_OPTIONS | EVHTTP_REQ_PATCH)

struct fg_http {
	struct event_base *base;
	struct evhttp *ev;
	SSL_CTX *tls;
	const struct fg_route *routes;
	void *ctx;
	struct evconnlistener *listeners[LISTENERS_MAX];
	size_t n_listeners, connections, connections_max;
	bool resting;
	size_t replying; /* connections that owe a reply */
	struct event *drain; /* its deadline; not NULL while draining */
	void (*drained)(void *arg);
	void *drained_arg;
};

/* One a connection, owned by its SSL object. */
struct connection {
	struct fg_http *http;
	struct bufferevent *bev;
	struct event *deadline;
	struct fg_peer peer;
	bool peer_known, replying;
};

static int connection_index; /* of SSL_get_ex_data */

/* ---- connections ---- */

static void listeners_rest(struct fg_http *http, bool rest)
{
	if (http->resting == rest || http->drain)
		return;
	http->resting = rest;
	if (rest)
		fg_log_warn("all %zu connections are in use: new ones wait", http->connections_max);
	for (size_t i = 0; i < http->n_listeners; i++) {
		if (rest)
			evconnlistener_disable(http->listeners[i]);
		else
			evconnlistener_enable(http->listeners[i]);
	}
}

static void drain_check(struct fg_http *http)
{
	struct timeval now = { 0, 0 };

	if (http->drain && http->replying == 0)
		event_add(http->drain, &now);
}

static void replying_set(struct connection *c, bool replying)
{
	if (c->replying == replying)
		return;
	c->replying = replying;
	c->http->replying += replying ? 1 : (size_t)-1;
	drain_check(c->http);
}

static void connection_free(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp)
{
	struct connection *c = ptr;

	(void)parent, (void)ad, (void)idx, (void)argl, (void)argp;
	if (!c)
		return;
	replying_set(c, false);
	c->http->connections--;
	listeners_rest(c->http, false);
	event_free(c->deadline);
	free(c);
}

/* evhttp owns the connection: it sees the end of the stream and cleans up. */
static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct connection *c = arg;

	(void)fd, (void)what;
	shutdown(bufferevent_getfd(c->bev), SHUT_RDWR);
}

static void deadline_set(struct connection *c, int ms)
{
	struct timeval tv = { ms / 1000, ms % 1000 * 1000 };

	if (ms)
		event_add(c->deadline, &tv);
	else
		event_del(c->deadline);
}

static struct bufferevent *on_connection(struct event_base *base, void *arg)
{
	struct fg_http *http = arg;
	struct connection *c = fg_calloc(1, sizeof(*c));
	SSL *ssl = SSL_new(http->tls);

	if (!ssl)
		abort(); /* out of memory; evhttp would go on without TLS */
	c->http = http;
	c->deadline = evtimer_new(base, on_deadline, c);
	c->bev = bufferevent_openssl_socket_new(base, -1, ssl, BUFFEREVENT_SSL_ACCEPTING, BEV_OPT_CLOSE_ON_FREE);
	if (!c->deadline || !c->bev || !SSL_set_ex_data(ssl, connection_index, c))
		abort();
	bufferevent_openssl_set_allow_dirty_shutdown(c->bev, 1);
	deadline_set(c, FG_HTTP_FIRST_MS);
	if (++http->connections >= http->connections_max)
		listeners_rest(http, true);
	return c->bev;
}

static struct connection *connection_of(struct evhttp_request *ev)
{
	struct evhttp_connection *evcon = evhttp_request_get_connection(ev);

	if (!evcon)
		return NULL;
	return SSL_get_ex_data(bufferevent_openssl_get_ssl(evhttp_connection_get_bufferevent(evcon)), connection_index);
}

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
	for (const struct fg_route *r = req->http->routes; r->path; r++) {
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

static int role_check(struct fg_request *req, const struct fg_route *route, struct fg_error *err)
{
	if (req->peer.role != FG_ROLE_NOBODY && req->peer.not_after_s * 1000 <= fg_now_ms())
		return fg_error_set(err, FG_ENOTALLOWED, "the certificate has expired");
	if (route->roles & req->peer.role)
		return 0;
	const char *role = fg_tls_role_name(req->peer.role);
	return fg_error_set(err, FG_ENOTALLOWED, "not allowed %s%s", role ? "in the role of " : "without a certificate",
			    role ? role : "");
}

static void dispatch(struct fg_request *req)
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
	int rc = role_check(req, route, &err);
	if (rc == 0)
		rc = route->handler(req, req->http->ctx, &answer, &err);
	if (rc < 0) {
		json_decref(answer);
		fg_request_fail(req, &err);
	} else if (rc != FG_HTTP_LATER) {
		fg_request_reply(req, rc, answer);
	}
}

static void on_reply_sent(struct evhttp_request *ev, void *arg)
{
	struct connection *c = connection_of(ev);

	(void)arg;
	if (!c)
		return;
	replying_set(c, false);
	deadline_set(c, FG_HTTP_NEXT_MS);
}

static const char *bearer(struct evhttp_request *ev)
{
	const char *value = evhttp_find_header(evhttp_request_get_input_headers(ev), "Authorization");

	return value && !strncasecmp(value, "Bearer ", 7) ? value + 7 : NULL;
}

static void on_request(struct evhttp_request *ev, void *arg)
{
	struct fg_http *http = arg;
	struct connection *c = connection_of(ev);
	struct evbuffer *body = evhttp_request_get_input_buffer(ev);
	struct fg_request *req = fg_calloc(1, sizeof(*req));
	const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(ev);

	if (!c) { /* cannot be: the request came from it */
		free(req);
		evhttp_send_error(ev, HTTP_INTERNAL, NULL);
		return;
	}
	deadline_set(c, 0);
	replying_set(c, true);
	evhttp_request_set_on_complete_cb(ev, on_reply_sent, NULL);
	if (!c->peer_known) {
		fg_tls_peer(bufferevent_openssl_get_ssl(c->bev), &c->peer);
		c->peer_known = true;
	}
	req->ev = ev;
	req->http = http;
	req->peer = c->peer;
	req->token = bearer(ev);
	req->body_len = evbuffer_get_length(body);
	req->body = req->body_len ? (const char *)evbuffer_pullup(body, -1) : "";
	TAILQ_INIT(&req->query);
	const char *query = uri ? evhttp_uri_get_query(uri) : NULL;
	if (query && evhttp_parse_query_str(query, &req->query) < 0) {
		struct fg_error err = FG_ERROR_INIT;
		fg_error_set(&err, FG_EFORMAT, "malformed query");
		fg_request_fail(req, &err);
		return;
	}
	dispatch(req);
}

/* ---- the server ---- */

struct fg_http *fg_http_new(struct event_base *base, SSL_CTX *tls, const struct fg_route *routes, size_t connections,
			    void *ctx)
{
	static bool once;
	struct fg_http *http = fg_calloc(1, sizeof(*http));

	if (!once)
		connection_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, connection_free);
	once = true;
	http->base = base;
	http->tls = tls;
	http->routes = routes;
	http->ctx = ctx;
	http->connections_max = connections;
	http->ev = evhttp_new(base);
	if (!http->ev)
		abort();
	evhttp_set_bevcb(http->ev, on_connection, http);
	evhttp_set_gencb(http->ev, on_request, http);
	evhttp_set_allowed_methods(http->ev, METHODS);
	evhttp_set_max_headers_size(http->ev, FG_HTTP_HEADER_MAX);
	evhttp_set_max_body_size(http->ev, FG_PROTOCOL_BODY_MAX);
	evhttp_set_timeout(http->ev, FG_HTTP_STALL_S);
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

void fg_http_drain(struct fg_http *http, void (*done)(void *arg), void *arg)
{
	struct timeval tv = { FG_HTTP_DRAIN_MS / 1000, FG_HTTP_DRAIN_MS % 1000 * 1000 };

	if (http->drain)
		return;
	for (size_t i = 0; i < http->n_listeners; i++)
		evconnlistener_disable(http->listeners[i]);
	http->drained = done;
	http->drained_arg = arg;
	http->drain = evtimer_new(http->base, on_drained, http);
	if (!http->drain || event_add(http->drain, &tv) < 0)
		abort();
	drain_check(http);
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
	SSL_CTX_free(http->tls);
	free(http);
}

static int socket_open(const struct sockaddr *sa, socklen_t len, struct fg_error *err)
{
	int one = 1;
	fg_autoclose int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return fg_error_errno(err, FG_EIO, errno, "socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one)); /* inherited by what is accepted */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (sa->sa_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (bind(fd, sa, len) < 0 || listen(fd, SOMAXCONN) < 0)
		return fg_error_errno(err, FG_EIO, errno, "bind");
	return FG_TAKE_FD(fd);
}

static void bound_text(int fd, char bound[FG_HTTP_ADDRESS_TEXT])
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	char text[INET6_ADDRSTRLEN] = "?";

	memset(&ss, 0, sizeof(ss));
	if (getsockname(fd, (struct sockaddr *)&ss, &len) < 0)
		len = 0;
	if (ss.ss_family == AF_INET6) {
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&ss;
		evutil_inet_ntop(AF_INET6, &in6->sin6_addr, text, sizeof(text));
		snprintf(bound, FG_HTTP_ADDRESS_TEXT, "[%s]:%d", text, ntohs(in6->sin6_port));
	} else {
		struct sockaddr_in *in = (struct sockaddr_in *)&ss;
		evutil_inet_ntop(AF_INET, &in->sin_addr, text, sizeof(text));
		snprintf(bound, FG_HTTP_ADDRESS_TEXT, "%s:%d", text, ntohs(in->sin_port));
	}
}

/* evutil_parse_sockaddr_port(3) alone takes no port 0. */
static int address_parse(const char *address, struct sockaddr_storage *ss, int *len, struct fg_error *err)
{
	fg_autofree char *host = fg_strdup(address);
	char *colon = strrchr(host, ':'), *end = NULL;
	long port = -1;

	if (colon && (host[0] != '[' || colon[-1] == ']')) {
		*colon = '\0';
		port = strtol(colon + 1, &end, 10);
	}
	memset(ss, 0, sizeof(*ss));
	*len = sizeof(*ss);
	if (port < 0 || port > 65535 || end == colon + 1 || *end ||
	    evutil_parse_sockaddr_port(host, (struct sockaddr *)ss, len) < 0)
		return fg_error_set(err, FG_EUSAGE, "'%s' is no ADDRESS:PORT or [ADDRESS]:PORT", address);
	if (ss->ss_family == AF_INET6)
		((struct sockaddr_in6 *)ss)->sin6_port = htons((uint16_t)port);
	else
		((struct sockaddr_in *)ss)->sin_port = htons((uint16_t)port);
	return 0;
}

int fg_http_listen(struct fg_http *http, const char *address, char bound[FG_HTTP_ADDRESS_TEXT], struct fg_error *err)
{
	struct sockaddr_storage ss;
	int len = 0, rc = address_parse(address, &ss, &len, err);

	if (rc < 0)
		return rc;
	if (http->n_listeners == LISTENERS_MAX)
		return fg_error_set(err, FG_ELIMIT, "more than %d addresses to listen on", LISTENERS_MAX);
	int fd = socket_open((struct sockaddr *)&ss, (socklen_t)len, err);
	if (fd < 0)
		return fg_error_wrap(err, "cannot listen on %s", address);
	bound_text(fd, bound);
	struct evhttp_bound_socket *handle = evhttp_accept_socket_with_handle(http->ev, fd);
	if (!handle)
		abort();
	http->listeners[http->n_listeners++] = evhttp_bound_socket_get_listener(handle);
	return 0;
}
