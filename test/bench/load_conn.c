/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "load_conn.h"

#include <errno.h>
#include <lib/util.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define READ_BYTES 65536
#define TURN_BYTES (8 * READ_BYTES) /* then the others have their turn */

static void advance(struct fg_load_conn *c);

static void on_ready(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	advance(arg);
}

static void fail(struct fg_load_conn *c, const char *why)
{
	unsigned long code = ERR_peek_error();
	const char *reason = code ? ERR_reason_error_string(code) : NULL;

	event_del(c->readable);
	event_del(c->writable);
	ERR_clear_error();
	c->calls->failed(c, reason ? reason : why);
}

/* What OpenSSL waits for; false: the connection is over. */
static bool again(struct fg_load_conn *c, int rc, const char *doing)
{
	switch (SSL_get_error(c->ssl, rc)) {
	case SSL_ERROR_WANT_READ:
		return true;
	case SSL_ERROR_WANT_WRITE:
		event_add(c->writable, NULL);
		return true;
	case SSL_ERROR_ZERO_RETURN:
		fail(c, "closed by the server");
		return false;
	case SSL_ERROR_SYSCALL:
		fail(c, errno ? strerror(errno) : doing);
		return false;
	default:
		fail(c, doing);
		return false;
	}
}

/* "Content-Length: N" and the status of a complete head. */
static bool head_parse(struct fg_load_conn *c)
{
	static const char version[] = "HTTP/1.1 ";
	const char *line = c->head;
	bool length = false;

	if (strncmp(line, version, sizeof(version) - 1) != 0)
		return false;
	c->reply.status = (int)strtol(line + sizeof(version) - 1, NULL, 10);
	if (c->reply.status < 100 || c->reply.status > 599)
		return false;
	c->body_left = 0;
	while ((line = strstr(line, "\r\n"))) {
		line += 2;
		if (!strncasecmp(line, "Content-Length:", 15)) {
			c->body_left = strtoull(line + 15, NULL, 10);
			length = true;
		}
	}
	c->reply.bytes = c->body_left;
	return length || c->reply.status == 204;
}

static void body_take(struct fg_load_conn *c, const char *data, size_t n)
{
	size_t room = FG_LOAD_BODY_KEPT - c->kept_len, keep = n < room ? n : room;

	memcpy(c->kept + c->kept_len, data, keep);
	c->kept_len += keep;
	c->kept[c->kept_len] = '\0';
	c->body_left -= n;
	if (c->calls->bytes)
		c->calls->bytes(c, n);
}

/* false: it failed, or the reply was taken and the connection may be another now. */
static bool data_take(struct fg_load_conn *c, const char *data, size_t n)
{
	if (!c->in_body) {
		size_t room = sizeof(c->head) - 1 - c->head_len, take = n < room ? n : room;
		memcpy(c->head + c->head_len, data, take);
		c->head[c->head_len + take] = '\0';
		const char *end = strstr(c->head, "\r\n\r\n");
		if (!end) {
			c->head_len += take;
			if (take == n)
				return true;
			fail(c, "the reply's head is too long");
			return false;
		}
		size_t used = (size_t)(end + 4 - c->head) - c->head_len;
		c->head[c->head_len + used] = '\0';
		if (!head_parse(c)) {
			fail(c, "no HTTP/1.1 reply with a length");
			return false;
		}
		c->in_body = true;
		data += used;
		n -= used;
	}
	if (n > c->body_left) {
		fail(c, "more than the reply's length");
		return false;
	}
	body_take(c, data, n);
	if (c->body_left > 0)
		return true;
	c->in_body = false;
	c->head_len = 0;
	c->sending = false;
	c->reply.body = c->kept;
	c->calls->reply(c, &c->reply);
	return false;
}

static void receive(struct fg_load_conn *c)
{
	static char buf[READ_BYTES];
	size_t turn = 0;

	while (turn < TURN_BYTES) {
		int n = SSL_read(c->ssl, buf, sizeof(buf));
		if (n <= 0) {
			again(c, n, "reading");
			return;
		}
		turn += (size_t)n;
		if (!data_take(c, buf, (size_t)n))
			return;
	}
	event_active(c->readable, EV_READ, 0);
}

static void advance(struct fg_load_conn *c)
{
	int rc;

	errno = 0;
	if (!c->up) {
		rc = SSL_connect(c->ssl);
		if (rc != 1) {
			again(c, rc, "TLS handshake");
			return;
		}
		c->up = true;
		c->calls->reply(c, NULL);
		return;
	}
	if (c->out_len > 0) {
		rc = SSL_write(c->ssl, c->out, (int)c->out_len);
		if (rc <= 0) {
			again(c, rc, "writing");
			return;
		}
		c->out_len = 0;
		return; /* the reply makes it readable */
	}
	receive(c);
}

void fg_load_conn_send(struct fg_load_conn *c, char *request, size_t len)
{
	c->out = request;
	c->out_len = len;
	c->kept_len = 0;
	c->sending = true;
	advance(c);
}

void fg_load_conn_open(struct fg_load_conn *c, SSL_CTX *ctx, X509 *cert, EVP_PKEY *key, const struct sockaddr *to,
		       socklen_t to_len)
{
	int one = 1;

	c->up = c->in_body = c->sending = false;
	c->head_len = c->out_len = 0;
	c->fd = socket(to->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	c->ssl = SSL_new(ctx);
	if (c->fd < 0 || !c->ssl) {
		perror("load_driver: socket");
		exit(2);
	}
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (cert && (SSL_use_certificate(c->ssl, cert) != 1 || SSL_use_PrivateKey(c->ssl, key) != 1))
		abort();
	SSL_set_fd(c->ssl, c->fd);
	c->readable = event_new(c->base, c->fd, EV_READ | EV_PERSIST, on_ready, c);
	c->writable = event_new(c->base, c->fd, EV_WRITE, on_ready, c);
	if (!c->readable || !c->writable)
		abort();
	event_add(c->readable, NULL);
	event_add(c->writable, NULL);
	if (connect(c->fd, to, to_len) < 0 && errno != EINPROGRESS) {
		perror("load_driver: connect");
		exit(2);
	}
}

void fg_load_conn_close(struct fg_load_conn *c)
{
	if (!c->ssl)
		return;
	event_free(c->readable);
	event_free(c->writable);
	SSL_shutdown(c->ssl);
	ERR_clear_error();
	SSL_free(c->ssl);
	close(c->fd);
	c->ssl = NULL;
}
