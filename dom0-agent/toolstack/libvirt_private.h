/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the files of the libvirt toolstack share; nobody else includes it.
 * Calls to libvirt block: each is a job of the toolstack's worker thread (libvirt_work.c); the loop's side starts them and
 * gets their ends (toolstack_libvirt.c, libvirt_stop.c).  libvirt's own events run in one thread of the process
 * (libvirt_events.c) and are passed to the loop as ends of jobs.
 */
#ifndef FG_LIBVIRT_PRIVATE_H
#define FG_LIBVIRT_PRIVATE_H

#include "dom0-agent/toolstack/toolstack.h"
#include "dom0-agent/toolstack/worker.h"
#include "dom0-agent/toolstack/xenstore.h"

#include <libvirt/libvirt.h>
#include <sys/queue.h>

struct lv_stop;
struct lv_wait;

struct lv_ts {
	struct fg_toolstack_config cfg;
	char *uri;
	bool xen, qemu;
	unsigned id; /* for events: see libvirt_events.c */
	struct fg_worker *worker;
	struct fg_xs *xs; /* xen only */
	LIST_HEAD(lv_stop_list, lv_stop) stops;
	LIST_HEAD(lv_wait_list, lv_wait) waits;
	/* the worker's */
	virConnectPtr conn;
	int event_id, device_id;
};

enum lv_verb {
	LV_LIST,
	LV_FIND,
	LV_SAVE,
	LV_LOOK, /* is it active, and what does it hold */
	LV_SHUTDOWN,
	LV_ACPI,
	LV_DESTROY,
	LV_START,
	LV_RESUME,
	LV_CLOSE,
};

struct lv_call {
	struct fg_worker_job job; /* first */
	struct lv_ts *ts;
	enum lv_verb verb;
	char uuid[37];
	char *text_in; /* LV_START: the definition */
	/* results */
	int rc;
	struct fg_error err;
	struct fg_guest *guests; /* LV_LIST, LV_FIND, LV_START, LV_LOOK */
	size_t n;
	char *text; /* LV_SAVE */
	/* the caller's */
	void (*end)(struct lv_call *call); /* in the loop; the call is freed after it */
	void *op;
	fg_ts_list_cb *list_cb;
	fg_ts_guest_cb *guest_cb;
	fg_ts_text_cb *text_cb;
	fg_ts_done_cb *done_cb;
	void *arg;
};

struct lv_call *lv_call_new(struct lv_ts *ts, enum lv_verb verb, const char *uuid, void (*end)(struct lv_call *));
void lv_call_post(struct lv_call *call);
/* libvirt_work.c: runs call->verb, in the thread. */
void lv_work(struct fg_worker_job *job);

/* libvirt_events.c */
int lv_events_join(struct lv_ts *ts, struct fg_error *err) FG_MUST_CHECK;
void lv_events_leave(struct lv_ts *ts);
void lv_events_listen(struct lv_ts *ts); /* on ts->conn, in the thread */
void lv_events_deafen(struct lv_ts *ts);
/* In the loop: a domain changed; uuid NULL: not known which. toolstack_libvirt.c */
void lv_changed(struct lv_ts *ts, const char *uuid);

/* libvirt_stop.c */
void lv_stop(struct fg_toolstack *ts, const struct fg_guest *last, const struct fg_stop_policy *policy,
	     fg_ts_step_cb *step, fg_ts_done_cb *cb, void *arg);
void lv_stop_changed(struct lv_ts *ts, const char *uuid);
void lv_stop_free_all(struct lv_ts *ts);

#endif
