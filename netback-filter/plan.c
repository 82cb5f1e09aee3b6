/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "plan.h"

#include "link.h"
#include "rule_nft.h"

#include <lib/util.h>

#include <libnftnl/chain.h>
#include <libnftnl/table.h>
#include <linux/netfilter/nf_tables.h>
#include <string.h>

static void add_target(const struct fg_held *held, const char *uuid, const struct fg_link *link, const uint8_t mac[6],
		       const char *also, struct fg_target *t)
{
	memset(t, 0, sizeof(*t));
	snprintf(t->also, sizeof(t->also), "%s", also ? also : "");
	memcpy(t->name, link->name, sizeof(t->name));
	t->ifindex = link->ifindex;
	memcpy(t->mac, mac, 6);
	if (!link->master && !(link->mac[0] & 1))
		memcpy(t->link, link->mac, 6);
	for (int dir = 0; dir < FG_DIR_COUNT; dir++) {
		const struct fg_held_chain *base = fg_held_base(held, uuid, t->ifindex, (enum fg_dir)dir);
		/* After a rename kernels before 6.16 name the hook as the device is now and keep it; later ones show
		 * the name the chain was made with and have taken the hook off. */
		t->reuse[dir] = base && base->hook_ok && fg_held_hooks(base, t->name) &&
				(!t->also[0] || fg_held_hooks(base, t->also)) && memcmp(base->mac, mac, 6) == 0;
		memcpy(t->label[dir], t->reuse[dir] ? base->label : t->name, IFNAMSIZ);
	}
}

static int named_target(struct fg_netlink *route, struct fg_held *held, const char *uuid,
			const struct fg_filter_dev *dev, const char *also, struct fg_target *out, struct fg_error *err)
{
	struct fg_link link;
	char other[37];
	int rc = fg_link_get(route, dev->name, &link, err);

	if (rc == 0)
		rc = fg_link_is_guests(&link, err);
	if (rc < 0)
		return rc;
	rc = fg_held_other(held, uuid, link.ifindex, other, err);
	if (rc < 0)
		return rc;
	if (other[0])
		return fg_error_set(err, FG_EREFUSED, "%s is isolated for guest %s: release that first", dev->name,
				    other);
	add_target(held, uuid, &link, dev->mac, also, out);
	return 0;
}

int fg_plan_targets(struct fg_netlink *route, struct fg_held *held, const struct fg_filter_guest *guest,
		    const char *also, struct fg_target **out, size_t *n_out, struct fg_error *err)
{
	size_t n_held, n = 0;
	const struct fg_held_chain *c = fg_held_guest(held, guest->uuid, &n_held);
	fg_autofree struct fg_target *t = fg_calloc(guest->n_devs + n_held, sizeof(*t));

	for (size_t i = 0; i < guest->n_devs; i++) {
		int rc = named_target(route, held, guest->uuid, &guest->devs[i], i == 0 ? also : NULL, &t[n], err);
		if (rc < 0)
			return rc;
		n++;
	}
	for (size_t i = 0; i < n_held; i++) {
		struct fg_error gone = FG_ERROR_INIT;
		struct fg_link link;
		size_t k = 0;
		while (k < n && t[k].ifindex != c[i].ifindex)
			k++;
		if (k < n || c[i].id != FG_CHAIN_BASE)
			continue;
		int rc = fg_link_get_index(route, c[i].ifindex, &link, &gone);
		if (rc == -FG_ENOTFOUND)
			continue;
		if (rc < 0) {
			if (err && !err->code)
				*err = gone;
			return rc;
		}
		add_target(held, guest->uuid, &link, c[i].mac, NULL, &t[n++]);
	}
	*out = FG_TAKE(t);
	*n_out = n;
	return 0;
}

void fg_plan_rules(const struct fg_filter_guest *guest, const struct fg_target *t, struct fg_ruleset *out)
{
	struct fg_filter_server servers[FG_FILTER_SERVERS_MAX];
	struct fg_filter_gateway gateways[FG_FILTER_GATEWAYS_MAX];
	struct fg_filter_guest g = *guest;

	if (g.routed && !g.closed) {
		for (size_t i = 0; i < g.n_servers; i++) {
			servers[i] = guest->servers[i];
			memcpy(servers[i].mac, t->link, 6);
		}
		for (size_t i = 0; i < g.n_gateways; i++) {
			gateways[i] = guest->gateways[i];
			memcpy(gateways[i].mac, t->link, 6);
		}
		g.servers = servers;
		g.gateways = gateways;
	}
	fg_ruleset_build(&g, t->mac, t->ifindex, out);
}

void fg_plan_names(const struct fg_target *t, enum fg_dir dir, char names[FG_CHAIN_COUNT][FG_CHAIN_NAME_MAX])
{
	for (int id = 0; id < FG_CHAIN_COUNT; id++)
		fg_chain_name(names[id], dir, t->label[dir], t->ifindex, (enum fg_chain_id)id);
}

void fg_plan_table(struct fg_batch *b)
{
	struct nftnl_table *t = nftnl_table_alloc();

	if (!t)
		abort();
	nftnl_table_set_str(t, NFTNL_TABLE_NAME, FG_FILTER_TABLE);
	struct nlmsghdr *nlh = fg_batch_msg(b, NFT_MSG_NEWTABLE, NLM_F_CREATE);
	nftnl_table_nlmsg_build_payload(nlh, t);
	fg_batch_add(b, nlh);
	nftnl_table_free(t);
}

void fg_plan_wake(struct fg_batch *b)
{
	struct nlmsghdr *nlh = fg_batch_msg(b, NFT_MSG_NEWTABLE, 0);

	mnl_attr_put_strz(nlh, NFTA_TABLE_NAME, FG_FILTER_TABLE);
	mnl_attr_put_u32(nlh, NFTA_TABLE_FLAGS, 0);
	fg_batch_add(b, nlh);
}

void fg_plan_delete_table(struct fg_batch *b)
{
	struct nlmsghdr *nlh = fg_batch_msg(b, NFT_MSG_DELTABLE, 0);

	mnl_attr_put_strz(nlh, NFTA_TABLE_NAME, FG_FILTER_TABLE);
	fg_batch_add(b, nlh);
}

void fg_plan_delete_chain(struct fg_batch *b, const char *name)
{
	struct nlmsghdr *nlh = fg_batch_msg(b, NFT_MSG_DELCHAIN, 0);

	mnl_attr_put_strz(nlh, NFTA_CHAIN_TABLE, FG_FILTER_TABLE);
	mnl_attr_put_strz(nlh, NFTA_CHAIN_NAME, name);
	fg_batch_add(b, nlh);
	b->chains--;
}

static void flush_chain(struct fg_batch *b, const char *name)
{
	struct nlmsghdr *nlh = fg_batch_msg(b, NFT_MSG_DELRULE, 0);

	mnl_attr_put_strz(nlh, NFTA_RULE_TABLE, FG_FILTER_TABLE);
	mnl_attr_put_strz(nlh, NFTA_RULE_CHAIN, name);
	fg_batch_add(b, nlh);
}

static void make_chain(struct fg_batch *b, struct nftnl_chain *chain)
{
	struct nlmsghdr *nlh = fg_batch_msg(b, NFT_MSG_NEWCHAIN, NLM_F_CREATE | NLM_F_EXCL);

	nftnl_chain_nlmsg_build_payload(nlh, chain);
	fg_batch_add(b, nlh);
	nftnl_chain_free(chain);
	b->chains++;
}

void fg_plan_make_plain_chain(struct fg_batch *b, const char *name, const char *comment)
{
	make_chain(b, fg_chain_to_nft(name, FG_DIR_FROM_GUEST, NULL, "", comment));
}

static const struct fg_target *target_of(const struct fg_held_chain *c, const struct fg_target *targets, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (targets[i].ifindex == c->ifindex)
			return &targets[i];
	return NULL;
}

static bool stays(const struct fg_held_chain *c, const struct fg_target *t)
{
	return t && t->reuse[c->dir] && strcmp(t->label[c->dir], c->label) == 0;
}

bool fg_plan_hooks_go(const struct fg_held *held, const struct fg_filter_guest *guest, const struct fg_target *targets,
		      size_t n)
{
	size_t n_held;
	const struct fg_held_chain *c = fg_held_guest(held, guest->uuid, &n_held);

	for (size_t i = 0; i < n_held; i++)
		if (c[i].id == FG_CHAIN_BASE && !stays(&c[i], target_of(&c[i], targets, n)))
			return true;
	return false;
}

/* New chains and all rules of one direction; exists: the chains that stayed, now empty. */
static void fill(struct fg_batch *b, const char *uuid, const struct fg_target *t, enum fg_dir dir,
		 const struct fg_ruleset *set, const bool exists[FG_CHAIN_COUNT])
{
	char names[FG_CHAIN_COUNT][FG_CHAIN_NAME_MAX], comment[FG_CHAIN_COMMENT_MAX];

	fg_plan_names(t, dir, names);
	fg_held_comment(comment, uuid, t->mac, t->label[dir], t->ifindex);
	for (int id = 0; id < FG_CHAIN_COUNT; id++) {
		bool wanted = set->chains[dir][id].n > 0;
		if (wanted && !exists[id])
			make_chain(b, fg_chain_to_nft(names[id], dir, id == FG_CHAIN_BASE ? t->name : NULL, t->also,
						      comment));
		else if (!wanted && exists[id])
			fg_plan_delete_chain(b, names[id]);
	}
	/* A chain is filled before one that goes to it, so nothing ever leads into an empty chain. */
	for (int id = FG_CHAIN_COUNT - 1; id >= 0; id--)
		for (size_t i = 0; i < set->chains[dir][id].n; i++) {
			struct nlmsghdr *nlh = fg_batch_msg(b, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND);
			fg_rule_put(nlh, &set->chains[dir][id].rules[i], dir, (enum fg_chain_id)id,
				    (const char(*)[FG_CHAIN_NAME_MAX])names);
			fg_batch_add(b, nlh);
		}
}

void fg_plan_isolate(struct fg_batch *b, const struct fg_held *held, const struct fg_filter_guest *guest,
		     const struct fg_target *targets, size_t n)
{
	size_t n_held;
	const struct fg_held_chain *c = fg_held_guest(held, guest->uuid, &n_held);

	for (size_t i = 0; i < n_held; i++) {
		if (stays(&c[i], target_of(&c[i], targets, n)))
			flush_chain(b, c[i].name);
		else
			fg_plan_delete_chain(b, c[i].name);
	}
	for (size_t k = 0; k < n; k++) {
		struct fg_ruleset set;
		fg_plan_rules(guest, &targets[k], &set);
		for (int dir = 0; dir < FG_DIR_COUNT; dir++) {
			bool exists[FG_CHAIN_COUNT] = { false };
			for (size_t i = 0; i < n_held; i++)
				if (c[i].ifindex == targets[k].ifindex && (int)c[i].dir == dir &&
				    stays(&c[i], &targets[k]))
					exists[c[i].id] = true;
			fill(b, guest->uuid, &targets[k], (enum fg_dir)dir, &set, exists);
		}
		fg_ruleset_free(&set);
	}
}

void fg_plan_release(struct fg_batch *b, const struct fg_held *held, const char *const *uuids, size_t n)
{
	size_t n_held;

	for (size_t i = 0; i < n; i++) {
		const struct fg_held_chain *c = fg_held_guest(held, uuids[i], &n_held);
		for (size_t k = 0; k < n_held; k++)
			fg_plan_delete_chain(b, c[k].name);
	}
}
