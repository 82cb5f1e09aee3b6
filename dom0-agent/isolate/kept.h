/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What each guest was isolated with, while the agent runs: to compare with, and to install again. */
#ifndef FG_ISOLATE_KEPT_H
#define FG_ISOLATE_KEPT_H

#include "plan.h"

#include <sys/queue.h>

/* Its netdevs are kept by ifindex: a name may go to another guest's. */
struct fg_kept {
	LIST_ENTRY(fg_kept) link;
	struct fg_isolate_plan *plan;
	uint32_t ifindex[FG_FILTER_DEVS_MAX];
	int64_t since_ms; /* of the isolation; 0: before this process began */
};
LIST_HEAD(fg_kept_list, fg_kept);

/* NULL: none. */
struct fg_kept *fg_kept_of(const struct fg_kept_list *list, const char *uuid);
/* In the place of what the guest had; takes plan.  was_marked: before this process began, as far as is known. */
struct fg_kept *fg_keep(struct fg_kept_list *list, struct fg_isolate_plan *plan, bool was_marked);
void fg_kept_free(struct fg_kept *k); /* NULL is allowed */
/* Names are as they are now; netdevs that are gone are forgotten. */
void fg_kept_refresh(struct fg_kept *k);
void fg_kept_add(struct fg_kept *k, const struct fg_filter_dev *dev);
/* NULL: no such netdev. */
const uint8_t *fg_kept_mac(const struct fg_kept *k, uint32_t ifindex);

#endif
