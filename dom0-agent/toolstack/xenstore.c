/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "dom0-agent/toolstack/xenstore.h"

#include "lib/log.h"
#include "lib/util.h"

#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <string.h>
#include <sys/queue.h>
#include <xenstore.h>

struct fg_xs_watch {
	LIST_ENTRY(fg_xs_watch) link;
	struct fg_xs *xs;
	char *path;
	char token[32]; /* a number that is never used twice: a late event cannot hit another watch */
	fg_xs_watch_cb *cb;
	void *arg;
};

struct fg_xs {
	struct event_base *base;
	struct xs_handle *handle;
	struct event *ev;
	uint64_t next_token;
	LIST_HEAD(fg_xs_watch_list, fg_xs_watch) watches;
};

static void watch_ready(evutil_socket_t fd, short what, void *arg)
{
	struct fg_xs *xs = arg;

	(void)fd;
	(void)what;
	/* One event a turn: a callback may close the connection, and the descriptor stays readable. */
	char **got = xs_check_watch(xs->handle);
	if (!got) {
		if (errno != EAGAIN)
			fg_log_warn("xenstore: cannot read watches: %s", strerror(errno));
		return;
	}
	struct fg_xs_watch *watch;
	LIST_FOREACH (watch, &xs->watches, link)
		if (!strcmp(watch->token, got[XS_WATCH_TOKEN]))
			break;
	free(got);
	if (watch)
		watch->cb(watch->arg);
}

int fg_xs_open(struct event_base *base, struct fg_xs **out, struct fg_error *err)
{
	struct xs_handle *handle = xs_open(0);

	if (!handle)
		return fg_error_errno(err, FG_EUNREACHABLE, errno, "xenstore: cannot connect");
	struct fg_xs *xs = fg_calloc(1, sizeof(*xs));
	xs->base = base;
	xs->handle = handle;
	xs->ev = event_new(base, xs_fileno(handle), EV_READ | EV_PERSIST, watch_ready, xs);
	if (!xs->ev || event_add(xs->ev, NULL) < 0) {
		fg_xs_close(xs);
		return fg_error_set(err, FG_EFAILED, "xenstore: cannot watch its descriptor");
	}
	*out = xs;
	return 0;
}

void fg_xs_close(struct fg_xs *xs)
{
	struct fg_xs_watch *watch, *next;

	if (!xs)
		return;
	for (watch = LIST_FIRST(&xs->watches); watch; watch = next) {
		next = LIST_NEXT(watch, link);
		fg_xs_unwatch(watch);
	}
	if (xs->ev)
		event_free(xs->ev);
	xs_close(xs->handle);
	free(xs);
}

struct event_base *fg_xs_base(struct fg_xs *xs)
{
	return xs->base;
}

static int path_format(char out[FG_XS_VALUE_MAX], const char *fmt, va_list ap, struct fg_error *err)
{
	int n = vsnprintf(out, FG_XS_VALUE_MAX, fmt, ap);
	return n < 0 || n >= FG_XS_VALUE_MAX ? fg_error_set(err, FG_ELIMIT, "xenstore: path too long") : 0;
}

int fg_xs_read(struct fg_xs *xs, char **out, struct fg_error *err, const char *fmt, ...)
{
	char path[FG_XS_VALUE_MAX];
	unsigned len = 0;
	va_list ap;

	va_start(ap, fmt);
	int rc = path_format(path, fmt, ap, err);
	va_end(ap);
	if (rc < 0)
		return rc;
	char *value = xs_read(xs->handle, XBT_NULL, path, &len);
	if (!value)
		return fg_error_errno(err, errno == ENOENT ? FG_ENOTFOUND : FG_EUNREACHABLE, errno, "xenstore: %s",
				      path);
	*out = value; /* libxenstore ends it with a NUL */
	return 0;
}

static int list_v(struct fg_xs *xs, char ***out, unsigned *n, struct fg_error *err, const char *fmt, va_list ap)
{
	char path[FG_XS_VALUE_MAX];
	unsigned count = 0;

	int rc = path_format(path, fmt, ap, err);
	if (rc < 0)
		return rc;
	char **names = xs_directory(xs->handle, XBT_NULL, path, &count);
	if (!names && errno != ENOENT)
		return fg_error_errno(err, FG_EUNREACHABLE, errno, "xenstore: %s", path);
	*out = names;
	*n = names ? count : 0;
	return 0;
}

int fg_xs_list(struct fg_xs *xs, char ***out, unsigned *n, struct fg_error *err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	int rc = list_v(xs, out, n, err, fmt, ap);
	va_end(ap);
	return rc;
}

int fg_xs_children(struct fg_xs *xs, unsigned *n, struct fg_error *err, const char *fmt, ...)
{
	char **names = NULL;
	va_list ap;

	va_start(ap, fmt);
	int rc = list_v(xs, &names, n, err, fmt, ap);
	va_end(ap);
	free(names);
	return rc;
}

int fg_xs_watch(struct fg_xs *xs, const char *path, fg_xs_watch_cb *cb, void *arg, struct fg_xs_watch **out,
		struct fg_error *err)
{
	struct fg_xs_watch *watch = fg_calloc(1, sizeof(*watch));

	watch->xs = xs;
	watch->cb = cb;
	watch->arg = arg;
	watch->path = fg_strdup(path);
	snprintf(watch->token, sizeof(watch->token), "fixgate-%" PRIu64, ++xs->next_token);
	if (!xs_watch(xs->handle, watch->path, watch->token)) {
		int sys = errno;
		free(watch->path);
		free(watch);
		return fg_error_errno(err, FG_EUNREACHABLE, sys, "xenstore: cannot watch %s", path);
	}
	LIST_INSERT_HEAD(&xs->watches, watch, link);
	*out = watch;
	return 0;
}

void fg_xs_unwatch(struct fg_xs_watch *watch)
{
	if (!watch)
		return;
	xs_unwatch(watch->xs->handle, watch->path, watch->token);
	LIST_REMOVE(watch, link);
	free(watch->path);
	free(watch);
}

int64_t fg_xs_created_s(struct fg_xs *xs, uint32_t domid)
{
	fg_autofree char *vm = NULL;
	fg_autofree char *start = NULL;

	if (fg_xs_read(xs, &vm, NULL, "/local/domain/%" PRIu32 "/vm", domid) < 0 ||
	    fg_xs_read(xs, &start, NULL, "%s/start_time", vm) < 0)
		return 0;
	char *end;
	long long seconds = strtoll(start, &end, 10); /* "1700000000.52" */
	return end == start || seconds < 0 ? 0 : seconds;
}
