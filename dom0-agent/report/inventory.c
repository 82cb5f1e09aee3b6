/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The guests of this host: asked of all toolstacks, told to the server when something changed.  A toolstack that cannot be
 * asked makes the whole list unknown: guests are not "gone" because libvirt is being restarted.
 */
#include "dom0-agent/job/snapshot.h"
#include "dom0-agent/job/job.h"

#include <lib/log.h>
#include <lib/util.h>

#include <arpa/inet.h>

#define SETTLE_MS 1000 /* events come in bunches */
#define AGAIN_MS 15000

struct fg_list {
	LIST_ENTRY(fg_list) link;
	struct fg_agent *agent;
	fg_list_cb *cb;
	void *arg;
	size_t at;
	struct fg_guest *guests;
	size_t n;
	struct fg_timer *timer;
	struct fg_error err;
};

static void ask_next(struct fg_list *list);
static void on_list(void *arg, int rc, const struct fg_guest *guests, size_t n, const struct fg_error *err);

static void list_free(struct fg_list *list)
{
	if (list->timer)
		list->agent->clock->cancel(list->agent->clock, list->timer);
	for (size_t i = 0; i < list->n; i++)
		fg_guest_release(&list->guests[i]);
	free(list->guests);
	LIST_REMOVE(list, link);
	free(list);
}

void fg_lists_free(struct fg_agent *agent)
{
	while (!LIST_EMPTY(&agent->lists))
		list_free(LIST_FIRST(&agent->lists));
}

static void finish(void *arg)
{
	struct fg_list *list = arg;

	list->timer = NULL;
	if (!list->agent->dead)
		list->cb(list->arg, -list->err.code, list->guests, list->n, list->err.code ? &list->err : NULL);
	list_free(list);
}

void fg_agent_list(struct fg_agent *agent, fg_list_cb *cb, void *arg)
{
	struct fg_list *list = fg_calloc(1, sizeof(*list));

	list->agent = agent;
	list->cb = cb;
	list->arg = arg;
	LIST_INSERT_HEAD(&agent->lists, list, link);
	ask_next(list);
}

static void ask_next(struct fg_list *list)
{
	struct fg_agent *agent = list->agent;

	if (list->at < agent->n_toolstacks && !list->err.code) {
		struct fg_agent_toolstack *t = &agent->toolstacks[list->at];
		if (t->ts) {
			t->ops->list(t->ts, on_list, list);
			return;
		}
		fg_error_set(&list->err, FG_EUNREACHABLE, "toolstack %s is not connected", t->ops->name);
	}
	list->timer = agent->clock->after(agent->clock, 0, finish, list);
}

static void on_list(void *arg, int rc, const struct fg_guest *guests, size_t n, const struct fg_error *err)
{
	struct fg_list *list = arg;

	if (rc < 0) {
		list->err = *err;
		fg_error_wrap(&list->err, "toolstack %s", list->agent->toolstacks[list->at].ops->name);
	} else if (n > 0) {
		struct fg_guest *more = realloc(list->guests, (list->n + n) * sizeof(*more));
		if (!more)
			abort();
		list->guests = more;
		for (size_t i = 0; i < n; i++)
			fg_guest_copy(&guests[i], &list->guests[list->n++]);
	}
	list->at++;
	ask_next(list);
}

json_t *fg_guest_public_json(const struct fg_guest *g)
{
	json_t *nics = json_array();
	char mac[18], ip[INET6_ADDRSTRLEN];

	for (size_t i = 0; i < g->n_nics; i++) {
		json_t *addresses = json_array();
		for (size_t k = 0; k < g->nics[i].n_addresses; k++)
			json_array_append_new(addresses, json_string(fg_ip_text(&g->nics[i].addresses[k], ip)));
		fg_mac_format(g->nics[i].mac, mac);
		json_array_append_new(nics, json_pack("{ss so}", "mac", mac, "addresses", addresses));
	}
	/* The protocol knows running, off and paused: a guest that is going down still runs. */
	const char *state = fg_guest_state_name(g->state == FG_GUEST_DYING ? FG_GUEST_RUNNING : g->state);
	return json_pack("{ss ss ss ss so ss}", "uuid", g->uuid, "name", g->name ? g->name : "", "toolstack",
			 g->ops ? g->ops->name : "", "state", state, "nics", nics, "identity", "config");
}

static void inventory_again(void *arg);

static void on_inventory(void *arg, int rc, const struct fg_guest *guests, size_t n, const struct fg_error *err)
{
	struct fg_agent *agent = arg;
	fg_autojson json_t *list = json_array();

	agent->inventory_busy = false;
	if (rc < 0) {
		fg_log_warn("list of guests: %s; again in %d s", err->text, AGAIN_MS / 1000);
		if (!agent->inventory_timer)
			agent->inventory_timer = agent->clock->after(agent->clock, AGAIN_MS, inventory_again, agent);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		json_array_append_new(list, fg_guest_public_json(&guests[i]));
		if (guests[i].name)
			json_object_set_new(agent->names, guests[i].uuid, json_string(guests[i].name));
	}
	fg_autojson json_t *message = json_pack("{ss sO}", "type", "guests", "guests", list);
	if (!agent->net_send(agent->net_ctx, message))
		fg_log_debug("the list of guests is sent when fixgate-net comes up");
	if (agent->inventory_dirty)
		fg_inventory_update(agent);
}

static void inventory_again(void *arg)
{
	struct fg_agent *agent = arg;

	agent->inventory_timer = NULL;
	agent->inventory_dirty = false;
	agent->inventory_busy = true;
	fg_agent_list(agent, on_inventory, agent);
}

void fg_inventory_update(struct fg_agent *agent)
{
	if (agent->inventory_busy)
		agent->inventory_dirty = true;
	else if (!agent->inventory_timer)
		agent->inventory_timer = agent->clock->after(agent->clock, SETTLE_MS, inventory_again, agent);
}
