/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Is the guest still gone?  Asked just before somebody else gets or changes its disks: before the fix VM is made, before it
 * runs, and before each layer is merged.  Whoever may have brought the guest back meanwhile (its owner, a person) did not
 * ask us.  A config file that pins no UUID makes another guest of it, so that all guests are looked at for its disks too.
 *
 * In this order: fg_job_still_gone -> ask -> ask_next -> on_asked -> listed -> on_listed… -> answer -> next.
 */
#include "dom0-agent/job/job.h"

#include <lib/util.h>
#include <string.h>

static void ask(struct fg_job *job);
static void ask_next(struct fg_job *job);
static void on_asked(struct fg_job *job, int rc, const struct fg_error *err);
static void listed(void *arg, int rc, const struct fg_guest *guests, size_t n, const struct fg_error *err);
static void on_listed(struct fg_job *job, int rc, const struct fg_error *err);
static void unknown(struct fg_job *job, const struct fg_error *err);

void fg_job_still_gone(struct fg_job *job, fg_next_fn *next)
{
	job->gone_then = next;
	job->gone_tries = job->tries;
	job->tries = 0;
	ask(job);
}

static void ask(struct fg_job *job)
{
	job->asked = 0;
	ask_next(job);
}

static void answer(struct fg_job *job, int rc, const struct fg_error *err)
{
	job->tries = job->gone_tries;
	job->gone_then(job, rc, err);
}

/* Every toolstack that is there, for it may have been started with another one; its own must answer. */
static void ask_next(struct fg_job *job)
{
	struct fg_agent *agent = job->agent;
	struct fg_error err = FG_ERROR_INIT;

	for (; job->asked < agent->n_toolstacks; job->asked++) {
		struct fg_agent_toolstack *t = &agent->toolstacks[job->asked];

		if (t->ts) {
			struct fg_call *call =
				fg_job_wait(job, "the toolstack to say that the guest is gone", FG_ASK_MS, on_asked);
			t->ops->find(t->ts, job->r.guest, fg_call_guest, call);
			return;
		}
		if (strcmp(job->r.toolstack, t->ops->name) == 0) {
			fg_error_set(&err, FG_EUNREACHABLE, "toolstack %s is not connected", t->ops->name);
			unknown(job, &err);
			return;
		}
	}
	answer(job, 0, NULL);
}

static void on_asked(struct fg_job *job, int rc, const struct fg_error *cause)
{
	struct fg_error err = cause ? *cause : (struct fg_error)FG_ERROR_INIT;

	if (rc == -FG_ENOTFOUND || (rc == 0 && job->found.state == FG_GUEST_OFF)) {
		const struct fg_agent_toolstack *t = &job->agent->toolstacks[job->asked];
		struct fg_call *call = fg_job_wait(job, "the toolstack to list the guests", FG_ASK_MS, on_listed);
		t->ops->list(t->ts, listed, call);
	} else if (rc < 0) {
		unknown(job, &err);
	} else if (job->found.state == FG_GUEST_DYING) { /* or it reboots: in a moment it is known */
		fg_error_set(&err, FG_EUNREACHABLE, "the guest is neither running nor gone");
		unknown(job, &err);
	} else {
		rc = fg_error_set(&err, FG_EEXISTS, "the guest runs: it was started behind the agent's back");
		answer(job, rc, &err);
	}
}

/* One of the disks that are written to; NULL: none. */
static const char *shared_disk(const struct fg_guest *ours, const struct fg_guest *other)
{
	for (size_t i = 0; i < ours->n_disks; i++) {
		const struct fg_disk *d = &ours->disks[i];
		for (size_t k = 0; k < other->n_disks && !d->readonly && !d->cdrom && d->target; k++)
			if (other->disks[k].target && strcmp(d->target, other->disks[k].target) == 0)
				return d->target;
	}
	return NULL;
}

static void listed(void *arg, int rc, const struct fg_guest *guests, size_t n, const struct fg_error *cause)
{
	const struct fg_job *job = fg_call_job(arg);
	struct fg_error err = cause ? *cause : (struct fg_error)FG_ERROR_INIT;

	for (size_t i = 0; job && rc == 0 && i < n; i++) {
		const char *disk = shared_disk(&job->guest, &guests[i]);
		if (disk && guests[i].state != FG_GUEST_OFF)
			rc = fg_error_set(&err, FG_EHELD, "guest %s (%s) runs and has its disk %s", guests[i].name,
					  guests[i].uuid, disk);
	}
	fg_call_done(arg, rc, rc < 0 ? &err : NULL);
}

static void on_listed(struct fg_job *job, int rc, const struct fg_error *err)
{
	if (rc == 0) {
		job->asked++;
		ask_next(job);
	} else if (rc == -FG_EHELD) {
		answer(job, rc, err);
	} else {
		unknown(job, err);
	}
}

static void unknown(struct fg_job *job, const struct fg_error *err)
{
	struct fg_error why = *err;

	if (fg_job_retry(job, err, ask))
		return;
	why.code = FG_EUNREACHABLE;
	answer(job, -FG_EUNREACHABLE, &why);
}
