/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `fixgate-server init`, `enrol` and `online-key`. */
#ifndef FG_SERVER_SETUP_H
#define FG_SERVER_SETUP_H

#include <fixgate/error.h>
#include <stddef.h>
#include <stdint.h>

struct fg_setup_init {
	const char *dir;
	char **addresses; /* IP addresses and DNS names of the server; the first one is used in its URL */
	size_t n_addresses;
	uint16_t port;
	const char *trust_dir; /* NULL: none yet */
	const char *user; /* NULL: the folder stays the caller's */
};
/* EXISTS if the folder is a server's already. */
int fg_setup_init(const struct fg_setup_init *init, struct fg_error *err) FG_MUST_CHECK;

/* out/agent.key, out/agent.pem (OU=agent, CN=host), out/server-ca.pem. EXISTS if one of them is there. */
int fg_setup_enrol(const char *dir, const char *host, const char *out, struct fg_error *err) FG_MUST_CHECK;

/* The next online key: dir/online.pem, which is given to user (NULL: stays the caller's).  A server that runs takes it up. */
int fg_setup_online_key(const char *dir, const char *user, struct fg_error *err) FG_MUST_CHECK;

#endif
