/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Each change of state goes to the server: from the outbox, in order, until it is acknowledged. */
#include "dom0-agent/job/job.h"

#include <fixgate/protocol.h>
#include <lib/log.h>
#include <lib/util.h>
#include <string.h>

#define OS_WORD_MAX 64

void fg_report_add_evidence(json_t *report, const char *key, json_t *value)
{
	json_t *evidence = json_object_get(report, "evidence");

	if (!value)
		return;
	if (!evidence) {
		evidence = json_object();
		json_object_set_new(report, "evidence", evidence);
	}
	json_object_set_new(evidence, key, value);
}

/* States in which the guest is, or was until just now, behind the filter. */
static bool was_filtered(enum fg_state state)
{
	return (1u << state & (1u << FG_STATE_ISOLATED | 1u << FG_STATE_STOPPED | 1u << FG_STATE_RELEASED |
			       1u << FG_STATE_HELD | 1u << FG_STATE_FAILED | 1u << FG_STATE_ROLLED_BACK)) != 0;
}

/* os-release(5): ID and VERSION_ID are lower-case letters, digits, '.', '_', '-'.  Whatever else the disk says is not passed on. */
static bool is_os_word(const char *s)
{
	size_t len = strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789._-");

	return len > 0 && len <= OS_WORD_MAX && s[len] == '\0';
}

void fg_report_os(struct fg_job *job, const json_t *mounted)
{
	const char *text = NULL;

	if (fg_json_string(mounted, "os", &text, NULL) < 0)
		return;
	fg_autofree char *id = fg_strdup(text);
	char *version = strchr(id, ' ');
	if (version)
		*version++ = '\0';
	if (!is_os_word(id) || strcmp(id, "unknown") == 0)
		return;
	json_decref(job->os);
	job->os = json_pack("{ss}", "id", id);
	if (version && is_os_word(version))
		json_object_set_new(job->os, "version", json_string(version));
}

void fg_report_applies(struct fg_job *job, const json_t *applies)
{
	const char *result = json_string_value(json_object_get(applies, "result"));

	job->r.not_applicable = result && strcmp(result, "not-applicable") == 0;
}

json_t *fg_report_of(struct fg_job *job)
{
	const struct fg_agent *agent = job->agent;
	json_t *report = fg_report_of_record(agent, &job->r);

	fg_report_add_evidence(report, "os", job->os);
	job->os = NULL;
	if (job->r.state == FG_STATE_NOT_NEEDED && job->r.not_applicable)
		fg_report_add_evidence(report, "applies", json_string("not-applicable"));

	if (agent->isolator_ops->evidence && was_filtered(job->r.state))
		fg_report_add_evidence(report, "filter", agent->isolator_ops->evidence(agent->isolator, job->r.guest));
	return report;
}

json_t *fg_report_of_record(const struct fg_agent *agent, const struct fg_job_record *r)
{
	json_t *report = json_pack("{ss ss ss sI ss sI ss}", "job", r->id, "guest", r->guest, "fix", r->fix, "version",
				   (json_int_t)r->version, "state", fg_state_name(r->state), "at_ms",
				   (json_int_t)r->changed_ms, "isolator", agent->isolator_ops->name);

	if (r->reason)
		json_object_set_new(report, "reason", json_string(r->reason));
	return report;
}

json_t *fg_event_of(const struct fg_job *job)
{
	const struct fg_job_record *r = &job->r;
	json_t *event =
		json_pack("{sI ss ss ss ss ss}", "at_ms", (json_int_t)r->changed_ms, "job", r->id, "guest",
			  r->name ? r->name : "", "uuid", r->guest, "fix", r->fix, "state", fg_state_name(r->state));

	json_object_set_new(event, "reason", r->reason ? json_string(r->reason) : json_null());
	return event;
}

void fg_report_send(struct fg_agent *agent, const json_t *report)
{
	fg_autojson json_t *message = json_pack("{ss sO}", "type", "report", "report", report);

	/* If it is not there: the outbox is sent when it comes up. */
	if (!agent->net_send(agent->net_ctx, message))
		fg_log_debug("report is kept in the outbox");
}

void fg_report_all(struct fg_agent *agent)
{
	struct fg_error err = FG_ERROR_INIT;
	int64_t after = 0;

	for (;;) {
		fg_autojson json_t *reports = NULL;
		json_t *report;
		size_t i;

		if (fg_journal_outbox(agent->journal, after, FG_PROTOCOL_REPORTS_MAX, &reports, &err) < 0) {
			fg_agent_die(agent, &err);
			return;
		}
		json_array_foreach (reports, i, report) {
			fg_report_send(agent, report);
			after = json_integer_value(json_object_get(report, "seq"));
		}
		if (json_array_size(reports) < FG_PROTOCOL_REPORTS_MAX)
			return;
	}
}
