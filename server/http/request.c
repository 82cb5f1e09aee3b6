/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Replies. */
#include "request.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_struct.h>
#include <inttypes.h>
#include <lib/log.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#define RETRY_AFTER_S 2
#define RECORD_BYTES 16384 /* of TLS, at most */
/*
 * With libevent's head of a buffer 64 KiB: that comes from the heap and is there again for the next.  Larger ones are mapped
 * anew each time, and with many downloads no longer fit the processor's cache: 256 KiB cost half as much again.
 */
#define SLICE_BYTES (65536u - 64)

int fg_http_status(int code, int authenticated)
{
	switch ((enum fg_error_code)code) {
	case FG_EUSAGE:
	case FG_EFORMAT:
		return 400;
	case FG_ENOTFOUND:
		return 404;
	case FG_EREFUSED:
	case FG_EDIFFERS:
	case FG_EEXISTS:
	case FG_EHELD:
		return 409;
	case FG_ENOTALLOWED:
		return authenticated ? 403 : 401;
	case FG_EUNTRUSTED:
		return 422;
	case FG_ELIMIT:
		return 413;
	case FG_EUNREACHABLE:
	case FG_ETIMEOUT:
	case FG_ECANCELED:
		return 503;
	case FG_EOK:
	case FG_EFAILED:
	case FG_EIO:
	case FG_ENOMEM:
	case FG_EBUG:
		return 500;
	}
	return 500;
}

static void request_free(struct fg_request *req)
{
	evhttp_clear_headers(&req->query);
	free(req);
}

void fg_request_header(struct fg_request *req, const char *name, const char *fmt, ...)
{
	char value[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(value, sizeof(value), fmt, ap);
	va_end(ap);
	evhttp_add_header(evhttp_request_get_output_headers(req->ev), name, value);
}

const char *fg_request_get_header(const struct fg_request *req, const char *name)
{
	return evhttp_find_header(evhttp_request_get_input_headers(req->ev), name);
}

const char *fg_request_query(const struct fg_request *req, const char *key)
{
	return evhttp_find_header(&req->query, key);
}

int fg_request_query_int(const struct fg_request *req, const char *key, int64_t min, int64_t max, int64_t fallback,
			 int64_t *out, struct fg_error *err)
{
	const char *text = fg_request_query(req, key);
	char *end = NULL;

	if (!text) {
		*out = fallback;
		return 0;
	}
	errno = 0;
	long long n = strtoll(text, &end, 10);
	if (errno || end == text || *end || n < min || n > max)
		return fg_error_set(err, FG_EFORMAT, "'%s' must be a number from %" PRId64 " to %" PRId64, key, min,
				    max);
	*out = n;
	return 0;
}

static void close_if_draining(struct fg_request *req)
{
	if (fg_http_is_draining(req->http))
		fg_request_header(req, "Connection", "close");
}

void fg_request_empty(struct fg_request *req, int status)
{
	close_if_draining(req);
	evhttp_send_reply(req->ev, status, NULL, NULL);
	request_free(req);
}

void fg_request_reply(struct fg_request *req, int status, json_t *answer)
{
	static const char broken[] = "{\"error\":{\"code\":\"bug\",\"text\":\"the server failed; its log says why\"}}";
	fg_autofree char *text = NULL;

	if (answer) {
		text = fg_json_dump(answer);
	} else { /* json_pack refuses what is no UTF-8 */
		fg_log_err("peer=%s %s: the answer cannot be put together", req->peer.name,
			   evhttp_request_get_uri(req->ev));
		text = fg_strdup(broken);
		if (status < 400)
			status = HTTP_INTERNAL;
	}
	json_decref(answer);
	fg_request_text(req, status, "application/json", text);
}

/*
 * Head and body as one TLS record, one write and one segment: libevent makes a record of each piece.  And written in this turn of
 * the loop, as if epoll had said that there is room, which there nearly always is: then epoll need not be asked for it, nor told
 * twice what is waited for.
 */
static void send_now(struct evhttp_connection *evcon)
{
	struct bufferevent *bev = evhttp_connection_get_bufferevent(evcon);
	struct evbuffer *out = bufferevent_get_output(bev);

	if (evbuffer_get_length(out) <= RECORD_BYTES)
		evbuffer_pullup(out, -1);
	event_active(&bev->ev_write, EV_WRITE, 1);
}

void fg_request_text(struct fg_request *req, int status, const char *type, const char *text)
{
	struct evbuffer *out = evbuffer_new();

	fg_request_header(req, "Content-Type", "%s", type);
	fg_request_header(req, "Cache-Control", "no-store");
	close_if_draining(req);
	bool head = evhttp_request_get_command(req->ev) == EVHTTP_REQ_HEAD;
	if (head && text) /* the length that GET would have, and nothing else (RFC 9110, 9.3.2) */
		fg_request_header(req, "Content-Length", "%zu", strlen(text));
	if (!out || (text && !head && evbuffer_add(out, text, strlen(text)) < 0))
		abort();
	struct evhttp_connection *evcon = evhttp_request_get_connection(req->ev);
	evhttp_send_reply(req->ev, status, NULL, out);
	if (evcon && !head)
		send_now(evcon);
	evbuffer_free(out);
	request_free(req);
}

void fg_request_fail(struct fg_request *req, const struct fg_error *err)
{
	int status = fg_http_status(err->code, req->peer.role != FG_ROLE_NOBODY);
	bool ours = status == 500;

	if (ours || err->code == FG_ETIMEOUT)
		fg_log_err("peer=%s %s: %s", req->peer.name, evhttp_request_get_uri(req->ev), err->text);
	else
		fg_log_debug("peer=%s %s: %d %s", req->peer.name, evhttp_request_get_uri(req->ev), status, err->text);
	if (status == 401)
		fg_request_header(req, "WWW-Authenticate", "Bearer");
	if (status == HTTP_SERVUNAVAIL)
		fg_request_header(req, "Retry-After", "%d", RETRY_AFTER_S);
	/* What went wrong inside is for the log, not for the peer. */
	fg_request_reply(req, status,
			 json_pack("{s:{s:s, s:s}}", "error", "code", fg_error_name(err->code), "text",
				   ours ? "the server failed; its log says why" : err->text));
}

/* ---- files ---- */

struct stream {
	struct evhttp_request *ev;
	struct evhttp_connection *evcon; /* NULL once it is gone */
	int fd;
	bool aborting; /* on_abort will come and free this */
	uint64_t offset, left;
};

static void stream_free(struct stream *s)
{
	close(s->fd);
	free(s);
}

static void on_gone(struct evhttp_connection *evcon, void *arg)
{
	struct stream *s = arg;

	(void)evcon;
	s->evcon = NULL;
	/* evhttp leaves a request that was being answered to us when the peer went away. */
	if (!evhttp_request_get_connection(s->ev))
		evhttp_send_reply_end(s->ev);
	if (!s->aborting)
		stream_free(s);
}

/* In a turn of the loop of its own: a connection must not be freed below one of its callbacks. */
static void on_abort(evutil_socket_t fd, short what, void *arg)
{
	struct stream *s = arg;

	(void)fd, (void)what;
	if (s->evcon)
		evhttp_connection_free(s->evcon); /* calls on_gone */
	stream_free(s);
}

static int slice_read(struct stream *s, struct evbuffer *out)
{
	struct evbuffer_iovec v;
	size_t want = s->left < SLICE_BYTES ? (size_t)s->left : SLICE_BYTES;

	if (evbuffer_reserve_space(out, (ev_ssize_t)want, &v, 1) != 1)
		return -1;
	ssize_t n = pread(s->fd, v.iov_base, want, (off_t)s->offset);
	if (n <= 0)
		return -1;
	v.iov_len = (size_t)n;
	s->offset += (uint64_t)n;
	s->left -= (uint64_t)n;
	return evbuffer_commit_space(out, &v, 1);
}

/* The connection has room for the next slice. */
static void on_room(struct evhttp_connection *evcon, void *arg)
{
	struct stream *s = arg;
	struct timeval now = { 0, 0 };

	if (s->left == 0) {
		struct evhttp_request *ev = s->ev;
		evhttp_connection_set_closecb(evcon, NULL, NULL);
		stream_free(s);
		evhttp_send_reply_end(ev);
		return;
	}
	struct evbuffer *out = evbuffer_new();
	if (!out)
		abort();
	if (slice_read(s, out) < 0) {
		/* The length is promised already: all that can be said is to end the connection short of it. */
		fg_log_err("reading a blob failed at %" PRIu64 ": %s", s->offset, strerror(errno));
		s->aborting = true;
		event_base_once(evhttp_connection_get_base(evcon), -1, EV_TIMEOUT, on_abort, s, &now);
	} else {
		evhttp_send_reply_chunk_with_cb(s->ev, out, on_room, s);
	}
	evbuffer_free(out);
}

void fg_request_file(struct fg_request *req, int status, int fd, uint64_t offset, uint64_t length)
{
	struct evhttp_request *ev = req->ev;
	struct evhttp_connection *evcon = evhttp_request_get_connection(ev);
	bool head = evhttp_request_get_command(ev) == EVHTTP_REQ_HEAD;

	fg_request_header(req, "Content-Length", "%" PRIu64, length);
	fg_request_header(req, "Content-Type", "application/octet-stream");
	close_if_draining(req);
	request_free(req);
	evhttp_send_reply_start(ev, status, NULL);
	if (head || !length || !evcon) {
		close(fd);
		evhttp_send_reply_end(ev);
		return;
	}
	struct stream *s = fg_calloc(1, sizeof(*s));
	*s = (struct stream){ .ev = ev, .evcon = evcon, .fd = fd, .offset = offset, .left = length };
	evhttp_connection_set_closecb(evcon, on_gone, s);
	on_room(evcon, s);
}
