/* SPDX-License-Identifier: GPL-3.0-or-later */
/* How the server is reached from a bridge, asked of a real kernel: br0 here, the server in a namespace of its own.  Root. */
#include <check.h>
#include <dom0-agent/isolate/reach.h>
#include <lib/util.h>

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <sched.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#define EVENT_MS 10000

static const uint8_t br0_mac[6] = { 2, 0, 0, 0, 0, 1 }, server_mac[6] = { 2, 0, 0, 0, 0, 9 };
static pid_t server = -1;
static int go_on = -1;

/* here, or where pid is */
static void run(const char *command, pid_t pid)
{
	fg_autofree char *line = pid < 0 ? fg_strdup(command) : fg_asprintf("nsenter -t %d -n %s", (int)pid, command);

	char *argv[] = { (char[]){ "sh" }, (char[]){ "-c" }, line, NULL };
	int status = -1;
	pid_t child;

	ck_assert_int_eq(posix_spawn(&child, "/bin/sh", NULL, NULL, argv, environ), 0);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_msg(status == 0, "%s", line);
}

/* Someone with a namespace of his own, for as long as go_on is open. */
static void start_server(void)
{
	int ready[2], stay[2];
	char c;

	ck_assert_int_eq(pipe(ready), 0);
	ck_assert_int_eq(pipe(stay), 0);
	server = fork();
	ck_assert_int_ge(server, 0);
	if (server == 0) {
		close(ready[0]);
		close(stay[1]);
		if (unshare(CLONE_NEWNET) < 0 || write(ready[1], "", 1) != 1)
			_exit(1);
		_exit(read(stay[0], &c, 1) != 0);
	}
	close(ready[1]);
	close(stay[0]);
	go_on = stay[1];
	ck_assert_int_eq(read(ready[0], &c, 1), 1);
	close(ready[0]);
}

static void up(void)
{
	if (geteuid() != 0)
		return;
	ck_assert_int_eq(unshare(CLONE_NEWNET), 0);
	start_server();
	fg_autofree char *veth =
		fg_asprintf("ip link add srv0 type veth peer name eth0 address 02:00:00:00:00:09 netns %d", server);
	run("ip link set lo up", -1);
	run("ip link add br0 address 02:00:00:00:00:01 type bridge stp_state 0", -1);
	run("ip link set br0 up", -1);
	run(veth, -1);
	run("ip link set srv0 master br0 up", -1);
	run("ip link set eth0 up", server);
	run("ip addr add 10.0.0.9/24 dev eth0", server);
}

static void down(void)
{
	if (server < 0)
		return;
	close(go_on);
	waitpid(server, NULL, 0);
}

static struct fg_agent_config config(const char *address)
{
	struct fg_agent_config c = { .server_address = { .family = AF_INET } };

	ck_assert_int_eq(inet_pton(AF_INET, address, &c.server_address.v4), 1);
	return c;
}

/* Asks, then waits for an event of the neighbour table and asks again. */
static struct fg_reach find(const struct fg_agent_config *c, bool *asked)
{
	struct fg_reach reach = { 0 };
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	char buf[8192];

	ck_assert_ptr_nonnull(nl);
	ck_assert_int_eq(mnl_socket_bind(nl, RTMGRP_NEIGH, MNL_SOCKET_AUTOPID), 0);
	struct pollfd p = { .fd = mnl_socket_get_fd(nl), .events = POLLIN };
	for (*asked = false;; *asked = true) {
		ck_assert_int_eq(fg_reach_find(c, "br0", &reach, NULL), 0);
		if (fg_reach_mac_known(reach.mac) || poll(&p, 1, EVENT_MS) <= 0)
			break;
		ck_assert_int_gt(mnl_socket_recvfrom(nl, buf, sizeof(buf)), 0);
	}
	mnl_socket_close(nl);
	return reach;
}

START_TEST(unknown_link_address_is_asked_for)
{
	const struct fg_agent_config c = config("10.0.0.9");
	bool asked;

	if (geteuid() != 0)
		return;
	run("ip addr add 10.0.0.1/24 dev br0", -1);
	struct fg_reach r = find(&c, &asked);
	ck_assert(asked);
	ck_assert(r.on_link);
	ck_assert_int_eq(r.gateway.family, 0);
	ck_assert_mem_eq(r.mac, server_mac, 6);
}
END_TEST

START_TEST(gateway_of_the_route)
{
	const struct fg_agent_config c = config("192.0.2.1");
	bool asked;

	if (geteuid() != 0)
		return;
	run("ip addr add 10.0.0.1/24 dev br0", -1);
	run("ip route add 192.0.2.0/24 via 10.0.0.9", -1);
	struct fg_reach r = find(&c, &asked);
	ck_assert(asked);
	ck_assert(!r.on_link);
	ck_assert_uint_eq(ntohl(r.gateway.v4.s_addr), 0x0a000009);
	ck_assert_mem_eq(r.mac, server_mac, 6);
}
END_TEST

/* dom0 has no entry for itself in its neighbour table. */
START_TEST(dom0_is_the_server)
{
	const struct fg_agent_config c = config("10.0.0.1");
	bool asked;

	if (geteuid() != 0)
		return;
	run("ip addr add 10.0.0.1/24 dev br0", -1);
	struct fg_reach r = find(&c, &asked);
	ck_assert(!asked);
	ck_assert_mem_eq(r.mac, br0_mac, 6);
}
END_TEST

START_TEST(dom0_is_the_gateway)
{
	struct fg_agent_config c = config("192.0.2.1");
	bool asked;

	if (geteuid() != 0)
		return;
	run("ip addr add 10.0.0.1/24 dev br0", -1);
	snprintf(c.networks[0].bridge, sizeof(c.networks[0].bridge), "br0");
	c.networks[0].gateway = config("10.0.0.1").server_address;
	c.n_networks = 1;
	struct fg_reach r = find(&c, &asked);
	ck_assert(!asked);
	ck_assert_mem_eq(r.mac, br0_mac, 6);
}
END_TEST

/* Nobody answers: not known, which is no error.  The entry fails after three questions. */
START_TEST(nobody_answers)
{
	const struct fg_agent_config c = config("10.0.0.77");
	struct fg_reach r = { 0 };

	if (geteuid() != 0)
		return;
	run("ip addr add 10.0.0.1/24 dev br0", -1);
	ck_assert_int_eq(fg_reach_find(&c, "br0", &r, NULL), 0);
	ck_assert(r.on_link);
	ck_assert(!fg_reach_mac_known(r.mac));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("reach");
	TCase *t = tcase_create("kernel");

	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, up, down);
	tcase_add_test(t, unknown_link_address_is_asked_for);
	tcase_add_test(t, gateway_of_the_route);
	tcase_add_test(t, dom0_is_the_server);
	tcase_add_test(t, dom0_is_the_gateway);
	tcase_add_test(t, nobody_answers);
	suite_add_tcase(s, t);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
