/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Plans: selectors, waves, windows. */
#include <check.h>
#include <lib/util.h>
#include <server/rollout/window.h>
#include <string.h>

static int read_plan(const char *text, struct fg_plan *plan, struct fg_error *err)
{
	fg_autojson json_t *json = NULL;

	ck_assert_msg(fg_json_parse(text, strlen(text), &json, NULL) == 0, "%s", text);
	return fg_plan_read(json, plan, err);
}

START_TEST(defaults)
{
	struct fg_plan p;

	ck_assert_int_eq(read_plan("{\"select\":\"all\"}", &p, NULL), 0);
	ck_assert_uint_eq(p.n_terms, 0);
	ck_assert_uint_eq(p.n_waves, 1);
	ck_assert_int_eq(p.success_pct, 100);
	ck_assert_int_eq(p.max_failures, 0);
	ck_assert(!p.approval && p.n_windows == 0 && p.timeout_ms == 0);
	fg_plan_release(&p);
}
END_TEST

START_TEST(refused)
{
	static const char *const bad[] = {
		"{}",
		"{\"select\":\"\"}",
		"{\"select\":\"all,host=a\"}",
		"{\"select\":\"colour=red\"}",
		"{\"select\":\"host=\"}",
		"{\"select\":\"label:=a\"}",
		"{\"select\":\"label:a=\"}",
		"{\"select\":\"host=a,\"}",
		"{\"select\":1}",
		"{\"select\":\"all\",\"waves\":[]}",
		"{\"select\":\"all\",\"waves\":[\"10%\"]}",
		"{\"select\":\"all\",\"waves\":[\"0\",\"100%\"]}",
		"{\"select\":\"all\",\"waves\":[\"-1\",\"100%\"]}",
		"{\"select\":\"all\",\"waves\":[\"101%\"]}",
		"{\"select\":\"all\",\"waves\":[\"50%\",\"20%\",\"100%\"]}",
		"{\"select\":\"all\",\"waves\":[\"5\",\"5\",\"100%\"]}",
		"{\"select\":\"all\",\"waves\":[\"1x\",\"100%\"]}",
		"{\"select\":\"all\",\"waves\":[1,\"100%\"]}",
		"{\"select\":\"all\",\"success_pct\":101}",
		"{\"select\":\"all\",\"max_failures\":-2}",
		"{\"select\":\"all\",\"windows\":[\"22:00\"]}",
		"{\"select\":\"all\",\"windows\":[\"25:00-26:00\"]}",
		"{\"select\":\"all\",\"windows\":[\"10:00-10:00\"]}",
		"{\"select\":\"all\",\"windows\":[\"24:00-10:00\"]}",
		"{\"select\":\"all\",\"windows\":[\"Foo 10:00-11:00\"]}",
		"{\"select\":\"all\",\"windows\":[\"Mon- 10:00-11:00\"]}",
		"{\"select\":\"all\",\"windows\":[\"10:60-11:00\"]}",
		"{\"select\":\"all\",\"wait_s\":\"1\"}",
		"{\"select\":\"all\",\"unknown\":1}",
		"{\"select\":\"all\",\"approval\":\"true\"}",
		"{\"select\":\"all\",\"approval\":1}",
	};

	for (size_t i = 0; i < FG_COUNT(bad); i++) {
		struct fg_plan p;
		struct fg_error err = FG_ERROR_INIT;
		ck_assert_msg(read_plan(bad[i], &p, &err) == -FG_EFORMAT, "%s was taken: %s", bad[i], err.text);
	}
}
END_TEST

START_TEST(selectors)
{
	fg_autojson json_t *labels = json_pack("{s:s, s:s}", "env", "prod", "tier", "1");
	struct fg_plan_guest g = { "aaaaaaaa-0000-4000-8000-000000000001", "web1", "xen3", "debian:12", labels };
	static const struct {
		const char *select;
		bool yes;
	} t[] = {
		{ "all", true },
		{ "host=xen3", true },
		{ "host=xen4", false },
		{ "host=xen4,host=xen3", true },
		{ "host=xen*", true },
		{ "host=xen", false },
		{ "os=debian", true },
		{ "os=debian:12", true },
		{ "os=debian:1*", true },
		{ "os=debian:11", false },
		{ "os=deb", false },
		{ "name=web?", true },
		{ "guest=web1", true },
		{ "guest=AAAAAAAA-0000-4000-8000-000000000001", true },
		{ "name=aaaaaaaa-0000-4000-8000-000000000001", false },
		{ "label:env", true },
		{ "label:env=prod", true },
		{ "label:env=test", false },
		{ "label:env=test,label:env=prod", true },
		{ "label:env=prod,label:tier=2", false },
		{ "label:env=prod,label:tier=1,host=xen3", true },
		{ "label:env=prod,host=xen4", false },
		{ "label:other", false },
	};

	for (size_t i = 0; i < FG_COUNT(t); i++) {
		struct fg_plan *p = fg_calloc(1, sizeof(*p));
		ck_assert_int_eq(fg_select_parse(t[i].select, p, NULL), 0);
		ck_assert_msg(fg_plan_selects(p, &g) == t[i].yes, "%s", t[i].select);
		fg_plan_release(p);
		free(p);
	}
	/* What is not known of a guest does not match. */
	struct fg_plan *p = fg_calloc(1, sizeof(*p));
	g.os = "";
	ck_assert_int_eq(fg_select_parse("os=*", p, NULL), 0);
	ck_assert(!fg_plan_selects(p, &g));
	fg_plan_release(p);
	free(p);
}
END_TEST

START_TEST(waves)
{
	static const struct {
		const char *plan;
		size_t total, n, ends[4];
	} t[] = {
		{ "[\"1\",\"10%\",\"100%\"]", 100, 3, { 1, 10, 100 } },
		{ "[\"1\",\"10%\",\"100%\"]", 5, 2, { 1, 5 } }, /* 10 % of 5 are 1: no wave of its own */
		{ "[\"1\",\"10%\",\"100%\"]", 11, 3, { 1, 2, 11 } },
		{ "[\"1\",\"10%\",\"100%\"]", 1, 1, { 1 } },
		{ "[\"1\",\"10%\",\"100%\"]", 0, 0, { 0 } },
		{ "[\"50\",\"10%\",\"100%\"]", 100, 2, { 50, 100 } },
		{ "[\"500\",\"100%\"]", 100, 1, { 100 } },
		{ "[\"33%\",\"66%\",\"100%\"]", 3, 3, { 1, 2, 3 } },
	};

	for (size_t i = 0; i < FG_COUNT(t); i++) {
		fg_autofree char *text = fg_asprintf("{\"select\":\"all\",\"waves\":%s}", t[i].plan);
		size_t ends[FG_PLAN_WAVES_MAX];
		struct fg_plan p;
		ck_assert_int_eq(read_plan(text, &p, NULL), 0);
		ck_assert_uint_eq(fg_plan_cut(&p, t[i].total, ends), t[i].n);
		for (size_t k = 0; k < t[i].n; k++)
			ck_assert_uint_eq(ends[k], t[i].ends[k]);
		fg_plan_release(&p);
	}
}
END_TEST

static int64_t at(const char *time)
{
	int64_t s = 0;

	ck_assert_int_eq(fg_time_parse(time, &s, NULL), 0);
	return s * 1000;
}

START_TEST(windows)
{
	/* 2026-01-05 was a Monday. */
	static const struct {
		const char *windows, *now;
		bool open;
		const char *change; /* NULL: never */
	} t[] = {
		{ "[]", "2026-01-05T12:00:00Z", true, NULL },
		{ "[\"10:00-12:00\"]", "2026-01-05T09:59:59Z", false, "2026-01-05T10:00:00Z" },
		{ "[\"10:00-12:00\"]", "2026-01-05T10:00:00Z", true, "2026-01-05T12:00:00Z" },
		{ "[\"10:00-12:00\"]", "2026-01-05T12:00:00Z", false, "2026-01-06T10:00:00Z" },
		{ "[\"22:00-04:00\"]", "2026-01-05T23:00:00Z", true, "2026-01-06T04:00:00Z" },
		{ "[\"22:00-04:00\"]", "2026-01-05T03:59:00Z", true, "2026-01-05T04:00:00Z" },
		{ "[\"Mon-Fri 22:00-04:00\"]", "2026-01-10T03:00:00Z", true, "2026-01-10T04:00:00Z" }, /* Friday's */
		{ "[\"Mon-Fri 22:00-04:00\"]", "2026-01-10T23:00:00Z", false, "2026-01-12T22:00:00Z" },
		{ "[\"Sun 22:00-04:00\"]", "2026-01-05T01:00:00Z", true, "2026-01-05T04:00:00Z" },
		{ "[\"Fri-Mon 00:00-24:00\"]", "2026-01-06T00:00:00Z", false, "2026-01-09T00:00:00Z" },
		{ "[\"Fri-Mon 00:00-24:00\"]", "2026-01-09T12:00:00Z", true, "2026-01-13T00:00:00Z" },
		{ "[\"00:00-24:00\"]", "2026-01-09T12:00:00Z", true, NULL },
		{ "[\"10:00-12:00\",\"11:00-13:00\"]", "2026-01-05T11:30:00Z", true, "2026-01-05T13:00:00Z" },
		{ "[\"10:00-12:00\",\"12:00-13:00\"]", "2026-01-05T11:30:00Z", true, "2026-01-05T13:00:00Z" },
		{ "[\"Mon,Wed 10:00-11:00\"]", "2026-01-05T11:00:00Z", false, "2026-01-07T10:00:00Z" },
		{ "[\"mon 10:00-11:00\"]", "2026-01-05T11:00:00Z", false, "2026-01-12T10:00:00Z" },
	};

	for (size_t i = 0; i < FG_COUNT(t); i++) {
		fg_autofree char *text = fg_asprintf("{\"select\":\"all\",\"windows\":%s}", t[i].windows);
		struct fg_plan p;
		ck_assert_int_eq(read_plan(text, &p, NULL), 0);
		ck_assert_msg(fg_plan_open(&p, at(t[i].now)) == t[i].open, "%s at %s", t[i].windows, t[i].now);
		int64_t change = fg_plan_change_ms(&p, at(t[i].now));
		ck_assert_msg(change == (t[i].change ? at(t[i].change) : INT64_MAX), "%s at %s: %lld", t[i].windows,
			      t[i].now, (long long)change);
		fg_plan_release(&p);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("plan");
	TCase *t = tcase_create("plan");

	tcase_add_test(t, defaults);
	tcase_add_test(t, refused);
	tcase_add_test(t, selectors);
	tcase_add_test(t, waves);
	tcase_add_test(t, windows);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
