/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "link.h"

#include <lib/util.h>

#include <errno.h>
#include <linux/if_arp.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <unistd.h>

static void copy_text(const struct nlattr *a, char *out, size_t size)
{
	size_t n = strnlen(mnl_attr_get_payload(a), mnl_attr_get_payload_len(a));

	if (n >= size)
		n = size - 1;
	memcpy(out, mnl_attr_get_payload(a), n);
	out[n] = '\0';
}

static void read_info(const struct nlattr *nest, struct fg_link *link)
{
	const struct nlattr *a, *data = NULL;

	mnl_attr_for_each_nested(a, nest)
	{
		if (mnl_attr_get_type(a) == IFLA_INFO_KIND)
			copy_text(a, link->kind, sizeof(link->kind));
		else if (mnl_attr_get_type(a) == IFLA_INFO_SLAVE_KIND)
			copy_text(a, link->port_of, sizeof(link->port_of));
		else if (mnl_attr_get_type(a) == IFLA_INFO_DATA)
			data = a;
	}
	if (!data || strcmp(link->kind, "tun") != 0)
		return;
	mnl_attr_for_each_nested(a, data) if (mnl_attr_get_type(a) == IFLA_TUN_TYPE && mnl_attr_get_payload_len(a) >= 1)
		link->tun_type = mnl_attr_get_u8(a);
}

static int on_link(const struct nlmsghdr *nlh, void *data)
{
	struct fg_link *link = data;
	const struct nlattr *a;

	if (nlh->nlmsg_type != RTM_NEWLINK || mnl_nlmsg_get_payload_len(nlh) < sizeof(struct ifinfomsg))
		return MNL_CB_OK;
	const struct ifinfomsg *info = mnl_nlmsg_get_payload(nlh);
	link->ifindex = (uint32_t)info->ifi_index;
	link->type = info->ifi_type;
	link->flags = info->ifi_flags;
	mnl_attr_for_each(a, nlh, sizeof(*info))
	{
		if (mnl_attr_get_type(a) == IFLA_IFNAME)
			copy_text(a, link->name, sizeof(link->name));
		else if (mnl_attr_get_type(a) == IFLA_MASTER && mnl_attr_get_payload_len(a) >= 4)
			link->master = mnl_attr_get_u32(a);
		else if (mnl_attr_get_type(a) == IFLA_ADDRESS && mnl_attr_get_payload_len(a) == sizeof(link->mac))
			memcpy(link->mac, mnl_attr_get_payload(a), sizeof(link->mac));
		else if (mnl_attr_get_type(a) == IFLA_LINKINFO)
			read_info(a, link);
	}
	return MNL_CB_OK;
}

static int get(struct fg_netlink *route, const char *name, uint32_t ifindex, struct fg_link *out)
{
	char buf[512] = { 0 };
	struct fg_link link = { 0 };
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);

	nlh->nlmsg_type = RTM_GETLINK;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	struct ifinfomsg *info = mnl_nlmsg_put_extra_header(nlh, sizeof(*info));
	info->ifi_family = AF_UNSPEC;
	info->ifi_index = (int)ifindex;
	if (name)
		mnl_attr_put_strz(nlh, IFLA_IFNAME, name);
	int rc = fg_netlink_ask(route, nlh, on_link, &link);
	if (rc == 0 && link.ifindex == 0)
		rc = -ENODEV;
	if (rc == 0)
		*out = link;
	return rc;
}

static int failed(int rc, const char *what, struct fg_error *err)
{
	if (rc == -ENODEV)
		return fg_error_set(err, FG_ENOTFOUND, "%s: no such device", what);
	return fg_error_errno(err, FG_EUNREACHABLE, -rc, "%s: cannot ask for the device", what);
}

int fg_link_get(struct fg_netlink *route, const char *name, struct fg_link *out, struct fg_error *err)
{
	if (!name[0] || strlen(name) >= IFNAMSIZ || strchr(name, '/'))
		return fg_error_set(err, FG_EUSAGE, "'%.40s' is no device name", name);
	int rc = get(route, name, 0, out);
	if (rc == 0 && strcmp(out->name, name) != 0) /* an alternative name */
		return fg_error_set(err, FG_EUSAGE, "%s is another name of %s: give that one", name, out->name);
	return rc < 0 ? failed(rc, name, err) : 0;
}

int fg_link_get_index(struct fg_netlink *route, uint32_t ifindex, struct fg_link *out, struct fg_error *err)
{
	char what[32];
	int rc = get(route, NULL, ifindex, out);

	snprintf(what, sizeof(what), "device %u", ifindex);
	return rc < 0 ? failed(rc, what, err) : 0;
}

int fg_link_set_down(struct fg_netlink *route, uint32_t ifindex, struct fg_error *err)
{
	char buf[256] = { 0 };
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);

	nlh->nlmsg_type = RTM_NEWLINK;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	struct ifinfomsg *info = mnl_nlmsg_put_extra_header(nlh, sizeof(*info));
	info->ifi_family = AF_UNSPEC;
	info->ifi_index = (int)ifindex;
	info->ifi_change = IFF_UP;
	int rc = fg_netlink_ask(route, nlh, NULL, NULL);
	if (rc == -ENODEV)
		return fg_error_set(err, FG_ENOTFOUND, "device %u is gone", ifindex);
	return rc < 0 ? fg_error_errno(err, rc == -EPERM ? FG_ENOTALLOWED : FG_EFAILED, -rc,
				       "device %u cannot be set down", ifindex)
		      : 0;
}

/* The bus of the device behind it, "" if there is none: "xen-backend", "pci", "virtio" … */
static void bus_of(const char *name, char *out, size_t size)
{
	char path[64 + IFNAMSIZ], target[256];

	snprintf(path, sizeof(path), "/sys/class/net/%s/device/subsystem", name);
	ssize_t n = readlink(path, target, sizeof(target) - 1);
	target[n < 0 ? 0 : n] = '\0';
	const char *slash = strrchr(target, '/');
	snprintf(out, size, "%s", slash ? slash + 1 : "");
}

int fg_link_is_guests(const struct fg_link *link, struct fg_error *err)
{
	char bus[32];

	if (link->flags & IFF_LOOPBACK)
		return fg_error_set(err, FG_EREFUSED, "%s is the loopback device", link->name);
	if (link->type != ARPHRD_ETHER)
		return fg_error_set(err, FG_EREFUSED, "%s carries no Ethernet frames", link->name);
	if (strcmp(link->port_of, "bond") == 0 || strcmp(link->port_of, "team") == 0)
		return fg_error_set(err, FG_EREFUSED, "%s is part of a %s: no guest's", link->name, link->port_of);
	if (strcmp(link->kind, "veth") == 0)
		return 0;
	if (strcmp(link->kind, "tun") == 0) {
		if (link->tun_type == 0 || link->tun_type == IFF_TAP)
			return 0;
		return fg_error_set(err, FG_EREFUSED, "%s is a tun, not a tap device", link->name);
	}
	if (link->kind[0])
		return fg_error_set(err, FG_EREFUSED, "%s is a %s device: no guest's", link->name, link->kind);
	bus_of(link->name, bus, sizeof(bus));
	if (strcmp(bus, "xen-backend") == 0)
		return 0;
	if (bus[0])
		return fg_error_set(err, FG_EREFUSED, "%s is a NIC of this host (bus %s)", link->name, bus);
	return fg_error_set(err, FG_EREFUSED, "%s: cannot tell that it is a guest's", link->name);
}
