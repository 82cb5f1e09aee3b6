/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "guard_agent.h"

#include "dom0-agent/job/job.h"
#include "dom0-agent/toolstack/xenstore.h"
#include "guard.h"
#include "window_limit.h"

#include <lib/util.h>

#include <event2/event.h>
#include <sys/queue.h>

/* A window that is to be reported.  From the loop: it may have been found while a job was isolating, and holds that job. */
struct pending {
	STAILQ_ENTRY(pending) next;
	struct fg_window window;
};

struct fg_guard_agent {
	struct event_base *base;
	struct fg_agent *agent;
	struct fg_guard *guard;
	struct event *report;
	struct fg_window_limit *limit;
	STAILQ_HEAD(pending_list, pending) pending;
	struct fg_xs *xs; /* NULL: not connected; a host without Xen has none */
};

static int read_xenstore(void *arg, const char *path, char **out, struct fg_error *err)
{
	struct fg_guard_agent *ga = arg;

	if (!ga->xs) {
		int rc = fg_xs_open(ga->base, &ga->xs, err);
		if (rc < 0)
			return rc;
	}
	return fg_xs_read(ga->xs, out, err, "%s", path);
}

static void look(void *arg, const char *uuid)
{
	struct fg_guard_agent *ga = arg;

	if (!ga->agent->dead)
		fg_marks_changed(ga->agent, uuid[0] ? uuid : NULL);
}

static void window(void *arg, const struct fg_window *w)
{
	struct fg_guard_agent *ga = arg;
	struct pending *p = fg_calloc(1, sizeof(*p));

	p->window = *w;
	STAILQ_INSERT_TAIL(&ga->pending, p, next);
	event_active(ga->report, EV_TIMEOUT, 0);
}

static void report(void *arg, const struct fg_window *w)
{
	struct fg_guard_agent *ga = arg;

	fg_window_report(ga->agent, w);
}

static void report_all(struct fg_guard_agent *ga)
{
	struct pending *p;

	while ((p = STAILQ_FIRST(&ga->pending)) != NULL) {
		STAILQ_REMOVE_HEAD(&ga->pending, next);
		fg_window_limit_add(ga->limit, &p->window);
		free(p);
	}
}

static void on_report(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	report_all(arg);
}

int fg_guard_agent_start(struct event_base *base, struct fg_agent *agent, struct fg_guard_agent **out,
			 struct fg_error *err)
{
	struct fg_guard_agent *ga = fg_calloc(1, sizeof(*ga));
	const struct fg_guard_config config = { .base = base,
						.isolator = agent->isolator,
						.xenstore = read_xenstore,
						.look = look,
						.window = window,
						.arg = ga };

	ga->base = base;
	ga->agent = agent;
	STAILQ_INIT(&ga->pending);
	ga->limit = fg_window_limit_new(agent->clock, report, ga);
	ga->report = evtimer_new(base, on_report, ga);
	int rc = ga->report ? 0 : fg_error_set(err, FG_ENOMEM, "no event");
	if (rc == 0)
		rc = fg_guard_open(&config, &ga->guard, err);
	if (rc < 0) {
		fg_guard_agent_stop(ga);
		return rc;
	}
	*out = ga;
	return 0;
}

void fg_guard_agent_stop(struct fg_guard_agent *ga)
{
	if (!ga)
		return;
	fg_guard_close(ga->guard);
	report_all(ga); /* into the journal */
	fg_window_limit_free(ga->limit);
	if (ga->report)
		event_free(ga->report);
	fg_xs_close(ga->xs);
	free(ga);
}
