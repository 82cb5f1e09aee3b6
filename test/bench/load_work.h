/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the load driver's hosts ask: requests as text, and what a reply must say. */
#ifndef FG_LOAD_WORK_H
#define FG_LOAD_WORK_H

#include "load_conn.h"

#define FG_LOAD_GUESTS 8 /* of a host */
#define FG_LOAD_BATCH_MAX 256

struct fg_load_work {
	const char *get; /* path; NULL: reports */
	const char *journal;
	unsigned batch; /* reports in a request */
	bool check; /* the reply to reports acknowledges them; another server's does not */
};

/* One host's requests; the caller frees text. */
struct fg_load_host {
	unsigned number;
	int64_t seq; /* of the last report */
	char *text;
	size_t len;
};

/* The host's inventory: comes before reports. */
void fg_load_inventory(struct fg_load_host *h);
/* The next request. */
void fg_load_next(const struct fg_load_work *w, struct fg_load_host *h);
/* Is this the reply to what was sent last? */
bool fg_load_right(const struct fg_load_work *w, const struct fg_load_host *h, const struct fg_load_reply *reply);

#endif
