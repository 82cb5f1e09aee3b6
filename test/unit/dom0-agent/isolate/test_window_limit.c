/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A netdev that flaps costs a few reports a minute; none of its windows is forgotten. */
#include <check.h>
#include <dom0-agent/isolate/window_limit.h>
#include <dom0-agent/job/clock.h>
#include <lib/util.h>

#include <string.h>

#define WEB1 "11111111-1111-4111-8111-111111111111"
#define WEB2 "22222222-2222-4222-8222-222222222222"

struct fg_timer {
	struct fg_timer *next;
	int64_t due_ms;
	void (*fn)(void *arg);
	void *arg;
};

static struct fg_timer *timers;
static int64_t now_ms;
static struct fg_window told[64];
static size_t n_told;
static struct fg_window_limit *limit;

static int64_t clock_now(struct fg_clock *clock)
{
	(void)clock;
	return now_ms;
}

static struct fg_timer *clock_after(struct fg_clock *clock, int64_t ms, void (*fn)(void *), void *arg)
{
	struct fg_timer *t = fg_calloc(1, sizeof(*t));

	(void)clock;
	*t = (struct fg_timer){ .next = timers, .due_ms = now_ms + ms, .fn = fn, .arg = arg };
	timers = t;
	return t;
}

static void clock_cancel(struct fg_clock *clock, struct fg_timer *timer)
{
	struct fg_timer **at = &timers;

	(void)clock;
	while (*at && *at != timer)
		at = &(*at)->next;
	ck_assert_ptr_nonnull(*at);
	*at = timer->next;
	free(timer);
}

static struct fg_clock fake = { .now_ms = clock_now, .after = clock_after, .cancel = clock_cancel };

static void fire_one(struct fg_timer **at)
{
	struct fg_timer t = **at;

	free(*at);
	*at = t.next;
	t.fn(t.arg);
}

static void pass(int64_t ms)
{
	now_ms += ms;
	for (struct fg_timer **at = &timers; *at;) {
		if ((*at)->due_ms <= now_ms) {
			fire_one(at);
			at = &timers;
		} else {
			at = &(*at)->next;
		}
	}
}

static void report(void *arg, const struct fg_window *w)
{
	ck_assert_ptr_eq(arg, &fake);
	ck_assert_uint_lt(n_told, FG_COUNT(told));
	told[n_told++] = *w;
}

static void setup(void)
{
	timers = NULL;
	n_told = 0;
	limit = fg_window_limit_new(&fake, report, &fake);
}

static void teardown(void)
{
	fg_window_limit_free(limit);
	ck_assert_ptr_null(timers);
}

static void flap(const char *uuid, const char *dev, size_t n)
{
	struct fg_window w = { .cause = "appeared", .ms = 2, .frames = 1 };

	snprintf(w.uuid, sizeof(w.uuid), "%s", uuid);
	snprintf(w.dev, sizeof(w.dev), "%s", dev);
	for (size_t i = 0; i < n; i++)
		fg_window_limit_add(limit, &w);
}

START_TEST(the_first_are_told_at_once)
{
	flap(WEB1, "vif1.0", FG_WINDOW_BURST);
	ck_assert_uint_eq(n_told, FG_WINDOW_BURST);
	ck_assert_uint_eq(told[0].count, 0);
	ck_assert_str_eq(told[0].dev, "vif1.0");
	pass(FG_WINDOW_PERIOD_MS); /* nothing was held back */
	ck_assert_uint_eq(n_told, FG_WINDOW_BURST);
	ck_assert_ptr_null(timers);
}
END_TEST

START_TEST(a_flood_is_told_as_one)
{
	flap(WEB1, "vif1.0", 1000);
	ck_assert_uint_eq(n_told, FG_WINDOW_BURST);
	pass(FG_WINDOW_PERIOD_MS - 1);
	ck_assert_uint_eq(n_told, FG_WINDOW_BURST);
	pass(1);
	ck_assert_uint_eq(n_told, FG_WINDOW_BURST + 1);
	const struct fg_window *w = &told[FG_WINDOW_BURST];
	ck_assert_uint_eq(w->count, 1000 - FG_WINDOW_BURST);
	ck_assert_int_eq(w->ms, 2 * (1000 - FG_WINDOW_BURST));
	ck_assert_int_eq(w->frames, 1000 - FG_WINDOW_BURST);
	ck_assert_str_eq(w->dev, "vif1.0");
	ck_assert_str_eq(w->uuid, WEB1);
}
END_TEST

START_TEST(while_it_goes_on_one_a_period)
{
	for (int minute = 0; minute < 10; minute++) {
		flap(WEB1, "vif1.0", 100);
		pass(FG_WINDOW_PERIOD_MS);
	}
	ck_assert_uint_eq(n_told, FG_WINDOW_BURST + 10);
	ck_assert_uint_eq(told[n_told - 1].count, 100);
	pass(FG_WINDOW_PERIOD_MS); /* quiet: forgotten, and the next is told at once again */
	flap(WEB1, "vif1.0", 1);
	ck_assert_uint_eq(n_told, FG_WINDOW_BURST + 11);
}
END_TEST

START_TEST(one_guest_does_not_silence_another)
{
	flap(WEB1, "vif1.0", 100);
	flap(WEB2, "vif2.0", 1);
	ck_assert_uint_eq(n_told, FG_WINDOW_BURST + 1);
	ck_assert_str_eq(told[FG_WINDOW_BURST].uuid, WEB2);
}
END_TEST

START_TEST(one_that_was_not_filtered_does_not_wait)
{
	struct fg_window w = { .uuid = WEB1, .dev = "vif1.0", .cause = "moved", .ms = 3, .frames = 0, .shut = true };

	flap(WEB1, "vif1.0", 100);
	fg_window_limit_add(limit, &w);
	ck_assert_uint_eq(n_told, FG_WINDOW_BURST + 1);
	ck_assert(told[FG_WINDOW_BURST].shut);
}
END_TEST

START_TEST(what_is_not_known_stays_so)
{
	struct fg_window w = {
		.uuid = WEB1, .dev = "vif1.1", .cause = "renamed", .ms = FG_WINDOW_UNKNOWN, .frames = 7
	};

	flap(WEB1, "vif1.0", FG_WINDOW_BURST + 1);
	w.at_most = true;
	fg_window_limit_add(limit, &w);
	flap(WEB1, "vif1.1", 1);
	pass(FG_WINDOW_PERIOD_MS);
	const struct fg_window *sum = &told[FG_WINDOW_BURST];
	ck_assert_uint_eq(sum->count, 3);
	ck_assert_int_eq(sum->ms, FG_WINDOW_UNKNOWN);
	ck_assert_int_eq(sum->frames, 9);
	ck_assert(sum->at_most);
	ck_assert_str_eq(sum->dev, ""); /* several */
}
END_TEST

START_TEST(open_counts_more_than_set_down)
{
	struct fg_window w = { .uuid = WEB1, .dev = "vif1.0", .cause = "moved", .ms = 3, .frames = 0, .shut = true };

	for (int i = 0; i < FG_WINDOW_BURST + 3; i++) {
		w.open = i == FG_WINDOW_BURST + 1;
		w.shut = !w.open;
		fg_window_limit_add(limit, &w);
	}
	pass(FG_WINDOW_PERIOD_MS);
	ck_assert(told[FG_WINDOW_BURST].open && !told[FG_WINDOW_BURST].shut);
	ck_assert_uint_eq(told[FG_WINDOW_BURST].count, 3);
}
END_TEST

START_TEST(the_end_tells_what_was_held_back)
{
	flap(WEB1, "vif1.0", 8);
	fg_window_limit_free(limit);
	ck_assert_uint_eq(n_told, FG_WINDOW_BURST + 1);
	ck_assert_uint_eq(told[FG_WINDOW_BURST].count, 3);
	limit = NULL;
}
END_TEST

int main(void)
{
	Suite *s = suite_create("window limit");
	TCase *t = tcase_create("window limit");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, the_first_are_told_at_once);
	tcase_add_test(t, a_flood_is_told_as_one);
	tcase_add_test(t, while_it_goes_on_one_a_period);
	tcase_add_test(t, one_guest_does_not_silence_another);
	tcase_add_test(t, one_that_was_not_filtered_does_not_wait);
	tcase_add_test(t, what_is_not_known_stays_so);
	tcase_add_test(t, open_counts_more_than_set_down);
	tcase_add_test(t, the_end_tells_what_was_held_back);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
