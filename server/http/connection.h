/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Connections: what evhttp does not do for them.  Deadlines, limits, who is on the other end.
 *
 * A connection is half open until its first request is there.  When half of all connections are half open, or all are in
 * use, the oldest half-open one gives way to a new one: who only opens connections cannot shut others out.  Where none
 * is half open, the listeners rest.  One client (a certificate's name; without one an address) has at most per_client_max,
 * and asks at most so often (client.h).
 */
#ifndef FG_SERVER_CONNECTION_H
#define FG_SERVER_CONNECTION_H

#include "client.h"
#include "http.h"

#include <sys/queue.h>

#define LISTENERS_MAX 16

struct connection {
	TAILQ_ENTRY(connection) all, half;
	struct fg_http *http;
	struct bufferevent *bev;
	struct event *deadline;
	struct fg_peer peer;
	struct fg_client *client; /* NULL while half open */
	const struct fg_route *route; /* of the request that is being answered */
	int64_t began_us;
	bool half_open, replying, closing;
};

struct fg_http {
	struct fg_http_setup setup;
	struct evhttp *ev;
	struct evconnlistener *listeners[LISTENERS_MAX];
	size_t n_listeners, connections, n_half_open;
	TAILQ_HEAD(connections, connection) all;
	TAILQ_HEAD(half_open, connection) half_open; /* the oldest first */
	struct fg_clients clients;
	bool resting, patient; /* patient: the drain waits for half-open ones */
	bool over; /* freed but for the connections that libevent has not finalized yet */
	size_t replying; /* connections that owe a reply */
	struct event *drain; /* its deadline; not NULL while draining */
	void (*drained)(void *arg);
	void *drained_arg;
};

/* CLOCK_MONOTONIC. */
int64_t fg_http_now_us(void);
/* Frees http once it is over and its last connection has gone. */
void fg_http_release(struct fg_http *http);
/* Before the first connection. */
void fg_connection_setup(struct fg_http *http);
/* evhttp's callback for a new connection. */
struct bufferevent *fg_connection_new(struct event_base *base, void *http);
/* NULL if it has gone. */
struct connection *fg_connection_of(struct evhttp_request *ev);
/* A request is there: who is it?  LIMIT if the client has too many connections. */
int fg_connection_identify(struct connection *c, struct fg_error *err) FG_MUST_CHECK;
/* After it is known who it is: 0 if the client may ask now, or after how many microseconds it may. */
int64_t fg_connection_rate(struct connection *c) FG_MUST_CHECK;
/* 0: none. */
void fg_connection_deadline(struct connection *c, int ms);
void fg_connection_replying(struct connection *c, bool replying);
/* evhttp sees the end of the stream and cleans up, in a later turn of the loop. */
void fg_connection_close(struct connection *c);
/* Ends the drain when nobody is owed a reply. */
void fg_connection_drain_check(struct fg_http *http);

#endif
