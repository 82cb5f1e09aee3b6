/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A rule as the kernel's netlink message (linux/netfilter/nf_tables.h), written straight into it: an object of libnftnl for each of
 * some 340 expressions a device would cost a fifth of what isolating takes.  Order and content are as libnftnl writes them.
 */
#include "rule_nft.h"

#include <lib/util.h>

#include <arpa/inet.h>
#include <endian.h>
#include <libmnl/libmnl.h>
#include <libnftnl/udata.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <string.h>

struct writer {
	char *at;
};

static void put(struct writer *w, uint16_t type, const void *data, size_t len)
{
	const struct nlattr head = { .nla_len = (uint16_t)(MNL_ATTR_HDRLEN + len), .nla_type = type };
	size_t padding = MNL_ALIGN(len) - len;

	memcpy(w->at, &head, sizeof(head));
	memcpy(w->at + MNL_ATTR_HDRLEN, data, len);
	memset(w->at + MNL_ATTR_HDRLEN + len, 0, padding);
	w->at += MNL_ATTR_HDRLEN + len + padding;
}

static void put_text(struct writer *w, uint16_t type, const char *text)
{
	put(w, type, text, strlen(text) + 1);
}

static void put32(struct writer *w, uint16_t type, uint32_t value)
{
	uint32_t be = htonl(value);

	put(w, type, &be, sizeof(be));
}

static void put64(struct writer *w, uint16_t type, uint64_t value)
{
	uint64_t be = htobe64(value);

	put(w, type, &be, sizeof(be));
}

static char *begin(struct writer *w)
{
	char *start = w->at;

	w->at += MNL_ATTR_HDRLEN;
	return start;
}

static void end(const struct writer *w, char *start, uint16_t type)
{
	const struct nlattr head = { .nla_len = (uint16_t)(w->at - start), .nla_type = type | NLA_F_NESTED };

	memcpy(start, &head, sizeof(head));
}

struct expr {
	char *element, *data;
};

static struct expr begin_expr(struct writer *w, const char *name)
{
	struct expr e = { .element = begin(w) };

	put_text(w, NFTA_EXPR_NAME, name);
	e.data = begin(w);
	return e;
}

static void end_expr(const struct writer *w, struct expr e)
{
	end(w, e.data, NFTA_EXPR_DATA);
	end(w, e.element, NFTA_LIST_ELEM);
}

static void put_value(struct writer *w, uint16_t type, const void *value, size_t len)
{
	char *nest = begin(w);

	put(w, NFTA_DATA_VALUE, value, len);
	end(w, nest, type);
}

static void put_payload(struct writer *w, const struct fg_match *m)
{
	struct expr e = begin_expr(w, "payload");
	uint32_t base = m->source == FG_SRC_LINK  ? NFT_PAYLOAD_LL_HEADER
			: m->source == FG_SRC_NET ? NFT_PAYLOAD_NETWORK_HEADER
						  : NFT_PAYLOAD_TRANSPORT_HEADER;

	put32(w, NFTA_PAYLOAD_DREG, NFT_REG_1);
	put32(w, NFTA_PAYLOAD_BASE, base);
	put32(w, NFTA_PAYLOAD_OFFSET, m->offset);
	put32(w, NFTA_PAYLOAD_LEN, m->len);
	end_expr(w, e);
}

static void put_meta(struct writer *w, uint32_t key)
{
	struct expr e = begin_expr(w, "meta");

	put32(w, NFTA_META_KEY, key);
	put32(w, NFTA_META_DREG, NFT_REG_1);
	end_expr(w, e);
}

static void put_byteorder(struct writer *w)
{
	struct expr e = begin_expr(w, "byteorder");

	put32(w, NFTA_BYTEORDER_SREG, NFT_REG_1);
	put32(w, NFTA_BYTEORDER_DREG, NFT_REG_1);
	put32(w, NFTA_BYTEORDER_OP, NFT_BYTEORDER_HTON);
	put32(w, NFTA_BYTEORDER_LEN, 4);
	put32(w, NFTA_BYTEORDER_SIZE, 4);
	end_expr(w, e);
}

static void put_source(struct writer *w, const struct fg_match *m, enum fg_dir dir)
{
	switch (m->source) {
	case FG_SRC_LINK:
	case FG_SRC_NET:
	case FG_SRC_TRANSPORT:
		put_payload(w, m);
		break;
	case FG_SRC_LENGTH:
		put_meta(w, NFT_META_LEN);
		put_byteorder(w);
		break;
	case FG_SRC_L4PROTO:
		put_meta(w, NFT_META_L4PROTO);
		break;
	case FG_SRC_IFINDEX:
		put_meta(w, dir == FG_DIR_FROM_GUEST ? NFT_META_IIF : NFT_META_OIF);
		break;
	case FG_SRC_IFTYPE:
		put_meta(w, NFT_META_IIFTYPE);
		break;
	case FG_SRC_PROTOCOL:
		put_meta(w, NFT_META_PROTOCOL);
		break;
	}
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

static void put_match(struct writer *w, const struct fg_match *m, enum fg_dir dir)
{
	static const uint8_t zero[16];

	put_source(w, m, dir);
	if (m->masked) {
		struct expr e = begin_expr(w, "bitwise");
		put32(w, NFTA_BITWISE_SREG, NFT_REG_1);
		put32(w, NFTA_BITWISE_DREG, NFT_REG_1);
		put32(w, NFTA_BITWISE_OP, NFT_BITWISE_BOOL);
		put32(w, NFTA_BITWISE_LEN, m->len);
		put_value(w, NFTA_BITWISE_MASK, m->mask, m->len);
		put_value(w, NFTA_BITWISE_XOR, zero, m->len);
		end_expr(w, e);
	}
	struct expr e = begin_expr(w, "cmp");
	put32(w, NFTA_CMP_SREG, NFT_REG_1);
	put32(w, NFTA_CMP_OP, cmp_op(m->cmp));
	put_value(w, NFTA_CMP_DATA, m->value, m->len);
	end_expr(w, e);
}

static void put_limit(struct writer *w, uint32_t pps)
{
	struct expr e = begin_expr(w, "limit");

	put64(w, NFTA_LIMIT_RATE, pps);
	put64(w, NFTA_LIMIT_UNIT, 1);
	put32(w, NFTA_LIMIT_BURST, fg_rule_burst(pps));
	put32(w, NFTA_LIMIT_TYPE, NFT_LIMIT_PKTS);
	put32(w, NFTA_LIMIT_FLAGS, NFT_LIMIT_F_INV);
	end_expr(w, e);
}

static void put_rewrite(struct writer *w, const uint8_t dmac[6])
{
	struct expr e = begin_expr(w, "immediate");

	put32(w, NFTA_IMMEDIATE_DREG, NFT_REG_1);
	put_value(w, NFTA_IMMEDIATE_DATA, dmac, 6);
	end_expr(w, e);
	e = begin_expr(w, "payload");
	put32(w, NFTA_PAYLOAD_SREG, NFT_REG_1);
	put32(w, NFTA_PAYLOAD_BASE, NFT_PAYLOAD_LL_HEADER);
	put32(w, NFTA_PAYLOAD_OFFSET, 0);
	put32(w, NFTA_PAYLOAD_LEN, 6);
	put32(w, NFTA_PAYLOAD_CSUM_TYPE, NFT_PAYLOAD_CSUM_NONE);
	put32(w, NFTA_PAYLOAD_CSUM_OFFSET, 0);
	put32(w, NFTA_PAYLOAD_CSUM_FLAGS, 0);
	end_expr(w, e);
}

static void put_verdict(struct writer *w, const struct fg_rule *rule, const char (*names)[FG_CHAIN_NAME_MAX])
{
	static const uint32_t codes[] = {
		[FG_VERDICT_ACCEPT] = NF_ACCEPT, [FG_VERDICT_DROP] = NF_DROP, [FG_VERDICT_GOTO] = (uint32_t)NFT_GOTO
	};
	struct expr e = begin_expr(w, "immediate");

	put32(w, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
	char *data = begin(w), *verdict = begin(w);
	put32(w, NFTA_VERDICT_CODE, codes[rule->verdict]);
	if (rule->verdict == FG_VERDICT_GOTO)
		put_text(w, NFTA_VERDICT_CHAIN, names[rule->to]);
	end(w, verdict, NFTA_DATA_VERDICT);
	end(w, data, NFTA_IMMEDIATE_DATA);
	end_expr(w, e);
}

/* The comment, as nft(8) has it: type, length, text (libnftnl's udata.c). */
static void put_reason(struct writer *w, const char *reason)
{
	uint8_t userdata[2 + UINT8_MAX];
	size_t len = strlen(reason) + 1;

	if (len > UINT8_MAX)
		abort();
	userdata[0] = NFTNL_UDATA_RULE_COMMENT;
	userdata[1] = (uint8_t)len;
	memcpy(userdata + 2, reason, len);
	put(w, NFTA_RULE_USERDATA, userdata, 2 + len);
}

void fg_rule_put(struct nlmsghdr *nlh, const struct fg_rule *rule, enum fg_dir dir, enum fg_chain_id id,
		 const char (*names)[FG_CHAIN_NAME_MAX])
{
	char *start = mnl_nlmsg_get_payload_tail(nlh);
	struct writer w = { start };

	put_text(&w, NFTA_RULE_TABLE, FG_FILTER_TABLE);
	put_text(&w, NFTA_RULE_CHAIN, names[id]);
	if (rule->reason)
		put_reason(&w, rule->reason);
	char *expressions = begin(&w);
	for (size_t i = 0; i < rule->n_match; i++)
		put_match(&w, &rule->match[i], dir);
	if (rule->over_pps)
		put_limit(&w, rule->over_pps);
	if (rule->rewrite)
		put_rewrite(&w, rule->dmac);
	if (rule->reason) {
		struct expr e = begin_expr(&w, "counter");
		put64(&w, NFTA_COUNTER_BYTES, 0);
		put64(&w, NFTA_COUNTER_PACKETS, 0);
		end_expr(&w, e);
	}
	put_verdict(&w, rule, names);
	end(&w, expressions, NFTA_RULE_EXPRESSIONS);
	nlh->nlmsg_len += (uint32_t)(w.at - start);
}
