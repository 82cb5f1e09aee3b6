/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The quarantine of a guest's NICs: nf_tables, netdev family, table "fixgate", one ingress and one
 * egress base chain per netdev, default drop.  See docs/filter.md.
 *
 * Calling sequence:
 *	fg_filter_open -> fg_filter_isolate / _release / _list / _verify … -> fg_filter_close
 * Each call is one netlink transaction: it takes effect whole or not at all, and isolating a guest
 * that is isolated replaces its rules without a gap.  Calls block for as long as the kernel takes
 * (about a millisecond); they never wait for a peer.  Needs CAP_NET_ADMIN.
 *
 * "ingress" of a backend netdev = frames the guest sends; "egress" = frames to the guest.
 */
#ifndef FIXGATE_FILTER_H
#define FIXGATE_FILTER_H

#include <fixgate/error.h>

#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FG_FILTER_TABLE "fixgate"
#define FG_FILTER_DEVS_MAX 64 /* netdevs of one guest */
#define FG_FILTER_ADDRS_MAX 64 /* addresses of one guest, either family */
#define FG_FILTER_SERVERS_MAX 8
#define FG_FILTER_GATEWAYS_MAX 2 /* one a family */
#define FG_FILTER_GUESTS_MAX 16384 /* guests of one request */
#define FG_FILTER_RATE_DEFAULT                                                                                         \
	50000 /* frames a second, from the guest, each device: 25 Gbit/s of TCP with segmentation offload */

struct fg_ip {
	int family; /* AF_INET or AF_INET6 */
	union {
		struct in_addr v4;
		struct in6_addr v6;
	};
};

/* mac: the link address to reach it by; all zero = unknown.  A server without one takes the gateway's of its family; where
 * that is not known either, no IP passes.  The guest's frames to it must carry it, and the guest's ARP requests and solicitations are turned into unicast frames to it, so that nobody
 * else on the link sees one frame of an isolated guest. */
struct fg_filter_server {
	struct fg_ip address;
	uint16_t port;
	uint8_t mac[6];
};
struct fg_filter_gateway {
	struct fg_ip address;
	uint8_t mac[6];
};

struct fg_filter_dev {
	char name[IFNAMSIZ];
	uint8_t mac[6]; /* the guest's MAC on it */
};

struct fg_filter_guest {
	char uuid[37];
	struct fg_filter_dev *devs;
	size_t n_devs;
	struct fg_ip *addresses;
	size_t n_addresses; /* none = not known: source address is not checked */
	struct fg_filter_server *servers;
	size_t n_servers;
	struct fg_filter_gateway *gateways;
	size_t n_gateways; /* at most one a family */
	struct fg_ip dhcp; /* family 0 = no DHCP */
	uint32_t rate_pps; /* 0 = FG_FILTER_RATE_DEFAULT */
	/* dom0 routes for it (vif-route): its only neighbour is the host's end of each NIC, whose own MAC, as the kernel has it,
	 * is that of all servers and gateways.  None of them has one here.  On a port of a bridge or switch it is not known. */
	bool routed;
	bool closed; /* drop-all: nothing above but devs matters */
};

struct fg_filter; /* a netlink socket */

int fg_filter_open(struct fg_filter **out, struct fg_error *err) FG_MUST_CHECK;
void fg_filter_close(struct fg_filter *f);

/* All guests in one transaction.  REFUSED if a device is not a guest's (eth0, a bridge …), NOTFOUND if it is gone. */
int fg_filter_isolate(struct fg_filter *f, const struct fg_filter_guest *guests, size_t n,
		      struct fg_error *err) FG_MUST_CHECK;
/* Remove all that the guests have; a guest that has nothing is no error. */
int fg_filter_release(struct fg_filter *f, const char *const *uuids, size_t n, struct fg_error *err) FG_MUST_CHECK;
/* 0 only if the kernel holds exactly what isolate would install; DIFFERS names the first difference. */
int fg_filter_verify(struct fg_filter *f, const struct fg_filter_guest *guest, struct fg_error *err) FG_MUST_CHECK;

struct fg_filter_counter {
	char reason[32];
	uint64_t frames, bytes;
};
struct fg_filter_dev_status {
	char dev[IFNAMSIZ];
	bool closed;
	struct fg_filter_counter *from_guest;
	size_t n_from_guest;
	struct fg_filter_counter *to_guest;
	size_t n_to_guest;
};
struct fg_filter_status {
	char uuid[37];
	struct fg_filter_dev_status *devs;
	size_t n_devs;
};

/* What the kernel holds, by guest.  Free with fg_filter_status_free. */
int fg_filter_list(struct fg_filter *f, struct fg_filter_status **out, size_t *n, struct fg_error *err) FG_MUST_CHECK;
void fg_filter_status_free(struct fg_filter_status *status, size_t n);

/*
 * Simulate: what the rules of an isolated guest do with frames of a capture.  The very rules that isolate sends to the kernel,
 * interpreted; no kernel, no privileges.  The rate limit runs by the frames' times, from a full bucket at the first one.
 *	fg_filter_sim_new -> fg_filter_sim_frame … -> fg_filter_sim_free
 */
enum fg_filter_direction {
	FG_FILTER_BY_SOURCE, /* from the guest if the source MAC is the guest's, else to it: no spoofed MAC is seen */
	FG_FILTER_FROM_GUEST,
	FG_FILTER_TO_GUEST
};
enum fg_filter_outcome {
	FG_FILTER_PASS,
	FG_FILTER_DROP,
	FG_FILTER_CUT /* a rule looks at bytes that were not captured */
};
struct fg_filter_frame {
	const uint8_t *bytes; /* from the Ethernet header on, tags in their place, without FCS */
	size_t captured, length; /* bytes here; bytes on the wire */
	int64_t time_ns; /* since any moment */
};
struct fg_filter_verdict {
	enum fg_filter_outcome outcome;
	enum fg_filter_direction direction; /* never BY_SOURCE */
	const char *reason; /* as it is counted; "runt" (no hook sees it), "capture-too-short"; static */
	bool rewritten; /* the destination MAC becomes dmac */
	uint8_t dmac[6];
};
struct fg_filter_sim;
/* USAGE as isolate, and if the devices differ in their MAC: a capture is of one interface; or if the guest is routed: the MACs have
 * to be given. Devices need not exist. */
int fg_filter_sim_new(const struct fg_filter_guest *guest, struct fg_filter_sim **out,
		      struct fg_error *err) FG_MUST_CHECK;
void fg_filter_sim_frame(struct fg_filter_sim *sim, enum fg_filter_direction direction,
			 const struct fg_filter_frame *frame, struct fg_filter_verdict *out);
void fg_filter_sim_free(struct fg_filter_sim *sim);

/*
 * Marks: one file per isolated guest, FG_FILTER_MARK_DIR/<uuid>.json, written durably before the first
 * transaction and removed after release.  vif-fixgate and the restore at boot read them: a vif of a marked guest is armed
 * before it is handed on.  The mark holds everything of struct fg_filter_guest but the device names (devs carry MACs).
 */
#define FG_FILTER_MARK_DIR "/var/lib/fixgate/isolated"
int fg_filter_mark_write(const char *dir, const struct fg_filter_guest *guest, struct fg_error *err) FG_MUST_CHECK;
int fg_filter_mark_read(const char *dir, const char *uuid, struct fg_filter_guest **out,
			struct fg_error *err) FG_MUST_CHECK;
int fg_filter_mark_remove(const char *dir, const char *uuid, struct fg_error *err) FG_MUST_CHECK;
void fg_filter_guest_free(struct fg_filter_guest *guest); /* of fg_filter_mark_read */

#endif
