/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a person says to a rollout. */
#include "decide.h"
#include "engine.h"

#include <inttypes.h>
#include <string.h>

#define TARGETS_MAX 1000000

/* ---- a new one ---- */

struct selection {
	struct fg_store *store;
	const struct fg_plan *plan;
	char **uuids;
	size_t n, size;
};

static void add_label(const char *name, const char *value, void *arg)
{
	json_object_set_new(arg, name, json_string(value));
}

static int on_guest(const struct fg_store_guest_row *row, void *arg, struct fg_error *err)
{
	struct selection *s = arg;
	fg_autojson json_t *labels = json_object();
	struct fg_plan_guest g = { row->uuid, row->name, row->host, row->os, labels };
	int rc = fg_plan_needs_labels(s->plan) ? fg_store_labels(s->store, row->uuid, add_label, labels, err) : 0;

	if (rc < 0 || !fg_plan_selects(s->plan, &g))
		return rc;
	if (s->n == TARGETS_MAX)
		return fg_error_set(err, FG_ELIMIT, "more than %d guests are selected", TARGETS_MAX);
	if (s->n == s->size) {
		size_t size = s->size ? 2 * s->size : 64;
		char **more = fg_calloc(size, sizeof(*more));
		if (s->n)
			memcpy(more, s->uuids, s->n * sizeof(*more));
		free(s->uuids);
		s->uuids = more;
		s->size = size;
	}
	s->uuids[s->n++] = fg_strdup(row->uuid);
	return 0;
}

static int add(struct fg_store *store, const struct fg_rollout_request *q, const struct fg_plan *plan,
	       const struct selection *s, int64_t *id, struct fg_error *err)
{
	size_t ends[FG_PLAN_WAVES_MAX];
	fg_autofree char *text = fg_json_dump(q->plan);
	struct fg_store_rollout r = { .fix = q->fix,
				      .version = q->version,
				      .plan = text,
				      .created_by = q->who,
				      .created_ms = q->now_ms,
				      .n_waves = (int64_t)fg_plan_cut(plan, s->n, ends),
				      .state = plan->approval ? FG_ROLLOUT_AWAITING_APPROVAL : FG_ROLLOUT_RUNNING };
	fg_autofree int64_t *waves = fg_calloc(s->n + 1, sizeof(*waves));
	size_t wave = 0;

	if (s->n == 0)
		return fg_error_set(err, FG_EREFUSED, "no guest is selected");
	for (size_t i = 0; i < s->n; i++) {
		if (i == ends[wave])
			wave++;
		waves[i] = (int64_t)wave;
	}
	return fg_store_rollout_add(store, &r, (const char *const *)s->uuids, waves, s->n, id, err);
}

static int create(struct fg_store *store, struct fg_rollout_request *q, const struct fg_plan *plan, int64_t *id,
		  size_t *targets, struct fg_error *err)
{
	struct selection s = { .store = store, .plan = plan };
	int rc = fg_store_fix_version(store, q->fix, &q->version, q->now_ms, err);

	if (rc == 0)
		rc = fg_store_guests(store, on_guest, &s, err);
	if (rc == 0)
		rc = add(store, q, plan, &s, id, err);
	*targets = s.n;
	for (size_t i = 0; i < s.n; i++)
		free(s.uuids[i]);
	free(s.uuids);
	return rc;
}

int fg_rollout_create(struct fg_store *store, const struct fg_rollout_request *request, int64_t *id, size_t *targets,
		      struct fg_error *err)
{
	struct fg_rollout_request q = *request;
	struct fg_plan plan;
	int64_t new = 0;
	size_t n = 0;
	int rc = fg_plan_read(q.plan, &plan, err);

	if (rc < 0)
		return rc;
	rc = fg_store_begin(store, err);
	if (rc == 0)
		rc = fg_store_end(store, create(store, &q, &plan, &new, &n, err), err);
	fg_plan_release(&plan);
	if (rc < 0)
		return rc;
	*id = new;
	*targets = n;
	return 0;
}

/* ---- one that is there ---- */

struct word {
	struct fg_store *store;
	const char *who;
	int64_t now_ms;
};

static int approve(const struct word *w, struct fg_store_rollout *r, struct fg_error *err)
{
	if (!strcmp(r->created_by, w->who))
		return fg_error_set(err, FG_ENOTALLOWED, "%s made it: another administrator approves", w->who);
	r->approved_by = w->who;
	r->state = FG_ROLLOUT_RUNNING;
	return 0;
}

/* Who goes on after a stop has seen the failures, and does not wait for the wave's success. */
static int resume(const struct word *w, struct fg_store_rollout *r, struct fg_error *err)
{
	size_t n = 0;
	int rc = 0;

	if (r->state == FG_ROLLOUT_STOPPED) {
		r->forgiven = fg_rollout_total(r, FG_TARGET_FAILED);
		r->reached_ms = w->now_ms;
		rc = fg_store_rollout_retry(w->store, r->id, false, w->now_ms, &n, err);
	}
	r->reason = NULL;
	r->state = FG_ROLLOUT_RUNNING;
	return rc;
}

static int cancel(const struct word *w, struct fg_store_rollout *r, struct fg_error *err)
{
	(void)w, (void)err;
	r->state = FG_ROLLOUT_CANCELLING;
	r->reason = NULL;
	return 0;
}

static int retry(const struct word *w, struct fg_store_rollout *r, struct fg_error *err)
{
	size_t n = 0;
	int rc = fg_store_rollout_retry(w->store, r->id, true, w->now_ms, &n, err);

	if (rc < 0)
		return rc;
	if (n == 0)
		return fg_error_set(err, FG_EREFUSED, "no target of rollout %" PRId64 " is to be tried again", r->id);
	r->forgiven = 0;
	r->reached_ms = 0;
	r->reason = NULL;
	if (r->state != FG_ROLLOUT_PAUSED)
		r->state = FG_ROLLOUT_RUNNING;
	return 0;
}

static int pause_(const struct word *w, struct fg_store_rollout *r, struct fg_error *err)
{
	(void)w, (void)err;
	r->state = FG_ROLLOUT_PAUSED;
	return 0;
}

#define S(name) (1u << FG_ROLLOUT_##name)
static const struct {
	const char *name, *what;
	unsigned from;
	int (*fn)(const struct word *w, struct fg_store_rollout *r, struct fg_error *err);
} actions[] = {
	{ "approve", "rollout-approve", S(AWAITING_APPROVAL), approve },
	{ "pause", "rollout-pause", S(RUNNING), pause_ },
	{ "resume", "rollout-resume", S(PAUSED) | S(STOPPED), resume },
	{ "cancel", "rollout-cancel", S(AWAITING_APPROVAL) | S(RUNNING) | S(PAUSED) | S(STOPPING) | S(STOPPED),
	  cancel },
	{ "retry", "rollout-retry", S(RUNNING) | S(PAUSED) | S(STOPPED) | S(DONE), retry },
};
#undef S

struct control {
	struct word word;
	const char *action;
};

static int control(const struct fg_store_rollout *r, void *arg, struct fg_error *err)
{
	const struct control *c = arg;
	struct fg_store_rollout changed = *r;

	for (size_t i = 0; i < FG_COUNT(actions); i++) {
		if (strcmp(actions[i].name, c->action) != 0)
			continue;
		if (!(actions[i].from & 1u << r->state))
			return fg_error_set(err, FG_EREFUSED, "rollout %" PRId64 " is %s", r->id,
					    fg_rollout_state_name(r->state));
		int rc = actions[i].fn(&c->word, &changed, err);
		changed.changed_ms = c->word.now_ms;
		return rc < 0 ? rc : fg_store_rollout_set(c->word.store, &changed, c->word.who, actions[i].what, err);
	}
	return fg_error_set(err, FG_EFORMAT, "no such action: approve, pause, resume, cancel or retry");
}

int fg_rollout_control(struct fg_store *store, int64_t id, const char *action, const char *who, int64_t now_ms,
		       struct fg_error *err)
{
	struct control c = { { store, who, now_ms }, action };
	int rc = fg_store_begin(store, err);

	if (rc < 0)
		return rc;
	return fg_store_end(store, fg_store_rollout(store, id, control, &c, err), err);
}
