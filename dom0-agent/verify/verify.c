/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * fixing -> fixed -> layers merged.  Only one way leads to a merge: the result says verified, after we closed the NIC,
 * and the fix VM powered off by itself.
 *
 * In this order: fg_verify_result -> destroyed -> fixed; fg_verify_enter -> merge_next -> (still gone?) merge -> on_merged… ->
 * merged -> (cleared) -> restore.
 */
#include "verify.h"
#include "dom0-agent/fix/run.h"

#include <lib/util.h>
#include <string.h>

#define MERGE_MS (6 * 3600 * 1000) /* a big layer on a slow disk */

static void destroyed(struct fg_job *job);
static void merge_next(struct fg_job *job);
static void merge_if_gone(struct fg_job *job, int rc, const struct fg_error *err);
static void merge(struct fg_job *job);
static void on_merged(struct fg_job *job, int rc, const struct fg_error *err);
static void merge_failed(struct fg_job *job, const struct fg_error *err);
static void merged(struct fg_job *job);

static const char *field(const json_t *result, const char *key)
{
	const char *text = NULL;

	return fg_json_string(result, key, &text, NULL) == 0 ? text : "";
}

void fg_verify_result(struct fg_job *job)
{
	const struct fg_run *run = job->run;

	if (!run->has_result) {
		fg_job_reason(job, "the fix VM ended without a result: %.400s", run->why_gone);
		fg_job_undo(job, FG_STATE_ROLLED_BACK);
		return;
	}
	const char *outcome = field(run->result, "outcome"), *step = field(run->result, "step");
	const char *reason = field(run->result, "reason");

	if (strcmp(outcome, "not-needed") == 0) {
		fg_job_reason(job, "%.400s", reason);
		fg_job_undo(job, FG_STATE_NOT_NEEDED);
	} else if (strcmp(outcome, "failed") == 0) {
		fg_job_reason(job, "%.60s: %.400s", step[0] ? step : "fix", reason);
		fg_job_undo(job, FG_STATE_FAILED);
	} else if (strcmp(outcome, "verified") != 0 || !run->closed) {
		fg_job_reason(job, "the fix VM said what it may not say: %.100s", outcome);
		fg_job_undo(job, FG_STATE_ROLLED_BACK);
	} else if (!run->why_gone) {
		fg_job_reason(job, "the fix VM did not power off after its result");
		fg_job_undo(job, FG_STATE_ROLLED_BACK);
	} else {
		fg_job_destroy_fixvm(job, destroyed);
	}
}

static void destroyed(struct fg_job *job)
{
	free(FG_TAKE(job->r.reason));
	fg_job_enter(job, FG_STATE_FIXED);
}

void fg_verify_enter(struct fg_job *job)
{
	if (job->r.merged) {
		fg_job_clear_fixvm(job, fg_restore_begin);
		return;
	}
	if (fg_job_intent(job, "merge the layers") < 0)
		return;
	job->at = 0;
	merge_next(job);
}

static void merge_next(struct fg_job *job)
{
	while (job->at < job->guest.n_disks && job->guest.disks[job->at].cdrom)
		job->at++;
	if (job->at < job->guest.n_disks)
		fg_job_still_gone(job, merge_if_gone);
	else
		merged(job);
}

static void merge_if_gone(struct fg_job *job, int rc, const struct fg_error *err)
{
	if (rc == 0)
		merge(job);
	else if (rc == -FG_EEXISTS)
		merge_failed(job, err);
	else
		fg_job_hold(job, "is the guest still gone", err); /* the layers stay: it can go on */
}

static void merge(struct fg_job *job)
{
	const struct fg_agent *agent = job->agent;
	const struct fg_disk *d = &job->guest.disks[job->at];
	struct fg_layer_request req = { .target = d->target, .readonly = d->readonly };

	memcpy(req.job, job->r.id, sizeof(req.job));
	memcpy(req.vdev, d->vdev, sizeof(req.vdev));
	struct fg_call *call = fg_job_wait(job, "a layer to be merged", MERGE_MS, on_merged);
	if (d->readonly)
		agent->layer_ops->drop(agent->layers, &req, fg_call_done, call);
	else
		agent->layer_ops->merge(agent->layers, &req, fg_call_done, call);
}

static void on_merged(struct fg_job *job, int rc, const struct fg_error *err)
{
	if (rc < 0) {
		if (!fg_code_unknown(rc) || !fg_job_retry(job, err, merge_next))
			merge_failed(job, err);
		return;
	}
	job->tries = 0;
	job->at++;
	merge_next(job);
}

/* Before the merge began there is a way back; after it only forward, which a person has to open. */
static void merge_failed(struct fg_job *job, const struct fg_error *err)
{
	const struct fg_agent *agent = job->agent;
	struct fg_error asked = FG_ERROR_INIT;
	bool begun = true;

	if (agent->layer_ops->merge_begun(agent->layers, job->r.id, &begun, &asked) < 0 || begun) {
		fg_job_hold(job, "cannot merge", err);
		return;
	}
	fg_job_reason_error(job, "cannot merge", err);
	fg_job_undo(job, FG_STATE_ROLLED_BACK);
}

static void merged(struct fg_job *job)
{
	job->r.merged = true;
	job->tries = 0;
	fg_job_note(job, "layers merged");
	if (!job->agent->dead)
		fg_job_clear_fixvm(job, fg_restore_begin); /* the layers' records of the merge are of no use any more */
}
