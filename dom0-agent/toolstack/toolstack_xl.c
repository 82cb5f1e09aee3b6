/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "dom0-agent/toolstack/child.h"
#include "dom0-agent/toolstack/pace.h"
#include "dom0-agent/toolstack/xl_daemon.h"
#include "dom0-agent/toolstack/xl_private.h"
#include "lib/log.h"
#include "lib/util.h"

#include <inttypes.h>
#include <string.h>

/*----- operations under way -----*/

void *xl_op_new(struct xl_ts *ts, size_t size, event_callback_fn timer, void (*release)(struct xl_op *))
{
	struct xl_op *op = fg_calloc(1, size);

	op->ts = ts;
	op->release = release;
	op->timer = evtimer_new(ts->cfg.base, timer, op);
	LIST_INSERT_HEAD(&ts->ops, op, link);
	return op;
}

void xl_op_free(struct xl_op *op)
{
	LIST_REMOVE(op, link);
	fg_xl_forget(op->ts->xl, op);
	event_free(op->timer);
	if (op->release)
		op->release(op);
	free(op);
}

void xl_op_soon(struct xl_op *op)
{
	event_active(op->timer, EV_TIMEOUT, 0);
}

void xl_op_in(struct xl_op *op, uint32_t ms)
{
	const struct timeval in = { ms / 1000, (ms % 1000) * 1000 };
	evtimer_add(op->timer, &in);
}

/*----- open, close -----*/

/*
 * A domain that is being made or taken down changes xenstore a hundred times in a few seconds, and each look at the guests asks
 * for the whole configuration of each: without a pace the agent did nothing else meanwhile.  A NIC need not wait for this:
 * vif-fixgate and the guard see it for themselves.  A device that is passed through to an isolated guest is told of this much later.
 */
#define EVENT_GAP_MS 500

static void tell_change(void *arg)
{
	struct xl_ts *ts = arg;

	ts->cfg.on_event(ts->cfg.event_arg, (struct fg_toolstack *)ts, NULL);
}

static void something_changed(void *arg)
{
	struct xl_ts *ts = arg;

	fg_pace_changed(ts->changes);
}

static void xl_close(struct fg_toolstack *opaque)
{
	struct xl_ts *ts = (struct xl_ts *)opaque;
	struct xl_op *op, *next;

	if (!ts)
		return;
	xl_owned_free(ts);
	fg_xl_close(ts->xl); /* before what its operations point to */
	ts->xl = NULL;
	for (op = LIST_FIRST(&ts->ops); op; op = next) {
		next = LIST_NEXT(op, link);
		xl_op_free(op);
	}
	for (size_t i = 0; i < FG_COUNT(ts->watches); i++)
		fg_xs_unwatch(ts->watches[i]);
	fg_xs_close(ts->xs);
	fg_pace_free(ts->changes);
	xl_files_free(ts);
	free((char *)ts->cfg.state_dir);
	free(ts);
}

static int xl_open(const struct fg_toolstack_config *config, struct fg_toolstack **out, struct fg_error *err)
{
	/* A new vif is the sign of a hot-plugged NIC and of a guest that came back; the others are of what is passed through. */
	static const char *const paths[] = { "@introduceDomain", "@releaseDomain", "/local/domain/0/backend/vif",
					     "/local/domain/0/backend/pci", "/local/domain/0/backend/vusb" };
	struct xl_ts *ts = fg_calloc(1, sizeof(*ts));

	ts->cfg = *config;
	ts->cfg.state_dir = fg_strdup(config->state_dir);
	int rc = fg_xl_open(config->base, &ts->xl, err);
	if (rc == 0)
		rc = fg_xs_open(config->base, &ts->xs, err);
	ts->changes = fg_pace_new(config->base, EVENT_GAP_MS, tell_change, ts);
	for (size_t i = 0; rc == 0 && config->on_event && i < FG_COUNT(paths); i++)
		rc = fg_xs_watch(ts->xs, paths[i], something_changed, ts, &ts->watches[i], err);
	if (rc < 0) {
		xl_close((struct fg_toolstack *)ts);
		return rc;
	}
	xl_owned_load(ts);
	*out = (struct fg_toolstack *)ts;
	return 0;
}

/*----- list, find -----*/

struct query {
	struct xl_op op;
	char uuid[37];
	fg_ts_list_cb *list_cb;
	fg_ts_guest_cb *guest_cb;
	void *arg;
};

static void never(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
}

static void list_scanned(void *arg, int rc, struct xl_found *found, size_t n, const struct fg_error *err)
{
	struct query *query = arg;
	fg_ts_list_cb *cb = query->list_cb;
	void *cb_arg = query->arg;
	fg_autofree struct fg_guest *guests = fg_calloc(n ? n : 1, sizeof(*guests));

	for (size_t i = 0; i < n; i++)
		guests[i] = found[i].guest; /* borrowed for the callback */
	xl_op_free(&query->op);
	cb(cb_arg, rc, guests, n, err);
}

static void xl_list(struct fg_toolstack *opaque, fg_ts_list_cb *cb, void *arg)
{
	struct xl_ts *ts = (struct xl_ts *)opaque;
	struct query *query = xl_op_new(ts, sizeof(*query), never, NULL);

	query->list_cb = cb;
	query->arg = arg;
	xl_scan(ts, NULL, list_scanned, query);
}

static void find_scanned(void *arg, int rc, struct xl_found *found, size_t n, const struct fg_error *err)
{
	struct query *query = arg;
	fg_ts_guest_cb *cb = query->guest_cb;
	void *cb_arg = query->arg;
	struct fg_error none = FG_ERROR_INIT;

	if (rc == 0 && n == 0) {
		rc = fg_error_set(&none, FG_ENOTFOUND, "xl has no guest with UUID %s", query->uuid);
		err = &none;
	}
	xl_op_free(&query->op);
	cb(cb_arg, rc, rc ? NULL : &found[0].guest, err);
}

static void xl_find(struct fg_toolstack *opaque, const char *uuid, fg_ts_guest_cb *cb, void *arg)
{
	struct xl_ts *ts = (struct xl_ts *)opaque;
	struct query *query = xl_op_new(ts, sizeof(*query), never, NULL);

	snprintf(query->uuid, sizeof(query->uuid), "%s", uuid);
	query->guest_cb = cb;
	query->arg = arg;
	xl_scan(ts, uuid, find_scanned, query);
}

const struct fg_toolstack_ops fg_toolstack_xl = {
	.name = "xl",
	.open = xl_open,
	.close = xl_close,
	.list = xl_list,
	.find = xl_find,
	.save = xl_save,
	.stop = xl_stop,
	.start_paused = xl_start_paused,
	.unpause = xl_unpause,
	.wait_connected = xl_wait_connected,
};
