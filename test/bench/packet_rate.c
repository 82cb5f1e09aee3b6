/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Send small TCP frames on a device as fast as one CPU can, for test/bench/run.
 *
 *	packet_rate DEV SMAC DMAC SRC DST SPORT DPORT COUNT
 *
 * Prints the nanoseconds a frame.  The frames are resets, which a receiver without a connection takes silently.  On a
 * veth the sending CPU also does the receiver's work, so this is the cost of the whole path.
 */
#include <lib/util.h>

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define BATCH 64

struct frame {
	struct ether_header eth;
	struct iphdr ip;
	struct tcphdr tcp;
} __attribute__((packed));

static uint16_t fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static uint32_t add(uint32_t sum, const void *data, size_t len)
{
	const uint8_t *p = data;

	for (size_t i = 0; i + 1 < len; i += 2)
		sum += (uint32_t)(p[i] << 8 | p[i + 1]);
	return sum;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void build(char **a, struct frame *f)
{
	struct fg_error err = FG_ERROR_INIT;

	memset(f, 0, sizeof(*f));
	if (fg_mac_parse(a[2], f->eth.ether_shost, &err) < 0 || fg_mac_parse(a[3], f->eth.ether_dhost, &err) < 0 ||
	    inet_pton(AF_INET, a[4], &f->ip.saddr) != 1 || inet_pton(AF_INET, a[5], &f->ip.daddr) != 1) {
		fprintf(stderr, "packet_rate: addresses\n");
		exit(2);
	}
	f->eth.ether_type = htons(ETHERTYPE_IP);
	f->ip.version = 4;
	f->ip.ihl = 5;
	f->ip.tot_len = htons(sizeof(f->ip) + sizeof(f->tcp));
	f->ip.frag_off = htons(IP_DF);
	f->ip.ttl = 64;
	f->ip.protocol = IPPROTO_TCP;
	f->ip.check = htons(fold(add(0, &f->ip, sizeof(f->ip))));
	f->tcp.source = htons((uint16_t)strtoul(a[6], NULL, 10));
	f->tcp.dest = htons((uint16_t)strtoul(a[7], NULL, 10));
	f->tcp.doff = 5;
	f->tcp.rst = 1;
	uint32_t sum = add(IPPROTO_TCP + sizeof(f->tcp), &f->ip.saddr, 8);
	f->tcp.check = htons(fold(add(sum, &f->tcp, sizeof(f->tcp))));
}

int main(int argc, char **argv)
{
	struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_halen = 6 };
	struct mmsghdr msgs[BATCH];
	struct timespec s, e;
	struct frame f;
	cpu_set_t cpus;

	if (argc != 9) {
		fprintf(stderr, "usage: packet_rate DEV SMAC DMAC SRC DST SPORT DPORT COUNT\n");
		return 2;
	}
	build(argv, &f);
	CPU_ZERO(&cpus);
	CPU_SET(sched_getcpu(), &cpus);
	sched_setaffinity(0, sizeof(cpus), &cpus);
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	to.sll_ifindex = (int)if_nametoindex(argv[1]);
	memcpy(to.sll_addr, f.eth.ether_dhost, 6);
	if (fd < 0 || to.sll_ifindex == 0)
		die(argv[1]);
	struct iovec iov = { &f, sizeof(f) };
	for (size_t i = 0; i < BATCH; i++)
		msgs[i] = (struct mmsghdr){
			.msg_hdr = { .msg_name = &to, .msg_namelen = sizeof(to), .msg_iov = &iov, .msg_iovlen = 1 }
		};
	unsigned long count = strtoul(argv[8], NULL, 10), sent = 0;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &s);
	while (sent < count) {
		int n = sendmmsg(fd, msgs, BATCH, 0);
		if (n <= 0)
			die("sendmmsg");
		sent += (unsigned long)n;
	}
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &e);
	printf("%.1f\n", ((double)(e.tv_sec - s.tv_sec) * 1e9 + (double)(e.tv_nsec - s.tv_nsec)) / (double)sent);
	return 0;
}
