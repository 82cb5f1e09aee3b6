/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "plan.h"

#include <stdio.h>
#include <string.h>

static int add_dev(struct fg_isolate_plan *plan, const char *name, const uint8_t mac[6], struct fg_error *err)
{
	struct fg_filter_guest *g = &plan->guest;

	if (g->n_devs == FG_FILTER_DEVS_MAX)
		return fg_error_set(err, FG_ELIMIT, "the guest has more than %d network devices", FG_FILTER_DEVS_MAX);
	struct fg_filter_dev *dev = &plan->devs[g->n_devs++];
	snprintf(dev->name, sizeof(dev->name), "%s", name);
	memcpy(dev->mac, mac, 6);
	return 0;
}

static int add_nic(struct fg_isolate_plan *plan, const struct fg_nic *nic, bool for_mark, struct fg_error *err)
{
	struct fg_filter_guest *g = &plan->guest;
	int rc = for_mark ? add_dev(plan, "", nic->mac, err) : 0;

	for (size_t i = 0; rc == 0 && !for_mark && i < nic->n_netdevs; i++)
		rc = add_dev(plan, nic->netdevs[i], nic->mac, err);
	for (size_t i = 0; rc == 0 && i < nic->n_addresses; i++) {
		if (g->n_addresses == FG_FILTER_ADDRS_MAX)
			return fg_error_set(err, FG_ELIMIT, "the guest has more than %d addresses",
					    FG_FILTER_ADDRS_MAX);
		plan->addresses[g->n_addresses++] = nic->addresses[i];
	}
	return rc;
}

static const struct fg_nic *first_bridged(const struct fg_guest *guest)
{
	for (size_t i = 0; i < guest->n_nics; i++)
		if (guest->nics[i].bridge[0])
			return &guest->nics[i];
	return NULL;
}

/* A NIC whose addresses are not known leaves those of the others out too: they would cut its own off. */
static bool all_addresses_known(const struct fg_guest *guest)
{
	for (size_t i = 0; i < guest->n_nics; i++)
		if (guest->nics[i].n_addresses == 0)
			return false;
	return true;
}

static void add_dhcp(const struct fg_agent_config *config, const struct fg_nic *nic, struct fg_filter_guest *g)
{
	for (size_t i = 0; i < config->n_networks; i++)
		if (strcmp(config->networks[i].bridge, nic->bridge) == 0 && nic->n_addresses == 0)
			g->dhcp = config->networks[i].dhcp;
}

int fg_isolate_plan(const struct fg_agent_config *config, const struct fg_guest *guest, bool closed, bool for_mark,
		    fg_reach_fn *reach_fn, struct fg_isolate_plan *plan, struct fg_error *err)
{
	struct fg_filter_guest *g = &plan->guest;
	const struct fg_nic *nic = first_bridged(guest);
	struct fg_reach reach = { 0 };
	int rc = 0;

	memset(plan, 0, sizeof(*plan));
	memcpy(g->uuid, guest->uuid, sizeof(g->uuid));
	g->devs = plan->devs;
	g->addresses = plan->addresses;
	g->servers = &plan->server;
	g->gateways = plan->gateways;
	g->closed = closed;
	for (size_t i = 0; rc == 0 && i < guest->n_nics; i++)
		rc = add_nic(plan, &guest->nics[i], for_mark, err);
	if (rc == 0 && nic)
		rc = reach_fn(config, nic->bridge, &reach, err);
	if (rc < 0)
		return rc;
	if (!all_addresses_known(guest))
		g->n_addresses = 0;
	plan->server.address = config->server_address;
	plan->server.port = config->server_port;
	g->n_servers = 1;
	if (!reach.gateway.family) {
		memcpy(plan->server.mac, reach.mac, 6);
	} else { /* not the server's own: what a gateway sends may come from another MAC (docs/filter.md) */
		plan->gateways[0].address = reach.gateway;
		memcpy(plan->gateways[0].mac, reach.mac, 6);
		g->n_gateways = 1;
	}
	if (nic)
		add_dhcp(config, nic, g);
	return 0;
}
