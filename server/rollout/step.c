/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "decide.h"
#include "engine.h"

#include <inttypes.h>
#include <lib/util.h>
#include <string.h>

#define SERVER "fixgate-server"

struct step {
	struct fg_store *store;
	struct fg_store_rollout_work work;
	json_t *hosts; /* object: those to wake */
	int64_t next_ms;
};

static void on_host(const char *host, void *arg)
{
	json_object_set_new(arg, host, json_true());
}

static int plan_of(const struct fg_store_rollout *r, struct fg_plan *plan, struct fg_error *err)
{
	fg_autojson json_t *json = NULL;
	int rc = fg_json_parse(r->plan, strlen(r->plan), &json, err);

	return rc < 0 ? rc : fg_plan_read(json, plan, err);
}

static int decide(struct fg_store *store, const struct fg_store_rollout *r, int64_t now_ms,
		  struct fg_rollout_decision *out, struct fg_error *err)
{
	struct fg_plan plan;
	int64_t oldest_ms = 0;
	int rc = plan_of(r, &plan, err);

	if (rc < 0)
		return rc;
	if (r->state == FG_ROLLOUT_RUNNING && plan.timeout_ms)
		rc = fg_store_rollout_oldest(store, r->id, &oldest_ms, err);
	if (rc == 0)
		*out = fg_rollout_decide(r, &plan, oldest_ms, now_ms);
	fg_plan_release(&plan);
	return rc;
}

static int set(struct step *s, struct fg_store_rollout *r, enum fg_rollout_state state, const char *reason,
	       const char *what, struct fg_error *err)
{
	r->state = state;
	r->reason = reason;
	r->changed_ms = s->work.now_ms;
	return fg_store_rollout_set(s->store, r, SERVER, what, err);
}

static int do_offer(struct step *s, struct fg_store_rollout *r, struct fg_error *err)
{
	struct fg_error why = FG_ERROR_INIT;
	size_t n = 0;
	int rc = fg_store_rollout_offer(s->store, &s->work, r->wave, &n, &why);

	/* The fix is withdrawn or has expired: nothing of this rollout may go on. */
	if (rc == -FG_ENOTFOUND || rc == -FG_EREFUSED)
		return set(s, r, FG_ROLLOUT_STOPPING, why.text, "rollout-stop", err);
	return rc < 0 ? fg_error_set(err, (enum fg_error_code) - rc, "%s", why.text) : 0;
}

static int do_cancel(struct step *s, struct fg_store_rollout *r, struct fg_error *err)
{
	bool stop = r->state == FG_ROLLOUT_STOPPING;
	size_t n = 0;
	int rc = fg_store_rollout_cancel(s->store, &s->work, false,
					 stop ? "the rollout was stopped" : "the rollout was cancelled", &n, err);

	if (rc < 0 || n == s->work.limit)
		return rc;
	s->next_ms = INT64_MAX;
	return set(s, r, stop ? FG_ROLLOUT_STOPPED : FG_ROLLOUT_CANCELLED, r->reason,
		   stop ? "rollout-stopped" : "rollout-cancelled", err);
}

static int do_close(struct step *s, int64_t change_ms, struct fg_error *err)
{
	size_t n = 0;
	int rc = fg_store_rollout_cancel(s->store, &s->work, true, "the maintenance window is over", &n, err);

	/* Those that are left have isolated: they go on to their end. */
	if (rc == 0 && n < s->work.limit)
		s->next_ms = change_ms;
	return rc;
}

static int act(struct step *s, struct fg_store_rollout *r, const struct fg_rollout_decision *d, int64_t change_ms,
	       struct fg_error *err)
{
	int64_t now_ms = s->work.now_ms;
	size_t n = 0;
	fg_autojson json_t *plan = NULL;

	s->next_ms = now_ms;
	switch (d->action) {
	case FG_DO_WAIT:
		s->next_ms = d->next_ms;
		return 0;
	case FG_DO_OFFER:
		return do_offer(s, r, err);
	case FG_DO_EXPIRE:
		if (fg_json_parse(r->plan, strlen(r->plan), &plan, err) < 0)
			return -FG_EBUG;
		return fg_store_rollout_expire(s->store, &s->work,
					       now_ms - json_integer_value(json_object_get(plan, "timeout_s")) * 1000,
					       &n, err);
	case FG_DO_CLOSE:
		return do_close(s, change_ms, err);
	case FG_DO_REACHED:
		r->reached_ms = now_ms;
		return set(s, r, r->state, r->reason, "rollout-reached", err);
	case FG_DO_NEXT_WAVE:
		r->wave++;
		r->wave_ms = now_ms;
		r->reached_ms = 0;
		return set(s, r, r->state, r->reason, "rollout-wave", err);
	case FG_DO_STOP:
		return set(s, r, FG_ROLLOUT_STOPPING, d->why, "rollout-stop", err);
	case FG_DO_CANCEL:
		return do_cancel(s, r, err);
	case FG_DO_FINISH:
		s->next_ms = INT64_MAX;
		return set(s, r, FG_ROLLOUT_DONE, NULL, "rollout-done", err);
	}
	return 0;
}

/* As it stands without a transaction: most looks end here. */
static int look(const struct fg_store_rollout *r, void *arg, struct fg_error *err)
{
	struct step *s = arg;
	struct fg_rollout_decision d;
	int rc = decide(s->store, r, s->work.now_ms, &d, err);

	if (rc == 0)
		s->next_ms = d.action == FG_DO_WAIT ? d.next_ms : s->work.now_ms;
	return rc < 0 ? rc : d.action != FG_DO_WAIT;
}

static int decide_and_act(const struct fg_store_rollout *r, void *arg, struct fg_error *err)
{
	struct step *s = arg;
	struct fg_store_rollout changed = *r;
	struct fg_rollout_decision d;
	int rc = decide(s->store, r, s->work.now_ms, &d, err);

	return rc < 0 ? rc : act(s, &changed, &d, d.next_ms, err);
}

int fg_rollout_step(struct fg_store *store, int64_t id, int64_t now_ms, void (*wake)(const char *host, void *arg),
		    void *arg, int64_t *next_ms, struct fg_error *err)
{
	fg_autojson json_t *hosts = json_object();
	struct step s = { .store = store,
			  .work = { id, now_ms, FG_ROLLOUT_CHUNK, on_host, hosts },
			  .hosts = hosts,
			  .next_ms = INT64_MAX };
	const char *host;
	json_t *unused;
	int rc = fg_store_rollout(store, id, look, &s, err);

	if (rc > 0) {
		rc = fg_store_begin(store, err);
		if (rc == 0)
			rc = fg_store_end(store, fg_store_rollout(store, id, decide_and_act, &s, err), err);
	}
	if (rc < 0)
		return rc;
	*next_ms = s.next_ms;
	json_object_foreach (hosts, host, unused) {
		wake(host, arg);
	}
	return 0;
}
