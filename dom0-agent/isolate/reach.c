/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "reach.h"

#include <lib/log.h>
#include <lib/util.h>

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <libmnl/libmnl.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <netpacket/packet.h>
#include <string.h>

struct neighbour {
	unsigned ifindex;
	const struct fg_ip *ip;
	uint8_t mac[6];
	bool found;
};

bool fg_reach_mac_known(const uint8_t mac[6])
{
	static const uint8_t none[6];

	return memcmp(mac, none, 6) != 0;
}

const char *fg_ip_text(const struct fg_ip *ip, char *out)
{
	if (!inet_ntop(ip->family, ip->family == AF_INET ? (const void *)&ip->v4 : (const void *)&ip->v6, out,
		       INET6_ADDRSTRLEN))
		snprintf(out, INET6_ADDRSTRLEN, "?");
	return out;
}

static const void *ip_bytes(const struct fg_ip *ip, size_t *len)
{
	*len = ip->family == AF_INET ? sizeof(ip->v4) : sizeof(ip->v6);
	return ip->family == AF_INET ? (const void *)&ip->v4 : (const void *)&ip->v6;
}

bool fg_ip_equal(const struct fg_ip *a, const struct fg_ip *b)
{
	size_t len_a, len_b;
	const void *bytes_a = ip_bytes(a, &len_a), *bytes_b = ip_bytes(b, &len_b);

	return a->family == b->family && memcmp(bytes_a, bytes_b, len_a) == 0;
}

static struct fg_ip ip_from(int family, const void *bytes)
{
	struct fg_ip ip = { .family = family };

	if (family == AF_INET)
		memcpy(&ip.v4, bytes, sizeof(ip.v4));
	else
		memcpy(&ip.v6, bytes, sizeof(ip.v6));
	return ip;
}

/* One question to rtnetlink; cb for each answer. */
static int ask(struct nlmsghdr *nlh, mnl_cb_t cb, void *arg, struct fg_error *err)
{
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	fg_autofree char *buf = fg_calloc(1, (size_t)MNL_SOCKET_BUFFER_SIZE);
	int rc = 0;

	if (!nl || mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0 || mnl_socket_sendto(nl, nlh, nlh->nlmsg_len) < 0) {
		rc = fg_error_errno(err, FG_EUNREACHABLE, errno, "cannot ask rtnetlink");
	} else {
		int ret = 1;
		while (ret > 0) {
			ssize_t n = mnl_socket_recvfrom(nl, buf, (size_t)MNL_SOCKET_BUFFER_SIZE);
			ret = n < 0 ? -1
				    : mnl_cb_run(buf, (size_t)n, nlh->nlmsg_seq, mnl_socket_get_portid(nl), cb, arg);
		}
		if (ret < 0)
			rc = fg_error_errno(err, FG_EUNREACHABLE, errno, "rtnetlink");
	}
	if (nl)
		mnl_socket_close(nl);
	return rc;
}

static int on_route(const struct nlmsghdr *nlh, void *arg)
{
	const struct rtmsg *rtm = mnl_nlmsg_get_payload(nlh);
	struct fg_reach_route *route = arg;
	const struct nlattr *attr;

	if (nlh->nlmsg_type != RTM_NEWROUTE)
		return MNL_CB_OK;
	mnl_attr_for_each(attr, nlh, sizeof(*rtm))
	{
		if (mnl_attr_get_type(attr) == RTA_OIF)
			route->oif = mnl_attr_get_u32(attr);
		else if (mnl_attr_get_type(attr) == RTA_GATEWAY)
			route->gateway = ip_from(rtm->rtm_family, mnl_attr_get_payload(attr));
		else if (mnl_attr_get_type(attr) == RTA_PREFSRC)
			route->source = ip_from(rtm->rtm_family, mnl_attr_get_payload(attr));
	}
	return MNL_CB_STOP; /* a route that was asked for by address is one message */
}

int fg_reach_route(const struct fg_ip *to, struct fg_reach_route *out, struct fg_error *err)
{
	struct fg_reach_route route = { 0 };
	char buf[512];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	size_t len;
	const void *bytes = ip_bytes(to, &len);

	nlh->nlmsg_type = RTM_GETROUTE;
	nlh->nlmsg_flags = NLM_F_REQUEST;
	nlh->nlmsg_seq = 1;
	struct rtmsg *rtm = mnl_nlmsg_put_extra_header(nlh, sizeof(*rtm));
	rtm->rtm_family = (unsigned char)to->family;
	rtm->rtm_dst_len = (unsigned char)(len * 8);
	mnl_attr_put(nlh, RTA_DST, len, bytes);
	int rc = ask(nlh, on_route, &route, err);
	if (rc == 0)
		*out = route;
	return rc;
}

static int on_neighbour(const struct nlmsghdr *nlh, void *arg)
{
	const struct ndmsg *ndm = mnl_nlmsg_get_payload(nlh);
	struct neighbour *n = arg;
	const struct nlattr *attr;
	const uint8_t *mac = NULL;
	bool same = false;
	size_t len;
	const void *bytes = ip_bytes(n->ip, &len);

	if (nlh->nlmsg_type != RTM_NEWNEIGH || ndm->ndm_ifindex != (int)n->ifindex ||
	    ndm->ndm_family != n->ip->family || ndm->ndm_state & (NUD_FAILED | NUD_INCOMPLETE | NUD_NOARP))
		return MNL_CB_OK;
	mnl_attr_for_each(attr, nlh, sizeof(*ndm))
	{
		uint16_t size = mnl_attr_get_payload_len(attr);
		if (mnl_attr_get_type(attr) == NDA_DST && size == len)
			same = memcmp(mnl_attr_get_payload(attr), bytes, len) == 0;
		else if (mnl_attr_get_type(attr) == NDA_LLADDR && size == 6)
			mac = mnl_attr_get_payload(attr);
	}
	if (same && mac) {
		memcpy(n->mac, mac, 6);
		n->found = true;
	}
	return MNL_CB_OK;
}

/* Zero where dom0 has not spoken with it lately: see resolve. */
static int find_mac(unsigned ifindex, const struct fg_ip *ip, uint8_t mac[6], struct fg_error *err)
{
	char buf[512];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct neighbour n = { .ifindex = ifindex, .ip = ip };
	int rc;

	nlh->nlmsg_type = RTM_GETNEIGH;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	nlh->nlmsg_seq = 1;
	struct ndmsg *ndm = mnl_nlmsg_put_extra_header(nlh, sizeof(*ndm));
	ndm->ndm_family = (unsigned char)ip->family;
	rc = ask(nlh, on_neighbour, &n, err);
	if (rc == 0 && n.found)
		memcpy(mac, n.mac, 6);
	return rc;
}

/* Let the kernel resolve it, as if it had something to send.  Does not wait: the next to ask finds the answer. */
static int resolve(unsigned ifindex, const struct fg_ip *ip, struct fg_error *err)
{
	char buf[512];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	size_t len;
	const void *bytes = ip_bytes(ip, &len);

	nlh->nlmsg_type = RTM_NEWNEIGH;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE;
	nlh->nlmsg_seq = 1;
	struct ndmsg *ndm = mnl_nlmsg_put_extra_header(nlh, sizeof(*ndm));
	ndm->ndm_family = (unsigned char)ip->family;
	ndm->ndm_ifindex = (int)ifindex;
	ndm->ndm_flags = NTF_USE;
	mnl_attr_put(nlh, NDA_DST, len, bytes);
	return ask(nlh, NULL, NULL, err);
}

static bool is_own(const struct ifaddrs *i, const struct fg_ip *ip)
{
	const struct sockaddr *a = i->ifa_addr;

	if (!a || a->sa_family != ip->family)
		return false;
	if (a->sa_family == AF_INET)
		return ((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr == ip->v4.s_addr;
	return IN6_ARE_ADDR_EQUAL(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr, &ip->v6);
}

/* dom0 itself is the server or the gateway: it answers with the bridge's MAC, on whatever interface the address is. */
static bool own_mac(const char *bridge, const struct fg_ip *ip, uint8_t mac[6])
{
	struct ifaddrs *list = NULL;
	bool own = false, found = false;

	if (getifaddrs(&list) < 0)
		return false;
	for (const struct ifaddrs *i = list; i; i = i->ifa_next)
		own |= is_own(i, ip);
	for (const struct ifaddrs *i = list; own && !found && i; i = i->ifa_next) {
		const struct sockaddr_ll *ll = (const void *)i->ifa_addr;
		found = ll && ll->sll_family == AF_PACKET && ll->sll_halen == 6 && strcmp(i->ifa_name, bridge) == 0;
		if (found)
			memcpy(mac, ll->sll_addr, 6);
	}
	freeifaddrs(list);
	return found;
}

/* Not known is no error: the filter lets no IP pass then. */
static int link_address(const char *bridge, unsigned ifindex, const struct fg_ip *hop, uint8_t mac[6],
			struct fg_error *err)
{
	struct fg_error why = FG_ERROR_INIT;
	char text[INET6_ADDRSTRLEN];

	if (!ifindex || own_mac(bridge, hop, mac))
		return 0;
	if (find_mac(ifindex, hop, mac, err) < 0)
		return -FG_EUNREACHABLE;
	if (fg_reach_mac_known(mac))
		return 0;
	int rc = resolve(ifindex, hop, &why);
	fg_log_warn("the link address of %s on %s is not known, so nothing but ARP passes: %s", fg_ip_text(hop, text),
		    bridge, rc < 0 ? why.text : "asked for it");
	return 0;
}

static unsigned mask_length(const struct sockaddr *mask, int family)
{
	const uint8_t *bytes = family == AF_INET
				       ? (const void *)&((const struct sockaddr_in *)(const void *)mask)->sin_addr
				       : (const void *)&((const struct sockaddr_in6 *)(const void *)mask)->sin6_addr;
	unsigned n = 0, max = family == AF_INET ? 32 : 128;

	while (n < max && bytes[n / 8] & 0x80 >> n % 8)
		n++;
	return n;
}

/* The prefix that dom0 has on the bridge itself; 0: none.  A /32 or link-local one says nothing about the link. */
static unsigned own_prefix(const char *bridge, int family)
{
	struct ifaddrs *list = NULL;
	unsigned prefix = 0, max = family == AF_INET ? 32 : 128;

	if (getifaddrs(&list) < 0)
		return 0;
	for (const struct ifaddrs *i = list; i; i = i->ifa_next) {
		if (!i->ifa_addr || !i->ifa_netmask || i->ifa_addr->sa_family != family ||
		    strcmp(i->ifa_name, bridge) != 0)
			continue;
		if (family == AF_INET6 &&
		    IN6_IS_ADDR_LINKLOCAL(&((const struct sockaddr_in6 *)(const void *)i->ifa_addr)->sin6_addr))
			continue;
		unsigned length = mask_length(i->ifa_netmask, family);
		if (length < max)
			prefix = length;
	}
	freeifaddrs(list);
	return prefix;
}

static void apply_config(const struct fg_agent_config *config, const char *bridge, struct fg_reach *reach)
{
	bool v4 = config->server_address.family == AF_INET;

	for (size_t i = 0; i < config->n_networks; i++) {
		const struct fg_network *n = &config->networks[i];
		const struct fg_ip *gateway = v4 ? &n->gateway : &n->gateway6;
		unsigned prefix = v4 ? n->prefix : n->prefix6;

		if (strcmp(n->bridge, bridge) != 0)
			continue;
		if (prefix)
			reach->prefix = prefix;
		if (gateway->family && !reach->on_link)
			reach->gateway = *gateway;
	}
}

int fg_reach_find(const struct fg_agent_config *config, const char *bridge, struct fg_reach *out, struct fg_error *err)
{
	struct fg_reach reach = { .prefix = own_prefix(bridge, config->server_address.family) };
	unsigned ifindex = if_nametoindex(bridge);
	struct fg_reach_route route = { 0 };

	/* No route, or another interface: the server may still be there from the bridge, by a gateway that is configured or on
	 * the link, if it answers there. */
	bool routed = fg_reach_route(&config->server_address, &route, NULL) == 0;
	if (routed && ifindex && route.oif == ifindex) {
		reach.on_link = route.gateway.family == 0;
		reach.gateway = route.gateway;
	}
	apply_config(config, bridge, &reach);
	const struct fg_ip *hop = reach.gateway.family ? &reach.gateway : &config->server_address;
	if (link_address(bridge, ifindex, hop, reach.mac, err) < 0)
		return -FG_EUNREACHABLE;
	*out = reach;
	return 0;
}
