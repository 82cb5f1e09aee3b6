/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A frame as nf_tables sees it in the ingress or egress hook of a netdev: what the kernel has worked out before the first
 * rule, and what each kind of load gives.  All of simulate's knowledge of the kernel is here; all of its knowledge of
 * what is allowed is in the rules.
 *
 * Follows Linux 6.18.  Where the kernel says it:
 *	net/core/dev.c		__netif_receive_skb_core: a tag is taken out of the frame before the ingress hook;
 *				__dev_queue_xmit: the egress hook sees the frame with its Ethernet header
 *	net/core/skbuff.c	skb_vlan_untag: needs the tag and the type behind it
 *	net/ethernet/eth.c	eth_type_trans: what is no Ethernet II frame
 *	net/netfilter/nft_chain_filter.c, include/net/netfilter/nf_tables_ipv[46].h
 *				when there is a transport protocol: the header is whole, the version right, and the
 *				packet not longer than the frame
 *	net/ipv6/exthdrs_core.c	ipv6_find_hdr
 *	net/netfilter/nft_payload.c, nft_meta.c
 *				a load that reaches behind the end of the frame ends the rule: it does not match
 * test/netns/filter_random.py holds it against the running kernel.
 */
#ifndef FG_FILTER_PACKET_H
#define FG_FILTER_PACKET_H

#include "rule.h"

#define FG_PACKET_LINK 14 /* bytes of an Ethernet header */

enum fg_l4 {
	FG_L4_NONE, /* the kernel knows no transport protocol */
	FG_L4_THERE,
	FG_L4_CUT, /* what decides it was not captured */
};

struct fg_packet {
	const uint8_t *bytes; /* from the Ethernet header on, tags in their place */
	size_t captured, length; /* bytes we have; bytes there were */
	enum fg_dir dir;
	uint32_t ifindex;
	uint8_t link[FG_PACKET_LINK]; /* the Ethernet header: a rule may rewrite it */
	size_t net; /* the network header; behind a tag, if there is one */
	uint16_t protocol; /* skb->protocol, host order */
	enum fg_l4 l4;
	uint8_t l4proto;
	size_t transport; /* of FG_L4_THERE */
	bool later_fragment; /* there is no transport header in it */
};

enum fg_packet_kind {
	FG_PACKET_SEEN,
	FG_PACKET_UNSEEN, /* too short: the kernel drops it before any hook */
	FG_PACKET_HEAD_CUT, /* not even the link header was captured */
};
/* bytes stay the caller's and must outlive out, which is untouched unless SEEN. */
enum fg_packet_kind fg_packet_init(struct fg_packet *out, const uint8_t *bytes, size_t captured, size_t length,
				   enum fg_dir dir, uint32_t ifindex);

enum fg_load {
	FG_LOAD_OK,
	FG_LOAD_NONE, /* the kernel has no such bytes: the rule does not match, whatever it compares with */
	FG_LOAD_CUT, /* the kernel had them, the capture has not */
};
/* The bytes that m compares, before the mask. */
enum fg_load fg_packet_load(const struct fg_packet *p, const struct fg_match *m, uint8_t out[16]);

#endif
