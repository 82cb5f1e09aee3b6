/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kept.h"

#include <lib/util.h>

#include <string.h>

struct fg_kept *fg_kept_of(const struct fg_kept_list *list, const char *uuid)
{
	struct fg_kept *k = NULL;

	LIST_FOREACH (k, list, link) {
		if (strcmp(k->plan->guest.uuid, uuid) == 0)
			return k;
	}
	return NULL;
}

void fg_kept_free(struct fg_kept *k)
{
	if (!k)
		return;
	LIST_REMOVE(k, link);
	free(k->plan);
	free(k);
}

struct fg_kept *fg_keep(struct fg_kept_list *list, struct fg_isolate_plan *plan, bool was_marked)
{
	struct fg_kept *k = fg_calloc(1, sizeof(*k)), *old = fg_kept_of(list, plan->guest.uuid);

	k->since_ms = old ? old->since_ms : was_marked ? 0 : fg_monotonic_ms();
	fg_kept_free(old);
	k->plan = plan;
	for (size_t i = 0; i < plan->guest.n_devs; i++)
		k->ifindex[i] = if_nametoindex(plan->devs[i].name);
	LIST_INSERT_HEAD(list, k, link);
	return k;
}

/* Names are as they are now; netdevs that are gone are forgotten. */
void fg_kept_refresh(struct fg_kept *k)
{
	struct fg_filter_guest *g = &k->plan->guest;
	size_t n = 0;

	for (size_t i = 0; i < g->n_devs; i++) {
		struct fg_filter_dev dev = g->devs[i];
		uint32_t ifindex = k->ifindex[i];
		if (!ifindex || !if_indextoname(ifindex, dev.name))
			continue;
		k->ifindex[n] = ifindex;
		g->devs[n++] = dev;
	}
	g->n_devs = n;
}

void fg_kept_add(struct fg_kept *k, const struct fg_filter_dev *dev)
{
	struct fg_filter_guest *g = &k->plan->guest;
	uint32_t ifindex = if_nametoindex(dev->name);

	for (size_t i = 0; i < g->n_devs; i++) {
		if (k->ifindex[i] == ifindex) {
			g->devs[i] = *dev;
			return;
		}
	}
	if (g->n_devs == FG_FILTER_DEVS_MAX)
		return;
	k->ifindex[g->n_devs] = ifindex;
	g->devs[g->n_devs++] = *dev;
}

const uint8_t *fg_kept_mac(const struct fg_kept *k, uint32_t ifindex)
{
	for (size_t i = 0; i < k->plan->guest.n_devs; i++)
		if (k->ifindex[i] == ifindex)
			return k->plan->devs[i].mac;
	return NULL;
}
