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

#define FG_CHAIN_COMMENT_MAX 129

/* A chain of the index (index.h): it says who holds what. */
struct fg_index_entry {
	char name[FG_CHAIN_NAME_MAX];
	char comment[FG_CHAIN_COMMENT_MAX];
	char uuid[37]; /* whom it is about, "" of the count */
	uint32_t chains; /* of the count */
};

struct fg_held {
	struct fg_netlink *nft; /* where only a part was read: the rest can be asked for */
	bool table; /* there is a table fixgate */
	bool dormant; /* and it is switched off: no chain of it sees a frame */
	struct fg_held_chain *chains;
	size_t n, cap;
	struct fg_held_chain **by_index; /* the base chains, sorted by ifindex */
	size_t n_base;
	char foreign[FG_CHAIN_NAME_MAX]; /* a chain in our table that is not ours, "" if none */
	uint32_t use; /* chains, sets and so on in the table, as the kernel counts them */
	struct fg_index_entry *entries; /* of the guests that were read, sorted by name; without the count */
	size_t n_entries, cap_entries;
	bool counted; /* the index has a count, and this is it */
	uint32_t count;
	bool doubtful; /* what was read by the index cannot be: read everything */
};

/*
 * A consistent picture of one generation; retried while others change the ruleset. Free with fg_held_free.
 * uuids: these guests are enough; their chains are found by the index where that is right and is less to read.  NULL: everything.
 */
int fg_held_read(struct fg_netlink *nft, const char *const *uuids, size_t n, struct fg_held *out, uint32_t *generation,
		 struct fg_error *err) FG_MUST_CHECK;
void fg_held_free(struct fg_held *held);

/* The chains of a guest: first one and count (0 if none). */
const struct fg_held_chain *fg_held_guest(const struct fg_held *held, const char *uuid, size_t *n);
/* The base chain of a guest on a device, or NULL. */
const struct fg_held_chain *fg_held_base(const struct fg_held *held, const char *uuid, uint32_t ifindex,
					 enum fg_dir dir);
/* Does another guest than uuid have a base chain on a device?  other: its UUID, "" if none.  Asks the kernel where only a part was
 * read; then sets doubtful if the answers do not fit. */
int fg_held_other(struct fg_held *held, const char *uuid, uint32_t ifindex, char other[37],
		  struct fg_error *err) FG_MUST_CHECK;

/* True if the chain's hook is for a device of that name. */
bool fg_held_hooks(const struct fg_held_chain *chain, const char *name);

/* The comment that fg_held_read understands. */
void fg_held_comment(char out[FG_CHAIN_COMMENT_MAX], const char *uuid, const uint8_t mac[6], const char *label,
		     uint32_t ifindex);

#endif
