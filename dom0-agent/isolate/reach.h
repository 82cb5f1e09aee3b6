/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * How the fix server is reached from a bridge: directly on the link or by a gateway, and by which link address.
 * dom0's own routes and neighbours answer (rtnetlink(7)) where dom0 reaches the server through that bridge; the
 * [network <bridge>] section of the configuration answers otherwise and wins where both do.
 */
#ifndef FG_REACH_H
#define FG_REACH_H

#include "dom0-agent/config.h"

struct fg_reach {
	bool on_link; /* the server is on the bridge's link */
	uint8_t mac[6]; /* next hop: the server's or the gateway's; zero = not known yet, the kernel was made to ask */
	struct fg_ip gateway; /* family 0: none, or not known */
	unsigned prefix; /* length of the link's prefix, of the server's family; 0 = not known */
};

int fg_reach_find(const struct fg_agent_config *config, const char *bridge, struct fg_reach *out,
		  struct fg_error *err) FG_MUST_CHECK;

/* dom0's way to an address.  Zero where there is no such thing. */
struct fg_reach_route {
	unsigned oif;
	struct fg_ip gateway;
	struct fg_ip source; /* dom0's own address for it */
};
int fg_reach_route(const struct fg_ip *to, struct fg_reach_route *out, struct fg_error *err) FG_MUST_CHECK;
bool fg_reach_mac_known(const uint8_t mac[6]);
/* "10.99.0.2"; out holds INET6_ADDRSTRLEN. */
const char *fg_ip_text(const struct fg_ip *ip, char *out);
bool fg_ip_equal(const struct fg_ip *a, const struct fg_ip *b);

#endif
