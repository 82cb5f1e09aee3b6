/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The filter dies with a netdev.  vif-fixgate arms a new one before its first frame; the guard (guard.h) when the kernel
 * tells of it; here the agent arms all netdevs of marked guests at its start, and those of a guest whenever its toolstack
 * or the guard says that something changed.
 *
 * A sweep asks the toolstacks for one marked guest and arms what it has.
 */
#include "dom0-agent/job/job.h"
#include "window.h"

#include <lib/log.h>
#include <lib/util.h>
#include <string.h>

#define AGAIN_FIRST_MS 2000
#define AGAIN_MAX_MS 60000
#define START_TRIES 6 /* about a minute at the start; then jobs go on, each with its own check */

struct fg_sweep {
	LIST_ENTRY(fg_sweep) link;
	struct fg_agent *agent;
	char uuid[37];
	size_t at;
	bool unreachable, again;
	struct fg_timer *timer;
	int64_t back_off_ms;
	void (*then)(struct fg_agent *agent); /* of the start: when the last sweep of it has ended */
};

static void ask_next(struct fg_sweep *sweep);

static void sweep_free(struct fg_sweep *sweep)
{
	if (sweep->timer)
		sweep->agent->clock->cancel(sweep->agent->clock, sweep->timer);
	LIST_REMOVE(sweep, link);
	free(sweep);
}

void fg_sweeps_free(struct fg_agent *agent)
{
	while (!LIST_EMPTY(&agent->sweeps))
		sweep_free(LIST_FIRST(&agent->sweeps));
	json_decref(FG_TAKE(agent->refusals));
}

static void retry(void *arg)
{
	struct fg_sweep *sweep = arg;

	sweep->timer = NULL;
	sweep->at = 0;
	sweep->unreachable = false;
	sweep->again = false;
	ask_next(sweep);
}

/* At once if something changed while we asked, with back-off if we could not ask. */
static int64_t next_try_ms(struct fg_sweep *sweep)
{
	if (!sweep->unreachable)
		return 0;
	sweep->back_off_ms = sweep->back_off_ms ? sweep->back_off_ms * 2 : AGAIN_FIRST_MS;
	if (sweep->back_off_ms > AGAIN_MAX_MS)
		sweep->back_off_ms = AGAIN_MAX_MS;
	return sweep->back_off_ms;
}

/* The start waits for all its sweeps, but not for ever: one guest's toolstack must not stop the others. */
static void end_of_round(struct fg_sweep *sweep)
{
	struct fg_agent *agent = sweep->agent;
	void (*then)(struct fg_agent *) = sweep->then;
	const struct fg_sweep *other = NULL;
	bool again = sweep->unreachable || sweep->again;

	if (again && then && ++agent->marks_tries > START_TRIES) {
		sweep->then = NULL;
	} else if (again) {
		then = NULL;
	}
	if (again)
		sweep->timer = agent->clock->after(agent->clock, next_try_ms(sweep), retry, sweep);
	else
		sweep_free(sweep);
	if (!then)
		return;
	LIST_FOREACH (other, &agent->sweeps, link) {
		if (other->then)
			return;
	}
	then(agent);
}

/* Its disks are none, and a domain that is being built cannot be read for seconds.  What else a guest is refused for may be
 * one. */
static bool may_be_way_out(const char *refusal)
{
	static const char *const others[] = { "disk ", "it has no disk", "its definition cannot be read" };

	for (size_t i = 0; i < FG_COUNT(others); i++)
		if (strncmp(refusal, others[i], strlen(others[i])) == 0)
			return false;
	return true;
}

/*
 * A device that came after the isolation, and no netdev of dom0: a window without an end, as far as can be seen from here.
 * Each change of a link asks anew: the same is told once.
 */
static void tell_refusal(struct fg_agent *agent, const char *uuid, const char *refusal)
{
	struct fg_window w = {
		.cause = "out-of-reach", .ms = FG_WINDOW_UNKNOWN, .frames = FG_WINDOW_UNKNOWN, .open = true
	};
	const char *told = NULL;

	if (!refusal) {
		json_object_del(agent->refusals, uuid);
		return;
	}
	if (!agent->refusals)
		agent->refusals = json_object();
	told = json_string_value(json_object_get(agent->refusals, uuid));
	if (told && strcmp(told, refusal) == 0)
		return;
	json_object_set_new(agent->refusals, uuid, json_string(refusal));
	if (!may_be_way_out(refusal)) {
		fg_log_warn("guest=%s is isolated, and could not be now: %s", uuid, refusal);
		return;
	}
	snprintf(w.uuid, sizeof(w.uuid), "%s", uuid);
	snprintf(w.detail, sizeof(w.detail), "%.199s", refusal);
	fg_window_report(agent, &w);
}

static void on_found(void *arg, int rc, const struct fg_guest *guest, const struct fg_error *cause)
{
	struct fg_sweep *sweep = arg;
	struct fg_agent *agent = sweep->agent;
	struct fg_error err = cause ? *cause : (struct fg_error)FG_ERROR_INIT;
	bool marked = true;

	if (agent->dead)
		return;
	if (rc == -FG_ENOTFOUND) {
		sweep->at++;
		ask_next(sweep);
		return;
	}
	if (rc == 0) /* it may have been released while we asked */
		rc = agent->isolator_ops->marked(agent->isolator, sweep->uuid, &marked, &err);
	if (rc == 0 && marked)
		rc = agent->isolator_ops->isolate(agent->isolator, guest, false, &err);
	if (rc == 0)
		tell_refusal(agent, sweep->uuid, marked ? guest->refusal : NULL);
	if (agent->dead)
		return;
	if (rc < 0) {
		fg_log_warn("guest=%s cannot be armed now: %s", sweep->uuid, err.text);
		sweep->unreachable = true;
	}
	end_of_round(sweep);
}

static void none_left(void *arg)
{
	struct fg_sweep *sweep = arg;

	sweep->timer = NULL;
	end_of_round(sweep);
}

static void ask_next(struct fg_sweep *sweep)
{
	struct fg_agent *agent = sweep->agent;

	for (; sweep->at < agent->n_toolstacks; sweep->at++) {
		struct fg_agent_toolstack *t = &agent->toolstacks[sweep->at];
		if (t->ts) {
			t->ops->find(t->ts, sweep->uuid, on_found, sweep);
			return;
		}
		sweep->unreachable = true;
	}
	sweep->timer = agent->clock->after(agent->clock, 0, none_left, sweep);
}

static void start_sweep(struct fg_agent *agent, const char *uuid, void (*then)(struct fg_agent *))
{
	struct fg_sweep *sweep = NULL;

	LIST_FOREACH (sweep, &agent->sweeps, link) {
		if (strcmp(sweep->uuid, uuid) == 0) {
			sweep->again = true;
			return;
		}
	}
	sweep = fg_calloc(1, sizeof(*sweep));
	sweep->agent = agent;
	sweep->then = then;
	snprintf(sweep->uuid, sizeof(sweep->uuid), "%s", uuid);
	LIST_INSERT_HEAD(&agent->sweeps, sweep, link);
	ask_next(sweep);
}

/* A fix VM's mark is the matter of its job. */
static bool is_guest(struct fg_agent *agent, const char *uuid)
{
	return fg_agent_job(agent, uuid) == NULL;
}

static void none_marked(void *arg);

static void list_marks(struct fg_agent *agent, const char *only, void (*then)(struct fg_agent *))
{
	struct fg_error err = FG_ERROR_INIT;
	fg_autofree char(*uuids)[37] = NULL;
	size_t n = 0, started = 0;

	if (agent->isolator_ops->list(agent->isolator, &uuids, &n, &err) < 0) {
		if (then)
			fg_agent_die(agent, &err); /* the start: who is isolated is not known */
		else
			fg_log_err("marks of isolated guests: %s, ignoring", err.text);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		if (!is_guest(agent, uuids[i]) || (only && strcmp(only, uuids[i]) != 0))
			continue;
		start_sweep(agent, uuids[i], then);
		started++;
	}
	if (then && started == 0)
		agent->marks_timer = agent->clock->after(agent->clock, 0, none_marked, agent);
	else if (then)
		fg_log_info("%zu guests are isolated", started);
}

static void none_marked(void *arg)
{
	struct fg_agent *agent = arg;

	agent->marks_timer = NULL;
	agent->marks_then(agent);
}

void fg_marks_arm(struct fg_agent *agent, void (*then)(struct fg_agent *agent))
{
	agent->marks_then = then;
	list_marks(agent, NULL, then);
}

void fg_marks_changed(struct fg_agent *agent, const char *uuid)
{
	if (agent->recovered)
		list_marks(agent, uuid, NULL);
}
