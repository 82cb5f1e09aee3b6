/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "dom0-agent/toolstack/pace.h"

#include "lib/util.h"

#include <event2/event.h>
#include <stdbool.h>

struct fg_pace {
	struct event *timer;
	uint32_t gap_ms;
	bool told; /* at told_ms */
	int64_t told_ms;
	fg_pace_cb *cb;
	void *arg;
};

static int64_t left_ms(const struct fg_pace *pace)
{
	int64_t left = pace->told ? pace->told_ms + pace->gap_ms - fg_monotonic_ms() : 0;

	return left > 0 ? left : 0;
}

static void tell_in(struct fg_pace *pace, int64_t ms)
{
	const struct timeval in = { ms / 1000, ms % 1000 * 1000 };

	evtimer_add(pace->timer, &in);
}

static void fired(evutil_socket_t fd, short what, void *arg)
{
	struct fg_pace *pace = arg;
	int64_t left = left_ms(pace);

	(void)fd;
	(void)what;
	/* libevent counts a timer from the begin of the turn of the loop: after a long turn it fires too early. */
	if (left > 0) {
		tell_in(pace, left);
		return;
	}
	pace->told = true;
	pace->told_ms = fg_monotonic_ms();
	pace->cb(pace->arg);
}

struct fg_pace *fg_pace_new(struct event_base *base, uint32_t gap_ms, fg_pace_cb *cb, void *arg)
{
	struct fg_pace *pace = fg_calloc(1, sizeof(*pace));

	pace->gap_ms = gap_ms;
	pace->cb = cb;
	pace->arg = arg;
	pace->timer = evtimer_new(base, fired, pace);
	if (!pace->timer)
		abort();
	return pace;
}

void fg_pace_changed(struct fg_pace *pace)
{
	if (!evtimer_pending(pace->timer, NULL))
		tell_in(pace, left_ms(pace));
}

void fg_pace_free(struct fg_pace *pace)
{
	if (!pace)
		return;
	event_free(pace->timer);
	free(pace);
}
