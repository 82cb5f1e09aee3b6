/* SPDX-License-Identifier: GPL-3.0-or-later */
/* IPv4, ARP (RFC 826) and DHCP (RFC 2131).  Offsets: net = IPv4 or ARP header, transport = TCP or UDP header. */
#include "ruleset.h"

#include <lib/util.h>

#include <net/ethernet.h>
#include <netinet/in.h>
#include <string.h>

enum { ARP_HEAD = 0, ARP_OP = 6, ARP_SHA = 8, ARP_SPA = 14, ARP_THA = 18, ARP_TPA = 24, ARP_END = 28 };
enum { ARP_REQUEST = 1, ARP_REPLY = 2 };
enum { IP4_LENGTH = 2, IP4_FRAG = 6, IP4_PROTO = 9, IP4_SADDR = 12, IP4_DADDR = 16 };
#define ETHER_MIN 46 /* bytes behind the Ethernet header; a shorter frame may arrive padded to it */
#define ETHER_MIN_TAGGED 42 /* the same where a tag counted when it was padded, and was taken off since */

/*
 * From the guest padding is zero (RFC 894), and there is as much of it as Ethernet asks for or none: what else is behind
 * ARP is a message. To the guest it may hold anything: IEEE 802.3 leaves that to the sender.
 */
static void arp_padding(struct fg_ruleset *set, enum fg_dir dir)
{
	static const struct {
		uint8_t shorter, longer;
	} odd[] = { { ARP_END, ETHER_MIN_TAGGED }, { ETHER_MIN_TAGGED, ETHER_MIN } };
	static const struct {
		uint8_t at, len;
	} pads[] = { { ARP_END, ETHER_MIN_TAGGED - ARP_END }, { ETHER_MIN_TAGGED, ETHER_MIN - ETHER_MIN_TAGGED } };
	static const uint8_t zero[16];
	/* no field that nft could name: no match for its sake */
	struct fg_rule *r = fg_rule_bare(set, dir, FG_CHAIN_ARP);

	fg_longer_than(r, ETHER_MIN);
	fg_drop(r, "arp");
	for (size_t i = 0; i < FG_COUNT(odd) && dir == FG_DIR_FROM_GUEST; i++) {
		r = fg_rule_bare(set, dir, FG_CHAIN_ARP);
		fg_longer_than(r, odd[i].shorter);
		fg_shorter_than(r, odd[i].longer);
		fg_drop(r, "arp");
		r = fg_rule_bare(set, dir, FG_CHAIN_ARP);
		fg_is_not(r, FG_SRC_NET, pads[i].at, zero, pads[i].len);
		fg_drop(r, "arp");
	}
}

/* Nobody reads the target MAC of a request: zero, or broadcast from some old stacks (RFC 5227, 2.1.1: SHOULD be zero). */
static void arp_target_mac(struct fg_ruleset *set)
{
	static const uint8_t zero[6];
	struct fg_rule *r = fg_rule_add(set, FG_DIR_FROM_GUEST, FG_CHAIN_ARP);

	fg_is16(r, FG_SRC_NET, ARP_OP, ARP_REQUEST);
	fg_is_not(r, FG_SRC_NET, ARP_THA, zero, 6);
	fg_is_not(r, FG_SRC_NET, ARP_THA, fg_mac_broadcast, 6);
	fg_drop(r, "arp");
}

static struct fg_rule *arp_rule(struct fg_ruleset *set, enum fg_dir dir, uint16_t op)
{
	static const uint8_t head[6] = { 0, 1, 0x08, 0x00, 6, 4 }; /* Ethernet, IPv4, their lengths */
	struct fg_rule *r = fg_rule_add(set, dir, FG_CHAIN_ARP);

	fg_is(r, FG_SRC_NET, ARP_HEAD, head, sizeof(head));
	fg_is16(r, FG_SRC_NET, ARP_OP, op);
	fg_goto(r, FG_CHAIN_OK);
	return r;
}

/* tha: the target MAC it must have, or NULL */
static struct fg_rule *arp_to_peer(struct fg_ruleset *set, const struct fg_peer *p, uint16_t op, const uint8_t *tha)
{
	struct fg_rule *r = arp_rule(set, FG_DIR_FROM_GUEST, op);

	if (tha)
		fg_is(r, FG_SRC_NET, ARP_THA, tha, 6);
	fg_is(r, FG_SRC_NET, ARP_TPA, &p->address.v4, 4);
	return r;
}

static void rewrite(struct fg_rule *r, const uint8_t mac[6])
{
	r->rewrite = true;
	memcpy(r->dmac, mac, 6);
}

static void arp_from_guest(const struct fg_peer *peers, size_t n, const uint8_t mac[6], struct fg_ruleset *set)
{
	struct fg_rule *r = fg_rule_add(set, FG_DIR_FROM_GUEST, FG_CHAIN_ARP);

	fg_is_not(r, FG_SRC_NET, ARP_SHA, mac, 6);
	fg_drop(r, "spoofed-arp");
	for (size_t i = 0; i < n; i++) /* a reply, or a request to the MAC that the guest knows */
		for (uint16_t op = ARP_REQUEST; op <= ARP_REPLY && fg_mac_known(peers[i].mac); op++) {
			r = arp_to_peer(set, &peers[i], op, peers[i].mac);
			rewrite(r, peers[i].mac);
		}
	arp_target_mac(set);
	for (size_t i = 0; i < n; i++) {
		r = arp_to_peer(set, &peers[i], ARP_REQUEST, NULL);
		if (fg_mac_known(peers[i].mac))
			rewrite(r, peers[i].mac);
		else /* to one MAC it could be for anybody */
			fg_is(r, FG_SRC_LINK, 0, fg_mac_broadcast, 6);
	}
}

static void arp_to_guest(const struct fg_peer *peers, size_t n, const uint8_t mac[6], struct fg_ruleset *set)
{
	for (size_t i = 0; i < n; i++)
		for (int k = 0; k < 3; k++) { /* request to all, request to the guest, reply to the guest */
			struct fg_rule *r = arp_rule(set, FG_DIR_TO_GUEST, k < 2 ? ARP_REQUEST : ARP_REPLY);
			if (fg_mac_known(peers[i].mac))
				fg_is(r, FG_SRC_NET, ARP_SHA, peers[i].mac, 6);
			fg_is(r, FG_SRC_NET, ARP_SPA, &peers[i].address.v4, 4);
			if (k == 2)
				fg_is(r, FG_SRC_NET, ARP_THA, mac, 6);
			fg_is(r, FG_SRC_LINK, 0, k == 0 ? fg_mac_broadcast : mac, 6);
		}
}

static void ip4_head(struct fg_ruleset *set, enum fg_dir dir)
{
	const uint8_t plain = 5; /* header of 20 bytes; the version is checked with the protocol */
	struct fg_rule *r = fg_rule_add(set, dir, FG_CHAIN_IP4);

	fg_bits8(r, FG_SRC_NET, FG_CMP_NEQ, 0, 0x0f, plain);
	fg_drop(r, "ip-options");
	r = fg_rule_add(set, dir, FG_CHAIN_IP4);
	fg_bits16(r, FG_SRC_NET, FG_CMP_NEQ, IP4_FRAG, 0xbfff); /* all but "don't fragment" */
	fg_drop(r, "fragment");
	r = fg_rule_add(set, dir, FG_CHAIN_IP4);
	fg_is8(r, FG_SRC_NET, IP4_PROTO, IPPROTO_TCP);
	if (dir == FG_DIR_TO_GUEST) /* 0: a frame of over 64 KiB that is still to be cut (BIG TCP) */
		fg_is_not16(r, FG_SRC_NET, IP4_LENGTH, 0);
	fg_less16(r, FG_SRC_NET, IP4_LENGTH, 20 + 20);
	fg_drop(r, "length");
}

static void tcp4(const struct fg_filter_guest *g, const struct fg_filter_server *s, const uint8_t mac[6],
		 enum fg_dir dir, struct fg_ruleset *set)
{
	bool out = dir == FG_DIR_FROM_GUEST;
	uint8_t link[6];

	fg_server_link(g, s, link);
	if (!fg_mac_known(link)) /* whoever has the frame's MAC would get it, be he the server or not */
		return;
	struct fg_rule *r = fg_rule_add(set, dir, FG_CHAIN_IP4);
	fg_is(r, FG_SRC_LINK, 0, out ? link : mac, 6);
	if (!out && fg_mac_known(s->mac)) /* not a gateway's: it may send from another MAC than it answers for (VRRP) */
		fg_is(r, FG_SRC_LINK, 6, s->mac, 6);
	fg_is8(r, FG_SRC_NET, IP4_PROTO, IPPROTO_TCP);
	fg_is8(r, FG_SRC_L4PROTO, 0, IPPROTO_TCP);
	fg_is(r, FG_SRC_NET, out ? IP4_DADDR : IP4_SADDR, &s->address.v4, 4);
	fg_is16(r, FG_SRC_TRANSPORT, out ? 2 : 0, s->port);
	fg_goto(r, FG_CHAIN_OK);
}

/*
 * A client's message is at most a datagram of 576 bytes, the least that a server must take (RFC 2131, 2; RFC 791, 3.1).  A
 * server's is as long as the client says it takes.
 */
#define DHCP_ASK_MAX 576

/* BOOTP message inside UDP: op, htype, hlen at 8; chaddr at 36; magic cookie at 244 (RFC 2131, figure 1). */
static struct fg_rule *dhcp_rule(struct fg_ruleset *set, enum fg_dir dir, const uint8_t to[6], const uint8_t mac[6])
{
	static const uint8_t cookie[4] = { 99, 130, 83, 99 };
	bool out = dir == FG_DIR_FROM_GUEST;
	const uint8_t ports[4] = { 0, out ? 68 : 67, 0, out ? 67 : 68 }, head[3] = { out ? 1 : 2, 1, 6 };
	struct fg_rule *r = fg_rule_add(set, dir, FG_CHAIN_IP4);

	fg_is(r, FG_SRC_LINK, 0, to, 6);
	if (out)
		fg_shorter_than(r, DHCP_ASK_MAX + 1);
	fg_is8(r, FG_SRC_L4PROTO, 0, IPPROTO_UDP);
	fg_is(r, FG_SRC_TRANSPORT, 0, ports, 4);
	fg_is(r, FG_SRC_TRANSPORT, 8, head, 3);
	fg_is(r, FG_SRC_TRANSPORT, 36, mac, 6);
	fg_is(r, FG_SRC_TRANSPORT, 244, cookie, 4);
	return r;
}

/* The MAC by which the DHCP server is reached: its own, if it is a server or gateway, else the gateway's; or zero. */
static void dhcp_link(const struct fg_filter_guest *g, uint8_t link[6])
{
	const struct fg_filter_server s = { .address = g->dhcp };
	struct fg_peer peers[FG_PEERS_MAX];
	size_t n = fg_peers(g, AF_INET, peers);

	fg_server_link(g, &s, link);
	for (size_t i = 0; i < n; i++)
		if (peers[i].address.v4.s_addr == g->dhcp.v4.s_addr)
			memcpy(link, peers[i].mac, 6);
}

static void dhcp_from_guest(const struct fg_filter_guest *g, const uint8_t mac[6], struct fg_ruleset *set)
{
	const struct in_addr all = { INADDR_BROADCAST };
	uint8_t link[6];
	struct fg_rule *r = dhcp_rule(set, FG_DIR_FROM_GUEST, fg_mac_broadcast, mac);

	dhcp_link(g, link);
	fg_is(r, FG_SRC_NET, IP4_DADDR, &all, 4);
	if (fg_mac_known(link))
		rewrite(r, link);
	fg_goto(r, FG_CHAIN_OK);
	if (!fg_mac_known(link)) /* no renewal: the client asks all before the lease ends (RFC 2131, 4.4.5) */
		return;
	r = dhcp_rule(set, FG_DIR_FROM_GUEST, link, mac);
	fg_is(r, FG_SRC_NET, IP4_DADDR, &g->dhcp.v4, 4);
	fg_goto(r, FG_CHAIN_OK);
}

/* To all, or to one: the address that is offered may be none that we know. */
static void dhcp_to_guest(const struct fg_filter_guest *g, const uint8_t mac[6], struct fg_ruleset *set)
{
	const struct in_addr all = { INADDR_BROADCAST };

	for (int k = 0; k < 3; k++) {
		struct fg_rule *r = dhcp_rule(set, FG_DIR_TO_GUEST, k == 0 ? fg_mac_broadcast : mac, mac);
		fg_is(r, FG_SRC_NET, IP4_SADDR, &g->dhcp.v4, 4);
		if (k < 2) {
			fg_is(r, FG_SRC_NET, IP4_DADDR, &all, 4);
		} else {
			const uint8_t group = 0xe0; /* 224/3 */
			fg_bits8(r, FG_SRC_NET, FG_CMP_NEQ, IP4_DADDR, group, group);
		}
		fg_pass(r, "pass-dhcp");
	}
}

/* What is left is dropped; say why. */
static void ip4_reasons(const struct fg_filter_guest *g, enum fg_dir dir, struct fg_ruleset *set)
{
	bool out = dir == FG_DIR_FROM_GUEST;
	const uint8_t tcp = IPPROTO_TCP;
	uint8_t link[6];
	struct fg_rule *r = fg_rule_add(set, dir, FG_CHAIN_IP4);

	fg_is_not(r, FG_SRC_NET, IP4_PROTO, &tcp, 1);
	fg_drop(r, "protocol");
	for (size_t i = 0; i < g->n_servers; i++) {
		if (g->servers[i].address.family != AF_INET)
			continue;
		r = fg_rule_add(set, dir, FG_CHAIN_IP4);
		fg_is(r, FG_SRC_NET, out ? IP4_DADDR : IP4_SADDR, &g->servers[i].address.v4, 4);
		fg_is16(r, FG_SRC_TRANSPORT, out ? 2 : 0, g->servers[i].port);
		fg_server_link(g, &g->servers[i], link);
		fg_drop(r, fg_mac_known(link) ? "wrong-mac" : "mac-unknown");
		r = fg_rule_add(set, dir, FG_CHAIN_IP4);
		fg_is(r, FG_SRC_NET, out ? IP4_DADDR : IP4_SADDR, &g->servers[i].address.v4, 4);
		fg_drop(r, "wrong-port");
	}
	fg_drop(fg_rule_bare(set, dir, FG_CHAIN_IP4), "wrong-address");
}

void fg_ruleset_ip4(const struct fg_filter_guest *g, const uint8_t mac[6], enum fg_dir dir, struct fg_ruleset *set)
{
	struct fg_peer peers[FG_PEERS_MAX];
	size_t n = fg_peers(g, AF_INET, peers);

	arp_padding(set, dir);
	if (dir == FG_DIR_FROM_GUEST)
		arp_from_guest(peers, n, mac, set);
	else
		arp_to_guest(peers, n, mac, set);
	fg_drop(fg_rule_bare(set, dir, FG_CHAIN_ARP), "arp");

	ip4_head(set, dir);
	for (size_t i = 0; i < g->n_servers; i++)
		if (g->servers[i].address.family == AF_INET)
			tcp4(g, &g->servers[i], mac, dir, set);
	if (g->dhcp.family == AF_INET && dir == FG_DIR_FROM_GUEST)
		dhcp_from_guest(g, mac, set);
	else if (g->dhcp.family == AF_INET)
		dhcp_to_guest(g, mac, set);
	ip4_reasons(g, dir, set);
}
