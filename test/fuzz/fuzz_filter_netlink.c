/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Any bytes as the kernel's answers while netback-filter lists, verifies, isolates or releases.
 *
 * Input: a letter (l, v, i, r), then datagrams: 16 bits of length, little endian, and the bytes.  Length 0: no answer is left;
 * 0xffff: answers were lost.  The number of the request is put into each message.  test/fuzz/record_netlink.py makes seeds.
 * The functions of libmnl and of the libc that touch the socket are replaced by those below; and exit(3), which libnftnl
 * calls where an attribute has a length that no kernel gives it ("nf_tables kernel ABI is broken").
 */
#include <lib/util.h>
#include <netback-filter/filter.h>

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <setjmp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "target.h"

#define UUID "11111111-1111-4111-8111-111111111111"

static const uint8_t *input;
static size_t left;
static uint32_t seq;
static bool answering;
static jmp_buf given_up;
static bool inside;

/* Of the sanitizer build: what libnftnl holds when it gives up is no leak of ours. */
void __lsan_disable(void) __attribute__((weak));
void __lsan_enable(void) __attribute__((weak));

void exit(int status)
{
	if (inside)
		longjmp(given_up, 1);
	fflush(NULL);
	_exit(status);
}

int mnl_socket_get_fd(const struct mnl_socket *nl)
{
	(void)nl;
	return -1;
}

ssize_t mnl_socket_sendto(const struct mnl_socket *nl, const void *data, size_t len)
{
	int rest = (int)len;
	const struct nlmsghdr *first = data, *h = data;

	(void)nl;
	seq = h->nlmsg_seq;
	for (; mnl_nlmsg_ok(h, rest); h = mnl_nlmsg_next(h, &rest))
		if (h->nlmsg_flags & NLM_F_ACK)
			seq = h->nlmsg_seq;
	answering = first->nlmsg_type == NFNL_MSG_BATCH_BEGIN; /* only its answers are taken by recv(2) */
	return (ssize_t)len;
}

static const struct nlattr *inside_of(const struct nlattr *nest, uint16_t type)
{
	const struct nlattr *a;

	if (nest)
		mnl_attr_for_each_nested(a, nest) if (mnl_attr_get_type(a) == type) return a;
	return NULL;
}

/* libnftnl 1.2.4 takes for granted that an expression has a name and a verdict that leads to a chain names it. */
static bool libnftnl_dies_of(const struct nlmsghdr *nlh)
{
	const struct nlattr *list, *expr, *a;

	if ((nlh->nlmsg_type & 0xff) != NFT_MSG_NEWRULE || nlh->nlmsg_len < NLMSG_HDRLEN + sizeof(struct nfgenmsg))
		return false;
	mnl_attr_for_each(list, nlh, sizeof(struct nfgenmsg))
	{
		if (mnl_attr_get_type(list) != NFTA_RULE_EXPRESSIONS)
			continue;
		mnl_attr_for_each_nested(expr, list)
		{
			if (!inside_of(expr, NFTA_EXPR_NAME))
				return true;
			a = inside_of(inside_of(expr, NFTA_EXPR_DATA), NFTA_IMMEDIATE_DATA);
			a = inside_of(a, NFTA_DATA_VERDICT);
			const struct nlattr *code = inside_of(a, NFTA_VERDICT_CODE);
			if (code && mnl_attr_get_payload_len(code) >= 4 && (int32_t)ntohl(mnl_attr_get_u32(code)) < 0 &&
			    !inside_of(a, NFTA_VERDICT_CHAIN))
				return true;
		}
	}
	return false;
}

/* The next datagram, or -1 with errno. */
static ssize_t take(void *buf, size_t size)
{
	size_t n = left >= 2 ? (size_t)(input[0] | input[1] << 8) : 0;

	if (left >= 2) {
		input += 2;
		left -= 2;
	}
	if (n == 0 || n == 0xffff) {
		answering = n != 0;
		errno = n ? ENOBUFS : EAGAIN;
		return -1;
	}
	if (n > left)
		n = left;
	if (n > size)
		n = size;
	memcpy(buf, input, n);
	input += n;
	left -= n;
	for (size_t at = 0; n - at >= sizeof(struct nlmsghdr);) {
		struct nlmsghdr *h = (void *)((char *)buf + at);
		h->nlmsg_seq = seq;
		if (h->nlmsg_len < sizeof(*h) || h->nlmsg_len > n - at)
			break;
		if (libnftnl_dies_of(h))
			h->nlmsg_type = NLMSG_NOOP;
		if (MNL_ALIGN(h->nlmsg_len) >= n - at)
			break;
		at += MNL_ALIGN(h->nlmsg_len);
	}
	return (ssize_t)n;
}

ssize_t mnl_socket_recvfrom(const struct mnl_socket *nl, void *buf, size_t size)
{
	(void)nl;
	return take(buf, size);
}

ssize_t recv(int fd, void *buf, size_t size, int flags)
{
	(void)fd;
	(void)flags;
	if (answering)
		return take(buf, size);
	errno = EAGAIN;
	return -1;
}

static int ask(struct fg_filter *f, uint8_t verb, struct fg_error *err)
{
	struct fg_filter_dev dev = { "vif1.0", { 2, 0, 0, 0, 0, 1 } };
	const struct fg_filter_guest guest = { .uuid = UUID, .devs = &dev, .n_devs = 1, .closed = true };
	const char *uuid = UUID;
	struct fg_filter_status *status = NULL;
	size_t n = 0;
	int rc;

	switch (verb) {
	case 'v':
		return fg_filter_verify(f, &guest, err);
	case 'i':
		return fg_filter_isolate(f, &guest, 1, err);
	case 'r':
		return fg_filter_release(f, &uuid, 1, err);
	default:
		rc = fg_filter_list(f, &status, &n, err);
		if (rc == 0)
			fg_filter_status_free(status, n);
		return rc;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fg_autofree char *buf_nft = fg_calloc(FG_NETLINK_REPLY_BYTES, 1),
			 *buf_route = fg_calloc(FG_NETLINK_REPLY_BYTES, 1);
	struct mnl_socket *none = (struct mnl_socket *)(void *)buf_nft; /* never looked into */
	struct fg_filter f = { { .socket = none, .buf = buf_nft }, { .socket = none, .buf = buf_route } };
	struct fg_error err = FG_ERROR_INIT;

	if (size < 1)
		return 0;
	input = data + 1;
	left = size - 1;
	answering = false;
	if (__lsan_disable)
		__lsan_disable();
	if (setjmp(given_up) == 0) {
		inside = true;
		if (ask(&f, data[0], &err) < 0 && (!err.code || !err.text[0]))
			abort();
	}
	inside = false;
	if (__lsan_enable)
		__lsan_enable();
	return 0;
}
