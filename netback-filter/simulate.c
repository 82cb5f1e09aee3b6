/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The rules that isolate sends to the kernel, interpreted.  What is allowed stands in the rules alone. */
#include "packet.h"

#include <lib/util.h>

#include <string.h>

#define IFINDEX 1 /* any: rules and frames are on the same one */
#define NSEC_PER_SEC 1000000000ULL

/* net/netfilter/nft_limit.c, type packets: tokens are nanoseconds. */
struct bucket {
	const struct fg_rule *rule;
	uint64_t tokens, max, cost;
	int64_t last_ns;
};

struct fg_filter_sim {
	struct fg_ruleset set;
	uint8_t mac[6];
	struct bucket *buckets;
	size_t n_buckets;
};

static void add_buckets(struct fg_filter_sim *s, const struct fg_chain *chain)
{
	for (size_t i = 0; i < chain->n; i++) {
		const struct fg_rule *r = &chain->rules[i];
		if (!r->over_pps)
			continue;
		s->buckets = reallocarray(s->buckets, s->n_buckets + 1, sizeof(s->buckets[0]));
		if (!s->buckets)
			abort();
		struct bucket *b = &s->buckets[s->n_buckets++];
		b->rule = r;
		b->cost = NSEC_PER_SEC / r->over_pps;
		b->max = b->tokens = b->cost * fg_rule_burst(r->over_pps);
		b->last_ns = INT64_MIN;
	}
}

int fg_filter_sim_new(const struct fg_filter_guest *guest, struct fg_filter_sim **out, struct fg_error *err)
{
	int rc = fg_filter_guest_check(guest, err);

	if (rc < 0)
		return rc;
	for (size_t i = 1; i < guest->n_devs; i++)
		if (memcmp(guest->devs[i].mac, guest->devs[0].mac, 6) != 0)
			return fg_error_set(err, FG_EUSAGE,
					    "a capture is of one interface: %s and %s differ in their MAC",
					    guest->devs[0].name, guest->devs[i].name);
	if (guest->routed && !guest->closed)
		return fg_error_set(err, FG_EUSAGE,
				    "routed: give the MAC of the host's end of the NIC as that of server and gateway");
	struct fg_filter_sim *s = fg_calloc(1, sizeof(*s));
	memcpy(s->mac, guest->devs[0].mac, 6);
	fg_ruleset_build(guest, s->mac, IFINDEX, &s->set);
	for (int dir = 0; dir < FG_DIR_COUNT; dir++)
		for (int id = 0; id < FG_CHAIN_COUNT; id++)
			add_buckets(s, &s->set.chains[dir][id]);
	*out = s;
	return 0;
}

void fg_filter_sim_free(struct fg_filter_sim *s)
{
	if (!s)
		return;
	fg_ruleset_free(&s->set);
	free(s->buckets);
	free(s);
}

/* nft_limit_eval: true if the frame is over the rate.  Time that goes back stands still. */
static bool over_rate(struct fg_filter_sim *s, const struct fg_rule *r, int64_t now_ns)
{
	struct bucket *b = s->buckets;

	while (b->rule != r)
		b++;
	if (b->last_ns == INT64_MIN)
		b->last_ns = now_ns;
	if (now_ns > b->last_ns) {
		uint64_t gone = (uint64_t)now_ns - (uint64_t)b->last_ns;
		b->tokens = gone >= b->max - b->tokens ? b->max : b->tokens + gone;
		b->last_ns = now_ns;
	}
	if (b->tokens < b->cost)
		return true;
	b->tokens -= b->cost;
	return false;
}

static bool compare(const struct fg_match *m, const uint8_t *value)
{
	int d = memcmp(value, m->value, m->len); /* nft_cmp_eval */

	switch (m->cmp) {
	case FG_CMP_EQ:
		return d == 0;
	case FG_CMP_NEQ:
		return d != 0;
	case FG_CMP_GT:
		return d > 0;
	case FG_CMP_LT:
		return d < 0;
	}
	abort();
}

/* OK: all hold; NONE: one does not; CUT: cannot tell. */
static enum fg_load matches(const struct fg_rule *r, const struct fg_packet *p)
{
	for (size_t i = 0; i < r->n_match; i++) {
		const struct fg_match *m = &r->match[i];
		uint8_t value[16];
		enum fg_load load = fg_packet_load(p, m, value);
		if (load != FG_LOAD_OK)
			return load;
		for (size_t k = 0; m->masked && k < m->len; k++)
			value[k] &= m->mask[k];
		if (!compare(m, value))
			return FG_LOAD_NONE;
	}
	return FG_LOAD_OK;
}

static void evaluate(struct fg_filter_sim *s, struct fg_packet *p, int64_t time_ns, struct fg_filter_verdict *out)
{
	const struct fg_chain *chains = s->set.chains[p->dir];
	enum fg_chain_id id = FG_CHAIN_BASE;
	size_t i = 0;

	while (i < chains[id].n) {
		const struct fg_rule *r = &chains[id].rules[i++];
		enum fg_load hit = matches(r, p);
		if (hit == FG_LOAD_CUT) {
			out->outcome = FG_FILTER_CUT;
			out->reason = "capture-too-short";
			return;
		}
		if (hit == FG_LOAD_NONE || (r->over_pps && !over_rate(s, r, time_ns)))
			continue;
		if (r->rewrite) {
			memcpy(p->link, r->dmac, 6);
			memcpy(out->dmac, r->dmac, 6);
			out->rewritten = true;
		}
		if (r->verdict == FG_VERDICT_GOTO) {
			id = r->to;
			i = 0;
			continue;
		}
		out->outcome = r->verdict == FG_VERDICT_ACCEPT ? FG_FILTER_PASS : FG_FILTER_DROP;
		out->reason = r->reason ? r->reason : "";
		return;
	}
	out->outcome = FG_FILTER_DROP;
	out->reason = "policy";
}

void fg_filter_sim_frame(struct fg_filter_sim *s, enum fg_filter_direction direction,
			 const struct fg_filter_frame *frame, struct fg_filter_verdict *out)
{
	bool known = frame->captured >= 12;
	bool from = direction == FG_FILTER_FROM_GUEST ||
		    (direction == FG_FILTER_BY_SOURCE && known && memcmp(frame->bytes + 6, s->mac, 6) == 0);
	struct fg_packet p;

	memset(out, 0, sizeof(*out));
	out->direction = from ? FG_FILTER_FROM_GUEST : FG_FILTER_TO_GUEST;
	switch (fg_packet_init(&p, frame->bytes, frame->captured, frame->length,
			       from ? FG_DIR_FROM_GUEST : FG_DIR_TO_GUEST, IFINDEX)) {
	case FG_PACKET_SEEN:
		evaluate(s, &p, frame->time_ns, out);
		return;
	case FG_PACKET_UNSEEN:
		out->outcome = FG_FILTER_DROP;
		out->reason = "runt";
		return;
	case FG_PACKET_HEAD_CUT:
		out->outcome = FG_FILTER_CUT;
		out->reason = "capture-too-short";
		return;
	}
}
