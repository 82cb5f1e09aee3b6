/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "job.h"
#include "snapshot.h"
#include "dom0-agent/fix/run.h"

#include <lib/log.h>
#include <lib/util.h>

#include <dirent.h>
#include <string.h>
#include <unistd.h>

#define SAFE_AGAIN_MS 30000

struct fg_job *fg_job_new(struct fg_agent *agent, struct fg_job_record *take)
{
	struct fg_job *job = fg_calloc(1, sizeof(*job));
	struct fg_error err = FG_ERROR_INIT;
	fg_autojson json_t *snapshot = NULL;

	job->agent = agent;
	job->r = *take;
	memset(take, 0, sizeof(*take));
	if (job->r.snapshot && fg_json_parse(job->r.snapshot, strlen(job->r.snapshot), &snapshot, &err) == 0 &&
	    fg_snapshot_from_json(snapshot, &job->guest, &err) == 0)
		job->has_guest = true;
	if (err.code)
		fg_log_err("job=%s guest=%s snapshot in the journal: %s", job->r.id, job->r.guest, err.text);
	TAILQ_INSERT_TAIL(&agent->jobs, job, link);
	return job;
}

void fg_job_free(struct fg_job *job)
{
	fg_job_wait_end(job);
	fg_slot_give_back(job);
	fg_run_free(job);
	TAILQ_REMOVE(&job->agent->jobs, job, link);
	if (job->has_found)
		fg_guest_release(&job->found);
	if (job->has_guest)
		fg_guest_release(&job->guest);
	json_decref(job->reply);
	json_decref(job->os);
	free(job->text);
	free(job->token);
	fg_job_record_release(&job->r);
	free(job);
}

char *fg_job_path(const struct fg_job *job, const char *name)
{
	return fg_asprintf("%s/jobs/%s/%s", job->agent->config->state_dir, job->r.id, name);
}

struct fg_agent_toolstack *fg_job_toolstack(struct fg_job *job)
{
	struct fg_agent_toolstack *t = job->r.toolstack ? fg_agent_toolstack_named(job->agent, job->r.toolstack) : NULL;

	return t && t->ts ? t : NULL;
}

static const char *guest_name(const struct fg_job *job)
{
	return job->r.name ? job->r.name : job->r.guest;
}

static int write_step(struct fg_job *job, const char *kind, const char *text)
{
	const struct fg_journal_entry entry = {
		.job = &job->r, .kind = kind, .what = text, .at_ms = job->agent->clock->now_ms(job->agent->clock)
	};

	return fg_agent_write(job->agent, &entry);
}

static char *vtext(const char *fmt, va_list ap)
{
	char *text = NULL;

	if (vasprintf(&text, fmt, ap) < 0)
		abort();
	return text;
}

int fg_job_intent(struct fg_job *job, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fg_autofree char *text = vtext(fmt, ap);
	va_end(ap);
	fg_log_debug("job=%s guest=%s will %s", job->r.id, guest_name(job), text);
	return write_step(job, "intent", text);
}

void fg_job_note(struct fg_job *job, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fg_autofree char *text = vtext(fmt, ap);
	va_end(ap);
	fg_log_info("job=%s guest=%s %s", job->r.id, guest_name(job), text);
	if (write_step(job, "note", text) < 0)
		return; /* the agent is dead and has said so */
}

void fg_job_reason(struct fg_job *job, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	char *text = vtext(fmt, ap);
	va_end(ap);
	free(job->r.reason);
	job->r.reason = text;
}

void fg_job_reason_error(struct fg_job *job, const char *what, const struct fg_error *err)
{
	fg_job_reason(job, "%s: %s", what, err && err->text[0] ? err->text : "failed");
}

/* The job's own folder: head, initramfs, console.  Nothing in it matters once the job has ended. */
static void remove_folder(const struct fg_job *job)
{
	fg_autofree char *dir = fg_asprintf("%s/jobs/%s", job->agent->config->state_dir, job->r.id);
	DIR *d = opendir(dir);
	struct dirent *e;

	if (!d)
		return;
	while ((e = readdir(d)) != NULL)
		if (e->d_name[0] != '.' && strcmp(e->d_name, "console.log") != 0)
			unlinkat(dirfd(d), e->d_name, 0);
	closedir(d);
	rmdir(dir); /* stays while it has a console.log */
}

static int need(bool truth, const char *what, struct fg_error *err)
{
	return truth ? 0 : fg_error_set(err, FG_EDIFFERS, "%s", what);
}

/* A guest is marked where the state asks for it; a fix VM that is gone is not. */
static int assert_marks(const struct fg_job *job, enum fg_state state, struct fg_error *err)
{
	const struct fg_agent *agent = job->agent;
	bool marked = false, by_hand = false;
	unsigned bit = 1u << state;
	int rc = agent->isolator_ops->marked(agent->isolator, job->r.guest, &marked, err);

	if (rc < 0)
		return rc;
	if (bit & (1u << FG_STATE_ISOLATED | 1u << FG_STATE_STOPPED | 1u << FG_STATE_FIXING | 1u << FG_STATE_FIXED))
		return need(marked, "the guest is not marked as isolated", err);
	if (state != FG_STATE_RELEASED)
		return 0;
	rc = fg_journal_operator(agent->journal, job->r.guest, &by_hand, err);
	return rc < 0 ? rc : need(!marked || by_hand, "the guest is still marked as isolated", err);
}

int fg_job_assert(const struct fg_job *job, enum fg_state state, struct fg_error *err)
{
	const struct fg_job_record *r = &job->r;
	bool was_on = r->was && strcmp(r->was, "off") != 0;
	int rc = 0;

	switch (state) {
	case FG_STATE_OFFERED:
		return need(r->head_digest != NULL, "no head was verified", err);
	case FG_STATE_QUEUED:
		return need(r->toolstack != NULL, "the guest was not found", err);
	case FG_STATE_FIXING:
		rc = need(r->attempts > 0, "no fix VM was started", err);
		break;
	case FG_STATE_FIXED:
		rc = need(!job->run, "the fix VM is still there", err);
		break;
	case FG_STATE_STOPPED:
	case FG_STATE_ISOLATED:
		break;
	case FG_STATE_RELEASED:
		rc = need(r->merged, "the layers are not merged", err);
		break;
	case FG_STATE_REBOOTING:
		return need(r->merged && was_on, "nothing to boot", err);
	case FG_STATE_DONE:
		return need(r->merged, "the layers are not merged", err);
	case FG_STATE_NOT_NEEDED:
	case FG_STATE_REJECTED:
	case FG_STATE_FAILED:
	case FG_STATE_ROLLED_BACK:
		return need(!r->merged && !job->run, "the fix is in, or its VM is still there", err);
	case FG_STATE_HELD:
		return 0;
	case FG_STATE_COUNT:
		return fg_error_set(err, FG_EBUG, "no state");
	}
	if (rc == 0)
		rc = need(job->has_guest && r->was, "the guest is not known", err);
	if (rc == 0 && (state == FG_STATE_STOPPED || state == FG_STATE_FIXING || state == FG_STATE_FIXED))
		rc = need(!was_on || r->definition, "the guest's definition is not in the journal", err);
	return rc < 0 ? rc : assert_marks(job, state, err);
}

/* Held: whatever comes of this guest comes isolated.  Tried until it is so. */
void fg_job_keep_safe(struct fg_job *job)
{
	struct fg_agent *agent = job->agent;
	struct fg_error err = FG_ERROR_INIT;
	struct fg_guest bare;

	if (!job->has_guest)
		return;
	fg_guest_copy(&job->guest, &bare);
	for (size_t i = 0; i < bare.n_nics; i++)
		bare.nics[i].n_netdevs = 0;
	int rc = agent->isolator_ops->isolate(agent->isolator, &bare, false, &err);
	fg_guest_release(&bare);
	if (rc < 0) {
		fg_log_err("job=%s guest=%s is held and cannot be marked as isolated: %s; again in %d s", job->r.id,
			   guest_name(job), err.text, SAFE_AGAIN_MS / 1000);
		fg_job_after(job, "the guest to be marked", SAFE_AGAIN_MS, fg_job_keep_safe);
		return;
	}
	fg_marks_changed(agent, job->r.guest); /* and the NICs that it has now */
}

static void call_enter_function(struct fg_job *job)
{
	if (job->resuming && !fg_state_is_end(job->r.state)) {
		job->resuming = false;
		fg_job_resume(job);
		return;
	}
	switch (job->r.state) {
	case FG_STATE_OFFERED:
		fg_decide_enter(job);
		return;
	case FG_STATE_QUEUED:
		fg_queue_enter(job);
		return;
	case FG_STATE_ISOLATED:
		fg_stop_enter(job);
		return;
	case FG_STATE_STOPPED:
		fg_fix_enter(job);
		return;
	case FG_STATE_FIXING:
		fg_fix_run_enter(job);
		return;
	case FG_STATE_FIXED:
		fg_verify_enter(job);
		return;
	case FG_STATE_RELEASED:
		fg_restore_enter(job);
		return;
	case FG_STATE_REBOOTING:
		fg_health_enter(job);
		return;
	case FG_STATE_HELD:
		fg_slot_give_back(job);
		fg_job_keep_safe(job);
		return;
	case FG_STATE_DONE:
	case FG_STATE_NOT_NEEDED:
	case FG_STATE_REJECTED:
	case FG_STATE_FAILED:
	case FG_STATE_ROLLED_BACK:
		remove_folder(job);
		fg_job_free(job);
		return;
	case FG_STATE_COUNT:
		return;
	}
}

/* One transaction: record, step, report, and what the state proves. */
static int write_state(struct fg_job *job, enum fg_state from)
{
	struct fg_agent *agent = job->agent;
	const char *reason = job->r.reason;
	fg_autojson json_t *report = fg_report_of(job);
	const struct fg_journal_entry entry = {
		.job = &job->r,
		.kind = "state",
		.what = fg_state_name(job->r.state),
		.reason = reason,
		.at_ms = job->r.changed_ms,
		.report = report,
		.ledger = job->r.state == FG_STATE_DONE,
		.counter = job->r.state == FG_STATE_FIXED,
		.inbox_done = from == FG_STATE_NONE ? job->r.offer_seq : 0,
	};
	int rc = fg_agent_write(agent, &entry);

	if (rc < 0)
		return rc;
	fg_log_info("job=%s guest=%s fix=%s %s -> %s%s%s", job->r.id, guest_name(job), job->r.fix,
		    from == FG_STATE_NONE ? "new" : fg_state_name(from), fg_state_name(job->r.state),
		    reason ? ": " : "", reason ? reason : "");
	fg_report_send(agent, report);
	fg_autojson json_t *event = fg_event_of(job);
	if (agent->event)
		agent->event(agent->event_ctx, event);
	return 0;
}

void fg_job_enter(struct fg_job *job, enum fg_state state)
{
	struct fg_error err = FG_ERROR_INIT;
	enum fg_state from = job->r.state;

	if (job->agent->dead)
		return;
	if (!fg_job_may(from, state)) {
		fg_error_set(&err, FG_EBUG, "job %s: no way from %s to %s", job->r.id,
			     from == FG_STATE_NONE ? "new" : fg_state_name(from), fg_state_name(state));
		fg_agent_die(job->agent, &err);
		return;
	}
	if (fg_job_assert(job, state, &err) < 0) {
		fg_error_wrap(&err, "to be %s", fg_state_name(state));
		if (fg_job_may(from, FG_STATE_HELD))
			fg_job_hold(job, "truth of the next state", &err);
		else
			fg_agent_die(job->agent, &err);
		return;
	}
	job->tries = 0;
	job->r.state = state;
	job->r.changed_ms = job->agent->clock->now_ms(job->agent->clock);
	if (from == FG_STATE_NONE)
		job->r.created_ms = job->r.changed_ms;
	if (fg_state_is_end(state) && state != FG_STATE_HELD)
		job->r.outcome = FG_STATE_NONE;
	if (write_state(job, from) < 0)
		return;
	call_enter_function(job);
}

void fg_job_hold(struct fg_job *job, const char *why, const struct fg_error *err)
{
	if (job->agent->dead)
		return;
	fg_job_wait_end(job);
	job->r.held_from = job->r.state;
	fg_job_reason_error(job, why, err);
	fg_job_enter(job, FG_STATE_HELD);
}

json_t *fg_job_json(const struct fg_job_record *r)
{
	json_t *j = json_pack("{ss ss ss* ss sI ss sI sI sI}", "job", r->id, "uuid", r->guest, "guest", r->name, "fix",
			      r->fix, "version", (json_int_t)r->version, "state", fg_state_name(r->state), "created_ms",
			      (json_int_t)r->created_ms, "changed_ms", (json_int_t)r->changed_ms, "attempts",
			      (json_int_t)r->attempts);

	if (r->reason)
		json_object_set_new(j, "reason", json_string(r->reason));
	if (r->toolstack)
		json_object_set_new(j, "toolstack", json_string(r->toolstack));
	if (r->title)
		json_object_set_new(j, "title", json_string(r->title));
	if (r->was)
		json_object_set_new(j, "was", json_string(r->was));
	if (r->outcome != FG_STATE_NONE)
		json_object_set_new(j, "outcome", json_string(fg_state_name(r->outcome)));
	if (r->state == FG_STATE_HELD && r->held_from != FG_STATE_NONE)
		json_object_set_new(j, "held_from", json_string(fg_state_name(r->held_from)));
	json_object_set_new(j, "merged", json_boolean(r->merged));
	return j;
}
