/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "world.h"

#include <string.h>

static struct fake_vm *vm_of(struct fake_world *w, const char *uuid)
{
	for (size_t i = 0; i < FG_COUNT(w->vms); i++)
		if (strcmp(w->vms[i].uuid, uuid) == 0)
			return &w->vms[i];
	for (size_t i = 0; i < FG_COUNT(w->vms); i++) {
		if (!w->vms[i].exists && !w->vms[i].marked) {
			memset(&w->vms[i], 0, sizeof(w->vms[i]));
			memcpy(w->vms[i].uuid, uuid, sizeof(w->vms[i].uuid));
			return &w->vms[i];
		}
	}
	abort();
}

static unsigned netdevs(const struct fg_guest *g)
{
	unsigned n = 0;

	for (size_t i = 0; i < g->n_nics; i++)
		n += (unsigned)g->nics[i].n_netdevs;
	return n;
}

static int iso_isolate(struct fg_isolator *iso, const struct fg_guest *guest, bool closed, struct fg_error *err)
{
	struct fake *f = (struct fake *)iso;
	struct fake_world *w = f->w;
	struct fake_guest *g = fake_guest(w, guest->uuid);
	bool effect;
	int rc = fake_outside(f, "isolate", &effect, err);

	if (!effect)
		return rc;
	w->isolations++;
	if (!g) {
		struct fake_vm *vm = vm_of(w, guest->uuid);
		vm->marked = true;
		if (netdevs(guest) > 0 && vm->exists) {
			vm->armed = true;
			vm->closed = closed;
		}
		return rc;
	}
	if (closed)
		fake_violation(w, "%s was closed: that is for fix VMs", g->name);
	g->marked = true;
	if (w->nic_comes) { /* just after the list, just before the filter */
		w->nic_comes = false;
		g->n_nics++;
		g->armed = false;
		return rc;
	}
	if (g->state != FG_GUEST_OFF && netdevs(guest) == g->n_nics && guest->domid == g->domid)
		g->armed = g->armed_once = true;
	return rc;
}

static int iso_release(struct fg_isolator *iso, const char *uuid, struct fg_error *err)
{
	struct fake *f = (struct fake *)iso;
	struct fake_world *w = f->w;
	struct fake_guest *g = fake_guest(w, uuid);
	bool effect;
	int rc = fake_outside(f, "release", &effect, err);

	if (!effect)
		return rc;
	if (!g) {
		struct fake_vm *vm = vm_of(w, uuid);
		if (vm->exists && !vm->paused && vm->has_nic)
			fake_violation(w, "the filter of a running fix VM was taken away");
		vm->marked = vm->armed = vm->closed = false;
		return rc;
	}
	size_t i = (size_t)(g - w->guests);
	if (w->layers[i][0].exists && !w->layers[i][0].readonly)
		fake_violation(w, "%s was released while its layer stands", g->name);
	g->marked = g->armed = g->armed_once = false;
	return rc;
}

static int iso_marked(struct fg_isolator *iso, const char *uuid, bool *out, struct fg_error *err)
{
	struct fake *f = (struct fake *)iso;
	struct fake_guest *g = fake_guest(f->w, uuid);
	bool effect;
	int rc = fake_outside(f, "marked", &effect, err);

	if (rc == 0)
		*out = g ? g->marked : vm_of(f->w, uuid)->marked;
	return rc;
}

static int iso_list(struct fg_isolator *iso, char (**out)[37], size_t *n, struct fg_error *err)
{
	struct fake_world *w = ((struct fake *)iso)->w;
	char(*uuids)[37] = fg_calloc(FAKE_GUESTS + FG_COUNT(w->vms), sizeof(*uuids));
	size_t count = 0;

	(void)err;
	for (int i = 0; i < FAKE_GUESTS; i++)
		if (w->guests[i].marked)
			memcpy(uuids[count++], w->guests[i].uuid, 37);
	for (size_t i = 0; i < FG_COUNT(w->vms); i++)
		if (w->vms[i].marked)
			memcpy(uuids[count++], w->vms[i].uuid, 37);
	*out = uuids;
	*n = count;
	return 0;
}

/* How often it was isolated stands for what was counted. */
static json_t *iso_evidence(struct fg_isolator *iso, const char *uuid)
{
	struct fake_world *w = ((struct fake *)iso)->w;

	return fake_guest(w, uuid) ? json_pack("{si}", "isolations", (int)w->isolations) : NULL;
}

const struct fg_isolator_ops fake_isolator = {
	.name = "vmm",
	.assurance = "hypervisor",
	.isolate = iso_isolate,
	.release = iso_release,
	.marked = iso_marked,
	.list = iso_list,
	.evidence = iso_evidence,
};
