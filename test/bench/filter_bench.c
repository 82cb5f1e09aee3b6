/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The filter's library, timed in-process for test/bench/run.
 *
 *	filter_bench DEV[,DEV…]		commands come on standard input, one a line, in any order; each is answered by one
 *					line with two numbers, the microseconds it took and those of CPU time:
 *		empty		a transaction without content: two messages, no work but the way to nf_tables and back
 *		smallest	the smallest transaction that changes something: a table with nothing in it made or removed
 *		isolate		fg_filter_isolate of a guest with all the devices
 *		kernel		the same, but the clock runs only while the kernel works on the ready-made messages
 *		hooks		as kernel, of the same guest closed: the hooks of all its devices and a drop in each
 *		verify		fg_filter_verify of it
 *		release		fg_filter_release of it
 *		settle		wait until the kernel has freed what earlier transactions removed
 *		run TAB PROGRAM [TAB ARGUMENT]…		a command, from before it is started until it has ended; its
 *				output goes nowhere
 *	filter_bench --many PREFIX N	guests with one device each, PREFIX0 … PREFIX<N-1>, in one transaction; isolate,
 *					isolate again, release; prints wall and CPU microseconds of each, the peak in KiB,
 *					and the bytes and messages of the transaction
 *	filter_bench --keep PREFIX N	the same guests, isolated and left so.  None of them is the guest of the commands above.
 *
 * Runs in the network namespace it is started in.
 */
#include "netback-filter/filter.h"
#include "netback-filter/index.h"

#include <lib/util.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <libnftnl/common.h>
#include <libnftnl/table.h>
#include <linux/netfilter/nf_tables.h>
#include <spawn.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SMALL_TABLE "fixgate-bench"

/* CPU time shows what a thing costs where other work takes the CPU away meanwhile; waiting is not in it. */
struct cost {
	double wall, cpu;
};

static double clock_us(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static struct cost cost_now(void)
{
	return (struct cost){ clock_us(CLOCK_MONOTONIC), clock_us(CLOCK_PROCESS_CPUTIME_ID) };
}

static struct cost cost_since(struct cost began)
{
	struct cost now = cost_now();

	return (struct cost){ now.wall - began.wall, now.cpu - began.cpu };
}

struct bench {
	struct fg_filter *filter;
	struct fg_filter_guest guest;
	bool small_there;
};

static int must(int rc, const struct fg_error *err, const char *what)
{
	if (rc == 0)
		return 0;
	fprintf(stderr, "filter_bench: %s: %s\n", what, err->text);
	exit(1);
}

static const uint8_t server_mac[6] = { 0x00, 0x16, 0x3e, 0xff, 0x00, 0x02 };

/* Guest number i: 10.0.0.0/8 by number, server 10.255.0.2:8443. */
static void fill_guest(struct fg_filter_guest *g, unsigned i, struct fg_filter_dev *devs, size_t n_devs)
{
	memset(g, 0, sizeof(*g));
	snprintf(g->uuid, sizeof(g->uuid), "0f19a000-0000-4000-8000-%012x", i + 1);
	for (size_t k = 0; k < n_devs; k++) {
		const uint8_t mac[6] = { 0x00, 0x16, 0x3e, (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i };
		memcpy(devs[k].mac, mac, 6);
	}
	g->devs = devs;
	g->n_devs = n_devs;
	g->addresses = fg_calloc(1, sizeof(*g->addresses));
	g->n_addresses = 1;
	g->addresses[0] = (struct fg_ip){ .family = AF_INET, .v4.s_addr = htonl(0x0a000010U + i) };
	g->servers = fg_calloc(1, sizeof(*g->servers));
	g->n_servers = 1;
	g->servers[0].address = (struct fg_ip){ .family = AF_INET, .v4.s_addr = htonl(0x0aff0002U) };
	g->servers[0].port = 8443;
	memcpy(g->servers[0].mac, server_mac, 6);
}

static void empty_batch(struct fg_netlink *nl)
{
	char buf[256] = { 0 };
	struct nlmsghdr *begin = nftnl_batch_begin(buf, ++nl->seq);
	size_t len = MNL_ALIGN(begin->nlmsg_len);
	struct nlmsghdr *end = nftnl_batch_end(buf + len, ++nl->seq);

	len += MNL_ALIGN(end->nlmsg_len);
	if (mnl_socket_sendto(nl->socket, buf, len) < 0)
		abort();
}

/* Make the empty table, or remove it. */
static void smallest(struct bench *b)
{
	struct fg_error err = FG_ERROR_INIT;
	struct fg_batch batch;
	uint32_t generation;
	bool stale;

	must(fg_netlink_generation(&b->filter->nft, &generation, &err), &err, "generation");
	fg_batch_init(&batch, generation);
	struct nlmsghdr *nlh = fg_batch_msg(&batch, b->small_there ? NFT_MSG_DELTABLE : NFT_MSG_NEWTABLE, NLM_F_CREATE);
	mnl_attr_put_strz(nlh, NFTA_TABLE_NAME, SMALL_TABLE);
	fg_batch_add(&batch, nlh);
	must(fg_netlink_commit(&b->filter->nft, &batch, &stale, &err), &err, "smallest transaction");
	b->small_there = !b->small_there;
	fg_batch_free(&batch);
}

static void plan(struct bench *b, const struct fg_filter_guest *guests, size_t n, struct fg_batch *batch)
{
	struct fg_error err = FG_ERROR_INIT;
	struct fg_held held;
	uint32_t generation;

	fg_autofree const char **uuids = fg_calloc(n, sizeof(*uuids));
	struct fg_index index = { 0 };
	for (size_t i = 0; i < n; i++) /* numbered: sorted */
		uuids[i] = guests[i].uuid;
	must(fg_held_read(&b->filter->nft, uuids, n, &held, &generation, &err), &err, "read");
	fg_batch_init(batch, generation);
	if (!held.table)
		fg_plan_table(batch);
	for (size_t i = 0; i < n; i++) {
		fg_autofree struct fg_target *targets = NULL;
		size_t n_targets;
		must(fg_plan_targets(&b->filter->route, &held, &guests[i], NULL, &targets, &n_targets, &err), &err,
		     "targets");
		fg_plan_isolate(batch, &held, &guests[i], targets, n_targets);
		fg_index_targets(&index, guests[i].uuid, targets, n_targets);
	}
	fg_index_plan(batch, &held, &index, uuids, n);
	fg_index_free(&index);
	fg_held_free(&held);
}

static struct cost kernel_only(struct bench *b, bool closed)
{
	struct fg_filter_guest guest = b->guest;

	struct fg_error err = FG_ERROR_INIT;
	struct fg_batch batch;
	bool stale;

	guest.closed = closed;
	plan(b, &guest, 1, &batch);
	struct cost began = cost_now();
	must(fg_netlink_commit(&b->filter->nft, &batch, &stale, &err), &err, "commit");
	struct cost took = cost_since(began);
	fg_batch_free(&batch);
	return took;
}

/* When a netlink socket of netfilter is closed the kernel finishes, for a grace period of RCU, what other transactions left:
 * without this a case would pay for the one before it. */
static void settle(void)
{
	struct mnl_socket *s = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);

	if (!s || mnl_socket_bind(s, 0, MNL_SOCKET_AUTOPID) < 0)
		abort();
	mnl_socket_close(s);
}

static double used_us(const struct rusage *u)
{
	return (double)(u->ru_utime.tv_sec + u->ru_stime.tv_sec) * 1e6 +
	       (double)(u->ru_utime.tv_usec + u->ru_stime.tv_usec);
}

/* text: words with tabs between; is changed. */
static struct cost run(char *text)
{
	char *argv[64], *save = NULL;
	posix_spawn_file_actions_t actions;
	size_t n = 0;
	pid_t pid;
	int status;

	for (char *w = strtok_r(text, "\t", &save); w && n + 1 < FG_COUNT(argv); w = strtok_r(NULL, "\t", &save))
		argv[n++] = w;
	argv[n] = NULL;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
	struct rusage before, after;
	getrusage(RUSAGE_CHILDREN, &before);
	double began = clock_us(CLOCK_MONOTONIC);
	int rc = n ? posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ) : EINVAL;
	if (rc != 0 || waitpid(pid, &status, 0) != pid || status != 0) {
		fprintf(stderr, "filter_bench: %s failed\n", n ? argv[0] : "nothing");
		exit(1);
	}
	struct cost took = { .wall = clock_us(CLOCK_MONOTONIC) - began };
	getrusage(RUSAGE_CHILDREN, &after);
	took.cpu = used_us(&after) - used_us(&before);
	posix_spawn_file_actions_destroy(&actions);
	return took;
}

static struct cost command(struct bench *b, char *word)
{
	struct fg_error err = FG_ERROR_INIT;
	const char *uuid = b->guest.uuid;
	struct cost began = cost_now();

	if (strncmp(word, "run\t", 4) == 0) {
		return run(word + 4);
	} else if (strcmp(word, "empty") == 0) {
		empty_batch(&b->filter->nft);
	} else if (strcmp(word, "smallest") == 0) {
		smallest(b);
	} else if (strcmp(word, "isolate") == 0) {
		must(fg_filter_isolate(b->filter, &b->guest, 1, &err), &err, word);
	} else if (strcmp(word, "kernel") == 0 || strcmp(word, "hooks") == 0) {
		return kernel_only(b, strcmp(word, "hooks") == 0);
	} else if (strcmp(word, "verify") == 0) {
		must(fg_filter_verify(b->filter, &b->guest, &err), &err, word);
	} else if (strcmp(word, "settle") == 0) {
		settle();
	} else if (strcmp(word, "release") == 0) {
		must(fg_filter_release(b->filter, &uuid, 1, &err), &err, word);
	} else {
		fprintf(stderr, "filter_bench: no such command: %s\n", word);
		exit(2);
	}
	return cost_since(began);
}

static int serve(struct bench *b, char *list)
{
	struct fg_filter_dev devs[FG_FILTER_DEVS_MAX] = { 0 };
	size_t n = 0;
	char line[4096];

	for (char *save = NULL, *d = strtok_r(list, ",", &save); d && n < FG_COUNT(devs);
	     d = strtok_r(NULL, ",", &save))
		snprintf(devs[n++].name, IFNAMSIZ, "%s", d);
	fill_guest(&b->guest, 0, devs, n);
	while (fgets(line, sizeof(line), stdin)) {
		line[strcspn(line, "\n")] = '\0';
		struct cost c = command(b, line);
		printf("%.3f %.3f\n", c.wall, c.cpu);
		fflush(stdout);
	}
	free(b->guest.addresses);
	free(b->guest.servers);
	return 0;
}

/* Of this process's own memory: getrusage's includes what the process that started it had. */
static long peak_kib(void)
{
	struct fg_error err = FG_ERROR_INIT;
	fg_autofree char *text = NULL;

	must(fg_file_read("/proc/self/status", 65536, &text, NULL, &err), &err, "status");
	const char *line = strstr(text, "VmHWM:");
	return line ? strtol(line + 6, NULL, 10) : 0;
}

static int many(struct bench *b, const char *prefix, unsigned n, bool keep)
{
	struct fg_error err = FG_ERROR_INIT;
	fg_autofree struct fg_filter_guest *guests = fg_calloc(n, sizeof(*guests));
	fg_autofree struct fg_filter_dev *devs = fg_calloc(n, sizeof(*devs));
	fg_autofree const char **uuids = fg_calloc(n, sizeof(*uuids));
	long peak;
	struct fg_batch batch = { 0 };
	struct cost t[4];

	for (unsigned i = 0; i < n; i++) {
		snprintf(devs[i].name, IFNAMSIZ, "%s%u", prefix, i);
		fill_guest(&guests[i], i + 1, &devs[i], 1);
		uuids[i] = guests[i].uuid;
	}
	t[0] = cost_now();
	must(fg_filter_isolate(b->filter, guests, n, &err), &err, "isolate");
	t[1] = cost_now();
	if (!keep) {
		must(fg_filter_isolate(b->filter, guests, n, &err), &err, "isolate again");
		t[2] = cost_now();
		must(fg_filter_release(b->filter, uuids, n, &err), &err, "release");
		t[3] = cost_now();
		peak = peak_kib();
		plan(b, guests, n, &batch);
		for (int i = 0; i < 3; i++)
			printf("%.1f %.1f ", t[i + 1].wall - t[i].wall, t[i + 1].cpu - t[i].cpu);
		printf("%ld %zu %zu\n", peak, batch.len, batch.changes);
		fg_batch_free(&batch);
	}
	for (unsigned i = 0; i < n; i++) {
		free(guests[i].addresses);
		free(guests[i].servers);
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct fg_error err = FG_ERROR_INIT;
	struct bench b = { 0 };
	int rc = 2;

	must(fg_filter_open(&b.filter, &err), &err, "open");
	if (argc == 4 && (strcmp(argv[1], "--many") == 0 || strcmp(argv[1], "--keep") == 0))
		rc = many(&b, argv[2], (unsigned)strtoul(argv[3], NULL, 10), strcmp(argv[1], "--keep") == 0);
	else if (argc == 2)
		rc = serve(&b, argv[1]);
	else
		fprintf(stderr, "usage: filter_bench DEV[,DEV…] | --many PREFIX N | --keep PREFIX N\n");
	fg_filter_close(b.filter);
	return rc;
}
