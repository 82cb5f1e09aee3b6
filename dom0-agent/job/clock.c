/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "clock.h"

#include <event2/event.h>
#include <lib/util.h>

struct event_clock {
	struct fg_clock ops; /* first */
	struct event_base *base;
};

struct fg_timer {
	struct event *event;
	void (*fn)(void *arg);
	void *arg;
};

static int64_t now_ms(struct fg_clock *clock)
{
	(void)clock;
	return fg_now_ms();
}

static void timer_free(struct fg_timer *timer)
{
	event_free(timer->event);
	free(timer);
}

static void fired(evutil_socket_t fd, short what, void *arg)
{
	struct fg_timer *timer = arg;
	void (*fn)(void *) = timer->fn;
	void *fn_arg = timer->arg;

	(void)fd;
	(void)what;
	timer_free(timer);
	fn(fn_arg);
}

static struct fg_timer *after(struct fg_clock *clock, int64_t ms, void (*fn)(void *), void *arg)
{
	struct event_clock *c = (struct event_clock *)clock;
	struct fg_timer *timer = fg_calloc(1, sizeof(*timer));
	struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };

	timer->fn = fn;
	timer->arg = arg;
	timer->event = evtimer_new(c->base, fired, timer);
	if (!timer->event || evtimer_add(timer->event, &tv) < 0)
		abort();
	return timer;
}

static void cancel(struct fg_clock *clock, struct fg_timer *timer)
{
	(void)clock;
	timer_free(timer);
}

struct fg_clock *fg_clock_event_new(struct event_base *base)
{
	struct event_clock *c = fg_calloc(1, sizeof(*c));

	c->ops = (struct fg_clock){ .now_ms = now_ms, .after = after, .cancel = cancel };
	c->base = base;
	return &c->ops;
}

void fg_clock_event_free(struct fg_clock *clock)
{
	free(clock);
}
