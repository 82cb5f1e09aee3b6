/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "dev_status.h"

#include "held.h"
#include "rule_nft.h"

#include <lib/util.h>

#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <string.h>

struct counts {
	bool there;
	uint64_t frames, bytes;
};

struct fg_filter_dev_status *fg_dev_status_add(struct fg_filter_status *guest, const char *name)
{
	guest->devs = reallocarray(guest->devs, guest->n_devs + 1, sizeof(guest->devs[0]));
	if (!guest->devs)
		abort();
	struct fg_filter_dev_status *d = &guest->devs[guest->n_devs++];
	memset(d, 0, sizeof(*d));
	snprintf(d->dev, sizeof(d->dev), "%s", name);
	return d;
}

static int read_counter(struct nftnl_expr *e, void *data)
{
	struct counts *c = data;

	if (strcmp(nftnl_expr_get_str(e, NFTNL_EXPR_NAME), "counter") == 0) {
		c->there = true;
		c->frames = nftnl_expr_get_u64(e, NFTNL_EXPR_CTR_PACKETS);
		c->bytes = nftnl_expr_get_u64(e, NFTNL_EXPR_CTR_BYTES);
	}
	return 0;
}

static struct fg_filter_counter *counter_of(struct fg_filter_counter **list, size_t *n, const char *reason)
{
	for (size_t i = 0; i < *n; i++)
		if (strcmp((*list)[i].reason, reason) == 0)
			return &(*list)[i];
	*list = reallocarray(*list, *n + 1, sizeof(**list));
	if (!*list)
		abort();
	struct fg_filter_counter *c = &(*list)[(*n)++];
	memset(c, 0, sizeof(*c));
	snprintf(c->reason, sizeof(c->reason), "%s", reason);
	return c;
}

void fg_dev_status_count(struct fg_filter_dev_status *dev, enum fg_dir dir, struct nftnl_rule *rule)
{
	char reason[FG_CHAIN_COMMENT_MAX];
	struct counts counts = { 0 };
	uint32_t len = 0;
	const void *userdata = nftnl_rule_get_data(rule, NFTNL_RULE_USERDATA, &len);

	nftnl_expr_foreach(rule, read_counter, &counts);
	if (!counts.there || !fg_nft_comment(userdata, len, reason))
		return;
	bool from = dir == FG_DIR_FROM_GUEST;
	struct fg_filter_counter *c = counter_of(from ? &dev->from_guest : &dev->to_guest,
						 from ? &dev->n_from_guest : &dev->n_to_guest, reason);
	c->frames += counts.frames;
	c->bytes += counts.bytes;
	if (strcmp(reason, "closed") == 0)
		dev->closed = true;
}
