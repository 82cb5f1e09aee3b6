/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "rules_dump.h"

#include <fixgate/filter.h>

#include <errno.h>
#include <libnftnl/common.h>
#include <libnftnl/rule.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <string.h>

struct dump {
	const char *chain;
	fg_rule_fn fn;
	void *data;
};

static int on_rule(const struct nlmsghdr *nlh, void *data)
{
	struct dump *d = data;
	struct nftnl_rule *rule = nftnl_rule_alloc();

	if (!rule || nftnl_rule_nlmsg_parse(nlh, rule) < 0) {
		if (rule)
			nftnl_rule_free(rule);
		errno = EBADMSG;
		return MNL_CB_ERROR;
	}
	const char *table = nftnl_rule_get_str(rule, NFTNL_RULE_TABLE);
	const char *chain = nftnl_rule_get_str(rule, NFTNL_RULE_CHAIN);
	if (table && chain && strcmp(table, FG_FILTER_TABLE) == 0 && (!d->chain || strcmp(chain, d->chain) == 0))
		d->fn(rule, d->data);
	nftnl_rule_free(rule);
	return MNL_CB_OK;
}

int fg_rules_dump(struct fg_netlink *nft, const char *chain, fg_rule_fn fn, void *data)
{
	char buf[1024] = { 0 };
	struct dump d = { chain, fn, data };
	struct nlmsghdr *nlh = nftnl_nlmsg_build_hdr(buf, NFT_MSG_GETRULE, NFPROTO_NETDEV, NLM_F_DUMP, 0);

	mnl_attr_put_strz(nlh, NFTA_RULE_TABLE, FG_FILTER_TABLE);
	if (chain)
		mnl_attr_put_strz(nlh, NFTA_RULE_CHAIN, chain);
	return fg_netlink_ask(nft, nlh, on_rule, &d);
}
