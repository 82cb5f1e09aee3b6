/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Slots: how many fix VMs run at once ([fixvm] parallel).  First come, first served; one job a guest, one inspection at
 * a time.  A job that cannot have its slot yet does not block those behind it.
 */
#include "job.h"

#include <lib/util.h>
#include <string.h>

static void serve(void *arg);

void fg_slots_serve(struct fg_agent *agent)
{
	if (!agent->slot_timer && !agent->dead)
		agent->slot_timer = agent->clock->after(agent->clock, 0, serve, agent);
}

void fg_slot_want(struct fg_job *job, enum fg_slot slot, fg_step_fn *fn)
{
	job->slot_wanted = slot;
	job->slot_fn = fn;
	fg_slots_serve(job->agent);
}

void fg_slot_give_back(struct fg_job *job)
{
	job->slot_wanted = FG_SLOT_NONE;
	if (job->slot == FG_SLOT_NONE)
		return;
	job->slot = FG_SLOT_NONE;
	fg_slots_serve(job->agent);
}

static bool free_for(const struct fg_job *job)
{
	const struct fg_agent *agent = job->agent;
	const struct fg_job *other = NULL;
	unsigned used = 0;

	TAILQ_FOREACH (other, &agent->jobs, link) {
		if (other->slot == FG_SLOT_NONE)
			continue;
		used++;
		if (strcmp(other->r.guest, job->r.guest) == 0)
			return false;
		if (job->slot_wanted == FG_SLOT_INSPECT && other->slot == FG_SLOT_INSPECT)
			return false;
	}
	return used < agent->config->parallel;
}

static void serve(void *arg)
{
	struct fg_agent *agent = arg;
	struct fg_job *job, *next;

	agent->slot_timer = NULL;
	for (job = TAILQ_FIRST(&agent->jobs); job && !agent->dead; job = next) {
		next = TAILQ_NEXT(job, link);
		if (job->slot_wanted == FG_SLOT_NONE || !free_for(job))
			continue;
		job->slot = job->slot_wanted;
		job->slot_wanted = FG_SLOT_NONE;
		job->slot_fn(job);
		/* The step may have ended jobs: begin anew. */
		fg_slots_serve(agent);
		return;
	}
}
