/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The guest is started from its definition and left paused until its NICs are as they have to be.
 *
 * In this order: fg_guest_start -> start -> on_paused -> on_unpaused -> next.
 */
#include "dom0-agent/job/job.h"

#include <string.h>

static void start(struct fg_job *job);
static void on_paused(struct fg_job *job, int rc, const struct fg_error *err);
static void on_unpaused(struct fg_job *job, int rc, const struct fg_error *err);

static void answer(struct fg_job *job, int rc, const struct fg_error *err)
{
	if (rc < 0 && fg_code_unknown(rc) && fg_job_retry(job, err, start))
		return;
	job->start_then(job, rc, err);
}

void fg_guest_start(struct fg_job *job, bool isolated, fg_next_fn *next)
{
	job->start_isolated = isolated;
	job->start_then = next;
	job->tries = 0;
	start(job);
}

static void start(struct fg_job *job)
{
	struct fg_agent_toolstack *t = fg_job_toolstack(job);
	struct fg_error err = FG_ERROR_INIT;

	if (!t) {
		fg_error_set(&err, FG_EUNREACHABLE, "toolstack %s is not connected", job->r.toolstack);
		answer(job, -FG_EUNREACHABLE, &err);
		return;
	}
	if (fg_job_intent(job, "start the guest%s", job->start_isolated ? ", isolated" : "") < 0)
		return;
	struct fg_call *call = fg_job_wait(job, "the guest to be made", FG_ACT_MS, on_paused);
	t->ops->start_paused(t->ts, job->r.definition, fg_call_guest, call);
}

static void on_paused(struct fg_job *job, int rc, const struct fg_error *cause)
{
	struct fg_agent *agent = job->agent;
	struct fg_error err = cause ? *cause : (struct fg_error)FG_ERROR_INIT;
	struct fg_agent_toolstack *t = fg_job_toolstack(job);

	if (rc == 0 && strcmp(job->found.uuid, job->r.guest) != 0)
		rc = fg_error_set(&err, FG_EDIFFERS, "the guest came back as %s", job->found.uuid);
	/* What an interrupted start has left must not be taken for the guest. */
	if (rc == 0 && fg_guest_same_devices(&job->guest, &job->found, &err) < 0)
		rc = fg_error_wrap(&err, "the guest came back as another");
	if (rc == 0 && job->start_isolated)
		rc = agent->isolator_ops->isolate(agent->isolator, &job->found, false, &err);
	if (rc == 0 && !t)
		rc = fg_error_set(&err, FG_EUNREACHABLE, "toolstack %s is not connected", job->r.toolstack);
	if (rc < 0) {
		answer(job, rc, &err);
		return;
	}
	bool leave = job->found.state != FG_GUEST_PAUSED || strcmp(job->r.was, "paused") == 0;
	if (leave) {
		job->start_then(job, 0, NULL);
		return;
	}
	struct fg_call *call = fg_job_wait(job, "the guest to run", FG_ASK_MS, on_unpaused);
	t->ops->unpause(t->ts, job->r.guest, fg_call_done, call);
}

static void on_unpaused(struct fg_job *job, int rc, const struct fg_error *err)
{
	answer(job, rc, err);
}
