/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * stopped -> fixing, and while it is fixing.  What the fix VM says only moves the phase; each phase has its deadline:
 *
 *	boot -> download -> (dom0 closes the NIC) -> fix -> power-off -> fg_verify_result
 */
#include "run.h"
#include "dom0-agent/verify/verify.h"

#include <lib/log.h>
#include <lib/util.h>
#include <string.h>

#define POWER_OFF_MS 60000
#define FIX_SLACK_MS 180000 /* mount, checks, unmount, sync */

static void on_started(struct fg_job *job, int rc, const struct fg_error *err);
static void on_message(struct fg_job *job, enum fg_fixvm_message type, const json_t *body);
static void on_gone(struct fg_job *job, const char *why);
static void on_kicked(struct fg_job *job, int rc, const struct fg_error *err);
static void phase(struct fg_job *job);
static void on_deadline(struct fg_job *job, int rc, const struct fg_error *err);

static const struct fg_run_events events = { on_started, on_message, on_gone };

void fg_fix_enter(struct fg_job *job)
{
	fg_run_start(job, false, &events);
}

static void on_started(struct fg_job *job, int rc, const struct fg_error *err)
{
	if (rc == 0) {
		job->r.attempts++; /* it was let run; written with the state */
		fg_job_enter(job, FG_STATE_FIXING);
		return;
	}
	fg_job_reason_error(job, "no fix VM", err);
	fg_job_undo(job, FG_STATE_FAILED);
}

void fg_fix_run_enter(struct fg_job *job)
{
	phase(job);
}

/* From inside an event of the fix VM: act from the loop, when its own function has returned. */
static void kick(struct fg_job *job)
{
	if (job->r.state != FG_STATE_FIXING || job->r.outcome != FG_STATE_NONE)
		return;
	fg_job_wait_end(job);
	fg_job_later(job, 0, NULL, on_kicked);
}

static void on_message(struct fg_job *job, enum fg_fixvm_message type, const json_t *body)
{
	fg_autofree char *text = fg_json_dump(body);

	if (type == FG_FIXVM_PROGRESS) {
		fg_log_debug("job=%s fix VM: progress %.200s", job->r.id, text);
		return;
	}
	static const char *const names[] = {
#define X(NAME, str) [FG_FIXVM_##NAME] = str,
		FG_FIXVM_MESSAGE_LIST(X)
#undef X
	};
	fg_job_note(job, "fix VM: %s %.400s", names[type], text);
	if (type == FG_FIXVM_HELLO || type == FG_FIXVM_VERIFIED || type == FG_FIXVM_RESULT)
		kick(job);
}

static void on_gone(struct fg_job *job, const char *why)
{
	(void)why;
	kick(job);
}

static void on_kicked(struct fg_job *job, int rc, const struct fg_error *err)
{
	(void)rc;
	(void)err;
	phase(job);
}

static void close_nic(struct fg_job *job)
{
	struct fg_error err = FG_ERROR_INIT;

	if (fg_job_intent(job, "close the fix VM's NIC") < 0)
		return;
	if (fg_run_close(job, &err) == 0) {
		fg_job_note(job, "closed");
		phase(job);
		return;
	}
	fg_job_reason_error(job, "cannot close the fix VM's NIC", &err);
	fg_job_undo(job, FG_STATE_ROLLED_BACK);
}

static void phase(struct fg_job *job)
{
	const struct fg_agent_config *config = job->agent->config;
	const struct fg_run *run = job->run;

	if (run->why_gone)
		fg_verify_result(job);
	else if (run->has_result)
		fg_job_wait(job, "the fix VM to power off", POWER_OFF_MS, on_deadline);
	else if (run->closed)
		fg_job_wait(job, "the result of the fix", 2000 * (int64_t)job->r.timeout_s + FIX_SLACK_MS, on_deadline);
	else if (run->console.any && run->console.last >= FG_FIXVM_VERIFIED)
		close_nic(job);
	else if (run->console.any)
		fg_job_wait(job, "the download", (int64_t)config->download_s * 1000, on_deadline);
	else
		fg_job_wait(job, "the fix VM to boot", (int64_t)config->fixvm_boot_s * 1000, on_deadline);
}

static void on_deadline(struct fg_job *job, int rc, const struct fg_error *err)
{
	(void)rc;
	if (job->run->has_result) {
		fg_verify_result(job);
		return;
	}
	fg_job_reason(job, "%s%s%s", err->text, job->run->console.last_noise[0] ? "; last line: " : "",
		      job->run->console.last_noise);
	fg_job_undo(job, FG_STATE_ROLLED_BACK);
}
