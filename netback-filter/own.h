/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Was a change of nf_tables asked for by this filter?  Notifications carry the netlink port of who asked. */
#ifndef FG_FILTER_OWN_H
#define FG_FILTER_OWN_H

#include <fixgate/filter.h>

bool fg_filter_is_own(const struct fg_filter *f, uint32_t portid);

#endif
