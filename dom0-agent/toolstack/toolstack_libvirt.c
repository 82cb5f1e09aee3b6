/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "dom0-agent/toolstack/connected.h"
#include "dom0-agent/toolstack/libvirt_private.h"
#include "lib/log.h"
#include "lib/util.h"

#include <event2/event.h>
#include <string.h>

#define LV_URI_DEFAULT "xen:///system"

/*----- calls -----*/

static void call_free(struct fg_worker_job *job)
{
	struct lv_call *call = (struct lv_call *)job;

	for (size_t i = 0; i < call->n; i++)
		fg_guest_release(&call->guests[i]);
	free(call->guests);
	free(call->text);
	free(call->text_in);
	free(call);
}

static void call_done(struct fg_worker_job *job)
{
	struct lv_call *call = (struct lv_call *)job;

	/* xenstore is asked here: its handle belongs to the loop. */
	for (size_t i = 0; i < call->n; i++)
		if (call->ts->xs && call->guests[i].domid)
			call->guests[i].created_s = fg_xs_created_s(call->ts->xs, call->guests[i].domid);
	call->end(call);
	call_free(job);
}

struct lv_call *lv_call_new(struct lv_ts *ts, enum lv_verb verb, const char *uuid, void (*end)(struct lv_call *))
{
	struct lv_call *call = fg_calloc(1, sizeof(*call));

	call->job = (struct fg_worker_job){ .run = lv_work, .done = call_done, .discard = call_free };
	call->ts = ts;
	call->verb = verb;
	snprintf(call->uuid, sizeof(call->uuid), "%s", uuid ? uuid : "");
	call->end = end;
	return call;
}

void lv_call_post(struct lv_call *call)
{
	fg_worker_post(call->ts->worker, &call->job);
}

static const struct fg_error *error_of(const struct lv_call *call)
{
	return call->rc ? &call->err : NULL;
}

/*----- simple operations -----*/

static void list_end(struct lv_call *call)
{
	call->list_cb(call->arg, call->rc, call->rc ? NULL : call->guests, call->rc ? 0 : call->n, error_of(call));
}

static void lv_list(struct fg_toolstack *ts, fg_ts_list_cb *cb, void *arg)
{
	struct lv_call *call = lv_call_new((struct lv_ts *)ts, LV_LIST, NULL, list_end);

	call->list_cb = cb;
	call->arg = arg;
	lv_call_post(call);
}

static void guest_end(struct lv_call *call)
{
	call->guest_cb(call->arg, call->rc, call->rc ? NULL : call->guests, error_of(call));
}

static void lv_find(struct fg_toolstack *ts, const char *uuid, fg_ts_guest_cb *cb, void *arg)
{
	struct lv_call *call = lv_call_new((struct lv_ts *)ts, LV_FIND, uuid, guest_end);

	call->guest_cb = cb;
	call->arg = arg;
	lv_call_post(call);
}

static void text_end(struct lv_call *call)
{
	call->text_cb(call->arg, call->rc, call->text, error_of(call));
}

static void lv_save(struct fg_toolstack *ts, const char *uuid, fg_ts_text_cb *cb, void *arg)
{
	struct lv_call *call = lv_call_new((struct lv_ts *)ts, LV_SAVE, uuid, text_end);

	call->text_cb = cb;
	call->arg = arg;
	lv_call_post(call);
}

static void lv_start_paused(struct fg_toolstack *ts, const char *definition, fg_ts_guest_cb *cb, void *arg)
{
	struct lv_call *call = lv_call_new((struct lv_ts *)ts, LV_START, NULL, guest_end);

	call->text_in = fg_strdup(definition);
	call->guest_cb = cb;
	call->arg = arg;
	lv_call_post(call);
}

static void done_end(struct lv_call *call)
{
	call->done_cb(call->arg, call->rc, error_of(call));
}

static void lv_unpause(struct fg_toolstack *ts, const char *uuid, fg_ts_done_cb *cb, void *arg)
{
	struct lv_call *call = lv_call_new((struct lv_ts *)ts, LV_RESUME, uuid, done_end);

	call->done_cb = cb;
	call->arg = arg;
	lv_call_post(call);
}

/*----- health -----*/

struct lv_wait {
	LIST_ENTRY(lv_wait) link;
	struct fg_connected *wait;
	fg_ts_done_cb *cb;
	void *arg;
	uint32_t deadline_ms;
};

static void wait_free(struct lv_wait *wait)
{
	LIST_REMOVE(wait, link);
	fg_connected_cancel(wait->wait);
	free(wait);
}

static void wait_end(void *arg, int rc, const struct fg_error *err)
{
	struct lv_wait *wait = arg;
	fg_ts_done_cb *cb = wait->cb;
	void *cb_arg = wait->arg;
	struct fg_error copy = err ? *err : (struct fg_error)FG_ERROR_INIT;

	wait->wait = NULL;
	wait_free(wait);
	cb(cb_arg, rc, rc ? &copy : NULL);
}

static void wait_found(struct lv_call *call)
{
	struct lv_wait *wait = call->op;
	struct fg_error err = call->err;
	int rc = call->rc;

	if (rc == 0 && call->guests[0].state == FG_GUEST_OFF)
		rc = fg_error_set(&err, FG_EFAILED, "guest %s is off", call->uuid);
	if (rc == 0 && call->ts->xs) {
		rc = fg_connected_wait(call->ts->xs, call->guests[0].domid, call->guests[0].n_nics, wait->deadline_ms,
				       wait_end, wait, &wait->wait, &err);
		if (rc == 0)
			return;
	}
	/* Other drivers: it runs, more cannot be seen from here. */
	wait_end(wait, rc, &err);
}

static void lv_wait_connected(struct fg_toolstack *opaque, const char *uuid, uint32_t deadline_ms, fg_ts_done_cb *cb,
			      void *arg)
{
	struct lv_ts *ts = (struct lv_ts *)opaque;
	struct lv_wait *wait = fg_calloc(1, sizeof(*wait));
	struct lv_call *call = lv_call_new(ts, LV_LOOK, uuid, wait_found);

	wait->cb = cb;
	wait->arg = arg;
	wait->deadline_ms = deadline_ms;
	LIST_INSERT_HEAD(&ts->waits, wait, link);
	call->op = wait;
	lv_call_post(call);
}

/*----- events, open, close -----*/

void lv_changed(struct lv_ts *ts, const char *uuid)
{
	lv_stop_changed(ts, uuid);
	if (ts->cfg.on_event)
		ts->cfg.on_event(ts->cfg.event_arg, (struct fg_toolstack *)ts, uuid);
}

static void lv_close(struct fg_toolstack *opaque)
{
	struct lv_ts *ts = (struct lv_ts *)opaque;
	struct lv_wait *wait, *next;

	if (!ts)
		return;
	lv_events_leave(ts);
	/* Waits for the call under way; what was asked and not begun, and ends not told yet, are dropped. */
	fg_worker_free(ts->worker);
	if (ts->conn) {
		struct lv_call close_call = { .ts = ts, .verb = LV_CLOSE };
		lv_work(&close_call.job);
	}
	lv_stop_free_all(ts);
	for (wait = LIST_FIRST(&ts->waits); wait; wait = next) {
		next = LIST_NEXT(wait, link);
		wait_free(wait);
	}
	fg_xs_close(ts->xs);
	free(ts->uri);
	free(ts);
}

static int lv_open(const struct fg_toolstack_config *config, struct fg_toolstack **out, struct fg_error *err)
{
	struct lv_ts *ts = fg_calloc(1, sizeof(*ts));

	ts->cfg = *config;
	ts->uri = fg_strdup(config->uri ? config->uri : LV_URI_DEFAULT);
	ts->xen = !strncmp(ts->uri, "xen:", 4);
	ts->qemu = !strncmp(ts->uri, "qemu", 4);
	ts->event_id = ts->device_id = -1;
	ts->cfg.uri = ts->uri;
	ts->cfg.state_dir = NULL; /* not used */
	int rc = ts->xen ? fg_xs_open(config->base, &ts->xs, err) : 0;
	if (rc == 0)
		rc = fg_worker_new(config->base, &ts->worker, err);
	if (rc == 0)
		rc = lv_events_join(ts, err);
	if (rc < 0) {
		lv_close((struct fg_toolstack *)ts);
		return rc;
	}
	*out = (struct fg_toolstack *)ts;
	return 0;
}

const struct fg_toolstack_ops fg_toolstack_libvirt = {
	.name = "libvirt",
	.open = lv_open,
	.close = lv_close,
	.list = lv_list,
	.find = lv_find,
	.save = lv_save,
	.stop = lv_stop,
	.start_paused = lv_start_paused,
	.unpause = lv_unpause,
	.wait_connected = lv_wait_connected,
};
