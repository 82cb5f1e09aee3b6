/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The way back: no fix, and the guest as it was.  The outcome is in the journal from the first step, so that a crash
 * does not turn the way round; it becomes the state when the guest is back.
 *
 * In this order: fg_job_undo -> cleared -> network -> on_started -> ended.
 */
#include "dom0-agent/job/job.h"

#include <lib/util.h>
#include <string.h>

static void cleared(struct fg_job *job);
static void network(struct fg_job *job);
static void on_started(struct fg_job *job, int rc, const struct fg_error *err);

void fg_job_undo(struct fg_job *job, enum fg_state outcome)
{
	fg_job_wait_end(job);
	job->r.outcome = outcome;
	if (fg_job_intent(job, "undo, to end as %s: %s", fg_state_name(outcome), job->r.reason ? job->r.reason : "") <
	    0)
		return;
	fg_job_clear_fixvm(job, cleared);
}

static void cleared(struct fg_job *job)
{
	job->tries = 0;
	network(job);
}

/* Isolated or not, by policy; a guest without a fault of its own always gets its network back. */
static void network(struct fg_job *job)
{
	struct fg_agent *agent = job->agent;
	struct fg_error err = FG_ERROR_INIT;
	bool by_hand = false;
	bool release = job->r.outcome == FG_STATE_NOT_NEEDED || agent->config->release_on_failure;
	bool start = job->r.definition && job->r.was && strcmp(job->r.was, "off") != 0;

	if (fg_journal_operator(agent->journal, job->r.guest, &by_hand, &err) < 0) {
		fg_agent_die(agent, &err);
		return;
	}
	release = release && !by_hand;
	if (release && agent->isolator_ops->release(agent->isolator, job->r.guest, &err) < 0) {
		if (!fg_job_retry(job, &err, network))
			fg_job_hold(job, "cannot release", &err);
		return;
	}
	if (start)
		fg_guest_start(job, !release, on_started);
	else
		fg_job_enter(job, job->r.outcome);
}

static void on_started(struct fg_job *job, int rc, const struct fg_error *err)
{
	if (rc < 0)
		fg_job_hold(job, "cannot start the guest again", err);
	else
		fg_job_enter(job, job->r.outcome);
}
