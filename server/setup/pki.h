/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The server's small CA: EC P-256, X.509 v3, SHA-256. */
#ifndef FG_SERVER_PKI_H
#define FG_SERVER_PKI_H

#include <fixgate/error.h>
#include <stddef.h>
#include <stdint.h>

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

/*
 * A new certificate for the server's key, which stays; replaced at once.  n_addresses 0: for the addresses of the one before.
 */
int fg_pki_renew(const char *ca_cert_file, const char *ca_key_file, const struct fg_pki_request *request,
		 const char *cert_file, const char *key_file, struct fg_error *err) FG_MUST_CHECK;

/* What was issued. */
struct fg_pki_issued {
	char serial[41]; /* lower-case hex */
	int64_t not_after_s;
};
int fg_pki_describe(const char *cert_file, struct fg_pki_issued *out, struct fg_error *err) FG_MUST_CHECK;

/* A CA that is kept open, to issue certificates for keys that others made. */
struct fg_pki_ca;
int fg_pki_ca_open(const char *cert_file, const char *key_file, struct fg_pki_ca **out,
		   struct fg_error *err) FG_MUST_CHECK;
void fg_pki_ca_close(struct fg_pki_ca *ca);

/*
 * A certificate signing request (PKCS#10, PEM).  Of what it says only the key counts: EC P-256 or P-384, Ed25519 or RSA of
 * 2048 bits and more, and it must have signed the request.  FORMAT or REFUSED otherwise.
 */
#define FG_PKI_CSR_MAX 6000
struct fg_pki_csr;
int fg_pki_csr_read(const char *pem, struct fg_pki_csr **out, struct fg_error *err) FG_MUST_CHECK;
/* SHA-256 of the public key in hex. */
const char *fg_pki_csr_key_hash(const struct fg_pki_csr *csr);
void fg_pki_csr_free(struct fg_pki_csr *csr);

/* *pem is the caller's. */
int fg_pki_certify(const struct fg_pki_ca *ca, const struct fg_pki_request *request, const struct fg_pki_csr *csr,
		   char **pem, struct fg_pki_issued *issued, struct fg_error *err) FG_MUST_CHECK;

/* Is it a host name (letters, digits, '-', '.', at most 64)? */
int fg_pki_name_check(const char *name, struct fg_error *err) FG_MUST_CHECK;

#endif
