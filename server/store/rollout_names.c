/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "rollouts.h"

#include <inttypes.h>
#include <string.h>

static const char *const rollout_names[FG_ROLLOUT_STATE_COUNT] = {
#define NAME(name, str, text) [FG_ROLLOUT_##name] = str,
	FG_ROLLOUT_STATE_LIST(NAME)
#undef NAME
};

static const char *const target_names[FG_TARGET_STATE_COUNT] = {
#define NAME(name, str, text) [FG_TARGET_##name] = str,
	FG_TARGET_STATE_LIST(NAME)
#undef NAME
};

const char *fg_rollout_state_name(enum fg_rollout_state state)
{
	return (unsigned)state < FG_ROLLOUT_STATE_COUNT ? rollout_names[state] : NULL;
}

const char *fg_target_state_name(enum fg_target_state state)
{
	return (unsigned)state < FG_TARGET_STATE_COUNT ? target_names[state] : NULL;
}

enum fg_rollout_state fg_rollout_state_from_name(const char *name)
{
	unsigned i = 0;

	while (i < FG_ROLLOUT_STATE_COUNT && strcmp(name, rollout_names[i]) != 0)
		i++;
	return (enum fg_rollout_state)i;
}

enum fg_target_state fg_target_state_from_name(const char *name)
{
	unsigned i = 0;

	while (i < FG_TARGET_STATE_COUNT && strcmp(name, target_names[i]) != 0)
		i++;
	return (enum fg_target_state)i;
}

void fg_rollout_who(int64_t id, char out[FG_ROLLOUT_WHO_MAX])
{
	snprintf(out, FG_ROLLOUT_WHO_MAX, "rollout-%" PRId64, id);
}
