/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Any bytes as a batch file: refused with a reason, or guests that are the same when written and read again. */
#include <lib/util.h>
#include <netback-filter/batch.h>
#include <netback-filter/guest_json.h>
#include <netback-filter/rule.h>

#include <string.h>

#include "target.h"

static void check_guest(const struct fg_filter_guest *g)
{
	struct fg_filter_guest *again;
	struct fg_ruleset set;
	fg_autojson json_t *before = fg_guest_to_json(g, true);

	if (fg_filter_guest_check(g, NULL) < 0)
		return;
	if (fg_guest_from_json(before, true, &again, NULL) < 0)
		abort();
	fg_autojson json_t *after = fg_guest_to_json(again, true);
	if (!json_equal(before, after))
		abort();
	fg_filter_guest_free(again);
	fg_ruleset_build(g, g->devs[0].mac, 7, &set);
	fg_ruleset_free(&set);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fg_error err = FG_ERROR_INIT;
	struct fg_guests guests;

	if (fg_guests_parse((const char *)data, size, &guests, &err) < 0) {
		if (!err.code || !err.text[0])
			abort();
		return 0;
	}
	for (size_t i = 0; i < guests.n && i < 8; i++)
		check_guest(&guests.list[i]);
	fg_guests_clear(&guests);
	return 0;
}
