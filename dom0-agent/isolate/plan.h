/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The quarantine of one guest: from what the toolstack and the routes say to what the filter is asked. */
#ifndef FG_ISOLATE_PLAN_H
#define FG_ISOLATE_PLAN_H

#include "dom0-agent/toolstack/toolstack.h"
#include "reach.h"

#include <fixgate/filter.h>

/* Room for one guest: FG_GUEST_NICS_MAX * FG_NIC_NETDEVS_MAX = FG_FILTER_DEVS_MAX. */
struct fg_isolate_plan {
	struct fg_filter_guest guest; /* points into what follows */
	struct fg_filter_dev devs[FG_FILTER_DEVS_MAX];
	struct fg_ip addresses[FG_FILTER_ADDRS_MAX];
	struct fg_filter_server server;
	struct fg_filter_gateway gateways[2];
};

typedef int fg_reach_fn(const struct fg_agent_config *config, const char *bridge, struct fg_reach *out,
			struct fg_error *err);

/* for_mark: one nameless device a NIC; else the netdevs that exist.  plan must not be moved. */
int fg_isolate_plan(const struct fg_agent_config *config, const struct fg_guest *guest, bool closed, bool for_mark,
		    fg_reach_fn *reach, struct fg_isolate_plan *plan, struct fg_error *err) FG_MUST_CHECK;

#endif
