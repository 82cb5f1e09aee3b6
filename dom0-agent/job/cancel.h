/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A job whose offer the server has cancelled.  Up to the first attempt to isolate the guest it ends as rejected, at the next point at
 * which nothing is under way; after that it goes on to its end.  That it was cancelled is in its steps, in the journal.
 */
#ifndef FG_JOB_CANCEL_H
#define FG_JOB_CANCEL_H

#include "job.h"

/* Of the jobs for this guest and fix whose offer has this number or a lower one. The agent may be dead after it. */
void fg_jobs_cancel(struct fg_agent *agent, const char *guest, const char *fix, int64_t offer_seq);
/* True: the job was cancelled and is over. To be asked before each step that leads to the isolation. */
bool fg_job_cancelled(struct fg_job *job);
/* Before an attempt to isolate: from now on it goes on. */
void fg_job_past_cancel(struct fg_job *job);
/* From the journal, after a restart; false: the agent is dead. */
bool fg_job_cancel_recover(struct fg_job *job);

#define FG_CANCEL_REASON "the server cancelled the offer"

#endif
