/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * From a guest and what the kernel holds to what has to be there and the messages that make it so.
 *
 * A guest's *targets* are the devices it is isolated on: those named in the request, and those it is isolated on already
 * that still exist.  So isolating again never takes a device out of the quarantine; only release does.
 */
#ifndef FG_FILTER_PLAN_H
#define FG_FILTER_PLAN_H

#include "held.h"

struct fg_target {
	char name[IFNAMSIZ]; /* now */
	char also[IFNAMSIZ]; /* the name it is about to get, or "" */
	uint32_t ifindex;
	uint8_t mac[6];
	uint8_t link[6]; /* of the host's end; zero where it is a port: somebody else is the guest's neighbour there */
	/* its chains of a direction stay and get other rules, or all are made anew; label: what they are named after */
	bool reuse[FG_DIR_COUNT];
	char label[FG_DIR_COUNT][IFNAMSIZ];
};

/* also: the name that the first device of the request is about to get, or NULL.
 * NOTFOUND, REFUSED as fg_filter_isolate. Caller frees *out with free. */
int fg_plan_targets(struct fg_netlink *route, struct fg_held *held, const struct fg_filter_guest *guest,
		    const char *also, struct fg_target **out, size_t *n, struct fg_error *err) FG_MUST_CHECK;
/* Its rules. Free with fg_ruleset_free. */
void fg_plan_rules(const struct fg_filter_guest *guest, const struct fg_target *t, struct fg_ruleset *out);
void fg_plan_names(const struct fg_target *t, enum fg_dir dir, char names[FG_CHAIN_COUNT][FG_CHAIN_NAME_MAX]);

void fg_plan_table(struct fg_batch *b);
void fg_plan_delete_table(struct fg_batch *b);
void fg_plan_delete_chain(struct fg_batch *b, const char *name);
void fg_plan_make_plain_chain(struct fg_batch *b, const char *name, const char *comment);
/* Takes the flag "dormant" off.  The kernel takes no new hook behind this in a batch, and warns about a hook that the same
 * batch deletes: hence fg_plan_hooks_go. */
void fg_plan_wake(struct fg_batch *b);
/* True if isolating deletes a hook of the guest. */
bool fg_plan_hooks_go(const struct fg_held *held, const struct fg_filter_guest *guest, const struct fg_target *targets,
		      size_t n);
void fg_plan_isolate(struct fg_batch *b, const struct fg_held *held, const struct fg_filter_guest *guest,
		     const struct fg_target *targets, size_t n);
/* Delete the chains of the guests. */
void fg_plan_release(struct fg_batch *b, const struct fg_held *held, const char *const *uuids, size_t n);

#endif
