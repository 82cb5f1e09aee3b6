/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Commands that the agent answers from what it knows. */
#include "ctl.h"

#include <lib/log.h>
#include <lib/util.h>
#include <string.h>

static void cmd_status(struct fg_ctl_client *c)
{
	const struct fg_agent *agent = c->ctl->agent;
	const struct fg_job *job = NULL;
	unsigned active = 0, held = 0;
	json_t *toolstacks = json_array();

	TAILQ_FOREACH (job, &agent->jobs, link) {
		active += job->r.state != FG_STATE_HELD;
		held += job->r.state == FG_STATE_HELD;
	}
	for (size_t i = 0; i < agent->n_toolstacks; i++)
		json_array_append_new(toolstacks, json_pack("{ss sb}", "name", agent->toolstacks[i].ops->name,
							    "connected", agent->toolstacks[i].ts != NULL));
	fg_ctl_answer(c, json_pack("{ss sb sb si si ss ss so}", "version", FG_VERSION, "online", agent->online,
				   "recovered", agent->recovered, "jobs", (int)active, "held", (int)held, "isolator",
				   agent->isolator_ops->name, "assurance", agent->isolator_ops->assurance, "toolstacks",
				   toolstacks));
}

static void cmd_jobs(struct fg_ctl_client *c)
{
	struct fg_error err = FG_ERROR_INIT;
	struct fg_job_record **jobs = NULL;
	size_t n = 0;

	if (fg_journal_jobs(c->ctl->agent->journal, FG_JOBS_ALL, &jobs, &n, &err) < 0) {
		fg_ctl_fail(c, &err);
		return;
	}
	json_t *list = json_array();
	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, fg_job_json(jobs[i]));
	fg_journal_jobs_free(jobs, n);
	fg_ctl_answer(c, list);
}

static void cmd_job(struct fg_ctl_client *c)
{
	struct fg_agent *agent = c->ctl->agent;
	struct fg_error err = FG_ERROR_INIT;
	struct fg_job_record *r = NULL;
	json_t *steps = NULL;
	const char *id = NULL;
	int rc = fg_json_string(c->request, "job", &id, &err);

	if (rc == 0)
		rc = fg_journal_job(agent->journal, id, &r, &err);
	if (rc == 0)
		rc = fg_journal_steps(agent->journal, id, &steps, &err);
	if (rc < 0) {
		fg_ctl_fail(c, &err);
	} else {
		json_t *j = fg_job_json(r);
		const struct fg_job *job = fg_agent_job(agent, id);
		if (job && fg_job_waits_for(job))
			json_object_set_new(j, "waits_for", json_string(fg_job_waits_for(job)));
		json_object_set_new(j, "steps", steps);
		fg_ctl_answer(c, j);
	}
	if (r) {
		fg_job_record_release(r);
		free(r);
	}
}

static void cmd_events(struct fg_ctl_client *c)
{
	struct fg_error err = FG_ERROR_INIT;
	json_t *events = NULL;
	bool follow = json_is_true(json_object_get(c->request, "follow"));

	if (fg_journal_events(c->ctl->agent->journal, &events, &err) < 0) {
		fg_ctl_fail(c, &err);
		return;
	}
	c->follow = follow;
	fg_ctl_answer(c, events);
}

/* A person decided: once more from where it stopped, or an end to it. */
static void cmd_resolve(struct fg_ctl_client *c)
{
	struct fg_agent *agent = c->ctl->agent;
	struct fg_error err = FG_ERROR_INIT;
	const char *id = NULL, *how = NULL;
	struct fg_job *job = NULL;
	int rc = fg_json_string(c->request, "job", &id, &err);

	if (rc == 0)
		rc = fg_json_string(c->request, "how", &how, &err);
	if (rc == 0 && !(job = fg_agent_job(agent, id)))
		rc = fg_error_set(&err, FG_ENOTFOUND, "there is no open job %.60s", id);
	if (rc == 0 && job->r.state != FG_STATE_HELD)
		rc = fg_error_set(&err, FG_EREFUSED, "job %s is %s, not held", id, fg_state_name(job->r.state));
	bool go_on = rc == 0 && strcmp(how, "go-on") == 0;
	if (rc == 0 && !go_on && strcmp(how, "give-up") != 0)
		rc = fg_error_set(&err, FG_EUSAGE, "how: go-on or give-up");
	if (rc < 0) {
		fg_ctl_fail(c, &err);
		return;
	}
	fg_job_wait_end(job);
	fg_job_note(job, "resolved by hand: %s", how);
	fg_ctl_answer(c, json_pack("{ss ss}", "job", id, "resolved", how)); /* id and how are the request's: gone now */
	if (go_on) {
		enum fg_state from = job->r.held_from;
		job->r.held_from = FG_STATE_NONE;
		job->resuming = true;
		fg_job_enter(job, from);
	} else {
		fg_job_reason(job, "given up by hand");
		fg_job_enter(job, job->r.merged ? FG_STATE_DONE : FG_STATE_FAILED);
	}
}

void fg_ctl_run(struct fg_ctl_client *c, const json_t *request)
{
	static const struct {
		const char *name;
		void (*run)(struct fg_ctl_client *c);
	} commands[] = {
		{ "status", cmd_status },      { "guests", fg_ctl_guests },
		{ "jobs", cmd_jobs },	       { "job", cmd_job },
		{ "events", cmd_events },      { "remediate", fg_ctl_remediate },
		{ "isolate", fg_ctl_isolate }, { "release", fg_ctl_release },
		{ "resolve", cmd_resolve },    { "doctor", fg_ctl_doctor },
	};
	struct fg_error err = FG_ERROR_INIT;
	const char *name = NULL;

	if (fg_json_string(request, "cmd", &name, &err) < 0) {
		fg_ctl_fail(c, &err);
		return;
	}
	for (size_t i = 0; i < FG_COUNT(commands); i++) {
		if (strcmp(commands[i].name, name) == 0) {
			commands[i].run(c);
			return;
		}
	}
	fg_error_set(&err, FG_EUSAGE, "unknown command '%.40s'", name);
	fg_ctl_fail(c, &err);
}
