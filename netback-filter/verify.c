/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "filter.h"

#include "plan.h"
#include "rule_nft.h"
#include "rules_dump.h"

#include <lib/util.h>

#include <errno.h>
#include <libnftnl/rule.h>
#include <string.h>

#define VERIFY_TRIES 1000 /* as READ_TRIES in held.c */

struct chain_check {
	const struct fg_chain *expected;
	enum fg_dir dir;
	enum fg_chain_id id;
	const char (*names)[FG_CHAIN_NAME_MAX];
	size_t seen;
	char difference[160];
};

static void describe(const struct fg_rule *r, size_t i, const char *what, char *out, size_t size)
{
	snprintf(out, size, "rule %zu%s%s%s %s", i + 1, r && r->reason ? " (" : "", r && r->reason ? r->reason : "",
		 r && r->reason ? ")" : "", what);
}

static void check_rule(struct nftnl_rule *rule, void *data)
{
	struct chain_check *c = data;
	size_t i = c->seen++;

	if (c->difference[0])
		return;
	if (i >= c->expected->n) {
		describe(NULL, i, "should not be there", c->difference, sizeof(c->difference));
		return;
	}
	if (!fg_rule_nft_equal(&c->expected->rules[i], c->dir, c->id, c->names, rule))
		describe(&c->expected->rules[i], i, "is missing or changed", c->difference, sizeof(c->difference));
}

/* 1 = differs (err says how), 0 = equal, negative errno = could not read. */
static int verify_chain(struct fg_filter *f, const struct fg_target *t, struct chain_check *c, struct fg_error *err)
{
	int rc = fg_rules_dump(&f->nft, c->names[c->id], check_rule, c);

	if (rc < 0)
		return rc;
	if (!c->difference[0] && c->seen < c->expected->n)
		describe(&c->expected->rules[c->seen], c->seen, "is missing", c->difference, sizeof(c->difference));
	if (!c->difference[0])
		return 0;
	fg_error_set(err, FG_EDIFFERS, "%s: chain %s: %s", t->name, c->names[c->id], c->difference);
	return 1;
}

/* The chains of one direction are those we would make, with hook, MAC and names. */
static bool chains_equal(const struct fg_held *held, const char *uuid, const struct fg_target *t, enum fg_dir dir,
			 const struct fg_ruleset *set, struct fg_error *err)
{
	bool exists[FG_CHAIN_COUNT] = { false };
	size_t n;
	const struct fg_held_chain *c = fg_held_guest(held, uuid, &n);
	const char *side = dir == FG_DIR_FROM_GUEST ? "ingress" : "egress";

	if (!t->reuse[dir]) {
		const struct fg_held_chain *base = fg_held_base(held, uuid, t->ifindex, dir);
		fg_error_set(err, FG_EDIFFERS, "%s: %s: %s", t->name, side,
			     !base			     ? "is not isolated"
			     : !base->hook_ok		     ? "priority or policy of the hook was changed"
			     : !fg_held_hooks(base, t->name) ? "the device was renamed and lost its hook"
							     : "isolated with another MAC");
		return false;
	}
	for (size_t i = 0; i < n; i++)
		if (c[i].ifindex == t->ifindex && c[i].dir == dir) {
			exists[c[i].id] = true;
			if (memcmp(c[i].mac, t->mac, 6) != 0 || strcmp(c[i].label, t->label[dir]) != 0)
				return fg_error_set(err, FG_EDIFFERS, "%s: chain %s is of another isolation", t->name,
						    c[i].name) == 0;
		}
	for (int id = 0; id < FG_CHAIN_COUNT; id++)
		if (exists[id] != (set->chains[dir][id].n > 0))
			return fg_error_set(err, FG_EDIFFERS, "%s: %s: chain %d %s", t->name, side, id,
					    exists[id] ? "should not be there" : "is missing") == 0;
	return true;
}

static int verify_target(struct fg_filter *f, const struct fg_held *held, const struct fg_filter_guest *guest,
			 const struct fg_target *t, struct fg_error *err)
{
	struct fg_ruleset set;
	int rc = 0;

	fg_plan_rules(guest, t, &set);
	for (int dir = 0; dir < FG_DIR_COUNT && rc == 0; dir++) {
		char names[FG_CHAIN_COUNT][FG_CHAIN_NAME_MAX];
		if (!chains_equal(held, guest->uuid, t, (enum fg_dir)dir, &set, err)) {
			rc = 1;
			break;
		}
		fg_plan_names(t, (enum fg_dir)dir, names);
		for (int id = 0; id < FG_CHAIN_COUNT && rc == 0; id++) {
			struct chain_check c = { .expected = &set.chains[dir][id],
						 .dir = (enum fg_dir)dir,
						 .id = (enum fg_chain_id)id,
						 .names = (const char(*)[FG_CHAIN_NAME_MAX])names };
			if (c.expected->n)
				rc = verify_chain(f, t, &c, err);
		}
	}
	fg_ruleset_free(&set);
	return rc;
}

/* As verify_chain; FG codes of fg_plan_targets come back in *rc_plan. */
static int verify_once(struct fg_filter *f, struct fg_held *held, const struct fg_filter_guest *guest, int *rc_plan,
		       struct fg_error *err)
{
	fg_autofree struct fg_target *targets = NULL;
	size_t n;
	int rc = 0;

	*rc_plan = fg_plan_targets(&f->route, held, guest, NULL, &targets, &n, err);
	if (*rc_plan < 0)
		return 1;
	if (held->dormant) {
		fg_error_set(err, FG_EDIFFERS, "table %s is dormant: no rule of it is at work", FG_FILTER_TABLE);
		return 1;
	}
	if (held->foreign[0]) {
		fg_error_set(err, FG_EDIFFERS, "chain %s in table %s is not ours", held->foreign, FG_FILTER_TABLE);
		return 1;
	}
	for (size_t i = 0; i < n && rc == 0; i++)
		rc = verify_target(f, held, guest, &targets[i], err);
	return rc;
}

int fg_filter_verify(struct fg_filter *f, const struct fg_filter_guest *guest, struct fg_error *err)
{
	bool all = false;
	int rc = fg_filter_guest_check(guest, err);

	if (rc < 0)
		return rc;
	for (int i = 0; i < VERIFY_TRIES; i++) {
		struct fg_error found = FG_ERROR_INIT;
		struct fg_held held;
		uint32_t before, after;
		int rc_plan = 0;
		const char *uuid = guest->uuid;
		rc = fg_held_read(&f->nft, all ? NULL : &uuid, 1, &held, &before, err);
		if (rc < 0)
			return rc;
		int differs = verify_once(f, &held, guest, &rc_plan, &found);
		bool doubtful = held.doubtful;
		all |= doubtful;
		fg_held_free(&held);
		rc = fg_netlink_generation(&f->nft, &after, err);
		if (rc < 0)
			return rc;
		if (differs == -EINTR || before != after || doubtful)
			continue;
		if (differs < 0)
			return fg_error_errno(err, FG_EUNREACHABLE, -differs, "cannot read the rules of nf_tables");
		if (differs == 0)
			return 0;
		if (err && !err->code)
			*err = found;
		fg_error_wrap(err, "guest %s", guest->uuid);
		return rc_plan < 0 ? rc_plan : -FG_EDIFFERS;
	}
	return fg_error_set(err, FG_EUNREACHABLE, "other programs keep changing nf_tables");
}
