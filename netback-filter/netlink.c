/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "netlink.h"

#include <lib/util.h>

#include <arpa/inet.h>
#include <errno.h>
#include <libnftnl/common.h>
#include <libnftnl/gen.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>

#define RECEIVE_QUEUE_BYTES (4 * 1024 * 1024)
#define MSG_ROOM (64 * 1024) /* the largest rule is far below: 10 matches of 4 expressions */
#define ERESTART_KERNEL 85 /* linux/errno.h of the kernel; the libc has the same number as ERESTART */

int fg_netlink_open(struct fg_netlink *nl, int bus, struct fg_error *err)
{
	const int bytes = RECEIVE_QUEUE_BYTES, one = 1;

	memset(nl, 0, sizeof(*nl));
	nl->socket = mnl_socket_open2(bus, SOCK_CLOEXEC);
	if (!nl->socket || mnl_socket_bind(nl->socket, 0, MNL_SOCKET_AUTOPID) < 0) {
		int sys = errno;
		fg_netlink_close(nl);
		return fg_error_errno(err, FG_EFAILED, sys, "cannot open a netlink socket");
	}
	int fd = mnl_socket_get_fd(nl->socket);
	/* needs CAP_NET_ADMIN; without it the kernel's default stays */
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) < 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	/* errors come back without the message they are about: a large batch needs no large queue */
	(void)mnl_socket_setsockopt(nl->socket, NETLINK_CAP_ACK, (void *)(uintptr_t)&one, sizeof(one));
	nl->portid = mnl_socket_get_portid(nl->socket);
	nl->seq = (uint32_t)fg_monotonic_ms();
	/* Not zeroed: a process that runs for one request would pay for 32 pages that no answer fills. */
	nl->buf = malloc(FG_NETLINK_REPLY_BYTES + 1);
	if (!nl->buf)
		abort();
	nl->buf[FG_NETLINK_REPLY_BYTES] = '\0'; /* a text without end ends there: libnftnl looks for a NUL */
	return 0;
}

void fg_netlink_close(struct fg_netlink *nl)
{
	if (nl->socket)
		mnl_socket_close(nl->socket);
	free(nl->buf);
	memset(nl, 0, sizeof(*nl));
}

/* libmnl takes a length of over 2 GiB for a negative one and goes on. */
static bool well_formed(const char *buf, size_t len)
{
	for (size_t at = 0; len - at >= sizeof(struct nlmsghdr);) {
		struct nlmsghdr h;
		memcpy(&h, buf + at, sizeof(h));
		if (h.nlmsg_len < sizeof(h) || h.nlmsg_len > len - at)
			return false;
		if (MNL_ALIGN(h.nlmsg_len) >= len - at)
			return true;
		at += MNL_ALIGN(h.nlmsg_len);
	}
	return true;
}

static ssize_t receive(struct fg_netlink *nl)
{
	ssize_t n;

	do
		n = mnl_socket_recvfrom(nl->socket, nl->buf, FG_NETLINK_REPLY_BYTES);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return well_formed(nl->buf, (size_t)n) ? n : -EBADMSG;
}

static int send_all(struct fg_netlink *nl, const void *data, size_t len)
{
	ssize_t n;

	do
		n = mnl_socket_sendto(nl->socket, data, len);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

#define ERRNO_MAX 4095 /* linux/err.h: MAX_ERRNO */

static int as_errno(int code)
{
	return code < 0 && code >= -ERRNO_MAX ? code : -EBADMSG;
}

/* Throw away what is left of a dump that was given up. */
static void drain(struct fg_netlink *nl)
{
	while (recv(mnl_socket_get_fd(nl->socket), nl->buf, FG_NETLINK_REPLY_BYTES, MSG_DONTWAIT) >= 0 ||
	       errno == EINTR || errno == ENOBUFS)
		;
}

int fg_netlink_ask(struct fg_netlink *nl, struct nlmsghdr *request, mnl_cb_t cb, void *data)
{
	request->nlmsg_seq = ++nl->seq;
	int rc = send_all(nl, request, request->nlmsg_len);
	if (rc < 0)
		return rc;
	for (;;) {
		ssize_t n = receive(nl);
		if (n < 0) {
			drain(nl);
			return n == -ENOBUFS ? -EINTR : (int)n; /* answers were lost: ask again */
		}
		errno = 0;
		rc = mnl_cb_run(nl->buf, (size_t)n, request->nlmsg_seq, nl->portid, cb, data);
		if (rc == MNL_CB_STOP)
			return 0;
		if (rc < 0) {
			rc = errno > 0 ? as_errno(-errno) : -EBADMSG; /* never 0: that would be an answer */
			drain(nl);
			return rc;
		}
	}
}

static int on_generation(const struct nlmsghdr *nlh, void *data)
{
	struct nftnl_gen *gen = nftnl_gen_alloc();
	int rc = gen && nftnl_gen_nlmsg_parse(nlh, gen) == 0 ? MNL_CB_OK : MNL_CB_ERROR;

	if (rc == MNL_CB_OK)
		*(uint32_t *)data = nftnl_gen_get_u32(gen, NFTNL_GEN_ID);
	if (gen)
		nftnl_gen_free(gen);
	if (rc == MNL_CB_ERROR)
		errno = EBADMSG;
	return rc;
}

int fg_netlink_generation(struct fg_netlink *nl, uint32_t *out, struct fg_error *err)
{
	char buf[256] = { 0 };
	uint32_t id = 0;
	struct nlmsghdr *nlh = nftnl_nlmsg_build_hdr(buf, NFT_MSG_GETGEN, NFPROTO_UNSPEC, NLM_F_ACK, 0);
	int rc = fg_netlink_ask(nl, nlh, on_generation, &id);

	if (rc < 0)
		return fg_error_errno(err, rc == -EPERM ? FG_ENOTALLOWED : FG_EUNREACHABLE, -rc,
				      "cannot ask nf_tables for its generation");
	*out = id;
	return 0;
}

static void make_room(struct fg_batch *b)
{
	if (b->cap - b->len >= MSG_ROOM)
		return;
	b->cap = b->cap ? 2 * b->cap : 4 * MSG_ROOM;
	b->buf = realloc(b->buf, b->cap);
	if (!b->buf)
		abort();
}

void fg_batch_init(struct fg_batch *b, uint32_t generation)
{
	memset(b, 0, sizeof(*b));
	make_room(b);
	struct nlmsghdr *nlh = nftnl_batch_begin(b->buf, b->seq++);
	mnl_attr_put_u32(nlh, NFNL_BATCH_GENID, htonl(generation));
	b->len = b->head = MNL_ALIGN(nlh->nlmsg_len);
}

void fg_batch_clear(struct fg_batch *b)
{
	b->len = b->head;
	b->changes = 0;
	b->chains = 0;
}

struct nlmsghdr *fg_batch_msg(struct fg_batch *b, uint16_t type, uint16_t flags)
{
	make_room(b);
	return nftnl_nlmsg_build_hdr(b->buf + b->len, type, NFPROTO_NETDEV, flags, b->seq++);
}

void fg_batch_add(struct fg_batch *b, const struct nlmsghdr *nlh)
{
	b->last = b->len;
	b->len += MNL_ALIGN(nlh->nlmsg_len);
	b->changes++;
}

void fg_batch_free(struct fg_batch *b)
{
	free(b->buf);
	memset(b, 0, sizeof(*b));
}

/* The first error is the cause; the others are of messages that leaned on it. */
struct outcome {
	uint32_t ack_seq;
	bool acked;
	int error;
};

static void read_outcome(const char *buf, size_t len, struct outcome *o)
{
	int left = (int)len;
	const struct nlmsghdr *nlh = (const struct nlmsghdr *)(const void *)buf;

	for (; mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left)) {
		if (nlh->nlmsg_type != NLMSG_ERROR || mnl_nlmsg_get_payload_len(nlh) < sizeof(struct nlmsgerr))
			continue;
		const struct nlmsgerr *e = mnl_nlmsg_get_payload(nlh);
		if (e->error && !o->error)
			o->error = as_errno(e->error);
		if (nlh->nlmsg_seq == o->ack_seq && !e->error)
			o->acked = true;
	}
}

static int classify(int error, bool *stale, struct fg_error *err)
{
	switch (error) {
	case -ERESTART_KERNEL:
		*stale = true;
		return 0;
	case -EPERM:
		return fg_error_errno(err, FG_ENOTALLOWED, EPERM, "nf_tables transaction");
	case -ENOENT:
	case -ENODEV:
		return fg_error_errno(err, FG_ENOTFOUND, -error,
				      "nf_tables transaction: a device or a part of nf_tables is missing");
	case -ENOMEM:
		return fg_error_errno(err, FG_ENOMEM, ENOMEM, "nf_tables transaction");
	default:
		return fg_error_errno(err, FG_EFAILED, -error, "nf_tables transaction");
	}
}

int fg_netlink_commit(struct fg_netlink *nl, struct fg_batch *b, bool *stale, struct fg_error *err)
{
	struct nlmsghdr *last = (struct nlmsghdr *)(void *)(b->buf + b->last);
	struct outcome o = { .ack_seq = last->nlmsg_seq };

	*stale = false;
	last->nlmsg_flags |= NLM_F_ACK; /* one answer a transaction, from its end */
	make_room(b);
	struct nlmsghdr *end = nftnl_batch_end(b->buf + b->len, b->seq++);
	b->len += MNL_ALIGN(end->nlmsg_len);
	if (b->len > FG_BATCH_BYTES_MAX)
		return fg_error_set(err, FG_ELIMIT, "the request makes a transaction of %zu bytes", b->len);

	int bytes = (int)b->len + 4096, fd = mnl_socket_get_fd(nl->socket);
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)) < 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	drain(nl);
	int rc = send_all(nl, b->buf, b->len);
	if (rc < 0)
		return fg_error_errno(err, rc == -EPERM ? FG_ENOTALLOWED : FG_EFAILED, -rc,
				      "cannot send %zu bytes to nf_tables", b->len);
	/* The kernel has worked it off when send returns: all answers are in the queue. */
	for (;;) {
		ssize_t n = recv(fd, nl->buf, FG_NETLINK_REPLY_BYTES, MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == ENOBUFS) {
			*stale = true; /* answers were lost: look at what is there and compute again */
			continue;
		}
		if (n < 0)
			break;
		if (!well_formed(nl->buf, (size_t)n))
			continue; /* as if there were no answer */
		read_outcome(nl->buf, (size_t)n, &o);
	}
	if (o.error)
		return *stale ? 0 : classify(o.error, stale, err);
	if (o.acked) {
		*stale = false;
		return 0;
	}
	return *stale ? 0 : fg_error_set(err, FG_EUNREACHABLE, "nf_tables did not answer the transaction");
}
