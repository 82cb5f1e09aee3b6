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
#include <lib/util.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fg_store;

/*
 * Brings an older schema to this version.  NOTFOUND if there is no such database: it is never made by the way, for an empty one
 * knows of no revoked certificate.
 */
int fg_store_open(const char *path, struct fg_store **out, struct fg_error *err) FG_MUST_CHECK;
/* The same, but makes it where there is none: only for a new server's folder. */
int fg_store_create(const char *path, struct fg_store **out, struct fg_error *err) FG_MUST_CHECK;
/* UNTRUSTED if the file is damaged.  Reads all of it: once at the server's start, and for what is a backup. */
int fg_store_check(struct fg_store *store, struct fg_error *err) FG_MUST_CHECK;
void fg_store_close(struct fg_store *store);
/* Can it be read?  One page of it: cheap enough for whoever asks. */
int fg_store_ping(struct fg_store *store, struct fg_error *err) FG_MUST_CHECK;

/*
 * Several writes in one transaction: what is written between the two is durable, or nothing of it is, when end returns.
 * A write that fails in between undoes itself only.  rc: 0 to commit; else end undoes all and returns rc.
 */
int fg_store_begin(struct fg_store *store, struct fg_error *err) FG_MUST_CHECK;
int fg_store_end(struct fg_store *store, int rc, struct fg_error *err) FG_MUST_CHECK;

/* How many clients have each status of a fix; the unknown ones are all but the others.  Counted by each write, not by a scan. */
typedef void (*fg_store_counter_fn)(const char *status, int64_t n, void *arg);
int fg_store_counters(struct fg_store *store, const char *fix, fg_store_counter_fn fn, void *arg,
		      struct fg_error *err) FG_MUST_CHECK;
/* Counts the rows; DIFFERS names the first counter that is wrong.  Reads all of the database. */
int fg_store_recount(struct fg_store *store, struct fg_error *err) FG_MUST_CHECK;

/* Where a version runs to: a copy of the whole database, consistent while others write; the file is made anew, durable. */
int fg_store_backup(const char *db_path, const char *to, struct fg_error *err) FG_MUST_CHECK;
/*
 * The backup becomes the database; a database that was there is kept as db_path.before-restore.  REFUSED while a server has it
 * open; UNTRUSTED or DIFFERS if the backup is damaged, its audit log broken, or of a newer program.  Open offers get new numbers
 * above all that were ever given out, so that no host's cursor is ahead of them.
 */
int fg_store_restore(const char *db_path, const char *from, const char *who, int64_t now_ms,
		     struct fg_error *err) FG_MUST_CHECK;

/* Labels that administrators give to clients.  value NULL: removes it. */
struct fg_store_label {
	const char *client, *name, *value, *who;
	int64_t now_ms;
};
int fg_store_label(struct fg_store *store, const struct fg_store_label *label, struct fg_error *err) FG_MUST_CHECK;
typedef void (*fg_store_label_fn)(const char *name, const char *value, void *arg);
int fg_store_labels(struct fg_store *store, const char *client, fg_store_label_fn fn, void *arg,
		    struct fg_error *err) FG_MUST_CHECK;
/* By UUID or name, present or not.  NOTFOUND; REFUSED if several have the name. */
int fg_store_client_find(struct fg_store *store, const char *key, char uuid[FG_UUID_TEXT],
			 struct fg_error *err) FG_MUST_CHECK;

/*
 * Codes and tokens that were made later than this from now on are refused: they are of a time when the clock was ahead, and
 * would be good for longer than they were meant to.  Smaller corrections of the clock do no harm.
 */
#define FG_STORE_FUTURE_MS (5 * 60 * 1000)

/* One guest of a host's inventory. nics: JSON array text [{"mac","addresses"}], validated by the caller. */
struct fg_store_guest {
	const char *uuid, *name, *toolstack, *state, *identity, *nics;
	const char *os_id, *os_version; /* as in os-release; NULL = not known: what was known stays */
};

/*
 * The whole inventory of a host.  A guest that another host had so far moves here (audited; its open offers are given
 * out again), unless it is on there (running or paused), and that host was seen in the last FG_STORE_OWNER_MS and not
 * revoked: such a guest is not taken.  If it runs here too the claim is kept (audited once), and the guest moves when that
 * ends: with the other host's inventory, its revocation, or, when it falls silent, with a poll of this one.
 * *taken: guests of the list that were this host's, or became so.
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
	int64_t cancels; /* only in fg_store_offers_after: not 0: no offer; the offer of this number is cancelled */
	/* only in fg_store_offers: */
	const char *name, *host, *who;
	int64_t at_ms;
	bool force;
};
typedef void (*fg_store_offer_fn)(const struct fg_store_offer *offer, void *arg);

/*
 * Open offers of the host, and cancellations, with seq > cursor, oldest first, at most limit (cursor 0: offers only).  *next: the cursor to go on from: of the last
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
	const char *os_id, *os_version; /* of the guest, as in struct fg_store_guest */
	enum fg_state state;
	bool not_applicable; /* not-needed because the fix is not for this guest */
	const char *refused; /* why it is not applied whatever it says (state FG_STATE_COUNT then), or NULL */
};
typedef void (*fg_store_refused_fn)(int64_t seq, const char *why, void *arg);
int fg_store_reports(struct fg_store *store, const char *host, const char *journal,
		     const struct fg_store_report *reports, size_t n, int64_t now_ms, fg_store_refused_fn refused,
		     void *arg, int64_t *acked, struct fg_error *err) FG_MUST_CHECK;

/* hash: SHA-256 of the token in hex; the token itself is never stored.  NOTALLOWED if the guest is not the host's,
 * or the host has neither an open offer of this blob for it nor reported on such a job, which did not end.  The end of the job ends it. */
int fg_store_token_add(struct fg_store *store, const char *hash, const char *host, const char *job, const char *guest,
		       const char *digest, int64_t now_ms, int64_t expires_ms, struct fg_error *err) FG_MUST_CHECK;
/* 0 if the token is for this blob, has not expired, its host was not revoked since nor its fix withdrawn; NOTALLOWED otherwise. */
int fg_store_token_check(struct fg_store *store, const char *hash, const char *digest, int64_t now_ms,
			 struct fg_error *err) FG_MUST_CHECK;

struct fg_store_fix {
	const char *id, *digest, *title, *severity;
	int64_t version, bytes, published_s, expires_s, added_ms;
	int64_t offered; /* open offers; only in fg_store_fixes */
	int64_t clients[FG_STATUS_COUNT]; /* of this fix, in any version; only in fg_store_fixes */
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
/*
 * Cancels the client's open offer of a fix, unless its guest is isolated already.  The host is told by its poll; a job that it
 * has begun and not isolated for ends as rejected; if the host had not taken the offer the ledger shows what it did before.
 */
struct fg_store_cancel {
	const char *client, *fix, *who, *reason;
	const char *of; /* only an offer made by them, or NULL */
	int64_t now_ms;
	void (*cancelled)(const char *host, void *arg); /* or NULL */
	void *arg;
};
enum fg_store_cancelled {
	FG_CANCELLED_NONE, /* there is no such offer */
	FG_CANCELLED_NOW, /* no job was begun, as far as is known */
	FG_CANCELLED_ASKED, /* a job was begun: its report tells what became of it */
	FG_CANCELLED_TOO_LATE, /* the guest is isolated: nothing was changed */
};
int fg_store_cancel(struct fg_store *store, const struct fg_store_cancel *cancel, enum fg_store_cancelled *out,
		    struct fg_error *err) FG_MUST_CHECK;

/* Open offers of all hosts, oldest first, seq > after, at most limit. */
int fg_store_offers(struct fg_store *store, int64_t after, size_t limit, fg_store_offer_fn fn, void *arg,
		    struct fg_error *err) FG_MUST_CHECK;

/* One client and one of its fixes; a client without any comes once with fix NULL. Ordered by uuid, then fix. */
struct fg_store_client {
	const char *uuid, *name, *host, *toolstack, *state, *nics, *os; /* os: "debian:12", "" = not known */
	int64_t first_seen_ms, last_seen_ms;
	bool present; /* in the newest inventory of its host */
	const char *fix, *status, *job_state, *job, *reason, *isolator;
	int64_t version, fixed_version, at_ms;
};
/* Return false to stop. */
typedef bool (*fg_store_client_fn)(const struct fg_store_client *row, void *arg);
/*
 * Which clients; NULL or 0: any.  With status or fix only the rows (and the clients) that have it.  With a fix that is
 * published, and any or the unknown status, also clients of which nothing is known: status "unknown", version 0, at_ms when
 * they were first seen.  Every combination goes along an index from `after`, so that a page costs what it shows and not what
 * there is; looking for the unknown ones passes by the others.
 */
struct fg_store_filter {
	const char *status, *fix, *host, *name;
	const char *os; /* "debian" or "debian:12" */
	const char *label, *value; /* value NULL: whatever it is */
	bool present; /* only those in an inventory */
};
/* Clients with uuid > after ("" = from the first). */
int fg_store_clients(struct fg_store *store, const struct fg_store_filter *filter, const char *after,
		     fg_store_client_fn fn, void *arg, struct fg_error *err) FG_MUST_CHECK;
/* For tests: what the database says that it would do for the filter, a line a step; malloc'd. */
int fg_store_clients_plan(struct fg_store *store, const struct fg_store_filter *filter, char **out,
			  struct fg_error *err) FG_MUST_CHECK;

/* What happened to a client, newest first: offers, cancellations and reports. */
struct fg_store_event {
	const char *kind; /* "offer", "cancel", "report" */
	int64_t at_ms, n; /* when the server wrote it; a number that orders those of one kind */
	const char *host, *fix, *who, *job, *state, *reason; /* who: of offers; job, state: of reports */
	int64_t version;
	const char *refused; /* report: why it was not applied, or NULL */
	const char *evidence; /* report: JSON text or NULL */
};
typedef void (*fg_store_event_fn)(const struct fg_store_event *event, void *arg);
/* Those before the cursor (all zero: from the newest), which is the last event of the page before; at most limit. */
struct fg_store_history_cursor {
	int64_t at_ms, n;
	char kind[8];
};
int fg_store_history(struct fg_store *store, const char *client, const struct fg_store_history_cursor *before,
		     size_t limit, fg_store_event_fn fn, void *arg, struct fg_error *err) FG_MUST_CHECK;

/*
 * The audit log: entry n's hash = SHA-256 in hex of  <hash of n-1> LF <n> LF <at_ms> LF <who> LF <what> LF <detail>,
 * numbers in decimal; the hash before entry 1 is 64 zeros.
 */
struct fg_store_audit {
	int64_t n, at_ms;
	const char *who, *what, *detail, *hash;
};
/* Texts are the bytes that the hash was made of: those of earlier programs may end within a UTF-8 sequence. */
typedef void (*fg_store_audit_fn)(const struct fg_store_audit *entry, void *arg);
void fg_audit_hash(const char *previous, const struct fg_store_audit *entry, char hash[65]);
/* Entry by entry from the first: DIFFERS names the first that does not follow from the one before. */
struct fg_audit_chain {
	int64_t n; /* of the last entry */
	char hash[65];
};
void fg_audit_chain_init(struct fg_audit_chain *chain);
int fg_audit_chain_next(struct fg_audit_chain *chain, const struct fg_store_audit *entry,
			struct fg_error *err) FG_MUST_CHECK;
/* After the last: DIFFERS if there was an entry up to this number. */
int fg_audit_chain_end(const struct fg_audit_chain *chain, int64_t newest, struct fg_error *err) FG_MUST_CHECK;
/* The newest number that was ever given out: also after its entry was deleted. */
int fg_store_audit_newest(struct fg_store *store, int64_t *n, struct fg_error *err) FG_MUST_CHECK;
/* The whole log; *n entries, hash of the last (or NULL). */
int fg_store_audit_verify(struct fg_store *store, int64_t *n, char hash[65], struct fg_error *err) FG_MUST_CHECK;
int fg_store_audit_add(struct fg_store *store, int64_t now_ms, const char *who, const char *what, const char *detail,
		       struct fg_error *err) FG_MUST_CHECK;
int fg_store_audit_after(struct fg_store *store, int64_t after, size_t limit, fg_store_audit_fn fn, void *arg,
			 struct fg_error *err) FG_MUST_CHECK;

#endif
