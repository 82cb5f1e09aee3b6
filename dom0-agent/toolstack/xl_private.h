/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the files of the xl toolstack share; nobody else includes it. */
#ifndef FG_XL_PRIVATE_H
#define FG_XL_PRIVATE_H

#include "dom0-agent/toolstack/event_libxl.h"
#include "dom0-agent/toolstack/toolstack.h"
#include "dom0-agent/toolstack/xenstore.h"

#include <event2/event.h>
#include <jansson.h>
#include <sys/queue.h>

#define FG_XL_PROGRAM "xl"
#define FG_XL_DRYRUN_MS 60000
#define FG_XL_CREATE_MS 240000 /* libxl itself gives each hot-plug script 40 s */
#define FG_XL_CONFIG_DIR "/etc/xen"

struct xl_ts;
struct xl_owned;

/* One operation under way: first member of each kind's struct. */
struct xl_op {
	LIST_ENTRY(xl_op) link;
	struct xl_ts *ts;
	struct event *timer; /* a deadline, or "at the next turn of the loop" */
	void (*release)(struct xl_op *op); /* what is the kind's own; not op itself */
};

/* A dry run of a config file, kept until the file changes. */
struct xl_file {
	LIST_ENTRY(xl_file) link;
	char *path;
	struct timespec mtime;
	off_t size;
	char uuid[37]; /* empty: pins none */
	char *name; /* as it stands there, NULL: none */
	json_t *config; /* NULL: not asked yet */
};

struct xl_ts {
	struct fg_toolstack_config cfg;
	const char *config_dir; /* NULL: FG_XL_CONFIG_DIR; else of a test */
	struct fg_xl *xl;
	struct fg_xs *xs;
	struct fg_xs_watch *watches[5];
	struct fg_pace *changes;
	LIST_HEAD(xl_op_list, xl_op) ops;
	LIST_HEAD(xl_file_list, xl_file) files;
	LIST_HEAD(xl_owned_list, xl_owned) owned;
};

/* size is of the kind's struct, which begins with struct xl_op; zeroed. */
void *xl_op_new(struct xl_ts *ts, size_t size, event_callback_fn timer, void (*release)(struct xl_op *));
void xl_op_free(struct xl_op *op);
void xl_op_soon(struct xl_op *op);
void xl_op_in(struct xl_op *op, uint32_t ms);

/* A guest as it was found. */
struct xl_found {
	struct fg_guest guest;
	char *config; /* libxl's JSON; NULL if it cannot be read */
	char *file; /* config file, of one that is off */
};

/* found: borrowed.  uuid NULL: all. With a uuid n is 0 or 1. */
typedef void xl_scan_cb(void *arg, int rc, struct xl_found *found, size_t n, const struct fg_error *err);
/* Bound to an operation of the caller: it must end before that one is freed, or with ts. */
void xl_scan(struct xl_ts *ts, const char *uuid, xl_scan_cb *cb, void *arg);

/* xl_files.c: the config files; pinned UUIDs. */
void xl_files_refresh(struct xl_ts *ts);
void xl_files_free(struct xl_ts *ts);
struct xl_file *xl_file_by_uuid(struct xl_ts *ts, const char *uuid);
/* Dry run of a file with settings (NULL-terminated, may be NULL): config is borrowed during the callback. */
typedef void xl_dryrun_cb(void *arg, int rc, json_t *config, const struct fg_error *err);
struct fg_child;
int xl_dryrun(struct xl_ts *ts, const char *file, char *const *settings, const char *uuid, xl_dryrun_cb *cb, void *arg,
	      struct fg_error *err) FG_MUST_CHECK;

/* xl_save.c, xl_stop.c, xl_start.c, xl_owner.c */
void xl_save(struct fg_toolstack *ts, const char *uuid, fg_ts_text_cb *cb, void *arg);
void xl_stop(struct fg_toolstack *ts, const struct fg_guest *last, const struct fg_stop_policy *policy,
	     fg_ts_step_cb *step, fg_ts_done_cb *cb, void *arg);
void xl_start_paused(struct fg_toolstack *ts, const char *definition, fg_ts_guest_cb *cb, void *arg);
void xl_unpause(struct fg_toolstack *ts, const char *uuid, fg_ts_done_cb *cb, void *arg);
void xl_wait_connected(struct fg_toolstack *ts, const char *uuid, uint32_t deadline_ms, fg_ts_done_cb *cb, void *arg);

/*
 * xl_reboot.c: the xl process that has this guest or is about to make it anew (it sleeps 2 s between destroying and making
 * it).  last: the guest as it was last seen.  Goes by the config files as they were last refreshed.  NOTFOUND: none.
 */
struct fg_xl_daemon;
int xl_daemon_of(struct xl_ts *ts, const struct fg_guest *last, struct fg_xl_daemon *out,
		 struct fg_error *err) FG_MUST_CHECK;
/* Whose domain is it?  NOTFOUND: nobody's; EXISTS: another guest's. */
int xl_domid_is(struct xl_ts *ts, uint32_t domid, const char *uuid, struct fg_error *err) FG_MUST_CHECK;

/* Guests whose owner is the agent itself, because their config file no longer yields them. */
void xl_own(struct xl_ts *ts, const char *uuid, uint32_t domid, const char *config);
bool xl_owns(const struct xl_ts *ts, const char *uuid);
/* false: a domain of it is being made, which can't be called off; it stays paused.  To be asked again until that has ended. */
bool xl_disown(struct xl_ts *ts, const char *uuid);
void xl_owned_load(struct xl_ts *ts);
void xl_owned_free(struct xl_ts *ts);

#endif
