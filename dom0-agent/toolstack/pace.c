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

static void fired(evutil_socket_t fd, short what, void *arg)
{
	struct fg_pace *pace = arg;

	(void)fd;
	(void)what;
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
	int64_t left_ms = pace->told ? pace->told_ms + pace->gap_ms - fg_monotonic_ms() : 0;

	if (evtimer_pending(pace->timer, NULL))
		return;
	if (left_ms < 0)
		left_ms = 0;
	const struct timeval in = { left_ms / 1000, left_ms % 1000 * 1000 };
	evtimer_add(pace->timer, &in);
}

void fg_pace_free(struct fg_pace *pace)
{
	if (!pace)
		return;
	event_free(pace->timer);
	free(pace);
}
