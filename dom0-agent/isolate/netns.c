/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "netns.h"

#include <lib/util.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/net_namespace.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEEN_MAX 4096 /* namespaces of one host */

struct search {
	struct mnl_socket *ask; /* in our own namespace */
	int32_t nsid;
	ino_t *seen;
	size_t n_seen;
	int fd; /* found; -1 */
};

static int on_nsid(const struct nlmsghdr *nlh, void *arg)
{
	const struct nlattr *a;

	mnl_attr_for_each(a, nlh, sizeof(struct rtgenmsg))
	{
		if (mnl_attr_get_type(a) == NETNSA_NSID && mnl_attr_get_payload_len(a) >= 4)
			*(int32_t *)arg = (int32_t)mnl_attr_get_u32(a);
	}
	return MNL_CB_OK;
}

/* NETNSA_NSID_NOT_ASSIGNED (-1) for one that we have no id of, or when the kernel does not say. */
static int32_t nsid_of(const struct search *s, int fd)
{
	char buf[1024];
	int32_t nsid = NETNSA_NSID_NOT_ASSIGNED;
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);

	nlh->nlmsg_type = RTM_GETNSID;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	nlh->nlmsg_seq = (uint32_t)fd + 1;
	struct rtgenmsg *gen = mnl_nlmsg_put_extra_header(nlh, sizeof(*gen));
	gen->rtgen_family = AF_UNSPEC;
	mnl_attr_put_u32(nlh, NETNSA_FD, (uint32_t)fd);
	const uint32_t seq = nlh->nlmsg_seq;
	if (mnl_socket_sendto(s->ask, nlh, nlh->nlmsg_len) < 0)
		return NETNSA_NSID_NOT_ASSIGNED;
	for (int rc = 1; rc > 0;) {
		ssize_t n = mnl_socket_recvfrom(s->ask, buf, sizeof(buf));
		if (n < 0 && errno == EINTR)
			continue;
		rc = n < 0 ? -1 : mnl_cb_run(buf, (size_t)n, seq, mnl_socket_get_portid(s->ask), on_nsid, &nsid);
	}
	return nsid;
}

static bool seen_before(struct search *s, ino_t ino)
{
	for (size_t i = 0; i < s->n_seen; i++)
		if (s->seen[i] == ino)
			return true;
	if (s->n_seen == SEEN_MAX)
		return true;
	s->seen[s->n_seen++] = ino;
	return false;
}

static void try_path(struct search *s, int dir, const char *path)
{
	fg_autoclose int fd = openat(dir, path, O_RDONLY | O_CLOEXEC);
	struct stat st;

	if (fd >= 0 && fstat(fd, &st) == 0 && !seen_before(s, st.st_ino) && nsid_of(s, fd) == s->nsid)
		s->fd = FG_TAKE_FD(fd);
}

/* suffix: "" in /run/netns, "/ns/net" in /proc, where only numbers are processes. */
static void try_folder(struct search *s, const char *folder, const char *suffix)
{
	DIR *d = opendir(folder);
	const struct dirent *e;

	while (d && s->fd < 0 && (e = readdir(d)) != NULL) {
		char path[300];
		if (e->d_name[0] == '.' || (suffix[0] && (e->d_name[0] < '1' || e->d_name[0] > '9')))
			continue;
		snprintf(path, sizeof(path), "%s%s", e->d_name, suffix);
		try_path(s, dirfd(d), path);
	}
	if (d)
		closedir(d);
}

static int open_there(int there, struct mnl_socket **out, struct fg_error *err)
{
	fg_autoclose int home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);

	if (home < 0 || setns(there, CLONE_NEWNET) < 0)
		return fg_error_errno(err, FG_EFAILED, errno, "cannot enter the other network namespace");
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	int sys = errno;
	if (setns(home, CLONE_NEWNET) < 0)
		abort(); /* never go on in the wrong one */
	if (!nl || mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0) {
		sys = nl ? errno : sys;
		if (nl)
			mnl_socket_close(nl);
		return fg_error_errno(err, FG_EFAILED, sys, "cannot open a netlink socket in the other namespace");
	}
	*out = nl;
	return 0;
}

int fg_netns_route_socket(int32_t nsid, struct mnl_socket **out, struct fg_error *err)
{
	struct search s = { .nsid = nsid, .fd = -1 };
	int rc;

	s.ask = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	if (!s.ask || mnl_socket_bind(s.ask, 0, MNL_SOCKET_AUTOPID) < 0) {
		rc = fg_error_errno(err, FG_EFAILED, errno, "cannot open a netlink socket");
	} else {
		s.seen = fg_calloc(SEEN_MAX, sizeof(*s.seen));
		try_folder(&s, "/run/netns", "");
		try_folder(&s, "/proc", "/ns/net");
		rc = s.fd >= 0 ? open_there(s.fd, out, err)
			       : fg_error_set(err, FG_ENOTFOUND, "network namespace %d is not found", nsid);
	}
	fg_closep(&s.fd);
	free(s.seen);
	if (s.ask)
		mnl_socket_close(s.ask);
	return rc;
}
