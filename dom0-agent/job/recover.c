/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A job goes on after the agent was started again, or after a person resolved it.  Reality is asked, by identity, before
 * anything is done; what is not known is asked again and then held.
 *
 *	outcome set  the way back is gone on with
 *	offered      an inspection may have been left: cleared, decided anew
 *	queued       isolated anew when its turn comes
 *	isolated     filter compared and installed again, then stopped
 *	stopped      fix VM and layers cleared, the guest stopped again (it is gone, or gone again), then fixed
 *	fixing       fix VM destroyed, layers dropped; once more, the second time rolled-back
 *	fixed        fix VM destroyed, merge goes on
 *	released     started; a guest that is there is taken as it is
 *	rebooting    started if it is not there, then health
 */
#include "cancel.h"
#include "job.h"

#include <lib/log.h>
#include <lib/util.h>
#include <string.h>

static void isolated_found(struct fg_job *job, int rc, const struct fg_error *err);
static void stopped_cleared(struct fg_job *job);
static void stopped_stop(struct fg_job *job);
static void stopped_again(struct fg_job *job, int rc, const struct fg_error *err);
static void fixing_cleared(struct fg_job *job);
static void rebooting_started(struct fg_job *job, int rc, const struct fg_error *err);

void fg_isolate_again(struct fg_job *job)
{
	fg_job_find(job, isolated_found);
}

static void isolated_found(struct fg_job *job, int rc, const struct fg_error *cause)
{
	struct fg_agent *agent = job->agent;
	struct fg_error err = cause ? *cause : (struct fg_error)FG_ERROR_INIT;
	struct fg_guest bare;

	fg_guest_copy(&job->guest, &bare);
	for (size_t i = 0; i < bare.n_nics; i++)
		bare.nics[i].n_netdevs = 0;
	if (rc == 0 || rc == -FG_ENOTFOUND)
		rc = agent->isolator_ops->isolate(agent->isolator, rc == 0 ? &job->found : &bare, false, &err);
	fg_guest_release(&bare);
	if (rc == 0) {
		job->tries = 0;
		fg_stop_enter(job);
	} else if (!fg_job_retry(job, &err, fg_isolate_again)) {
		fg_job_hold(job, "cannot isolate again", &err);
	}
}

/* The mark must stand before anything else happens to a guest that is off. */
static bool mark(struct fg_job *job)
{
	struct fg_agent *agent = job->agent;
	struct fg_error err = FG_ERROR_INIT;
	struct fg_guest bare;

	fg_guest_copy(&job->guest, &bare);
	for (size_t i = 0; i < bare.n_nics; i++)
		bare.nics[i].n_netdevs = 0;
	int rc = agent->isolator_ops->isolate(agent->isolator, &bare, false, &err);
	fg_guest_release(&bare);
	if (rc < 0 && !fg_job_retry(job, &err, fg_job_resume))
		fg_job_hold(job, "cannot mark the guest", &err);
	return rc == 0;
}

static void stopped_cleared(struct fg_job *job)
{
	job->tries = 0;
	stopped_stop(job);
}

static void stopped_stop(struct fg_job *job)
{
	struct fg_error err = FG_ERROR_INIT;

	if (!fg_stop_ladder(job, "make sure that the guest is gone", "the guest to be gone", stopped_again, &err))
		stopped_again(job, -FG_EUNREACHABLE, &err);
}

static void stopped_again(struct fg_job *job, int rc, const struct fg_error *err)
{
	if (rc == 0) {
		job->tries = 0;
		fg_fix_enter(job);
	} else if (!fg_job_retry(job, err, stopped_stop)) {
		fg_job_hold(job, "is the guest gone", err);
	}
}

static void fixing_cleared(struct fg_job *job)
{
	if (job->r.attempts < FG_ATTEMPTS_MAX) {
		/* Through `stopped`, whose recovery makes sure that the guest is gone. */
		job->resuming = true;
		fg_job_enter(job, FG_STATE_STOPPED);
		return;
	}
	fg_job_reason(job, "the agent was interrupted %u times while the fix ran", job->r.attempts);
	fg_job_undo(job, FG_STATE_ROLLED_BACK);
}

static void rebooting_started(struct fg_job *job, int rc, const struct fg_error *err)
{
	if (rc < 0)
		fg_job_hold(job, "cannot start the guest", err);
	else
		fg_health_enter(job);
}

/* Was it released already?  The mark knows. */
static void resume_rebooting(struct fg_job *job)
{
	struct fg_error err = FG_ERROR_INIT;
	bool marked = false;

	if (job->agent->isolator_ops->marked(job->agent->isolator, job->r.guest, &marked, &err) < 0) {
		if (!fg_job_retry(job, &err, resume_rebooting))
			fg_job_hold(job, "is the guest isolated", &err);
		return;
	}
	fg_guest_start(job, marked, rebooting_started);
}

static void resume_state(struct fg_job *job)
{
	switch (job->r.state) {
	case FG_STATE_OFFERED:
		if (fg_job_cancel_recover(job))
			fg_job_clear_fixvm(job, fg_decide_enter);
		return;
	case FG_STATE_QUEUED:
		if (fg_job_cancel_recover(job))
			fg_queue_enter(job);
		return;
	case FG_STATE_ISOLATED:
		fg_isolate_again(job);
		return;
	case FG_STATE_STOPPED:
		if (mark(job))
			fg_job_clear_fixvm(job, stopped_cleared);
		return;
	case FG_STATE_FIXING:
		if (mark(job))
			fg_job_clear_fixvm(job, fixing_cleared);
		return;
	case FG_STATE_FIXED:
		if (mark(job))
			fg_job_destroy_fixvm(job, fg_verify_enter);
		return;
	case FG_STATE_RELEASED:
		fg_restore_enter(job);
		return;
	case FG_STATE_REBOOTING:
		resume_rebooting(job);
		return;
	case FG_STATE_DONE:
	case FG_STATE_NOT_NEEDED:
	case FG_STATE_REJECTED:
	case FG_STATE_FAILED:
	case FG_STATE_ROLLED_BACK:
	case FG_STATE_HELD:
	case FG_STATE_COUNT:
		return;
	}
}

void fg_job_resume(struct fg_job *job)
{
	struct fg_error err = FG_ERROR_INIT;

	if (job->r.state == FG_STATE_HELD) {
		fg_job_keep_safe(job);
		return;
	}
	if (job->r.state > FG_STATE_QUEUED && !job->has_guest) {
		fg_error_set(&err, FG_EDIFFERS, "its snapshot is not in the journal");
		fg_job_hold(job, "recovery", &err);
		return;
	}
	/* Work that had begun has its slot, whatever the limit is now. */
	if (job->r.state > FG_STATE_QUEUED)
		job->slot = FG_SLOT_FIX;
	if (job->r.outcome != FG_STATE_NONE) {
		fg_log_info("job=%s guest=%s goes on with the way back to %s", job->r.id, job->r.name,
			    fg_state_name(job->r.outcome));
		fg_job_undo(job, job->r.outcome);
		return;
	}
	fg_log_info("job=%s guest=%s goes on from %s", job->r.id, job->r.name ? job->r.name : job->r.guest,
		    fg_state_name(job->r.state));
	resume_state(job);
}
