/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One job and its way through the states.
 *
 * fg_job_enter() is the only function that changes a state: it checks the table and the truths of the new state, writes
 * journal and outbox in one transaction, logs "isolated -> stopped", then calls the new state's enter function.  A state
 * is entered when its truth is established.  What the truths are:
 *
 *	offered    head of the bundle verified, its copy is in the job's folder; guest untouched
 *	queued     decided; guest untouched
 *	isolated   guest marked, filter read back; snapshot and `was` in the journal
 *	stopped    marked; domain and backends gone; if it ran: definition in the journal
 *	fixing     marked; a fix VM was started (attempts > 0)
 *	fixed      marked; fix VM gone, said verified
 *	released   merged; mark and filter gone (unless a person isolated the guest by hand)
 *	rebooting  merged; guest was not off; runs again
 *	end        the fix VM's mark is gone; guest is as `was` says
 *
 * One wait is outstanding at a time; it has a noun and a deadline.  A step looks like this:
 *
 *	static void step(struct fg_job *job)
 *	{
 *		struct fg_call *call = fg_job_wait(job, "guest to be saved", SAVE_MS, on_saved);
 *		ops->save(ts, job->r.guest, fg_call_text, call);
 *	}
 */
#ifndef FG_JOB_H
#define FG_JOB_H

#include "agent.h"

#define FG_ASK_MS 60000 /* a toolstack's or fixgate-net's answer */
#define FG_ACT_MS 300000 /* an act whose own deadline is shorter */
#define FG_TRIES_MAX 6 /* of one step: 1 + 2 + 4 + 8 + 16 + 32 s */
#define FG_ATTEMPTS_MAX 2 /* fix VMs of one job */

struct fg_call;
struct fg_run; /* a fix VM: fix/run.h */

enum fg_slot { FG_SLOT_NONE, FG_SLOT_INSPECT, FG_SLOT_FIX };

typedef void fg_step_fn(struct fg_job *job);
typedef void fg_next_fn(struct fg_job *job, int rc, const struct fg_error *err);

struct fg_job {
	struct fg_agent *agent;
	TAILQ_ENTRY(fg_job) link;
	struct fg_job_record r;

	/* The outstanding wait. */
	struct fg_call *call;
	unsigned tries; /* of the present step */

	/* Answers of the last call, by kind. */
	struct fg_guest found; /* has_found */
	bool has_found;
	char *text; /* save, layer path */
	struct fg_fixvm_created created;
	json_t *reply;

	struct fg_guest guest; /* the snapshot: has_guest */
	bool has_guest;
	enum fg_slot slot, slot_wanted;
	fg_step_fn *slot_fn;
	size_t at; /* loop over disks or toolstacks */
	bool unreachable; /* one of the toolstacks could not be asked */
	fg_next_fn *found_fn;
	size_t asked; /* still_gone.c: toolstacks */
	unsigned gone_tries;
	fg_next_fn *gone_then;
	struct fg_run *run;
	json_t *os; /* what a fix VM read on the disks, until it is reported; NULL: nothing */
	char *token;
	fg_step_fn *clear_then;
	bool clear_keeps_layers;
	fg_next_fn *start_then;
	bool start_isolated;
	bool healthy; /* seen in this run of the agent */
	bool cancelled, past_cancel; /* cancel.h */
	bool resuming; /* the next enter function is that of recovery */
};

/* job.c */
struct fg_job *fg_job_new(struct fg_agent *agent, struct fg_job_record *take);
void fg_job_free(struct fg_job *job);
void fg_job_enter(struct fg_job *job, enum fg_state state);
int fg_job_assert(const struct fg_job *job, enum fg_state state, struct fg_error *err) FG_MUST_CHECK;
/* Before an outside effect.  Not 0: the agent is dead, do nothing. */
int fg_job_intent(struct fg_job *job, const char *fmt, ...) FG_PRINTF(2, 3) FG_MUST_CHECK;
/* What happened, for the step log. A journal that cannot be written ends the agent. */
void fg_job_note(struct fg_job *job, const char *fmt, ...) FG_PRINTF(2, 3);
void fg_job_reason(struct fg_job *job, const char *fmt, ...) FG_PRINTF(2, 3);
void fg_job_reason_error(struct fg_job *job, const char *what, const struct fg_error *err);
/* Stop where it is, in the safe state. */
void fg_job_hold(struct fg_job *job, const char *why, const struct fg_error *err);
void fg_job_keep_safe(struct fg_job *job); /* held: marked, and its NICs armed, until it is so */
char *fg_job_path(const struct fg_job *job, const char *name); /* in the job's folder; malloc'd */
struct fg_agent_toolstack *fg_job_toolstack(struct fg_job *job); /* NULL: not connected */
json_t *fg_job_json(const struct fg_job_record *r); /* for the control socket */

/* table.c */
bool fg_job_may(enum fg_state from, enum fg_state to);

/* call.c */
struct fg_call *fg_job_wait(struct fg_job *job, const char *noun, int64_t deadline_ms, fg_next_fn *next);
void fg_job_wait_end(struct fg_job *job); /* gives up the outstanding wait, if any */
const char *fg_job_waits_for(const struct fg_job *job); /* noun; NULL: for nothing */
/* next from the loop, with rc and a copy of err. */
void fg_job_later(struct fg_job *job, int rc, const struct fg_error *err, fg_next_fn *next);
void fg_job_after(struct fg_job *job, const char *noun, int64_t ms, fg_step_fn *fn);
/* fn again after a back-off; false: it was tried often enough. */
bool fg_job_retry(struct fg_job *job, const struct fg_error *err, fg_step_fn *fn);
void fg_call_done(void *arg, int rc, const struct fg_error *err);
void fg_call_guest(void *arg, int rc, const struct fg_guest *guest, const struct fg_error *err);
void fg_call_text(void *arg, int rc, const char *text, const struct fg_error *err);
void fg_call_created(void *arg, int rc, const struct fg_fixvm_created *created, const struct fg_error *err);
void fg_call_reply(void *arg, int rc, const json_t *reply, const struct fg_error *err);
/* The job that waits, from inside a callback with the same arg; NULL: it waits no more. */
struct fg_job *fg_call_job(void *arg);
void fg_calls_free(struct fg_agent *agent);

/* find.c: the guest, wherever it is: job->found.  NOTFOUND only if every toolstack was asked. */
void fg_job_find(struct fg_job *job, fg_next_fn *next);
void fg_job_take_found(struct fg_job *job); /* found becomes the snapshot */

/* stop/still_gone.c: rc 0 = yes; EXISTS = it runs; HELD = another guest has its disk; all else = could not ask. */
void fg_job_still_gone(struct fg_job *job, fg_next_fn *next);

/* slot.c: fn is called, from the loop, when the job has the slot. */
void fg_slot_want(struct fg_job *job, enum fg_slot slot, fg_step_fn *fn);
void fg_slot_give_back(struct fg_job *job);
void fg_slots_serve(struct fg_agent *agent);

/* recover.c */
void fg_job_resume(struct fg_job *job);

/* The folders of the flow, in this order. */
void fg_decide_enter(struct fg_job *job); /* offered */
void fg_queue_enter(struct fg_job *job); /* queued */
void fg_stop_enter(struct fg_job *job); /* isolated */
void fg_isolate_again(struct fg_job *job); /* isolated, after a restart */
void fg_fix_enter(struct fg_job *job); /* stopped */
void fg_fix_run_enter(struct fg_job *job); /* fixing */
void fg_verify_enter(struct fg_job *job); /* fixed */
void fg_restore_enter(struct fg_job *job); /* released */
void fg_health_enter(struct fg_job *job); /* rebooting */
/* The owner's stop ladder, written down as `intent` first.  false: nothing was begun, the guest's toolstack is not connected (err). */
bool fg_stop_ladder(struct fg_job *job, const char *intent, const char *noun, fg_next_fn *next, struct fg_error *err);
/* Guest back, layers dropped, fix VM gone; then the job ends in outcome with its reason. */
void fg_job_undo(struct fg_job *job, enum fg_state outcome);
/* Fix VM destroyed, its filter released, its layers dropped; then `then`. */
void fg_job_clear_fixvm(struct fg_job *job, fg_step_fn *then);
/* The same without the layers. */
void fg_job_destroy_fixvm(struct fg_job *job, fg_step_fn *then);
/* Start from the definition; the filter is armed before the first instruction if isolated. */
void fg_guest_start(struct fg_job *job, bool isolated, fg_next_fn *next);
/* Layers merged: give the guest back. */
void fg_restore_begin(struct fg_job *job);

/* report/report.c */
json_t *fg_report_of(struct fg_job *job);
/* The fix VM's word "mounted": the guest's operating system goes with the next report. */
void fg_report_os(struct fg_job *job, const json_t *mounted);
/* Its word "applies": whether a report of not-needed says that the fix does not apply. */
void fg_report_applies(struct fg_job *job, const json_t *applies);
json_t *fg_report_of_record(const struct fg_agent *agent, const struct fg_job_record *r);
/* One more key of the report's evidence; takes value.  NULL: nothing is added. */
void fg_report_add_evidence(json_t *report, const char *key, json_t *value);
void fg_report_send(struct fg_agent *agent, const json_t *report);
void fg_report_all(struct fg_agent *agent);
json_t *fg_event_of(const struct fg_job *job);
/* report/inventory.c */
typedef void fg_list_cb(void *arg, int rc, const struct fg_guest *guests, size_t n, const struct fg_error *err);
void fg_agent_list(struct fg_agent *agent, fg_list_cb *cb, void *arg); /* all toolstacks, or an error */
void fg_lists_free(struct fg_agent *agent);
void fg_inventory_update(struct fg_agent *agent);
json_t *fg_guest_public_json(const struct fg_guest *g); /* protocol.h, PUT /v1/guests */

/* offer/offer.c */
void fg_offers_take(struct fg_agent *agent, const json_t *message);
void fg_offers_resume(struct fg_agent *agent);
void fg_offers_free(struct fg_agent *agent);

/* isolate/monitor.c */
void fg_marks_arm(struct fg_agent *agent, void (*then)(struct fg_agent *agent));
void fg_marks_changed(struct fg_agent *agent, const char *uuid); /* a guest's NICs may have changed; NULL: any */
void fg_sweeps_free(struct fg_agent *agent);

#endif
