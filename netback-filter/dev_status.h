/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a status says of one device, as it is put together from the rules of its chains.
 *
 * fg_dev_status_add for each device, then fg_dev_status_count for each rule of it; fg_filter_status_free gives back all.
 */
#ifndef FG_DEV_STATUS_H
#define FG_DEV_STATUS_H

#include "rule.h"

#include <fixgate/filter.h>

struct nftnl_rule;

/* A device that has no counter yet; good until the next one is added. */
struct fg_filter_dev_status *fg_dev_status_add(struct fg_filter_status *guest, const char *name);
/* Adds what the rule has counted to that of its reason.  A rule without a counter or a reason counts nothing. */
void fg_dev_status_count(struct fg_filter_dev_status *dev, enum fg_dir dir, struct nftnl_rule *rule);

#endif
