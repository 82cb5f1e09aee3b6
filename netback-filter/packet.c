/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "packet.h"

#include <arpa/inet.h>
#include <net/ethernet.h>
#include <net/if_arp.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

enum { TAG = 4, TAG_AND_TYPE = 6 };
enum { P_802_3 = 1, P_802_2 = 4 }; /* linux/if_ether.h: ETH_P_802_3, ETH_P_802_2 */
enum { IP4_HEAD = 20, IP6_HEAD = 40, IP_MAX = 65535 };
enum { NEXT_HOP = 0, NEXT_ROUTING = 43, NEXT_FRAGMENT = 44, NEXT_AUTH = 51, NEXT_NONE = 59, NEXT_DEST = 60 };

static uint16_t be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

/* skb_copy_bits and skb_header_pointer: whole or not at all. */
static enum fg_load fetch(const struct fg_packet *p, size_t offset, size_t len, uint8_t *out)
{
	if (offset + len > p->length)
		return FG_LOAD_NONE;
	if (offset + len > p->captured)
		return FG_LOAD_CUT;
	memcpy(out, p->bytes + offset, len);
	return FG_LOAD_OK;
}

static enum fg_l4 no_l4(enum fg_load load)
{
	return load == FG_LOAD_CUT ? FG_L4_CUT : FG_L4_NONE;
}

/* nft_set_pktinfo_ipv4_validate; the length of a frame of over 64 KiB that is still to be cut is 0 (iph_totlen). */
static enum fg_l4 find_l4_ip4(struct fg_packet *p)
{
	uint8_t h[IP4_HEAD];
	enum fg_load load = fetch(p, p->net, sizeof(h), h);
	size_t have = p->length - p->net;

	if (load != FG_LOAD_OK)
		return no_l4(load);
	size_t head = (h[0] & 0x0f) * 4U, total = be16(h + 2);
	if (total == 0 && have > IP_MAX && h[9] == IPPROTO_TCP)
		total = have;
	if (h[0] >> 4 != 4 || head < IP4_HEAD || have < total || total < head)
		return FG_L4_NONE;
	p->l4proto = h[9];
	p->transport = p->net + head;
	p->later_fragment = (be16(h + 6) & 0x1fff) != 0;
	return FG_L4_THERE;
}

static bool is_extension(uint8_t next) /* ipv6_ext_hdr */
{
	return next == NEXT_HOP || next == NEXT_ROUTING || next == NEXT_FRAGMENT || next == NEXT_AUTH ||
	       next == NEXT_NONE || next == NEXT_DEST;
}

/* One fragment header at start, as ipv6_find_hdr.  True if the walk ends here, with *result. */
static bool at_fragment(struct fg_packet *p, size_t start, uint8_t after, enum fg_l4 *result)
{
	uint8_t b[2];
	enum fg_load load = fetch(p, start + 2, sizeof(b), b);

	*result = no_l4(load);
	if (load != FG_LOAD_OK)
		return true;
	if ((be16(b) & ~7) == 0)
		return false;
	if (is_extension(after) && after != NEXT_NONE)
		return true;
	p->l4proto = after;
	p->transport = 0;
	p->later_fragment = true;
	*result = FG_L4_THERE;
	return true;
}

/* ipv6_find_hdr for the last header; an authentication header ends the walk. */
static enum fg_l4 walk_ip6(struct fg_packet *p, uint8_t next)
{
	size_t start = p->net + IP6_HEAD;

	while (is_extension(next) && next != NEXT_NONE && next != NEXT_AUTH) {
		uint8_t h[4];
		size_t len = next == NEXT_ROUTING ? 4 : 2;
		enum fg_l4 result;
		enum fg_load load = fetch(p, start, len, h);
		if (load != FG_LOAD_OK)
			return no_l4(load);
		if (next == NEXT_FRAGMENT && at_fragment(p, start, h[0], &result))
			return result;
		start += next == NEXT_FRAGMENT ? 8 : (h[1] + 1U) * 8;
		next = h[0];
	}
	if (next == NEXT_AUTH) {
		uint8_t h[2];
		enum fg_load load = fetch(p, start, sizeof(h), h);
		if (load != FG_LOAD_OK)
			return no_l4(load);
	}
	/* the kernel counts from skb->data: the Ethernet header is in it on the way out only */
	if (start - (p->dir == FG_DIR_FROM_GUEST ? p->net : 0) > UINT16_MAX)
		return FG_L4_NONE;
	p->l4proto = next;
	p->transport = start;
	return FG_L4_THERE;
}

/* nft_set_pktinfo_ipv6_validate */
static enum fg_l4 find_l4_ip6(struct fg_packet *p)
{
	uint8_t h[IP6_HEAD];
	enum fg_load load = fetch(p, p->net, sizeof(h), h);

	if (load != FG_LOAD_OK)
		return no_l4(load);
	if (h[0] >> 4 != 6 || be16(h + 4) + (size_t)IP6_HEAD > p->length - p->net)
		return FG_L4_NONE;
	return walk_ip6(p, h[6]);
}

/* eth_type_trans and, behind a tag, vlan_set_encap_proto */
static uint16_t protocol_of(uint16_t type)
{
	if (type >= ETH_P_802_3_MIN)
		return type;
	return P_802_2; /* or P_802_3 for old IPX: no rule tells them apart */
}

enum fg_packet_kind fg_packet_init(struct fg_packet *out, const uint8_t *bytes, size_t captured, size_t length,
				   enum fg_dir dir, uint32_t ifindex)
{
	struct fg_packet p = { .bytes = bytes, .captured = captured, .length = length, .dir = dir, .ifindex = ifindex };

	if (length < FG_PACKET_LINK)
		return FG_PACKET_UNSEEN;
	if (captured < FG_PACKET_LINK)
		return FG_PACKET_HEAD_CUT;
	memcpy(p.link, bytes, sizeof(p.link));
	uint16_t type = be16(bytes + 12);
	p.net = FG_PACKET_LINK;
	if (type == ETHERTYPE_VLAN || type == 0x88a8) { /* IEEE 802.1Q, 802.1ad */
		bool whole = length >= FG_PACKET_LINK + TAG_AND_TYPE;
		if (!whole && dir == FG_DIR_FROM_GUEST)
			return FG_PACKET_UNSEEN;
		if (whole && captured < FG_PACKET_LINK + TAG_AND_TYPE)
			return FG_PACKET_HEAD_CUT;
		if (whole) { /* else the host sent it, and the tag stays where it is */
			p.net += TAG;
			type = be16(bytes + 12 + TAG);
		}
	}
	p.protocol = protocol_of(type);
	if (p.protocol == ETHERTYPE_IP)
		p.l4 = find_l4_ip4(&p);
	else if (p.protocol == ETHERTYPE_IPV6)
		p.l4 = find_l4_ip6(&p);
	*out = p;
	return FG_PACKET_SEEN;
}

static enum fg_load load_link(const struct fg_packet *p, const struct fg_match *m, uint8_t *out)
{
	if (m->offset + m->len > FG_PACKET_LINK)
		return fetch(p, m->offset, m->len, out);
	memcpy(out, p->link + m->offset, m->len);
	return FG_LOAD_OK;
}

static enum fg_load load_transport(const struct fg_packet *p, const struct fg_match *m, uint8_t *out)
{
	if (p->l4 != FG_L4_THERE)
		return p->l4 == FG_L4_CUT ? FG_LOAD_CUT : FG_LOAD_NONE;
	return p->later_fragment ? FG_LOAD_NONE : fetch(p, p->transport + m->offset, m->len, out);
}

enum fg_load fg_packet_load(const struct fg_packet *p, const struct fg_match *m, uint8_t out[16])
{
	static const uint16_t ethernet = ARPHRD_ETHER;
	size_t tag = p->net - FG_PACKET_LINK;
	uint32_t len;
	uint16_t type;

	switch (m->source) {
	case FG_SRC_LINK:
		return load_link(p, m, out);
	case FG_SRC_NET:
		return fetch(p, p->net + m->offset, m->len, out);
	case FG_SRC_TRANSPORT:
		return load_transport(p, m, out);
	case FG_SRC_LENGTH: /* skb->len: a tag beside the frame is not counted */
		len = htonl((uint32_t)(p->length - tag - (p->dir == FG_DIR_FROM_GUEST ? FG_PACKET_LINK : 0)));
		memcpy(out, &len, sizeof(len));
		return FG_LOAD_OK;
	case FG_SRC_L4PROTO:
		out[0] = p->l4proto;
		return p->l4 == FG_L4_THERE ? FG_LOAD_OK : p->l4 == FG_L4_CUT ? FG_LOAD_CUT : FG_LOAD_NONE;
	case FG_SRC_IFINDEX:
		memcpy(out, &p->ifindex, sizeof(p->ifindex));
		return FG_LOAD_OK;
	case FG_SRC_IFTYPE:
		memcpy(out, &ethernet, sizeof(ethernet));
		return p->dir == FG_DIR_FROM_GUEST ? FG_LOAD_OK : FG_LOAD_NONE;
	case FG_SRC_PROTOCOL:
		type = htons(p->protocol);
		memcpy(out, &type, sizeof(type));
		return FG_LOAD_OK;
	}
	abort();
}
