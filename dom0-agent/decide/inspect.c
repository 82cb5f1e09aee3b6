/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The inspection: a fix VM without a NIC looks at a read-only view of the disks, while the guest runs on.  What it sees
 * is a hint (docs/decisions/0001): "not needed" ends the job, anything else goes on to the check that counts, the one in
 * the fix VM on disks that nobody else writes.
 *
 * In this order: fg_inspect -> on_started -> on_message… -> on_gone | on_deadline -> finish -> decided.
 */
#include "decide.h"
#include "dom0-agent/fix/run.h"

#include <lib/util.h>
#include <string.h>

#define LOOK_MS 120000 /* from hello to the result */

static void on_started(struct fg_job *job, int rc, const struct fg_error *err);
static void on_message(struct fg_job *job, enum fg_fixvm_message type, const json_t *body);
static void on_gone(struct fg_job *job, const char *why);
static void on_deadline(struct fg_job *job, int rc, const struct fg_error *err);
static void decided(struct fg_job *job);

static const struct fg_run_events events = { on_started, on_message, on_gone };

void fg_inspect(struct fg_job *job)
{
	if (fg_job_intent(job, "inspect a read-only view of the disks") < 0)
		return;
	fg_run_start(job, true, &events);
}

/* The hint, as reason of the job: NULL = go on. */
static void finish(struct fg_job *job, const char *not_needed, const char *unclear)
{
	fg_job_wait_end(job);
	free(job->r.reason);
	job->r.reason = fg_strdup(not_needed);
	if (unclear)
		fg_job_note(job, "inspection gave no answer (%s), going on", unclear);
	fg_job_clear_fixvm(job, decided);
}

static void on_started(struct fg_job *job, int rc, const struct fg_error *err)
{
	if (rc < 0) {
		finish(job, NULL, err->text);
		return;
	}
	if (job->run->why_gone) {
		on_gone(job, job->run->why_gone);
		return;
	}
	fg_job_wait(job, "the inspection", (int64_t)job->agent->config->fixvm_boot_s * 1000 + LOOK_MS, on_deadline);
}

static void on_message(struct fg_job *job, enum fg_fixvm_message type, const json_t *body)
{
	/* The result is kept by the run and read when the VM is gone. */
	(void)job;
	(void)type;
	(void)body;
}

static void on_gone(struct fg_job *job, const char *why)
{
	const char *outcome = "", *reason = "";

	if (job->run->has_result) {
		if (fg_json_string(job->run->result, "outcome", &outcome, NULL) < 0)
			outcome = "";
		if (fg_json_string(job->run->result, "reason", &reason, NULL) < 0)
			reason = "";
	}
	fg_autofree char *text = fg_asprintf("%.300s", reason[0] ? reason : why);
	if (strcmp(outcome, "needed") == 0)
		finish(job, NULL, NULL);
	else if (strcmp(outcome, "not-needed") == 0)
		finish(job, text, NULL);
	else
		finish(job, NULL, text);
}

static void on_deadline(struct fg_job *job, int rc, const struct fg_error *err)
{
	(void)rc;
	if (job->run && job->run->has_result)
		on_gone(job, "did not power off");
	else
		finish(job, NULL, err->text);
}

static void decided(struct fg_job *job)
{
	fg_slot_give_back(job);
	fg_job_enter(job, job->r.reason ? FG_STATE_NOT_NEEDED : FG_STATE_QUEUED);
}
