/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "plan.h"

#include "window.h"
#include <ctype.h>
#include <lib/util.h>
#include <stdlib.h>
#include <string.h>

#define WAIT_MAX_S (365ll * 86400)

/* ---- waves ---- */

static int wave_read(const char *text, struct fg_wave *out, struct fg_error *err)
{
	char *end = NULL;
	long long n = strtoll(text, &end, 10);
	bool percent = *end == '%';

	if (!isdigit((unsigned char)text[0]) || end[percent] || n < 1 || n > (percent ? 100 : INT32_MAX))
		return fg_error_set(err, FG_EFORMAT, "'%.40s' is no wave: a number of guests, or 1%% to 100%%", text);
	out->n = n;
	out->percent = percent;
	return 0;
}

static int waves_read(const json_t *json, struct fg_plan *plan, struct fg_error *err)
{
	json_t *list = NULL, *item;
	size_t i;

	plan->waves[0] = (struct fg_wave){ 100, true };
	plan->n_waves = 1;
	if (!json_object_get(json, "waves"))
		return 0;
	int rc = fg_json_array(json, "waves", FG_PLAN_WAVES_MAX, &list, err);
	if (rc < 0)
		return rc;
	plan->n_waves = 0;
	json_array_foreach (list, i, item) {
		struct fg_wave *w = &plan->waves[i];
		rc = wave_read(json_string_value(item) ? json_string_value(item) : "", w, err);
		if (rc < 0)
			return rc;
		/* Numbers and percents can only be compared once the targets are counted. */
		if (i > 0 && w->percent == w[-1].percent && w->n <= w[-1].n)
			return fg_error_set(err, FG_EFORMAT,
					    "waves must ascend: each says how many have it by its end");
		plan->n_waves++;
	}
	if (plan->n_waves == 0 || !plan->waves[plan->n_waves - 1].percent || plan->waves[plan->n_waves - 1].n != 100)
		return fg_error_set(err, FG_EFORMAT, "the last wave must be 100%%");
	return 0;
}

size_t fg_plan_cut(const struct fg_plan *plan, size_t total, size_t ends[FG_PLAN_WAVES_MAX])
{
	size_t n = 0, last = 0;

	for (size_t i = 0; i < plan->n_waves; i++) {
		const struct fg_wave *w = &plan->waves[i];
		size_t end = w->percent ? (total * (size_t)w->n + 99) / 100 : (size_t)w->n;
		if (end > total)
			end = total;
		if (end > last)
			ends[n++] = last = end;
	}
	return n;
}

/* ---- windows ---- */

static int windows_read(const json_t *json, struct fg_plan *plan, struct fg_error *err)
{
	json_t *list = NULL, *item;
	size_t i;

	if (!json_object_get(json, "windows"))
		return 0;
	int rc = fg_json_array(json, "windows", FG_PLAN_WINDOWS_MAX, &list, err);
	if (rc < 0)
		return rc;
	json_array_foreach (list, i, item) {
		const char *text = json_string_value(item);
		rc = fg_window_parse(text ? text : "", &plan->windows[i], err);
		if (rc < 0)
			return rc;
		plan->n_windows++;
	}
	return 0;
}

bool fg_plan_open(const struct fg_plan *plan, int64_t now_ms)
{
	return plan->n_windows == 0 || fg_window_open(plan->windows, plan->n_windows, now_ms);
}

int64_t fg_plan_change_ms(const struct fg_plan *plan, int64_t now_ms)
{
	return plan->n_windows == 0 ? INT64_MAX : fg_window_change_ms(plan->windows, plan->n_windows, now_ms);
}

/* ---- the whole ---- */

static int keys_check(const json_t *json, struct fg_error *err)
{
	static const char *const known[] = { "select", "waves",	    "success_pct", "max_failures",
					     "wait_s", "timeout_s", "windows",	   "approval" };
	const char *key;
	json_t *unused;

	json_object_foreach ((json_t *)(uintptr_t)json, key, unused) {
		bool ok = false;
		for (size_t i = 0; i < FG_COUNT(known); i++)
			ok = ok || !strcmp(key, known[i]);
		if (!ok)
			return fg_error_set(err, FG_EFORMAT, "a plan has no '%.40s'", key);
	}
	return 0;
}

static int numbers_read(const json_t *json, struct fg_plan *plan, struct fg_error *err)
{
	int64_t pct = 0, wait_s = 0, timeout_s = 0;
	int rc = fg_json_int_opt(json, "success_pct", 0, 100, 100, &pct, err);

	if (rc == 0)
		rc = fg_json_int_opt(json, "max_failures", -1, INT32_MAX, 0, &plan->max_failures, err);
	if (rc == 0)
		rc = fg_json_int_opt(json, "wait_s", 0, WAIT_MAX_S, 0, &wait_s, err);
	if (rc == 0)
		rc = fg_json_int_opt(json, "timeout_s", 0, WAIT_MAX_S, 0, &timeout_s, err);
	if (rc == 0)
		rc = fg_json_bool_opt(json, "approval", false, &plan->approval, err);
	plan->success_pct = (int)pct;
	plan->wait_ms = wait_s * 1000;
	plan->timeout_ms = timeout_s * 1000;
	return rc;
}

int fg_plan_read(const json_t *json, struct fg_plan *out, struct fg_error *err)
{
	struct fg_plan *plan = fg_calloc(1, sizeof(*plan));
	const char *select = NULL;
	int rc = keys_check(json, err);

	if (rc == 0)
		rc = fg_json_string(json, "select", &select, err);
	if (rc == 0)
		rc = fg_select_parse(select, plan, err);
	if (rc == 0)
		rc = waves_read(json, plan, err);
	if (rc == 0)
		rc = numbers_read(json, plan, err);
	if (rc == 0)
		rc = windows_read(json, plan, err);
	if (rc == 0)
		*out = *plan;
	else
		fg_plan_release(plan);
	free(plan);
	return rc;
}

void fg_plan_release(struct fg_plan *plan)
{
	for (size_t i = 0; i < plan->n_terms; i++) {
		free(plan->terms[i].label);
		free(plan->terms[i].pattern);
	}
	memset(plan, 0, sizeof(*plan));
}
