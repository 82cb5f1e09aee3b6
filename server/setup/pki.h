/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The server's small CA: EC P-256, X.509 v3, SHA-256. */
#ifndef FG_SERVER_PKI_H
#define FG_SERVER_PKI_H

#include <fixgate/error.h>
#include <stddef.h>

#define FG_PKI_CA_DAYS 3650
#define FG_PKI_LEAF_DAYS 365

/* A self-signed CA that may sign end certificates only. Writes both files durably, the key with mode 0600. */
int fg_pki_ca_make(const char *cert_file, const char *key_file, struct fg_error *err) FG_MUST_CHECK;

enum fg_pki_use { FG_PKI_SERVER, FG_PKI_CLIENT, FG_PKI_CATALOGUE };
struct fg_pki_request {
	const char *cn, *ou; /* ou may be NULL */
	const char *generation; /* of a key for catalogues (fixgate/catalogue.h), else NULL */
	enum fg_pki_use use;
	const char *const *addresses; /* of a server: IP addresses or DNS names */
	size_t n_addresses;
};
/* A key and a certificate of the CA. USAGE for a name that is none. */
int fg_pki_issue(const char *ca_cert_file, const char *ca_key_file, const struct fg_pki_request *request,
		 const char *cert_file, const char *key_file, struct fg_error *err) FG_MUST_CHECK;

/* Is it a host name (letters, digits, '-', '.', at most 64)? */
int fg_pki_name_check(const char *name, struct fg_error *err) FG_MUST_CHECK;

#endif
