// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * The beacon is init, and all there is, of a guest that never stops to send: it is up a second after its kernel, so that a
 * scenario can let it reboot again and again.  From each NIC that it finds it sends raw frames that a guest in quarantine
 * may not send: every 20 ms in its first seconds, in which a gap of the filter would be, then every 100 ms, for it takes
 * dom0's CPU from what comes next.  The command line says who it is:
 *
 *   beacon=IPV4,IPV6,FORBIDDEN-MAC,FORBIDDEN4,FORBIDDEN6
 *
 * The letter r on the console reboots it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { FIRST_ROUNDS = 150, FIRST_MS = 20, EVERY_MS = 100, FRAME = 128 };

static struct {
	uint8_t ip4[4], ip6[16];
	uint8_t mac[6], to4[4], to6[16];
} self;

static void say(const char *what)
{
	fprintf(stderr, "beacon: %s: %s\n", what, strerror(errno));
}

static void load(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || syscall(SYS_finit_module, fd, "", 0))
		say(path);
	if (fd >= 0)
		close(fd);
}

/* Of "a,b,c" the n-th, as a text of its own. */
static const char *word(const char *list, int n)
{
	static char text[64];

	while (n-- > 0 && list)
		list = strchr(list, ',') ? strchr(list, ',') + 1 : NULL;
	snprintf(text, sizeof(text), "%.*s", list ? (int)strcspn(list, ", \n") : 0, list ? list : "");
	return text;
}

static void who_am_i(void)
{
	char line[4096] = "";
	int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, line, sizeof(line) - 1);
	const char *at = n < 0 ? NULL : strstr(line, "beacon=");
	unsigned int m[6] = { 0 };

	if (fd >= 0)
		close(fd);
	if (!at) {
		fprintf(stderr, "beacon: the command line does not say who it is\n");
		return;
	}
	at += strlen("beacon=");
	inet_pton(AF_INET, word(at, 0), self.ip4);
	inet_pton(AF_INET6, word(at, 1), self.ip6);
	if (sscanf(word(at, 2), "%x:%x:%x:%x:%x:%x", &m[0], &m[1], &m[2], &m[3], &m[4], &m[5]) == 6)
		for (int i = 0; i < 6; i++)
			self.mac[i] = (uint8_t)m[i];
	inet_pton(AF_INET, word(at, 3), self.to4);
	inet_pton(AF_INET6, word(at, 4), self.to6);
}

/*----- frames -----*/

struct frame {
	uint8_t data[FRAME];
	size_t n;
};

static void add(struct frame *f, const void *data, size_t n)
{
	memcpy(f->data + f->n, data, n);
	f->n += n;
}

static void add16(struct frame *f, unsigned int value)
{
	const uint8_t two[2] = { (uint8_t)(value >> 8), (uint8_t)value };

	add(f, two, 2);
}

static struct frame ethernet(const uint8_t to[6], const uint8_t from[6], unsigned int type)
{
	struct frame f = { .n = 0 };

	add(&f, to, 6);
	add(&f, from, 6);
	add16(&f, type);
	return f;
}

static struct frame arp(const uint8_t from[6])
{
	static const uint8_t all[6] = { 255, 255, 255, 255, 255, 255 }, none[6];
	struct frame f = ethernet(all, from, 0x0806);

	add(&f, "\0\1\10\0\6\4\0\1", 8);
	add(&f, from, 6);
	add(&f, self.ip4, 4);
	add(&f, none, 6);
	add(&f, self.to4, 4);
	return f;
}

/* A datagram to UDP port 7701, or an ICMP echo request: behind whatever link header is there. */
static void ipv4(struct frame *f, int icmp)
{
	uint8_t head[20] = { 0x45, 0, 0, 36, 0, 1, 0x40, 0, 64, icmp ? 1 : 17 };
	uint32_t sum = 0;

	memcpy(head + 12, self.ip4, 4);
	memcpy(head + 16, self.to4, 4);
	for (int i = 0; i < 20; i += 2)
		sum += (uint32_t)(head[i] << 8 | head[i + 1]);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = ~(sum + (sum >> 16));
	head[10] = (uint8_t)(sum >> 8);
	head[11] = (uint8_t)sum;
	add(f, head, sizeof(head));
	if (icmp)
		add(f, "\10\0\xf7\xff\0\0\0\0\0\0\0\0\0\0\0\0", 16);
	else
		add(f, "\x1e\x15\x1e\x15\0\20\0\0beacon..", 16);
}

static struct frame ipv6(const uint8_t from[6])
{
	struct frame f = ethernet(self.mac, from, 0x86dd);

	add(&f, "\x60\0\0\0\0\20\21\100", 8);
	add(&f, self.ip6, 16);
	add(&f, self.to6, 16);
	add(&f, "\x1e\x15\x1e\x15\0\20\0\1beacon..", 16);
	return f;
}

static void send_all(int fd, const uint8_t mac[6])
{
	static const uint8_t backend[6] = { 0xfe, 255, 255, 255, 255, 255 }; /* a routed vif: dom0 passes it on */
	struct frame f[] = { arp(mac),
			     ethernet(self.mac, mac, 0x0800),
			     ethernet(self.mac, mac, 0x0800),
			     ethernet(backend, mac, 0x0800),
			     ethernet(self.mac, mac, 0x8100),
			     ipv6(mac) };

	ipv4(&f[1], 0);
	ipv4(&f[2], 1);
	ipv4(&f[3], 0);
	add16(&f[4], 5);
	add16(&f[4], 0x0800);
	ipv4(&f[4], 0);
	for (size_t i = 0; i < sizeof(f) / sizeof(f[0]); i++)
		(void)!write(fd, f[i].data, f[i].n); /* the NIC may go at any time */
}

static void from_nic(const char *name, unsigned int ifindex)
{
	struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_protocol = htons(0x88b5), .sll_ifindex = (int)ifindex };
	struct ifreq r = { 0 };
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);

	if (fd < 0) {
		say("AF_PACKET");
		return;
	}
	snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", name);
	if (ioctl(fd, SIOCGIFFLAGS, &r) == 0 && !(r.ifr_flags & IFF_LOOPBACK)) {
		r.ifr_flags |= IFF_UP;
		if (ioctl(fd, SIOCSIFFLAGS, &r) == 0 && ioctl(fd, SIOCGIFHWADDR, &r) == 0 &&
		    bind(fd, (struct sockaddr *)&to, sizeof(to)) == 0)
			send_all(fd, (const uint8_t *)r.ifr_hwaddr.sa_data);
	}
	close(fd);
}

static void from_all(void)
{
	struct if_nameindex *all = if_nameindex();

	for (struct if_nameindex *i = all; i && i->if_index; i++)
		from_nic(i->if_name, i->if_index);
	if_freenameindex(all);
}

int main(void)
{
	struct pollfd console = { .fd = 0, .events = POLLIN };

	mkdir("/proc", 0755);
	if (mount("proc", "/proc", "proc", 0, NULL))
		say("/proc");
	who_am_i();
	load("/xen-blkfront.ko"); /* nothing is read: its disk is there because a guest has one */
	load("/xen-netfront.ko");
	fprintf(stderr, "beacon: on\n");
	for (unsigned long round = 0;; round++) {
		char c = 0;

		if (poll(&console, 1, round < FIRST_ROUNDS ? FIRST_MS : EVERY_MS) == 1 && read(0, &c, 1) != 1)
			console.fd = -1;
		if (c == 'r')
			reboot(RB_AUTOBOOT);
		from_all();
	}
}
