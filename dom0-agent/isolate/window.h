/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A time in which a NIC of an isolated guest was not filtered. */
#ifndef FG_ISOLATE_WINDOW_H
#define FG_ISOLATE_WINDOW_H

#include <jansson.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#define FG_WINDOW_UNKNOWN (-1)

struct fg_window {
	char uuid[37];
	char dev[IFNAMSIZ]; /* "": several */
	const char *cause; /* "appeared", "renamed", "moved", "rules-changed", "out-of-reach" */
	char detail[200]; /* for people */
	int64_t ms; /* monotonic, until it was filtered or set down; FG_WINDOW_UNKNOWN: it began before we watched */
	bool at_most; /* ms is an upper bound */
	int64_t frames; /* at most so many passed, both ways; FG_WINDOW_UNKNOWN */
	bool shut; /* it could not be filtered: it was set down */
	bool open; /* neither: it is still open */
	unsigned count; /* more than 1: so many added up (window_limit.h), ms and frames are their sums */
};

/* {"dev","cause","detail","ms"?,"at_most"?,"frames"?,"ended":"filtered"|"set-down"|"open","count"?}: part of a report's evidence. */
json_t *fg_window_json(const struct fg_window *w);
/* "vif3.0 was not filtered for 12 ms (appeared)", malloc'd. */
char *fg_window_text(const struct fg_window *w);

struct fg_agent;
/* Log, step of the guest's job, and report to the server; the job that cannot go on that way is held. */
void fg_window_report(struct fg_agent *agent, const struct fg_window *w);

#endif
