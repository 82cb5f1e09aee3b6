/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "world.h"

#include <string.h>

#define DELAY_MS 5

/* One call that is not answered yet. */
struct call {
	struct fake *f;
	void (*act)(struct call *c); /* the effect, just before the answer */
	int rc;
	bool effect;
	struct fg_error err;
	char uuid[37];
	struct fg_guest guest; /* find, start_paused */
	bool has_guest;
	char *text; /* save */
	fg_ts_done_cb *done;
	fg_ts_guest_cb *on_guest;
	fg_ts_text_cb *on_text;
	fg_ts_list_cb *on_list;
	fg_ts_step_cb *step;
	void *arg;
};

static struct call *call_new(struct fg_toolstack *ts, const char *name, const char *uuid, void *arg)
{
	struct fake *f = (struct fake *)ts;
	struct call *c = fg_calloc(1, sizeof(*c));

	c->f = f;
	c->arg = arg;
	snprintf(c->uuid, sizeof(c->uuid), "%s", uuid);
	c->rc = fake_outside(f, name, &c->effect, &c->err);
	return c;
}

static void answer(void *arg)
{
	struct call *c = arg;

	if (!c->f->ended) {
		if (c->effect && c->act)
			c->act(c);
		const struct fg_error *err = c->rc < 0 ? &c->err : NULL;
		if (c->done)
			c->done(c->arg, c->rc, err);
		else if (c->on_guest)
			c->on_guest(c->arg, c->rc, c->rc == 0 ? &c->guest : NULL, err);
		else if (c->on_text)
			c->on_text(c->arg, c->rc, c->rc == 0 ? c->text : NULL, err);
		else if (c->on_list)
			c->on_list(c->arg, c->rc, c->rc == 0 ? &c->guest : NULL, c->has_guest ? 1 : 0, err);
	}
	if (c->has_guest)
		fg_guest_release(&c->guest);
	free(c->text);
	free(c);
}

static int fail(struct call *c, enum fg_error_code code, const char *text)
{
	if (c->rc == 0)
		c->rc = fg_error_set(&c->err, code, "%s", text);
	return c->rc;
}

static void describe(struct call *c, const struct fake_guest *g)
{
	struct fg_guest *out = &c->guest;

	memcpy(out->uuid, g->uuid, sizeof(out->uuid));
	out->name = fg_strdup(g->name);
	out->ops = &fake_toolstack;
	out->state = g->back_ms ? FG_GUEST_DYING : g->state;
	out->domid = g->state == FG_GUEST_OFF ? 0 : g->domid;
	if (g->refused)
		out->refusal = fg_strdup(g->refusal ? g->refusal : "its NIC is passed through");
	out->n_nics = g->n_nics;
	out->nics = fg_calloc(g->n_nics, sizeof(*out->nics));
	for (unsigned i = 0; i < g->n_nics; i++) {
		struct fg_nic *nic = &out->nics[i];
		nic->devid = i;
		nic->mac[5] = (uint8_t)(g->uuid[35] + (int)i);
		snprintf(nic->bridge, sizeof(nic->bridge), "xenbr0");
		nic->addresses[0] = (struct fg_ip){ .family = AF_INET, .v4 = { 0x0b00630a } };
		nic->n_addresses = 1;
		if (g->state != FG_GUEST_OFF) {
			snprintf(nic->netdevs[0], IFNAMSIZ, "vif%u.%u", g->domid, i);
			nic->n_netdevs = 1;
		}
	}
	out->n_disks = g->disk_readonly2 ? 3 : 1;
	out->disks = fg_calloc(out->n_disks, sizeof(*out->disks));
	for (size_t i = 0; i < out->n_disks; i++) {
		snprintf(out->disks[i].vdev, sizeof(out->disks[i].vdev), "xvd%c", (int)('a' + i));
		out->disks[i].target = fg_asprintf("/disk/%s%zu", g->name, i);
		out->disks[i].readonly = i > 0;
		out->disks[i].cdrom = i == 2;
	}
	c->has_guest = true;
}

static void act_find(struct call *c)
{
	const struct fake_guest *g = fake_guest(c->f->w, c->uuid);

	if (!g || (g->state == FG_GUEST_OFF && !g->off_known))
		fail(c, FG_ENOTFOUND, "no such guest");
	else if (c->rc == 0)
		describe(c, g);
}

static void ts_find(struct fg_toolstack *ts, const char *uuid, fg_ts_guest_cb *cb, void *arg)
{
	struct call *c = call_new(ts, "find", uuid, arg);

	c->on_guest = cb;
	c->act = act_find;
	fake_later(c->f, DELAY_MS, answer, c);
}

static void act_other(struct call *c)
{
	struct fake_guest g = *fake_guest(c->f->w, FAKE_WEB1);

	memcpy(g.uuid, "f19a0000-0000-4000-8000-0000000000aa", sizeof(g.uuid));
	g.state = FG_GUEST_RUNNING;
	describe(c, &g);
}

static void ts_list(struct fg_toolstack *ts, fg_ts_list_cb *cb, void *arg)
{
	struct call *c = call_new(ts, "list", FAKE_WEB1, arg);

	c->on_list = cb;
	c->act = act_find;
	if (c->f->w->other_has_disk)
		c->act = act_other;
	else if (fake_guest(c->f->w, FAKE_WEB1)->state == FG_GUEST_OFF)
		c->act = NULL;
	fake_later(c->f, DELAY_MS, answer, c);
}

static void act_save(struct call *c)
{
	const struct fake_guest *g = fake_guest(c->f->w, c->uuid);

	if (!g || g->state == FG_GUEST_OFF)
		fail(c, FG_ENOTFOUND, "no such guest");
	else
		c->text = fg_asprintf("{\"uuid\":\"%s\"}", c->uuid);
}

static void ts_save(struct fg_toolstack *ts, const char *uuid, fg_ts_text_cb *cb, void *arg)
{
	struct call *c = call_new(ts, "save", uuid, arg);

	c->on_text = cb;
	c->act = act_save;
	fake_later(c->f, DELAY_MS, answer, c);
}

static void act_stop(struct call *c)
{
	struct fake_guest *g = fake_guest(c->f->w, c->uuid);

	if (g->state != FG_GUEST_OFF && !g->marked)
		fake_violation(c->f->w, "%s was stopped before it was isolated", g->name);
	if (c->f->w->stop_ignored) {
		fail(c, FG_ETIMEOUT, "it does not stop");
		return;
	}
	c->step(c->arg, "shutdown requested");
	g->state = FG_GUEST_OFF;
	g->armed = g->by_somebody = false;
}

static void ts_stop(struct fg_toolstack *ts, const struct fg_guest *last, const struct fg_stop_policy *policy,
		    fg_ts_step_cb *step, fg_ts_done_cb *cb, void *arg)
{
	struct call *c = call_new(ts, "stop", last->uuid, arg);

	(void)policy;
	/* First of all its owner is ended: it does not come back by itself. */
	if (c->effect && !c->f->w->stop_ignored)
		fake_guest(c->f->w, c->uuid)->back_ms = 0;
	c->done = cb;
	c->step = step;
	c->act = act_stop;
	fake_later(c->f, 3000, answer, c);
}

static void act_start(struct call *c)
{
	struct fake_world *w = c->f->w;
	struct fake_guest *g = fake_guest(w, c->uuid);
	size_t i = (size_t)(g - w->guests);

	if (g->state == FG_GUEST_OFF) {
		if (w->layers[i][0].exists || w->layers[i][0].merging)
			fake_violation(w, "%s was started while a layer is over its disk", g->name);
		for (size_t k = 0; k < FG_COUNT(w->vms); k++)
			if (w->vms[k].exists && !w->vms[k].inspect)
				fake_violation(w, "%s was started while a fix VM has its disk", g->name);
		g->state = FG_GUEST_PAUSED;
		g->domid = w->next_domid++;
		g->armed = false;
		g->starts++;
	}
	if (c->rc == 0)
		describe(c, g);
}

static void ts_start_paused(struct fg_toolstack *ts, const char *definition, fg_ts_guest_cb *cb, void *arg)
{
	fg_autojson json_t *j = json_loads(definition, 0, NULL);
	struct call *c = call_new(ts, "start_paused", json_string_value(json_object_get(j, "uuid")), arg);

	c->on_guest = cb;
	c->act = act_start;
	fake_later(c->f, 2000, answer, c);
}

static void act_unpause(struct call *c)
{
	struct fake_guest *g = fake_guest(c->f->w, c->uuid);

	if (g->state != FG_GUEST_PAUSED)
		fail(c, FG_EFAILED, "not paused");
	else if (g->marked && !g->armed)
		fake_violation(c->f->w, "%s was unpaused with a mark and no filter", g->name);
	if (g->state == FG_GUEST_PAUSED)
		g->state = FG_GUEST_RUNNING;
}

static void ts_unpause(struct fg_toolstack *ts, const char *uuid, fg_ts_done_cb *cb, void *arg)
{
	struct call *c = call_new(ts, "unpause", uuid, arg);

	c->done = cb;
	c->act = act_unpause;
	fake_later(c->f, DELAY_MS, answer, c);
}

static void act_connected(struct call *c)
{
	if (c->f->w->unhealthy)
		fail(c, FG_ETIMEOUT, "vif0 is not connected");
	else if (fake_guest(c->f->w, c->uuid)->state != FG_GUEST_RUNNING)
		fail(c, FG_ENOTFOUND, "it does not run");
}

static void ts_wait_connected(struct fg_toolstack *ts, const char *uuid, uint32_t deadline_ms, fg_ts_done_cb *cb,
			      void *arg)
{
	struct call *c = call_new(ts, "wait_connected", uuid, arg);

	c->done = cb;
	c->act = act_connected;
	fake_later(c->f, c->f->w->unhealthy ? deadline_ms : 8000, answer, c);
}

const struct fg_toolstack_ops fake_toolstack = {
	.name = "xl",
	.list = ts_list,
	.find = ts_find,
	.save = ts_save,
	.stop = ts_stop,
	.start_paused = ts_start_paused,
	.unpause = ts_unpause,
	.wait_connected = ts_wait_connected,
};
