/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The journal: what fixgated knows for certain, in one SQLite file (WAL, synchronous=FULL).
 *
 *	jobs       one row a job: identity, state, saved definition …
 *	steps      append-only: each intent before its outside effect, each change of state
 *	outbox     reports the server has not acknowledged, with sequence numbers that are never used again
 *	inbox      offers taken from the server that are not jobs yet; kept with the cursor
 *	ledger     (guest, fix, version) that this host has given
 *	counters   highest version of each fix that was verified
 *	catalogue  mark of the newest catalogue by which an offer was verified
 *	operator   guests that a person isolated by hand
 *
 * Everything is written by fg_journal_write, one transaction a call: what one entry holds is durable whole or not at
 * all.  A journal that cannot be written ends the agent; guests stay as they are and the next start goes on.
 *
 *	fg_journal_open -> fg_journal_write / fg_journal_jobs … -> fg_journal_close
 */
#ifndef FG_JOURNAL_H
#define FG_JOURNAL_H

#include <fixgate/catalogue.h>
#include <fixgate/error.h>
#include <fixgate/fixvm.h>
#include <fixgate/state.h>

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define FG_STATE_NONE FG_STATE_COUNT

/* Strings are owned, malloc'd, and may be NULL where nothing is known. */
struct fg_job_record {
	int64_t n; /* order of arrival; set by the first write */
	char id[37], guest[37], nonce[FG_FIXVM_NONCE_HEX + 1];
	char *name; /* of the guest */
	char *toolstack; /* "xl", "libvirt"; NULL until the guest was found */
	char *fix, *title, *digest, *head_digest;
	uint64_t version, bytes;
	int64_t offer_seq;
	uint32_t timeout_s; /* of the manifest */
	enum fg_state state; /* NONE: not in the journal yet */
	enum fg_state outcome; /* end state that is being worked towards by undoing; NONE: going forward */
	enum fg_state held_from; /* for held */
	char *reason;
	char *snapshot; /* the guest as it was found, JSON of guest_json.h */
	char *definition; /* what start_paused needs */
	char *was; /* "running", "paused", "off"; NULL: not known yet */
	bool merged; /* every layer is in its origin */
	bool not_applicable; /* the last fix VM said: the fix is not for this guest */
	uint32_t attempts; /* fix VMs that were let run */
	int64_t created_ms, changed_ms;
};
void fg_job_record_release(struct fg_job_record *r);

/* One transaction; all parts but those that are set are left out. */
struct fg_journal_entry {
	struct fg_job_record *job; /* inserted or updated; n is set on the first write */
	const char *kind, *what, *reason; /* a step of the job: "intent", "note", or "state" with its name and reason */
	int64_t at_ms; /* of step, report, ledger */
	json_t *report; /* to the outbox; its "seq" is set */
	bool ledger; /* the job's fix was given to its guest */
	bool counter; /* the job's fix has this version at least */
	const json_t *inbox; /* array of offers */
	int64_t cursor; /* with inbox */
	int64_t inbox_done; /* sequence number of an offer that is dealt with */
	int64_t acked; /* reports up to it are forgotten */
	const struct fg_catalogue_mark *catalogue; /* kept if it is above the one that is there */
	const char *operator_guest; /* isolated by hand … */
	bool operator_set; /* … or no longer */
};

struct fg_journal;

int fg_journal_open(const char *path, struct fg_journal **out, struct fg_error *err) FG_MUST_CHECK;
void fg_journal_close(struct fg_journal *j);
int fg_journal_write(struct fg_journal *j, const struct fg_journal_entry *entry, struct fg_error *err) FG_MUST_CHECK;

/* For tests: called just before and just after each commit; may _exit. */
void fg_journal_set_hook(struct fg_journal *j, void (*hook)(void *arg), void *arg);

/* One record; release and free. */
int fg_journal_job(struct fg_journal *j, const char *id, struct fg_job_record **out,
		   struct fg_error *err) FG_MUST_CHECK;
enum fg_journal_which { FG_JOBS_OPEN, FG_JOBS_ALL }; /* open: active and held, oldest first; all: newest first */
#define FG_JOURNAL_JOBS_MAX 1000
int fg_journal_jobs(struct fg_journal *j, enum fg_journal_which which, struct fg_job_record ***out, size_t *n,
		    struct fg_error *err) FG_MUST_CHECK;
void fg_journal_jobs_free(struct fg_job_record **jobs, size_t n);
/* [{"at_ms","kind","what","reason"?}], oldest first. */
int fg_journal_steps(struct fg_journal *j, const char *job, json_t **out, struct fg_error *err) FG_MUST_CHECK;
/* The last changes of state of all jobs, as events (fg_event_of), oldest first. */
#define FG_JOURNAL_EVENTS_MAX 5000
int fg_journal_events(struct fg_journal *j, json_t **out, struct fg_error *err) FG_MUST_CHECK;
/* Reports with seq > after, oldest first, at most max. */
int fg_journal_outbox(struct fg_journal *j, int64_t after, size_t max, json_t **out,
		      struct fg_error *err) FG_MUST_CHECK;
int fg_journal_inbox(struct fg_journal *j, json_t **out, struct fg_error *err) FG_MUST_CHECK;
int fg_journal_cursors(struct fg_journal *j, int64_t *cursor, int64_t *acked, struct fg_error *err) FG_MUST_CHECK;
/* The highest version of the fix that the guest was given here, 0 = none. */
int fg_journal_given(struct fg_journal *j, const char *guest, const char *fix, uint64_t *version,
		     struct fg_error *err) FG_MUST_CHECK;
int fg_journal_counter(struct fg_journal *j, const char *fix, uint64_t *version, struct fg_error *err) FG_MUST_CHECK;
/* The name that the guest had in its last job; malloc'd, NULL: none. */
int fg_journal_guest_name(struct fg_journal *j, const char *guest, char **name, struct fg_error *err) FG_MUST_CHECK;
int fg_journal_catalogue(struct fg_journal *j, struct fg_catalogue_mark *mark, struct fg_error *err) FG_MUST_CHECK;
/* Made with the journal, goes with its reports; "" for one that was made before journals had names.  malloc'd. */
int fg_journal_name(struct fg_journal *j, char **name, struct fg_error *err) FG_MUST_CHECK;
int fg_journal_operator(struct fg_journal *j, const char *guest, bool *out, struct fg_error *err) FG_MUST_CHECK;

#endif
