/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Run a program (argv, no shell) from the loop: own session, no descriptor of ours but its output, default signals,
 * bounded output, a deadline.  Its end is learned by pidfd, so nothing here needs SIGCHLD.
 */
#ifndef FG_CHILD_H
#define FG_CHILD_H

#include <fixgate/error.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event_base;
struct fg_child;

#define FG_CHILD_OUTPUT_MAX (1u << 20) /* bytes kept of stdout, and of stderr; more is read and dropped */

struct fg_child_result {
	int status; /* of waitpid(2) */
	const char *out, *err; /* NUL-terminated, borrowed */
	size_t out_len;
	bool truncated;
};

/* error: TIMEOUT when it was killed at its deadline (what it started lives on), else NULL: see the status. */
typedef void fg_child_cb(void *arg, const struct fg_child_result *result, const struct fg_error *error);

int fg_child_start(struct event_base *base, const char *const *argv, uint32_t deadline_ms, fg_child_cb *cb, void *arg,
		   struct fg_child **out, struct fg_error *err) FG_MUST_CHECK;
/* Kills it if it still runs; no callback.  Not needed after the callback, which frees the handle. */
void fg_child_cancel(struct fg_child *child);
bool fg_child_succeeded(const struct fg_child_result *result);
/* The last line of what it wrote to stderr (or stdout), for messages; out is always ended. */
void fg_child_last_line(const struct fg_child_result *result, char *out, size_t size);

#endif
