/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What happens to network devices and to the filter's table, told by the kernel: rtnetlink(7) group RTNLGRP_LINK and
 * nfnetlink group NFNLGRP_NFTABLES, in the event loop.  Nothing is polled.
 *
 *	fg_linkwatch_open -> fg_linkwatch_scan -> [loop] -> fg_linkwatch_close
 * Callbacks come from the loop, and from inside fg_linkwatch_scan.
 */
#ifndef FG_LINKWATCH_H
#define FG_LINKWATCH_H

#include <fixgate/error.h>

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

struct event_base;
struct fg_linkwatch;

struct fg_link_event {
	bool gone; /* from this network namespace */
	uint32_t ifindex, master; /* master 0: none */
	char name[IFNAMSIZ];
	char kind[16]; /* IFLA_INFO_KIND: "tun", "veth", "bridge" …; "" for hardware and Xen's vifs */
	uint16_t type; /* ARPHRD_… */
	uint8_t mac[6];
	bool up;
	uint64_t frames; /* received and sent since it was made */
	int32_t to_nsid; /* gone: moved to the namespace of this id; -1: not moved */
	uint32_t to_ifindex;
	int64_t at_ms; /* monotonic: when it was read */
};

#define FG_RULESET_CHAINS_MAX 64

/* One transaction of nf_tables that changed table netdev fixgate. */
struct fg_ruleset_event {
	bool all; /* the table itself was changed, or too many chains */
	char chains[FG_RULESET_CHAINS_MAX][64]; /* that were changed, made, deleted, or have other rules now */
	size_t n_chains;
	uint32_t portid; /* of the socket that asked for it */
	uint32_t pid; /* of the process, as the kernel counts; 0: not known */
	char process[32];
	int64_t at_ms;
};

struct fg_linkwatch_cbs {
	void (*link)(void *arg, const struct fg_link_event *event);
	void (*ruleset)(void *arg, const struct fg_ruleset_event *event);
	/* Notifications were lost (ENOBUFS): look at everything.  since_ms: when all was known for the last time. */
	void (*lost)(void *arg, int64_t since_ms);
	void *arg;
};

/* NOTALLOWED without CAP_NET_ADMIN. */
int fg_linkwatch_open(struct event_base *base, const struct fg_linkwatch_cbs *cbs, struct fg_linkwatch **out,
		      struct fg_error *err) FG_MUST_CHECK;
void fg_linkwatch_close(struct fg_linkwatch *w);

/* cbs.link for every device that is there. */
int fg_linkwatch_scan(struct fg_linkwatch *w, struct fg_error *err) FG_MUST_CHECK;
/* NOTFOUND if there is none with that index. */
int fg_linkwatch_get(struct fg_linkwatch *w, uint32_t ifindex, struct fg_link_event *out,
		     struct fg_error *err) FG_MUST_CHECK;
int fg_linkwatch_set_up(struct fg_linkwatch *w, uint32_t ifindex, bool up, struct fg_error *err) FG_MUST_CHECK;
/* Down, in the namespace of that id (struct fg_link_event, to_nsid). */
int fg_linkwatch_set_down_in(struct fg_linkwatch *w, int32_t nsid, uint32_t ifindex,
			     struct fg_error *err) FG_MUST_CHECK;

#endif
