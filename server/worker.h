/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One process that serves: HTTP, API and store in one event loop.  serve.h says who starts it. */
#ifndef FG_SERVER_WORKER_H
#define FG_SERVER_WORKER_H

#include "bus.h"
#include "config.h"
#include "metrics.h"

#include <fixgate/error.h>

#define FG_WORKER_DRAIN_MS 3000 /* at the server's end */
#define FG_WORKER_RELOAD_DRAIN_MS (10 * 60 * 1000) /* after a reload: downloads go on meanwhile */

struct fg_worker {
	const char *dir;
	const struct fg_server_config *config; /* workers is set */
	const char *user; /* NULL: stay who we are */
	const int *listeners;
	size_t n_listeners;
	struct fg_bus *bus;
	struct fg_metrics *metrics;
	unsigned box; /* of the bus */
	bool leader; /* fg_api */
	bool signer; /* there is one */
	bool check; /* fg_worker_prepare: read the whole database for damage */
};

/*
 * In a process of its own.  Serves until SIGTERM (lets replies go out first; a second one ends at once) or SIGQUIT (the
 * same, with more time; SIGTERM after it takes the rest of that time away); both may be blocked when it is called.  SIGUSR1: certificates may have been revoked.
 */
int fg_worker_run(const struct fg_worker *worker, struct fg_error *err) FG_MUST_CHECK;

/* Could a worker run?  Brings the database to this version.  In a process of its own too. */
int fg_worker_prepare(const struct fg_worker *worker, struct fg_error *err) FG_MUST_CHECK;

/*
 * The last one at the database, when all others have ended: takes what is in its write-ahead log into the file.  SQLite does that
 * with the last connection that closes, but not when two close at the same time, nor when a process was killed.
 */
int fg_worker_finish(const struct fg_worker *w, struct fg_error *err) FG_MUST_CHECK;

/* Becomes the user for good (if it is another), dies with the parent, and cannot be looked into by its like. */
int fg_worker_drop(const char *user, struct fg_error *err) FG_MUST_CHECK;

#endif
