/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The parts of a plan that have a syntax of their own: maintenance windows and selectors. */
#ifndef FG_SERVER_WINDOW_H
#define FG_SERVER_WINDOW_H

#include "plan.h"

/* "22:00-04:00", "Sat,Sun 00:00-24:00", "Mon-Fri 22:00-04:00". */
int fg_window_parse(const char *text, struct fg_window *out, struct fg_error *err) FG_MUST_CHECK;
bool fg_window_open(const struct fg_window *list, size_t n, int64_t now_ms);
int64_t fg_window_change_ms(const struct fg_window *list, size_t n, int64_t now_ms);

/* Fills plan->terms (select.c). */
int fg_select_parse(const char *text, struct fg_plan *plan, struct fg_error *err) FG_MUST_CHECK;

#endif
