/* SPDX-License-Identifier: GPL-3.0-or-later */
/* fixgate-net and the server behind it. */
#include "world.h"

#include <string.h>

struct reply {
	struct fake *f;
	json_t *message;
};

static void deliver(void *arg)
{
	struct reply *r = arg;

	if (!r->f->ended)
		fg_agent_net_message(&r->f->agent, r->message);
	json_decref(r->message);
	free(r);
}

static void reply(struct fake *f, int64_t ms, json_t *message)
{
	struct reply *r = fg_calloc(1, sizeof(*r));

	r->f = f;
	r->message = message;
	fake_later(f, ms, deliver, r);
}

void fake_offer(struct fake_world *w, const char *guest, uint64_t version)
{
	unsigned n = w->n_offers++;

	snprintf(w->offers[n], sizeof(w->offers[n]),
		 "{\"seq\":%u,\"guest\":\"%s\",\"fix\":\"" FAKE_FIX
		 "\",\"version\":%llu,\"digest\":\"%064u\",\"bytes\":1000}",
		 n + 1, guest, (unsigned long long)version, n + 1);
}

void fake_offers_send(struct fake *f, int64_t after)
{
	json_t *offers = json_array();

	for (unsigned i = (unsigned)after; i < f->w->n_offers; i++)
		json_array_append_new(offers, json_loads(f->w->offers[i], 0, NULL));
	if (json_array_size(offers) > 0)
		reply(f, 10,
		      json_pack("{ss sI so}", "type", "offers", "cursor", (json_int_t)f->w->n_offers, "offers",
				offers));
	else
		json_decref(offers);
}

/* Idempotent by sequence number, as the server is. */
static void take_report(struct fake *f, const json_t *report)
{
	struct fake_world *w = f->w;
	int64_t seq = json_integer_value(json_object_get(report, "seq"));

	for (unsigned i = 0; i < w->n_reports; i++) {
		if (w->reports[i].seq == seq) {
			reply(f, 20, json_pack("{ss sI}", "type", "acked", "seq", (json_int_t)seq));
			return;
		}
	}
	if (w->n_reports == FAKE_REPORTS) {
		fake_violation(w, "too many reports");
		return;
	}
	if (w->n_reports && seq <= w->reports[w->n_reports - 1].seq)
		fake_violation(w, "report %lld came after %lld", (long long)seq,
			       (long long)w->reports[w->n_reports - 1].seq);
	struct fake_report *r = &w->reports[w->n_reports++];
	r->seq = seq;
	snprintf(r->job, sizeof(r->job), "%s", json_string_value(json_object_get(report, "job")));
	snprintf(r->guest, sizeof(r->guest), "%s", json_string_value(json_object_get(report, "guest")));
	snprintf(r->state, sizeof(r->state), "%s", json_string_value(json_object_get(report, "state")));
	const char *reason = json_string_value(json_object_get(report, "reason"));
	snprintf(r->reason, sizeof(r->reason), "%s", reason ? reason : "");
	const json_t *evidence = json_object_get(report, "evidence");
	fg_autofree char *text = evidence ? fg_json_dump(evidence) : fg_strdup("");
	snprintf(r->evidence, sizeof(r->evidence), "%s", text);
	reply(f, 20, json_pack("{ss sI}", "type", "acked", "seq", (json_int_t)seq));
}

static json_t *head_reply(struct fake *f, const json_t *message)
{
	const json_t *offer = json_object_get(message, "offer");
	fg_autofree char *path =
		fg_asprintf("%s/net/heads/%s.head", f->dir, json_string_value(json_object_get(offer, "digest")));

	return json_pack("{ss s{sisi} ss ss s{ss sO si ss ss si ss si}}", "type", "head-verified", "catalogue",
			 "generation", 1, "version", f->w->catalogue_version + 1, "head_digest",
			 "00000000000000000000000000000000000000000000000000000000000000aa", "path", path, "manifest",
			 "id", f->w->head_of_another ? "other-fix" : json_string_value(json_object_get(offer, "fix")),
			 "version", json_object_get(offer, "version"), "timeout_s", 600, "title", "a fix", "context",
			 "chroot", "payload_bytes", 1000, "severity", "low", "expires_s", 2000000000);
}

static json_t *failed(const char *code, const char *text)
{
	return json_pack("{ss ss ss}", "type", "failed", "code", code, "text", text);
}

bool fake_send(void *ctx, const json_t *message)
{
	struct fake *f = ctx;
	const char *type = json_string_value(json_object_get(message, "type"));
	struct fg_error err = FG_ERROR_INIT;
	json_t *answer = NULL;
	bool effect;

	if (strcmp(type, "start") == 0) {
		fake_offers_send(f, json_integer_value(json_object_get(message, "cursor")));
		return true;
	}
	if (strcmp(type, "report") == 0) {
		take_report(f, json_object_get(message, "report"));
		return true;
	}
	if (strcmp(type, "guests") == 0)
		return true;
	if (fake_outside(f, type, &effect, &err) < 0)
		answer = failed(fg_error_name(err.code), err.text);
	else if (f->w->server_down)
		answer = failed("unreachable", "the server does not answer");
	else if (strcmp(type, "head") == 0 && f->w->head_untrusted)
		answer = failed("untrusted", "signature: not of a publisher");
	else if (strcmp(type, "head") == 0)
		answer = head_reply(f, message);
	else if (strcmp(type, "token") == 0)
		answer = json_pack("{ss ss sI}", "type", "token", "token", "abcd", "expires_ms", (json_int_t)0);
	else if (strcmp(type, "request") == 0)
		answer = json_pack("{ss}", "type", "requested");
	if (!answer) {
		fake_violation(f->w, "message '%s' is not in the protocol", type);
		return true;
	}
	json_object_set(answer, "id", json_object_get(message, "id"));
	reply(f, 30, answer);
	return true;
}

const struct fake_report *fake_report_of(const struct fake_world *w, const char *guest, const char *state)
{
	for (unsigned i = w->n_reports; i-- > 0;)
		if (strcmp(w->reports[i].guest, guest) == 0 && strcmp(w->reports[i].state, state) == 0)
			return &w->reports[i];
	return NULL;
}

unsigned fake_count(const struct fake_world *w, const char *guest, const char *state)
{
	unsigned n = 0;

	for (unsigned i = 0; i < w->n_reports; i++)
		n += strcmp(w->reports[i].guest, guest) == 0 && strcmp(w->reports[i].state, state) == 0;
	return n;
}

const char *fake_last_state(const struct fake_world *w, const char *guest)
{
	for (unsigned i = w->n_reports; i-- > 0;)
		if (strcmp(w->reports[i].guest, guest) == 0)
			return w->reports[i].state;
	return "none";
}
