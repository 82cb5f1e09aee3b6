/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "dev_status.h"
#include "filter.h"
#include "held.h"
#include "link.h"
#include "rules_dump.h"

#include <lib/util.h>

#include <errno.h>
#include <libnftnl/rule.h>
#include <string.h>

#define LIST_TRIES 1000 /* as READ_TRIES in held.c */

/* Where the rules of a chain are counted. */
struct place {
	size_t guest, dev;
	bool there; /* false: its device is gone */
};

struct list {
	const struct fg_held *held;
	const struct fg_held_chain **by_name;
	const struct place *places; /* of held->chains */
	struct fg_filter_status *statuses;
	size_t last; /* rules come chain by chain */
};

static int compare_names(const void *a, const void *b)
{
	return strcmp((*(const struct fg_held_chain *const *)a)->name, (*(const struct fg_held_chain *const *)b)->name);
}

static size_t find_chain(const struct list *l, const char *name)
{
	size_t low = 0, high = l->held->n;

	if (l->last < high && strcmp(l->by_name[l->last]->name, name) == 0)
		return l->last;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int d = strcmp(l->by_name[mid]->name, name);
		if (d == 0)
			return mid;
		if (d < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return SIZE_MAX;
}

static void add_rule(struct nftnl_rule *rule, void *data)
{
	struct list *l = data;
	size_t i = find_chain(l, nftnl_rule_get_str(rule, NFTNL_RULE_CHAIN));

	if (i == SIZE_MAX)
		return;
	l->last = i;
	const struct place *p = &l->places[l->by_name[i] - l->held->chains];
	if (p->there)
		fg_dev_status_count(&l->statuses[p->guest].devs[p->dev], l->by_name[i]->dir, rule);
}

/* One status a UUID, one device status an ifindex that still exists.  The chains are sorted that way. */
static void make_statuses(struct fg_filter *f, const struct fg_held *held, struct place *places,
			  struct fg_filter_status **out, size_t *n)
{
	struct fg_filter_status *s = fg_calloc(held->n, sizeof(*s));
	uint32_t ifindex = 0;
	bool there = false;

	*n = 0;
	for (size_t i = 0; i < held->n; i++) {
		const struct fg_held_chain *c = &held->chains[i];
		struct fg_link link;
		if (*n == 0 || strcmp(s[*n - 1].uuid, c->uuid) != 0) {
			memcpy(s[(*n)++].uuid, c->uuid, sizeof(c->uuid));
			ifindex = 0;
		}
		if (c->ifindex != ifindex) {
			ifindex = c->ifindex;
			there = fg_link_get_index(&f->route, ifindex, &link, NULL) == 0;
			if (there)
				fg_dev_status_add(&s[*n - 1], link.name);
		}
		places[i] = (struct place){ *n - 1, there ? s[*n - 1].n_devs - 1 : 0, there };
	}
	*out = s;
}

static int list_once(struct fg_filter *f, const struct fg_held *held, struct fg_filter_status **out, size_t *n)
{
	fg_autofree const struct fg_held_chain **by_name = fg_calloc(held->n, sizeof(void *));
	fg_autofree struct place *places = fg_calloc(held->n, sizeof(*places));
	struct list l = { .held = held, .by_name = by_name, .places = places };

	make_statuses(f, held, places, out, n);
	l.statuses = *out;
	for (size_t i = 0; i < held->n; i++)
		by_name[i] = &held->chains[i];
	if (!held->n)
		return 0;
	qsort(by_name, held->n, sizeof(void *), compare_names);
	return fg_rules_dump(&f->nft, NULL, add_rule, &l);
}

int fg_filter_list(struct fg_filter *f, struct fg_filter_status **out, size_t *n_out, struct fg_error *err)
{
	for (int i = 0; i < LIST_TRIES; i++) {
		struct fg_held held;
		struct fg_filter_status *s = NULL;
		size_t n = 0;
		uint32_t before, after;
		int rc = fg_held_read(&f->nft, NULL, 0, &held, &before, err);
		if (rc < 0)
			return rc;
		int sys = list_once(f, &held, &s, &n);
		fg_held_free(&held);
		rc = fg_netlink_generation(&f->nft, &after, err);
		if (rc == 0 && sys == 0 && before == after) {
			*out = s;
			*n_out = n;
			return 0;
		}
		fg_filter_status_free(s, n);
		if (rc < 0)
			return rc;
		if (sys < 0 && sys != -EINTR)
			return fg_error_errno(err, FG_EUNREACHABLE, -sys, "cannot read the rules of nf_tables");
	}
	return fg_error_set(err, FG_EUNREACHABLE, "other programs keep changing nf_tables");
}

void fg_filter_status_free(struct fg_filter_status *status, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		for (size_t d = 0; d < status[i].n_devs; d++) {
			free(status[i].devs[d].from_guest);
			free(status[i].devs[d].to_guest);
		}
		free(status[i].devs);
	}
	free(status);
}
