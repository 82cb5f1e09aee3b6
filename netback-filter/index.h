/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Who holds what, kept in the kernel beside the chains it is about and changed in the same transactions, so that the chains of
 * one guest are found by name, without reading those of all others.  Chains without hook and rules; what they say is their comment:
 *
 *	guest-UUID	"devices 7 vif1.0 8 vif1.0-emu"		ifindex and label: the names of its chains follow from them
 *	guest-UUID-1	the devices for which the comment before had no room (that one ends with " more")
 *	dev-7		"guest UUID"				who has a hook on it
 *	fixgate-index	"28 chains"				so many are in the table, all of these included
 *
 * The last one is the proof: if the kernel's own count of the table's contents is another, somebody else changed the table, or a device
 * took its chains along; then everything is read, and the next change makes all of this anew.  docs/filter.md says why that is enough.
 *
 *	struct fg_index ix = { 0 };
 *	fg_index_targets(&ix, …) of each guest … -> fg_index_plan -> fg_index_free
 */
#ifndef FG_FILTER_INDEX_H
#define FG_FILTER_INDEX_H

#include "plan.h"

#define FG_INDEX_COUNT "fixgate-index" /* "index" alone is a word of nft(8) */

/* Is a chain without hook one of these, by its name?  Fills out; a comment that has no sense is no reason to keep it: nothing is found by
 * it, and it is replaced. */
bool fg_index_parse(const char *name, const char *comment, struct fg_index_entry *out);
void fg_index_guest_name(char out[FG_CHAIN_NAME_MAX], const char *uuid, unsigned place);
void fg_index_dev_name(char out[FG_CHAIN_NAME_MAX], uint32_t ifindex);

struct fg_index_device {
	uint32_t ifindex;
	char label[IFNAMSIZ];
};
#define FG_INDEX_ROOM 4 /* devices in one comment of 128 characters */
#define FG_INDEX_PLACES 128 /* comments of one guest at most */
/* The devices that a comment "devices …" names; false if it is none. */
bool fg_index_devices(const char *comment, struct fg_index_device out[FG_INDEX_ROOM], size_t *n, bool *more);

/* What the index has to say when the transaction is done. */
struct fg_index {
	struct fg_index_entry *wanted;
	size_t n, cap;
};
void fg_index_targets(struct fg_index *ix, const char *uuid, const struct fg_target *targets, size_t n);
/* The messages that make it so.  uuids, sorted: the guests that the transaction is about; what is said of others stays; where
 * everything was read it is compared with their chains and mended. Comes after all other messages that make or delete chains. */
void fg_index_plan(struct fg_batch *b, const struct fg_held *held, struct fg_index *ix, const char *const *uuids,
		   size_t n);
void fg_index_free(struct fg_index *ix);

/* How many chains are theirs or about them, and how much else is in the table, without what the index alone says. */
void fg_index_count(const struct fg_held *held, const char *const *uuids, size_t n, size_t *theirs, size_t *others);

#endif
