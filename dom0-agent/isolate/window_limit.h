/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * How often the windows of a guest are reported: each report is a durable step in the journal and a message to the server, and
 * a netdev may flap many times a second.  The first FG_WINDOW_BURST of a guest are reported at once.  What follows is added up
 * and reported as one (count) when FG_WINDOW_PERIOD_MS are over, and so on until a period had none.
 *
 * Windows in which a NIC was not filtered in the end are counted apart: they hold the guest's job, and wait for no other.
 */
#ifndef FG_ISOLATE_WINDOW_LIMIT_H
#define FG_ISOLATE_WINDOW_LIMIT_H

#include "window.h"

#define FG_WINDOW_BURST 5
#define FG_WINDOW_PERIOD_MS 60000

struct fg_clock;
struct fg_window_limit;
typedef void fg_window_fn(void *arg, const struct fg_window *w);

/* clock and arg are borrowed.  report: from inside _add and _free, or from the clock. */
struct fg_window_limit *fg_window_limit_new(struct fg_clock *clock, fg_window_fn *report, void *arg);
void fg_window_limit_add(struct fg_window_limit *l, const struct fg_window *w);
/* What was held back is reported. */
void fg_window_limit_free(struct fg_window_limit *l);

#endif
