/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * libvirt's events.  Its event loop implementation is one per process and may be called from any thread, so its own one
 * (virEventRegisterDefaultImpl) runs in a thread for the life of the process; also keepalive needs it while the worker is
 * inside a call.  A callback gets a number, not a pointer: what it names may be closed by then.
 */
#include "dom0-agent/toolstack/libvirt_private.h"
#include "lib/log.h"
#include "lib/util.h"

#include <libvirt/virterror.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

#define JOINED_MAX 16 /* open toolstacks of one process */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool started;
static struct lv_ts *joined[JOINED_MAX];
static unsigned next_id;

struct changed {
	struct fg_worker_job job; /* first */
	struct lv_ts *ts;
	char uuid[37]; /* empty: not known */
};

static void *events_main(void *arg)
{
	(void)arg;
	for (;;)
		if (virEventRunDefaultImpl() < 0)
			fg_log_warn("libvirt: its event loop failed, going on");
	return NULL;
}

static void quiet(void *arg, virErrorPtr error)
{
	(void)arg;
	(void)error; /* errors are returned, with their text */
}

static void events_start(void)
{
	pthread_t thread;
	sigset_t all, before;

	virSetErrorFunc(NULL, quiet);
	if (virInitialize() < 0 || virEventRegisterDefaultImpl() < 0)
		return;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	started = pthread_create(&thread, NULL, events_main, NULL) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (started)
		pthread_detach(thread);
}

static void changed_free(struct fg_worker_job *job)
{
	free(job);
}

static void changed_done(struct fg_worker_job *job)
{
	struct changed *changed = (struct changed *)job;
	struct changed copy = *changed;

	free(changed);
	lv_changed(copy.ts, copy.uuid[0] ? copy.uuid : NULL); /* may close ts */
}

static void tell(unsigned id, const char *uuid)
{
	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < JOINED_MAX; i++) {
		if (!joined[i] || joined[i]->id != id)
			continue;
		struct changed *changed = fg_calloc(1, sizeof(*changed));
		changed->job = (struct fg_worker_job){ .done = changed_done, .discard = changed_free };
		changed->ts = joined[i];
		snprintf(changed->uuid, sizeof(changed->uuid), "%s", uuid ? uuid : "");
		fg_worker_post_done(joined[i]->worker, &changed->job);
	}
	pthread_mutex_unlock(&lock);
}

static int lifecycle(virConnectPtr conn, virDomainPtr dom, int event, int detail, void *opaque)
{
	char uuid[VIR_UUID_STRING_BUFLEN];

	(void)conn;
	(void)event;
	(void)detail;
	tell((unsigned)(uintptr_t)opaque, virDomainGetUUIDString(dom, uuid) == 0 ? uuid : NULL);
	return 0;
}

/* A NIC, or a card that is passed through to it. */
static void device_added(virConnectPtr conn, virDomainPtr dom, const char *alias, void *opaque)
{
	(void)alias;
	lifecycle(conn, dom, 0, 0, opaque);
}

static void conn_closed(virConnectPtr conn, int reason, void *opaque)
{
	(void)conn;
	fg_log_warn("libvirt: the connection is lost (reason %d)", reason);
	tell((unsigned)(uintptr_t)opaque, NULL); /* the next question connects anew */
}

int lv_events_join(struct lv_ts *ts, struct fg_error *err)
{
	int rc = -FG_ELIMIT;

	pthread_once(&once, events_start);
	if (!started)
		return fg_error_set(err, FG_EFAILED, "libvirt: its event loop cannot be started");
	pthread_mutex_lock(&lock);
	ts->id = ++next_id;
	for (size_t i = 0; rc < 0 && i < JOINED_MAX; i++)
		if (!joined[i]) {
			joined[i] = ts;
			rc = 0;
		}
	pthread_mutex_unlock(&lock);
	return rc ? fg_error_set(err, FG_ELIMIT, "libvirt: more than %d connections", JOINED_MAX) : 0;
}

void lv_events_leave(struct lv_ts *ts)
{
	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < JOINED_MAX; i++)
		if (joined[i] == ts)
			joined[i] = NULL;
	pthread_mutex_unlock(&lock);
}

void lv_events_listen(struct lv_ts *ts)
{
	void *id = (void *)(uintptr_t)ts->id;

	/* Drivers without a network connection (test) have neither: no harm. */
	(void)virConnectRegisterCloseCallback(ts->conn, conn_closed, id, NULL);
	(void)virConnectSetKeepAlive(ts->conn, 5, 5);
	ts->event_id = virConnectDomainEventRegisterAny(ts->conn, NULL, VIR_DOMAIN_EVENT_ID_LIFECYCLE,
							VIR_DOMAIN_EVENT_CALLBACK(lifecycle), id, NULL);
	ts->device_id = virConnectDomainEventRegisterAny(ts->conn, NULL, VIR_DOMAIN_EVENT_ID_DEVICE_ADDED,
							 VIR_DOMAIN_EVENT_CALLBACK(device_added), id, NULL);
	if (ts->event_id < 0 || ts->device_id < 0)
		fg_log_warn("libvirt: no events of domains: %s", virGetLastErrorMessage());
}

void lv_events_deafen(struct lv_ts *ts)
{
	(void)virConnectUnregisterCloseCallback(ts->conn, conn_closed);
	if (ts->event_id >= 0)
		(void)virConnectDomainEventDeregisterAny(ts->conn, ts->event_id);
	if (ts->device_id >= 0)
		(void)virConnectDomainEventDeregisterAny(ts->conn, ts->device_id);
	ts->event_id = ts->device_id = -1;
}
