/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * libxl on libevent: one libxl_ctx whose descriptors, timeouts and children are served by an event_base, its log going
 * to fg_log.  See libxl_event.h.
 *
 *	fg_xl_open -> [how = fg_xl_how(…); rc = libxl_x(…, &how); fg_xl_started(xl, &how, rc)] … -> fg_xl_close
 *
 * All calls from the thread that runs the loop.  Callbacks fire from the loop, never from inside a libxl call.
 * libxl gets the SIGCHLD handler in "selective reap" mode: any number of contexts may be open, and the program waits for its
 * own children by pidfd (child.h), never by SIGCHLD.
 */
#ifndef FG_EVENT_LIBXL_H
#define FG_EVENT_LIBXL_H

#include <fixgate/error.h>

#include <libxl.h>
#include <libxl_event.h>
#include <libxl_utils.h>

struct event_base;
struct fg_xl;
struct fg_xl_death;

int fg_xl_open(struct event_base *base, struct fg_xl **out, struct fg_error *err) FG_MUST_CHECK;
/* No callback fires after it.  If an operation is still under way the libxl context is left to the end of the process. */
void fg_xl_close(struct fg_xl *xl);
libxl_ctx *fg_xl_ctx(struct fg_xl *xl);

/* rc is libxl's (0 or ERROR_…). */
typedef void fg_xl_ao_cb(void *arg, int rc);
libxl_asyncop_how fg_xl_how(struct fg_xl *xl, fg_xl_ao_cb *cb, void *arg);
/* After the libxl call: if it did not start (rc != 0), cb gets that rc, from the loop. */
void fg_xl_started(struct fg_xl *xl, const libxl_asyncop_how *how, int rc);

/* No callback any more for operations started with this arg; they go on.  Not for those that write to the caller's memory. */
void fg_xl_forget(struct fg_xl *xl, const void *arg);

/* shutdown: the domain has shut down (reason: libxl_shutdown_reason), it still exists; else: it is dying or gone. */
typedef void fg_xl_death_cb(void *arg, bool shutdown, int reason);
int fg_xl_death_watch(struct fg_xl *xl, uint32_t domid, fg_xl_death_cb *cb, void *arg, struct fg_xl_death **out,
		      struct fg_error *err) FG_MUST_CHECK;
void fg_xl_death_unwatch(struct fg_xl_death *watch); /* NULL is allowed */

/* The name of an ERROR_… ; FG error code for it: NOTFOUND only for "no such domain". */
const char *fg_xl_error_name(int rc);
int fg_xl_error_set(struct fg_error *err, int rc, const char *fmt, ...) FG_PRINTF(3, 4);

/* The domain of this UUID: 0, -FG_ENOTFOUND, or could not ask. info may be NULL; dispose it on success. */
int fg_xl_find(struct fg_xl *xl, const char *uuid, uint32_t *domid, libxl_dominfo *info,
	       struct fg_error *err) FG_MUST_CHECK;
void fg_xl_uuid_format(const libxl_uuid *uuid, char out[37]);

#endif
