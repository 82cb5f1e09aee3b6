/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The guest as it was found, for the journal: an xl guest that is off is known to nobody else. */
#ifndef FG_SNAPSHOT_H
#define FG_SNAPSHOT_H

#include "dom0-agent/toolstack/toolstack.h"

#include <jansson.h>

json_t *fg_snapshot_to_json(const struct fg_guest *g);
/* ops and refusal are not in it. */
int fg_snapshot_from_json(const json_t *j, struct fg_guest *out, struct fg_error *err) FG_MUST_CHECK;
const char *fg_guest_state_name(enum fg_guest_state state);

#endif
