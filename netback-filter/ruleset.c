/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ruleset.h"

#include <lib/util.h>

#include <arpa/inet.h>
#include <ctype.h>
#include <net/ethernet.h>
#include <net/if_arp.h>
#include <netinet/in.h>
#include <string.h>

const uint8_t fg_mac_broadcast[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

bool fg_mac_known(const uint8_t mac[6])
{
	static const uint8_t zero[6];

	return memcmp(mac, zero, 6) != 0;
}

#define RULES_MORE 8 /* most chains have fewer: a command pays for each page of memory that it touches first */

struct fg_rule *fg_rule_bare(struct fg_ruleset *set, enum fg_dir dir, enum fg_chain_id id)
{
	struct fg_chain *c = &set->chains[dir][id];

	if (c->n % RULES_MORE == 0) {
		struct fg_rule *more = reallocarray(c->rules, c->n + RULES_MORE, sizeof(*more));
		if (!more)
			abort();
		c->rules = more;
	}
	struct fg_rule *r = &c->rules[c->n++];
	memset(r, 0, sizeof(*r));
	r->dir = dir;
	return r;
}

static struct fg_match *append(struct fg_rule *r, enum fg_source source, const void *value, uint8_t len)
{
	if (r->n_match == FG_RULE_MATCHES_MAX || len > sizeof(r->match[0].value))
		abort();
	struct fg_match *m = &r->match[r->n_match++];
	m->source = source;
	m->len = len;
	memcpy(m->value, value, len);
	return m;
}

void fg_protocol(struct fg_rule *r, uint16_t ethertype)
{
	uint16_t be = htons(ethertype);

	append(r, FG_SRC_PROTOCOL, &be, 2);
}

struct fg_rule *fg_rule_add(struct fg_ruleset *set, enum fg_dir dir, enum fg_chain_id id)
{
	static const uint16_t protocols[FG_CHAIN_COUNT] = { [FG_CHAIN_ARP] = ETHERTYPE_ARP,
							    [FG_CHAIN_IP4] = ETHERTYPE_IP,
							    [FG_CHAIN_IP6] = ETHERTYPE_IPV6,
							    [FG_CHAIN_ND] = ETHERTYPE_IPV6 };
	static const uint8_t icmpv6 = IPPROTO_ICMPV6;
	struct fg_rule *r = fg_rule_bare(set, dir, id);

	if (protocols[id])
		fg_protocol(r, protocols[id]);
	if (id == FG_CHAIN_ND)
		append(r, FG_SRC_L4PROTO, &icmpv6, 1);
	return r;
}

/* Neighbouring fields are read in one piece: each expression costs the kernel, and nft(8) prints them one by one all the same.
 * Not of the Ethernet header: to the guest nft has no names for its fields. */
static bool extend(struct fg_rule *r, enum fg_source source, enum fg_cmp cmp, uint8_t offset, const void *value,
		   uint8_t len)
{
	struct fg_match *last = r->n_match ? &r->match[r->n_match - 1] : NULL;

	if (!last || source != FG_SRC_NET || last->source != source || cmp != FG_CMP_EQ || last->cmp != cmp ||
	    last->masked || last->offset + last->len != offset || last->len + len > (int)sizeof(last->value))
		return false;
	memcpy(last->value + last->len, value, len);
	last->len = (uint8_t)(last->len + len);
	return true;
}

/* Let nft(8) print Ethernet fields by name.  It knows no such hint for the way out, where there is no input device. */
static struct fg_match *add_match(struct fg_rule *r, enum fg_source source, enum fg_cmp cmp, uint8_t offset,
				  const void *value, uint8_t len)
{
	static const uint16_t ethernet = ARPHRD_ETHER;
	bool typed = source != FG_SRC_LINK || r->dir != FG_DIR_FROM_GUEST;

	for (size_t i = 0; i < r->n_match; i++)
		typed |= r->match[i].source == FG_SRC_IFTYPE;
	if (!typed)
		append(r, FG_SRC_IFTYPE, &ethernet, 2);
	struct fg_match *m = append(r, source, value, len);
	m->cmp = cmp;
	m->offset = offset;
	return m;
}

void fg_is(struct fg_rule *r, enum fg_source source, uint8_t offset, const void *value, uint8_t len)
{
	if (!extend(r, source, FG_CMP_EQ, offset, value, len))
		add_match(r, source, FG_CMP_EQ, offset, value, len);
}

void fg_is_not(struct fg_rule *r, enum fg_source source, uint8_t offset, const void *value, uint8_t len)
{
	add_match(r, source, FG_CMP_NEQ, offset, value, len);
}

void fg_is8(struct fg_rule *r, enum fg_source source, uint8_t offset, uint8_t value)
{
	fg_is(r, source, offset, &value, 1);
}

void fg_is16(struct fg_rule *r, enum fg_source source, uint8_t offset, uint16_t value)
{
	uint16_t be = htons(value);

	fg_is(r, source, offset, &be, 2);
}

void fg_is_not16(struct fg_rule *r, enum fg_source source, uint8_t offset, uint16_t value)
{
	uint16_t be = htons(value);

	fg_is_not(r, source, offset, &be, 2);
}

void fg_bits8(struct fg_rule *r, enum fg_source source, enum fg_cmp cmp, uint8_t offset, uint8_t mask, uint8_t value)
{
	struct fg_match *m = add_match(r, source, cmp, offset, &value, 1);

	m->masked = true;
	m->mask[0] = mask;
}

void fg_bits16(struct fg_rule *r, enum fg_source source, enum fg_cmp cmp, uint8_t offset, uint16_t mask)
{
	uint16_t be = htons(mask), zero = 0;
	struct fg_match *m = add_match(r, source, cmp, offset, &zero, 2);

	m->masked = true;
	memcpy(m->mask, &be, 2);
}

void fg_bits32(struct fg_rule *r, enum fg_source source, enum fg_cmp cmp, uint8_t offset, uint32_t mask)
{
	uint32_t be = htonl(mask), zero = 0;
	struct fg_match *m = add_match(r, source, cmp, offset, &zero, 4);

	m->masked = true;
	memcpy(m->mask, &be, 4);
}

/* The kernel's length is turned to network order before it is compared. To the guest it counts the Ethernet header. */
static void length(struct fg_rule *r, enum fg_cmp cmp, uint32_t bytes)
{
	uint32_t be = htonl(bytes + (r->dir == FG_DIR_FROM_GUEST ? 0 : ETHER_HDR_LEN));

	add_match(r, FG_SRC_LENGTH, cmp, 0, &be, 4);
}

void fg_longer_than(struct fg_rule *r, uint32_t bytes)
{
	length(r, FG_CMP_GT, bytes);
}

void fg_shorter_than(struct fg_rule *r, uint32_t bytes)
{
	length(r, FG_CMP_LT, bytes);
}

void fg_less16(struct fg_rule *r, enum fg_source source, uint8_t offset, uint16_t value)
{
	uint16_t be = htons(value);

	add_match(r, source, FG_CMP_LT, offset, &be, 2);
}

void fg_drop(struct fg_rule *r, const char *reason)
{
	r->verdict = FG_VERDICT_DROP;
	r->reason = reason;
}

void fg_pass(struct fg_rule *r, const char *reason)
{
	r->verdict = FG_VERDICT_ACCEPT;
	r->reason = reason;
}

void fg_goto(struct fg_rule *r, enum fg_chain_id to)
{
	r->verdict = FG_VERDICT_GOTO;
	r->to = to;
}

/* The MAC that frames to a server must carry: its own, else the gateway's of its family, else unknown (zero). */
void fg_server_link(const struct fg_filter_guest *g, const struct fg_filter_server *s, uint8_t out[6])
{
	memcpy(out, s->mac, 6);
	for (size_t i = 0; i < g->n_gateways && !fg_mac_known(out); i++)
		if (g->gateways[i].address.family == s->address.family)
			memcpy(out, g->gateways[i].mac, 6);
}

bool fg_same_ip(const struct fg_ip *a, const struct fg_ip *b)
{
	if (a->family != b->family)
		return false;
	return a->family == AF_INET ? a->v4.s_addr == b->v4.s_addr : IN6_ARE_ADDR_EQUAL(&a->v6, &b->v6);
}

static void add_peer(struct fg_peer *peers, size_t *n, const struct fg_ip *address, const uint8_t mac[6])
{
	for (size_t i = 0; i < *n; i++)
		if (fg_same_ip(&peers[i].address, address)) {
			if (!fg_mac_known(peers[i].mac))
				memcpy(peers[i].mac, mac, 6);
			return;
		}
	peers[*n].address = *address;
	memcpy(peers[*n].mac, mac, 6);
	(*n)++;
}

struct in6_addr fg_link_local(const uint8_t mac[6])
{
	struct in6_addr a = { 0 };

	a.s6_addr[0] = 0xfe; /* RFC 4291, 2.5.6 and appendix A */
	a.s6_addr[1] = 0x80;
	a.s6_addr[8] = mac[0] ^ 2;
	memcpy(&a.s6_addr[9], &mac[1], 2);
	a.s6_addr[11] = 0xff;
	a.s6_addr[12] = 0xfe;
	memcpy(&a.s6_addr[13], &mac[3], 3);
	return a;
}

struct in6_addr fg_solicited_node(const struct in6_addr *a)
{
	struct in6_addr sn = { .s6_addr = { 0xff, 0x02, [11] = 1, [12] = 0xff } }; /* RFC 4291, 2.7.1 */

	memcpy(&sn.s6_addr[13], &a->s6_addr[13], 3);
	return sn;
}

/* Servers and gateways of a family; for IPv6 also their link-local addresses, from which Linux probes its neighbours. */
size_t fg_peers(const struct fg_filter_guest *g, int family, struct fg_peer out[FG_PEERS_MAX])
{
	size_t n = 0;
	uint8_t link[6];

	for (size_t i = 0; i < g->n_servers; i++) {
		if (g->servers[i].address.family != family)
			continue;
		fg_server_link(g, &g->servers[i], link);
		add_peer(out, &n, &g->servers[i].address, link);
	}
	for (size_t i = 0; i < g->n_gateways; i++)
		if (g->gateways[i].address.family == family)
			add_peer(out, &n, &g->gateways[i].address, g->gateways[i].mac);
	if (family != AF_INET6)
		return n;
	for (size_t i = 0, named = n; i < named; i++) {
		if (!fg_mac_known(out[i].mac))
			continue;
		struct fg_ip local = { .family = AF_INET6, .v6 = fg_link_local(out[i].mac) };
		add_peer(out, &n, &local, out[i].mac);
	}
	return n;
}

/* The hook's chain: is it this netdev, what kind of frame. */
static void build_base(struct fg_ruleset *set, enum fg_dir dir, uint32_t ifindex, const uint8_t mac[6], const bool *has)
{
	static const struct {
		uint16_t type;
		enum fg_chain_id to;
	} kinds[] = { { ETHERTYPE_IP, FG_CHAIN_IP4 },
		      { ETHERTYPE_IPV6, FG_CHAIN_IP6 },
		      { ETHERTYPE_ARP, FG_CHAIN_ARP } };
	static const uint16_t tags[] = { 0x8100, 0x88a8 }; /* IEEE 802.1Q, 802.1ad */
	struct fg_rule *r = fg_rule_add(set, dir, FG_CHAIN_BASE);

	/* Kernels from 6.16 on bind a chain to the device *name*: a new device of that name must not inherit it. */
	fg_is_not(r, FG_SRC_IFINDEX, 0, &ifindex, 4);
	fg_pass(r, NULL);
	if (!has) {
		fg_drop(fg_rule_add(set, dir, FG_CHAIN_BASE), "closed");
		return;
	}
	if (dir == FG_DIR_FROM_GUEST) {
		r = fg_rule_add(set, dir, FG_CHAIN_BASE);
		fg_is_not(r, FG_SRC_LINK, 6, mac, 6);
		fg_drop(r, "spoofed-mac");
	}
	for (size_t i = 0; i < FG_COUNT(kinds); i++) {
		r = fg_rule_add(set, dir, FG_CHAIN_BASE);
		fg_is16(r, FG_SRC_LINK, 12, kinds[i].type);
		if (has[kinds[i].to])
			fg_goto(r, kinds[i].to);
		else
			fg_drop(r, "family");
	}
	for (size_t i = 0; i < FG_COUNT(tags); i++) {
		r = fg_rule_add(set, dir, FG_CHAIN_BASE);
		fg_is16(r, FG_SRC_LINK, 12, tags[i]);
		fg_drop(r, "vlan");
	}
	fg_drop(fg_rule_bare(set, dir, FG_CHAIN_BASE), "ethertype");
}

void fg_ruleset_build(const struct fg_filter_guest *guest, const uint8_t mac[6], uint32_t ifindex,
		      struct fg_ruleset *out)
{
	bool has[FG_CHAIN_COUNT] = { false };

	memset(out, 0, sizeof(*out));
	for (size_t i = 0; i < guest->n_servers && !guest->closed; i++)
		if (guest->servers[i].address.family == AF_INET)
			has[FG_CHAIN_IP4] = has[FG_CHAIN_ARP] = true;
		else
			has[FG_CHAIN_IP6] = true;
	for (int dir = 0; dir < FG_DIR_COUNT; dir++) {
		build_base(out, (enum fg_dir)dir, ifindex, mac, guest->closed ? NULL : has);
		if (has[FG_CHAIN_IP4])
			fg_ruleset_ip4(guest, mac, (enum fg_dir)dir, out);
		if (has[FG_CHAIN_IP6])
			fg_ruleset_ip6(guest, mac, (enum fg_dir)dir, out);
		if (!guest->closed)
			fg_ruleset_ok(guest, mac, (enum fg_dir)dir, out);
	}
}

void fg_ruleset_free(struct fg_ruleset *set)
{
	for (int dir = 0; dir < FG_DIR_COUNT; dir++)
		for (int id = 0; id < FG_CHAIN_COUNT; id++)
			free(set->chains[dir][id].rules);
	memset(set, 0, sizeof(*set));
}

void fg_chain_name(char out[FG_CHAIN_NAME_MAX], enum fg_dir dir, const char *dev, uint32_t ifindex, enum fg_chain_id id)
{
	static const char *const suffix[] = {
#define X(name, text) text,
		FG_CHAIN_LIST(X)
#undef X
	};
	char safe[IFNAMSIZ];
	size_t n = 0;

	/* nft's own grammar for identifiers, so that an administrator can name the chain on nft's command line */
	for (; n < sizeof(safe) - 1 && dev[n]; n++)
		safe[n] = isalnum((unsigned char)dev[n]) || strchr("-_.", dev[n]) ? dev[n] : '_';
	safe[n] = '\0';
	snprintf(out, FG_CHAIN_NAME_MAX, "%s-%s-%u%s", dir == FG_DIR_FROM_GUEST ? "in" : "out", safe, ifindex,
		 suffix[id]);
}

uint32_t fg_rule_burst(uint32_t pps)
{
	return pps / 10 > 64 ? pps / 10 : 64;
}
