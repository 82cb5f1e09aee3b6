/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What /metrics shows.  Every worker counts in a slot of its own in memory that all share; whoever is asked adds up the slots.
 * Counters go on when another worker takes a slot over; gauges begin at 0 again.
 */
#ifndef FG_SERVER_METRICS_H
#define FG_SERVER_METRICS_H

#include "bus.h"

#include <fixgate/error.h>
#include <stdatomic.h>
#include <stdint.h>

#define FG_METRICS_ROUTES_MAX 96
#define FG_METRICS_BUCKETS 9 /* upper ends in metrics.c; what is above the last one is in the count only */

typedef _Atomic uint64_t fg_count;

struct fg_metrics_route {
	fg_count status[6]; /* by hundreds */
	fg_count bucket[FG_METRICS_BUCKETS]; /* not cumulative */
	fg_count count, sum_us;
};

struct fg_metrics_slot {
	/* gauges */
	fg_count connections, half_open, polls;
	/* counters */
	fg_count accepted, gave_way, over_limit, no_request, revoked_closed, rate_limited, handshakes_limited;
	fg_count certificates, wakes_sent;
	struct fg_metrics_route route[FG_METRICS_ROUTES_MAX];
	struct fg_metrics_route none; /* no such path or method */
};

struct fg_metrics {
	fg_count workers, worker_restarts, reloads, started_ms, certificate_ends_s;
	struct fg_metrics_slot slot[FG_BUS_WORKERS_MAX + 1]; /* by mailbox */
};

struct fg_route;

/* Shared memory, all zero; abort if there is none. */
struct fg_metrics *fg_metrics_new(void);
void fg_metrics_free(struct fg_metrics *metrics);
void fg_metrics_take_over(struct fg_metrics_slot *slot);
void fg_metrics_request(struct fg_metrics_route *route, int status, int64_t us);
/* OpenMetrics text without the closing "# EOF"; malloc'd. */
char *fg_metrics_text(const struct fg_metrics *metrics, const struct fg_route *routes);

#endif
