/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Inside the guard only: guard.c (devices), guard_rules.c (the table). */
#ifndef FG_GUARD_PRIVATE_H
#define FG_GUARD_PRIVATE_H

#include "guard.h"
#include "vmm.h"

#include <sys/queue.h>

/* A device that may be a guest's. */
struct nic {
	LIST_ENTRY(nic) link;
	struct fg_link_event now;
	int64_t since_ms; /* it is not filtered since then; FG_WINDOW_UNKNOWN: since before we watched */
	int64_t frames; /* that it had passed by then; FG_WINDOW_UNKNOWN */
	bool at_most; /* since_ms is a lower bound */
	bool filtered, shut, was_up, seen;
	char uuid[37]; /* of the marked guest whose it is; "" */
	const char *cause;
};

struct fg_guard {
	struct fg_guard_config c;
	struct fg_linkwatch *watch;
	LIST_HEAD(nic_list, nic) nics;
	char (*uuids)[37]; /* of marked guests, while one event is handled */
	size_t n_uuids;
	struct fg_filter_guest **marks; /* read as they are asked for */
	bool starting, rescan;
	int64_t lost_since_ms;
	int64_t unknown_since_ms; /* the marks could not be read since then; 0: they could */
};

/* The list of marked guests, for the time of one event.  False: there are none, or they are not known. */
bool fg_guard_marks_load(struct fg_guard *g);
void fg_guard_marks_forget(struct fg_guard *g);
/* It cannot be filtered: no frame may pass. */
void fg_guard_shut(struct fg_guard *g, struct nic *nic, const struct fg_error *why);

/* guard_rules.c */
void fg_guard_on_ruleset(void *arg, const struct fg_ruleset_event *e); /* arg: the guard */
void fg_guard_put_all_back(struct fg_guard *g, int64_t since_ms); /* of a time without notifications */

#endif
