/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "decide.h"
#include "dom0-agent/fix/jobfile.h"
#include "dom0-agent/job/cancel.h"

#include <lib/util.h>

static void ask(struct fg_job *job);
static void on_found(struct fg_job *job, int rc, const struct fg_error *err);

void fg_decide_enter(struct fg_job *job)
{
	const struct fg_job *other = fg_agent_guest_job(job->agent, job->r.guest, job);

	if (other && other->r.state == FG_STATE_HELD) {
		fg_job_reason(job, "the guest is held by job %s: resolve that first", other->r.id);
		fg_job_enter(job, FG_STATE_FAILED);
		return;
	}
	ask(job);
}

static void ask(struct fg_job *job)
{
	if (fg_job_cancelled(job))
		return;
	fg_job_find(job, on_found);
}

int fg_decide_suits(const struct fg_job *job, const struct fg_guest *guest, struct fg_error *err)
{
	struct fg_network_plan plan;
	bool writable = false;

	if (guest->refusal)
		return fg_error_set(err, FG_EREFUSED, "%s", guest->refusal);
	for (size_t i = 0; i < guest->n_disks; i++)
		writable |= !guest->disks[i].readonly && !guest->disks[i].cdrom;
	if (!writable)
		return fg_error_set(err, FG_EREFUSED, "the guest has no writable disk");
	return fg_network_plan(job->agent, guest, &plan, err);
}

static void on_found(struct fg_job *job, int rc, const struct fg_error *cause)
{
	struct fg_error err = cause ? *cause : (struct fg_error)FG_ERROR_INIT;

	if (rc == 0 && job->found.state == FG_GUEST_DYING)
		rc = fg_error_set(&err, FG_EUNREACHABLE, "the guest is just going down");
	if (rc == 0) {
		fg_job_take_found(job);
		rc = fg_decide_suits(job, &job->guest, &err);
	}
	if (rc == 0 && job->agent->config->inspect) {
		fg_slot_want(job, FG_SLOT_INSPECT, fg_inspect);
	} else if (rc == 0) {
		fg_job_enter(job, FG_STATE_QUEUED);
	} else if (!fg_code_unknown(rc)) {
		fg_job_reason(job, "%s", err.text);
		fg_job_enter(job, FG_STATE_REJECTED);
	} else if (!fg_job_retry(job, &err, ask)) {
		fg_job_reason_error(job, "could not decide", &err);
		fg_job_enter(job, FG_STATE_FAILED);
	}
}
