/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the kernel holds of ours: the chains of table netdev fixgate.  Each chain's comment says whose it is.
 * Sorted by UUID, then ifindex, direction and part, so a guest's chains and a device's chains lie together.
 */
#ifndef FG_FILTER_HELD_H
#define FG_FILTER_HELD_H

#include "netlink.h"
#include "rule.h"

struct fg_held_chain {
	char name[FG_CHAIN_NAME_MAX];
	char uuid[37];
	uint8_t mac[6];
	uint32_t ifindex;
	char label[IFNAMSIZ]; /* the device's name when the chain was made: part of the chain's name */
	char dev[2][IFNAMSIZ]; /* the device names the hook is for now, "" = none */
	enum fg_dir dir;
	enum fg_chain_id id;
	bool hook_ok; /* of a base chain: priority and policy as we make them */
};

struct fg_held {
	bool table; /* there is a table fixgate */
	bool dormant; /* and it is switched off: no chain of it sees a frame */
	struct fg_held_chain *chains;
	size_t n, cap;
	struct fg_held_chain **by_index; /* the base chains, sorted by ifindex */
	size_t n_base;
	char foreign[FG_CHAIN_NAME_MAX]; /* a chain in our table that is not ours, "" if none */
};

/* A consistent picture of one generation; retried while others change the ruleset. Free with fg_held_free. */
int fg_held_read(struct fg_netlink *nft, struct fg_held *out, uint32_t *generation, struct fg_error *err) FG_MUST_CHECK;
void fg_held_free(struct fg_held *held);

/* The chains of a guest: first one and count (0 if none). */
const struct fg_held_chain *fg_held_guest(const struct fg_held *held, const char *uuid, size_t *n);
/* The base chain of a guest on a device, or NULL. */
const struct fg_held_chain *fg_held_base(const struct fg_held *held, const char *uuid, uint32_t ifindex,
					 enum fg_dir dir);
/* A base chain that another guest than uuid has on a device, or NULL. */
const struct fg_held_chain *fg_held_other(const struct fg_held *held, const char *uuid, uint32_t ifindex);

/* True if the chain's hook is for a device of that name. */
bool fg_held_hooks(const struct fg_held_chain *chain, const char *name);

/* The comment that fg_held_read understands. */
#define FG_CHAIN_COMMENT_MAX 129
void fg_held_comment(char out[FG_CHAIN_COMMENT_MAX], const char *uuid, const uint8_t mac[6], const char *label,
		     uint32_t ifindex);

#endif
