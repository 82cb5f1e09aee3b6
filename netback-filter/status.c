/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "status.h"

#include "dev_status.h"
#include "filter.h"
#include "held.h"
#include "link.h"
#include "rules_dump.h"

#include <lib/util.h>

#include <errno.h>
#include <string.h>

#define STATUS_TRIES 1000 /* as READ_TRIES in held.c */

/* The counters of one chain go here. */
struct side {
	struct fg_filter_dev_status *dev;
	enum fg_dir dir;
};

static void add_rule(struct nftnl_rule *rule, void *data)
{
	struct side *s = data;

	fg_dev_status_count(s->dev, s->dir, rule);
}

/* The chains are sorted by ifindex: those of a device lie together. NULL: the device is gone. */
static struct fg_filter_dev_status *dev_of(struct fg_filter *f, struct fg_filter_status *s, uint32_t ifindex,
					   uint32_t *last)
{
	struct fg_link link;

	if (*last == ifindex)
		return s->n_devs ? &s->devs[s->n_devs - 1] : NULL;
	if (fg_link_get_index(&f->route, ifindex, &link, NULL) < 0)
		return NULL;
	*last = ifindex;
	return fg_dev_status_add(s, link.name);
}

static int read_guest(struct fg_filter *f, const struct fg_held *held, const char *uuid, struct fg_filter_status **out)
{
	size_t n;
	const struct fg_held_chain *c = fg_held_guest(held, uuid, &n);
	uint32_t last = 0;
	int rc = 0;

	if (n == 0)
		return 0;
	struct fg_filter_status *s = fg_calloc(1, sizeof(*s));
	memcpy(s->uuid, c->uuid, sizeof(s->uuid));
	for (size_t i = 0; i < n && rc == 0; i++) {
		struct fg_filter_dev_status *d = dev_of(f, s, c[i].ifindex, &last);
		if (!d)
			continue;
		struct side side = { d, c[i].dir };
		rc = fg_rules_dump(&f->nft, c[i].name, add_rule, &side);
	}
	*out = s;
	return rc;
}

int fg_filter_status_of(struct fg_filter *f, const char *uuid, struct fg_filter_status **out, struct fg_error *err)
{
	for (int i = 0; i < STATUS_TRIES; i++) {
		struct fg_held held;
		struct fg_filter_status *s = NULL;
		uint32_t before, after;
		int rc = fg_held_read(&f->nft, &uuid, 1, &held, &before, err);
		if (rc < 0)
			return rc;
		int sys = read_guest(f, &held, uuid, &s);
		fg_held_free(&held);
		rc = fg_netlink_generation(&f->nft, &after, err);
		if (rc == 0 && sys == 0 && before == after) {
			*out = s;
			return 0;
		}
		fg_filter_status_free(s, s ? 1 : 0);
		if (rc < 0)
			return rc;
		if (sys < 0 && sys != -EINTR && sys != -ENOENT) /* ENOENT: a chain went just now */
			return fg_error_errno(err, FG_EUNREACHABLE, -sys, "cannot read the rules of nf_tables");
	}
	return fg_error_set(err, FG_EUNREACHABLE, "other programs keep changing nf_tables");
}
