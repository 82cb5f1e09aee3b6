/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "jobfile.h"

#include <lib/util.h>

#include <arpa/inet.h>
#include <string.h>

/* The first NIC on a bridge is the one the fix VM takes over. */
static const struct fg_nic *bridged_nic(const struct fg_guest *guest)
{
	for (size_t i = 0; i < guest->n_nics; i++)
		if (guest->nics[i].bridge[0])
			return &guest->nics[i];
	return NULL;
}

static const struct fg_network *network_of(const struct fg_agent_config *config, const char *bridge)
{
	for (size_t i = 0; i < config->n_networks; i++)
		if (strcmp(config->networks[i].bridge, bridge) == 0)
			return &config->networks[i];
	return NULL;
}

static int plan_address(const struct fg_agent_config *config, struct fg_network_plan *plan, struct fg_error *err)
{
	const int family = config->server_address.family;
	const struct fg_nic *nic = plan->nic;

	for (size_t i = 0; i < nic->n_addresses; i++) {
		if (nic->addresses[i].family != family)
			continue;
		plan->address = nic->addresses[i];
		plan->prefix = plan->reach.prefix;
		if (plan->prefix == 0)
			return fg_error_set(err, FG_EREFUSED,
					    "length of the network's prefix is not known: give it in [network %s]",
					    nic->bridge);
		return 0;
	}
	const struct fg_network *network = network_of(config, nic->bridge);
	if (!network || network->dhcp.family != AF_INET || family != AF_INET)
		return fg_error_set(err, FG_EREFUSED,
				    "address of the guest's NIC is not known and [network %s] names no DHCP server",
				    nic->bridge);
	plan->dhcp = true;
	return 0;
}

/*
 * A guest without any NIC has no place that the fix VM could take: it gets an address of the first network that is
 * configured with a DHCP server, under a MAC of its own (locally administered, the same for each job of the guest).
 */
static int own_nic(const struct fg_agent_config *config, const struct fg_guest *guest, struct fg_nic *nic,
		   struct fg_error *err)
{
	for (size_t i = 0; guest->n_nics == 0 && i < config->n_networks; i++) {
		if (config->networks[i].dhcp.family != AF_INET)
			continue;
		memset(nic, 0, sizeof(*nic));
		memcpy(nic->bridge, config->networks[i].bridge, sizeof(nic->bridge));
		nic->mac[0] = 0x02;
		return fg_hex_decode(guest->uuid + 26, nic->mac + 1, 5, err);
	}
	return fg_error_set(err, FG_EREFUSED, "the guest has no NIC on a bridge%s: a fix VM could not reach the server",
			    guest->n_nics == 0 ? ", and no [network] names a DHCP server" : "");
}

int fg_network_plan(const struct fg_agent *agent, const struct fg_guest *guest, struct fg_network_plan *out,
		    struct fg_error *err)
{
	struct fg_network_plan plan = { .nic = bridged_nic(guest) };
	bool own = !plan.nic;
	int rc = own ? own_nic(agent->config, guest, &plan.own, err) : 0;

	if (rc < 0)
		return rc;
	if (own)
		plan.nic = &plan.own;
	rc = agent->reach(agent->config, plan.nic->bridge, &plan.reach, err);
	if (rc == 0)
		rc = plan_address(agent->config, &plan, err);
	if (rc < 0)
		return rc;
	*out = plan;
	if (own)
		out->nic = &out->own;
	return 0;
}

static json_t *net_json(const struct fg_agent_config *config, const struct fg_network_plan *plan)
{
	char mac[18], ip[INET6_ADDRSTRLEN];
	json_t *neighbours = json_array(), *net;

	fg_mac_format(plan->nic->mac, mac);
	net = json_pack("{ss ss}", "mac", mac, "mode", plan->dhcp ? "dhcp" : "static");
	if (!plan->dhcp) {
		fg_autofree char *address = fg_asprintf("%s/%u", fg_ip_text(&plan->address, ip), plan->prefix);
		json_object_set_new(net, "address", json_string(address));
		if (plan->reach.gateway.family)
			json_object_set_new(net, "gateway", json_string(fg_ip_text(&plan->reach.gateway, ip)));
	}
	if (fg_reach_mac_known(plan->reach.mac)) {
		const struct fg_ip *hop = plan->reach.gateway.family ? &plan->reach.gateway : &config->server_address;
		fg_mac_format(plan->reach.mac, mac);
		json_array_append_new(neighbours, json_pack("{ss ss}", "address", fg_ip_text(hop, ip), "mac", mac));
	}
	json_object_set_new(net, "neighbours", neighbours);
	return net;
}

json_t *fg_jobfile(const struct fg_job *job, const struct fg_network_plan *plan, const char *token)
{
	const struct fg_agent_config *config = job->agent->config;
	char ip[INET6_ADDRSTRLEN];
	json_t *disks = json_array(), *j;

	for (size_t i = 0; i < job->guest.n_disks; i++) {
		const struct fg_disk *d = &job->guest.disks[i];
		if (!d->cdrom)
			json_array_append_new(
				disks, json_pack("{ss ss}", "vdev", d->vdev, "mode", plan && !d->readonly ? "w" : "r"));
	}
	j = json_pack("{si ss ss ss sI ss ss s{ss ss} so}", "format", 1, "mode", plan ? "fix" : "inspect", "job",
		      job->r.id, "nonce", job->r.nonce, "now_s",
		      (json_int_t)(job->agent->clock->now_ms(job->agent->clock) / 1000), "guest", job->r.guest, "name",
		      job->r.name ? job->r.name : "", "bundle", "digest", job->r.digest, "head_digest",
		      job->r.head_digest, "disks", disks);
	if (plan) {
		json_object_set_new(j, "server",
				    json_pack("{ss si ss}", "host", fg_ip_text(&config->server_address, ip), "port",
					      (int)config->server_port, "token", token));
		json_object_set_new(j, "net", net_json(config, plan));
	}
	return j;
}
