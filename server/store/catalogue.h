/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Of the store (store.h): what the catalogue is made of, and the last one that was signed. */
#ifndef FG_SERVER_STORE_CATALOGUE_H
#define FG_SERVER_STORE_CATALOGUE_H

#include "store.h"

#include <fixgate/catalogue.h>

/* The last one; NOTFOUND if there is none.  cms: hex, malloc'd; not read where cms is NULL. */
struct fg_store_catalogue {
	struct fg_catalogue_mark mark;
	int64_t published_s, expires_s;
	bool incomplete; /* a fix was published since: the next one is due */
	bool wrong; /* a fix was withdrawn or a key revoked since: it must not be given out any more */
};
int fg_store_catalogue(struct fg_store *store, struct fg_store_catalogue *out, char **cms,
		       struct fg_error *err) FG_MUST_CHECK;

/*
 * Makes the next one in one transaction, so that no version is ever given to two contents.  Its version is above the last
 * one's and at least now_s: a database that comes from a backup goes on above what hosts have seen.  LIMIT if there are too many
 * fixes.  What was published, withdrawn and revoked before is in it: it is neither incomplete nor wrong.
 */
struct fg_store_catalogue_maker {
	/* The head digest (hex) of a bundle that is not known yet. */
	int (*head)(const char *bundle, char digest[FG_DIGEST_HEX], void *arg, struct fg_error *err);
	/* *cms: hex, malloc'd. */
	int (*sign)(const struct fg_catalogue *c, char **cms, void *arg, struct fg_error *err);
	void *arg;
	int64_t lifetime_s; /* 0: FG_CATALOGUE_LIFETIME_S */
};
int fg_store_catalogue_make(struct fg_store *store, uint64_t generation, int64_t now_s,
			    const struct fg_store_catalogue_maker *maker, struct fg_error *err) FG_MUST_CHECK;

/*
 * This version (0 = the newest) and all before are valid no more: their open offers are closed.  *version: which;
 * *closed: how many offers.  NOTFOUND if no such fix is published.
 */
struct fg_store_withdrawal {
	const char *fix, *who, *reason;
	int64_t version, now_ms;
};
int fg_store_withdraw(struct fg_store *store, const struct fg_store_withdrawal *w, int64_t *version, int64_t *closed,
		      struct fg_error *err) FG_MUST_CHECK;

/* key: SHA-256 of the SubjectPublicKeyInfo, hex.  EXISTS if it is revoked already. */
struct fg_store_revocation {
	const char *key, *name, *who, *reason;
	int64_t now_ms;
};
int fg_store_revoke_key(struct fg_store *store, const struct fg_store_revocation *r,
			struct fg_error *err) FG_MUST_CHECK;
/* *keys: malloc'd. */
int fg_store_revoked_keys(struct fg_store *store, uint8_t (**keys)[FG_DIGEST_BYTES], size_t *n,
			  struct fg_error *err) FG_MUST_CHECK;

#endif
