/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * isolated -> stopped.  The definition is saved once more, now that nothing comes from outside any more; then the stop
 * ladder runs.  It runs also for a guest that is off or seems gone: its owner must not bring it back, and what its last
 * life left behind must go.
 *
 * In this order: fg_stop_enter -> look -> on_found -> on_saved -> stop -> fg_stop_ladder -> on_step… -> on_stopped -> stopped;
 * beside it: on_found_after_failure.
 */
#include "dom0-agent/job/job.h"
#include "dom0-agent/job/snapshot.h"

#include <lib/util.h>
#include <string.h>

static void look(struct fg_job *job);
static void on_found(struct fg_job *job, int rc, const struct fg_error *err);
static void on_saved(struct fg_job *job, int rc, const struct fg_error *err);
static void stop(struct fg_job *job);
static void on_stopped(struct fg_job *job, int rc, const struct fg_error *err);
static void on_found_after_failure(struct fg_job *job, int rc, const struct fg_error *err);

void fg_stop_enter(struct fg_job *job)
{
	look(job);
}

static void look(struct fg_job *job)
{
	fg_job_find(job, on_found);
}

static void again_or_hold(struct fg_job *job, const struct fg_error *err, fg_step_fn *again)
{
	if (!fg_job_retry(job, err, again))
		fg_job_hold(job, "cannot stop the guest", err);
}

static void on_found(struct fg_job *job, int rc, const struct fg_error *cause)
{
	struct fg_error err = cause ? *cause : (struct fg_error)FG_ERROR_INIT;
	bool was_off = strcmp(job->r.was, "off") == 0;
	bool on = rc == 0 && job->found.state != FG_GUEST_OFF;
	bool reboots = on && job->found.state == FG_GUEST_DYING && job->found.domid == 0;
	struct fg_agent_toolstack *t = fg_job_toolstack(job);

	if (rc < 0 && rc != -FG_ENOTFOUND) {
		again_or_hold(job, &err, look);
		return;
	}
	if (reboots && was_off) { /* somebody started it after all: saved when it is there */
		fg_error_set(&err, FG_EUNREACHABLE, "the guest reboots just now");
		again_or_hold(job, &err, look);
		return;
	}
	if (!on || reboots) { /* where it went down by itself was = running stays: it is brought back */
		stop(job);
		return;
	}
	if (!t) {
		fg_error_set(&err, FG_EUNREACHABLE, "toolstack %s is not connected", job->r.toolstack);
		again_or_hold(job, &err, look);
		return;
	}
	if (was_off) {
		free(job->r.was);
		job->r.was = fg_strdup(fg_guest_state_name(FG_GUEST_RUNNING));
	}
	if (!job->found.refusal)
		fg_job_take_found(job);
	struct fg_call *call = fg_job_wait(job, "the guest's definition", FG_ASK_MS, on_saved);
	t->ops->save(t->ts, job->r.guest, fg_call_text, call);
}

static void on_saved(struct fg_job *job, int rc, const struct fg_error *err)
{
	if (rc == 0) {
		free(job->r.definition);
		job->r.definition = FG_TAKE(job->text);
	} else if (rc != -FG_ENOTFOUND || !job->r.definition) {
		again_or_hold(job, err, look);
		return;
	}
	stop(job);
}

static void stop(struct fg_job *job)
{
	struct fg_error err = FG_ERROR_INIT;

	if (!fg_stop_ladder(job, "stop the guest", "the guest to stop", on_stopped, &err))
		again_or_hold(job, &err, stop);
}

static void on_step(void *arg, const char *what)
{
	struct fg_job *job = fg_call_job(arg);

	if (job)
		fg_job_note(job, "stop: %s", what);
}

bool fg_stop_ladder(struct fg_job *job, const char *intent, const char *noun, fg_next_fn *next, struct fg_error *err)
{
	const struct fg_agent_config *c = job->agent->config;
	const struct fg_stop_policy policy = { c->shutdown_s * 1000, c->acpi_s * 1000, c->destroy_s * 1000 };
	struct fg_agent_toolstack *t = fg_job_toolstack(job);

	if (!t) {
		fg_error_set(err, FG_EUNREACHABLE, "toolstack %s is not connected", job->r.toolstack);
		return false;
	}
	if (fg_job_intent(job, "%s", intent) < 0)
		return true;
	int64_t deadline = (int64_t)policy.shutdown_ms + policy.acpi_ms + policy.destroy_ms + FG_ASK_MS;
	struct fg_call *call = fg_job_wait(job, noun, deadline, next);
	t->ops->stop(t->ts, &job->guest, &policy, on_step, fg_call_done, call);
	return true;
}

static void on_stopped(struct fg_job *job, int rc, const struct fg_error *err)
{
	if (rc == 0)
		fg_job_enter(job, FG_STATE_STOPPED);
	else if (!fg_job_retry(job, err, stop)) {
		fg_job_reason_error(job, "cannot stop the guest", err);
		fg_job_find(job, on_found_after_failure);
	}
}

/* It runs on: nothing was done to it, it can stay.  Anything else is not known well enough. */
static void on_found_after_failure(struct fg_job *job, int rc, const struct fg_error *cause)
{
	struct fg_error err = FG_ERROR_INIT;

	if (rc == 0 && (job->found.state == FG_GUEST_RUNNING || job->found.state == FG_GUEST_PAUSED)) {
		fg_job_undo(job, FG_STATE_FAILED);
		return;
	}
	fg_error_set(&err, FG_EHELD, "%s; %s", job->r.reason, cause ? cause->text : "it is neither running nor gone");
	fg_job_hold(job, "stop", &err);
}
