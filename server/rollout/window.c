/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Maintenance windows, in UTC. */
#include "window.h"

#include <lib/util.h>
#include <string.h>
#include <strings.h>

#define DAY_MIN 1440
#define MIN_MS 60000ll
#define DAYS_AHEAD 9 /* a window repeats after a week */

static const char day_names[7][4] = { "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun" };

static int day_parse(const char **p)
{
	for (int i = 0; i < 7; i++) {
		if (strncasecmp(*p, day_names[i], 3) == 0) {
			*p += 3;
			return i;
		}
	}
	return -1;
}

/* Mon-Fri,Sun; a range may go over the end of the week. */
static bool days_parse(const char **p, uint8_t *out)
{
	for (;;) {
		int from = day_parse(p), to = from;
		if (from < 0)
			return false;
		if (**p == '-') {
			++*p;
			to = day_parse(p);
			if (to < 0)
				return false;
		}
		for (int d = from;; d = (d + 1) % 7) {
			*out |= (uint8_t)(1u << d);
			if (d == to)
				break;
		}
		if (**p != ',')
			return true;
		++*p;
	}
}

static bool two_digits(const char **p, int max, int *out)
{
	const char *t = *p;

	if (t[0] < '0' || t[0] > '9' || t[1] < '0' || t[1] > '9')
		return false;
	*out = (t[0] - '0') * 10 + t[1] - '0';
	*p += 2;
	return *out <= max;
}

static bool time_parse(const char **p, int *out)
{
	int h = 0, m = 0;

	if (!two_digits(p, 24, &h) || *(*p)++ != ':' || !two_digits(p, 59, &m))
		return false;
	*out = h * 60 + m;
	return *out <= DAY_MIN;
}

int fg_window_parse(const char *text, struct fg_window *out, struct fg_error *err)
{
	const char *p = text;
	struct fg_window w = { .days = 0 };
	bool ok = true;

	if (*p >= '0' && *p <= '9')
		w.days = 0x7f;
	else
		ok = days_parse(&p, &w.days) && *p++ == ' ';
	ok = ok && time_parse(&p, &w.from_min) && *p++ == '-' && time_parse(&p, &w.to_min) && !*p;
	if (!ok || w.from_min == DAY_MIN || w.from_min == w.to_min)
		return fg_error_set(err, FG_EFORMAT, "'%.60s' is no window: [Mon-Fri,Sun ]HH:MM-HH:MM", text);
	*out = w;
	return 0;
}

static bool day_of(const struct fg_window *w, int64_t day)
{
	/* Day 0, 1970-01-01, was a Thursday. */
	return w->days >> ((day % 7 + 7 + 3) % 7) & 1;
}

static bool open_at(const struct fg_window *list, size_t n, int64_t minute)
{
	int64_t day = minute / DAY_MIN, of_day = minute % DAY_MIN;

	for (size_t i = 0; i < n; i++) {
		const struct fg_window *w = &list[i];
		bool over = w->to_min <= w->from_min;
		if (day_of(w, day) && of_day >= w->from_min && (over || of_day < w->to_min))
			return true;
		if (over && day_of(w, day - 1) && of_day < w->to_min)
			return true;
	}
	return false;
}

bool fg_window_open(const struct fg_window *list, size_t n, int64_t now_ms)
{
	return open_at(list, n, now_ms / MIN_MS);
}

int64_t fg_window_change_ms(const struct fg_window *list, size_t n, int64_t now_ms)
{
	int64_t now = now_ms / MIN_MS, best = INT64_MAX;
	bool open = open_at(list, n, now);

	/* It changes at an edge of a window: the first one at which it is not what it is now. */
	for (int64_t day = now / DAY_MIN; day < now / DAY_MIN + DAYS_AHEAD; day++) {
		for (size_t i = 0; i < 2 * n; i++) {
			int64_t edge = day * DAY_MIN + (i % 2 ? list[i / 2].to_min : list[i / 2].from_min);
			if (edge > now && edge < best && open_at(list, n, edge) != open)
				best = edge;
		}
	}
	return best == INT64_MAX ? best : best * MIN_MS;
}
