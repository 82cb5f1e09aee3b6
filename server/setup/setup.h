/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `fixgate-server init`, `enrol`, `admin`, `revoke`, `online-key` and `renew`. */
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

/* Prints a one-time code of so many minutes for the host (code.h). */
int fg_setup_code(const char *dir, const char *host, int64_t minutes, struct fg_error *err) FG_MUST_CHECK;

/* out/admin.key, out/admin.pem (OU=role, CN=name), out/server-ca.pem. EXISTS if one of them is there. */
int fg_setup_admin(const char *dir, const char *name, const char *role, const char *out,
		   struct fg_error *err) FG_MUST_CHECK;

/* All certificates of role and name; a server that runs on the folder closes their connections. */
int fg_setup_revoke(const char *dir, const char *role, const char *name, struct fg_error *err) FG_MUST_CHECK;

struct fg_store;
/* Keeps a certificate that was issued in the store. */
int fg_setup_remember(struct fg_store *store, const char *cert_file, const char *role, const char *name,
		      struct fg_error *err) FG_MUST_CHECK;

/* out/agent.key, out/agent.pem (OU=agent, CN=host), out/server-ca.pem. EXISTS if one of them is there. */
int fg_setup_enrol(const char *dir, const char *host, const char *out, struct fg_error *err) FG_MUST_CHECK;

/* The next online key: dir/online.pem, which is given to user (NULL: to whom the one before was).  A server that runs takes it up. */
int fg_setup_online_key(const char *dir, const char *user, struct fg_error *err) FG_MUST_CHECK;

/* The server's certificate again for a year, for its key and (n 0) its addresses; a server that runs takes it up when it is reloaded. */
int fg_setup_renew(const char *dir, char **addresses, size_t n, struct fg_error *err) FG_MUST_CHECK;
/* When the server's certificate ends, 0 if it cannot be read.  Warns if that, or the CA's end, is near. */
#define FG_SETUP_WARN_DAYS 30
#define FG_SETUP_WARN_CA_DAYS 365 /* every host has to be enrolled again */
int64_t fg_setup_ends_s(const char *dir);

#endif
