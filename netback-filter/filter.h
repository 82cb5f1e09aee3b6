/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Inside the library only. */
#ifndef FG_FILTER_FILTER_H
#define FG_FILTER_FILTER_H

#include "netlink.h"

#include <fixgate/filter.h>

struct fg_filter {
	struct fg_netlink nft, route;
};

#endif
