/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The rules of one netdev as plain data: what the kernel is given and what verify expects.
 * Pure; nothing here talks to the kernel.
 *
 *	struct fg_ruleset set;
 *	fg_ruleset_build(guest, mac, ifindex, &set);	// guest has passed fg_filter_guest_check
 *	… set.chains[FG_DIR_FROM_GUEST][FG_CHAIN_BASE].rules …
 *	fg_ruleset_free(&set);
 */
#ifndef FG_FILTER_RULE_H
#define FG_FILTER_RULE_H

#include <fixgate/filter.h>

enum fg_dir { FG_DIR_FROM_GUEST, FG_DIR_TO_GUEST, FG_DIR_COUNT }; /* ingress, egress */

/*
 * The chains of one direction of a netdev, in the order in which they refer to each other: a chain goes to later ones only,
 * so deleting in this order never deletes a chain that is still referred to.
 */
#define FG_CHAIN_LIST(X)                                                                                               \
	X(BASE, "") /* the hook: device, MAC, ethertype */                                                             \
	X(ARP, "-arp")                                                                                                 \
	X(IP4, "-ip4")                                                                                                 \
	X(IP6, "-ip6")                                                                                                 \
	X(ND, "-nd") /* neighbour discovery */                                                                         \
	X(OK, "-ok") /* all that is allowed ends here: rate, the guest's own address */
enum fg_chain_id {
#define FG_CHAIN_ENUM(name, suffix) FG_CHAIN_##name,
	FG_CHAIN_LIST(FG_CHAIN_ENUM)
#undef FG_CHAIN_ENUM
		FG_CHAIN_COUNT
};

/* Where the bytes of a match come from. */
enum fg_source {
	FG_SRC_LINK, /* from the Ethernet header; a VLAN tag held beside the frame is seen in its place */
	FG_SRC_NET, /* from the network header */
	FG_SRC_TRANSPORT, /* from the transport header; no match if there is none or it is a later fragment */
	FG_SRC_LENGTH, /* the frame's length: without the Ethernet header from the guest, with it to the guest */
	FG_SRC_L4PROTO, /* protocol after a *valid* IPv4 or IPv6 header; no match otherwise */
	FG_SRC_IFINDEX, /* the netdev the frame is on */
	/* Always so where our rules stand; they tell nft(8) how to print what follows, and cost a load and a compare. */
	FG_SRC_IFTYPE, /* the input netdev's ARPHRD_ type, host order; from the guest only */
	FG_SRC_PROTOCOL, /* the ethertype the kernel handles the frame as (behind a tag) */
};
enum fg_cmp { FG_CMP_EQ, FG_CMP_NEQ, FG_CMP_GT, FG_CMP_LT };
enum fg_verdict { FG_VERDICT_ACCEPT, FG_VERDICT_DROP, FG_VERDICT_GOTO };

/* "(bytes & mask) cmp value", all in network byte order (IFINDEX and LENGTH in the host's, as the kernel has them). */
struct fg_match {
	enum fg_source source : 8;
	enum fg_cmp cmp : 8;
	uint8_t offset, len;
	uint8_t mask[4]; /* where masked */
	uint8_t value[16]; /* masked: four bytes at most */
	bool masked;
};

#define FG_RULE_MATCHES_MAX 13

/* All matches must hold; then, in this order: limit, rewrite, counter, verdict. */
struct fg_rule {
	enum fg_dir dir;
	struct fg_match match[FG_RULE_MATCHES_MAX];
	uint8_t n_match;
	uint32_t over_pps; /* 0 = no limit; else the rule applies only to frames over this rate */
	bool rewrite; /* set the Ethernet destination to dmac */
	uint8_t dmac[6];
	enum fg_verdict verdict;
	enum fg_chain_id to; /* of GOTO */
	const char *reason; /* static; NULL = not counted */
};

struct fg_chain {
	struct fg_rule *rules;
	size_t n;
};
struct fg_ruleset {
	struct fg_chain chains[FG_DIR_COUNT][FG_CHAIN_COUNT];
};

/* Aborts when out of memory, cannot fail otherwise. */
void fg_ruleset_build(const struct fg_filter_guest *guest, const uint8_t mac[6], uint32_t ifindex,
		      struct fg_ruleset *out);
void fg_ruleset_free(struct fg_ruleset *set);

/* "in-vif1.0-7-arp": direction, device, ifindex, part. */
#define FG_CHAIN_NAME_MAX 64
void fg_chain_name(char out[FG_CHAIN_NAME_MAX], enum fg_dir dir, const char *dev, uint32_t ifindex,
		   enum fg_chain_id id);

/* Burst of a limit, in frames: a tenth of a second, at least 64. */
uint32_t fg_rule_burst(uint32_t pps);

/* USAGE with the reason if a guest cannot be turned into rules; devices are looked at by name and MAC only. */
int fg_filter_guest_check(const struct fg_filter_guest *guest, struct fg_error *err) FG_MUST_CHECK;

#endif
