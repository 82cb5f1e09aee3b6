/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the filter counted for each guest, by reason, over the lives of its NICs: the kernel's counters end with a netdev and
 * start again when rules are replaced.  A sample adds what they have gained since the last one.
 */
#ifndef FG_ISOLATE_COUNTERS_H
#define FG_ISOLATE_COUNTERS_H

#include <fixgate/filter.h>

#include <jansson.h>

struct fg_counters; /* of all guests */

struct fg_counters *fg_counters_new(void);
void fg_counters_free(struct fg_counters *c);
/* What the kernel holds for the guest now; NULL: nothing. */
void fg_counters_sample(struct fg_counters *c, const char *uuid, const struct fg_filter_status *status);
/* A new isolation begins: nothing was counted yet. */
void fg_counters_forget(struct fg_counters *c, const char *uuid);
/*
 * {"devs":["vif3.0"],"from_guest":{"vlan":{"frames":2,"bytes":120}},"to_guest":{…}}: the netdevs of the last sample, and
 * every reason that counted something.  NULL: there was no sample.
 */
json_t *fg_counters_json(const struct fg_counters *c, const char *uuid);

#endif
