/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "connection.h"
#include "request.h"

#include <errno.h>
#include <event2/bufferevent_ssl.h>
#include <event2/listener.h>
#include <inttypes.h>
#include <lib/log.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

static int connection_index = -1; /* of SSL_get_ex_data */

int64_t fg_http_now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

/* ---- clients ---- */

static void address_text(const struct connection *c, char out[FG_CLIENT_ADDRESS])
{
	struct sockaddr_storage ss = { .ss_family = AF_UNSPEC };
	socklen_t len = sizeof(ss);

	if (getpeername(bufferevent_getfd(c->bev), (struct sockaddr *)&ss, &len) < 0)
		ss.ss_family = AF_UNSPEC;
	fg_client_address(&ss, out);
}

static void client_key(const struct connection *c, char *key, size_t size)
{
	const char *role = fg_tls_role_name(c->peer.role);
	char address[FG_CLIENT_ADDRESS];

	if (role) {
		snprintf(key, size, "%s/%s", role, c->peer.name);
		return;
	}
	address_text(c, address);
	snprintf(key, size, "-/%s", address);
}

/* ---- limits ---- */

static void listeners_rest(struct fg_http *http, bool rest)
{
	if (http->resting == rest || http->drain)
		return;
	http->resting = rest;
	if (rest)
		fg_log_warn("all %zu connections are in use: new ones wait", http->setup.connections_max);
	for (size_t i = 0; i < http->n_listeners; i++) {
		if (rest)
			evconnlistener_disable(http->listeners[i]);
		else
			evconnlistener_enable(http->listeners[i]);
	}
}

static void half_open_end(struct connection *c)
{
	if (!c->half_open)
		return;
	c->half_open = false;
	TAILQ_REMOVE(&c->http->half_open, c, half);
	c->http->n_half_open--;
	c->http->setup.metrics->half_open--;
	fg_connection_drain_check(c->http);
}

/* After a new connection was counted. */
static void make_room(struct fg_http *http)
{
	struct connection *oldest = TAILQ_FIRST(&http->half_open);
	size_t max = http->setup.connections_max;

	if (http->connections < max && http->n_half_open <= max / 2 + 1)
		return;
	if (oldest && TAILQ_NEXT(oldest, half)) { /* not the new one itself */
		half_open_end(oldest);
		http->setup.metrics->gave_way++;
		fg_connection_close(oldest);
	} else if (http->connections >= max) {
		listeners_rest(http, true);
	}
}

/* ---- life ---- */

void fg_connection_close(struct connection *c)
{
	c->closing = true;
	shutdown(bufferevent_getfd(c->bev), SHUT_RDWR);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	fg_connection_close(arg);
}

void fg_connection_deadline(struct connection *c, int ms)
{
	struct timeval tv = { ms / 1000, ms % 1000 * 1000 };

	if (ms)
		event_add(c->deadline, &tv);
	else
		event_del(c->deadline);
}

void fg_connection_drain_check(struct fg_http *http)
{
	struct timeval now = { 0, 0 };

	if (http->drain && http->replying == 0 && (!http->patient || http->n_half_open == 0))
		event_add(http->drain, &now);
}

void fg_connection_replying(struct connection *c, bool replying)
{
	if (c->replying == replying)
		return;
	c->replying = replying;
	c->http->replying += replying ? 1 : (size_t)-1;
	fg_connection_drain_check(c->http);
}

/* With its SSL object. */
static void connection_free(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp)
{
	struct connection *c = ptr;

	(void)parent, (void)ad, (void)idx, (void)argl, (void)argp;
	if (!c)
		return;
	struct fg_http *http = c->http;
	fg_connection_replying(c, false);
	if (!c->client)
		http->setup.metrics->no_request++;
	half_open_end(c);
	fg_clients_put(&http->clients, c->client, fg_http_now_us());
	TAILQ_REMOVE(&http->all, c, all);
	http->connections--;
	http->setup.metrics->connections--;
	listeners_rest(http, false);
	event_free(c->deadline);
	free(c);
	if (http->over)
		fg_http_release(http);
}

/*
 * The first message of a TLS handshake, before anything costly is done for it: an address may not ask for too many
 * handshakes.  (SSL_CTX_set_client_hello_cb(3))
 */
static int on_hello(SSL *ssl, int *alert, void *arg)
{
	struct fg_http *http = arg;
	const struct connection *c = SSL_get_ex_data(ssl, connection_index);
	char key[96], address[FG_CLIENT_ADDRESS];

	if (!c)
		return SSL_CLIENT_HELLO_SUCCESS;
	address_text(c, address);
	snprintf(key, sizeof(key), "hello/%s", address);
	struct fg_client *client = fg_clients_get(&http->clients, key);
	int64_t now_us = fg_http_now_us(), wait_us = fg_rate_take(&http->setup.handshakes, &client->full_us, now_us);
	if (wait_us && !client->told_fast)
		fg_log_warn("peer=%s asks for more than %" PRId64 " handshakes a second: more are refused", address,
			    http->setup.handshakes.per_s);
	client->told_fast = wait_us > 0;
	fg_clients_put(&http->clients, client, now_us);
	if (!wait_us)
		return SSL_CLIENT_HELLO_SUCCESS;
	http->setup.metrics->handshakes_limited++;
	*alert = SSL_AD_USER_CANCELLED;
	return SSL_CLIENT_HELLO_ERROR;
}

void fg_connection_setup(struct fg_http *http)
{
	if (connection_index < 0)
		connection_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, connection_free);
	if (http->setup.handshakes.per_s > 0)
		SSL_CTX_set_client_hello_cb(http->setup.tls, on_hello, http);
}

struct bufferevent *fg_connection_new(struct event_base *base, void *arg)
{
	struct fg_http *http = arg;
	struct connection *c = fg_calloc(1, sizeof(*c));
	SSL *ssl = SSL_new(http->setup.tls);

	if (!ssl)
		abort(); /* out of memory; evhttp would go on without TLS */
	c->http = http;
	c->deadline = evtimer_new(base, on_deadline, c);
	c->bev = bufferevent_openssl_socket_new(base, -1, ssl, BUFFEREVENT_SSL_ACCEPTING, BEV_OPT_CLOSE_ON_FREE);
	if (!c->deadline || !c->bev || !SSL_set_ex_data(ssl, connection_index, c))
		abort();
	bufferevent_openssl_set_allow_dirty_shutdown(c->bev, 1);
	fg_connection_deadline(c, http->setup.first_s * 1000);
	TAILQ_INSERT_TAIL(&http->all, c, all);
	TAILQ_INSERT_TAIL(&http->half_open, c, half);
	c->half_open = true;
	http->n_half_open++;
	http->connections++;
	http->setup.metrics->accepted++;
	http->setup.metrics->connections++;
	http->setup.metrics->half_open++;
	make_room(http);
	return c->bev;
}

struct connection *fg_connection_of(struct evhttp_request *ev)
{
	struct evhttp_connection *evcon = evhttp_request_get_connection(ev);

	if (!evcon)
		return NULL;
	return SSL_get_ex_data(bufferevent_openssl_get_ssl(evhttp_connection_get_bufferevent(evcon)), connection_index);
}

int fg_connection_identify(struct connection *c, struct fg_error *err)
{
	struct fg_http *http = c->http;
	char key[96];

	if (!c->client) {
		half_open_end(c);
		fg_tls_peer(bufferevent_openssl_get_ssl(c->bev), &c->peer);
		client_key(c, key, sizeof(key));
		c->client = fg_clients_get(&http->clients, key);
	}
	if (c->client->n <= http->setup.per_client_max) {
		c->client->told_many = false;
		return 0;
	}
	if (!c->client->told_many)
		fg_log_warn("peer=%s has more than %zu connections: more are refused", c->client->key,
			    http->setup.per_client_max);
	c->client->told_many = true;
	http->setup.metrics->over_limit++;
	return fg_error_set(err, FG_ELIMIT, "more than %zu connections of one client", http->setup.per_client_max);
}

int64_t fg_connection_rate(struct connection *c)
{
	struct fg_http *http = c->http;
	int64_t wait_us = fg_rate_take(&http->setup.requests, &c->client->full_us, fg_http_now_us());

	if (!wait_us) {
		c->client->told_fast = false;
		return 0;
	}
	if (!c->client->told_fast)
		fg_log_warn("peer=%s asks more than %" PRId64 " times a second: more is refused", c->client->key,
			    http->setup.requests.per_s);
	c->client->told_fast = true;
	http->setup.metrics->rate_limited++;
	return wait_us;
}
