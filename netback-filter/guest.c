/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "rule.h"
#include "ruleset.h"

#include <lib/util.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

static int check_mac(const uint8_t mac[6], const char *whose, struct fg_error *err)
{
	char text[18];

	fg_mac_format(mac, text);
	if (!fg_mac_known(mac) || mac[0] & 1)
		return fg_error_set(err, FG_EUSAGE, "%s: %s is not the MAC of one device", whose, text);
	return 0;
}

static int check_ip(const struct fg_ip *ip, const char *what, struct fg_error *err)
{
	char text[INET6_ADDRSTRLEN] = "";
	bool ok = false;

	if (ip->family == AF_INET) {
		uint32_t a = ntohl(ip->v4.s_addr);
		ok = a >> 24 != 0 && a >> 24 != 127 && a >> 28 < 14;
		inet_ntop(AF_INET, &ip->v4, text, sizeof(text));
	} else if (ip->family == AF_INET6) {
		ok = !IN6_IS_ADDR_UNSPECIFIED(&ip->v6) && !IN6_IS_ADDR_LOOPBACK(&ip->v6) &&
		     !IN6_IS_ADDR_MULTICAST(&ip->v6) && !IN6_IS_ADDR_V4MAPPED(&ip->v6);
		inet_ntop(AF_INET6, &ip->v6, text, sizeof(text));
	}
	return ok ? 0 : fg_error_set(err, FG_EUSAGE, "%s: '%s' is not the address of one host", what, text);
}

static int check_devs(const struct fg_filter_guest *g, struct fg_error *err)
{
	if (g->n_devs == 0)
		return fg_error_set(err, FG_EUSAGE, "no device is named");
	if (g->n_devs > FG_FILTER_DEVS_MAX)
		return fg_error_set(err, FG_ELIMIT, "%zu devices, at most %d are taken", g->n_devs, FG_FILTER_DEVS_MAX);
	for (size_t i = 0; i < g->n_devs; i++) {
		int rc = check_mac(g->devs[i].mac, g->devs[i].name, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int check_servers(const struct fg_filter_guest *g, struct fg_error *err)
{
	if (g->n_servers == 0)
		return fg_error_set(err, FG_EUSAGE, "no server is named (drop-all is asked for as such)");
	if (g->n_servers > FG_FILTER_SERVERS_MAX)
		return fg_error_set(err, FG_ELIMIT, "%zu servers, at most %d are taken", g->n_servers,
				    FG_FILTER_SERVERS_MAX);
	for (size_t i = 0; i < g->n_servers; i++) {
		const struct fg_filter_server *s = &g->servers[i];
		int rc = check_ip(&s->address, "server", err);
		if (rc == 0 && s->port == 0)
			rc = fg_error_set(err, FG_EUSAGE, "server: no port");
		if (rc == 0 && fg_mac_known(s->mac))
			rc = check_mac(s->mac, "server", err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* The MAC of each device is taken then: one that is given would be another neighbour. */
static int check_routed(const struct fg_filter_guest *g, struct fg_error *err)
{
	bool given = false;

	for (size_t i = 0; i < g->n_servers; i++)
		given |= fg_mac_known(g->servers[i].mac);
	for (size_t i = 0; i < g->n_gateways; i++)
		given |= fg_mac_known(g->gateways[i].mac);
	if (g->routed && given)
		return fg_error_set(err, FG_EUSAGE,
				    "routed: the host's end of the NIC is the only neighbour, no MAC "
				    "of a server or gateway goes with it");
	return 0;
}

static int check_gateways(const struct fg_filter_guest *g, struct fg_error *err)
{
	if (g->n_gateways > FG_FILTER_GATEWAYS_MAX ||
	    (g->n_gateways == 2 && g->gateways[0].address.family == g->gateways[1].address.family))
		return fg_error_set(err, FG_EUSAGE, "more than one gateway of a family");
	for (size_t i = 0; i < g->n_gateways; i++) {
		int rc = check_ip(&g->gateways[i].address, "gateway", err);
		if (rc == 0 && fg_mac_known(g->gateways[i].mac))
			rc = check_mac(g->gateways[i].mac, "gateway", err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* A guest with such an address would answer for the server or the gateway. */
static int check_not_a_peer(const struct fg_filter_guest *g, const struct fg_ip *ip, struct fg_error *err)
{
	struct fg_peer peers[FG_PEERS_MAX];
	size_t n = fg_peers(g, ip->family, peers);
	char text[INET6_ADDRSTRLEN] = "";

	inet_ntop(ip->family, ip->family == AF_INET ? (const void *)&ip->v4 : (const void *)&ip->v6, text,
		  sizeof(text));
	for (size_t i = 0; i < n; i++)
		if (fg_same_ip(&peers[i].address, ip))
			return fg_error_set(err, FG_EUSAGE,
					    "address: %s is a server's or the gateway's, it cannot be the guest's",
					    text);
	if (fg_same_ip(&g->dhcp, ip))
		return fg_error_set(err, FG_EUSAGE, "address: %s is the DHCP server's, it cannot be the guest's", text);
	return 0;
}

static int check_addresses(const struct fg_filter_guest *g, struct fg_error *err)
{
	if (g->n_addresses > FG_FILTER_ADDRS_MAX)
		return fg_error_set(err, FG_ELIMIT, "%zu addresses, at most %d are taken", g->n_addresses,
				    FG_FILTER_ADDRS_MAX);
	for (size_t i = 0; i < g->n_addresses; i++) {
		int rc = check_ip(&g->addresses[i], "address", err);
		if (rc == 0)
			rc = check_not_a_peer(g, &g->addresses[i], err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int check_dhcp(const struct fg_filter_guest *g, struct fg_error *err)
{
	if (g->dhcp.family == 0)
		return 0;
	if (g->dhcp.family != AF_INET)
		return fg_error_set(err, FG_EUSAGE, "dhcp: only DHCP for IPv4 is let through");
	for (size_t i = 0; i < g->n_servers; i++)
		if (g->servers[i].address.family == AF_INET)
			return check_ip(&g->dhcp, "dhcp", err);
	return fg_error_set(err, FG_EUSAGE, "dhcp: no server has an IPv4 address, so no lease is needed");
}

int fg_filter_guest_check(const struct fg_filter_guest *g, struct fg_error *err)
{
	char uuid[FG_UUID_TEXT];
	int rc = fg_uuid_parse(g->uuid, uuid, err);

	if (rc < 0)
		return rc;
	if (strcmp(uuid, g->uuid) != 0)
		return fg_error_set(err, FG_EUSAGE, "the UUID must be in lower case");
	rc = check_devs(g, err);
	if (rc < 0 || g->closed)
		return rc;
	rc = check_servers(g, err);
	if (rc == 0)
		rc = check_gateways(g, err);
	if (rc == 0)
		rc = check_routed(g, err);
	if (rc == 0)
		rc = check_addresses(g, err);
	return rc < 0 ? rc : check_dhcp(g, err);
}
