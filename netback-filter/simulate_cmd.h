/* SPDX-License-Identifier: GPL-3.0-or-later */
/* "netback-filter simulate": a verdict for each frame of a capture, on standard output. */
#ifndef FG_FILTER_SIMULATE_CMD_H
#define FG_FILTER_SIMULATE_CMD_H

#include "args.h"

/* One line a frame, then one with the totals; with --json each line is an object.  Lines printed before a failure stay. */
int fg_simulate_print(const struct fg_args *args, struct fg_error *err) FG_MUST_CHECK;

#endif
