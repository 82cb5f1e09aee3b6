/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `fixgate-server serve`: puts the parts together and runs the loop until SIGTERM or SIGINT. */
#ifndef FG_SERVER_SERVE_H
#define FG_SERVER_SERVE_H

#include <fixgate/error.h>
#include <stddef.h>

struct fg_serve {
	const char *dir;
	char **listen; /* instead of the configuration's */
	size_t n_listen;
	const char *user; /* whose the process becomes after the sockets are open, or NULL */
};
int fg_serve(const struct fg_serve *serve, struct fg_error *err) FG_MUST_CHECK;

#endif
