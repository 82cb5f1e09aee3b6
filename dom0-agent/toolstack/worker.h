/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One thread for calls that block (libvirt, device mapper, fsync): jobs run there one after the other, their ends are
 * told in the loop.
 *
 *	fg_worker_new -> fg_worker_post… -> fg_worker_free
 */
#ifndef FG_WORKER_H
#define FG_WORKER_H

#include <fixgate/error.h>

struct event_base;
struct fg_worker;

struct fg_worker_job {
	void (*run)(struct fg_worker_job *job); /* in the thread */
	void (*done)(struct fg_worker_job *job); /* in the loop; frees the job */
	void (*discard)(
		struct fg_worker_job *job); /* instead of done, when the worker is freed before; frees the job */
	struct fg_worker_job *next; /* the worker's */
};

int fg_worker_new(struct event_base *base, struct fg_worker **out, struct fg_error *err) FG_MUST_CHECK;
/* From any thread. */
void fg_worker_post(struct fg_worker *worker, struct fg_worker_job *job);
/* From any thread: no run, only done in the loop. */
void fg_worker_post_done(struct fg_worker *worker, struct fg_worker_job *job);
/* Waits for the job that runs; jobs not begun and ends not told are discarded. */
void fg_worker_free(struct fg_worker *worker);

#endif
