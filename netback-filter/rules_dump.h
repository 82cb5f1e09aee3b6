/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Inside the library only: the rules the kernel holds. */
#ifndef FG_FILTER_RULES_DUMP_H
#define FG_FILTER_RULES_DUMP_H

#include "netlink.h"

struct nftnl_rule;

/* Called for each rule, in order within its chain. The rule is freed by the caller of it. */
typedef void (*fg_rule_fn)(struct nftnl_rule *rule, void *data);

/* Rules of our table, or of one chain of it if chain is not NULL.  0 or a negative errno as fg_netlink_ask. */
int fg_rules_dump(struct fg_netlink *nft, const char *chain, fg_rule_fn fn, void *data);

#endif
