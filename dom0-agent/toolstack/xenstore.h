/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * xenstore on libevent: reads, and watches with a callback.  Reads are one round trip to the local xenstored.
 */
#ifndef FG_XENSTORE_H
#define FG_XENSTORE_H

#include <fixgate/error.h>

#include <stdbool.h>
#include <stdint.h>

struct event_base;
struct fg_xs;
struct fg_xs_watch;

#define FG_XS_VALUE_MAX 4096 /* bytes of a value or path we look at (XENSTORE_PAYLOAD_MAX) */

int fg_xs_open(struct event_base *base, struct fg_xs **out, struct fg_error *err) FG_MUST_CHECK;
void fg_xs_close(struct fg_xs *xs);
struct event_base *fg_xs_base(struct fg_xs *xs);

/* malloc'd, NUL-terminated.  NOTFOUND: there is no such node; else could not ask. */
int fg_xs_read(struct fg_xs *xs, char **out, struct fg_error *err, const char *fmt, ...) FG_PRINTF(4, 5) FG_MUST_CHECK;
/* Number of children of a node; a node that is not there has none. */
int fg_xs_children(struct fg_xs *xs, unsigned *n, struct fg_error *err, const char *fmt, ...)
	FG_PRINTF(4, 5) FG_MUST_CHECK;
/* Names of the children: out is one malloc'd block to free; NULL and 0 if there are none. */
int fg_xs_list(struct fg_xs *xs, char ***out, unsigned *n, struct fg_error *err, const char *fmt, ...)
	FG_PRINTF(5, 6) FG_MUST_CHECK;

/* Fires once soon after it is set, then at each change of the node or below it.  Special paths: @introduceDomain,
 * @releaseDomain. */
typedef void fg_xs_watch_cb(void *arg);
int fg_xs_watch(struct fg_xs *xs, const char *path, fg_xs_watch_cb *cb, void *arg, struct fg_xs_watch **out,
		struct fg_error *err) FG_MUST_CHECK;
void fg_xs_unwatch(struct fg_xs_watch *watch); /* NULL is allowed; may be called from its callback */

/* Seconds since the epoch at which the domain was made, as libxl wrote it; 0 if it is not there. */
int64_t fg_xs_created_s(struct fg_xs *xs, uint32_t domid);

#endif
