/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "snapshot.h"
#include "dom0-agent/isolate/reach.h"

#include <lib/util.h>

#include <arpa/inet.h>
#include <string.h>

static const char *const state_names[] = {
	[FG_GUEST_OFF] = "off",
	[FG_GUEST_RUNNING] = "running",
	[FG_GUEST_PAUSED] = "paused",
	[FG_GUEST_DYING] = "dying",
};

const char *fg_guest_state_name(enum fg_guest_state state)
{
	return state_names[state];
}

static int ip_parse(const char *text, struct fg_ip *out, struct fg_error *err)
{
	struct fg_ip ip = { .family = AF_INET };

	if (inet_pton(AF_INET, text, &ip.v4) != 1) {
		ip.family = AF_INET6;
		if (inet_pton(AF_INET6, text, &ip.v6) != 1)
			return fg_error_set(err, FG_EFORMAT, "'%.60s' is no IP address", text);
	}
	*out = ip;
	return 0;
}

static json_t *nic_to_json(const struct fg_nic *nic)
{
	json_t *addresses = json_array(), *netdevs = json_array();
	char mac[18], ip[INET6_ADDRSTRLEN];

	fg_mac_format(nic->mac, mac);
	for (size_t i = 0; i < nic->n_addresses; i++)
		json_array_append_new(addresses, json_string(fg_ip_text(&nic->addresses[i], ip)));
	for (size_t i = 0; i < nic->n_netdevs; i++)
		json_array_append_new(netdevs, json_string(nic->netdevs[i]));
	return json_pack("{sI ss ss so so}", "devid", (json_int_t)nic->devid, "mac", mac, "bridge", nic->bridge,
			 "addresses", addresses, "netdevs", netdevs);
}

json_t *fg_snapshot_to_json(const struct fg_guest *g)
{
	json_t *nics = json_array(), *disks = json_array();

	for (size_t i = 0; i < g->n_nics; i++)
		json_array_append_new(nics, nic_to_json(&g->nics[i]));
	for (size_t i = 0; i < g->n_disks; i++) {
		const struct fg_disk *d = &g->disks[i];
		json_array_append_new(disks, json_pack("{ss ss sb sb sb}", "vdev", d->vdev, "target",
						       d->target ? d->target : "", "block", d->block, "readonly",
						       d->readonly, "cdrom", d->cdrom));
	}
	return json_pack("{ss ss ss sI sI sI so so}", "uuid", g->uuid, "name", g->name ? g->name : "", "state",
			 fg_guest_state_name(g->state), "domid", (json_int_t)g->domid, "created_s",
			 (json_int_t)g->created_s, "memory_mb", (json_int_t)g->memory_mb, "nics", nics, "disks", disks);
}

static int nic_from_json(const json_t *j, struct fg_nic *nic, struct fg_error *err)
{
	const char *mac = NULL, *bridge = NULL;
	json_t *addresses = NULL, *netdevs = NULL;
	int64_t devid = 0;
	int rc = fg_json_int(j, "devid", 0, UINT32_MAX, &devid, err);

	if (rc == 0)
		rc = fg_json_string(j, "mac", &mac, err);
	if (rc == 0)
		rc = fg_mac_parse(mac, nic->mac, err);
	if (rc == 0)
		rc = fg_json_string(j, "bridge", &bridge, err);
	if (rc == 0)
		rc = fg_json_array(j, "addresses", FG_NIC_ADDRESSES_MAX, &addresses, err);
	if (rc == 0)
		rc = fg_json_array(j, "netdevs", FG_NIC_NETDEVS_MAX, &netdevs, err);
	if (rc < 0)
		return rc;
	nic->devid = (unsigned)devid;
	snprintf(nic->bridge, sizeof(nic->bridge), "%s", bridge);
	for (size_t i = 0; i < json_array_size(addresses); i++, nic->n_addresses++) {
		const char *text = json_string_value(json_array_get(addresses, i));
		if ((rc = ip_parse(text ? text : "", &nic->addresses[i], err)) < 0)
			return rc;
	}
	for (size_t i = 0; i < json_array_size(netdevs); i++, nic->n_netdevs++) {
		const char *text = json_string_value(json_array_get(netdevs, i));
		snprintf(nic->netdevs[i], IFNAMSIZ, "%s", text ? text : "");
	}
	return 0;
}

static int disk_from_json(const json_t *j, struct fg_disk *disk, struct fg_error *err)
{
	const char *vdev = NULL, *target = NULL;
	int rc = fg_json_string(j, "vdev", &vdev, err);

	if (rc == 0)
		rc = fg_json_string(j, "target", &target, err);
	if (rc < 0)
		return rc;
	snprintf(disk->vdev, sizeof(disk->vdev), "%s", vdev);
	disk->target = fg_strdup(target);
	disk->block = json_is_true(json_object_get(j, "block"));
	disk->readonly = json_is_true(json_object_get(j, "readonly"));
	disk->cdrom = json_is_true(json_object_get(j, "cdrom"));
	return 0;
}

static int head_from_json(const json_t *j, struct fg_guest *g, struct fg_error *err)
{
	const char *uuid = NULL, *name = NULL, *state = NULL;
	int64_t domid = 0, memory = 0;
	int rc = fg_json_string(j, "uuid", &uuid, err);

	if (rc == 0)
		rc = fg_uuid_parse(uuid, g->uuid, err);
	if (rc == 0)
		rc = fg_json_string(j, "name", &name, err);
	if (rc == 0)
		rc = fg_json_string(j, "state", &state, err);
	if (rc == 0)
		rc = fg_json_int(j, "domid", 0, UINT32_MAX, &domid, err);
	if (rc == 0)
		rc = fg_json_int(j, "created_s", 0, INT64_MAX, &g->created_s, err);
	if (rc == 0)
		rc = fg_json_int(j, "memory_mb", 0, UINT32_MAX, &memory, err);
	if (rc < 0)
		return rc;
	g->name = fg_strdup(name);
	g->domid = (uint32_t)domid;
	g->memory_mb = (uint32_t)memory;
	for (size_t i = 0; i < FG_COUNT(state_names); i++)
		if (strcmp(state_names[i], state) == 0)
			g->state = (enum fg_guest_state)i;
	return 0;
}

int fg_snapshot_from_json(const json_t *j, struct fg_guest *out, struct fg_error *err)
{
	struct fg_guest g = { 0 };
	json_t *nics = NULL, *disks = NULL;
	int rc = fg_json_array(j, "nics", FG_GUEST_NICS_MAX, &nics, err);

	if (rc == 0)
		rc = fg_json_array(j, "disks", FG_GUEST_DISKS_MAX, &disks, err);
	if (rc == 0)
		rc = head_from_json(j, &g, err);
	if (rc == 0) {
		g.nics = fg_calloc(json_array_size(nics), sizeof(*g.nics));
		g.disks = fg_calloc(json_array_size(disks), sizeof(*g.disks));
	}
	for (; rc == 0 && g.n_nics < json_array_size(nics); g.n_nics++)
		rc = nic_from_json(json_array_get(nics, g.n_nics), &g.nics[g.n_nics], err);
	for (; rc == 0 && g.n_disks < json_array_size(disks); g.n_disks++)
		rc = disk_from_json(json_array_get(disks, g.n_disks), &g.disks[g.n_disks], err);
	if (rc < 0) {
		fg_guest_release(&g);
		return rc;
	}
	*out = g;
	return 0;
}
