/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent.h"
#include "job.h"
#include "dom0-agent/net/check.h"

#include <lib/log.h>
#include <lib/util.h>
#include <string.h>

/* A question to fixgate-net that is not answered yet. */
struct fg_request {
	LIST_ENTRY(fg_request) link;
	int64_t id;
	fg_request_cb *cb;
	void *arg;
};

bool fg_code_unknown(int rc)
{
	switch ((enum fg_error_code) - rc) {
	case FG_EUNREACHABLE:
	case FG_ETIMEOUT:
	case FG_EIO:
	case FG_ENOMEM:
	case FG_ECANCELED:
	case FG_EFAILED:
	case FG_EEXISTS:
		return true;
	case FG_EOK:
	case FG_EUSAGE:
	case FG_ENOTFOUND:
	case FG_EREFUSED:
	case FG_EDIFFERS:
	case FG_ENOTALLOWED:
	case FG_EUNTRUSTED:
	case FG_EFORMAT:
	case FG_ELIMIT:
	case FG_EHELD:
	case FG_EBUG:
		return false;
	}
	return true;
}

void fg_agent_die(struct fg_agent *agent, const struct fg_error *err)
{
	if (agent->dead)
		return;
	agent->dead = true;
	fg_log_err("cannot go on: %s; guests stay as they are", err->text);
	agent->fatal(agent->fatal_ctx, err);
}

int fg_agent_write(struct fg_agent *agent, const struct fg_journal_entry *entry)
{
	struct fg_error err = FG_ERROR_INIT;

	if (agent->dead)
		return -FG_ECANCELED;
	int rc = fg_journal_write(agent->journal, entry, &err);
	if (rc < 0)
		fg_agent_die(agent, &err);
	return rc;
}

struct fg_agent_toolstack *fg_agent_toolstack_named(struct fg_agent *agent, const char *name)
{
	for (size_t i = 0; i < agent->n_toolstacks; i++)
		if (strcmp(agent->toolstacks[i].ops->name, name) == 0)
			return &agent->toolstacks[i];
	return NULL;
}

char *fg_agent_guest_name(struct fg_agent *agent, const char *guest)
{
	const char *seen = json_string_value(json_object_get(agent->names, guest));
	char *name = NULL;

	if (seen)
		return fg_strdup(seen);
	return fg_journal_guest_name(agent->journal, guest, &name, NULL) == 0 ? name : NULL;
}

struct fg_job *fg_agent_job(struct fg_agent *agent, const char *id)
{
	struct fg_job *job = NULL;

	TAILQ_FOREACH (job, &agent->jobs, link) {
		if (strcmp(job->r.id, id) == 0)
			return job;
	}
	return NULL;
}

struct fg_job *fg_agent_guest_job(struct fg_agent *agent, const char *guest, const struct fg_job *but)
{
	struct fg_job *job = NULL;

	TAILQ_FOREACH (job, &agent->jobs, link) {
		if (job != but && strcmp(job->r.guest, guest) == 0 && job->r.state != FG_STATE_OFFERED &&
		    job->r.state != FG_STATE_QUEUED)
			return job;
	}
	return NULL;
}

void fg_agent_request(struct fg_agent *agent, json_t *message, fg_request_cb *cb, void *arg)
{
	struct fg_request *req = fg_calloc(1, sizeof(*req));

	req->id = ++agent->request_id;
	req->cb = cb;
	req->arg = arg;
	LIST_INSERT_HEAD(&agent->requests, req, link);
	json_object_set_new(message, "id", json_integer(req->id));
	/* Not there: it is answered when the process comes up and the whole list is failed, or by the deadline. */
	if (!agent->net_send(agent->net_ctx, message))
		fg_log_debug("fixgate-net is not there for request %lld", (long long)req->id);
	json_decref(message);
}

static void answer(struct fg_request *req, int rc, const json_t *reply, const struct fg_error *err)
{
	fg_request_cb *cb = req->cb;
	void *arg = req->arg;

	LIST_REMOVE(req, link);
	free(req);
	cb(arg, rc, reply, err);
}

void fg_agent_requests_fail(struct fg_agent *agent, int code, const char *text)
{
	struct fg_error err = FG_ERROR_INIT;
	int64_t last = agent->request_id; /* those that are asked by the answers come later */
	struct fg_request *req = NULL;
	bool again = true;
	int rc = fg_error_set(&err, (enum fg_error_code)code, "%s", text);

	while (again) {
		again = false;
		LIST_FOREACH (req, &agent->requests, link) {
			if (req->id > last)
				continue;
			answer(req, rc, NULL, &err);
			again = true;
			break;
		}
	}
}

static int code_named(const char *name)
{
#define X(code, status, text) FG_E##code,
	static const enum fg_error_code codes[] = { FG_ERROR_LIST(X) };
#undef X
	for (size_t i = 0; i < FG_COUNT(codes); i++)
		if (strcmp(fg_error_name((int)codes[i]), name) == 0)
			return (int)codes[i];
	return FG_EFAILED;
}

void fg_agent_request_reply(struct fg_agent *agent, const json_t *message)
{
	struct fg_error err = FG_ERROR_INIT;
	const char *type = NULL, *code = NULL, *text = NULL;
	struct fg_request *req = NULL;
	int64_t id = 0;

	if (fg_json_int(message, "id", 1, INT64_MAX, &id, &err) < 0 ||
	    fg_json_string(message, "type", &type, &err) < 0) {
		fg_log_warn("fixgate-net: %s, ignoring", err.text);
		return;
	}
	LIST_FOREACH (req, &agent->requests, link) {
		if (req->id == id)
			break;
	}
	if (!req)
		return; /* answered already, by its process ending */
	if (strcmp(type, "failed") != 0) {
		answer(req, 0, message, NULL);
		return;
	}
	if (fg_json_string(message, "code", &code, NULL) < 0 || fg_json_string(message, "text", &text, NULL) < 0)
		code = "failed", text = "fixgate-net gave no reason";
	int rc = fg_error_set(&err, (enum fg_error_code)code_named(code), "%s", text);
	answer(req, rc, NULL, &err);
}

static void take_acked(struct fg_agent *agent, const json_t *message)
{
	struct fg_error err = FG_ERROR_INIT;
	int64_t seq = 0, cursor = 0, acked = 0;

	if (fg_json_int(message, "seq", 0, INT64_MAX, &seq, &err) < 0 ||
	    fg_journal_cursors(agent->journal, &cursor, &acked, &err) < 0) {
		fg_log_warn("fixgate-net: acked: %s, ignoring", err.text);
		return;
	}
	if (seq <= acked)
		return;
	const struct fg_journal_entry entry = { .acked = seq };
	if (fg_agent_write(agent, &entry) < 0)
		return;
}

void fg_agent_net_message(struct fg_agent *agent, const json_t *message)
{
	struct fg_error err = FG_ERROR_INIT;
	const char *type = NULL;

	if (agent->dead)
		return;
	if (fg_json_string(message, "type", &type, &err) < 0) {
		fg_log_warn("fixgate-net: %s, ignoring", err.text);
	} else if (strcmp(type, "online") == 0) {
		agent->online = json_is_true(json_object_get(message, "online"));
		fg_log_info("fix server is %s", agent->online ? "online" : "offline");
	} else if (strcmp(type, "offers") == 0) {
		fg_offers_take(agent, message);
	} else if (strcmp(type, "acked") == 0) {
		take_acked(agent, message);
	} else {
		fg_agent_request_reply(agent, message);
	}
}

void fg_agent_net_up(struct fg_agent *agent)
{
	struct fg_error err = FG_ERROR_INIT;
	struct fg_catalogue_mark mark = { 0, 0 };
	fg_autofree char *journal = NULL;
	int64_t cursor = 0, acked = 0;

	if (agent->dead)
		return;
	if (fg_journal_cursors(agent->journal, &cursor, &acked, &err) < 0 ||
	    fg_journal_catalogue(agent->journal, &mark, &err) < 0 ||
	    fg_journal_name(agent->journal, &journal, &err) < 0) {
		fg_agent_die(agent, &err);
		return;
	}
	fg_autojson json_t *start =
		json_pack("{ss sI sI ss so}", "type", "start", "cursor", (json_int_t)cursor, "acked", (json_int_t)acked,
			  "journal", journal, "catalogue", fg_mark_json(&mark));
	if (!agent->net_send(agent->net_ctx, start))
		return;
	fg_report_all(agent);
	fg_inventory_update(agent);
	fg_agent_requests_fail(agent, FG_EUNREACHABLE, "fixgate-net was not there");
}

void fg_agent_net_down(struct fg_agent *agent)
{
	agent->online = false;
	fg_agent_requests_fail(agent, FG_EUNREACHABLE, "fixgate-net ended");
}

void fg_agent_toolstack_event(void *arg, struct fg_toolstack *ts, const char *uuid)
{
	struct fg_agent *agent = arg;

	(void)ts;
	if (agent->dead)
		return;
	fg_marks_changed(agent, uuid);
	fg_inventory_update(agent);
}

static void on_marks_armed(struct fg_agent *agent)
{
	struct fg_job *job, *next;

	agent->recovered = true;
	for (job = TAILQ_FIRST(&agent->jobs); job && !agent->dead; job = next) {
		next = TAILQ_NEXT(job, link);
		fg_job_resume(job);
	}
	if (!agent->dead)
		fg_offers_resume(agent);
	if (!agent->dead)
		fg_slots_serve(agent);
}

int fg_agent_start(struct fg_agent *agent, struct fg_error *err)
{
	struct fg_job_record **jobs = NULL;
	size_t n = 0;
	int rc;

	TAILQ_INIT(&agent->jobs);
	agent->names = json_object();
	rc = fg_journal_jobs(agent->journal, FG_JOBS_OPEN, &jobs, &n, err);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < n; i++)
		fg_job_new(agent, jobs[i]);
	fg_journal_jobs_free(jobs, n);
	fg_log_info("%zu unfinished jobs", n);
	fg_marks_arm(agent, on_marks_armed);
	fg_inventory_update(agent);
	return 0;
}

void fg_agent_stop(struct fg_agent *agent)
{
	struct fg_job *job;
	struct fg_request *req;

	agent->dead = true;
	while ((job = TAILQ_FIRST(&agent->jobs)) != NULL)
		fg_job_free(job);
	fg_offers_free(agent);
	while ((req = LIST_FIRST(&agent->requests)) != NULL) {
		LIST_REMOVE(req, link);
		free(req);
	}
	fg_calls_free(agent);
	fg_lists_free(agent);
	fg_sweeps_free(agent);
	json_decref(FG_TAKE(agent->names));
	struct fg_timer **timers[] = { &agent->slot_timer, &agent->inventory_timer, &agent->marks_timer };
	for (size_t i = 0; i < FG_COUNT(timers); i++)
		if (*timers[i])
			agent->clock->cancel(agent->clock, FG_TAKE(*timers[i]));
}
