/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "linkwatch.h"

#include "netns.h"

#include <lib/log.h>
#include <lib/util.h>

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <fixgate/filter.h>
#include <string.h>
#include <sys/socket.h>

#define BUFFER_BYTES (128 * 1024) /* the kernel fills at most 32 KiB a datagram */
#define RECEIVE_QUEUE_BYTES (8 * 1024 * 1024) /* a few thousand notifications */
#define SCAN_TRIES 100
#define GROUP(n) (1u << ((n)-1)) /* the bind mask's bit of a group */

struct source {
	struct fg_linkwatch *w;
	struct mnl_socket *socket;
	struct event *event;
	int (*parse)(const struct nlmsghdr *nlh, void *arg);
};

struct fg_linkwatch {
	struct fg_linkwatch_cbs cbs;
	struct source links, rules;
	struct mnl_socket *ask;
	uint32_t seq;
	struct fg_ruleset_event transaction; /* whose end has not come yet */
	bool closed; /* by a callback */
	int64_t now_ms, quiet_ms; /* of this reading; of the last one, after which nothing was waiting */
	char *buf;
};

static void copy_text(const struct nlattr *a, char *out, size_t size)
{
	size_t n = strnlen(mnl_attr_get_payload(a), mnl_attr_get_payload_len(a));

	if (n >= size)
		n = size - 1;
	memcpy(out, mnl_attr_get_payload(a), n);
	out[n] = '\0';
}

static void read_stats(const struct nlattr *a, struct fg_link_event *e)
{
	struct rtnl_link_stats64 s = { 0 };
	size_t n = mnl_attr_get_payload_len(a);

	memcpy(&s, mnl_attr_get_payload(a), n < sizeof(s) ? n : sizeof(s));
	e->frames = s.rx_packets + s.tx_packets;
}

static void read_attr(const struct nlattr *a, struct fg_link_event *e)
{
	const struct nlattr *info;
	uint16_t len = mnl_attr_get_payload_len(a);

	switch (mnl_attr_get_type(a)) {
	case IFLA_IFNAME:
		copy_text(a, e->name, sizeof(e->name));
		break;
	case IFLA_MASTER:
		e->master = len >= 4 ? mnl_attr_get_u32(a) : 0;
		break;
	case IFLA_ADDRESS:
		if (len == sizeof(e->mac))
			memcpy(e->mac, mnl_attr_get_payload(a), len);
		break;
	case IFLA_STATS64:
		read_stats(a, e);
		break;
	case IFLA_NEW_NETNSID:
		e->to_nsid = len >= 4 ? (int32_t)mnl_attr_get_u32(a) : -1;
		break;
	case IFLA_NEW_IFINDEX:
		e->to_ifindex = len >= 4 ? mnl_attr_get_u32(a) : 0;
		break;
	case IFLA_LINKINFO:
		mnl_attr_for_each_nested(info, a)
		{
			if (mnl_attr_get_type(info) == IFLA_INFO_KIND)
				copy_text(info, e->kind, sizeof(e->kind));
		}
		break;
	default:
		break;
	}
}

/* False: it is no message about a device.  AF_BRIDGE ones are about ports, not devices. */
static bool read_link(const struct nlmsghdr *nlh, struct fg_link_event *e)
{
	const struct nlattr *a;

	if ((nlh->nlmsg_type != RTM_NEWLINK && nlh->nlmsg_type != RTM_DELLINK) ||
	    mnl_nlmsg_get_payload_len(nlh) < sizeof(struct ifinfomsg))
		return false;
	const struct ifinfomsg *info = mnl_nlmsg_get_payload(nlh);
	if (info->ifi_family != AF_UNSPEC || info->ifi_index <= 0)
		return false;
	*e = (struct fg_link_event){ .gone = nlh->nlmsg_type == RTM_DELLINK,
				     .ifindex = (uint32_t)info->ifi_index,
				     .type = info->ifi_type,
				     .up = (info->ifi_flags & IFF_UP) != 0,
				     .to_nsid = -1,
				     .at_ms = fg_monotonic_ms() };
	mnl_attr_for_each(a, nlh, sizeof(*info))
	{
		read_attr(a, e);
	}
	return e->name[0] != '\0';
}

static int on_link(const struct nlmsghdr *nlh, void *arg)
{
	struct fg_linkwatch *w = arg;
	struct fg_link_event e;

	if (read_link(nlh, &e) && !w->closed)
		w->cbs.link(w->cbs.arg, &e);
	return MNL_CB_OK;
}

/* chain 0: no chain is named.  Its name is "" then. */
static bool in_our_table(const struct nlmsghdr *nlh, uint16_t attr, uint16_t chain, char name[64])
{
	const struct nfgenmsg *nfg = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *a;
	char table[64] = "";

	name[0] = '\0';
	if (nfg->nfgen_family != NFPROTO_NETDEV)
		return false;
	mnl_attr_for_each(a, nlh, sizeof(*nfg))
	{
		if (mnl_attr_get_type(a) == attr)
			copy_text(a, table, sizeof(table));
		else if (chain && mnl_attr_get_type(a) == chain)
			copy_text(a, name, 64);
	}
	return strcmp(table, FG_FILTER_TABLE) == 0;
}

static void end_of_transaction(struct fg_linkwatch *w, const struct nlmsghdr *nlh)
{
	struct fg_ruleset_event e = w->transaction;
	const struct nlattr *a;

	w->transaction.all = false;
	w->transaction.n_chains = 0;
	if (!e.all && e.n_chains == 0)
		return;
	e.portid = nlh->nlmsg_pid;
	e.at_ms = fg_monotonic_ms();
	mnl_attr_for_each(a, nlh, sizeof(struct nfgenmsg))
	{
		if (mnl_attr_get_type(a) == NFTA_GEN_PROC_NAME)
			copy_text(a, e.process, sizeof(e.process));
		else if (mnl_attr_get_type(a) == NFTA_GEN_PROC_PID && mnl_attr_get_payload_len(a) >= 4)
			e.pid = ntohl(mnl_attr_get_u32(a));
	}
	if (!w->closed)
		w->cbs.ruleset(w->cbs.arg, &e);
}

/* A dormant table has all its rules, and none is at work. */
static bool goes_to_sleep(const struct nlmsghdr *nlh)
{
	const struct nlattr *a;
	uint32_t flags = 0;

	mnl_attr_for_each(a, nlh, sizeof(struct nfgenmsg))
	{
		if (mnl_attr_get_type(a) == NFTA_TABLE_FLAGS && mnl_attr_get_payload_len(a) >= 4)
			flags = ntohl(mnl_attr_get_u32(a));
	}
	return (flags & NFT_TABLE_F_DORMANT) != 0;
}

static void touched(struct fg_ruleset_event *t, const char *chain)
{
	for (size_t i = 0; i < t->n_chains; i++)
		if (strcmp(t->chains[i], chain) == 0)
			return;
	if (!chain[0] || t->n_chains == FG_RULESET_CHAINS_MAX)
		t->all = true;
	else
		snprintf(t->chains[t->n_chains++], sizeof(t->chains[0]), "%s", chain);
}

/* All changes of one transaction come together; NEWGEN is the last message of it. */
static int on_rule(const struct nlmsghdr *nlh, void *arg)
{
	struct fg_linkwatch *w = arg;
	uint16_t table = 0, chain = 0; /* the attributes that name them */
	char name[64];

	if (NFNL_SUBSYS_ID(nlh->nlmsg_type) != NFNL_SUBSYS_NFTABLES ||
	    mnl_nlmsg_get_payload_len(nlh) < sizeof(struct nfgenmsg))
		return MNL_CB_OK;
	switch (NFNL_MSG_TYPE(nlh->nlmsg_type)) {
	case NFT_MSG_NEWGEN:
		end_of_transaction(w, nlh);
		return MNL_CB_OK;
	case NFT_MSG_NEWTABLE: /* made, which takes nothing away, or its flags were changed */
		if (!goes_to_sleep(nlh))
			return MNL_CB_OK;
		table = NFTA_TABLE_NAME;
		break;
	case NFT_MSG_DELTABLE:
		table = NFTA_TABLE_NAME;
		break;
	case NFT_MSG_NEWCHAIN:
	case NFT_MSG_DELCHAIN:
		table = NFTA_CHAIN_TABLE;
		chain = NFTA_CHAIN_NAME;
		break;
	case NFT_MSG_NEWRULE:
	case NFT_MSG_DELRULE:
		table = NFTA_RULE_TABLE;
		chain = NFTA_RULE_CHAIN;
		break;
	default: /* sets and objects: we have none, and a rule that uses one is a rule */
		return MNL_CB_OK;
	}
	if (in_our_table(nlh, table, chain, name))
		touched(&w->transaction, name);
	return MNL_CB_OK;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	const struct source *s = arg;
	struct fg_linkwatch *w = s->w;
	bool lost = false;

	(void)what;
	for (;;) {
		ssize_t n = recv(fd, w->buf, BUFFER_BYTES, MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == ENOBUFS) { /* the queue ran over; what is in it still comes */
			lost = true;
			continue;
		}
		if (n < 0)
			break;
		if (mnl_cb_run(w->buf, (size_t)n, 0, 0, s->parse, w) < 0 && errno != EPROTO)
			lost = true;
	}
	int64_t since = w->quiet_ms;
	w->quiet_ms = fg_monotonic_ms();
	if (lost && !w->closed)
		w->cbs.lost(w->cbs.arg, since);
}

static int listen_to(struct event_base *base, struct source *s, int bus, unsigned groups, struct fg_error *err)
{
	const int bytes = RECEIVE_QUEUE_BYTES;

	s->socket = mnl_socket_open2(bus, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (!s->socket || mnl_socket_bind(s->socket, groups, MNL_SOCKET_AUTOPID) < 0)
		return fg_error_errno(err, errno == EPERM ? FG_ENOTALLOWED : FG_EFAILED, errno,
				      "cannot listen to netlink notifications");
	int fd = mnl_socket_get_fd(s->socket);
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) < 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	s->event = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, s);
	if (!s->event || event_add(s->event, NULL) < 0)
		return fg_error_set(err, FG_EFAILED, "cannot wait for netlink notifications");
	return 0;
}

int fg_linkwatch_open(struct event_base *base, const struct fg_linkwatch_cbs *cbs, struct fg_linkwatch **out,
		      struct fg_error *err)
{
	struct fg_linkwatch *w = fg_calloc(1, sizeof(*w));

	w->cbs = *cbs;
	w->buf = fg_calloc(BUFFER_BYTES, 1);
	w->links = (struct source){ .w = w, .parse = on_link };
	w->rules = (struct source){ .w = w, .parse = on_rule };
	w->quiet_ms = fg_monotonic_ms();
	int rc = listen_to(base, &w->links, NETLINK_ROUTE, GROUP(RTNLGRP_LINK), err);
	if (rc == 0)
		rc = listen_to(base, &w->rules, NETLINK_NETFILTER, GROUP(NFNLGRP_NFTABLES), err);
	if (rc == 0) {
		w->ask = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
		if (!w->ask || mnl_socket_bind(w->ask, 0, MNL_SOCKET_AUTOPID) < 0)
			rc = fg_error_errno(err, FG_EFAILED, errno, "cannot open a netlink socket");
	}
	if (rc < 0) {
		fg_linkwatch_close(w);
		return rc;
	}
	*out = w;
	return 0;
}

static void source_close(struct source *s)
{
	if (s->event)
		event_free(s->event);
	if (s->socket)
		mnl_socket_close(s->socket);
}

void fg_linkwatch_close(struct fg_linkwatch *w)
{
	if (!w)
		return;
	source_close(&w->links);
	source_close(&w->rules);
	if (w->ask)
		mnl_socket_close(w->ask);
	free(w->buf);
	free(w);
}

/* One question; 0 or a negative errno. */
static int ask_at(struct fg_linkwatch *w, struct mnl_socket *nl, struct nlmsghdr *nlh, mnl_cb_t cb, void *arg)
{
	fg_autofree char *buf = fg_calloc(BUFFER_BYTES, 1);
	int rc = 1;

	nlh->nlmsg_seq = ++w->seq;
	if (mnl_socket_sendto(nl, nlh, nlh->nlmsg_len) < 0)
		return -errno;
	while (rc > 0) {
		ssize_t n = mnl_socket_recvfrom(nl, buf, BUFFER_BYTES);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		rc = mnl_cb_run(buf, (size_t)n, nlh->nlmsg_seq, mnl_socket_get_portid(nl), cb, arg);
	}
	return rc < 0 ? -errno : 0;
}

static int ask(struct fg_linkwatch *w, struct nlmsghdr *nlh, mnl_cb_t cb, void *arg)
{
	return ask_at(w, w->ask, nlh, cb, arg);
}

static struct ifinfomsg *link_request(char *buf, uint16_t type, uint16_t flags, struct nlmsghdr **nlh)
{
	*nlh = mnl_nlmsg_put_header(buf);
	(*nlh)->nlmsg_type = type;
	(*nlh)->nlmsg_flags = flags;
	struct ifinfomsg *info = mnl_nlmsg_put_extra_header(*nlh, sizeof(*info));
	info->ifi_family = AF_UNSPEC;
	return info;
}

/* What a dump brings, before anybody is told: the callbacks ask the kernel themselves. */
struct found {
	struct fg_link_event *links;
	size_t n;
};

static int on_found(const struct nlmsghdr *nlh, void *arg)
{
	struct found *f = arg;
	struct fg_link_event e;

	if (!read_link(nlh, &e) || e.gone)
		return MNL_CB_OK;
	f->links = reallocarray(f->links, f->n + 1, sizeof(e));
	if (!f->links)
		abort();
	f->links[f->n++] = e;
	return MNL_CB_OK;
}

int fg_linkwatch_scan(struct fg_linkwatch *w, struct fg_error *err)
{
	struct found f = { 0 };
	int rc = -EINTR;

	for (int i = 0; i < SCAN_TRIES && rc == -EINTR; i++) { /* a dump that was overtaken by a change */
		char buf[256] = { 0 };
		struct nlmsghdr *nlh;
		f.n = 0;
		link_request(buf, RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, &nlh);
		rc = ask(w, nlh, on_found, &f);
	}
	for (size_t i = 0; rc == 0 && i < f.n; i++)
		w->cbs.link(w->cbs.arg, &f.links[i]);
	free(f.links);
	return rc < 0 ? fg_error_errno(err, FG_EUNREACHABLE, -rc, "cannot list the network devices") : 0;
}

int fg_linkwatch_get(struct fg_linkwatch *w, uint32_t ifindex, struct fg_link_event *out, struct fg_error *err)
{
	char buf[256] = { 0 };
	struct found f = { 0 };
	struct nlmsghdr *nlh;

	link_request(buf, RTM_GETLINK, NLM_F_REQUEST | NLM_F_ACK, &nlh)->ifi_index = (int)ifindex;
	int rc = ask(w, nlh, on_found, &f);
	if (rc == 0 && f.n == 1)
		*out = f.links[0];
	else if (rc == 0 || rc == -ENODEV)
		rc = fg_error_set(err, FG_ENOTFOUND, "there is no device %u", ifindex);
	else
		rc = fg_error_errno(err, FG_EUNREACHABLE, -rc, "cannot ask for device %u", ifindex);
	free(f.links);
	return rc;
}

static int set_up(struct fg_linkwatch *w, struct mnl_socket *nl, uint32_t ifindex, bool up, struct fg_error *err)
{
	char buf[256] = { 0 };
	struct nlmsghdr *nlh;
	struct ifinfomsg *info = link_request(buf, RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK, &nlh);

	info->ifi_index = (int)ifindex;
	info->ifi_change = IFF_UP;
	info->ifi_flags = up ? IFF_UP : 0;
	int rc = ask_at(w, nl, nlh, NULL, NULL);
	if (rc == 0)
		return 0;
	return fg_error_errno(err, rc == -ENODEV ? FG_ENOTFOUND : FG_EFAILED, -rc, "cannot set device %u %s", ifindex,
			      up ? "up" : "down");
}

int fg_linkwatch_set_up(struct fg_linkwatch *w, uint32_t ifindex, bool up, struct fg_error *err)
{
	return set_up(w, w->ask, ifindex, up, err);
}

int fg_linkwatch_set_down_in(struct fg_linkwatch *w, int32_t nsid, uint32_t ifindex, struct fg_error *err)
{
	struct mnl_socket *there = NULL;
	int rc = fg_netns_route_socket(nsid, &there, err);

	if (rc < 0)
		return rc;
	rc = set_up(w, there, ifindex, false, err);
	mnl_socket_close(there);
	return rc;
}
