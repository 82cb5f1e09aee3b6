/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The plan of a rollout as an administrator gives it.  Pure: no clock, no database.
 *
 *	{"select":"host=web*,label:env=prod","waves":["1","10%","100%"],"success_pct":95,"max_failures":2,
 *	 "wait_s":600,"timeout_s":86400,"windows":["Mon-Fri 22:00-04:00"],"approval":true}
 *
 * select    terms, comma between: all | host=P | os=P | name=P | guest=P (name or UUID) | label:NAME[=P].  Terms of one kind are
 *           alternatives, different kinds must all hold.  P may have * and ?.
 * waves     how many of the targets, counted from the first, are offered the fix by the end of each wave: a number or a part
 *           in percent (rounded up); ascending, the last must be 100%.
 * windows   in UTC; none = always.  [DAYS ]HH:MM-HH:MM; a window that ends before it begins ends on the next day.
 */
#ifndef FG_SERVER_PLAN_H
#define FG_SERVER_PLAN_H

#include <fixgate/error.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FG_PLAN_TERMS_MAX 256
#define FG_PLAN_WAVES_MAX 32
#define FG_PLAN_WINDOWS_MAX 32
#define FG_PLAN_SELECT_MAX 16384 /* bytes */

enum fg_term_kind { FG_TERM_HOST, FG_TERM_OS, FG_TERM_GUEST, FG_TERM_LABEL };

struct fg_term {
	enum fg_term_kind kind;
	bool name_only; /* of FG_TERM_GUEST: not the UUID */
	char *label; /* of FG_TERM_LABEL */
	char *pattern; /* NULL: any value */
};

struct fg_wave {
	int64_t n; /* targets, or percent */
	bool percent;
};

struct fg_window {
	uint8_t days; /* bit 0 = Monday */
	int from_min, to_min; /* of the day; to_min <= from_min: of the next day */
};

struct fg_plan {
	struct fg_term terms[FG_PLAN_TERMS_MAX];
	size_t n_terms; /* 0: all */
	struct fg_wave waves[FG_PLAN_WAVES_MAX];
	size_t n_waves;
	struct fg_window windows[FG_PLAN_WINDOWS_MAX];
	size_t n_windows;
	int success_pct;
	int64_t max_failures; /* one more stops the rollout; -1 = any number */
	int64_t wait_ms; /* between reaching success_pct and the next wave */
	int64_t timeout_ms; /* after which a target without an end has failed; 0 = never */
	bool approval;
};

/* FORMAT says what is wrong; unknown keys are.  Defaults: waves 100%, success 100, max_failures 0, the rest none. */
int fg_plan_read(const json_t *json, struct fg_plan *out, struct fg_error *err) FG_MUST_CHECK;
void fg_plan_release(struct fg_plan *plan);

struct fg_plan_guest {
	const char *uuid, *name, *host, *os;
	const json_t *labels; /* object: name -> value */
};
bool fg_plan_selects(const struct fg_plan *plan, const struct fg_plan_guest *guest);
bool fg_plan_needs_labels(const struct fg_plan *plan);

/* ends[i]: how many of total targets are in waves 0 … i; waves that would be empty are left out. Returns how many there are. */
size_t fg_plan_cut(const struct fg_plan *plan, size_t total, size_t ends[FG_PLAN_WAVES_MAX]);

/* Is this moment in a window (or are there none)? */
bool fg_plan_open(const struct fg_plan *plan, int64_t now_ms);
/* When that changes next; INT64_MAX = never. */
int64_t fg_plan_change_ms(const struct fg_plan *plan, int64_t now_ms);

#endif
