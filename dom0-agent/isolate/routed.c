/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "routed.h"

#include <netback-filter/link.h>

#include <string.h>

/* Is an address of the NIC routed to this netdev?  What cannot be asked is no route. */
static bool leads_to(const struct fg_nic *nic, uint32_t ifindex, int family, struct fg_ip *gateway)
{
	bool yes = false;

	for (size_t i = 0; i < nic->n_addresses; i++) {
		struct fg_reach_route route = { 0 };
		if (fg_reach_route(&nic->addresses[i], &route, NULL) < 0 || route.oif != ifindex ||
		    route.gateway.family)
			continue;
		yes = true;
		if (route.source.family == family)
			*gateway = route.source;
	}
	return yes;
}

int fg_routed_find(struct fg_netlink *route, const struct fg_guest *guest, int family, enum fg_routed *out,
		   struct fg_ip *gateway, struct fg_error *err)
{
	struct fg_ip found = { 0 };
	bool yes = false, no = false;

	for (size_t i = 0; i < guest->n_nics; i++) {
		const struct fg_nic *nic = &guest->nics[i];
		for (size_t k = 0; k < nic->n_netdevs && !no; k++) {
			struct fg_error gone = FG_ERROR_INIT;
			struct fg_link link;
			int rc = fg_link_get(route, nic->netdevs[k], &link, &gone);
			if (rc == -FG_ENOTFOUND)
				continue;
			if (rc < 0) {
				if (err && !err->code)
					*err = gone;
				return rc;
			}
			no |= link.master != 0;
			yes |= leads_to(nic, link.ifindex, family, &found);
		}
	}
	*out = no ? FG_ROUTED_NO : yes ? FG_ROUTED_YES : FG_ROUTED_UNKNOWN;
	if (*out == FG_ROUTED_YES)
		*gateway = found;
	return 0;
}

int fg_routed_plan(struct fg_netlink *route, const struct fg_guest *guest, const struct fg_filter_guest *mark,
		   struct fg_isolate_plan *plan, struct fg_error *err)
{
	struct fg_filter_guest *g = &plan->guest;
	struct fg_ip gateway = { 0 };
	enum fg_routed routed;

	if (g->closed)
		return 0;
	int rc = fg_routed_find(route, guest, plan->server.address.family, &routed, &gateway, err);
	if (rc < 0)
		return rc;
	if (routed == FG_ROUTED_UNKNOWN && mark && mark->routed) {
		routed = FG_ROUTED_YES;
		if (mark->n_gateways)
			gateway = mark->gateways[0].address;
	}
	if (routed != FG_ROUTED_YES)
		return 0;
	g->routed = true;
	memset(plan->server.mac, 0, sizeof(plan->server.mac));
	memset(plan->gateways, 0, sizeof(plan->gateways));
	g->n_gateways = gateway.family && !fg_ip_equal(&gateway, &plan->server.address);
	plan->gateways[0].address = gateway;
	return 0;
}
