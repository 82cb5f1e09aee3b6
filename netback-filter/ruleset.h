/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Inside the ruleset only: the words its files build rules with. */
#ifndef FG_FILTER_RULESET_H
#define FG_FILTER_RULESET_H

#include "rule.h"

/* Someone on the link the guest may resolve: a server or a gateway. mac zero = unknown. */
struct fg_peer {
	struct fg_ip address;
	uint8_t mac[6];
};
#define FG_PEERS_MAX (2 * (FG_FILTER_SERVERS_MAX + 2))

extern const uint8_t fg_mac_broadcast[6];
bool fg_mac_known(const uint8_t mac[6]);
bool fg_same_ip(const struct fg_ip *a, const struct fg_ip *b); /* of one family; 0 is none */
void fg_server_link(const struct fg_filter_guest *g, const struct fg_filter_server *s, uint8_t out[6]);
size_t fg_peers(const struct fg_filter_guest *g, int family, struct fg_peer out[FG_PEERS_MAX]);
struct in6_addr fg_link_local(const uint8_t mac[6]);
struct in6_addr fg_solicited_node(const struct in6_addr *a);

/* Append a rule; valid until the next one is appended.  In the chains of a protocol it begins with the match for it. */
struct fg_rule *fg_rule_add(struct fg_ruleset *set, enum fg_dir dir, enum fg_chain_id id);
/* A rule without any match: for all that gets there. */
struct fg_rule *fg_rule_bare(struct fg_ruleset *set, enum fg_dir dir, enum fg_chain_id id);
void fg_protocol(struct fg_rule *r, uint16_t ethertype);
void fg_is(struct fg_rule *r, enum fg_source source, uint8_t offset, const void *value, uint8_t len);
void fg_is_not(struct fg_rule *r, enum fg_source source, uint8_t offset, const void *value, uint8_t len);
void fg_is8(struct fg_rule *r, enum fg_source source, uint8_t offset, uint8_t value);
void fg_is16(struct fg_rule *r, enum fg_source source, uint8_t offset, uint16_t value);
void fg_is_not16(struct fg_rule *r, enum fg_source source, uint8_t offset, uint16_t value);
/* (bits & mask) == value or, with FG_CMP_NEQ, !=.  A match of its own, whatever lies beside it. */
void fg_bits8(struct fg_rule *r, enum fg_source source, enum fg_cmp cmp, uint8_t offset, uint8_t mask, uint8_t value);
/* (bits & mask) == 0 or, with FG_CMP_NEQ, != 0 */
void fg_bits16(struct fg_rule *r, enum fg_source source, enum fg_cmp cmp, uint8_t offset, uint16_t mask);
void fg_bits32(struct fg_rule *r, enum fg_source source, enum fg_cmp cmp, uint8_t offset, uint32_t mask);
void fg_less16(struct fg_rule *r, enum fg_source source, uint8_t offset, uint16_t value);
/* bytes behind the Ethernet header, a tag that is held beside the frame not counted */
void fg_longer_than(struct fg_rule *r, uint32_t bytes);
void fg_shorter_than(struct fg_rule *r, uint32_t bytes);
void fg_drop(struct fg_rule *r, const char *reason);
void fg_pass(struct fg_rule *r, const char *reason);
void fg_goto(struct fg_rule *r, enum fg_chain_id to);

void fg_ruleset_ip4(const struct fg_filter_guest *g, const uint8_t mac[6], enum fg_dir dir, struct fg_ruleset *set);
void fg_ruleset_ip6(const struct fg_filter_guest *g, const uint8_t mac[6], enum fg_dir dir, struct fg_ruleset *set);
void fg_ruleset_ok(const struct fg_filter_guest *g, const uint8_t mac[6], enum fg_dir dir, struct fg_ruleset *set);

#endif
