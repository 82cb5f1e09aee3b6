/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * `fixgate-server serve`: the parent process.  It opens the sockets (or takes them from systemd), starts one process that
 * holds the CA's key (setup/signer.h) and some that serve (worker.h), replaces those that die, and reads no byte of the network.
 *
 *	SIGTERM, SIGINT  end; replies under way go out.  A second one ends at once.
 *	SIGHUP           reads configuration and certificates again: new workers start, the old ones finish what they do
 *	SIGUSR1          certificates were revoked: their connections are closed
 *
 * One server at a time has a folder: the lock is held by all its processes, so after kill -9 of the parent the next one
 * waits until the last of them is gone.
 */
#ifndef FG_SERVER_SERVE_H
#define FG_SERVER_SERVE_H

#include <fixgate/error.h>
#include <stdbool.h>
#include <stddef.h>

struct fg_serve {
	const char *dir;
	char **listen; /* instead of the configuration's */
	size_t n_listen;
	const char *user; /* whose the workers become, instead of the configuration's; or NULL */
};
int fg_serve(const struct fg_serve *serve, struct fg_error *err) FG_MUST_CHECK;

/* SIGUSR1 to the server that runs on the folder; false if there is none. */
bool fg_serve_notify(const char *dir);

#endif
