/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * How long to wait before the next try: 1 s, doubled with each failure, at most 60 s; half of it is random, so that the
 * hosts of a fleet do not come back in step after the server was away.
 */
#ifndef FG_NET_BACKOFF_H
#define FG_NET_BACKOFF_H

#include <stdint.h>

#define FG_BACKOFF_MIN_MS 1000u
#define FG_BACKOFF_MAX_MS 60000u

struct fg_backoff {
	unsigned failures; /* in a row */
};

static inline void fg_backoff_reset(struct fg_backoff *b)
{
	b->failures = 0;
}
/* Counts a failure; returns the wait.  random: any number, uniformly drawn. */
uint32_t fg_backoff_next_ms(struct fg_backoff *b, uint32_t random);

#endif
