/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One client connection of the load driver: TCP, TLS with a client certificate, HTTP/1.1, one request at a time.
 *
 *	fg_load_conn_open -> ready() -> fg_load_conn_send -> reply() -> fg_load_conn_send … -> fg_load_conn_close
 *
 * Straight on OpenSSL over a non-blocking socket, with libevent for readiness only: what the driver costs should be little.
 */
#ifndef FG_LOAD_CONN_H
#define FG_LOAD_CONN_H

#include <event2/event.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#define FG_LOAD_BODY_KEPT 4096 /* of a reply's body, for looking at it */

struct fg_load_conn;

struct fg_load_reply {
	int status;
	uint64_t bytes; /* of the body */
	const char *body; /* its first FG_LOAD_BODY_KEPT bytes, NUL-terminated */
};

struct fg_load_calls {
	/* The connection can take a request (again, after each reply). */
	void (*reply)(struct fg_load_conn *c, const struct fg_load_reply *reply); /* NULL reply: TLS is up */
	/* It ended; why is for people.  Only fg_load_conn_close may follow. */
	void (*failed)(struct fg_load_conn *c, const char *why);
	/* Bytes of a body have come. */
	void (*bytes)(struct fg_load_conn *c, size_t n);
};

struct fg_load_conn {
	void *arg; /* the caller's */
	/* private */
	struct event_base *base;
	const struct fg_load_calls *calls;
	struct event *readable, *writable;
	SSL *ssl;
	int fd;
	bool up, sending;
	char *out; /* borrowed while sending */
	size_t out_len;
	char head[8192];
	size_t head_len;
	bool in_body;
	uint64_t body_left;
	struct fg_load_reply reply;
	char kept[FG_LOAD_BODY_KEPT + 1];
	size_t kept_len;
};

/* cert and key may be NULL: no client certificate.  Failures come by failed(), in a later turn of the loop too. */
void fg_load_conn_open(struct fg_load_conn *c, SSL_CTX *ctx, X509 *cert, EVP_PKEY *key, const struct sockaddr *to,
		       socklen_t to_len);
/* request stays the caller's and must live until the reply. */
void fg_load_conn_send(struct fg_load_conn *c, char *request, size_t len);
void fg_load_conn_close(struct fg_load_conn *c);

#endif
