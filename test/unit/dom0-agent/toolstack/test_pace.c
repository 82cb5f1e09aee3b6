/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Changes that come in bunches: the first is told at once, the last is never lost, and between two there is the gap. */
#include "dom0-agent/toolstack/pace.h"
#include "lib/util.h"

#include <check.h>
#include <event2/event.h>

#define GAP_MS 60
#define CHANGES 200 /* one a turn of a timer of 1 ms: for longer than three gaps */

static struct {
	struct event_base *base;
	struct fg_pace *pace;
	struct event *timer;
	unsigned changes, told, told_after_last;
	int64_t at_ms[CHANGES];
} t;

static void told(void *arg)
{
	(void)arg;
	ck_assert_uint_lt(t.told, CHANGES);
	t.at_ms[t.told++] = fg_monotonic_ms();
	if (t.changes == CHANGES)
		t.told_after_last++;
}

static void change(evutil_socket_t fd, short what, void *arg)
{
	const struct timeval soon = { 0, 1000 };

	(void)fd;
	(void)what;
	(void)arg;
	fg_pace_changed(t.pace);
	if (++t.changes < CHANGES)
		evtimer_add(t.timer, &soon);
}

static void setup(void)
{
	memset(&t, 0, sizeof(t));
	t.base = event_base_new();
	t.pace = fg_pace_new(t.base, GAP_MS, told, NULL);
	t.timer = evtimer_new(t.base, change, NULL);
}

static void teardown(void)
{
	event_free(t.timer);
	fg_pace_free(t.pace);
	event_base_free(t.base);
}

START_TEST(first_at_once)
{
	fg_pace_free(t.pace);
	t.pace = fg_pace_new(t.base, 3600 * 1000, told, NULL); /* were it waited for, the test would not end */
	fg_pace_changed(t.pace);
	fg_pace_changed(t.pace);
	ck_assert_uint_eq(t.told, 0); /* from the loop, never from the caller */
	event_base_dispatch(t.base);
	ck_assert_uint_eq(t.told, 1);
}
END_TEST

START_TEST(many_are_few)
{
	event_active(t.timer, EV_TIMEOUT, 0);
	event_base_dispatch(t.base);
	ck_assert_uint_eq(t.changes, CHANGES);
	ck_assert_uint_ge(t.told, 3);
	ck_assert_uint_ge(t.told_after_last, 1);
	for (unsigned i = 1; i < t.told; i++)
		ck_assert_int_ge(t.at_ms[i] - t.at_ms[i - 1], GAP_MS - 1); /* whole milliseconds of two clocks read */
}
END_TEST

START_TEST(nothing_is_nothing)
{
	event_base_dispatch(t.base);
	ck_assert_uint_eq(t.told, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("pace");
	TCase *tc = tcase_create("pace");
	SRunner *runner = srunner_create(suite);

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, first_at_once);
	tcase_add_test(tc, many_are_few);
	tcase_add_test(tc, nothing_is_nothing);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
