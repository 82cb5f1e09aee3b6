/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * TLS of the server: 1.3 only; a client certificate is asked for, and where one comes it must be of the server's CA and for
 * client authentication, else the handshake fails.  Who may do what is decided per route by the role in the certificate.
 */
#ifndef FG_SERVER_TLS_H
#define FG_SERVER_TLS_H

#include <fixgate/error.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>

enum fg_role {
	FG_ROLE_NOBODY = 1 << 0, /* no certificate; a token is checked by the handler */
	FG_ROLE_IS_AGENT = 1 << 1,
	FG_ROLE_IS_ADMIN = 1 << 2,
	FG_ROLE_IS_OPERATOR = 1 << 3,
	FG_ROLE_IS_VIEWER = 1 << 4,
};

struct fg_peer {
	enum fg_role role;
	char name[65]; /* CN; "" for nobody. X.520 allows 64 */
	int64_t not_after_s; /* of the certificate: a connection does not outlive it */
	char serial[41]; /* lower-case hex */
};

int fg_tls_context(const char *cert_file, const char *key_file, const char *ca_file, SSL_CTX **out,
		   struct fg_error *err) FG_MUST_CHECK;
/* After the handshake.  A verified certificate without exactly one known OU and one CN is nobody's. */
void fg_tls_peer(const SSL *ssl, struct fg_peer *out);
/* "agent", "viewer" …; NULL for nobody. */
const char *fg_tls_role_name(enum fg_role role);
/* 0 for a name that is none. */
enum fg_role fg_tls_role_from_name(const char *name);
/* Serial number in lower-case hex; false if it has more than 20 bytes. */
bool fg_tls_serial(const X509 *cert, char out[41]);
/* Text of OpenSSL's oldest queued error; clears the queue. */
int fg_tls_error(struct fg_error *err, enum fg_error_code code, const char *fmt, ...) FG_PRINTF(3, 4);

#endif
