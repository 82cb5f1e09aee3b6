/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "rule_nft.h"

#include <lib/util.h>

#include <libmnl/libmnl.h>
#include <libnftnl/chain.h>
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

static struct nftnl_expr *add_expr(struct nftnl_rule *r, const char *name)
{
	struct nftnl_expr *e = need(nftnl_expr_alloc(name));

	nftnl_rule_add_expr(r, e);
	return e;
}

static void add_payload(struct nftnl_rule *r, const struct fg_match *m)
{
	struct nftnl_expr *e = add_expr(r, "payload");
	uint32_t base = m->source == FG_SRC_LINK  ? NFT_PAYLOAD_LL_HEADER
			: m->source == FG_SRC_NET ? NFT_PAYLOAD_NETWORK_HEADER
						  : NFT_PAYLOAD_TRANSPORT_HEADER;

	nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_DREG, NFT_REG_1);
	nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_BASE, base);
	nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_OFFSET, m->offset);
	nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_LEN, m->len);
}

static void add_meta(struct nftnl_rule *r, uint32_t key)
{
	struct nftnl_expr *e = add_expr(r, "meta");

	nftnl_expr_set_u32(e, NFTNL_EXPR_META_DREG, NFT_REG_1);
	nftnl_expr_set_u32(e, NFTNL_EXPR_META_KEY, key);
}

static void add_byteorder(struct nftnl_rule *r)
{
	struct nftnl_expr *e = add_expr(r, "byteorder");

	nftnl_expr_set_u32(e, NFTNL_EXPR_BYTEORDER_SREG, NFT_REG_1);
	nftnl_expr_set_u32(e, NFTNL_EXPR_BYTEORDER_DREG, NFT_REG_1);
	nftnl_expr_set_u32(e, NFTNL_EXPR_BYTEORDER_OP, NFT_BYTEORDER_HTON);
	nftnl_expr_set_u32(e, NFTNL_EXPR_BYTEORDER_LEN, 4);
	nftnl_expr_set_u32(e, NFTNL_EXPR_BYTEORDER_SIZE, 4);
}

static uint32_t cmp_op(enum fg_cmp cmp)
{
	switch (cmp) {
	case FG_CMP_EQ:
		return NFT_CMP_EQ;
	case FG_CMP_NEQ:
		return NFT_CMP_NEQ;
	case FG_CMP_GT:
		return NFT_CMP_GT;
	case FG_CMP_LT:
		return NFT_CMP_LT;
	}
	abort();
}

static void add_match(struct nftnl_rule *r, const struct fg_match *m, enum fg_dir dir)
{
	static const uint8_t zero[16];
	struct nftnl_expr *e;

	switch (m->source) {
	case FG_SRC_LINK:
	case FG_SRC_NET:
	case FG_SRC_TRANSPORT:
		add_payload(r, m);
		break;
	case FG_SRC_LENGTH:
		add_meta(r, NFT_META_LEN);
		add_byteorder(r);
		break;
	case FG_SRC_L4PROTO:
		add_meta(r, NFT_META_L4PROTO);
		break;
	case FG_SRC_IFINDEX:
		add_meta(r, dir == FG_DIR_FROM_GUEST ? NFT_META_IIF : NFT_META_OIF);
		break;
	case FG_SRC_IFTYPE:
		add_meta(r, NFT_META_IIFTYPE);
		break;
	case FG_SRC_PROTOCOL:
		add_meta(r, NFT_META_PROTOCOL);
		break;
	}
	if (m->masked) {
		e = add_expr(r, "bitwise");
		nftnl_expr_set_u32(e, NFTNL_EXPR_BITWISE_SREG, NFT_REG_1);
		nftnl_expr_set_u32(e, NFTNL_EXPR_BITWISE_DREG, NFT_REG_1);
		nftnl_expr_set_u32(e, NFTNL_EXPR_BITWISE_OP, NFT_BITWISE_BOOL);
		nftnl_expr_set_u32(e, NFTNL_EXPR_BITWISE_LEN, m->len);
		nftnl_expr_set(e, NFTNL_EXPR_BITWISE_MASK, m->mask, m->len);
		nftnl_expr_set(e, NFTNL_EXPR_BITWISE_XOR, zero, m->len);
	}
	e = add_expr(r, "cmp");
	nftnl_expr_set_u32(e, NFTNL_EXPR_CMP_SREG, NFT_REG_1);
	nftnl_expr_set_u32(e, NFTNL_EXPR_CMP_OP, cmp_op(m->cmp));
	nftnl_expr_set(e, NFTNL_EXPR_CMP_DATA, m->value, m->len);
}

static void add_limit(struct nftnl_rule *r, uint32_t pps)
{
	struct nftnl_expr *e = add_expr(r, "limit");

	nftnl_expr_set_u64(e, NFTNL_EXPR_LIMIT_RATE, pps);
	nftnl_expr_set_u64(e, NFTNL_EXPR_LIMIT_UNIT, 1);
	nftnl_expr_set_u32(e, NFTNL_EXPR_LIMIT_BURST, fg_rule_burst(pps));
	nftnl_expr_set_u32(e, NFTNL_EXPR_LIMIT_TYPE, NFT_LIMIT_PKTS);
	nftnl_expr_set_u32(e, NFTNL_EXPR_LIMIT_FLAGS, NFT_LIMIT_F_INV);
}

static void add_rewrite(struct nftnl_rule *r, const uint8_t dmac[6])
{
	struct nftnl_expr *e = add_expr(r, "immediate");

	nftnl_expr_set_u32(e, NFTNL_EXPR_IMM_DREG, NFT_REG_1);
	nftnl_expr_set(e, NFTNL_EXPR_IMM_DATA, dmac, 6);
	e = add_expr(r, "payload");
	nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_SREG, NFT_REG_1);
	nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_BASE, NFT_PAYLOAD_LL_HEADER);
	nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_OFFSET, 0);
	nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_LEN, 6);
	nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_CSUM_TYPE, NFT_PAYLOAD_CSUM_NONE);
	nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_CSUM_OFFSET, 0);
	nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_FLAGS, 0);
}

static void add_verdict(struct nftnl_rule *r, const struct fg_rule *rule, const char (*names)[FG_CHAIN_NAME_MAX])
{
	struct nftnl_expr *e = add_expr(r, "immediate");
	uint32_t verdict = 0;

	switch (rule->verdict) {
	case FG_VERDICT_ACCEPT:
		verdict = NF_ACCEPT;
		break;
	case FG_VERDICT_DROP:
		verdict = NF_DROP;
		break;
	case FG_VERDICT_GOTO:
		verdict = (uint32_t)NFT_GOTO;
		nftnl_expr_set_str(e, NFTNL_EXPR_IMM_CHAIN, names[rule->to]);
		break;
	}
	nftnl_expr_set_u32(e, NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT);
	nftnl_expr_set_u32(e, NFTNL_EXPR_IMM_VERDICT, verdict);
}

struct nftnl_rule *fg_rule_to_nft(const struct fg_rule *rule, enum fg_dir dir, enum fg_chain_id id,
				  const char (*names)[FG_CHAIN_NAME_MAX])
{
	struct nftnl_rule *r = need(nftnl_rule_alloc());

	nftnl_rule_set_str(r, NFTNL_RULE_TABLE, FG_FILTER_TABLE);
	nftnl_rule_set_str(r, NFTNL_RULE_CHAIN, names[id]);
	for (size_t i = 0; i < rule->n_match; i++)
		add_match(r, &rule->match[i], dir);
	if (rule->over_pps)
		add_limit(r, rule->over_pps);
	if (rule->rewrite)
		add_rewrite(r, rule->dmac);
	if (rule->reason) {
		struct nftnl_expr *e = add_expr(r, "counter");
		nftnl_expr_set_u64(e, NFTNL_EXPR_CTR_PACKETS, 0);
		nftnl_expr_set_u64(e, NFTNL_EXPR_CTR_BYTES, 0);
		struct nftnl_udata_buf *u = need(nftnl_udata_buf_alloc(64));
		nftnl_udata_put_strz(u, NFTNL_UDATA_RULE_COMMENT, rule->reason);
		nftnl_rule_set_data(r, NFTNL_RULE_USERDATA, nftnl_udata_buf_data(u), nftnl_udata_buf_len(u));
		nftnl_udata_buf_free(u);
	}
	add_verdict(r, rule, names);
	return r;
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

bool fg_rule_nft_equal(struct nftnl_rule *a, struct nftnl_rule *b)
{
	fg_autofree char *buf_a = need(malloc(RULE_BYTES_MAX)), *buf_b = need(malloc(RULE_BYTES_MAX));
	const struct nlmsghdr *na = as_message(a, buf_a), *nb = as_message(b, buf_b);

	return na->nlmsg_len == nb->nlmsg_len && na->nlmsg_len <= OUR_RULE_BYTES_MAX &&
	       memcmp(na, nb, na->nlmsg_len) == 0;
}
