/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Between sqlite_rollouts.c and sqlite_targets.c. */
#ifndef FG_SERVER_SQLITE_TARGETS_H
#define FG_SERVER_SQLITE_TARGETS_H

#include "rollouts.h"

int fg_sqlite_wave_count(struct fg_store *store, int64_t id, int64_t wave, enum fg_target_state state, int64_t delta,
			 struct fg_error *err) FG_MUST_CHECK;

#endif
