/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The stop ladder.  In this order: stop_begin [-> wait_made -> stop_begin …] -> end_daemon [-> daemon_ended -> stop_begin
 * …] -> rung_shutdown -> rung_acpi -> rung_destroy -> destroyed -> wait_gone -> all_gone -> stop_end.  The end of the domain
 * (domain_ended) leads from any rung to rung_destroy.  No domain is no end yet: its xl process may be about to make it anew (end_daemon), and its backends
 * may be left (wait_gone).
 */
#include "dom0-agent/toolstack/gone.h"
#include "dom0-agent/toolstack/image_files.h"
#include "dom0-agent/toolstack/xl_config.h"
#include "dom0-agent/toolstack/xl_daemon.h"
#include "dom0-agent/toolstack/xl_private.h"
#include "lib/log.h"
#include "lib/util.h"

#include <string.h>
#include <sys/syscall.h>
#include <signal.h>
#include <unistd.h>

#define DAEMON_END_MS 5000
#define MADE_LOOK_MS 1000
#define MADE_LOOKS 45 /* within the minute that a job allows beside the rungs (FG_ASK_MS): it asks again then */

enum rung { RUNG_DAEMON, RUNG_SHUTDOWN, RUNG_ACPI, RUNG_DESTROY };

struct stop {
	struct xl_op op;
	struct fg_guest last; /* as the caller saw it last */
	struct fg_stop_policy policy;
	uint32_t domid; /* 0: there is none */
	enum rung rung;
	bool paused; /* it cannot hear a request */
	bool hvm;
	int64_t destroy_until_ms;
	unsigned made_looks;
	struct fg_xl_death *death;
	struct fg_gone *gone;
	struct event *daemon_end;
	int pidfd;
	struct fg_image_files files;
	fg_ts_step_cb *step;
	fg_ts_done_cb *cb;
	void *arg;
};

static void stop_begin(struct stop *stop);
static void wait_made(struct stop *stop);
static void end_daemon(struct stop *stop);
static void daemon_ended(evutil_socket_t fd, short what, void *arg);
static void nothing_there(struct stop *stop);
static void rung_shutdown(struct stop *stop);
static void rung_acpi(struct stop *stop);
static void rung_destroy(struct stop *stop);
static void destroyed(void *arg, int rc);
static void wait_gone(struct stop *stop, uint32_t domid);
static void all_gone(void *arg, int rc, const struct fg_error *err);
static void stop_end(struct stop *stop, int rc, const struct fg_error *err);

static void stop_release(struct xl_op *op)
{
	struct stop *stop = (struct stop *)op;

	/* When ts is closing its context has ended the watch already. */
	fg_gone_cancel(stop->gone);
	if (stop->daemon_end)
		event_free(stop->daemon_end);
	if (stop->pidfd >= 0)
		close(stop->pidfd);
	fg_guest_release(&stop->last);
	fg_image_files_release(&stop->files);
}

static void stop_step(struct stop *stop, const char *what)
{
	if (stop->step)
		stop->step(stop->arg, what);
}

static void deadline(evutil_socket_t fd, short what, void *arg)
{
	struct stop *stop = arg;
	struct fg_error err = FG_ERROR_INIT;

	(void)fd;
	(void)what;
	switch (stop->rung) {
	case RUNG_DAEMON:
		if (!stop->daemon_end) {
			stop_begin(stop);
			return;
		}
		(void)fg_error_set(&err, FG_ETIMEOUT, "waited %d ms for the end of its xl process", DAEMON_END_MS);
		stop_end(stop, -FG_ETIMEOUT, &err);
		return;
	case RUNG_SHUTDOWN:
		stop_step(stop, "no end after the shutdown request");
		rung_acpi(stop);
		return;
	case RUNG_ACPI:
		stop_step(stop, "no end after the power button");
		rung_destroy(stop);
		return;
	case RUNG_DESTROY:
		(void)fg_error_set(&err, FG_ETIMEOUT, "waited %u ms for domain %u to be destroyed",
				   stop->policy.destroy_ms, stop->domid);
		stop_end(stop, -FG_ETIMEOUT, &err);
		return;
	}
}

void xl_stop(struct fg_toolstack *opaque, const struct fg_guest *last, const struct fg_stop_policy *policy,
	     fg_ts_step_cb *step, fg_ts_done_cb *cb, void *arg)
{
	struct xl_ts *ts = (struct xl_ts *)opaque;
	struct stop *stop = xl_op_new(ts, sizeof(*stop), deadline, stop_release);

	fg_guest_copy(last, &stop->last);
	stop->policy = *policy;
	stop->pidfd = -1;
	stop->step = step;
	stop->cb = cb;
	stop->arg = arg;
	xl_op_soon(&stop->op);
}

static void domain_ended(void *arg, bool shutdown, int reason)
{
	struct stop *stop = arg;

	if (stop->rung == RUNG_DESTROY || stop->rung == RUNG_DAEMON)
		return; /* that of the destruction, or of the xl process, is waited for; then it is looked for anew */
	if (shutdown)
		stop_step(stop, reason == LIBXL_SHUTDOWN_REASON_REBOOT ? "guest wants to reboot: taken as its end"
								       : "guest has shut down");
	else
		stop_step(stop, "domain is gone");
	evtimer_del(stop->op.timer);
	rung_destroy(stop);
}

static void remember_live_files(struct stop *stop)
{
	uint8_t *data = NULL;
	int len = 0;
	fg_autojson json_t *config = NULL;
	struct fg_guest g;

	if (libxl_userdata_retrieve(fg_xl_ctx(stop->op.ts->xl), stop->domid, "libxl-json", &data, &len) || !data)
		return;
	size_t n = strnlen((char *)data, (size_t)len);
	int rc = fg_json_parse((char *)data, n, &config, NULL);
	free(data);
	if (rc < 0 || fg_xl_guest_from_json(config, &g, NULL) < 0)
		return;
	fg_image_files_of(&g, &stop->files);
	fg_guest_release(&g);
}

static int find_domain(struct stop *stop, struct fg_error *err)
{
	struct xl_ts *ts = stop->op.ts;
	libxl_dominfo info;

	stop->domid = 0;
	libxl_dominfo_init(&info);
	int rc = fg_xl_find(ts->xl, stop->last.uuid, &stop->domid, &info, err);
	/* One that is ending has nothing left to be asked. */
	stop->paused = info.paused || info.shutdown || info.dying;
	stop->hvm = info.domain_type == LIBXL_DOMAIN_TYPE_HVM;
	libxl_dominfo_dispose(&info);
	return rc;
}

static void stop_begin(struct stop *stop)
{
	struct xl_ts *ts = stop->op.ts;
	struct fg_error err = FG_ERROR_INIT;

	if (!xl_disown(ts, stop->last.uuid)) {
		wait_made(stop);
		return;
	}
	fg_xl_death_unwatch(FG_TAKE(stop->death));
	if (!stop->files.paths)
		fg_image_files_of(&stop->last, &stop->files);
	int rc = find_domain(stop, &err);
	if (rc == 0) {
		rc = fg_xl_death_watch(ts->xl, stop->domid, domain_ended, stop, &stop->death, &err);
		if (rc == 0)
			remember_live_files(stop);
	}
	if (rc < 0 && rc != -FG_ENOTFOUND)
		stop_end(stop, rc, &err);
	else
		end_daemon(stop);
}

/* The agent itself makes it anew just now.  What comes of it is not there yet, and would be found by nobody. */
static void wait_made(struct stop *stop)
{
	struct fg_error err = FG_ERROR_INIT;

	if (!stop->made_looks)
		stop_step(stop, "its domain is being made: waiting for it");
	if (stop->made_looks++ < MADE_LOOKS) {
		xl_op_in(&stop->op, MADE_LOOK_MS);
		return;
	}
	(void)fg_error_set(&err, FG_ETIMEOUT, "waited %d ms for its domain to be made", MADE_LOOKS * MADE_LOOK_MS);
	stop_end(stop, -FG_ETIMEOUT, &err);
}

/* Its xl process, whether it waits for the domain's end or is about to make it anew. */
static int find_daemon(struct stop *stop, struct fg_xl_daemon *out, struct fg_error *err)
{
	struct fg_guest known = stop->last; /* borrowed */

	xl_files_refresh(stop->op.ts);
	if (stop->domid)
		known.domid = stop->domid;
	return xl_daemon_of(stop->op.ts, &known, out, err);
}

/* First of all: it would make the domain anew when the guest reboots instead of shutting down. */
static void end_daemon(struct stop *stop)
{
	struct fg_xl_daemon daemon = { 0 };
	struct fg_error err = FG_ERROR_INIT;
	int rc = find_daemon(stop, &daemon, &err);

	if (rc == -FG_ENOTFOUND && stop->domid)
		rung_shutdown(stop);
	else if (rc == -FG_ENOTFOUND)
		nothing_there(stop);
	if (rc == -FG_ENOTFOUND)
		return;
	/* Its own end leads to NOTFOUND here: it is looked for once more. */
	if (rc == 0)
		rc = stop->pidfd = fg_xl_daemon_open("/proc", &daemon, &err);
	fg_xl_daemon_release(&daemon);
	if (rc == -FG_ENOTFOUND) {
		xl_op_soon(&stop->op);
		return;
	}
	if (rc >= 0 && syscall(SYS_pidfd_send_signal, stop->pidfd, SIGKILL, NULL, 0) < 0)
		rc = fg_error_set(&err, FG_EFAILED, "the xl process of guest %s cannot be ended", stop->last.uuid);
	if (rc < 0) {
		stop_end(stop, rc, &err);
		return;
	}
	stop->daemon_end = event_new(stop->op.ts->cfg.base, stop->pidfd, EV_READ, daemon_ended, stop);
	event_add(stop->daemon_end, NULL);
	xl_op_in(&stop->op, DAEMON_END_MS);
}

/* It may have made a domain in its last moment: look again. */
static void daemon_ended(evutil_socket_t fd, short what, void *arg)
{
	struct stop *stop = arg;

	(void)fd;
	(void)what;
	event_free(FG_TAKE(stop->daemon_end));
	close(FG_TAKE_FD(stop->pidfd));
	stop_step(stop, stop->domid ? "xl process ended" : "xl process ended: it was about to make the guest anew");
	evtimer_del(stop->op.timer);
	stop_begin(stop);
}

/* No domain, and nobody who would make it: what is left of its last life? */
static void nothing_there(struct stop *stop)
{
	struct fg_error err = FG_ERROR_INIT;
	uint32_t domid = stop->last.domid;
	int rc = domid ? xl_domid_is(stop->op.ts, domid, stop->last.uuid, &err) : -FG_ENOTFOUND;

	if (rc == -FG_EEXISTS)
		domid = 0; /* numbers are used again */
	else if (rc < 0 && rc != -FG_ENOTFOUND) {
		stop_end(stop, rc, &err);
		return;
	}
	stop->rung = RUNG_DESTROY;
	stop->destroy_until_ms = fg_monotonic_ms() + stop->policy.destroy_ms;
	wait_gone(stop, domid);
}

static void shutdown_asked(void *arg, int rc)
{
	struct stop *stop = arg;

	/* ERROR_NOPARAVIRT: no PV drivers. A missing acknowledgement is no news: the deadline of the rung decides. */
	if (rc == ERROR_NOPARAVIRT && stop->rung == RUNG_SHUTDOWN) {
		stop_step(stop, "guest does not hear shutdown requests");
		evtimer_del(stop->op.timer);
		rung_acpi(stop);
	}
}

static void rung_shutdown(struct stop *stop)
{
	struct xl_ts *ts = stop->op.ts;

	stop->rung = RUNG_SHUTDOWN;
	if (stop->paused) {
		rung_destroy(stop);
		return;
	}
	if (!stop->policy.shutdown_ms) {
		rung_acpi(stop);
		return;
	}
	stop_step(stop, "shutdown requested");
	xl_op_in(&stop->op, stop->policy.shutdown_ms);
	libxl_asyncop_how how = fg_xl_how(ts->xl, shutdown_asked, stop);
	fg_xl_started(ts->xl, &how, libxl_domain_shutdown(fg_xl_ctx(ts->xl), stop->domid, &how));
}

static void button_pressed(void *arg, int rc)
{
	struct stop *stop = arg;

	if (rc && stop->rung == RUNG_ACPI) {
		stop_step(stop, "guest has no power button");
		evtimer_del(stop->op.timer);
		rung_destroy(stop);
	}
}

static void rung_acpi(struct stop *stop)
{
	struct xl_ts *ts = stop->op.ts;

	stop->rung = RUNG_ACPI;
	if (!stop->policy.acpi_ms || !stop->hvm) {
		rung_destroy(stop);
		return;
	}
	stop_step(stop, "power button pressed");
	xl_op_in(&stop->op, stop->policy.acpi_ms);
	libxl_asyncop_how how = fg_xl_how(ts->xl, button_pressed, stop);
	fg_xl_started(ts->xl, &how, libxl_send_trigger(fg_xl_ctx(ts->xl), stop->domid, LIBXL_TRIGGER_POWER, 0, &how));
}

static void rung_destroy(struct stop *stop)
{
	struct xl_ts *ts = stop->op.ts;
	struct fg_error err = FG_ERROR_INIT;

	stop->rung = RUNG_DESTROY;
	if (!stop->policy.destroy_ms) {
		(void)fg_error_set(&err, FG_ETIMEOUT, "domain %u did not end, and destroying it is not allowed",
				   stop->domid);
		stop_end(stop, -FG_ETIMEOUT, &err);
		return;
	}
	stop_step(stop, "destroying the domain");
	stop->destroy_until_ms = fg_monotonic_ms() + stop->policy.destroy_ms;
	xl_op_in(&stop->op, stop->policy.destroy_ms);
	libxl_asyncop_how how = fg_xl_how(ts->xl, destroyed, stop);
	fg_xl_started(ts->xl, &how, libxl_domain_destroy(fg_xl_ctx(ts->xl), stop->domid, &how));
}

static void destroyed(void *arg, int rc)
{
	struct stop *stop = arg;
	struct fg_error err = FG_ERROR_INIT;

	evtimer_del(stop->op.timer);
	if (rc && rc != ERROR_DOMAIN_NOTFOUND)
		stop_end(stop, fg_xl_error_set(&err, rc, "domain %u cannot be destroyed", stop->domid), &err);
	else
		wait_gone(stop, stop->domid);
}

static void wait_gone(struct stop *stop, uint32_t domid)
{
	struct fg_error err = FG_ERROR_INIT;
	int64_t left = stop->destroy_until_ms - fg_monotonic_ms();
	int rc = fg_gone_wait(stop->op.ts->xs, domid, &stop->files, left > 1000 ? (uint32_t)left : 1000, all_gone, stop,
			      &stop->gone, &err);

	if (rc < 0)
		stop_end(stop, rc, &err);
}

static void all_gone(void *arg, int rc, const struct fg_error *err)
{
	struct stop *stop = arg;

	stop->gone = NULL;
	if (rc == 0)
		stop_step(stop, stop->domid ? "destroyed, backends gone" : "no domain, backends gone");
	stop_end(stop, rc, rc ? err : NULL);
}

static void stop_end(struct stop *stop, int rc, const struct fg_error *err)
{
	fg_ts_done_cb *cb = stop->cb;
	void *arg = stop->arg;
	struct fg_error copy = err ? *err : (struct fg_error)FG_ERROR_INIT;

	fg_xl_death_unwatch(stop->death);
	xl_op_free(&stop->op);
	cb(arg, rc, rc ? &copy : NULL);
}
