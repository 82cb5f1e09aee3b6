/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Where is the guest?  Its own toolstack is asked where that is known, each of them otherwise. */
#include "job.h"
#include "snapshot.h"

#include <lib/util.h>
#include <string.h>

static void ask_next(struct fg_job *job);
static void on_asked(struct fg_job *job, int rc, const struct fg_error *err);

void fg_job_find(struct fg_job *job, fg_next_fn *next)
{
	job->at = 0;
	job->unreachable = false;
	job->found_fn = next;
	ask_next(job);
}

static void not_found(struct fg_job *job)
{
	struct fg_error err = FG_ERROR_INIT;
	int rc;

	if (job->unreachable)
		rc = fg_error_set(&err, FG_EUNREACHABLE, "a toolstack could not be asked for guest %s", job->r.guest);
	else
		rc = fg_error_set(&err, FG_ENOTFOUND, "there is no guest %s on this host", job->r.guest);
	fg_job_later(job, rc, &err, job->found_fn);
}

static void ask_next(struct fg_job *job)
{
	struct fg_agent *agent = job->agent;

	for (; job->at < agent->n_toolstacks; job->at++) {
		struct fg_agent_toolstack *t = &agent->toolstacks[job->at];

		if (job->r.toolstack && strcmp(job->r.toolstack, t->ops->name) != 0)
			continue;
		if (!t->ts) {
			job->unreachable = true;
			continue;
		}
		struct fg_call *call = fg_job_wait(job, "the toolstack to find the guest", FG_ASK_MS, on_asked);
		t->ops->find(t->ts, job->r.guest, fg_call_guest, call);
		return;
	}
	not_found(job);
}

static void on_asked(struct fg_job *job, int rc, const struct fg_error *err)
{
	if (rc == 0) {
		free(job->r.toolstack);
		job->r.toolstack = fg_strdup(job->agent->toolstacks[job->at].ops->name);
		job->found_fn(job, 0, NULL);
		return;
	}
	if (rc != -FG_ENOTFOUND)
		job->unreachable = true;
	(void)err;
	job->at++;
	ask_next(job);
}

void fg_job_take_found(struct fg_job *job)
{
	struct fg_guest copy;

	fg_guest_copy(&job->found, &copy);
	if (job->has_guest)
		fg_guest_release(&job->guest);
	job->guest = copy;
	job->has_guest = true;
	free(job->r.name);
	job->r.name = fg_strdup(copy.name);
	free(job->r.snapshot);
	fg_autojson json_t *j = fg_snapshot_to_json(&copy);
	job->r.snapshot = fg_json_dump(j);
}
