/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * IPv6 (RFC 8200) and neighbour discovery (RFC 4861).  Offsets from the IPv6 header: what is let through has TCP or ICMPv6
 * directly behind it.  The kernel's own idea of where the transport header is must not be used: ipv6_find_hdr reads the first
 * next header where it would be in the linear part of the frame, also if the frame's head is not there (seen with frames of
 * a page and more from a packet socket), and so walks from what was in that memory before.
 */
#include "ruleset.h"

#include <lib/util.h>

#include <netinet/in.h>
#include <string.h>

enum { IP6_LENGTH = 4, IP6_NEXT = 6, IP6_HOPS = 7, IP6_SADDR = 8, IP6_DADDR = 24 };
enum { IP6_NEXT_HEADER = 40, TCP6_SPORT = IP6_NEXT_HEADER, TCP6_DPORT = IP6_NEXT_HEADER + 2 };
enum { ND_TYPE = IP6_NEXT_HEADER, ND_FLAGS = ND_TYPE + 4, ND_TARGET = ND_TYPE + 8, ND_OPTION = ND_TYPE + 24 };
enum { ND_BARE = 24, ND_WITH_OPTION = 32 }; /* lengths */
enum { ND_SOLICIT = 135 << 8, ND_ADVERT = 136 << 8 }; /* type and code 0 */

static void tcp6(const struct fg_filter_guest *g, const struct fg_filter_server *s, const uint8_t mac[6],
		 enum fg_dir dir, struct fg_ruleset *set)
{
	bool out = dir == FG_DIR_FROM_GUEST;
	uint8_t link[6];

	fg_server_link(g, s, link);
	if (!fg_mac_known(link)) /* whoever has the frame's MAC would get it, be he the server or not */
		return;
	struct fg_rule *r = fg_rule_add(set, dir, FG_CHAIN_IP6);
	fg_is(r, FG_SRC_LINK, 0, out ? link : mac, 6);
	if (!out && fg_mac_known(s->mac))
		fg_is(r, FG_SRC_LINK, 6, s->mac, 6);
	fg_is8(r, FG_SRC_NET, IP6_NEXT, IPPROTO_TCP); /* directly after the base header */
	fg_is8(r, FG_SRC_L4PROTO, 0, IPPROTO_TCP);
	fg_is(r, FG_SRC_NET, out ? IP6_DADDR : IP6_SADDR, &s->address.v6, 16);
	fg_is16(r, FG_SRC_NET, out ? TCP6_DPORT : TCP6_SPORT, s->port);
	fg_goto(r, FG_CHAIN_OK);
}

static void nd_shape(struct fg_ruleset *set, enum fg_dir dir)
{
	static const uint8_t zero[4];
	struct fg_rule *r = fg_rule_add(set, dir, FG_CHAIN_ND);

	fg_is_not16(r, FG_SRC_NET, IP6_LENGTH, ND_BARE); /* no option, or one link-layer address */
	fg_is_not16(r, FG_SRC_NET, IP6_LENGTH, ND_WITH_OPTION);
	fg_drop(r, "neighbour");
	/* The frame ends with the packet: at 78 bytes and more Ethernet needs no padding. */
	r = fg_rule_add(set, dir, FG_CHAIN_ND);
	fg_longer_than(r, IP6_NEXT_HEADER + ND_WITH_OPTION);
	fg_drop(r, "neighbour");
	r = fg_rule_add(set, dir, FG_CHAIN_ND);
	fg_is16(r, FG_SRC_NET, IP6_LENGTH, ND_BARE);
	fg_longer_than(r, IP6_NEXT_HEADER + ND_BARE);
	fg_drop(r, "neighbour");
	/* "Reserved … MUST be initialized to zero by the sender": RFC 4861, 4.3 and 4.4 */
	r = fg_rule_add(set, dir, FG_CHAIN_ND);
	fg_is16(r, FG_SRC_NET, ND_TYPE, ND_SOLICIT);
	fg_is_not(r, FG_SRC_NET, ND_FLAGS, zero, sizeof(zero));
	fg_drop(r, "neighbour");
	r = fg_rule_add(set, dir, FG_CHAIN_ND);
	fg_is16(r, FG_SRC_NET, ND_TYPE, ND_ADVERT);
	fg_bits32(r, FG_SRC_NET, FG_CMP_NEQ, ND_FLAGS, 0x1fffffff); /* all but router, solicited, override */
	fg_drop(r, "neighbour");
}

/* A solicitation or advertisement with an option must carry this link-layer address in it. */
static void nd_option(struct fg_ruleset *set, enum fg_dir dir, uint16_t type, const uint8_t mac[6],
		      const struct in6_addr *saddr)
{
	uint8_t option[8] = { type == ND_SOLICIT ? 1 : 2, 1 };
	struct fg_rule *r = fg_rule_add(set, dir, FG_CHAIN_ND);

	memcpy(option + 2, mac, 6);
	fg_is16(r, FG_SRC_NET, ND_TYPE, type);
	fg_is16(r, FG_SRC_NET, IP6_LENGTH, ND_WITH_OPTION);
	if (saddr)
		fg_is(r, FG_SRC_NET, IP6_SADDR, saddr, 16);
	fg_is_not(r, FG_SRC_NET, ND_OPTION, option, 8);
	fg_drop(r, "spoofed-neighbour");
}

static void nd_from_guest(const struct fg_peer *peers, size_t n, const uint8_t mac[6], struct fg_ruleset *set)
{
	const uint8_t sn_mac[3] = { 0x33, 0x33, 0xff };
	struct fg_rule *r;

	nd_option(set, FG_DIR_FROM_GUEST, ND_SOLICIT, mac, NULL);
	nd_option(set, FG_DIR_FROM_GUEST, ND_ADVERT, mac, NULL);
	r = fg_rule_add(set, FG_DIR_FROM_GUEST, FG_CHAIN_ND);
	fg_is16(r, FG_SRC_NET, ND_TYPE, ND_ADVERT);
	fg_bits16(r, FG_SRC_NET, FG_CMP_NEQ, ND_FLAGS, 0x8000); /* "I am a router" */
	fg_drop(r, "spoofed-neighbour");
	for (size_t i = 0; i < n; i++) {
		const struct in6_addr *a = &peers[i].address.v6, sn = fg_solicited_node(a);
		/* Solicitation to the group, to the address; advertisement.  To one MAC it could be for anybody. */
		for (int k = 0; k < (fg_mac_known(peers[i].mac) ? 3 : 1); k++) {
			r = fg_rule_add(set, FG_DIR_FROM_GUEST, FG_CHAIN_ND);
			if (fg_mac_known(peers[i].mac)) {
				r->rewrite = true;
				memcpy(r->dmac, peers[i].mac, 6);
			} else {
				fg_is(r, FG_SRC_LINK, 0, sn_mac, 3);
				fg_is(r, FG_SRC_LINK, 3, &a->s6_addr[13], 3);
			}
			fg_is16(r, FG_SRC_NET, ND_TYPE, k < 2 ? ND_SOLICIT : ND_ADVERT);
			fg_is(r, FG_SRC_NET, IP6_DADDR, k == 0 ? &sn : a, 16);
			if (k < 2)
				fg_is(r, FG_SRC_NET, ND_TARGET, a, 16);
			if (k == 0) /* without it the answer could not be sent: RFC 4861, 4.3 */
				fg_is16(r, FG_SRC_NET, IP6_LENGTH, ND_WITH_OPTION);
			fg_goto(r, FG_CHAIN_OK);
		}
	}
}

static void nd_to_guest(const struct fg_peer *peers, size_t n, const uint8_t mac[6], struct fg_ruleset *set)
{
	const uint8_t sn_mac[3] = { 0x33, 0x33, 0xff };

	for (size_t i = 0; i < n; i++) {
		const struct in6_addr *a = &peers[i].address.v6;
		if (fg_mac_known(peers[i].mac)) {
			nd_option(set, FG_DIR_TO_GUEST, ND_SOLICIT, peers[i].mac, a);
			nd_option(set, FG_DIR_TO_GUEST, ND_ADVERT, peers[i].mac, a);
		}
		for (int k = 0; k < 3; k++) {
			struct fg_rule *r = fg_rule_add(set, FG_DIR_TO_GUEST, FG_CHAIN_ND);
			if (k == 0)
				fg_is(r, FG_SRC_LINK, 0, sn_mac, 3);
			else
				fg_is(r, FG_SRC_LINK, 0, mac, 6);
			fg_is16(r, FG_SRC_NET, ND_TYPE, k < 2 ? ND_SOLICIT : ND_ADVERT);
			fg_is(r, FG_SRC_NET, IP6_SADDR, a, 16);
			if (k == 2)
				fg_is(r, FG_SRC_NET, ND_TARGET, a, 16);
			fg_goto(r, FG_CHAIN_OK);
		}
	}
}

/* What is left is dropped; say why. */
static void ip6_reasons(const struct fg_filter_guest *g, enum fg_dir dir, struct fg_ruleset *set)
{
	static const struct {
		uint8_t next;
		const char *reason;
	} kinds[] = { { IPPROTO_ICMPV6, "icmpv6" }, { IPPROTO_UDP, "protocol" }, { IPPROTO_FRAGMENT, "fragment" } };
	bool out = dir == FG_DIR_FROM_GUEST;
	const uint8_t tcp = IPPROTO_TCP;
	uint8_t link[6];
	struct fg_rule *r;

	for (size_t i = 0; i < FG_COUNT(kinds); i++) {
		r = fg_rule_add(set, dir, FG_CHAIN_IP6);
		fg_is8(r, FG_SRC_NET, IP6_NEXT, kinds[i].next);
		fg_drop(r, kinds[i].reason);
	}
	r = fg_rule_add(set, dir, FG_CHAIN_IP6);
	fg_is_not(r, FG_SRC_NET, IP6_NEXT, &tcp, 1);
	fg_drop(r, "extension-header");
	for (size_t i = 0; i < g->n_servers; i++) {
		if (g->servers[i].address.family != AF_INET6)
			continue;
		r = fg_rule_add(set, dir, FG_CHAIN_IP6);
		fg_is(r, FG_SRC_NET, out ? IP6_DADDR : IP6_SADDR, &g->servers[i].address.v6, 16);
		fg_is16(r, FG_SRC_NET, out ? TCP6_DPORT : TCP6_SPORT, g->servers[i].port);
		fg_server_link(g, &g->servers[i], link);
		fg_drop(r, fg_mac_known(link) ? "wrong-mac" : "mac-unknown");
		r = fg_rule_add(set, dir, FG_CHAIN_IP6);
		fg_is(r, FG_SRC_NET, out ? IP6_DADDR : IP6_SADDR, &g->servers[i].address.v6, 16);
		fg_drop(r, "wrong-port");
	}
	fg_drop(fg_rule_bare(set, dir, FG_CHAIN_IP6), "wrong-address");
}

void fg_ruleset_ip6(const struct fg_filter_guest *g, const uint8_t mac[6], enum fg_dir dir, struct fg_ruleset *set)
{
	struct fg_peer peers[FG_PEERS_MAX];
	size_t n = fg_peers(g, AF_INET6, peers);
	struct fg_rule *r;

	r = fg_rule_add(set, dir, FG_CHAIN_IP6); /* as for IPv4 */
	fg_is8(r, FG_SRC_NET, IP6_NEXT, IPPROTO_TCP);
	if (dir == FG_DIR_TO_GUEST)
		fg_is_not16(r, FG_SRC_NET, IP6_LENGTH, 0);
	fg_less16(r, FG_SRC_NET, IP6_LENGTH, 20);
	fg_drop(r, "length");
	for (size_t i = 0; i < g->n_servers; i++)
		if (g->servers[i].address.family == AF_INET6)
			tcp6(g, &g->servers[i], mac, dir, set);
	r = fg_rule_add(set, dir, FG_CHAIN_IP6);
	fg_is8(r, FG_SRC_NET, IP6_NEXT, IPPROTO_ICMPV6);
	fg_is8(r, FG_SRC_NET, IP6_HOPS, 255); /* has crossed no router: RFC 4861, 7.1 */
	fg_is8(r, FG_SRC_L4PROTO, 0, IPPROTO_ICMPV6);
	fg_goto(r, FG_CHAIN_ND);
	ip6_reasons(g, dir, set);

	nd_shape(set, dir);
	if (dir == FG_DIR_FROM_GUEST)
		nd_from_guest(peers, n, mac, set);
	else
		nd_to_guest(peers, n, mac, set);
	fg_drop(fg_rule_bare(set, dir, FG_CHAIN_ND), "neighbour");
}
