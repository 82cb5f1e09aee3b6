/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Netdevs.  Is one a guest's?  Asked of the kernel by rtnetlink and, for Xen's, of sysfs. */
#ifndef FG_FILTER_LINK_H
#define FG_FILTER_LINK_H

#include "netlink.h"

#include <net/if.h>

struct fg_link {
	uint32_t ifindex;
	uint16_t type; /* ARPHRD_… */
	uint32_t flags; /* IFF_… */
	char name[IFNAMSIZ];
	char kind[16]; /* IFLA_INFO_KIND: "tun", "veth", "bridge" …; "" for hardware and Xen's vifs */
	char port_of[16]; /* IFLA_INFO_SLAVE_KIND: "bridge", "bond" … */
	uint32_t master; /* the bridge or switch that it is a port of, 0: none */
	uint8_t mac[6]; /* the host's end's own; zero if it has none of six bytes */
	uint8_t tun_type; /* IFF_TUN or IFF_TAP */
};

/* NOTFOUND if there is none of that name in this network namespace. */
int fg_link_get(struct fg_netlink *route, const char *name, struct fg_link *out, struct fg_error *err) FG_MUST_CHECK;
/* NOTFOUND if there is none with that index. */
int fg_link_get_index(struct fg_netlink *route, uint32_t ifindex, struct fg_link *out,
		      struct fg_error *err) FG_MUST_CHECK;
/* NOTFOUND if it is gone. */
int fg_link_set_down(struct fg_netlink *route, uint32_t ifindex, struct fg_error *err) FG_MUST_CHECK;
/* REFUSED with the reason if it is not the host's end of a guest's NIC. */
int fg_link_is_guests(const struct fg_link *link, struct fg_error *err) FG_MUST_CHECK;

#endif
