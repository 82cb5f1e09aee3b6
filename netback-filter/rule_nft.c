/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "rule_nft.h"

#include <lib/util.h>

#include <libmnl/libmnl.h>
#include <libnftnl/chain.h>
#include <libnftnl/common.h>
#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <libnftnl/udata.h>
#include <limits.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <string.h>

/* First on the way in, last on the way out: no other chain or flowtable takes a frame before us or changes it after us. */
#define PRIORITY_IN INT_MIN
#define PRIORITY_OUT INT_MAX

static void *need(void *p)
{
	if (!p)
		abort(); /* out of memory */
	return p;
}

struct nftnl_chain *fg_chain_to_nft(const char *name, enum fg_dir dir, const char *dev, const char *also,
				    const char *comment)
{
	struct nftnl_chain *c = need(nftnl_chain_alloc());

	nftnl_chain_set_str(c, NFTNL_CHAIN_TABLE, FG_FILTER_TABLE);
	nftnl_chain_set_str(c, NFTNL_CHAIN_NAME, name);
	if (dev) {
		nftnl_chain_set_str(c, NFTNL_CHAIN_TYPE, "filter");
		nftnl_chain_set_u32(c, NFTNL_CHAIN_HOOKNUM,
				    dir == FG_DIR_FROM_GUEST ? NF_NETDEV_INGRESS : NF_NETDEV_EGRESS);
		nftnl_chain_set_s32(c, NFTNL_CHAIN_PRIO, dir == FG_DIR_FROM_GUEST ? PRIORITY_IN : PRIORITY_OUT);
		nftnl_chain_set_u32(c, NFTNL_CHAIN_POLICY, NF_DROP);
		if (also[0])
			nftnl_chain_set_array(c, NFTNL_CHAIN_DEVICES, (const char *[]){ dev, also, NULL });
		else
			nftnl_chain_set_str(c, NFTNL_CHAIN_DEV, dev);
	}
	struct nftnl_udata_buf *u = need(nftnl_udata_buf_alloc(256));
	nftnl_udata_put_strz(u, NFTNL_UDATA_CHAIN_COMMENT, comment);
	nftnl_chain_set_data(c, NFTNL_CHAIN_USERDATA, nftnl_udata_buf_data(u), nftnl_udata_buf_len(u));
	nftnl_udata_buf_free(u);
	return c;
}

bool fg_chain_hook_equal(const struct nftnl_chain *c, enum fg_dir dir)
{
	bool in = dir == FG_DIR_FROM_GUEST;

	return nftnl_chain_is_set(c, NFTNL_CHAIN_HOOKNUM) &&
	       nftnl_chain_get_u32(c, NFTNL_CHAIN_HOOKNUM) == (uint32_t)(in ? NF_NETDEV_INGRESS : NF_NETDEV_EGRESS) &&
	       nftnl_chain_get_s32(c, NFTNL_CHAIN_PRIO) == (in ? PRIORITY_IN : PRIORITY_OUT) &&
	       nftnl_chain_get_u32(c, NFTNL_CHAIN_POLICY) == NF_DROP;
}

/* Type, length, value (libnftnl's udata.c); any program may have written it, and nftnl_udata_parse trusts the lengths. */
bool fg_nft_comment(const void *userdata, uint32_t len, char out[129])
{
	const uint8_t *p = userdata;

	for (uint32_t at = 0; p && len - at >= 2 && p[at + 1] <= len - at - 2; at += 2U + p[at + 1]) {
		const char *text = (const char *)p + at + 2;
		size_t n = p[at + 1];
		/* the same number for rules and chains */
		if (p[at] != NFTNL_UDATA_CHAIN_COMMENT || n == 0 || n > 129 || strnlen(text, n) != n - 1)
			continue;
		memcpy(out, text, n);
		return true;
	}
	return false;
}

static int zero_counter(struct nftnl_expr *e, void *data)
{
	(void)data;
	if (strcmp(nftnl_expr_get_str(e, NFTNL_EXPR_NAME), "counter") == 0) {
		nftnl_expr_set_u64(e, NFTNL_EXPR_CTR_PACKETS, 0);
		nftnl_expr_set_u64(e, NFTNL_EXPR_CTR_BYTES, 0);
	}
	return 0;
}

#define RULE_BYTES_MAX 65536 /* of any rule: 128 expressions */
#define OUR_RULE_BYTES_MAX 8192 /* 13 matches of at most 4 expressions */

static struct nlmsghdr *as_message(struct nftnl_rule *r, char *buf)
{
	static const uint16_t not_content[] = { NFTNL_RULE_HANDLE, NFTNL_RULE_POSITION,	    NFTNL_RULE_FAMILY,
						NFTNL_RULE_ID,	   NFTNL_RULE_COMPAT_PROTO, NFTNL_RULE_COMPAT_FLAGS };

	for (size_t i = 0; i < FG_COUNT(not_content); i++)
		if (nftnl_rule_is_set(r, not_content[i]))
			nftnl_rule_unset(r, not_content[i]);
	nftnl_expr_foreach(r, zero_counter, NULL);
	memset(buf, 0, OUR_RULE_BYTES_MAX); /* libmnl leaves what is between attributes as it was */
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	nftnl_rule_nlmsg_build_payload(nlh, r);
	return nlh;
}

/* What libnftnl makes of our message: another version of it may write the same in another order. */
static bool equal_objects(const struct nlmsghdr *mine, const struct nlmsghdr *theirs)
{
	char head[OUR_RULE_BYTES_MAX];
	fg_autofree char *buf = need(malloc(RULE_BYTES_MAX));
	struct nftnl_rule *r = need(nftnl_rule_alloc());
	struct nlmsghdr *nlh = nftnl_nlmsg_build_hdr(head, NFT_MSG_NEWRULE, NFPROTO_NETDEV, 0, 0);
	size_t len = mnl_nlmsg_get_payload_len(mine);

	memcpy(mnl_nlmsg_get_payload_tail(nlh), mnl_nlmsg_get_payload(mine), len);
	nlh->nlmsg_len += (uint32_t)len;
	if (nftnl_rule_nlmsg_parse(nlh, r) < 0)
		abort(); /* out of memory: it is our own message */
	const struct nlmsghdr *again = as_message(r, buf);
	bool equal = again->nlmsg_len == theirs->nlmsg_len && memcmp(again, theirs, again->nlmsg_len) == 0;
	nftnl_rule_free(r);
	return equal;
}

bool fg_rule_nft_equal(const struct fg_rule *rule, enum fg_dir dir, enum fg_chain_id id,
		       const char (*names)[FG_CHAIN_NAME_MAX], struct nftnl_rule *theirs)
{
	char buf[OUR_RULE_BYTES_MAX];
	fg_autofree char *their_buf = need(malloc(RULE_BYTES_MAX));
	struct nlmsghdr *mine = mnl_nlmsg_put_header(buf);
	const struct nlmsghdr *other = as_message(theirs, their_buf);

	fg_rule_put(mine, rule, dir, id, names);
	if (other->nlmsg_len > OUR_RULE_BYTES_MAX)
		return false;
	return (mine->nlmsg_len == other->nlmsg_len && memcmp(mine, other, mine->nlmsg_len) == 0) ||
	       equal_objects(mine, other);
}
