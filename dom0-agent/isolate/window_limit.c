/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "window_limit.h"

#include "dom0-agent/job/clock.h"

#include <lib/util.h>

#include <string.h>
#include <sys/queue.h>

/* A guest that had windows in this period. */
struct flow {
	LIST_ENTRY(flow) link;
	struct fg_window_limit *limit;
	char uuid[37];
	struct fg_window held; /* added up; count 0: none */
	struct fg_timer *period;
	unsigned told;
	bool bare; /* of windows that did not end with a filter */
};

struct fg_window_limit {
	struct fg_clock *clock;
	fg_window_fn *report;
	void *arg;
	LIST_HEAD(flow_list, flow) flows;
};

struct fg_window_limit *fg_window_limit_new(struct fg_clock *clock, fg_window_fn *report, void *arg)
{
	struct fg_window_limit *l = fg_calloc(1, sizeof(*l));

	l->clock = clock;
	l->report = report;
	l->arg = arg;
	LIST_INIT(&l->flows);
	return l;
}

static int64_t sum(int64_t a, int64_t b)
{
	return a == FG_WINDOW_UNKNOWN || b == FG_WINDOW_UNKNOWN ? FG_WINDOW_UNKNOWN : a + b;
}

/* The cause, the detail and the end are the last one's; one that is still open counts more than one that was set down. */
static void hold_back(struct fg_window *held, const struct fg_window *w)
{
	const struct fg_window before = *held;

	*held = *w;
	held->count = before.count + 1;
	if (before.count == 0)
		return;
	if (strcmp(before.dev, w->dev) != 0)
		held->dev[0] = '\0';
	held->ms = sum(before.ms, w->ms);
	held->frames = sum(before.frames, w->frames);
	held->at_most = before.at_most || w->at_most;
	held->open = before.open || w->open;
	held->shut = !held->open && (before.shut || w->shut);
}

static void flow_free(struct flow *f)
{
	LIST_REMOVE(f, link);
	free(f);
}

static void tell_held(struct flow *f)
{
	struct fg_window w = f->held;

	memset(&f->held, 0, sizeof(f->held));
	f->limit->report(f->limit->arg, &w);
}

static void on_period(void *arg)
{
	struct flow *f = arg;
	struct fg_window_limit *l = f->limit;

	f->period = NULL;
	if (f->held.count == 0) {
		flow_free(f);
		return;
	}
	f->period = l->clock->after(l->clock, FG_WINDOW_PERIOD_MS, on_period, f);
	tell_held(f);
}

static struct flow *flow_of(struct fg_window_limit *l, const struct fg_window *w)
{
	bool bare = w->shut || w->open;
	struct flow *f = NULL;

	LIST_FOREACH (f, &l->flows, link) {
		if (f->bare == bare && strcmp(f->uuid, w->uuid) == 0)
			return f;
	}
	f = fg_calloc(1, sizeof(*f));
	f->limit = l;
	f->bare = bare;
	memcpy(f->uuid, w->uuid, sizeof(f->uuid));
	f->period = l->clock->after(l->clock, FG_WINDOW_PERIOD_MS, on_period, f);
	LIST_INSERT_HEAD(&l->flows, f, link);
	return f;
}

void fg_window_limit_add(struct fg_window_limit *l, const struct fg_window *w)
{
	struct flow *f = flow_of(l, w);

	if (f->told >= FG_WINDOW_BURST) {
		hold_back(&f->held, w);
		return;
	}
	f->told++;
	l->report(l->arg, w);
}

void fg_window_limit_free(struct fg_window_limit *l)
{
	struct flow *f;

	if (!l)
		return;
	while ((f = LIST_FIRST(&l->flows)) != NULL) {
		l->clock->cancel(l->clock, f->period);
		if (f->held.count)
			tell_held(f);
		flow_free(f);
	}
	free(l);
}
