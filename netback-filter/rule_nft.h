/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Rules and chains as libnftnl objects. */
#ifndef FG_FILTER_RULE_NFT_H
#define FG_FILTER_RULE_NFT_H

#include "rule.h"

struct nftnl_rule;
struct nftnl_chain;

/* names: the chain names of this direction, indexed by enum fg_chain_id. Caller frees with nftnl_rule_free. */
struct nftnl_rule *fg_rule_to_nft(const struct fg_rule *rule, enum fg_dir dir, enum fg_chain_id id,
				  const char (*names)[FG_CHAIN_NAME_MAX]);
/* dev: the hook's device, NULL for a chain without hook; also: a second name for it, or "". comment: who it belongs to.
 * Free with nftnl_chain_free. */
struct nftnl_chain *fg_chain_to_nft(const char *name, enum fg_dir dir, const char *dev, const char *also,
				    const char *comment);
/* True if a base chain from the kernel hooks and drops as fg_chain_to_nft's does. */
bool fg_chain_hook_equal(const struct nftnl_chain *chain, enum fg_dir dir);

/* The comment in a chain's or rule's userdata; false if it has none. */
bool fg_nft_comment(const void *userdata, uint32_t len, char out[129]);

/* True if both say the same to the kernel; counts are not compared. Both are changed (handles and counts cleared). */
bool fg_rule_nft_equal(struct nftnl_rule *a, struct nftnl_rule *b);

#endif
