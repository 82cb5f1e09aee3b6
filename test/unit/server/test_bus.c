/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Messages between processes: order, limits, boxes that are full, places that are taken over. */
#include <check.h>
#include <lib/util.h>
#include <server/bus.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct fg_bus *bus;
static struct fg_bus_message message;

static void setup(void)
{
	struct fg_error err = FG_ERROR_INIT;

	ck_assert_msg(fg_bus_new(&bus, &err) == 0, "%s", err.text);
}

static void teardown(void)
{
	fg_bus_free(bus);
}

/* Runs fn as the process of a box; its result is the exit status. */
static int as(unsigned box, int (*fn)(void))
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		fg_bus_join(bus, box);
		_exit(fn());
	}
	ck_assert(pid > 0 && waitpid(pid, &status, 0) == pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int send_to_one(void)
{
	return fg_bus_send(bus, 1, FG_BUS_WAKE, "web", 3) && fg_bus_send(bus, 1, FG_BUS_SIGN, "", 0) ? 0 : 1;
}

START_TEST(a_message_has_its_kind_sender_and_text)
{
	bool missed = true;

	fg_bus_join(bus, 1);
	ck_assert_int_eq(as(2, send_to_one), 0);
	ck_assert(fg_bus_receive(bus, &message, &missed));
	ck_assert_int_eq(message.kind, FG_BUS_WAKE);
	ck_assert_uint_eq(message.from, 2);
	ck_assert_str_eq(message.data, "web");
	ck_assert(fg_bus_receive(bus, &message, &missed));
	ck_assert_int_eq(message.kind, FG_BUS_SIGN);
	ck_assert_uint_eq(message.len, 0);
	ck_assert(!fg_bus_receive(bus, &message, &missed));
	ck_assert(!missed);
}
END_TEST

START_TEST(nobody_gets_a_message_that_is_too_long_or_for_nobody)
{
	static char big[FG_BUS_BYTES_MAX + 1];

	fg_bus_join(bus, 1);
	ck_assert(fg_bus_send(bus, 1, FG_BUS_SIGNED, big, FG_BUS_BYTES_MAX));
	ck_assert(!fg_bus_send(bus, 1, FG_BUS_SIGNED, big, sizeof(big)));
	ck_assert(!fg_bus_send(bus, 2, FG_BUS_SIGNED, big, 1));
	ck_assert(!fg_bus_send(bus, FG_BUS_WORKERS_MAX + 1, FG_BUS_SIGNED, big, 1));
}
END_TEST

static int broadcast_many(void)
{
	for (int i = 0; i < 5000; i++)
		fg_bus_broadcast(bus, FG_BUS_WAKE, "host", 4);
	return 0;
}

START_TEST(a_full_box_is_marked)
{
	bool missed = false;
	size_t n = 0;

	fg_bus_join(bus, 1);
	ck_assert_int_eq(as(2, broadcast_many), 0);
	while (fg_bus_receive(bus, &message, &missed))
		n++;
	ck_assert_uint_gt(n, 10);
	ck_assert_uint_lt(n, 5000);
	ck_assert(missed);
	ck_assert(!fg_bus_receive(bus, &message, &missed));
	ck_assert(!missed); /* told once */
}
END_TEST

START_TEST(a_broadcast_is_not_for_its_sender_nor_for_the_signer)
{
	bool missed;

	fg_bus_join(bus, FG_BUS_SIGNER);
	ck_assert_int_eq(as(2, broadcast_many), 0);
	ck_assert(!fg_bus_receive(bus, &message, &missed));
	ck_assert(!missed);
}
END_TEST

static int expect_empty(void)
{
	bool missed;

	return fg_bus_receive(bus, &message, &missed) ? 1 : 0;
}

START_TEST(who_takes_a_place_over_begins_with_an_empty_box)
{
	/* Box 3 belonged to a process that died with messages in it. */
	ck_assert_int_eq(as(3, expect_empty), 0);
	ck_assert(fg_bus_send(bus, 3, FG_BUS_WAKE, "x", 1));
	ck_assert_int_eq(as(3, expect_empty), 0);
	fg_bus_leave(bus, 3);
	ck_assert(!fg_bus_send(bus, 3, FG_BUS_WAKE, "x", 1));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("bus");
	TCase *tc = tcase_create("bus");
	SRunner *sr = srunner_create(suite);

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_message_has_its_kind_sender_and_text);
	tcase_add_test(tc, nobody_gets_a_message_that_is_too_long_or_for_nobody);
	tcase_add_test(tc, a_full_box_is_marked);
	tcase_add_test(tc, a_broadcast_is_not_for_its_sender_nor_for_the_signer);
	tcase_add_test(tc, who_takes_a_place_over_begins_with_an_empty_box);
	suite_add_tcase(suite, tc);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
