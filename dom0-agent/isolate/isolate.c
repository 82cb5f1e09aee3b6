/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * queued -> isolated.  The definition is saved first: a guest that goes down by itself from here on can be brought back.
 * After the filter stands the NICs are listed again: one that was plugged in meanwhile is cut off too.
 *
 * In this order: fg_queue_enter -> begin -> on_found -> on_saved -> cut_off -> on_found_again -> isolated.
 */
#include "dom0-agent/decide/decide.h"
#include "dom0-agent/job/cancel.h"
#include "dom0-agent/job/snapshot.h"

#include <lib/util.h>
#include <string.h>

static void begin(struct fg_job *job);
static void on_found(struct fg_job *job, int rc, const struct fg_error *err);
static void on_saved(struct fg_job *job, int rc, const struct fg_error *err);
static void cut_off(struct fg_job *job);
static void on_found_again(struct fg_job *job, int rc, const struct fg_error *err);
static void give_up(struct fg_job *job, const struct fg_error *err);
static void take_back(struct fg_job *job);

void fg_queue_enter(struct fg_job *job)
{
	if (fg_job_cancelled(job))
		return;
	fg_slot_want(job, FG_SLOT_FIX, begin);
}

static void begin(struct fg_job *job)
{
	if (fg_job_cancelled(job))
		return;
	fg_job_find(job, on_found);
}

static void fail_untouched(struct fg_job *job, int rc, const struct fg_error *err, fg_step_fn *again)
{
	if (fg_code_unknown(rc) && fg_job_retry(job, err, again))
		return;
	fg_job_reason(job, "%s", err->text);
	fg_job_enter(job, rc == -FG_EREFUSED ? FG_STATE_REJECTED : FG_STATE_FAILED);
}

static void on_found(struct fg_job *job, int rc, const struct fg_error *cause)
{
	struct fg_error err = cause ? *cause : (struct fg_error)FG_ERROR_INIT;

	/* It ran when it was decided on; one that reboots is not there for some seconds. */
	if (rc == -FG_ENOTFOUND && job->has_guest && job->guest.state != FG_GUEST_OFF)
		rc = fg_error_set(&err, FG_EUNREACHABLE, "the guest is not there any more, or it reboots");
	if (rc == 0 && job->found.state == FG_GUEST_DYING)
		rc = fg_error_set(&err, FG_EUNREACHABLE, "the guest is just going down");
	if (rc == 0)
		rc = fg_decide_suits(job, &job->found, &err);
	struct fg_agent_toolstack *t = fg_job_toolstack(job);
	if (rc == 0 && !t)
		rc = fg_error_set(&err, FG_EUNREACHABLE, "toolstack %s is not connected", job->r.toolstack);
	if (rc < 0) {
		fail_untouched(job, rc, &err, begin);
		return;
	}
	fg_job_take_found(job);
	free(job->r.was);
	job->r.was = fg_strdup(fg_guest_state_name(job->guest.state));
	if (job->guest.state == FG_GUEST_OFF) {
		cut_off(job);
		return;
	}
	struct fg_call *call = fg_job_wait(job, "the guest's definition", FG_ASK_MS, on_saved);
	t->ops->save(t->ts, job->r.guest, fg_call_text, call);
}

static void on_saved(struct fg_job *job, int rc, const struct fg_error *err)
{
	if (rc < 0) {
		/* Not there any more: look again, it may be rebooting. */
		fail_untouched(job, rc == -FG_ENOTFOUND ? -FG_EUNREACHABLE : rc, err, begin);
		return;
	}
	free(job->r.definition);
	job->r.definition = FG_TAKE(job->text);
	cut_off(job);
}

static void cut_off(struct fg_job *job)
{
	struct fg_agent *agent = job->agent;
	struct fg_error err = FG_ERROR_INIT;

	if (fg_job_cancelled(job))
		return;
	if (fg_job_intent(job, "isolate") < 0)
		return;
	fg_job_past_cancel(job);
	if (agent->isolator_ops->isolate(agent->isolator, &job->guest, false, &err) < 0) {
		if (!fg_job_retry(job, &err, begin))
			give_up(job, &err);
		return;
	}
	fg_job_find(job, on_found_again);
}

static bool same_netdevs(const struct fg_guest *a, const struct fg_guest *b)
{
	if (a->n_nics != b->n_nics || a->domid != b->domid)
		return false;
	for (size_t i = 0; i < a->n_nics; i++) {
		if (a->nics[i].n_netdevs != b->nics[i].n_netdevs)
			return false;
		for (size_t k = 0; k < a->nics[i].n_netdevs; k++)
			if (strcmp(a->nics[i].netdevs[k], b->nics[i].netdevs[k]) != 0)
				return false;
	}
	return true;
}

static void on_found_again(struct fg_job *job, int rc, const struct fg_error *err)
{
	bool same = rc == 0 && same_netdevs(&job->guest, &job->found);

	if (same || rc == -FG_ENOTFOUND) {
		fg_job_enter(job, FG_STATE_ISOLATED);
		return;
	}
	struct fg_error why = FG_ERROR_INIT;
	if (rc == 0)
		fg_error_set(&why, FG_EDIFFERS, "the guest's NICs keep changing");
	else
		why = *err;
	if (!fg_job_retry(job, &why, begin))
		give_up(job, &why);
}

/* Nothing was done to the guest but its network: give that back. */
static void give_up(struct fg_job *job, const struct fg_error *err)
{
	fg_job_reason_error(job, "cannot isolate", err);
	job->tries = 0;
	take_back(job);
}

static void take_back(struct fg_job *job)
{
	struct fg_agent *agent = job->agent;
	struct fg_error err = FG_ERROR_INIT;
	bool by_hand = false;

	if (fg_journal_operator(agent->journal, job->r.guest, &by_hand, &err) < 0) {
		fg_agent_die(agent, &err);
		return;
	}
	if (by_hand || agent->isolator_ops->release(agent->isolator, job->r.guest, &err) == 0)
		fg_job_enter(job, FG_STATE_FAILED);
	else if (!fg_job_retry(job, &err, take_back))
		fg_job_hold(job, "neither isolated nor released", &err);
}
