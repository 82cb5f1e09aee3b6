/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The one outstanding wait of a job.  A wait whose deadline passed is abandoned: its step goes on with TIMEOUT, and the
 * late answer, which says nothing any more, is thrown away.
 */
#include "job.h"

#include <lib/log.h>
#include <lib/util.h>
#include <string.h>

struct fg_call {
	LIST_ENTRY(fg_call) link;
	struct fg_agent *agent;
	struct fg_job *job; /* NULL: abandoned */
	const char *noun;
	fg_next_fn *next;
	fg_step_fn *again; /* retry: instead of next */
	struct fg_timer *timer;
	bool timer_only; /* no callback of another party will come */
	int rc;
	struct fg_error err;
};

static void call_free(struct fg_call *call)
{
	LIST_REMOVE(call, link);
	free(call);
}

/* Detach from the job; false if it was abandoned. The caller frees the call. */
static bool detach(struct fg_call *call)
{
	struct fg_job *job = call->job;

	if (!job)
		return false;
	if (call->timer)
		call->agent->clock->cancel(call->agent->clock, FG_TAKE(call->timer));
	job->call = NULL;
	call->job = NULL;
	return !call->agent->dead;
}

static void deadline_passed(void *arg)
{
	struct fg_call *call = arg;
	struct fg_job *job = call->job;
	fg_next_fn *next = call->next;
	fg_step_fn *again = call->again;
	struct fg_error err = call->err;
	int rc = call->rc;

	call->timer = NULL;
	job->call = NULL;
	call->job = NULL;
	if (!call->timer_only)
		rc = fg_error_set(&err, FG_ETIMEOUT, "waited in vain for %s", call->noun);
	if (call->timer_only)
		call_free(call);
	if (job->agent->dead)
		return;
	if (again)
		again(job);
	else
		next(job, rc, rc < 0 ? &err : NULL);
}

struct fg_call *fg_job_wait(struct fg_job *job, const char *noun, int64_t deadline_ms, fg_next_fn *next)
{
	struct fg_call *call = fg_calloc(1, sizeof(*call));

	if (job->call) /* a contract inside: two waits of one job */
		abort();
	call->agent = job->agent;
	call->job = job;
	call->noun = noun;
	call->next = next;
	call->timer = job->agent->clock->after(job->agent->clock, deadline_ms, deadline_passed, call);
	LIST_INSERT_HEAD(&job->agent->calls, call, link);
	job->call = call;
	return call;
}

void fg_job_wait_end(struct fg_job *job)
{
	struct fg_call *call = job->call;

	if (!call)
		return;
	detach(call);
	if (call->timer_only)
		call_free(call);
}

const char *fg_job_waits_for(const struct fg_job *job)
{
	return job->call ? job->call->noun : NULL;
}

void fg_job_later(struct fg_job *job, int rc, const struct fg_error *err, fg_next_fn *next)
{
	struct fg_call *call = fg_job_wait(job, "its turn", 0, next);

	call->timer_only = true;
	call->rc = rc;
	if (err)
		call->err = *err;
}

void fg_job_after(struct fg_job *job, const char *noun, int64_t ms, fg_step_fn *fn)
{
	struct fg_call *call = fg_job_wait(job, noun, ms, NULL);

	call->again = fn;
	call->timer_only = true;
}

bool fg_job_retry(struct fg_job *job, const struct fg_error *err, fg_step_fn *fn)
{
	int64_t ms = 1000;

	if (job->tries >= FG_TRIES_MAX)
		return false;
	ms <<= job->tries++;
	fg_log_warn("job=%s guest=%s %s; again in %lld s", job->r.id, job->r.name ? job->r.name : job->r.guest,
		    err ? err->text : "failed", (long long)(ms / 1000));
	fg_job_after(job, "the next try", ms, fn);
	return true;
}

void fg_call_done(void *arg, int rc, const struct fg_error *err)
{
	struct fg_call *call = arg;
	struct fg_job *job = call->job;
	fg_next_fn *next = call->next;
	bool live = detach(call);

	call_free(call);
	if (live)
		next(job, rc, err);
}

void fg_call_guest(void *arg, int rc, const struct fg_guest *guest, const struct fg_error *err)
{
	struct fg_call *call = arg;
	struct fg_job *job = call->job;

	if (job && job->has_found) {
		fg_guest_release(&job->found);
		job->has_found = false;
	}
	if (job && rc == 0) {
		fg_guest_copy(guest, &job->found);
		job->has_found = true;
	}
	fg_call_done(arg, rc, err);
}

void fg_call_text(void *arg, int rc, const char *text, const struct fg_error *err)
{
	struct fg_call *call = arg;

	if (call->job && rc == 0) {
		free(call->job->text);
		call->job->text = fg_strdup(text);
	}
	fg_call_done(arg, rc, err);
}

void fg_call_created(void *arg, int rc, const struct fg_fixvm_created *created, const struct fg_error *err)
{
	struct fg_call *call = arg;

	if (call->job && rc == 0)
		call->job->created = *created;
	fg_call_done(arg, rc, err);
}

void fg_call_reply(void *arg, int rc, const json_t *reply, const struct fg_error *err)
{
	struct fg_call *call = arg;

	if (call->job && rc == 0) {
		json_decref(call->job->reply);
		call->job->reply = json_deep_copy(reply);
	}
	fg_call_done(arg, rc, err);
}

struct fg_job *fg_call_job(void *arg)
{
	struct fg_call *call = arg;

	return call->agent->dead ? NULL : call->job;
}

void fg_calls_free(struct fg_agent *agent)
{
	struct fg_call *call, *next;

	for (call = LIST_FIRST(&agent->calls); call; call = next) {
		next = LIST_NEXT(call, link);
		if (call->timer)
			agent->clock->cancel(agent->clock, call->timer);
		call_free(call);
	}
}
