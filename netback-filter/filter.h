/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Inside the library only. */
#ifndef FG_FILTER_FILTER_H
#define FG_FILTER_FILTER_H

#include "netlink.h"

#include <fixgate/filter.h>

struct fg_filter {
	struct fg_netlink nft, route;
};

/* As fg_filter_isolate for one guest; the first device keeps its filter when it is renamed to also (NULL = no rename). */
int fg_filter_arm(struct fg_filter *f, const struct fg_filter_guest *guest, const char *also,
		  struct fg_error *err) FG_MUST_CHECK;

#endif
