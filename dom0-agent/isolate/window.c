/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "window.h"

#include "dom0-agent/job/job.h"

#include <lib/log.h>
#include <lib/util.h>

#include <string.h>

static const char *end_name(const struct fg_window *w)
{
	return w->open ? "open" : w->shut ? "set-down" : "filtered";
}

json_t *fg_window_json(const struct fg_window *w)
{
	json_t *j = json_pack("{ss ss ss}", "dev", w->dev, "cause", w->cause, "ended", end_name(w));

	if (w->detail[0])
		json_object_set_new(j, "detail", json_string(w->detail));
	if (w->ms != FG_WINDOW_UNKNOWN)
		json_object_set_new(j, "ms", json_integer(w->ms));
	if (w->at_most)
		json_object_set_new(j, "at_most", json_true());
	if (w->frames != FG_WINDOW_UNKNOWN)
		json_object_set_new(j, "frames", json_integer(w->frames));
	if (w->count > 1)
		json_object_set_new(j, "count", json_integer(w->count));
	return j;
}

char *fg_window_text(const struct fg_window *w)
{
	fg_autofree char *length = w->ms == FG_WINDOW_UNKNOWN
					   ? fg_strdup("a time that is not known")
					   : fg_asprintf("%s%lld ms", w->at_most ? "at most " : "", (long long)w->ms);
	fg_autofree char *frames = w->frames == FG_WINDOW_UNKNOWN
					   ? fg_strdup("")
					   : fg_asprintf(", at most %lld frames passed", (long long)w->frames);
	fg_autofree char *times = w->count > 1 ? fg_asprintf(", %u times in all", w->count) : fg_strdup("");
	const char *dev = w->dev[0] ? w->dev : "a NIC", *end = "";

	if (w->open)
		end = ", and still is not";
	else if (w->shut)
		end = ", and was set down";
	return fg_asprintf("isolated, but %s was not filtered for %s%s%s (%s%s%s)%s", dev, length, times, frames,
			   w->cause, w->detail[0] ? ": " : "", w->detail, end);
}

/* The guest's last job, as the journal has it; NULL: it never had one. */
static struct fg_job_record *last_job(struct fg_agent *agent, const char *uuid)
{
	struct fg_error err = FG_ERROR_INIT;
	struct fg_job_record **jobs = NULL, *found = NULL;
	size_t n = 0;

	if (fg_journal_jobs(agent->journal, FG_JOBS_ALL, &jobs, &n, &err) < 0) {
		fg_agent_die(agent, &err);
		return NULL;
	}
	for (size_t i = 0; !found && i < n; i++)
		if (strcmp(jobs[i]->guest, uuid) == 0 && jobs[i]->state != FG_STATE_OFFERED &&
		    jobs[i]->state != FG_STATE_QUEUED)
			found = FG_TAKE(jobs[i]);
	for (size_t i = 0; i < n; i++) {
		if (!jobs[i])
			continue;
		fg_job_record_release(jobs[i]);
		free(jobs[i]);
	}
	free(jobs);
	return found;
}

/* The state is said again, with the window as evidence: nothing changed but what is known of it. */
static int write_report(struct fg_agent *agent, struct fg_job_record *r, const struct fg_window *w, const char *text)
{
	int64_t now_ms = agent->clock->now_ms(agent->clock);
	fg_autojson json_t *report = fg_report_of_record(agent, r);

	json_object_set_new(report, "at_ms", json_integer(now_ms));
	fg_report_add_evidence(report, "window", fg_window_json(w));
	const struct fg_journal_entry entry = {
		.job = r, .kind = "note", .what = text, .at_ms = now_ms, .report = report
	};
	int rc = fg_agent_write(agent, &entry);
	if (rc == 0)
		fg_report_send(agent, report);
	return rc;
}

/* While its guest is there and isolated; later nothing of the guest runs, or it is free. */
static bool must_hold(const struct fg_job *job)
{
	return job->r.state == FG_STATE_ISOLATED || job->r.state == FG_STATE_REBOOTING;
}

/* No job works on it.  Isolated by hand, and never had one: only the log has it. */
static void report_ended(struct fg_agent *agent, const struct fg_window *w, const char *text)
{
	struct fg_job_record *record = last_job(agent, w->uuid);

	if (!record)
		return;
	if (write_report(agent, record, w, text) < 0)
		fg_log_err("guest=%s the window is not in the journal", w->uuid);
	fg_job_record_release(record);
	free(record);
}

void fg_window_report(struct fg_agent *agent, const struct fg_window *w)
{
	fg_autofree char *text = fg_window_text(w);
	struct fg_job *job = fg_agent_job(agent, w->uuid); /* its fix VM */
	struct fg_error err = FG_ERROR_INIT;

	if (agent->dead)
		return;
	if (w->shut || w->open)
		fg_log_err("guest=%s %s", w->uuid, text);
	else
		fg_log_warn("guest=%s %s", w->uuid, text);
	if (!job)
		job = fg_agent_guest_job(agent, w->uuid, NULL);
	if (!job) {
		report_ended(agent, w, text);
		return;
	}
	if (write_report(agent, &job->r, w, text) < 0 || !must_hold(job) || !(w->shut || w->open))
		return;
	fg_error_set(&err, FG_EHELD, "%s", text);
	fg_job_hold(job, "isolation", &err);
}
