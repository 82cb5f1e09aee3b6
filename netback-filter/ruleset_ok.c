/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The last chain: what is allowed but for the guest's own address.  From the guest it must be the source, to the
 * guest the destination.  Where no address of the family is known, what cannot be the guest's is dropped.
 */
#include "ruleset.h"

#include <lib/util.h>

#include <net/ethernet.h>
#include <netinet/in.h>
#include <string.h>

#define SPOOFED "spoofed-address"
enum { ND_TYPE = 40, ND_TARGET = 48 }; /* from the IPv6 header, as in ruleset_ip6.c */

static const char *drop_reason(enum fg_dir dir)
{
	return dir == FG_DIR_FROM_GUEST ? SPOOFED : "not-the-guest";
}

static struct fg_rule *of_type(struct fg_ruleset *set, enum fg_dir dir, uint16_t type)
{
	struct fg_rule *r = fg_rule_add(set, dir, FG_CHAIN_OK);

	fg_protocol(r, type);
	return r;
}

static void ok_address4(struct fg_ruleset *set, enum fg_dir dir, const struct in_addr *a)
{
	bool out = dir == FG_DIR_FROM_GUEST;
	struct fg_rule *r = of_type(set, dir, ETHERTYPE_IP);

	fg_is(r, FG_SRC_NET, out ? 12 : 16, a, 4);
	fg_is8(r, FG_SRC_NET, 9, IPPROTO_TCP);
	fg_pass(r, "pass-tcp");
	r = of_type(set, dir, ETHERTYPE_ARP);
	fg_is(r, FG_SRC_NET, out ? 14 : 24, a, 4); /* sender, target */
	fg_pass(r, "pass-arp");
}

/* Source or destination is no single host's, or is a server's or gateway's. */
static void not_a_guest4(const struct fg_filter_guest *g, struct fg_ruleset *set, enum fg_dir dir)
{
	static const struct {
		uint8_t mask, value;
	} nets[] = { { 0xff, 0 }, { 0xff, 127 }, { 0xe0, 0xe0 } }; /* "this", loopback, multicast and above */
	static const struct {
		uint16_t type;
		uint8_t from, to;
	} where[] = { { ETHERTYPE_IP, 12, 16 }, { ETHERTYPE_ARP, 14, 24 } };
	struct fg_peer peers[FG_PEERS_MAX];
	size_t n = fg_peers(g, AF_INET, peers);

	for (size_t w = 0; w < FG_COUNT(where); w++) {
		uint8_t offset = dir == FG_DIR_FROM_GUEST ? where[w].from : where[w].to;
		for (size_t i = 0; i < FG_COUNT(nets); i++) {
			struct fg_rule *r = of_type(set, dir, where[w].type);
			fg_bits8(r, FG_SRC_NET, FG_CMP_EQ, offset, nets[i].mask, nets[i].value);
			fg_drop(r, drop_reason(dir));
		}
		for (size_t i = 0; i < n; i++) {
			struct fg_rule *r = of_type(set, dir, where[w].type);
			fg_is(r, FG_SRC_NET, offset, &peers[i].address.v4, 4);
			fg_drop(r, drop_reason(dir));
		}
	}
}

/* A host that checks whether an address is free has none yet: sender (of a request) or target (of the reply) 0.0.0.0. */
static void arp_probe(struct fg_ruleset *set, enum fg_dir dir)
{
	static const uint8_t none[4];
	struct fg_rule *r = of_type(set, dir, ETHERTYPE_ARP);

	fg_is16(r, FG_SRC_NET, 6, dir == FG_DIR_FROM_GUEST ? 1 : 2);
	fg_is(r, FG_SRC_NET, dir == FG_DIR_FROM_GUEST ? 14 : 24, none, 4);
	fg_pass(r, "pass-arp");
}

static void dhcp_source(struct fg_ruleset *set, const struct in_addr *a)
{
	struct fg_rule *r = of_type(set, FG_DIR_FROM_GUEST, ETHERTYPE_IP);

	fg_is8(r, FG_SRC_NET, 9, IPPROTO_UDP);
	if (a)
		fg_is(r, FG_SRC_NET, 12, a, 4);
	fg_pass(r, "pass-dhcp");
}

static void ok_family4(const struct fg_filter_guest *g, struct fg_ruleset *set, enum fg_dir dir)
{
	static const struct in_addr none;
	bool known = false, dhcp = g->dhcp.family == AF_INET && dir == FG_DIR_FROM_GUEST;

	arp_probe(set, dir);
	if (dhcp)
		dhcp_source(set, &none);
	for (size_t i = 0; i < g->n_addresses; i++) {
		if (g->addresses[i].family != AF_INET)
			continue;
		known = true;
		ok_address4(set, dir, &g->addresses[i].v4);
		if (dhcp)
			dhcp_source(set, &g->addresses[i].v4);
	}
	if (known)
		return;
	not_a_guest4(g, set, dir);
	if (dhcp)
		dhcp_source(set, NULL);
	struct fg_rule *r = of_type(set, dir, ETHERTYPE_IP);
	fg_is8(r, FG_SRC_NET, 9, IPPROTO_TCP);
	fg_pass(r, "pass-tcp");
	fg_pass(of_type(set, dir, ETHERTYPE_ARP), "pass-arp");
}

static struct fg_rule *of_next6(struct fg_ruleset *set, enum fg_dir dir, uint8_t next)
{
	struct fg_rule *r = of_type(set, dir, ETHERTYPE_IPV6);

	fg_is8(r, FG_SRC_NET, 6, next);
	return r;
}

static void ok_address6(struct fg_ruleset *set, enum fg_dir dir, const struct in6_addr *a, const uint8_t mac[6])
{
	bool out = dir == FG_DIR_FROM_GUEST;
	const struct in6_addr sn = fg_solicited_node(a);
	struct fg_rule *r = of_next6(set, dir, IPPROTO_TCP);

	fg_is(r, FG_SRC_NET, out ? 8 : 24, a, 16);
	fg_pass(r, "pass-tcp");
	r = of_next6(set, dir, IPPROTO_ICMPV6);
	fg_is8(r, FG_SRC_NET, ND_TYPE, out ? 135 : 136);
	fg_is(r, FG_SRC_NET, out ? 8 : 24, a, 16);
	fg_pass(r, "pass-neighbour");
	/* the other one names the guest's address as target: it advertises it, or is asked for it */
	r = of_next6(set, dir, IPPROTO_ICMPV6);
	fg_is8(r, FG_SRC_NET, ND_TYPE, out ? 136 : 135);
	fg_is(r, FG_SRC_NET, out ? 8 : 24, a, 16);
	fg_is(r, FG_SRC_NET, ND_TARGET, a, 16);
	if (!out)
		fg_is(r, FG_SRC_LINK, 0, mac, 6);
	fg_pass(r, "pass-neighbour");
	if (out)
		return;
	r = of_next6(set, dir, IPPROTO_ICMPV6);
	fg_is8(r, FG_SRC_NET, ND_TYPE, 135);
	fg_is(r, FG_SRC_NET, 24, &sn, 16);
	fg_is(r, FG_SRC_NET, ND_TARGET, a, 16);
	fg_pass(r, "pass-neighbour");
}

static void not_a_guest6(const struct fg_filter_guest *g, struct fg_ruleset *set, enum fg_dir dir)
{
	static const struct in6_addr none;
	struct fg_peer peers[FG_PEERS_MAX];
	size_t n = fg_peers(g, AF_INET6, peers);
	uint8_t offset = dir == FG_DIR_FROM_GUEST ? 8 : 24;
	struct fg_rule *r;

	for (size_t i = 0; i < n; i++) {
		r = of_type(set, dir, ETHERTYPE_IPV6);
		fg_is(r, FG_SRC_NET, offset, &peers[i].address.v6, 16);
		fg_drop(r, drop_reason(dir));
		r = of_next6(set, dir, IPPROTO_ICMPV6); /* claims it */
		fg_is8(r, FG_SRC_NET, ND_TYPE, dir == FG_DIR_FROM_GUEST ? 136 : 135);
		fg_is(r, FG_SRC_NET, ND_TARGET, &peers[i].address.v6, 16);
		fg_drop(r, drop_reason(dir));
	}
	r = of_type(set, dir, ETHERTYPE_IPV6);
	fg_is(r, FG_SRC_NET, offset, &none, 16);
	fg_drop(r, drop_reason(dir));
	if (dir == FG_DIR_TO_GUEST)
		return; /* a solicitation is sent to a group */
	r = of_type(set, dir, ETHERTYPE_IPV6);
	fg_is8(r, FG_SRC_NET, offset, 0xff);
	fg_drop(r, drop_reason(dir));
}

static void ok_family6(const struct fg_filter_guest *g, const uint8_t mac[6], struct fg_ruleset *set, enum fg_dir dir)
{
	const struct in6_addr local = fg_link_local(mac);
	bool known = false;

	for (size_t i = 0; i < g->n_addresses; i++)
		if (g->addresses[i].family == AF_INET6) {
			known = true;
			ok_address6(set, dir, &g->addresses[i].v6, mac);
		}
	if (known) {
		ok_address6(set, dir, &local, mac);
		return;
	}
	not_a_guest6(g, set, dir);
	fg_pass(of_next6(set, dir, IPPROTO_TCP), "pass-tcp");
	fg_pass(of_next6(set, dir, IPPROTO_ICMPV6), "pass-neighbour");
}

void fg_ruleset_ok(const struct fg_filter_guest *g, const uint8_t mac[6], enum fg_dir dir, struct fg_ruleset *set)
{
	bool has4 = false, has6 = false;

	for (size_t i = 0; i < g->n_servers; i++) {
		has4 |= g->servers[i].address.family == AF_INET;
		has6 |= g->servers[i].address.family == AF_INET6;
	}
	if (dir == FG_DIR_FROM_GUEST) {
		struct fg_rule *r = fg_rule_add(set, dir, FG_CHAIN_OK);
		r->over_pps = g->rate_pps ? g->rate_pps : FG_FILTER_RATE_DEFAULT;
		fg_drop(r, "rate");
	}
	if (has4)
		ok_family4(g, set, dir);
	if (has6)
		ok_family6(g, mac, set, dir);
	fg_drop(fg_rule_bare(set, dir, FG_CHAIN_OK), drop_reason(dir));
}
