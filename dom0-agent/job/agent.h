/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The agent: all jobs of this host and what they work with.  Everything outside (toolstacks, fix VMs, layers, filter,
 * network process, clock) is reached through the tables in here; tests put fakes in.
 *
 *	fill in struct fg_agent -> fg_agent_start -> [loop] -> fg_agent_stop -> close what was opened
 */
#ifndef FG_AGENT_H
#define FG_AGENT_H

#include "clock.h"
#include "dom0-agent/config.h"
#include "dom0-agent/fix/fixvm.h"
#include "dom0-agent/fix/initrd.h"
#include "dom0-agent/fix/layer.h"
#include "dom0-agent/isolate/isolator.h"
#include "dom0-agent/isolate/reach.h"
#include "dom0-agent/journal/journal.h"
#include "dom0-agent/toolstack/toolstack.h"

#include <sys/queue.h>

#define FG_AGENT_TOOLSTACKS_MAX 4
#define FG_AGENT_JOBS_MAX 4096 /* open jobs of one host; further offers wait in the inbox */

struct fg_job;
struct fg_request;
struct fg_offer;
struct fg_agent;

/* The sentence to fixgate-net.  False: it is not there now. */
typedef bool fg_net_send_fn(void *ctx, const json_t *message);
/* A journal that cannot be written, or a broken contract: the agent ends, everything stays as it is. */
typedef void fg_fatal_fn(void *ctx, const struct fg_error *err);
typedef void fg_event_fn(void *ctx, const json_t *event);

struct fg_agent_toolstack {
	const struct fg_toolstack_ops *ops;
	struct fg_toolstack *ts; /* NULL: not connected now */
};

struct fg_agent {
	/* Given by the caller, who owns it. */
	const struct fg_agent_config *config;
	struct fg_clock *clock;
	struct fg_journal *journal;
	struct fg_agent_toolstack toolstacks[FG_AGENT_TOOLSTACKS_MAX];
	size_t n_toolstacks;
	const struct fg_fixvm_ops *fixvm_ops;
	struct fg_fixvms *fixvms;
	const struct fg_layer_ops *layer_ops;
	struct fg_layers *layers;
	const struct fg_isolator_ops *isolator_ops;
	struct fg_isolator *isolator;
	int (*make_initrd)(const struct fg_initrd_request *req, const char *path, struct fg_error *err);
	int (*reach)(const struct fg_agent_config *config, const char *bridge, struct fg_reach *out,
		     struct fg_error *err);
	int (*take_head)(const char *dir, const char *name, const char *to, const char *head_digest,
			 struct fg_error *err);
	fg_net_send_fn *net_send;
	void *net_ctx;
	fg_fatal_fn *fatal;
	void *fatal_ctx;
	fg_event_fn *event; /* each change of state, for whoever watches */
	void *event_ctx;

	/* Private. */
	bool dead; /* fatal was called */
	bool recovered; /* marks are armed; jobs may go */
	bool online; /* the server answers */
	TAILQ_HEAD(fg_job_list, fg_job) jobs; /* open ones, oldest first */
	LIST_HEAD(fg_request_list, fg_request) requests; /* to fixgate-net, unanswered */
	LIST_HEAD(fg_offer_list, fg_offer) offers; /* being verified */
	LIST_HEAD(fg_call_list, fg_call) calls; /* outstanding and abandoned */
	LIST_HEAD(fg_list_list, fg_list) lists; /* being asked */
	LIST_HEAD(fg_sweep_list, fg_sweep) sweeps; /* guests being looked up for the filter */
	json_t *refusals; /* of isolated guests, those that were told: UUID -> text */
	int64_t request_id;
	struct fg_timer *slot_timer, *inventory_timer, *marks_timer;
	unsigned marks_tries;
	void (*marks_then)(struct fg_agent *agent);
	bool inventory_busy, inventory_dirty;
	json_t *names; /* of guests that were seen: UUID -> name */
};

/* Loads the open jobs, arms all marked guests, then each job goes on from where the journal says. */
int fg_agent_start(struct fg_agent *agent, struct fg_error *err) FG_MUST_CHECK;
/* Frees jobs and waits in memory; touches nothing outside.  Close the toolstacks first: no callback may come after. */
void fg_agent_stop(struct fg_agent *agent);

/* A message of fixgate-net (net/message.h). */
void fg_agent_net_message(struct fg_agent *agent, const json_t *message);
/* It was started (again): start, inventory and the whole outbox are sent. */
void fg_agent_net_up(struct fg_agent *agent);
void fg_agent_net_down(struct fg_agent *agent);
/* fg_ts_event_cb; arg is the agent. */
void fg_agent_toolstack_event(void *arg, struct fg_toolstack *ts, const char *uuid);

/* Durable, or the agent is dead and -code is returned. */
int fg_agent_write(struct fg_agent *agent, const struct fg_journal_entry *entry) FG_MUST_CHECK;
void fg_agent_die(struct fg_agent *agent, const struct fg_error *err);
struct fg_agent_toolstack *fg_agent_toolstack_named(struct fg_agent *agent, const char *name);
/* The open job of the guest that is past queued or held, other than `but`; NULL: none. */
struct fg_job *fg_agent_guest_job(struct fg_agent *agent, const char *guest, const struct fg_job *but);
struct fg_job *fg_agent_job(struct fg_agent *agent, const char *id);
/* As last seen, or as the journal has it; malloc'd, NULL: not known. */
char *fg_agent_guest_name(struct fg_agent *agent, const char *guest);
/* "could not ask": the answer says nothing, asking again may. */
bool fg_code_unknown(int rc);

/*
 * A question to fixgate-net, answered once: rc 0 with the message, or the code that it failed with; UNREACHABLE when the
 * process ends first.
 */
typedef void fg_request_cb(void *arg, int rc, const json_t *reply, const struct fg_error *err);
void fg_agent_request(struct fg_agent *agent, json_t *message, fg_request_cb *cb, void *arg); /* takes message */
void fg_agent_requests_fail(struct fg_agent *agent, int code, const char *text);
void fg_agent_request_reply(struct fg_agent *agent, const json_t *message);

#endif
