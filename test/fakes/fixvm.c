/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The fix VM: boots, downloads, waits for "closed", fixes, says the result and powers off, as its script has it. */
#include "world.h"

#include <stdarg.h>
#include <string.h>

struct fg_fixvm {
	struct fake *f;
	struct fake_vm *vm;
	struct fg_fixvm_events events;
	unsigned pending; /* events in the queue */
	bool forgotten, gone;
	size_t guest;
};

struct call {
	struct fake *f;
	struct fg_fixvm *handle;
	void (*act)(struct call *c);
	int rc;
	bool effect;
	struct fg_error err;
	struct fg_fixvm_created created;
	char uuid[37];
	fg_fixvm_created_cb *on_created;
	fg_ts_done_cb *done;
	void *arg;
};

static void handle_put(struct fg_fixvm *h)
{
	if (--h->pending == 0 && h->forgotten)
		free(h);
}

static struct fake_vm *vm_named(struct fake_world *w, const char *uuid)
{
	for (size_t i = 0; i < FG_COUNT(w->vms); i++)
		if (strcmp(w->vms[i].uuid, uuid) == 0)
			return &w->vms[i];
	return NULL;
}

int fake_make_initrd(const struct fg_initrd_request *req, const char *path, struct fg_error *err)
{
	struct fake_world *w = fake_the_world;
	const char *uuid = json_string_value(json_object_get(req->job, "job"));
	const char *mode = json_string_value(json_object_get(req->job, "mode"));
	struct fake_vm *vm = vm_named(w, uuid);
	bool effect;
	int rc = fake_outside(fake_the_fake, "make_initrd", &effect, err);

	if (rc < 0)
		return rc;
	for (size_t i = 0; !vm && i < FG_COUNT(w->vms); i++)
		if (!w->vms[i].exists && !w->vms[i].marked)
			vm = &w->vms[i];
	memset(vm, 0, sizeof(*vm));
	snprintf(vm->uuid, sizeof(vm->uuid), "%s", uuid);
	snprintf(vm->nonce, sizeof(vm->nonce), "%s", json_string_value(json_object_get(req->job, "nonce")));
	vm->inspect = strcmp(mode, "inspect") == 0;
	return fg_file_write_durable(path, "initrd", 6, 0600, err);
}

/* The console */

struct line {
	struct fg_fixvm *h;
	char text[400];
	bool end; /* the domain ends instead */
};

static void say_line(void *arg)
{
	struct line *l = arg;
	struct fg_fixvm *h = l->h;

	if (!h->f->ended && !h->forgotten && h->vm->exists && !h->gone) {
		if (l->end) {
			h->gone = true;
			h->vm->exists = false;
			h->events.gone(h->events.arg, l->text);
		} else {
			h->events.output(h->events.arg, l->text, strlen(l->text));
		}
	}
	handle_put(h);
	free(l);
}

static void say(struct fg_fixvm *h, int64_t ms, const char *type, const char *body)
{
	struct line *l = fg_calloc(1, sizeof(*l));

	l->h = h;
	h->pending++;
	if (type)
		snprintf(l->text, sizeof(l->text), FG_FIXVM_PREFIX "%s %s %s\n", h->vm->nonce, type, body);
	else
		snprintf(l->text, sizeof(l->text), "%s", body);
	l->end = !type && strcmp(body, "power-off") == 0;
	fake_later(h->f, ms, say_line, l);
}

static void result(struct fg_fixvm *h, int64_t ms, const char *outcome, const char *reason)
{
	char body[200];

	snprintf(body, sizeof(body), "{\"outcome\":\"%s\",\"step\":\"run\",\"reason\":\"%s\",\"exit_status\":0}",
		 outcome, reason);
	say(h, ms, "result", body);
	if (h->f->w->script != FAKE_NEVER_POWERS_OFF || h->vm->inspect)
		say(h, ms + 100, NULL, "power-off");
}

static void mounted(struct fg_fixvm *h, int64_t ms)
{
	char body[300];

	snprintf(body, sizeof(body), h->f->w->os ? "{\"root\":\"/dev/xvda1\",\"os\":\"%s\"}" : "{}", h->f->w->os);
	say(h, ms, "mounted", body);
}

static void look(struct fg_fixvm *h)
{
	say(h, 4000, "hello", "{\"mode\":\"inspect\"}");
	switch (h->f->w->look) {
	case FAKE_LOOK_NEEDED:
		mounted(h, 4100);
		result(h, 4200, "needed", "package is older");
		return;
	case FAKE_LOOK_NOT_NEEDED:
		result(h, 4200, "not-needed", "receipt of this version");
		return;
	case FAKE_LOOK_NOT_APPLICABLE:
		mounted(h, 4050);
		say(h, 4100, "applies", "{\"result\":\"not-applicable\",\"reason\":\"os\"}");
		result(h, 4200, "not-needed", "os");
		return;
	case FAKE_LOOK_CRASHES:
		say(h, 4200, NULL, "Kernel panic\n");
		say(h, 4300, NULL, "power-off");
		return;
	case FAKE_LOOK_FAILS:
		result(h, 4200, "failed", "cannot mount");
		return;
	case FAKE_LOOK_HANGS:
		return;
	}
}

static void begin(struct fg_fixvm *h)
{
	enum fake_script script = h->f->w->script;

	if (h->vm->inspect) {
		look(h);
		return;
	}
	if (script == FAKE_HANGS_AT_BOOT)
		return;
	say(h, 3000, NULL, "[    0.0] Linux\n");
	say(h, 4000, "hello", "{\"mode\":\"fix\"}");
	say(h, 4500, "net-up", "{}");
	say(h, 5000, "progress", "{\"done_bytes\":1,\"total_bytes\":2}");
	if (script == FAKE_HANGS_AT_DOWNLOAD)
		return;
	if (script == FAKE_CRASHES) {
		say(h, 5500, NULL, "Kernel panic - not syncing\n");
		say(h, 6000, NULL, "power-off");
	} else if (script == FAKE_DOWNLOAD_FAILS) {
		result(h, 6000, "failed", "a block does not verify");
	} else if (script == FAKE_LIES) {
		result(h, 6000, "verified", "trust me");
	} else {
		say(h, 6000, "verified", "{\"payload_bytes\":2}");
	}
}

/* The fix writes to the layer whatever becomes of it. */
static void go_on(struct fg_fixvm *h)
{
	struct fake_world *w = h->f->w;
	struct fake_layer *l = &w->layers[h->guest][0];

	if (!h->vm->closed)
		fake_violation(w, "told that the NIC is closed, and it is not");
	mounted(h, 100);
	if (w->script == FAKE_NOT_NEEDED) {
		result(h, 300, "not-needed", "receipt");
		return;
	}
	if (w->script == FAKE_SAYS_NEEDED) {
		result(h, 300, "needed", "?");
		return;
	}
	say(h, 200, "applies", "{\"result\":\"needed\"}");
	say(h, 300, "running", "{}");
	l->content += 1000;
	say(h, 400, "output", "{\"text\":\"hello\"}");
	if (w->script == FAKE_FAILS)
		result(h, 5000, "failed", "entry: exit status 1");
	else if (w->script != FAKE_HANGS_AT_FIX)
		result(h, 5000, "verified", "post-check passed");
}

/* Operations */

static void answer(void *arg)
{
	struct call *c = arg;

	if (c->f->ended) {
		if (c->handle && --c->handle->pending == 0 && c->handle->forgotten)
			free(c->handle);
		free(c);
		return;
	}
	if (c->effect)
		c->act(c);
	if (c->on_created && c->rc < 0) { /* nothing is left of the domain; the handle is the caller's until forget */
		c->on_created(c->arg, c->rc, NULL, &c->err);
		handle_put(c->handle);
	} else if (c->on_created) {
		c->on_created(c->arg, 0, &c->created, NULL);
		handle_put(c->handle);
	} else {
		c->done(c->arg, c->rc, c->rc < 0 ? &c->err : NULL);
		if (c->handle)
			handle_put(c->handle);
	}
	free(c);
}

static struct call *call_new(struct fake *f, struct fg_fixvm *h, const char *name, void (*act)(struct call *),
			     void *arg)
{
	struct call *c = fg_calloc(1, sizeof(*c));

	c->f = f;
	c->handle = h;
	c->act = act;
	c->arg = arg;
	c->rc = fake_outside(f, name, &c->effect, &c->err);
	if (h)
		h->pending++;
	return c;
}

static void act_create(struct call *c)
{
	struct fake_vm *vm = c->handle->vm;

	if (c->rc < 0)
		return; /* "on failure nothing is left behind" */
	vm->exists = vm->paused = true;
	vm->armed = vm->closed = false;
	c->created.domid = c->f->w->next_domid++;
	if (vm->has_nic) {
		snprintf(c->created.netdevs[0], IFNAMSIZ, "vif%u.0", c->created.domid);
		c->created.n_netdevs = 1;
	}
	if (vm->inspect)
		c->f->w->looks_made++;
	else
		c->f->w->vms_made++;
}

static void check_spec(struct fake_world *w, const struct fg_fixvm_spec *spec, const struct fake_vm *vm, size_t guest)
{
	const struct fake_guest *g = &w->guests[guest];

	if (spec->n_disks == 0)
		fake_violation(w, "a fix VM without a disk");
	for (size_t i = 0; i < spec->n_disks; i++) {
		if (strncmp(spec->disks[i].path, "/dev/mapper/fixgate-", 20) != 0)
			fake_violation(w, "the fix VM gets %s itself", spec->disks[i].path);
		if (vm->inspect && !spec->disks[i].readonly)
			fake_violation(w, "an inspection may write");
	}
	if (vm->inspect && spec->has_nic)
		fake_violation(w, "an inspection has a NIC");
	if (!vm->inspect && g->state != FG_GUEST_OFF)
		fake_violation(w, "two writers: %s runs and its fix VM is made", g->name);
	if (!vm->inspect && !vm->marked)
		fake_violation(w, "the fix VM is made without a mark");
	if (strcmp(spec->uuid, g->uuid) == 0)
		fake_violation(w, "the fix VM has the UUID of the guest");
}

static struct fg_fixvm *vms_create(struct fg_fixvms *vms, const struct fg_fixvm_spec *spec,
				   const struct fg_fixvm_events *events, fg_fixvm_created_cb *cb, void *arg)
{
	struct fake *f = (struct fake *)vms;
	struct fg_fixvm *h = fg_calloc(1, sizeof(*h));

	h->f = f;
	h->events = *events;
	h->vm = vm_named(f->w, spec->uuid);
	for (size_t i = 0; i < FAKE_GUESTS; i++)
		if (strcmp(f->w->layer_job[i], spec->uuid) == 0)
			h->guest = i;
	h->vm->has_nic = spec->has_nic;
	check_spec(f->w, spec, h->vm, h->guest);
	struct call *c = call_new(f, h, "fixvm create", act_create, arg);
	c->on_created = cb;
	fake_later(f, 1500, answer, c);
	return h;
}

static void act_run(struct call *c)
{
	if (c->handle->vm->has_nic && !c->handle->vm->armed)
		fake_violation(c->f->w, "the fix VM is let run without a filter");
	if (!c->handle->vm->inspect && c->f->w->other_has_disk)
		fake_violation(c->f->w, "two writers: the fix VM is let run under another guest");
	if (!c->handle->vm->inspect && c->f->w->guests[c->handle->guest].state != FG_GUEST_OFF)
		fake_violation(c->f->w, "two writers: the fix VM is let run and its guest runs");
	c->handle->vm->paused = false;
	begin(c->handle);
}

static void vm_run(struct fg_fixvm *vm, fg_ts_done_cb *cb, void *arg)
{
	struct call *c = call_new(vm->f, vm, "fixvm run", act_run, arg);

	c->done = cb;
	fake_later(vm->f, 5, answer, c);
}

static int vm_send(struct fg_fixvm *vm, const void *bytes, size_t len, struct fg_error *err)
{
	char want[120];
	bool effect;
	int rc = fake_outside(vm->f, "fixvm send", &effect, err);

	snprintf(want, sizeof(want), FG_FIXVM_PREFIX "%s closed {}\n", vm->vm->nonce);
	if (len != strlen(want) || memcmp(bytes, want, len) != 0)
		fake_violation(vm->f->w, "not what the protocol says: %.*s", (int)len, (const char *)bytes);
	else if (effect)
		go_on(vm);
	return rc;
}

static void vm_forget(struct fg_fixvm *vm)
{
	vm->forgotten = true;
	if (vm->pending == 0)
		free(vm);
}

static void act_destroy(struct call *c)
{
	struct fake_vm *vm = vm_named(c->f->w, c->uuid);

	if (vm)
		vm->exists = false;
}

static void vms_destroy(struct fg_fixvms *vms, const char *uuid, fg_ts_done_cb *cb, void *arg)
{
	struct fake *f = (struct fake *)vms;
	struct call *c = call_new(f, NULL, "fixvm destroy", act_destroy, arg);

	snprintf(c->uuid, sizeof(c->uuid), "%s", uuid);
	c->done = cb;
	fake_later(f, 300, answer, c);
}

const struct fg_fixvm_ops fake_fixvm = {
	.name = "fake",
	.create = vms_create,
	.run = vm_run,
	.send = vm_send,
	.forget = vm_forget,
	.destroy = vms_destroy,
};
