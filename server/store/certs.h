/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the store remembers of certificates and of one-time codes (see store.h for its rules).
 *
 * A certificate that the store has never seen (made before it kept them, or after the backup it was restored from) counts,
 * unless one of the same role and name was ever revoked: then only those that are known and not revoked do.
 */
#ifndef FG_SERVER_CERTS_H
#define FG_SERVER_CERTS_H

#include "store.h"

#define FG_CERT_SERIAL_TEXT 41 /* up to 20 bytes in lower-case hex */

struct fg_store_cert {
	const char *serial, *role, *name; /* role: "agent", "viewer", "operator", "admin" */
	int64_t not_after_s, issued_ms, revoked_ms; /* revoked_ms 0: it counts */
};
typedef void (*fg_store_cert_fn)(const struct fg_store_cert *cert, void *arg);

/* Audited as `what`: "enrol", "renew" … */
int fg_store_cert_add(struct fg_store *store, const struct fg_store_cert *cert, const char *who, const char *what,
		      struct fg_error *err) FG_MUST_CHECK;
/* NOTALLOWED if it was revoked. */
int fg_store_cert_check(struct fg_store *store, const char *serial, const char *role, const char *name,
			struct fg_error *err) FG_MUST_CHECK;
/* All certificates of role and name, codes that were not used included. *n: those that counted until now. */
int fg_store_revoke(struct fg_store *store, const char *role, const char *name, const char *who, int64_t now_ms,
		    int64_t *n, struct fg_error *err) FG_MUST_CHECK;
/* Ordered by role, name, time. */
int fg_store_certs(struct fg_store *store, fg_store_cert_fn fn, void *arg, struct fg_error *err) FG_MUST_CHECK;

/* hash: SHA-256 of the code in hex; the code itself is never stored.  Codes that expired a day ago are forgotten. */
int fg_store_code_add(struct fg_store *store, const char *hash, const char *host, const char *who, int64_t now_ms,
		      int64_t expires_ms, struct fg_error *err) FG_MUST_CHECK;
/* 0 if the code was made and has not expired (it may have been used); NOTALLOWED otherwise. */
int fg_store_code_check(struct fg_store *store, const char *hash, int64_t now_ms, struct fg_error *err) FG_MUST_CHECK;

/*
 * Uses a code: issue makes the certificate for the code's host, in the same transaction.  The same key gets the same
 * certificate again (its first answer may have been lost), another key gets NOTALLOWED.  *pem is the caller's.
 */
typedef int (*fg_store_issue_fn)(const char *host, struct fg_store_cert *cert, char **pem, void *arg,
				 struct fg_error *err);
int fg_store_code_use(struct fg_store *store, const char *hash, const char *key_hash, int64_t now_ms,
		      fg_store_issue_fn issue, void *arg, char **pem, struct fg_error *err) FG_MUST_CHECK;

#endif
