// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * The talker runs in each guest of the lab and talks without pause, so that a capture shows when the guest could
 * reach whom, and counts show what was lost.
 *
 *   talker NAME FORBIDDEN4 FORBIDDEN6 [NEIGHBOUR4 | NEIGHBOUR6]...
 *
 * To the forbidden host: TCP port 7700 (one long connection, a record each 250 ms), UDP port 7701 over IPv4 and IPv6
 * (a datagram each 250 ms), ICMP echo over IPv4 and IPv6 (each second). To each neighbour: UDP port 7702 each second,
 * where the neighbour's own talker counts it. Until the forbidden host has taken its first connection all of that is
 * four times as slow: most scenarios have no such host, and four guests that talk cost a fifth of the emulator's time.
 *
 * Each of them is one line: "FG name kind boot conn seq\n". boot is new each time the talker starts, conn counts the
 * TCP connections that were established (0 for all other kinds), seq starts at 1 in each boot (TCP: in each connection).
 *
 * TCP port 7799 is for tests only: it takes one line, runs it as root and answers the output and then "=rc N\n".
 * The line "stat" answers the talker's own counts as JSON.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { TCP_PORT = 7700, UDP_PORT = 7701, NEIGHBOUR_PORT = 7702, COMMAND_PORT = 7799 };
enum {
	TICK_MS = 250,
	SLOW_TICK_MS = 1000,
	TICKS_PER_SECOND = 4,
	CONNECT_MS = 3000,
	RETRY_MS = 1000,
	TCP_STUCK_MS = 10000
};
enum { MAX_FLOWS = 32, MAX_PEERS = 32, LINE = 160 };

struct flow { /* something sent by datagram */
	const char *kind;
	int fd;
	int every; /* ticks */
	struct sockaddr_storage to;
	socklen_t to_len;
	int icmp; /* echo request type, 0 for UDP */
	uint64_t seq, failed;
};

struct peer { /* a neighbour whose datagrams come here */
	char name[32], kind[16];
	unsigned int boot;
	uint64_t first, last, received, late;
};

static struct {
	const char *name;
	unsigned int boot;
	struct flow flows[MAX_FLOWS];
	int flow_count;
	struct peer peers[MAX_PEERS];
	int peer_count;
	struct sockaddr_in tcp_to;
	int tcp_fd, tcp_up;
	int64_t tcp_next_ms; /* connect deadline, or time of the next attempt */
	unsigned int tcp_conn;
	uint64_t tcp_seq;
} self = { .tcp_fd = -1 };

static void die(const char *what)
{
	fprintf(stderr, "talker: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int record(char *line, const char *kind, unsigned int conn, uint64_t seq)
{
	return snprintf(line, LINE, "FG %s %s %08x %u %llu\n", self.name, kind, self.boot, conn,
			(unsigned long long)seq);
}

static socklen_t address(const char *text, int port, struct sockaddr_storage *to)
{
	struct sockaddr_in *in = (struct sockaddr_in *)to;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)to;

	memset(to, 0, sizeof(*to));
	if (inet_pton(AF_INET, text, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		in->sin_port = htons(port);
		return sizeof(*in);
	}
	if (inet_pton(AF_INET6, text, &in6->sin6_addr) == 1) {
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(port);
		return sizeof(*in6);
	}
	errno = EINVAL;
	die(text);
	return 0;
}

static void add_flow(const char *kind4, const char *kind6, const char *to, int port, int icmp, int every)
{
	struct flow *flow = &self.flows[self.flow_count];
	int v6, type, proto;

	if (self.flow_count == MAX_FLOWS) {
		errno = E2BIG;
		die(to);
	}
	flow->to_len = address(to, port, &flow->to);
	v6 = flow->to.ss_family == AF_INET6;
	flow->kind = v6 ? kind6 : kind4;
	flow->every = every;
	type = icmp ? SOCK_RAW : SOCK_DGRAM;
	proto = !icmp ? 0 : v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP;
	flow->icmp = !icmp ? 0 : v6 ? ICMP6_ECHO_REQUEST : ICMP_ECHO;
	flow->fd = socket(flow->to.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, proto);
	if (flow->fd < 0)
		die(flow->kind);
	self.flow_count++;
}

static uint16_t checksum(const uint8_t *p, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum += i & 1 ? p[i] : (uint32_t)p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

static void send_flow(struct flow *flow)
{
	uint8_t packet[sizeof(struct icmphdr) + LINE];
	struct icmphdr *icmp = (struct icmphdr *)packet;
	size_t head = flow->icmp ? sizeof(*icmp) : 0;
	size_t len = head + (size_t)record((char *)packet + head, flow->kind, 0, flow->seq + 1);
	char drain[256];

	while (flow->icmp && recv(flow->fd, drain, sizeof(drain), 0) >= 0)
		; /* the replies are of no interest, but must not fill the socket */
	if (flow->icmp) {
		memset(icmp, 0, sizeof(*icmp));
		icmp->type = (uint8_t)flow->icmp;
		icmp->un.echo.id = htons(7);
		icmp->un.echo.sequence = htons((uint16_t)(flow->seq + 1));
		if (flow->icmp == ICMP_ECHO) /* the kernel does it for ICMPv6 */
			icmp->checksum = checksum(packet, len);
	}
	if (sendto(flow->fd, packet, len, 0, (struct sockaddr *)&flow->to, flow->to_len) < 0)
		flow->failed++; /* nobody there yet, or an old ICMP error: the number is used again */
	else
		flow->seq++;
}

static void tcp_close(void)
{
	close(self.tcp_fd);
	self.tcp_fd = -1;
	self.tcp_up = 0;
	self.tcp_next_ms = now_ms() + RETRY_MS;
}

static void tcp_open(void)
{
	unsigned int stuck_ms = TCP_STUCK_MS;
	int on = 1;

	self.tcp_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (self.tcp_fd < 0)
		die("tcp socket");
	setsockopt(self.tcp_fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(self.tcp_fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &stuck_ms, sizeof(stuck_ms));
	self.tcp_next_ms = now_ms() + CONNECT_MS;
	if (connect(self.tcp_fd, (struct sockaddr *)&self.tcp_to, sizeof(self.tcp_to)) && errno != EINPROGRESS)
		tcp_close();
}

/* Each tick: go on with the connection where it is. */
static void tcp_tick(void)
{
	struct pollfd pfd = { .fd = self.tcp_fd, .events = POLLOUT | POLLIN };
	char line[LINE];
	int len;

	if (self.tcp_fd < 0) {
		if (now_ms() >= self.tcp_next_ms)
			tcp_open();
		return;
	}
	if (poll(&pfd, 1, 0) < 0 || (pfd.revents & (POLLERR | POLLHUP))) {
		tcp_close();
		return;
	}
	if (!self.tcp_up) {
		if (pfd.revents & POLLOUT) {
			self.tcp_up = 1;
			self.tcp_conn++;
			self.tcp_seq = 0;
		} else if (now_ms() >= self.tcp_next_ms) {
			tcp_close();
		}
	}
	if (!self.tcp_up)
		return;
	if ((pfd.revents & POLLIN) && recv(self.tcp_fd, line, sizeof(line), 0) <= 0) {
		tcp_close();
		return;
	}
	if (!(pfd.revents & POLLOUT))
		return; /* the peer has not taken what was sent: TCP_STUCK_MS ends it */
	len = record(line, "tcp", self.tcp_conn, self.tcp_seq + 1);
	if (send(self.tcp_fd, line, (size_t)len, MSG_NOSIGNAL) != len)
		tcp_close();
	else
		self.tcp_seq++;
}

static void count_neighbour(const char *line)
{
	char name[32], kind[16];
	unsigned int boot, conn;
	unsigned long long seq;
	struct peer *peer;
	int i;

	if (sscanf(line, "FG %31s %15s %x %u %llu", name, kind, &boot, &conn, &seq) != 5)
		return;
	for (i = 0; i < self.peer_count; i++)
		if (!strcmp(self.peers[i].name, name) && !strcmp(self.peers[i].kind, kind))
			break;
	if (i == MAX_PEERS)
		return;
	peer = &self.peers[i];
	if (i == self.peer_count || peer->boot != boot) {
		if (i == self.peer_count)
			self.peer_count++;
		snprintf(peer->name, sizeof(peer->name), "%s", name);
		snprintf(peer->kind, sizeof(peer->kind), "%s", kind);
		peer->boot = boot;
		peer->first = seq;
		peer->last = peer->received = peer->late = 0;
	}
	peer->received++;
	if (seq < peer->last)
		peer->late++;
	else
		peer->last = seq;
}

static void receive(int fd)
{
	char line[LINE];
	ssize_t n;

	while ((n = recv(fd, line, sizeof(line) - 1, MSG_DONTWAIT)) >= 0) {
		line[n] = '\0';
		count_neighbour(line);
	}
}

static void stat_json(int fd)
{
	const char *comma = "";

	dprintf(fd, "{\"name\":\"%s\",\"boot\":\"%08x\",\"tcp\":{\"conn\":%u,\"up\":%s,\"seq\":%llu},\"sent\":{",
		self.name, self.boot, self.tcp_conn, self.tcp_up ? "true" : "false", (unsigned long long)self.tcp_seq);
	for (int i = 0; i < self.flow_count; i++) {
		struct flow *flow = &self.flows[i];
		char to[INET6_ADDRSTRLEN] = "";

		if (flow->to.ss_family == AF_INET)
			inet_ntop(AF_INET, &((struct sockaddr_in *)&flow->to)->sin_addr, to, sizeof(to));
		else
			inet_ntop(AF_INET6, &((struct sockaddr_in6 *)&flow->to)->sin6_addr, to, sizeof(to));
		dprintf(fd, "%s\"%s %s\":%llu", comma, flow->kind, to, (unsigned long long)flow->seq);
		comma = ",";
	}
	dprintf(fd, "},\"from\":{");
	comma = "";
	for (int i = 0; i < self.peer_count; i++) {
		struct peer *peer = &self.peers[i];

		dprintf(fd,
			"%s\"%s %s\":{\"boot\":\"%08x\",\"received\":%llu,\"first\":%llu,\"last\":%llu,\"late\":%llu}",
			comma, peer->name, peer->kind, peer->boot, (unsigned long long)peer->received,
			(unsigned long long)peer->first, (unsigned long long)peer->last,
			(unsigned long long)peer->late);
		comma = ",";
	}
	dprintf(fd, "}}\n");
}

/* In a child: one command line, its output, its exit code. */
static void command(int fd)
{
	char line[4096];
	size_t len = 0;
	int status = -1;
	pid_t pid;

	signal(SIGCHLD, SIG_DFL);
	alarm(600);
	while (len < sizeof(line) - 1 && read(fd, line + len, 1) == 1 && line[len] != '\n')
		len++;
	line[len] = '\0';
	if (!strcmp(line, "stat")) {
		stat_json(fd);
		dprintf(fd, "=rc 0\n");
		_exit(0);
	}
	pid = fork();
	if (pid == 0) {
		alarm(0);
		setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
		dup2(fd, 0);
		dup2(fd, 1);
		dup2(fd, 2);
		execl("/bin/sh", "sh", "-c", line, (char *)NULL);
		_exit(127);
	}
	if (pid > 0)
		waitpid(pid, &status, 0);
	dprintf(fd, "=rc %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : 255);
	_exit(0);
}

static int listen_on(int type, int port)
{
	struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };
	int on = 1;
	int fd = socket(AF_INET6, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
	    bind(fd, (struct sockaddr *)&any, sizeof(any)) || (type == SOCK_STREAM && listen(fd, 16)))
		die("listen");
	return fd;
}

static void accept_command(int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	pid_t pid;

	if (fd < 0)
		return;
	pid = fork();
	if (pid == 0)
		command(fd);
	close(fd);
}

static void tick(uint64_t count)
{
	for (int i = 0; i < self.flow_count; i++)
		if (count % (uint64_t)self.flows[i].every == 0)
			send_flow(&self.flows[i]);
	tcp_tick();
}

static void set_pace(int timer, int ms)
{
	const struct timespec in = { ms / 1000, ms % 1000 * 1000000L };
	const struct itimerspec every = { in, in };

	if (timerfd_settime(timer, 0, &every, NULL))
		die("timerfd");
}

int main(int argc, char **argv)
{
	struct pollfd fds[3] = { { .events = POLLIN }, { .events = POLLIN }, { .events = POLLIN } };
	struct sockaddr_storage to;
	uint64_t count = 0;
	int slow = 1;

	if (argc < 4) {
		fprintf(stderr, "usage: talker NAME FORBIDDEN4 FORBIDDEN6 [NEIGHBOUR]...\n");
		return 2;
	}
	signal(SIGCHLD, SIG_IGN); /* no zombies of commands */
	signal(SIGPIPE, SIG_IGN);
	self.name = argv[1];
	if (getrandom(&self.boot, sizeof(self.boot), GRND_NONBLOCK) != sizeof(self.boot))
		self.boot = (unsigned int)now_ms() ^ (unsigned int)time(NULL);
	address(argv[2], TCP_PORT, &to);
	memcpy(&self.tcp_to, &to, sizeof(self.tcp_to));
	for (int i = 2; i < 4; i++) {
		add_flow("udp4", "udp6", argv[i], UDP_PORT, 0, 1);
		add_flow("icmp4", "icmp6", argv[i], 0, 1, TICKS_PER_SECOND);
	}
	for (int i = 4; i < argc; i++)
		add_flow("near4", "near6", argv[i], NEIGHBOUR_PORT, 0, TICKS_PER_SECOND);
	fds[0].fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	if (fds[0].fd < 0)
		die("timerfd");
	set_pace(fds[0].fd, SLOW_TICK_MS);
	fds[1].fd = listen_on(SOCK_DGRAM, NEIGHBOUR_PORT);
	fds[2].fd = listen_on(SOCK_STREAM, COMMAND_PORT);
	for (;;) {
		uint64_t expired;

		if (poll(fds, 3, -1) < 0)
			continue;
		if (fds[1].revents)
			receive(fds[1].fd);
		if (fds[2].revents)
			accept_command(fds[2].fd);
		if (fds[0].revents && read(fds[0].fd, &expired, sizeof(expired)) == sizeof(expired))
			tick(count++); /* once, however many were missed: a paused guest sends no burst */
		if (slow && self.tcp_conn) {
			slow = 0;
			set_pace(fds[0].fd, TICK_MS);
		}
	}
}
