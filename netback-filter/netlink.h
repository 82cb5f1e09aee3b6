/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Netlink: dumps of nf_tables, one-transaction batches, and questions about links.
 *
 *	fg_netlink_open -> fg_netlink_generation -> fg_netlink_dump … -> fg_batch_init -> fg_batch_msg … ->
 *	fg_netlink_commit -> fg_batch_free -> fg_netlink_close
 *
 * A batch carries the generation it was computed from.  If another program changed the ruleset meanwhile the kernel
 * refuses it, nothing is changed, and *stale says to compute it again.
 */
#ifndef FG_FILTER_NETLINK_H
#define FG_FILTER_NETLINK_H

#include <fixgate/error.h>

#include <libmnl/libmnl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FG_NETLINK_REPLY_BYTES (128 * 1024) /* the kernel fills at most 32 KiB a datagram of a dump */

struct fg_netlink {
	struct mnl_socket *socket;
	uint32_t portid, seq;
	char *buf; /* for replies, FG_NETLINK_REPLY_BYTES and a NUL */
};

/* bus: NETLINK_NETFILTER or NETLINK_ROUTE. */
int fg_netlink_open(struct fg_netlink *nl, int bus, struct fg_error *err) FG_MUST_CHECK;
void fg_netlink_close(struct fg_netlink *nl);

/* Send one request and give each answer to cb.  Returns 0, or a negative errno: -ENOENT if the kernel knows no such thing,
 * -EINTR if a dump was overtaken by a change (start again). */
int fg_netlink_ask(struct fg_netlink *nl, struct nlmsghdr *request, mnl_cb_t cb, void *data);

/* The number of the ruleset's last change. */
int fg_netlink_generation(struct fg_netlink *nl, uint32_t *out, struct fg_error *err) FG_MUST_CHECK;

#define FG_BATCH_BYTES_MAX (INT32_MAX / 4) /* of one transaction: the socket's buffer is set by an int */

struct fg_batch {
	char *buf;
	size_t len, cap;
	uint32_t seq;
	size_t changes; /* messages between begin and end */
	size_t last; /* offset of the last message */
	size_t head; /* bytes of its beginning */
	long chains; /* made less deleted */
};
void fg_batch_init(struct fg_batch *b, uint32_t generation);
/* A new message; there is room for one rule or chain behind it.  Valid until the next call.  Then fg_batch_add it. */
struct nlmsghdr *fg_batch_msg(struct fg_batch *b, uint16_t type, uint16_t flags);
void fg_batch_add(struct fg_batch *b, const struct nlmsghdr *nlh);
/* Without content, as after fg_batch_init. */
void fg_batch_clear(struct fg_batch *b);
void fg_batch_free(struct fg_batch *b);

/* All of the batch or nothing.  *stale as above, with 0 returned and nothing changed. */
int fg_netlink_commit(struct fg_netlink *nl, struct fg_batch *b, bool *stale, struct fg_error *err) FG_MUST_CHECK;

#endif
