/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "frame.h"
#include "util.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define LENGTH_BYTES 4u
#define READ_BYTES 65536 /* of one turn of the loop, so that a busy peer does not starve the others */
#define WRITE_VECTORS 16

struct fg_frame {
	int fd;
	struct fg_frame_events events;
	struct event *readable, *writable;
	struct evbuffer *in, *out;
	bool closed; /* told, or about to be */
	bool broken; /* the peer takes nothing more; what it sent before is still read */
	bool *freed; /* set while a callback runs: tells the caller of it that the frame is gone */
};

/* Runs the callback; false if it freed the frame. */
static bool tell_message(struct fg_frame *f, const json_t *message)
{
	bool freed = false;

	/* cppcheck-suppress autoVariables ; it is taken back below */
	f->freed = &freed;
	f->events.message(f->events.arg, f, message);
	if (!freed)
		f->freed = NULL;
	return !freed;
}

static void tell_closed(struct fg_frame *f, const struct fg_error *err)
{
	f->closed = true;
	event_del(f->readable);
	event_del(f->writable);
	f->events.closed(f->events.arg, f, err);
}

/* 1: *out is a message; 0: not complete yet. */
static int take_message(struct fg_frame *f, json_t **out, struct fg_error *err)
{
	uint8_t head[LENGTH_BYTES];
	fg_autojson json_t *value = NULL;
	size_t have = evbuffer_get_length(f->in), len;
	int rc;

	if (have < LENGTH_BYTES)
		return 0;
	evbuffer_copyout(f->in, head, LENGTH_BYTES);
	len = (size_t)head[0] << 24 | (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3];
	if (len > FG_FRAME_MAX)
		return fg_error_set(err, FG_ELIMIT, "message of %zu bytes, at most %u are taken", len, FG_FRAME_MAX);
	if (have < LENGTH_BYTES + len)
		return 0;
	evbuffer_drain(f->in, LENGTH_BYTES);

	const unsigned char *text = len ? evbuffer_pullup(f->in, (ev_ssize_t)len) : (const unsigned char *)"";
	if (!text)
		return fg_error_set(err, FG_ENOMEM, "message of %zu bytes: out of memory", len);
	rc = fg_json_parse((const char *)text, len, &value, err);
	if (rc < 0)
		return rc;
	if (!json_is_object(value))
		return fg_error_set(err, FG_EFORMAT, "message is no JSON object");
	evbuffer_drain(f->in, len);
	*out = FG_TAKE(value);
	return 1;
}

/* Delivers what is complete; false: the frame is closed or gone. */
static bool deliver(struct fg_frame *f)
{
	for (;;) {
		fg_autojson json_t *message = NULL;
		struct fg_error err = FG_ERROR_INIT;
		int rc = take_message(f, &message, &err);

		if (rc == 0)
			return true;
		if (rc < 0) {
			tell_closed(f, &err);
			return false;
		}
		if (!tell_message(f, message))
			return false;
	}
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct fg_frame *f = arg;
	struct fg_error err = FG_ERROR_INIT;
	int n = evbuffer_read(f->in, fd, READ_BYTES);
	int sys = errno;

	(void)what;
	if (n < 0 && (sys == EAGAIN || sys == EINTR))
		return;
	if (n > 0) {
		deliver(f);
		return;
	}
	/* ECONNRESET: a unix socket's peer closed with bytes of ours unread (unix(7)): an end like any other. */
	if (n < 0 && sys != ECONNRESET)
		fg_error_errno(&err, FG_EIO, sys, "read");
	else if (evbuffer_get_length(f->in))
		fg_error_set(&err, FG_EFORMAT, "the peer closed inside a message");
	tell_closed(f, &err);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct fg_frame *f = arg;
	struct evbuffer_iovec vec[WRITE_VECTORS];
	struct iovec iov[WRITE_VECTORS];
	struct msghdr msg = { .msg_iov = iov };
	int n = evbuffer_peek(f->out, -1, NULL, vec, WRITE_VECTORS);

	(void)what;
	for (int i = 0; i < n && i < WRITE_VECTORS; i++) {
		iov[i].iov_base = vec[i].iov_base;
		iov[i].iov_len = vec[i].iov_len;
		msg.msg_iovlen++;
	}
	/* sendmsg and not writev: MSG_NOSIGNAL, a library does not change what SIGPIPE does. */
	ssize_t sent = sendmsg(fd, &msg, MSG_NOSIGNAL);
	if (sent < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (sent < 0) {
		f->broken = true; /* the reading side tells it, after what the peer still said */
		evbuffer_drain(f->out, evbuffer_get_length(f->out));
	} else {
		evbuffer_drain(f->out, (size_t)sent);
	}
	if (evbuffer_get_length(f->out) == 0)
		event_del(f->writable);
}

int fg_frame_new(struct event_base *base, int fd, const struct fg_frame_events *events, struct fg_frame **out,
		 struct fg_error *err)
{
	struct fg_frame *f = fg_calloc(1, sizeof(*f));

	f->fd = fd;
	f->events = *events;
	f->in = evbuffer_new();
	f->out = evbuffer_new();
	f->readable = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, f);
	f->writable = event_new(base, fd, EV_WRITE | EV_PERSIST, on_writable, f);
	if (!f->in || !f->out || !f->readable || !f->writable)
		abort();
	if (evutil_make_socket_nonblocking(fd) < 0 || evutil_make_socket_closeonexec(fd) < 0 ||
	    event_add(f->readable, NULL) < 0) {
		int rc = fg_error_errno(err, FG_EIO, errno, "message socket");
		fg_frame_free(f);
		return rc;
	}
	*out = f;
	return 0;
}

int fg_frame_send(struct fg_frame *frame, const json_t *message, struct fg_error *err)
{
	fg_autofree char *text = NULL;
	uint8_t head[LENGTH_BYTES];
	size_t len;

	if (frame->closed || frame->broken)
		return fg_error_set(err, FG_EIO, "the peer is gone");
	text = fg_json_dump(message);
	len = strlen(text);
	if (len > FG_FRAME_MAX)
		return fg_error_set(err, FG_ELIMIT, "message of %zu bytes, at most %u are sent", len, FG_FRAME_MAX);
	if (evbuffer_get_length(frame->out) + LENGTH_BYTES + len > FG_FRAME_QUEUE_MAX)
		return fg_error_set(err, FG_ELIMIT, "the peer does not read: %zu bytes wait for it",
				    evbuffer_get_length(frame->out));
	for (unsigned i = 0; i < LENGTH_BYTES; i++)
		head[i] = (uint8_t)(len >> (8 * (LENGTH_BYTES - 1 - i)));
	if (evbuffer_add(frame->out, head, LENGTH_BYTES) < 0 || evbuffer_add(frame->out, text, len) < 0 ||
	    event_add(frame->writable, NULL) < 0)
		abort(); /* half a message must never go out */
	return 0;
}

void fg_frame_free(struct fg_frame *frame)
{
	if (!frame)
		return;
	if (frame->freed)
		*frame->freed = true;
	event_free(frame->readable);
	event_free(frame->writable);
	evbuffer_free(frame->in);
	evbuffer_free(frame->out);
	close(frame->fd);
	free(frame);
}

int fg_frame_peer(const struct fg_frame *frame, unsigned *uid, unsigned *gid, int *pid, struct fg_error *err)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(frame->fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return fg_error_errno(err, FG_EIO, errno, "credentials of the peer");
	*uid = cred.uid;
	*gid = cred.gid;
	*pid = cred.pid;
	return 0;
}
