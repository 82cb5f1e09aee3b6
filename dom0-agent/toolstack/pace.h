/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Many changes, few looks: the first change is told at once, those that follow it within the gap are told together at its end.
 * The last one is never lost.
 */
#ifndef FG_PACE_H
#define FG_PACE_H

#include <stdint.h>

struct event_base;
struct fg_pace;

typedef void fg_pace_cb(void *arg);

/* Never NULL; cb is called from the loop, with at least gap_ms between two calls. */
struct fg_pace *fg_pace_new(struct event_base *base, uint32_t gap_ms, fg_pace_cb *cb, void *arg);
void fg_pace_changed(struct fg_pace *pace);
void fg_pace_free(struct fg_pace *pace); /* NULL is allowed; not from the callback */

#endif
