/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Rollouts: POST and GET /v1/rollouts, GET and POST /v1/rollouts/<id>; POST /v1/cancellations. */
#include "api.h"
#include "check.h"

#include <errno.h>
#include <server/rollout/engine.h>
#include <stdlib.h>
#include <string.h>

#define LIST_MAX 200
#define TARGETS_MAX 1000

/* ---- one as JSON ---- */

static json_t *counts_json(const int64_t n[FG_TARGET_STATE_COUNT])
{
	json_t *out = json_object();

	for (unsigned i = 0; i < FG_TARGET_STATE_COUNT; i++)
		if (n[i])
			json_object_set_new(out, fg_target_state_name((enum fg_target_state)i), json_integer(n[i]));
	return out;
}

static int to_json(const struct fg_store_rollout *r, void *arg, struct fg_error *err)
{
	json_t *waves = json_array(), *plan = json_loads(r->plan, 0, NULL);
	json_t *out = json_pack(
		"{s:I, s:s, s:I, s:s, s:I, s:I, s:s, s:I, s:I, s:o, s:o}", "id", (json_int_t)r->id, "fix", r->fix,
		"version", (json_int_t)r->version, "state", fg_rollout_state_name(r->state), "wave",
		(json_int_t)r->wave + 1, "wave_ms", (json_int_t)r->wave_ms, "created_by", r->created_by, "created_ms",
		(json_int_t)r->created_ms, "changed_ms", (json_int_t)r->changed_ms, "plan", plan, "waves", waves);

	if (!out)
		return fg_error_set(err, FG_EBUG, "rollout %lld has a plan that is none", (long long)r->id);
	for (int64_t w = 0; w < r->n_waves; w++)
		json_array_append_new(waves, counts_json(r->n[w]));
	if (r->reason)
		json_object_set_new(out, "reason", json_string(r->reason));
	if (r->approved_by)
		json_object_set_new(out, "approved_by", json_string(r->approved_by));
	*(json_t **)arg = out;
	return 0;
}

/* ---- the list ---- */

struct ids {
	int64_t items[LIST_MAX];
	size_t n;
};

static void on_id(int64_t id, void *arg)
{
	struct ids *ids = arg;

	ids->items[ids->n++] = id;
}

int fg_api_rollouts(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err)
{
	struct fg_api *api = ctx;
	fg_autojson json_t *list = json_array();
	struct ids ids = { .n = 0 };
	int64_t before = 0;
	int rc = fg_request_query_int(req, "after", 0, INT64_MAX, 0, &before, err);

	if (rc == 0)
		rc = fg_store_rollout_ids(api->store, FG_ROLLOUT_STATE_COUNT, before, LIST_MAX, on_id, &ids, err);
	for (size_t i = 0; i < ids.n && rc == 0; i++) {
		json_t *one = NULL;
		rc = fg_store_rollout(api->store, ids.items[i], to_json, &one, err);
		if (rc == 0)
			json_array_append_new(list, one);
	}
	if (rc < 0)
		return rc;
	*answer = json_pack("{s:O}", "rollouts", list);
	if (ids.n == LIST_MAX)
		json_object_set_new(*answer, "next", json_integer(ids.items[ids.n - 1]));
	return 200;
}

/* ---- a new one ---- */

int fg_api_rollout_create(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err)
{
	struct fg_api *api = ctx;
	fg_autojson json_t *body = NULL;
	json_t *rollout = NULL;
	struct fg_rollout_request q = { .who = req->peer.name, .now_ms = fg_now_ms() };
	int64_t id = 0;
	size_t targets = 0;
	int rc = fg_api_body(req, &body, err);

	if (rc == 0)
		rc = fg_json_string(body, "fix", &q.fix, err);
	if (rc == 0)
		rc = fg_check_fix_id(q.fix, err);
	if (rc == 0)
		rc = fg_json_int_opt(body, "version", 0, INT64_MAX, 0, &q.version, err);
	if (rc < 0)
		return rc;
	fg_autofree char *fix = fg_strdup(q.fix);
	q.fix = fix;
	json_object_del(body, "fix");
	json_object_del(body, "version");
	q.plan = body;
	rc = fg_rollout_create(api->store, &q, &id, &targets, err);
	if (rc == 0)
		rc = fg_store_rollout(api->store, id, to_json, &rollout, err);
	if (rc < 0)
		return rc;
	json_object_set_new(rollout, "targets", json_integer((json_int_t)targets));
	*answer = rollout;
	fg_rollouts_kick(api->rollouts);
	return 201;
}

/* ---- one ---- */

static int id_of(const struct fg_request *req, int64_t *out, struct fg_error *err)
{
	char *end = NULL;

	errno = 0;
	long long id = strtoll(req->tail, &end, 10);
	if (errno || end == req->tail || *end || id < 1)
		return fg_error_set(err, FG_ENOTFOUND, "no rollout %.40s", req->tail);
	*out = id;
	return 0;
}

struct targets {
	json_t *list;
	char last[FG_UUID_TEXT];
};

static void add_target(const struct fg_store_target *t, void *arg)
{
	struct targets *list = arg;
	json_t *out =
		json_pack("{s:s, s:s, s:s, s:I, s:s, s:I, s:I, s:s?, s:s?, s:s?}", "uuid", t->client, "name", t->name,
			  "host", t->host, "wave", (json_int_t)t->wave + 1, "state", fg_target_state_name(t->state),
			  "tries", (json_int_t)t->tries, "at_ms", (json_int_t)t->at_ms, "reason", t->reason, "status",
			  t->status, "job_state", t->job_state);

	json_array_append_new(list->list, out);
	snprintf(list->last, sizeof(list->last), "%s", t->client);
}

static int targets_answer(struct fg_request *req, struct fg_api *api, int64_t id, json_t *rollout, struct fg_error *err)
{
	const char *after = fg_request_query(req, "after"), *state = fg_request_query(req, "state");
	fg_autojson json_t *list = json_array();
	struct targets t = { .list = list };
	enum fg_target_state only = state ? fg_target_state_from_name(state) : FG_TARGET_STATE_COUNT;

	if (state && only == FG_TARGET_STATE_COUNT)
		return fg_error_set(err, FG_EFORMAT, "a target has no state '%.40s'", state);
	int rc = fg_store_rollout_targets(api->store, id, only, after ? after : "", TARGETS_MAX, add_target, &t, err);
	if (rc < 0)
		return rc;
	json_object_set(rollout, "targets", list);
	if (json_array_size(list) == TARGETS_MAX)
		json_object_set_new(rollout, "next", json_string(t.last));
	return 0;
}

int fg_api_rollout(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err)
{
	struct fg_api *api = ctx;
	fg_autojson json_t *rollout = NULL;
	int64_t id = 0;
	int rc = id_of(req, &id, err);

	if (rc == 0)
		rc = fg_store_rollout(api->store, id, to_json, &rollout, err);
	if (rc == 0 && fg_request_query(req, "targets"))
		rc = targets_answer(req, api, id, rollout, err);
	if (rc < 0)
		return rc;
	*answer = FG_TAKE(rollout);
	return 200;
}

int fg_api_rollout_control(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err)
{
	struct fg_api *api = ctx;
	fg_autojson json_t *body = NULL;
	const char *action = NULL;
	int64_t id = 0;
	int rc = id_of(req, &id, err);

	if (rc == 0)
		rc = fg_api_body(req, &body, err);
	if (rc == 0)
		rc = fg_json_string(body, "action", &action, err);
	if (rc == 0 && !strcmp(action, "approve") && req->peer.role != FG_ROLE_IS_ADMIN)
		rc = fg_error_set(err, FG_ENOTALLOWED, "only an administrator approves");
	if (rc == 0)
		rc = fg_rollout_control(api->store, id, action, req->peer.name, fg_now_ms(), err);
	if (rc == 0)
		rc = fg_store_rollout(api->store, id, to_json, answer, err);
	if (rc < 0)
		return rc;
	fg_rollouts_kick(api->rollouts);
	return 200;
}

/* ---- POST /v1/cancellations: single offers ---- */

static void on_cancelled(const char *host, void *arg)
{
	json_object_set_new(arg, host, json_true());
}

static const char *cancelled_text(enum fg_store_cancelled what)
{
	switch (what) {
	case FG_CANCELLED_NOW:
		return "cancelled";
	case FG_CANCELLED_ASKED:
		return "asked";
	case FG_CANCELLED_TOO_LATE:
		return "too-late";
	case FG_CANCELLED_NONE:
		break;
	}
	return "none";
}

int fg_api_cancel(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err)
{
	struct fg_api *api = ctx;
	fg_autojson json_t *body = NULL;
	fg_autojson json_t *hosts = json_object();
	enum fg_store_cancelled what = FG_CANCELLED_NONE;
	struct fg_store_cancel c = {
		.who = req->peer.name, .now_ms = fg_now_ms(), .cancelled = on_cancelled, .arg = hosts
	};
	const char *guest = NULL, *host;
	char uuid[FG_UUID_TEXT];
	json_t *unused;
	int rc = fg_api_body(req, &body, err);

	if (rc == 0)
		rc = fg_json_string(body, "fix", &c.fix, err);
	if (rc == 0)
		rc = fg_check_fix_id(c.fix, err);
	if (rc == 0)
		rc = fg_json_string(body, "guest", &guest, err);
	if (rc == 0)
		rc = fg_store_client_find(api->store, guest, uuid, err);
	c.client = uuid;
	if (rc == 0)
		rc = fg_store_cancel(api->store, &c, &what, err);
	if (rc < 0)
		return rc;
	if (what == FG_CANCELLED_NONE)
		return fg_error_set(err, FG_ENOTFOUND, "guest %s has no open offer of fix %s", uuid, c.fix);
	json_object_foreach (hosts, host, unused) {
		fg_poll_wake(api->poll, host);
	}
	if (fg_store_rollouts_touched(api->store))
		fg_rollouts_kick(api->rollouts);
	*answer = json_pack("{s:s, s:s}", "guest", uuid, "result", cancelled_text(what));
	return 200;
}
