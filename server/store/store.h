/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the server remembers: hosts, clients (guests), fixes, offers, the ledger clients × fixes, reports, tokens, audit.
 * This header is the whole of what the rest of the server knows about storage; sqlite*.c is one implementation of it.
 *
 * Every function that writes is one transaction: when it has returned 0, what it wrote is on disk (fsync'd), also after
 * kill -9 or loss of power.  When it fails nothing was written.  Times are epoch milliseconds and given by the caller.
 * Strings of a row that a callback gets live as long as the call of the callback.
 * A store is used by one thread.
 */
#ifndef FG_SERVER_STORE_H
#define FG_SERVER_STORE_H

#include "ledger.h"

#include <fixgate/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fg_store;

/* Opens or creates; brings an older schema to this version; UNTRUSTED if the file is damaged (quick check). */
int fg_store_open(const char *path, struct fg_store **out, struct fg_error *err) FG_MUST_CHECK;
void fg_store_close(struct fg_store *store);

/* One guest of a host's inventory. nics: JSON array text [{"mac","addresses"}], validated by the caller. */
struct fg_store_guest {
	const char *uuid, *name, *toolstack, *state, *identity, *nics;
};

/*
 * The whole inventory of a host.  A guest that another host had so far moves here (audited; its open offers are given
 * out again), unless it runs there, that host was seen in the last FG_STORE_OWNER_MS, and it does not run here: such a
 * guest is not taken.  *taken: guests that are this host's now.
 */
#define FG_STORE_OWNER_MS (10 * 60 * 1000)
int fg_store_inventory(struct fg_store *store, const char *host, const struct fg_store_guest *guests, size_t n,
		       int64_t now_ms, size_t *taken, struct fg_error *err) FG_MUST_CHECK;

/* The host is alive; written only if what is known is older than grain_ms. A host that is not known stays so. */
int fg_store_host_seen(struct fg_store *store, const char *host, int64_t now_ms, int64_t grain_ms,
		       struct fg_error *err) FG_MUST_CHECK;

/* An open offer for a guest of a host. */
struct fg_store_offer {
	int64_t seq;
	const char *guest, *fix, *digest;
	int64_t version, bytes;
	/* only in fg_store_offers: */
	const char *name, *host, *who;
	int64_t at_ms;
	bool force;
};
typedef void (*fg_store_offer_fn)(const struct fg_store_offer *offer, void *arg);

/*
 * Open offers of the host with seq > cursor, oldest first, at most limit.  *next: the cursor to go on from: of the last
 * row given if the limit was reached, of the newest offer of all otherwise.  A cursor beyond the newest offer of all is
 * of another database (one restored from a backup): it is taken as 0.
 */
int fg_store_offers_after(struct fg_store *store, const char *host, int64_t cursor, size_t limit, fg_store_offer_fn fn,
			  void *arg, int64_t *next, struct fg_error *err) FG_MUST_CHECK;

/*
 * Reports of one batch, seq strictly ascending (checked by the caller).  Taken: each with a seq above the highest taken
 * of (host, journal).  One at or below it is a duplicate: ignored; DIFFERS if it says something else than the
 * one taken then (a journal that started again at 1 under the same name).  Seqs that are left out are audited as lost.
 * A report on a guest that is not this host's is not applied but counts as taken; refused is called for it.
 */
struct fg_store_report {
	int64_t seq, version, at_ms;
	const char *job, *guest, *fix, *reason, *evidence, *isolator; /* the last three may be NULL */
	enum fg_state state;
	const char *refused; /* why it is not applied whatever it says (state FG_STATE_COUNT then), or NULL */
};
typedef void (*fg_store_refused_fn)(int64_t seq, const char *why, void *arg);
int fg_store_reports(struct fg_store *store, const char *host, const char *journal,
		     const struct fg_store_report *reports, size_t n, int64_t now_ms, fg_store_refused_fn refused,
		     void *arg, int64_t *acked, struct fg_error *err) FG_MUST_CHECK;

/* hash: SHA-256 of the token in hex; the token itself is never stored.  NOTALLOWED if the guest is not the host's. */
int fg_store_token_add(struct fg_store *store, const char *hash, const char *host, const char *job, const char *guest,
		       const char *digest, int64_t now_ms, int64_t expires_ms, struct fg_error *err) FG_MUST_CHECK;
/* 0 if the token is for this blob and has not expired; NOTALLOWED otherwise. */
int fg_store_token_check(struct fg_store *store, const char *hash, const char *digest, int64_t now_ms,
			 struct fg_error *err) FG_MUST_CHECK;

struct fg_store_fix {
	const char *id, *digest, *title, *severity;
	int64_t version, bytes, published_s, expires_s, added_ms;
	int64_t offered; /* open offers; only in fg_store_fixes */
};
typedef void (*fg_store_fix_fn)(const struct fg_store_fix *fix, void *arg);

/* *added: false if these very bytes were there.  EXISTS if other bytes hold this id and version. */
int fg_store_fix_add(struct fg_store *store, const struct fg_store_fix *fix, const char *who, bool *added,
		     struct fg_error *err) FG_MUST_CHECK;
int fg_store_fixes(struct fg_store *store, fg_store_fix_fn fn, void *arg, struct fg_error *err) FG_MUST_CHECK;
/* NOTFOUND unless a fix of this digest was published. */
int fg_store_blob_known(struct fg_store *store, const char *digest, struct fg_error *err) FG_MUST_CHECK;

/*
 * Offers a fix: version 0 = the newest.  guests: UUIDs or names; NULL = all that are in an inventory now.  skipped is
 * called for each guest that gets none (code NOTFOUND: there is not exactly one such guest; REFUSED), offered for the host of each one that gets it.
 * NOTFOUND if there is no such fix, REFUSED if it has expired.
 */
struct fg_store_offer_request {
	const char *fix, *who;
	int64_t version, now_ms;
	const char *const *guests;
	size_t n_guests;
	bool force;
	void (*skipped)(const char *guest, const char *reason, enum fg_error_code code, void *arg);
	void (*offered)(const char *guest, const char *host, void *arg);
	void *arg;
};
int fg_store_offer(struct fg_store *store, const struct fg_store_offer_request *request,
		   struct fg_error *err) FG_MUST_CHECK;
/*
 * A host asks for an offer of the newest version to a guest of its own: given out (again, under a new number, if it is
 * open already) whatever the ledger says.  NOTFOUND if there is no such guest of this host or no such fix, REFUSED if
 * the fix has expired.
 */
int fg_store_request(struct fg_store *store, const char *host, const char *guest, const char *fix, int64_t now_ms,
		     int64_t *seq, struct fg_error *err) FG_MUST_CHECK;
/* Open offers of all hosts, oldest first, seq > after, at most limit. */
int fg_store_offers(struct fg_store *store, int64_t after, size_t limit, fg_store_offer_fn fn, void *arg,
		    struct fg_error *err) FG_MUST_CHECK;

/* One client and one of its fixes; a client without any comes once with fix NULL. Ordered by uuid, then fix. */
struct fg_store_client {
	const char *uuid, *name, *host, *toolstack, *state, *nics;
	int64_t first_seen_ms, last_seen_ms;
	bool present; /* in the newest inventory of its host */
	const char *fix, *status, *job_state, *job, *reason, *isolator;
	int64_t version, fixed_version, at_ms;
};
/* Return false to stop. */
typedef bool (*fg_store_client_fn)(const struct fg_store_client *row, void *arg);
/* Clients with uuid > after ("" = from the first). */
int fg_store_clients(struct fg_store *store, const char *after, fg_store_client_fn fn, void *arg,
		     struct fg_error *err) FG_MUST_CHECK;

/*
 * The audit log: entry n's hash = SHA-256 in hex of  <hash of n-1> LF <n> LF <at_ms> LF <who> LF <what> LF <detail>,
 * numbers in decimal; the hash before entry 1 is 64 zeros.
 */
struct fg_store_audit {
	int64_t n, at_ms;
	const char *who, *what, *detail, *hash;
};
typedef void (*fg_store_audit_fn)(const struct fg_store_audit *entry, void *arg);
void fg_audit_hash(const char *previous, const struct fg_store_audit *entry, char hash[65]);
int fg_store_audit_add(struct fg_store *store, int64_t now_ms, const char *who, const char *what, const char *detail,
		       struct fg_error *err) FG_MUST_CHECK;
int fg_store_audit_after(struct fg_store *store, int64_t after, size_t limit, fg_store_audit_fn fn, void *arg,
			 struct fg_error *err) FG_MUST_CHECK;

#endif
