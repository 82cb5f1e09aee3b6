/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Rules and chains as messages and as libnftnl objects. */
#ifndef FG_FILTER_RULE_NFT_H
#define FG_FILTER_RULE_NFT_H

#include "rule.h"

struct nlmsghdr;
struct nftnl_rule;
struct nftnl_chain;

/* Appends the rule to a message of type NFT_MSG_NEWRULE; takes less than 8 KiB.
 * names: the chain names of this direction, indexed by enum fg_chain_id. */
void fg_rule_put(struct nlmsghdr *nlh, const struct fg_rule *rule, enum fg_dir dir, enum fg_chain_id id,
		 const char (*names)[FG_CHAIN_NAME_MAX]);
/* dev: the hook's device, NULL for a chain without hook; also: a second name for it, or "". comment: who it belongs to.
 * Free with nftnl_chain_free. */
struct nftnl_chain *fg_chain_to_nft(const char *name, enum fg_dir dir, const char *dev, const char *also,
				    const char *comment);
/* True if a base chain from the kernel hooks and drops as fg_chain_to_nft's does. */
bool fg_chain_hook_equal(const struct nftnl_chain *chain, enum fg_dir dir);

/* The comment in a chain's or rule's userdata; false if it has none. */
bool fg_nft_comment(const void *userdata, uint32_t len, char out[129]);

/* True if a rule from the kernel says the same; counts are not compared. It is changed (handle and counts cleared). */
bool fg_rule_nft_equal(const struct fg_rule *rule, enum fg_dir dir, enum fg_chain_id id,
		       const char (*names)[FG_CHAIN_NAME_MAX], struct nftnl_rule *theirs);

#endif
