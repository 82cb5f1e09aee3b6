/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Letting a guest run, and learning that it is connected. */
#include "dom0-agent/toolstack/connected.h"
#include "dom0-agent/toolstack/xl_private.h"
#include "lib/util.h"

#include <inttypes.h>
#include <string.h>

/*----- unpause -----*/

struct unpause {
	struct xl_op op;
	char uuid[37];
	fg_ts_done_cb *cb;
	void *arg;
};

static void unpause_end(struct unpause *u, int rc, const struct fg_error *err)
{
	fg_ts_done_cb *cb = u->cb;
	void *arg = u->arg;

	xl_op_free(&u->op);
	cb(arg, rc, rc ? err : NULL);
}

static void unpaused(void *arg, int rc)
{
	struct unpause *u = arg;
	struct fg_error err = FG_ERROR_INIT;

	unpause_end(u, rc ? fg_xl_error_set(&err, rc, "guest %s cannot be let run", u->uuid) : 0, &err);
}

static void unpause_begin(evutil_socket_t fd, short what, void *arg)
{
	struct unpause *u = arg;
	struct xl_ts *ts = u->op.ts;
	struct fg_error err = FG_ERROR_INIT;
	libxl_dominfo info;
	uint32_t domid;

	(void)fd;
	(void)what;
	libxl_dominfo_init(&info);
	int rc = fg_xl_find(ts->xl, u->uuid, &domid, &info, &err);
	bool paused = info.paused;
	libxl_dominfo_dispose(&info);
	if (rc < 0 || !paused) { /* it runs already */
		unpause_end(u, rc, &err);
		return;
	}
	libxl_asyncop_how how = fg_xl_how(ts->xl, unpaused, u);
	fg_xl_started(ts->xl, &how, libxl_domain_unpause(fg_xl_ctx(ts->xl), domid, &how));
}

void xl_unpause(struct fg_toolstack *opaque, const char *uuid, fg_ts_done_cb *cb, void *arg)
{
	struct unpause *u = xl_op_new((struct xl_ts *)opaque, sizeof(*u), unpause_begin, NULL);

	snprintf(u->uuid, sizeof(u->uuid), "%s", uuid);
	u->cb = cb;
	u->arg = arg;
	xl_op_soon(&u->op);
}

/*----- health -----*/

struct connect_wait {
	struct xl_op op;
	char uuid[37];
	uint32_t deadline_ms;
	struct fg_connected *wait;
	fg_ts_done_cb *cb;
	void *arg;
};

static void connect_release(struct xl_op *op)
{
	fg_connected_cancel(((struct connect_wait *)op)->wait);
}

static void connect_end(struct connect_wait *w, int rc, const struct fg_error *err)
{
	fg_ts_done_cb *cb = w->cb;
	void *arg = w->arg;

	xl_op_free(&w->op);
	cb(arg, rc, rc ? err : NULL);
}

static void connected(void *arg, int rc, const struct fg_error *err)
{
	struct connect_wait *w = arg;

	w->wait = NULL;
	connect_end(w, rc, err);
}

/* How many vifs it has to have, its definition says: none at all is what half a domain has. */
static void connect_found(void *arg, int rc, struct xl_found *found, size_t n, const struct fg_error *cause)
{
	struct connect_wait *w = arg;
	struct fg_error err = cause ? *cause : (struct fg_error)FG_ERROR_INIT;
	const struct fg_guest *g = n ? &found[0].guest : NULL;

	if (rc == 0 && (!g || !g->domid))
		rc = fg_error_set(&err, FG_ENOTFOUND, "there is no domain of guest %s", w->uuid);
	else if (rc == 0 && !found[0].config)
		rc = fg_error_set(&err, FG_EUNREACHABLE, "domain %u of guest %s: %s", g->domid, w->uuid, g->refusal);
	if (rc == 0)
		rc = fg_connected_wait(w->op.ts->xs, g->domid, g->n_nics, w->deadline_ms, connected, w, &w->wait, &err);
	if (rc < 0)
		connect_end(w, rc, &err);
}

static void connect_begin(evutil_socket_t fd, short what, void *arg)
{
	struct connect_wait *w = arg;

	(void)fd;
	(void)what;
	xl_scan(w->op.ts, w->uuid, connect_found, w);
}

void xl_wait_connected(struct fg_toolstack *opaque, const char *uuid, uint32_t deadline_ms, fg_ts_done_cb *cb,
		       void *arg)
{
	struct connect_wait *w = xl_op_new((struct xl_ts *)opaque, sizeof(*w), connect_begin, connect_release);

	snprintf(w->uuid, sizeof(w->uuid), "%s", uuid);
	w->deadline_ms = deadline_ms;
	w->cb = cb;
	w->arg = arg;
	xl_op_soon(&w->op);
}
