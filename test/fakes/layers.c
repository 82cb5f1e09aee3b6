/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "world.h"

#include <string.h>

struct call {
	struct fake *f;
	void (*act)(struct call *c);
	int rc;
	bool effect;
	struct fg_error err;
	struct fg_layer_request req;
	char *path;
	fg_layer_path_cb *on_path;
	fg_ts_done_cb *done;
	void *arg;
};

static size_t guest_index(const struct fake_world *w, const char *target)
{
	for (size_t i = 0; i < FAKE_GUESTS; i++)
		if (strncmp(target + strlen("/disk/"), w->guests[i].name, strlen(w->guests[i].name)) == 0)
			return i;
	abort();
}

static struct fake_layer *layer_of(struct call *c, size_t *guest)
{
	*guest = guest_index(c->f->w, c->req.target);
	return &c->f->w->layers[*guest][c->req.vdev[3] - 'a'];
}

static int fail(struct call *c, enum fg_error_code code, const char *text)
{
	if (c->rc == 0)
		c->rc = fg_error_set(&c->err, code, "%s", text);
	return c->rc;
}

static void answer(void *arg)
{
	struct call *c = arg;

	if (!c->f->ended) {
		if (c->effect)
			c->act(c);
		if (c->done)
			c->done(c->arg, c->rc, c->rc < 0 ? &c->err : NULL);
		else
			c->on_path(c->arg, c->rc, c->rc == 0 ? c->path : NULL, c->rc < 0 ? &c->err : NULL);
	}
	free(c->path);
	free(c);
}

static struct call *start(struct fg_layers *layers, const char *name, const struct fg_layer_request *req,
			  void (*act)(struct call *), int64_t ms, void *arg)
{
	struct fake *f = (struct fake *)layers;
	struct call *c = fg_calloc(1, sizeof(*c));

	c->f = f;
	c->req = *req;
	c->act = act;
	c->arg = arg;
	c->rc = fake_outside(f, name, &c->effect, &c->err);
	fake_later(f, ms, answer, c);
	return c;
}

static void act_create(struct call *c)
{
	size_t i;
	struct fake_layer *l = layer_of(c, &i);
	const struct fake_guest *g = &c->f->w->guests[i];

	if (l->exists) {
		fail(c, FG_EEXISTS, "the layer is there");
		return;
	}
	if (!c->req.readonly && g->state != FG_GUEST_OFF && !g->by_somebody)
		fake_violation(c->f->w, "a layer to write on over the disk of %s, which runs", g->name);
	*l = (struct fake_layer){ .exists = true, .readonly = c->req.readonly, .content = g->disk };
	memcpy(c->f->w->layer_job[i], c->req.job, sizeof(c->req.job));
	c->path = fg_asprintf("/dev/mapper/fixgate-%s-%s", c->req.job, c->req.vdev);
}

static void layers_create(struct fg_layers *layers, const struct fg_layer_request *req, fg_layer_path_cb *cb, void *arg)
{
	start(layers, "layer create", req, act_create, 50, arg)->on_path = cb;
}

static void act_merge(struct call *c)
{
	size_t i;
	struct fake_world *w = c->f->w;
	struct fake_layer *l = layer_of(c, &i);

	if (w->guests[i].state != FG_GUEST_OFF)
		fake_violation(w, "merge under %s, which runs", w->guests[i].name);
	if (w->other_has_disk)
		fake_violation(w, "merge under another guest");
	for (size_t k = 0; k < FG_COUNT(w->vms); k++)
		if (w->vms[k].exists && strcmp(w->vms[k].uuid, c->req.job) == 0)
			fake_violation(w, "merge under a fix VM");
	if (!l->exists) { /* it was merged: nothing to go on with */
		if (!w->merge_begun[i])
			fail(c, FG_EDIFFERS, "there is no layer");
		return;
	}
	if (w->overflow) {
		fail(c, FG_EDIFFERS, "the store overflowed");
		return;
	}
	w->merge_begun[i] = true;
	if (w->merge_breaks) { /* half of it is in the origin */
		w->guests[i].disk = 600;
		fail(c, FG_EDIFFERS, "the store cannot be read");
		return;
	}
	if (w->started_in_merge) {
		w->started_in_merge = false;
		w->guests[i].disk = 600;
		w->guests[i].by_somebody = true;
		fake_guest_comes_up(w, &w->guests[i]);
		fail(c, FG_ETIMEOUT, "no answer");
		return;
	}
	w->guests[i].disk = l->content;
	l->exists = false;
}

static void layers_merge(struct fg_layers *layers, const struct fg_layer_request *req, fg_ts_done_cb *cb, void *arg)
{
	start(layers, "merge", req, act_merge, 4000, arg)->done = cb;
}

static void act_drop(struct call *c)
{
	size_t i;
	struct fake_world *w = c->f->w;
	struct fake_layer *l = layer_of(c, &i);

	for (size_t k = 0; k < FG_COUNT(w->vms); k++)
		if (w->vms[k].exists && strcmp(w->vms[k].uuid, c->req.job) == 0)
			fake_violation(w, "a layer was dropped under a fix VM");
	if (l->exists && w->merge_begun[i] && !l->readonly)
		fail(c, FG_EHELD, "the merge has begun");
	else
		l->exists = false;
}

static void layers_drop(struct fg_layers *layers, const struct fg_layer_request *req, fg_ts_done_cb *cb, void *arg)
{
	start(layers, "drop", req, act_drop, 50, arg)->done = cb;
}

static int layers_merge_begun(struct fg_layers *layers, const char *job, bool *out, struct fg_error *err)
{
	struct fake *f = (struct fake *)layers;
	bool effect;
	int rc = fake_outside(f, "merge_begun", &effect, err);

	if (rc < 0)
		return rc;
	*out = false;
	for (int i = 0; i < FAKE_GUESTS; i++)
		if (strcmp(f->w->layer_job[i], job) == 0)
			*out = f->w->merge_begun[i];
	return 0;
}

const struct fg_layer_ops fake_layers = {
	.name = "fake",
	.create = layers_create,
	.merge = layers_merge,
	.drop = layers_drop,
	.merge_begun = layers_merge_begun,
};
