/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Is the table at work?  A table with the flag "dormant" has all its chains and rules, and none of them sees a frame: whoever
 * compares rules does not notice.
 */
#ifndef FG_FILTER_AWAKE_H
#define FG_FILTER_AWAKE_H

#include <fixgate/filter.h>

/* 0 if there is no table, or it is at work; DIFFERS if it is dormant. */
int fg_filter_awake(struct fg_filter *f, struct fg_error *err) FG_MUST_CHECK;
/* Takes the flag off. */
int fg_filter_wake(struct fg_filter *f, struct fg_error *err) FG_MUST_CHECK;

#endif
