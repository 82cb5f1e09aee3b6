/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One run of a fix VM, for an inspection or for the fix: layers, initramfs, domain, console.
 *
 *	fg_run_start -> events (hello … result, gone) -> fg_job_clear_fixvm, or fg_run_free and destroy by identity
 *
 * The caller's callbacks fire from the loop.  After `ended` none follows.
 */
#ifndef FG_RUN_H
#define FG_RUN_H

#include "dom0-agent/job/job.h"
#include "fixvm_console.h"

struct fg_run_events {
	/* The VM runs; only the domain's start, not yet hello. */
	void (*started)(struct fg_job *job, int rc, const struct fg_error *err);
	void (*message)(struct fg_job *job, enum fg_fixvm_message type, const json_t *body);
	void (*gone)(struct fg_job *job, const char *why);
};

struct fg_run {
	bool inspect;
	const struct fg_run_events *events;
	struct fg_fixvm *vm; /* NULL: none, or given up */
	struct fg_fixvm_disk disks[FG_FIXVM_DISKS_MAX];
	size_t n_disks;
	struct fg_console console;
	struct fg_guest alias; /* the fix VM seen as a guest, for the isolator: UUID of the job, MAC of the guest */
	bool has_alias;
	bool has_result, closed;
	json_t *result;
	char *why_gone; /* set: the domain ended */
	int log_fd;
	size_t logged;
};

/* job->guest is what it works on.  Failing early is reported by started. */
void fg_run_start(struct fg_job *job, bool inspect, const struct fg_run_events *events);
/* Give up the handle and everything in memory; the domain is not touched. */
void fg_run_free(struct fg_job *job);
/* Close the NIC for good, then tell the fix VM. */
int fg_run_close(struct fg_job *job, struct fg_error *err) FG_MUST_CHECK;

#endif
