/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "counters.h"

#include <lib/util.h>

#include <string.h>
#include <sys/queue.h>

#define REASONS_MAX 64 /* of one direction; more are added up as "other" */

struct tally {
	struct fg_filter_counter *list;
	size_t n;
};

enum { FROM, TO, SIDES };

/* A netdev as it was seen last. */
struct dev {
	char name[IFNAMSIZ];
	struct tally seen[SIDES];
	bool there;
};

struct guest {
	LIST_ENTRY(guest) link;
	char uuid[37];
	struct tally ended[SIDES]; /* of counters that are no more */
	struct dev *devs;
	size_t n_devs;
};

struct fg_counters {
	LIST_HEAD(guest_list, guest) guests;
};

static struct fg_filter_counter *counter_of(struct tally *t, const char *reason)
{
	for (size_t i = 0; i < t->n; i++)
		if (strcmp(t->list[i].reason, reason) == 0)
			return &t->list[i];
	if (t->n >= REASONS_MAX - 1 && strcmp(reason, "other") != 0)
		return counter_of(t, "other");
	t->list = reallocarray(t->list, t->n + 1, sizeof(*t->list));
	if (!t->list)
		abort();
	struct fg_filter_counter *c = &t->list[t->n++];
	memset(c, 0, sizeof(*c));
	snprintf(c->reason, sizeof(c->reason), "%s", reason);
	return c;
}

static void add(struct tally *to, const struct tally *from)
{
	for (size_t i = 0; i < from->n; i++) {
		struct fg_filter_counter *c = counter_of(to, from->list[i].reason);
		c->frames += from->list[i].frames;
		c->bytes += from->list[i].bytes;
	}
}

static void tally_clear(struct tally *t)
{
	free(t->list);
	memset(t, 0, sizeof(*t));
}

/* A counter that went down began anew: what it had before is over. */
static bool began_anew(const struct tally *seen, const struct fg_filter_counter *now, size_t n)
{
	for (size_t i = 0; i < seen->n; i++)
		for (size_t k = 0; k < n; k++)
			if (strcmp(seen->list[i].reason, now[k].reason) == 0 && now[k].frames < seen->list[i].frames)
				return true;
	return false;
}

static void see(struct guest *g, struct dev *d, int side, const struct fg_filter_counter *now, size_t n)
{
	if (began_anew(&d->seen[side], now, n))
		add(&g->ended[side], &d->seen[side]);
	tally_clear(&d->seen[side]);
	for (size_t i = 0; i < n; i++) {
		struct fg_filter_counter *c = counter_of(&d->seen[side], now[i].reason);
		c->frames += now[i].frames;
		c->bytes += now[i].bytes;
	}
}

static struct dev *dev_of(struct guest *g, const char *name)
{
	for (size_t i = 0; i < g->n_devs; i++)
		if (strcmp(g->devs[i].name, name) == 0)
			return &g->devs[i];
	g->devs = reallocarray(g->devs, g->n_devs + 1, sizeof(*g->devs));
	if (!g->devs)
		abort();
	struct dev *d = &g->devs[g->n_devs++];
	memset(d, 0, sizeof(*d));
	snprintf(d->name, sizeof(d->name), "%s", name);
	return d;
}

static struct guest *guest_of(const struct fg_counters *c, const char *uuid)
{
	struct guest *g = NULL;

	LIST_FOREACH (g, &c->guests, link) {
		if (strcmp(g->uuid, uuid) == 0)
			return g;
	}
	return NULL;
}

static void end_gone(struct guest *g)
{
	size_t kept = 0;

	for (size_t i = 0; i < g->n_devs; i++) {
		if (g->devs[i].there) {
			g->devs[kept++] = g->devs[i];
			continue;
		}
		for (int side = 0; side < SIDES; side++) {
			add(&g->ended[side], &g->devs[i].seen[side]);
			tally_clear(&g->devs[i].seen[side]);
		}
	}
	g->n_devs = kept;
}

void fg_counters_sample(struct fg_counters *c, const char *uuid, const struct fg_filter_status *status)
{
	struct guest *g = guest_of(c, uuid);

	if (!g) {
		g = fg_calloc(1, sizeof(*g));
		snprintf(g->uuid, sizeof(g->uuid), "%s", uuid);
		LIST_INSERT_HEAD(&c->guests, g, link);
	}
	for (size_t i = 0; i < g->n_devs; i++)
		g->devs[i].there = false;
	for (size_t i = 0; status && i < status->n_devs; i++) {
		const struct fg_filter_dev_status *s = &status->devs[i];
		struct dev *d = dev_of(g, s->dev);
		d->there = true;
		see(g, d, FROM, s->from_guest, s->n_from_guest);
		see(g, d, TO, s->to_guest, s->n_to_guest);
	}
	end_gone(g);
}

static void guest_free(struct guest *g)
{
	for (int side = 0; side < SIDES; side++) {
		tally_clear(&g->ended[side]);
		for (size_t i = 0; i < g->n_devs; i++)
			tally_clear(&g->devs[i].seen[side]);
	}
	free(g->devs);
	LIST_REMOVE(g, link);
	free(g);
}

void fg_counters_forget(struct fg_counters *c, const char *uuid)
{
	struct guest *g = guest_of(c, uuid);

	if (g)
		guest_free(g);
}

static json_t *side_json(const struct guest *g, int side)
{
	json_t *o = json_object();
	struct tally sum = { 0 };

	add(&sum, &g->ended[side]);
	for (size_t i = 0; i < g->n_devs; i++)
		add(&sum, &g->devs[i].seen[side]);
	for (size_t i = 0; i < sum.n; i++)
		if (sum.list[i].frames)
			json_object_set_new(o, sum.list[i].reason,
					    json_pack("{sI sI}", "frames", (json_int_t)sum.list[i].frames, "bytes",
						      (json_int_t)sum.list[i].bytes));
	tally_clear(&sum);
	return o;
}

json_t *fg_counters_json(const struct fg_counters *c, const char *uuid)
{
	const struct guest *g = guest_of(c, uuid);
	json_t *devs;

	if (!g)
		return NULL;
	devs = json_array();
	for (size_t i = 0; i < g->n_devs; i++)
		json_array_append_new(devs, json_string(g->devs[i].name));
	return json_pack("{so so so}", "devs", devs, "from_guest", side_json(g, FROM), "to_guest", side_json(g, TO));
}

struct fg_counters *fg_counters_new(void)
{
	struct fg_counters *c = fg_calloc(1, sizeof(*c));

	LIST_INIT(&c->guests);
	return c;
}

void fg_counters_free(struct fg_counters *c)
{
	if (!c)
		return;
	while (!LIST_EMPTY(&c->guests))
		guest_free(LIST_FIRST(&c->guests));
	free(c);
}
