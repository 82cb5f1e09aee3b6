/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The stop ladder on libvirt.  One call is under way at a time; its end, a life-cycle event and the deadline of the rung
 * lead on.  In this order: looked -> rung (shutdown, ACPI, destroy) -> asked -> [event or deadline] -> looked … ->
 * make_sure -> sure -> looked -> wait_gone -> all_gone -> stop_end.
 */
#include "dom0-agent/toolstack/gone.h"
#include "dom0-agent/toolstack/image_files.h"
#include "dom0-agent/toolstack/libvirt_private.h"
#include "lib/util.h"

#include <event2/event.h>
#include <string.h>

enum lv_rung { RUNG_LOOK, RUNG_SHUTDOWN, RUNG_ACPI, RUNG_DESTROY };

struct lv_stop {
	LIST_ENTRY(lv_stop) link;
	struct lv_ts *ts;
	char uuid[37];
	uint32_t last_domid; /* as the caller saw it last */
	struct fg_stop_policy policy;
	enum lv_rung rung;
	bool calling; /* a call is under way */
	bool changed; /* an event came meanwhile: look again */
	bool late; /* the rung's deadline passed */
	bool known; /* domid and files are */
	bool ended; /* a destroy found it off, or ended it: "off" is no moment of a reboot */
	uint32_t domid;
	struct fg_image_files files;
	struct event *deadline;
	int64_t destroy_until_ms;
	struct fg_gone *gone;
	fg_ts_step_cb *step;
	fg_ts_done_cb *cb;
	void *arg;
};

static void look(struct lv_stop *stop);
static void looked(struct lv_call *call);
static void rung_begin(struct lv_stop *stop, enum lv_rung rung);
static void asked(struct lv_call *call);
static void go_on(struct lv_stop *stop);
static void make_sure(struct lv_stop *stop);
static void sure(struct lv_call *call);
static void wait_gone(struct lv_stop *stop);
static void all_gone(void *arg, int rc, const struct fg_error *err);
static void stop_end(struct lv_stop *stop, int rc, const struct fg_error *err);

static void stop_free(struct lv_stop *stop)
{
	LIST_REMOVE(stop, link);
	fg_gone_cancel(stop->gone);
	event_free(stop->deadline);
	fg_image_files_release(&stop->files);
	free(stop);
}

void lv_stop_free_all(struct lv_ts *ts)
{
	struct lv_stop *stop, *next;

	for (stop = LIST_FIRST(&ts->stops); stop; stop = next) {
		next = LIST_NEXT(stop, link);
		stop_free(stop);
	}
}

static void step(struct lv_stop *stop, const char *what)
{
	if (stop->step)
		stop->step(stop->arg, what);
}

static void deadline_passed(evutil_socket_t fd, short what, void *arg)
{
	struct lv_stop *stop = arg;

	(void)fd;
	(void)what;
	stop->late = true;
	if (!stop->calling && !stop->gone)
		look(stop); /* the last look decides, not the clock alone */
}

void lv_stop(struct fg_toolstack *opaque, const struct fg_guest *last, const struct fg_stop_policy *policy,
	     fg_ts_step_cb *step_cb, fg_ts_done_cb *cb, void *arg)
{
	struct lv_ts *ts = (struct lv_ts *)opaque;
	struct lv_stop *stop = fg_calloc(1, sizeof(*stop));

	stop->ts = ts;
	snprintf(stop->uuid, sizeof(stop->uuid), "%s", last->uuid);
	stop->last_domid = last->domid;
	fg_image_files_of(last, &stop->files);
	stop->policy = *policy;
	stop->step = step_cb;
	stop->cb = cb;
	stop->arg = arg;
	stop->deadline = evtimer_new(ts->cfg.base, deadline_passed, stop);
	LIST_INSERT_HEAD(&ts->stops, stop, link);
	look(stop);
}

void lv_stop_changed(struct lv_ts *ts, const char *uuid)
{
	struct lv_stop *stop;

	LIST_FOREACH (stop, &ts->stops, link) {
		if (uuid && strcmp(stop->uuid, uuid) != 0)
			continue;
		if (stop->calling)
			stop->changed = true;
		else if (!stop->gone)
			look(stop); /* posts a call: the list stays as it is */
	}
}

static void look(struct lv_stop *stop)
{
	struct lv_call *call = lv_call_new(stop->ts, LV_LOOK, stop->uuid, looked);

	stop->calling = true;
	stop->changed = false;
	call->op = stop;
	lv_call_post(call);
}

static void remember(struct lv_stop *stop, const struct fg_guest *g)
{
	stop->domid = g->domid;
	stop->ended = false;
	if (!stop->known)
		fg_image_files_of(g, &stop->files);
	stop->known = true;
}

static void looked(struct lv_call *call)
{
	struct lv_stop *stop = call->op;
	bool off = call->rc == 0 && call->guests[0].state == FG_GUEST_OFF;
	bool paused = call->rc == 0 && call->guests[0].state == FG_GUEST_PAUSED;

	stop->calling = false;
	if (off && !stop->ended && stop->policy.destroy_ms) {
		make_sure(stop);
		return;
	}
	if (off || call->rc == -FG_ENOTFOUND) {
		wait_gone(stop);
		return;
	}
	if (call->rc < 0) {
		stop_end(stop, call->rc, &call->err);
		return;
	}
	if (stop->rung != RUNG_LOOK && stop->domid && stop->domid != call->guests[0].domid) {
		step(stop, "guest has rebooted instead");
		stop->late = true;
		stop->rung = RUNG_ACPI; /* libvirt brings it back each time: destroy it */
	}
	remember(stop, &call->guests[0]);
	if (stop->rung == RUNG_LOOK)
		rung_begin(stop, paused ? RUNG_DESTROY : RUNG_SHUTDOWN); /* a paused guest hears nothing */
	else
		go_on(stop);
}

/* The guest is still there. */
static void go_on(struct lv_stop *stop)
{
	struct fg_error err = FG_ERROR_INIT;

	if (stop->changed) {
		look(stop);
		return;
	}
	if (!stop->late)
		return; /* an event or the deadline comes */
	switch (stop->rung) {
	case RUNG_LOOK:
	case RUNG_SHUTDOWN:
		step(stop, "no end after the shutdown request");
		rung_begin(stop, RUNG_ACPI);
		return;
	case RUNG_ACPI:
		rung_begin(stop, RUNG_DESTROY);
		return;
	case RUNG_DESTROY:
		(void)fg_error_set(&err, FG_ETIMEOUT, "waited %u ms for guest %s to be destroyed",
				   stop->policy.destroy_ms, stop->uuid);
		stop_end(stop, -FG_ETIMEOUT, &err);
		return;
	}
}

static void rung_begin(struct lv_stop *stop, enum lv_rung rung)
{
	static const char *const steps[] = { "", "shutdown requested", "power button pressed",
					     "destroying the domain" };
	static const enum lv_verb verbs[] = { LV_LOOK, LV_SHUTDOWN, LV_ACPI, LV_DESTROY };
	const uint32_t ms[] = { 0, stop->policy.shutdown_ms, stop->policy.acpi_ms, stop->policy.destroy_ms };
	struct fg_error err = FG_ERROR_INIT;

	while (rung < RUNG_DESTROY && !ms[rung])
		rung++;
	stop->rung = rung;
	stop->late = false;
	if (!ms[rung]) {
		(void)fg_error_set(&err, FG_ETIMEOUT, "guest %s did not end, and destroying it is not allowed",
				   stop->uuid);
		stop_end(stop, -FG_ETIMEOUT, &err);
		return;
	}
	const struct timeval in = { ms[rung] / 1000, (ms[rung] % 1000) * 1000 };
	evtimer_add(stop->deadline, &in);
	if (rung == RUNG_DESTROY)
		stop->destroy_until_ms = fg_monotonic_ms() + ms[rung];
	step(stop, steps[rung]);
	struct lv_call *call = lv_call_new(stop->ts, verbs[rung], stop->uuid, asked);
	call->op = stop;
	stop->calling = true;
	lv_call_post(call);
}

static void asked(struct lv_call *call)
{
	struct lv_stop *stop = call->op;

	stop->calling = false;
	if (call->rc == -FG_ENOTFOUND || (call->rc == 0 && stop->rung == RUNG_DESTROY)) {
		stop->ended = true;
		look(stop);
		return;
	}
	if (call->rc == -FG_EUNREACHABLE || (call->rc < 0 && stop->rung == RUNG_DESTROY)) {
		stop_end(stop, call->rc, &call->err);
		return;
	}
	if (call->rc < 0) { /* this guest or driver has no such way: the next rung */
		step(stop, call->err.text);
		stop->late = true;
	}
	go_on(stop);
}

/*
 * A guest that reboots under the xen driver is "off" for a moment: the driver destroys it and starts it anew as one job.
 * Destroying is a job too, so its answer comes after that one's end: it was off, or it had come back and is ended now.
 */
static void make_sure(struct lv_stop *stop)
{
	struct lv_call *call = lv_call_new(stop->ts, LV_DESTROY, stop->uuid, sure);

	stop->calling = true;
	call->op = stop;
	lv_call_post(call);
}

static void sure(struct lv_call *call)
{
	struct lv_stop *stop = call->op;

	stop->calling = false;
	if (call->rc < 0 && call->rc != -FG_ENOTFOUND) {
		stop_end(stop, call->rc, &call->err);
		return;
	}
	stop->ended = true;
	look(stop);
}

/* What its last life may have left is looked for by that one's domid; 0: the number is another guest's by now. */
static int last_domid(struct lv_stop *stop, uint32_t *out, struct fg_error *err)
{
	fg_autofree char *vm = NULL;
	int rc = 0;

	*out = stop->domid ? stop->domid : stop->last_domid;
	if (stop->domid || !stop->last_domid)
		return 0;
	rc = fg_xs_read(stop->ts->xs, &vm, err, "/local/domain/%u/vm", stop->last_domid);
	if (rc == 0 && (strncmp(vm, "/vm/", 4) != 0 || strcmp(vm + 4, stop->uuid) != 0))
		*out = 0;
	return rc == -FG_ENOTFOUND ? 0 : rc;
}

static void wait_gone(struct lv_stop *stop)
{
	struct fg_error err = FG_ERROR_INIT;
	int64_t left = stop->destroy_until_ms ? stop->destroy_until_ms - fg_monotonic_ms() : stop->policy.destroy_ms;
	uint32_t domid = 0;

	evtimer_del(stop->deadline);
	if (!stop->ts->xs) { /* not Xen: libvirt says "off" after it took the devices down */
		stop_end(stop, 0, NULL);
		return;
	}
	int rc = last_domid(stop, &domid, &err);
	if (rc == 0)
		rc = fg_gone_wait(stop->ts->xs, domid, &stop->files, left > 1000 ? (uint32_t)left : 1000, all_gone,
				  stop, &stop->gone, &err);
	if (rc < 0)
		stop_end(stop, rc, &err);
}

static void all_gone(void *arg, int rc, const struct fg_error *err)
{
	struct lv_stop *stop = arg;

	stop->gone = NULL;
	if (rc == 0)
		step(stop, "ended, backends gone");
	stop_end(stop, rc, err);
}

static void stop_end(struct lv_stop *stop, int rc, const struct fg_error *err)
{
	fg_ts_done_cb *cb = stop->cb;
	void *arg = stop->arg;
	struct fg_error copy = err ? *err : (struct fg_error)FG_ERROR_INIT;

	stop_free(stop);
	cb(arg, rc, rc ? &copy : NULL);
}
