/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "awake.h"

#include "filter.h"
#include "plan.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libnftnl/common.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#define WAKE_TRIES 1000 /* as READ_TRIES in held.c */

static int on_table(const struct nlmsghdr *nlh, void *data)
{
	const struct nlattr *a;

	mnl_attr_for_each(a, nlh, sizeof(struct nfgenmsg))
	{
		if (mnl_attr_get_type(a) == NFTA_TABLE_FLAGS && mnl_attr_get_payload_len(a) >= 4)
			*(uint32_t *)data = ntohl(mnl_attr_get_u32(a));
	}
	return MNL_CB_OK;
}

static int read_flags(struct fg_filter *f, uint32_t *out, struct fg_error *err)
{
	char buf[512] = { 0 };
	struct nlmsghdr *nlh = nftnl_nlmsg_build_hdr(buf, NFT_MSG_GETTABLE, NFPROTO_NETDEV, NLM_F_ACK, 0);

	*out = 0;
	mnl_attr_put_strz(nlh, NFTA_TABLE_NAME, FG_FILTER_TABLE);
	int rc = fg_netlink_ask(&f->nft, nlh, on_table, out);
	if (rc == 0 || rc == -ENOENT)
		return 0;
	return fg_error_errno(err, rc == -EPERM ? FG_ENOTALLOWED : FG_EUNREACHABLE, -rc, "cannot read the table");
}

int fg_filter_awake(struct fg_filter *f, struct fg_error *err)
{
	uint32_t flags = 0;
	int rc = read_flags(f, &flags, err);

	if (rc == 0 && flags & NFT_TABLE_F_DORMANT)
		rc = fg_error_set(err, FG_EDIFFERS, "table %s is dormant: no rule of it is at work", FG_FILTER_TABLE);
	return rc;
}

int fg_filter_wake(struct fg_filter *f, struct fg_error *err)
{
	for (int i = 0; i < WAKE_TRIES; i++) {
		struct fg_batch b;
		uint32_t generation, flags = 0;
		bool stale = false;
		int rc = fg_netlink_generation(&f->nft, &generation, err);
		if (rc == 0)
			rc = read_flags(f, &flags, err);
		if (rc < 0 || !(flags & NFT_TABLE_F_DORMANT))
			return rc;
		fg_batch_init(&b, generation);
		fg_plan_wake(&b);
		rc = fg_netlink_commit(&f->nft, &b, &stale, err);
		fg_batch_free(&b);
		if (rc < 0 || !stale)
			return rc;
	}
	return fg_error_set(err, FG_EUNREACHABLE, "other programs keep changing nf_tables");
}
