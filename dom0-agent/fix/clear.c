/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Away with a fix VM: domain by its identity (whether we made it or a former life of the agent did), its filter and
 * mark, its initramfs, its layers.  Each step may be repeated.
 *
 * In this order: fg_job_clear_fixvm -> begin -> destroy -> on_destroyed -> release_filter -> drop_next -> on_dropped… -> then.
 */
#include "run.h"

#include <lib/log.h>
#include <lib/util.h>
#include <string.h>

static void begin(struct fg_job *job, int rc, const struct fg_error *err);
static void destroy(struct fg_job *job);
static void on_destroyed(struct fg_job *job, int rc, const struct fg_error *err);
static void release_filter(struct fg_job *job);
static void drop_next(struct fg_job *job);
static void on_dropped(struct fg_job *job, int rc, const struct fg_error *err);

static void clear(struct fg_job *job, bool keep_layers, fg_step_fn *then)
{
	fg_job_wait_end(job);
	job->clear_then = then;
	job->clear_keeps_layers = keep_layers;
	job->tries = 0;
	/* From the loop: we may be inside a callback of the very fix VM. */
	fg_job_later(job, 0, NULL, begin);
}

void fg_job_clear_fixvm(struct fg_job *job, fg_step_fn *then)
{
	clear(job, false, then);
}

void fg_job_destroy_fixvm(struct fg_job *job, fg_step_fn *then)
{
	clear(job, true, then);
}

/* It stays unknown what holds the disks. */
static void stuck(struct fg_job *job, const char *what, const struct fg_error *err, fg_step_fn *again)
{
	if (fg_code_unknown(-err->code) && fg_job_retry(job, err, again))
		return;
	if (fg_job_may(job->r.state, FG_STATE_HELD)) {
		fg_job_hold(job, what, err);
		return;
	}
	fg_job_reason_error(job, what, err);
	fg_job_enter(job, FG_STATE_FAILED);
}

static void begin(struct fg_job *job, int rc, const struct fg_error *err)
{
	(void)rc;
	(void)err;
	fg_run_free(job);
	destroy(job);
}

static void destroy(struct fg_job *job)
{
	struct fg_call *call = fg_job_wait(job, "the fix VM to be gone", FG_ACT_MS, on_destroyed);

	job->agent->fixvm_ops->destroy(job->agent->fixvms, job->r.id, fg_call_done, call);
}

static void on_destroyed(struct fg_job *job, int rc, const struct fg_error *err)
{
	if (rc < 0) {
		stuck(job, "cannot remove the fix VM", err, destroy);
		return;
	}
	job->tries = 0;
	release_filter(job);
}

static void release_filter(struct fg_job *job)
{
	struct fg_error err = FG_ERROR_INIT;
	fg_autofree char *initrd = fg_job_path(job, "initrd");

	if (job->agent->isolator_ops->release(job->agent->isolator, job->r.id, &err) < 0) {
		stuck(job, "cannot remove the fix VM's filter", &err, release_filter);
		return;
	}
	free(FG_TAKE(job->token));
	remove(initrd);
	job->tries = 0;
	job->at = 0;
	if (job->clear_keeps_layers)
		job->clear_then(job);
	else
		drop_next(job);
}

static void drop_next(struct fg_job *job)
{
	for (; job->at < job->guest.n_disks; job->at++) {
		const struct fg_disk *d = &job->guest.disks[job->at];
		struct fg_layer_request req = { .target = d->target, .readonly = d->readonly };

		if (d->cdrom)
			continue;
		if (job->r.state == FG_STATE_OFFERED)
			req.readonly = true; /* of an inspection */
		memcpy(req.job, job->r.id, sizeof(req.job));
		memcpy(req.vdev, d->vdev, sizeof(req.vdev));
		struct fg_call *call = fg_job_wait(job, "a layer to be dropped", FG_ACT_MS, on_dropped);
		job->agent->layer_ops->drop(job->agent->layers, &req, fg_call_done, call);
		return;
	}
	job->clear_then(job);
}

static void on_dropped(struct fg_job *job, int rc, const struct fg_error *err)
{
	if (rc < 0) {
		stuck(job, "cannot drop a layer", err, drop_next);
		return;
	}
	job->tries = 0;
	job->at++;
	drop_next(job);
}
