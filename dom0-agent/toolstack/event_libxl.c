/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "dom0-agent/toolstack/event_libxl.h"

#include "lib/log.h"
#include "lib/util.h"

#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/time.h>
#include <xentoollog.h>

/* A descriptor or a timeout that libxl wants to hear of. */
struct hook {
	LIST_ENTRY(hook) link;
	struct fg_xl *xl;
	void *for_libxl;
	struct event *ev;
	int fd;
	short events; /* poll(2) */
};

struct ao {
	LIST_ENTRY(ao) link;
	struct fg_xl *xl;
	fg_xl_ao_cb *cb;
	void *arg;
	struct event *ev;
	int rc;
};

struct fg_xl_death {
	LIST_ENTRY(fg_xl_death) link;
	struct fg_xl *xl;
	libxl_evgen_domain_death *evgen;
	fg_xl_death_cb *cb;
	void *arg;
	struct event *ev;
	bool shutdown, death; /* seen, not delivered yet */
	int reason;
};

struct logger {
	xentoollog_logger vtable; /* first */
};

struct fg_xl {
	struct event_base *base;
	libxl_ctx *ctx;
	struct logger logger;
	LIST_HEAD(hook_list, hook) hooks;
	LIST_HEAD(ao_list, ao) aos;
	LIST_HEAD(fg_xl_death_list, fg_xl_death) deaths;
	bool closed;
};

/*----- log -----*/

static void log_message(xentoollog_logger *logger, xentoollog_level level, int errnoval, const char *context,
			const char *format, va_list al)
{
	(void)logger;
	char text[512];
	if (level < XTL_WARN)
		return;
	vsnprintf(text, sizeof(text), format, al);
	fg_log(level >= XTL_ERROR ? FG_LOG_WARN : FG_LOG_DEBUG, "libxl: %s%s%s%s%s", context ? context : "",
	       context ? ": " : "", text, errnoval > 0 ? ": " : "", errnoval > 0 ? strerror(errnoval) : "");
}

static void log_destroy(xentoollog_logger *logger)
{
	(void)logger;
}

/*
 * Building a domain takes libxl seconds without a break, and libevent counts a new timer from the begin of the turn of the
 * loop: such a timer would fire too early (seen: "backend … timed out" at once).  So whenever libxl had its turn, and before
 * a timer of libxl's is set, the loop's clock is read anew.
 */
static void time_passed(struct fg_xl *xl)
{
	event_base_update_cache_time(xl->base);
}

/*----- descriptors -----*/

static void fd_ready(evutil_socket_t fd, short what, void *arg)
{
	struct hook *hook = arg;
	struct fg_xl *xl = hook->xl; /* hook may be gone after the call */
	/* libevent does not tell POLLHUP and POLLERR apart: ask. */
	struct pollfd p = { .fd = fd, .events = hook->events };

	(void)what;
	if (poll(&p, 1, 0) > 0 && p.revents)
		libxl_osevent_occurred_fd(xl->ctx, hook->for_libxl, fd, hook->events, p.revents);
	time_passed(xl);
}

static int fd_arm(struct hook *hook, short events)
{
	short what = EV_PERSIST;

	event_del(hook->ev);
	hook->events = events;
	if (!events)
		return 0;
	if (events & (POLLIN | POLLPRI))
		what |= EV_READ;
	if (events & POLLOUT)
		what |= EV_WRITE;
	if (event_assign(hook->ev, hook->xl->base, hook->fd, what, fd_ready, hook) < 0 || event_add(hook->ev, NULL) < 0)
		return ERROR_OSEVENT_REG_FAIL;
	return 0;
}

static void hook_free(struct hook *hook)
{
	LIST_REMOVE(hook, link);
	event_free(hook->ev);
	free(hook);
}

static int fd_register(void *user, int fd, void **out, short events, void *for_libxl)
{
	struct fg_xl *xl = user;
	struct hook *hook = fg_calloc(1, sizeof(*hook));

	hook->xl = xl;
	hook->fd = fd;
	hook->for_libxl = for_libxl;
	hook->ev = event_new(xl->base, fd, EV_PERSIST | EV_READ, fd_ready, hook);
	if (!hook->ev) {
		free(hook);
		return ERROR_OSEVENT_REG_FAIL;
	}
	LIST_INSERT_HEAD(&xl->hooks, hook, link);
	int rc = fd_arm(hook, events);
	if (rc) {
		hook_free(hook);
		return rc;
	}
	*out = hook;
	return 0;
}

static int fd_modify(void *user, int fd, void **reg, short events)
{
	(void)user;
	(void)fd;
	return fd_arm(*reg, events);
}

static void fd_deregister(void *user, int fd, void *reg)
{
	(void)user;
	(void)fd;
	hook_free(reg);
}

/*----- timeouts -----*/

static void timeout_fired(evutil_socket_t fd, short what, void *arg)
{
	struct hook *hook = arg;
	struct fg_xl *xl = hook->xl;
	void *for_libxl = hook->for_libxl;

	(void)fd;
	(void)what;
	hook_free(hook);
	libxl_osevent_occurred_timeout(xl->ctx, for_libxl);
	time_passed(xl);
}

static int timeout_register(void *user, void **out, struct timeval at, void *for_libxl)
{
	struct fg_xl *xl = user;
	struct hook *hook = fg_calloc(1, sizeof(*hook));
	struct timeval now, in;

	hook->xl = xl;
	hook->fd = -1;
	hook->for_libxl = for_libxl;
	time_passed(xl);
	gettimeofday(&now, NULL); /* libxl's absolute times are of this clock */
	timersub(&at, &now, &in);
	if (in.tv_sec < 0)
		timerclear(&in);
	hook->ev = evtimer_new(xl->base, timeout_fired, hook);
	if (!hook->ev || evtimer_add(hook->ev, &in) < 0) {
		if (hook->ev)
			event_free(hook->ev);
		free(hook);
		return ERROR_OSEVENT_REG_FAIL;
	}
	LIST_INSERT_HEAD(&xl->hooks, hook, link);
	*out = hook;
	return 0;
}

static int timeout_modify(void *user, void **reg, struct timeval at)
{
	struct hook *hook = *reg;
	const struct timeval now = { 0, 0 };

	(void)user;
	(void)at; /* always {0,0}: as soon as possible */
	return evtimer_add(hook->ev, &now) < 0 ? ERROR_OSEVENT_REG_FAIL : 0;
}

static void timeout_deregister(void *user, void *reg)
{
	(void)user;
	hook_free(reg);
}

static const libxl_osevent_hooks osevent_hooks = {
	.fd_register = fd_register,
	.fd_modify = fd_modify,
	.fd_deregister = fd_deregister,
	.timeout_register = timeout_register,
	.timeout_modify = timeout_modify,
	.timeout_deregister = timeout_deregister,
};

static const libxl_childproc_hooks childproc_hooks = {
	.chldowner = libxl_sigchld_owner_libxl_always_selective_reap,
};

/*----- events of domains -----*/

static void death_deliver(evutil_socket_t fd, short what, void *arg)
{
	struct fg_xl_death *watch = arg;
	fg_xl_death_cb *cb = watch->cb;
	void *cb_arg = watch->arg;
	bool shutdown = watch->shutdown && !watch->death;

	(void)fd;
	(void)what;
	if (!watch->shutdown && !watch->death)
		return;
	watch->shutdown = watch->death = false;
	cb(cb_arg, shutdown, watch->reason); /* may unwatch */
}

static void event_occurs(void *user, libxl_event *event)
{
	struct fg_xl *xl = user;
	struct fg_xl_death *watch;

	LIST_FOREACH (watch, &xl->deaths, link)
		if ((uint64_t)(uintptr_t)watch == event->for_user)
			break;
	if (watch && event->type == LIBXL_EVENT_TYPE_DOMAIN_SHUTDOWN) {
		watch->shutdown = true;
		watch->reason = event->u.domain_shutdown.shutdown_reason;
		event_active(watch->ev, EV_TIMEOUT, 0);
	} else if (watch && event->type == LIBXL_EVENT_TYPE_DOMAIN_DEATH) {
		watch->death = true;
		event_active(watch->ev, EV_TIMEOUT, 0);
	}
	libxl_event_free(xl->ctx, event);
}

static void disaster(void *user, libxl_event_type type, const char *msg, int errnoval)
{
	struct fg_xl *xl = user;

	/* Events are lost for good.  Ending the loop is the honest way: start is recovery, and isolated guests stay so. */
	fg_log_err("libxl: events of type %s are lost: %s: %s; ending", libxl_event_type_to_string(type), msg,
		   strerror(errnoval));
	event_base_loopbreak(xl->base);
}

static const libxl_event_hooks event_hooks = {
	.event_occurs_mask = LIBXL_EVENTMASK_ALL,
	.event_occurs = event_occurs,
	.disaster = disaster,
};

int fg_xl_death_watch(struct fg_xl *xl, uint32_t domid, fg_xl_death_cb *cb, void *arg, struct fg_xl_death **out,
		      struct fg_error *err)
{
	struct fg_xl_death *watch = fg_calloc(1, sizeof(*watch));

	watch->xl = xl;
	watch->cb = cb;
	watch->arg = arg;
	watch->ev = evtimer_new(xl->base, death_deliver, watch);
	LIST_INSERT_HEAD(&xl->deaths, watch, link);
	int rc = libxl_evenable_domain_death(xl->ctx, domid, (uintptr_t)watch, &watch->evgen);
	if (rc) {
		fg_xl_death_unwatch(watch);
		return fg_xl_error_set(err, rc, "domain %u: cannot watch for its end", domid);
	}
	*out = watch;
	return 0;
}

void fg_xl_death_unwatch(struct fg_xl_death *watch)
{
	if (!watch)
		return;
	if (watch->evgen)
		libxl_evdisable_domain_death(watch->xl->ctx, watch->evgen);
	LIST_REMOVE(watch, link);
	event_free(watch->ev);
	free(watch);
}

/*----- asynchronous operations -----*/

static void ao_deliver(evutil_socket_t fd, short what, void *arg)
{
	struct ao *ao = arg;
	fg_xl_ao_cb *cb = ao->cb;
	void *cb_arg = ao->arg;
	int rc = ao->rc;

	(void)fd;
	(void)what;
	LIST_REMOVE(ao, link);
	event_free(ao->ev);
	free(ao);
	if (cb)
		cb(cb_arg, rc);
}

static void ao_complete(libxl_ctx *ctx, int rc, void *for_callback)
{
	struct ao *ao = for_callback;

	(void)ctx;
	ao->rc = rc;
	if (!ao->xl->closed)
		event_active(ao->ev, EV_TIMEOUT, 0);
}

libxl_asyncop_how fg_xl_how(struct fg_xl *xl, fg_xl_ao_cb *cb, void *arg)
{
	struct ao *ao = fg_calloc(1, sizeof(*ao));

	ao->xl = xl;
	ao->cb = cb;
	ao->arg = arg;
	ao->ev = evtimer_new(xl->base, ao_deliver, ao);
	LIST_INSERT_HEAD(&xl->aos, ao, link);
	return (libxl_asyncop_how){ .callback = ao_complete, .u.for_callback = ao };
}

void fg_xl_started(struct fg_xl *xl, const libxl_asyncop_how *how, int rc)
{
	time_passed(xl);
	if (rc)
		ao_complete(xl->ctx, rc, how->u.for_callback);
}

void fg_xl_forget(struct fg_xl *xl, const void *arg)
{
	struct ao *ao;

	if (!xl)
		return;
	LIST_FOREACH (ao, &xl->aos, link)
		if (ao->arg == arg)
			ao->cb = NULL;
}

/*----- open, close, lookup -----*/

int fg_xl_open(struct event_base *base, struct fg_xl **out, struct fg_error *err)
{
	struct fg_xl *xl = fg_calloc(1, sizeof(*xl));

	xl->base = base;
	xl->logger.vtable.vmessage = log_message;
	xl->logger.vtable.destroy = log_destroy;
	int rc = libxl_ctx_alloc(&xl->ctx, LIBXL_VERSION, 0, &xl->logger.vtable);
	if (rc) {
		free(xl);
		return fg_error_set(err, FG_EUNREACHABLE,
				    "libxl: cannot open (is this dom0, and is xenstored running?)");
	}
	libxl_osevent_register_hooks(xl->ctx, &osevent_hooks, xl); /* first: the next one registers a descriptor */
	libxl_childproc_setmode(xl->ctx, &childproc_hooks, xl);
	libxl_event_register_callbacks(xl->ctx, &event_hooks, xl);
	*out = xl;
	return 0;
}

void fg_xl_close(struct fg_xl *xl)
{
	struct fg_xl_death *watch, *next;

	if (!xl)
		return;
	for (watch = LIST_FIRST(&xl->deaths); watch; watch = next) {
		next = LIST_NEXT(watch, link);
		fg_xl_death_unwatch(watch);
	}
	xl->closed = true;
	if (!LIST_EMPTY(&xl->aos)) {
		/*
		 * libxl_ctx_free with operations under way is undefined: leave it to the end of the process, but let it
		 * make no step more, for what they write to may be gone.
		 */
		struct ao *ao;
		struct hook *hook;
		LIST_FOREACH (ao, &xl->aos, link)
			event_del(ao->ev);
		LIST_FOREACH (hook, &xl->hooks, link)
			event_del(hook->ev);
		fg_log_debug("libxl: closed with operations under way");
		return;
	}
	libxl_ctx_free(xl->ctx);
	free(xl);
}

libxl_ctx *fg_xl_ctx(struct fg_xl *xl)
{
	return xl->ctx;
}

const char *fg_xl_error_name(int rc)
{
	const char *name = libxl_error_to_string(rc);
	return name ? name : "unknown error";
}

int fg_xl_error_set(struct fg_error *err, int rc, const char *fmt, ...)
{
	char text[300];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	enum fg_error_code code = rc == ERROR_DOMAIN_NOTFOUND ? FG_ENOTFOUND
				  : rc == ERROR_TIMEDOUT      ? FG_ETIMEOUT
				  : rc == ERROR_NOMEM	      ? FG_ENOMEM
							      : FG_EFAILED;
	return fg_error_set(err, code, "%s: libxl says %s", text, fg_xl_error_name(rc));
}

void fg_xl_uuid_format(const libxl_uuid *uuid, char out[37])
{
	snprintf(out, 37, LIBXL_UUID_FMT, LIBXL_UUID_BYTES(*uuid));
}

int fg_xl_find(struct fg_xl *xl, const char *uuid, uint32_t *domid, libxl_dominfo *info, struct fg_error *err)
{
	int n = 0, rc = -FG_ENOTFOUND;
	libxl_dominfo *list = libxl_list_domain(xl->ctx, &n);

	if (!list)
		return fg_error_set(err, FG_EUNREACHABLE, "libxl: cannot list domains");
	for (int i = 0; i < n; i++) {
		char have[37];
		fg_xl_uuid_format(&list[i].uuid, have);
		if (strcmp(have, uuid) != 0 || list[i].domid == 0)
			continue;
		*domid = list[i].domid;
		if (info)
			libxl_dominfo_copy(xl->ctx, info, &list[i]);
		rc = 0;
		break;
	}
	libxl_dominfo_list_free(list, n);
	return rc ? fg_error_set(err, FG_ENOTFOUND, "no domain has UUID %s", uuid) : 0;
}
