/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "guest_json.h"

#include "ruleset.h"

#include <lib/util.h>

#include <arpa/inet.h>
#include <string.h>

int fg_ip_parse(const char *text, struct fg_ip *out, struct fg_error *err)
{
	struct fg_ip ip = { 0 };

	if (inet_pton(AF_INET, text, &ip.v4) == 1)
		ip.family = AF_INET;
	else if (inet_pton(AF_INET6, text, &ip.v6) == 1)
		ip.family = AF_INET6;
	else
		return fg_error_set(err, FG_EFORMAT, "'%.60s' is no IP address", text);
	*out = ip;
	return 0;
}

void fg_ip_format(const struct fg_ip *ip, char out[FG_IP_TEXT])
{
	if (!inet_ntop(ip->family, &ip->v6, out, FG_IP_TEXT)) /* v4 lies at the same place */
		out[0] = '\0';
}

int fg_server_parse(const char *text, struct fg_filter_server *out, struct fg_error *err)
{
	struct fg_filter_server s = { 0 };
	const char *colon = strrchr(text, ':');
	size_t len = colon ? (size_t)(colon - text) : 0;
	bool six = len > 2 && text[0] == '[' && text[len - 1] == ']';
	char host[FG_IP_TEXT];
	unsigned int port = 0;

	if (!colon || len >= sizeof(host) || strspn(colon + 1, "0123456789") != strlen(colon + 1) ||
	    strlen(colon + 1) < 1 || strlen(colon + 1) > 5)
		return fg_error_set(err, FG_EFORMAT, "'%.80s' is not ADDR:PORT or [ADDR6]:PORT", text);
	memcpy(host, text + (six ? 1 : 0), len - (six ? 2 : 0));
	host[len - (six ? 2 : 0)] = '\0';
	int rc = fg_ip_parse(host, &s.address, err);
	if (rc < 0)
		return rc;
	for (const char *p = colon + 1; *p; p++)
		port = port * 10 + (unsigned int)(*p - '0');
	if (six != (s.address.family == AF_INET6) || port == 0 || port > 65535)
		return fg_error_set(err, FG_EFORMAT, "'%.80s' is not ADDR:PORT or [ADDR6]:PORT", text);
	s.port = (uint16_t)port;
	*out = s;
	return 0;
}

static json_t *ip_json(const struct fg_ip *ip)
{
	char text[FG_IP_TEXT];

	fg_ip_format(ip, text);
	return json_string(text);
}

static void put_mac(json_t *o, const uint8_t mac[6])
{
	char text[18];

	if (!fg_mac_known(mac))
		return;
	fg_mac_format(mac, text);
	json_object_set_new(o, "mac", json_string(text));
}

json_t *fg_guest_to_json(const struct fg_filter_guest *g, bool names)
{
	json_t *o = json_object(), *devs = json_array();

	json_object_set_new(o, "uuid", json_string(g->uuid));
	json_object_set_new(o, "closed", json_boolean(g->closed));
	for (size_t i = 0; i < g->n_devs; i++) {
		json_t *d = json_object();
		if (names)
			json_object_set_new(d, "name", json_string(g->devs[i].name));
		put_mac(d, g->devs[i].mac);
		json_array_append_new(devs, d);
	}
	json_object_set_new(o, "devs", devs);
	if (g->closed)
		return o;
	json_t *addresses = json_array(), *servers = json_array(), *gateways = json_array();
	for (size_t i = 0; i < g->n_addresses; i++)
		json_array_append_new(addresses, ip_json(&g->addresses[i]));
	for (size_t i = 0; i < g->n_servers; i++) {
		json_t *s = json_pack("{s:o,s:i}", "address", ip_json(&g->servers[i].address), "port",
				      (int)g->servers[i].port);
		put_mac(s, g->servers[i].mac);
		json_array_append_new(servers, s);
	}
	for (size_t i = 0; i < g->n_gateways; i++) {
		json_t *s = json_pack("{s:o}", "address", ip_json(&g->gateways[i].address));
		put_mac(s, g->gateways[i].mac);
		json_array_append_new(gateways, s);
	}
	json_object_set_new(o, "addresses", addresses);
	json_object_set_new(o, "servers", servers);
	json_object_set_new(o, "gateways", gateways);
	if (g->dhcp.family)
		json_object_set_new(o, "dhcp", ip_json(&g->dhcp));
	if (g->rate_pps)
		json_object_set_new(o, "rate", json_integer(g->rate_pps));
	if (g->routed)
		json_object_set_new(o, "routed", json_true());
	return o;
}

static int known_keys(const json_t *o, const char *const *keys, size_t n, struct fg_error *err)
{
	const char *key;
	json_t *value;

	json_object_foreach ((json_t *)(uintptr_t)o, key, value) {
		size_t i = 0;
		while (i < n && strcmp(key, keys[i]) != 0)
			i++;
		if (i == n) /* it might mean something that matters: do not arm half of it */
			return fg_error_set(err, FG_EFORMAT, "unknown key '%.60s'", key);
	}
	return 0;
}
#define KNOWN_KEYS(o, err, ...)                                                                                        \
	known_keys(o, (const char *const[]){ __VA_ARGS__ }, FG_COUNT(((const char *const[]){ __VA_ARGS__ })), err)

static int get_mac(const json_t *o, bool needed, uint8_t out[6], struct fg_error *err)
{
	const char *text = NULL;
	int rc = needed ? fg_json_string(o, "mac", &text, err) : fg_json_string_opt(o, "mac", &text, err);

	return rc < 0 || !text ? rc : fg_mac_parse(text, out, err);
}

static int get_ip(const json_t *o, struct fg_ip *out, struct fg_error *err)
{
	const char *text;
	int rc = fg_json_string(o, "address", &text, err);

	return rc < 0 ? rc : fg_ip_parse(text, out, err);
}

static int get_devs(const json_t *o, bool names, struct fg_filter_guest *g, struct fg_error *err)
{
	json_t *array;
	int rc = fg_json_array(o, "devs", FG_FILTER_DEVS_MAX, &array, err);

	if (rc < 0)
		return rc;
	g->devs = fg_calloc(json_array_size(array), sizeof(g->devs[0]));
	for (; rc == 0 && g->n_devs < json_array_size(array); g->n_devs++) {
		struct fg_filter_dev *d = &g->devs[g->n_devs];
		const json_t *v = json_array_get(array, g->n_devs);
		const char *name = "";
		rc = names ? KNOWN_KEYS(v, err, "name", "mac") : KNOWN_KEYS(v, err, "mac");
		if (rc == 0 && names)
			rc = fg_json_string(v, "name", &name, err);
		if (rc == 0 && strlen(name) >= sizeof(d->name))
			rc = fg_error_set(err, FG_EFORMAT, "device name '%.40s' is too long", name);
		if (rc == 0)
			memcpy(d->name, name, strlen(name) + 1);
		if (rc == 0)
			rc = get_mac(v, true, d->mac, err);
	}
	return rc;
}

static int get_addresses(const json_t *o, struct fg_filter_guest *g, struct fg_error *err)
{
	json_t *array;
	int rc = fg_json_array(o, "addresses", FG_FILTER_ADDRS_MAX, &array, err);

	if (rc < 0)
		return rc;
	g->addresses = fg_calloc(json_array_size(array), sizeof(g->addresses[0]));
	for (; rc == 0 && g->n_addresses < json_array_size(array); g->n_addresses++) {
		const char *text = json_string_value(json_array_get(array, g->n_addresses));
		rc = text ? fg_ip_parse(text, &g->addresses[g->n_addresses], err)
			  : fg_error_set(err, FG_EFORMAT, "an address is no string");
	}
	return rc;
}

static int get_servers(const json_t *o, struct fg_filter_guest *g, struct fg_error *err)
{
	json_t *array;
	int rc = fg_json_array(o, "servers", FG_FILTER_SERVERS_MAX, &array, err);

	if (rc < 0)
		return rc;
	g->servers = fg_calloc(json_array_size(array), sizeof(g->servers[0]));
	for (; rc == 0 && g->n_servers < json_array_size(array); g->n_servers++) {
		struct fg_filter_server *s = &g->servers[g->n_servers];
		const json_t *v = json_array_get(array, g->n_servers);
		int64_t port = 0;
		rc = KNOWN_KEYS(v, err, "address", "port", "mac");
		if (rc == 0)
			rc = get_ip(v, &s->address, err);
		if (rc == 0)
			rc = fg_json_int(v, "port", 1, 65535, &port, err);
		if (rc == 0)
			rc = get_mac(v, false, s->mac, err);
		s->port = (uint16_t)port;
	}
	return rc;
}

static int get_gateways(const json_t *o, struct fg_filter_guest *g, struct fg_error *err)
{
	json_t *array;
	int rc = fg_json_array(o, "gateways", FG_FILTER_GATEWAYS_MAX, &array, err);

	if (rc < 0)
		return rc;
	g->gateways = fg_calloc(json_array_size(array), sizeof(g->gateways[0]));
	for (; rc == 0 && g->n_gateways < json_array_size(array); g->n_gateways++) {
		const json_t *v = json_array_get(array, g->n_gateways);
		rc = KNOWN_KEYS(v, err, "address", "mac");
		if (rc == 0)
			rc = get_ip(v, &g->gateways[g->n_gateways].address, err);
		if (rc == 0)
			rc = get_mac(v, false, g->gateways[g->n_gateways].mac, err);
	}
	return rc;
}

static int get_rest(const json_t *o, struct fg_filter_guest *g, struct fg_error *err)
{
	const char *dhcp;
	int64_t rate;
	int rc = fg_json_string_opt(o, "dhcp", &dhcp, err);

	if (rc == 0 && dhcp)
		rc = fg_ip_parse(dhcp, &g->dhcp, err);
	if (rc == 0)
		rc = fg_json_int_opt(o, "rate", 1, UINT32_MAX, 0, &rate, err);
	if (rc == 0)
		g->rate_pps = (uint32_t)rate;
	const json_t *routed = json_object_get(o, "routed");
	if (rc == 0 && routed && !json_is_boolean(routed))
		rc = fg_error_set(err, FG_EFORMAT, "'routed' is no boolean");
	g->routed = json_is_true(routed);
	return rc;
}

int fg_guest_from_json(const json_t *o, bool names, struct fg_filter_guest **out, struct fg_error *err)
{
	struct fg_filter_guest *g = fg_calloc(1, sizeof(*g));
	const char *uuid;
	int rc = fg_json_string(o, "uuid", &uuid, err);

	if (rc == 0)
		rc = fg_uuid_parse(uuid, g->uuid, err);
	if (rc == 0)
		rc = KNOWN_KEYS(o, err, "uuid", "closed", "devs", "addresses", "servers", "gateways", "dhcp", "rate",
				"routed");
	if (rc == 0 && !json_is_boolean(json_object_get(o, "closed")))
		rc = fg_error_set(err, FG_EFORMAT, "'closed' is missing or no boolean");
	g->closed = json_is_true(json_object_get(o, "closed"));
	if (rc == 0)
		rc = get_devs(o, names, g, err);
	if (rc == 0 && !g->closed)
		rc = get_addresses(o, g, err);
	if (rc == 0 && !g->closed)
		rc = get_servers(o, g, err);
	if (rc == 0 && !g->closed)
		rc = get_gateways(o, g, err);
	if (rc == 0 && !g->closed)
		rc = get_rest(o, g, err);
	if (rc < 0) {
		fg_filter_guest_free(g);
		return rc;
	}
	*out = g;
	return 0;
}

void fg_filter_guest_free(struct fg_filter_guest *g)
{
	if (!g)
		return;
	free(g->devs);
	free(g->addresses);
	free(g->servers);
	free(g->gateways);
	free(g);
}
