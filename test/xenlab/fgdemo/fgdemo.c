// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * The demo's "vulnerable" daemon: says FGDEMO_BANNER to whoever connects to TCP port 7777 (IPv4 and IPv6) and closes.
 * "fgdemo --version" prints the same banner.
 */
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef FGDEMO_BANNER
#error "FGDEMO_BANNER is set by mkdeb"
#endif

static const char banner[] = FGDEMO_BANNER "\n";

int main(int argc, char **argv)
{
	struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_port = htons(7777) };
	int on = 1;
	int fd;

	if (argc > 1 && !strcmp(argv[1], "--version")) {
		fputs(banner, stdout);
		return 0;
	}
	signal(SIGPIPE, SIG_IGN);
	fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
	    bind(fd, (struct sockaddr *)&any, sizeof(any)) || listen(fd, 16)) {
		perror("fgdemo: port 7777");
		return 1;
	}
	for (;;) {
		int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

		if (peer < 0)
			continue;
		if (write(peer, banner, sizeof(banner) - 1) < 0)
			perror("fgdemo: write, ignoring");
		close(peer);
	}
}
