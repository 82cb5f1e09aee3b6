/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Does dom0 route for a guest (vif-route), so that dom0's end of its NIC is its only neighbour?
 * Seen by the kernel: no netdev of the guest is a port of a bridge or switch, and dom0's route to an address of the guest
 * leads to one.  What the definition says of a bridge is not asked: libxl names xenbr0 for all.  Before the hot-plug script has
 * run, and while the guest is off, there is no route: then it is not known, and an earlier answer stands.
 */
#ifndef FG_ISOLATE_ROUTED_H
#define FG_ISOLATE_ROUTED_H

#include "plan.h"

#include <netback-filter/netlink.h>

enum fg_routed { FG_ROUTED_UNKNOWN, FG_ROUTED_NO, FG_ROUTED_YES };

/* family: of the server. gateway: dom0's address as the guest's route has it, where the answer is yes; family 0: none. */
int fg_routed_find(struct fg_netlink *route, const struct fg_guest *guest, int family, enum fg_routed *out,
		   struct fg_ip *gateway, struct fg_error *err) FG_MUST_CHECK;

/* Completes a plan.  mark: what is marked already, or NULL. */
int fg_routed_plan(struct fg_netlink *route, const struct fg_guest *guest, const struct fg_filter_guest *mark,
		   struct fg_isolate_plan *plan, struct fg_error *err) FG_MUST_CHECK;

#endif
