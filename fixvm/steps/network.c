/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fixvm/steps/network.h"

#include "fixvm/init/fixvm.h"
#include "lib/util.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#define LINK_WAIT_MS 30000
#define NL_BUFFER_BYTES 32768
#define DHCP_FILE "/run/dhcp"

struct nic {
	struct mnl_socket *requests, *events;
	uint8_t mac[6];
	unsigned index;
	unsigned flags;
	char name[IFNAMSIZ];
};

bool fg_network_on_link(const struct fg_job_address *own, const struct fg_job_address *address)
{
	if (own->family != address->family)
		return false;
	unsigned bytes = own->prefix / 8, bits = own->prefix % 8;
	if (memcmp(own->bytes, address->bytes, bytes) != 0)
		return false;
	return !bits || !((own->bytes[bytes] ^ address->bytes[bytes]) >> (8 - bits));
}

int fg_network_dhcp_event(const char *event)
{
	const char *ip = getenv("ip"), *mask = getenv("mask"), *router = getenv("router");

	if (strcmp(event, "bound") != 0 && strcmp(event, "renew") != 0)
		return 0;
	if (!ip || !mask)
		return 1;
	/* "router" may be a list: the first one counts */
	fg_autofree char *text =
		fg_asprintf("%s/%s %.*s\n", ip, mask, router ? (int)strcspn(router, " ") : 0, router ? router : "");
	return fg_file_write_durable(DHCP_FILE, text, strlen(text), 0600, NULL) ? 1 : 0;
}

static int on_link(const struct nlmsghdr *h, void *arg)
{
	struct nic *nic = arg;
	const struct ifinfomsg *info = mnl_nlmsg_get_payload(h);
	const struct nlattr *attr;
	const char *name = NULL;
	bool ours = false;

	if (h->nlmsg_type != RTM_NEWLINK)
		return MNL_CB_OK;
	mnl_attr_for_each(attr, h, sizeof(*info))
	{
		if (mnl_attr_get_type(attr) == IFLA_ADDRESS && mnl_attr_get_payload_len(attr) == 6)
			ours = !memcmp(mnl_attr_get_payload(attr), nic->mac, 6);
		else if (mnl_attr_get_type(attr) == IFLA_IFNAME)
			name = mnl_attr_get_str(attr);
	}
	if (!ours || !name)
		return MNL_CB_OK;
	nic->index = (unsigned)info->ifi_index;
	nic->flags = info->ifi_flags;
	snprintf(nic->name, sizeof(nic->name), "%s", name);
	return MNL_CB_OK;
}

/* One request, all its answers until the acknowledgement. */
static int talk(struct nic *nic, struct nlmsghdr *h, const char *what, struct fg_error *err)
{
	static unsigned seq;
	char buf[NL_BUFFER_BYTES];

	h->nlmsg_seq = ++seq;
	if (mnl_socket_sendto(nic->requests, h, h->nlmsg_len) < 0)
		return fg_error_errno(err, FG_EIO, errno, "%s", what);
	for (;;) {
		ssize_t n = mnl_socket_recvfrom(nic->requests, buf, sizeof(buf));

		if (n < 0)
			return fg_error_errno(err, FG_EIO, errno, "%s", what);
		int rc = mnl_cb_run(buf, (size_t)n, seq, mnl_socket_get_portid(nic->requests), on_link, nic);
		if (rc < 0)
			return fg_error_errno(err, FG_EFAILED, errno, "%s", what);
		if (rc == MNL_CB_STOP)
			return 0;
	}
}

static struct nlmsghdr *message(char *buf, uint16_t type, uint16_t flags, size_t header, void **extra)
{
	struct nlmsghdr *h = mnl_nlmsg_put_header(buf);

	h->nlmsg_type = type;
	h->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags);
	*extra = mnl_nlmsg_put_extra_header(h, header);
	return h;
}

/* The NIC appears and gets its carrier when the backend is connected: wait for the kernel to say so. */
static int wait_link(struct nic *nic, unsigned flags, const char *what, struct fg_error *err)
{
	int64_t deadline = fg_monotonic_ms() + LINK_WAIT_MS;
	char buf[NL_BUFFER_BYTES];
	void *info;
	struct nlmsghdr *h = message(buf, RTM_GETLINK, NLM_F_DUMP, sizeof(struct ifinfomsg), &info);
	int rc = talk(nic, h, "list links", err);

	while (!rc && (!nic->index || (nic->flags & flags) != flags)) {
		struct pollfd p = { .fd = mnl_socket_get_fd(nic->events), .events = POLLIN };
		int64_t left = deadline - fg_monotonic_ms();

		if (left <= 0)
			return fg_error_set(err, FG_ETIMEOUT, "%s: not within %d s", what, LINK_WAIT_MS / 1000);
		if (poll(&p, 1, (int)left) <= 0)
			continue;
		ssize_t n = mnl_socket_recvfrom(nic->events, buf, sizeof(buf));
		if (n < 0 && errno != EINTR && errno != ENOBUFS)
			return fg_error_errno(err, FG_EIO, errno, "%s", what);
		if (n > 0)
			mnl_cb_run(buf, (size_t)n, 0, 0, on_link, nic);
	}
	return rc;
}

static int set_up(struct nic *nic, unsigned index, struct fg_error *err)
{
	char buf[256];
	void *extra;
	struct nlmsghdr *h = message(buf, RTM_NEWLINK, 0, sizeof(struct ifinfomsg), &extra);
	struct ifinfomsg *info = extra;

	info->ifi_index = (int)index;
	info->ifi_flags = IFF_UP;
	info->ifi_change = IFF_UP;
	return talk(nic, h, "set link up", err);
}

static void put_address(struct nlmsghdr *h, uint16_t type, const struct fg_job_address *a)
{
	mnl_attr_put(h, type, a->family == AF_INET6 ? 16 : 4, a->bytes);
}

static int add_address(struct nic *nic, const struct fg_job_address *a, struct fg_error *err)
{
	char buf[256];
	void *extra;
	struct nlmsghdr *h = message(buf, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, sizeof(struct ifaddrmsg), &extra);
	struct ifaddrmsg *info = extra;

	info->ifa_family = (unsigned char)a->family;
	info->ifa_prefixlen = (unsigned char)a->prefix;
	info->ifa_flags = a->family == AF_INET6 ? IFA_F_NODAD : 0;
	info->ifa_index = nic->index;
	put_address(h, IFA_LOCAL, a);
	put_address(h, IFA_ADDRESS, a);
	return talk(nic, h, "add address", err);
}

static int add_route(struct nic *nic, const struct fg_job_address *to, const struct fg_job_address *via,
		     struct fg_error *err)
{
	char buf[256];
	void *extra;
	struct nlmsghdr *h = message(buf, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, sizeof(struct rtmsg), &extra);
	struct rtmsg *info = extra;

	info->rtm_family = (unsigned char)to->family;
	info->rtm_dst_len = to->family == AF_INET6 ? 128 : 32;
	info->rtm_table = RT_TABLE_MAIN;
	info->rtm_protocol = RTPROT_STATIC;
	info->rtm_scope = RT_SCOPE_UNIVERSE;
	info->rtm_type = RTN_UNICAST;
	put_address(h, RTA_DST, to);
	put_address(h, RTA_GATEWAY, via);
	mnl_attr_put_u32(h, RTA_OIF, nic->index);
	return talk(nic, h, "add route to the server", err);
}

static int add_neighbour(struct nic *nic, const struct fg_job_neighbour *n, struct fg_error *err)
{
	char buf[256];
	void *extra;
	struct nlmsghdr *h = message(buf, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, sizeof(struct ndmsg), &extra);
	struct ndmsg *info = extra;

	info->ndm_family = (unsigned char)n->address.family;
	info->ndm_ifindex = (int)nic->index;
	info->ndm_state = NUD_PERMANENT;
	put_address(h, NDA_DST, &n->address);
	mnl_attr_put(h, NDA_LLADDR, 6, n->mac);
	return talk(nic, h, "add neighbour", err);
}

/* Nothing is sent that was not asked for: no IPv6 at all where the server is IPv4, else no router and address discovery. */
static int quiet(const struct nic *nic, bool ipv6, struct fg_error *err)
{
	static const char *const settings[][2] = {
		{ "accept_ra", "0" }, { "autoconf", "0" }, { "addr_gen_mode", "1" }, { "dad_transmits", "0" }
	};
	char path[128];
	int rc = 0;

	snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/disable_ipv6", nic->name);
	if (!ipv6)
		return fg_platform_sysctl(path, "1", err);
	for (size_t i = 0; i < FG_COUNT(settings) && !rc; i++) {
		snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/%s", nic->name, settings[i][0]);
		rc = fg_platform_sysctl(path, settings[i][1], err);
	}
	return rc;
}

static int ask_dhcp(struct nic *nic, struct fg_job_address *own, struct fg_job_address *gateway, struct fg_error *err)
{
	const char *const argv[] = { "/bin/udhcpc", "-i", nic->name, "-n", "-q",	   "-f", "-t",
				     "8",	    "-T", "3",	     "-s", FG_DHCP_SCRIPT, NULL };
	fg_autofree char *text = NULL;
	int rc = fg_platform_run(argv, err);

	if (!rc)
		rc = fg_file_read(DHCP_FILE, 256, &text, NULL, err);
	if (rc)
		return rc;
	char *router = strchr(text, ' ');
	if (!router)
		return fg_error_set(err, FG_EFORMAT, "DHCP lease");
	*router++ = 0;
	router[strcspn(router, "\n")] = 0;
	rc = fg_job_address_parse(text, true, own, err);
	return rc || !*router ? rc : fg_job_address_parse(router, false, gateway, err);
}

static int configure(struct nic *nic, const struct fg_job *job, struct fg_job_address *own, struct fg_error *err)
{
	struct fg_job_address gateway = job->gateway;
	int rc = 0;

	*own = job->address;
	if (job->dhcp)
		rc = ask_dhcp(nic, own, &gateway, err);
	if (!rc)
		rc = add_address(nic, own, err);
	for (size_t i = 0; i < job->n_neighbours && !rc; i++) {
		if (job->neighbours[i].address.family == own->family)
			rc = add_neighbour(nic, &job->neighbours[i], err);
	}
	if (rc || fg_network_on_link(own, &job->server))
		return rc;
	if (!gateway.family)
		return fg_error_set(err, FG_EUNREACHABLE, "server %s is not in %s/%u and there is no gateway",
				    job->server.text, own->text, own->prefix);
	return add_route(nic, &job->server, &gateway, err);
}

int fg_network_up(const struct fg_job *job, struct fg_job_address *own, struct fg_error *err)
{
	struct nic nic = { .requests = mnl_socket_open(NETLINK_ROUTE), .events = mnl_socket_open(NETLINK_ROUTE) };
	int rc = 0;

	memcpy(nic.mac, job->mac, sizeof(nic.mac));
	if (!nic.requests || !nic.events || mnl_socket_bind(nic.requests, 0, MNL_SOCKET_AUTOPID) < 0 ||
	    mnl_socket_bind(nic.events, RTMGRP_LINK, MNL_SOCKET_AUTOPID) < 0)
		rc = fg_error_errno(err, FG_EIO, errno, "rtnetlink");
	if (!rc)
		rc = wait_link(&nic, 0, "NIC with the job's MAC", err);
	if (!rc)
		rc = quiet(&nic, job->server.family == AF_INET6, err);
	if (!rc)
		rc = set_up(&nic, nic.index, err);
	if (!rc)
		rc = wait_link(&nic, IFF_UP | IFF_RUNNING, "link of the NIC", err);
	if (!rc)
		rc = configure(&nic, job, own, err);
	if (nic.requests)
		mnl_socket_close(nic.requests);
	if (nic.events)
		mnl_socket_close(nic.events);
	return rc;
}
