/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The guest comes back, fixed.
 *
 *	release = before-boot   fixed -> released -> (start) -> rebooting -> (health) -> done
 *	release = after-health  fixed -> (start, isolated) -> rebooting -> (health) -> released -> done
 *	it was off              fixed -> released -> done
 *	isolated by hand        as after-health, without released: only the person releases it
 */
#include "dom0-agent/job/job.h"

#include <lib/log.h>
#include <lib/util.h>
#include <string.h>

static void release(struct fg_job *job);
static void on_started(struct fg_job *job, int rc, const struct fg_error *err);
static void wait_healthy(struct fg_job *job);
static void on_healthy(struct fg_job *job, int rc, const struct fg_error *err);
static void healthy(struct fg_job *job);

/* Dies with the agent if the journal cannot be read. */
static bool isolated_by_hand(struct fg_job *job)
{
	struct fg_error err = FG_ERROR_INIT;
	bool by_hand = true;

	if (fg_journal_operator(job->agent->journal, job->r.guest, &by_hand, &err) < 0)
		fg_agent_die(job->agent, &err);
	return by_hand;
}

static bool was_off(const struct fg_job *job)
{
	return strcmp(job->r.was, "off") == 0;
}

void fg_restore_begin(struct fg_job *job)
{
	bool by_hand = isolated_by_hand(job);

	job->tries = 0;
	if (job->agent->dead)
		return;
	if (by_hand)
		fg_job_note(job, "stays isolated: that was done by hand");
	if (by_hand && was_off(job))
		fg_job_enter(job, FG_STATE_DONE);
	else if (was_off(job) || (!by_hand && !job->agent->config->release_after_health))
		release(job);
	else
		fg_guest_start(job, true, on_started);
}

static void release(struct fg_job *job)
{
	struct fg_error err = FG_ERROR_INIT;

	if (fg_job_intent(job, "release") < 0)
		return;
	if (job->agent->isolator_ops->release(job->agent->isolator, job->r.guest, &err) == 0)
		fg_job_enter(job, FG_STATE_RELEASED);
	else if (!fg_job_retry(job, &err, release))
		fg_job_hold(job, "cannot release", &err);
}

void fg_restore_enter(struct fg_job *job)
{
	if (was_off(job) || job->healthy)
		fg_job_enter(job, FG_STATE_DONE);
	else
		fg_guest_start(job, false, on_started);
}

static void on_started(struct fg_job *job, int rc, const struct fg_error *err)
{
	if (rc < 0)
		fg_job_hold(job, "cannot start the guest", err);
	else
		fg_job_enter(job, FG_STATE_REBOOTING);
}

void fg_health_enter(struct fg_job *job)
{
	if (strcmp(job->r.was, "paused") == 0)
		healthy(job); /* it was paused when we came: nothing in it can connect */
	else
		wait_healthy(job);
}

static void wait_healthy(struct fg_job *job)
{
	struct fg_agent_toolstack *t = fg_job_toolstack(job);
	const uint32_t ms = job->agent->config->health_s * 1000;
	struct fg_error err = FG_ERROR_INIT;

	if (!t) {
		fg_error_set(&err, FG_EUNREACHABLE, "toolstack %s is not connected", job->r.toolstack);
		if (!fg_job_retry(job, &err, wait_healthy))
			fg_job_hold(job, "health of the guest", &err);
		return;
	}
	struct fg_call *call = fg_job_wait(job, "the guest's NICs to connect", (int64_t)ms + FG_ASK_MS, on_healthy);
	t->ops->wait_connected(t->ts, job->r.guest, ms, fg_call_done, call);
}

static void on_healthy(struct fg_job *job, int rc, const struct fg_error *err)
{
	if (rc == 0) {
		healthy(job);
		return;
	}
	if (rc != -FG_ETIMEOUT && fg_code_unknown(rc) && fg_job_retry(job, err, wait_healthy))
		return;
	if (!job->agent->config->release_on_health_failure) {
		fg_job_hold(job, "health of the guest", err);
		return;
	}
	fg_job_reason_error(job, "fixed, but not healthy", err);
	healthy(job);
}

static void healthy(struct fg_job *job)
{
	struct fg_error err = FG_ERROR_INIT;
	bool marked = false, by_hand = isolated_by_hand(job);

	if (job->agent->dead)
		return;
	job->healthy = true;
	if (job->agent->isolator_ops->marked(job->agent->isolator, job->r.guest, &marked, &err) < 0) {
		if (!fg_job_retry(job, &err, healthy))
			fg_job_hold(job, "is the guest isolated", &err);
		return;
	}
	if (marked && !by_hand)
		release(job);
	else
		fg_job_enter(job, FG_STATE_DONE);
}
