/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cancel.h"

#include <lib/log.h>
#include <lib/util.h>
#include <string.h>

#define ISOLATE_STEP "isolate" /* the intent of isolate.c */

bool fg_job_cancelled(struct fg_job *job)
{
	if (!job->cancelled || job->past_cancel)
		return false;
	fg_job_reason(job, FG_CANCEL_REASON);
	fg_job_enter(job, FG_STATE_REJECTED);
	return true;
}

void fg_job_past_cancel(struct fg_job *job)
{
	job->past_cancel = true;
}

static bool is_early(const struct fg_job *job)
{
	return (job->r.state == FG_STATE_OFFERED || job->r.state == FG_STATE_QUEUED) && !job->past_cancel &&
	       job->r.outcome == FG_STATE_NONE;
}

static void cancel(struct fg_job *job)
{
	if (!is_early(job)) {
		fg_log_info("job=%s guest=%s its offer is cancelled, but it has begun: it goes on", job->r.id,
			    job->r.guest);
		return;
	}
	if (!job->cancelled)
		fg_job_note(job, FG_CANCEL_REASON);
	job->cancelled = true;
	/* Waiting for its turn: nothing is under way. Else the next step of it sees. */
	if (job->slot_wanted != FG_SLOT_NONE && !job->call && !job->run && !job->agent->dead)
		fg_job_cancelled(job);
}

void fg_jobs_cancel(struct fg_agent *agent, const char *guest, const char *fix, int64_t offer_seq)
{
	struct fg_job *job, *next;

	for (job = TAILQ_FIRST(&agent->jobs); job && !agent->dead; job = next) {
		next = TAILQ_NEXT(job, link);
		if (strcmp(job->r.guest, guest) == 0 && strcmp(job->r.fix, fix) == 0 && job->r.offer_seq <= offer_seq)
			cancel(job);
	}
}

bool fg_job_cancel_recover(struct fg_job *job)
{
	struct fg_error err = FG_ERROR_INIT;
	fg_autojson json_t *steps = NULL;
	const json_t *step;
	size_t i;

	if (fg_journal_steps(job->agent->journal, job->r.id, &steps, &err) < 0) {
		fg_agent_die(job->agent, &err);
		return false;
	}
	json_array_foreach (steps, i, step) {
		const char *what = json_string_value(json_object_get(step, "what"));
		const char *kind = json_string_value(json_object_get(step, "kind"));
		if (what && kind && strcmp(kind, "note") == 0 && strcmp(what, FG_CANCEL_REASON) == 0)
			job->cancelled = true;
		if (what && kind && strcmp(kind, "intent") == 0 && strcmp(what, ISOLATE_STEP) == 0)
			job->past_cancel = true;
	}
	return true;
}
