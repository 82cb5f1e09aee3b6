/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <fixgate/state.h>

#include <string.h>

struct state_row {
	const char *name;
	char kind;
};

static const struct state_row rows[FG_STATE_COUNT] = {
#define X(NAME, str, kind, truth, leaves, failed) [FG_STATE_##NAME] = { str, #kind[0] },
	FG_STATE_LIST(X)
#undef X
};

const char *fg_state_name(enum fg_state state)
{
	return (unsigned)state < FG_STATE_COUNT ? rows[state].name : NULL;
}

enum fg_state fg_state_from_name(const char *name)
{
	for (unsigned i = 0; i < FG_STATE_COUNT; i++)
		if (strcmp(rows[i].name, name) == 0)
			return (enum fg_state)i;
	return FG_STATE_COUNT;
}

bool fg_state_is_end(enum fg_state state)
{
	return (unsigned)state < FG_STATE_COUNT && rows[state].kind == 'E';
}
