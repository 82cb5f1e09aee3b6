/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Time, as the job machine sees it: the date for records, and one-shot timers on the monotonic clock.
 *
 *	after -> fn fires once, from the loop | cancel before it fired
 */
#ifndef FG_CLOCK_H
#define FG_CLOCK_H

#include <stdint.h>

struct event_base;
struct fg_timer;

struct fg_clock {
	int64_t (*now_ms)(struct fg_clock *clock); /* realtime, since the epoch */
	/* Never fires from inside the call, also with 0 ms. */
	struct fg_timer *(*after)(struct fg_clock *clock, int64_t ms, void (*fn)(void *arg), void *arg);
	void (*cancel)(struct fg_clock *clock, struct fg_timer *timer);
};

/* The real one, on libevent. */
struct fg_clock *fg_clock_event_new(struct event_base *base);
void fg_clock_event_free(struct fg_clock *clock);

#endif
