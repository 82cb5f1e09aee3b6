/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The files that the network process needs, read while it is still root: server CA, the host's certificate and key.
 */
#ifndef FG_NET_IDENTITY_H
#define FG_NET_IDENTITY_H

#include <fixgate/error.h>

#include <stddef.h>

#define FG_IDENTITY_FILE_MAX 65536

struct fg_pem {
	char *text;
	size_t len;
};

struct fg_identity {
	struct fg_pem ca, cert, key;
};

/* Parses each file and checks that the key belongs to the certificate.  A key that others may read is refused. */
int fg_identity_load(const char *ca, const char *cert, const char *key, struct fg_identity **out,
		     struct fg_error *err) FG_MUST_CHECK;
/* The key's bytes are overwritten. */
void fg_identity_free(struct fg_identity *identity);

#endif
