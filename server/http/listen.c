/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/util.h>
#include <fcntl.h>
#include <lib/util.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Inherited by what is accepted. */
static void options_set(int fd)
{
	int one = 1;

	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

static int socket_open(const struct sockaddr *sa, socklen_t len, struct fg_error *err)
{
	int one = 1;
	fg_autoclose int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return fg_error_errno(err, FG_EIO, errno, "socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (sa->sa_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	options_set(fd);
	if (bind(fd, sa, len) < 0 || listen(fd, SOMAXCONN) < 0)
		return fg_error_errno(err, FG_EIO, errno, "bind");
	return FG_TAKE_FD(fd);
}

void fg_listen_text(int fd, char bound[FG_LISTEN_TEXT])
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	char text[INET6_ADDRSTRLEN] = "?";

	memset(&ss, 0, sizeof(ss));
	if (getsockname(fd, (struct sockaddr *)&ss, &len) < 0)
		len = 0;
	if (ss.ss_family == AF_INET6) {
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&ss;
		evutil_inet_ntop(AF_INET6, &in6->sin6_addr, text, sizeof(text));
		snprintf(bound, FG_LISTEN_TEXT, "[%s]:%d", text, ntohs(in6->sin6_port));
	} else {
		struct sockaddr_in *in = (struct sockaddr_in *)&ss;
		evutil_inet_ntop(AF_INET, &in->sin_addr, text, sizeof(text));
		snprintf(bound, FG_LISTEN_TEXT, "%s:%d", text, ntohs(in->sin_port));
	}
}

/* evutil_parse_sockaddr_port(3) alone takes no port 0. */
static int address_parse(const char *address, struct sockaddr_storage *ss, int *len, struct fg_error *err)
{
	fg_autofree char *host = fg_strdup(address);
	char *colon = strrchr(host, ':'), *end = NULL;
	long port = -1;

	if (colon && (host[0] != '[' || colon[-1] == ']')) {
		*colon = '\0';
		port = strtol(colon + 1, &end, 10);
	}
	memset(ss, 0, sizeof(*ss));
	*len = sizeof(*ss);
	if (port < 0 || port > 65535 || end == colon + 1 || *end ||
	    evutil_parse_sockaddr_port(host, (struct sockaddr *)ss, len) < 0)
		return fg_error_set(err, FG_EUSAGE, "'%s' is no ADDRESS:PORT or [ADDRESS]:PORT", address);
	if (ss->ss_family == AF_INET6)
		((struct sockaddr_in6 *)ss)->sin6_port = htons((uint16_t)port);
	else
		((struct sockaddr_in *)ss)->sin_port = htons((uint16_t)port);
	return 0;
}

int fg_listen_open(const char *address, struct fg_error *err)
{
	struct sockaddr_storage ss;
	int len = 0, rc = address_parse(address, &ss, &len, err);

	if (rc < 0)
		return rc;
	rc = socket_open((struct sockaddr *)&ss, (socklen_t)len, err);
	if (rc < 0)
		fg_error_wrap(err, "cannot listen on %s", address);
	return rc;
}

int fg_listen_adopt(int fd, struct fg_error *err)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss), size = sizeof(int);
	int type = 0, listens = 0;

	memset(&ss, 0, sizeof(ss));
	if (getsockname(fd, (struct sockaddr *)&ss, &len) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) < 0 || type != SOCK_STREAM || !listens ||
	    (ss.ss_family != AF_INET && ss.ss_family != AF_INET6))
		return fg_error_set(err, FG_EREFUSED, "descriptor %d is no listening TCP socket", fd);
	options_set(fd);
	if (evutil_make_socket_nonblocking(fd) < 0 || evutil_make_socket_closeonexec(fd) < 0)
		return fg_error_errno(err, FG_EIO, errno, "descriptor %d", fd);
	return 0;
}
