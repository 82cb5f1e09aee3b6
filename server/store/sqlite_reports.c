/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Reports of hosts and tokens of fix VMs. */
#include "sqlite.h"

#include <fixgate/protocol.h>
#include <inttypes.h>
#include <string.h>

struct batch {
	struct fg_store *store;
	const char *host, *journal;
	int64_t host_id, journal_id, acked, now_ms;
	fg_store_refused_fn refused;
	void *arg;
};

static int journal_get(struct batch *b, struct fg_error *err)
{
	struct fg_db *db = &b->store->db;
	fg_autostmt sqlite3_stmt *st = NULL;
	int rc = fg_db_run(db, err,
			   "INSERT INTO journal (host_id, name, acked) VALUES (?, ?, 0)"
			   " ON CONFLICT (host_id, name) DO NOTHING",
			   "is", b->host_id, b->journal);

	if (rc == 0)
		rc = fg_db_query(db, &st, err, "SELECT id, acked FROM journal WHERE host_id = ? AND name = ?", "is",
				 b->host_id, b->journal);
	if (rc == 0)
		rc = fg_db_step(db, st, err);
	if (rc < 0)
		return rc;
	b->journal_id = fg_db_int(st, 0);
	b->acked = fg_db_int(st, 1);
	return 0;
}

static const char *state_text(const struct fg_store_report *r)
{
	const char *name = fg_state_name(r->state);

	return name ? name : "invalid";
}

/* A duplicate must say what was said the first time. */
static int duplicate_check(struct batch *b, const struct fg_store_report *r, struct fg_error *err)
{
	fg_autostmt sqlite3_stmt *st = NULL;
	int rc = fg_db_query(&b->store->db, &st, err,
			     "SELECT client, fix, version, job, state FROM report WHERE journal_id = ? AND seq = ?",
			     "ii", b->journal_id, r->seq);

	if (rc == 0)
		rc = fg_db_step(&b->store->db, st, err);
	if (rc <= 0)
		return rc;
	if (strcmp(fg_db_text(st, 0), r->guest) != 0 || strcmp(fg_db_text(st, 1), r->fix) != 0 ||
	    fg_db_int(st, 2) != r->version || strcmp(fg_db_text(st, 3), r->job) != 0 ||
	    strcmp(fg_db_text(st, 4), state_text(r)) != 0)
		return fg_error_set(err, FG_EDIFFERS,
				    "report %" PRId64 " was taken before and said something else (a new journal"
				    " needs a new \"journal\" name)",
				    r->seq);
	return 0;
}

/* May the host speak of this guest: is it there, or is the job one that it has reported on before the guest moved? */
static int guest_check(struct batch *b, const struct fg_store_report *r, const char **why, struct fg_error *err)
{
	fg_autostmt sqlite3_stmt *st = NULL;
	int rc = fg_db_query(&b->store->db, &st, err,
			     /* The client's reports are looked through only where it is another host's. */
			     "SELECT CASE WHEN c.host_id = ?3 THEN 1 WHEN EXISTS (SELECT 1 FROM report p JOIN journal j"
			     " ON j.id = p.journal_id WHERE p.client = c.uuid AND p.job = ?2 AND j.host_id = ?3"
			     " AND p.refused IS NULL) THEN 1 ELSE 0 END FROM client c WHERE c.uuid = ?1",
			     "ssi", r->guest, r->job, b->host_id);

	if (rc == 0)
		rc = fg_db_step(&b->store->db, st, err);
	if (rc < 0)
		return rc;
	*why = rc == 0 || !fg_db_int(st, 0) ? "not a guest of this host" : NULL;
	return 0;
}

static int apply(struct batch *b, const struct fg_store_report *r, struct fg_error *err)
{
	struct fg_store *store = b->store;
	struct fg_ledger old, new;
	int rc = fg_sqlite_ledger_get(store, r->guest, r->fix, &old, err);

	if (rc < 0)
		return rc;
	bool shown = fg_ledger_reported(&old, r->job, r->version, r->state, &new);
	if (shown && r->not_applicable)
		fg_ledger_not_applicable(&new);
	if (shown)
		rc = fg_sqlite_ledger_put(store, r->guest, r->fix, &new, fg_state_name(r->state), r->reason,
					  r->isolator, r->at_ms, err);
	else if (new.fixed_version != old.fixed_version)
		rc = fg_db_run(&store->db, err, "UPDATE ledger SET fixed_version = ? WHERE client = ? AND fix = ?",
			       "iss", new.fixed_version, r->guest, r->fix);
	if (rc == 0)
		rc = fg_sqlite_client_os(store, r->guest, r->os_id, r->os_version, err);
	if (rc == 0 && fg_state_is_end(r->state))
		rc = fg_sqlite_offers_close(store, r->guest, r->fix, r->version, r->job, err);
	if (rc == 0 && fg_state_is_end(r->state)) /* what its fix VM fetches with */
		rc = fg_db_run(&store->db, err, "DELETE FROM token WHERE host_id = ? AND job = ? AND client = ?", "iss",
			       b->host_id, r->job, r->guest);
	if (rc == 0 && fg_state_is_end(r->state))
		rc = fg_sqlite_rollouts_reported(store, r->guest, r->fix, r->version, r->state, r->reason, b->now_ms,
						 err);
	if (rc == 0 && fg_state_is_end(r->state))
		rc = fg_sqlite_audit(store, b->now_ms, b->host, "outcome", err,
				     "job %s guest %s fix %s version %" PRId64 ": %s%s%s", r->job, r->guest, r->fix,
				     r->version, fg_state_name(r->state), r->reason ? ": " : "",
				     r->reason ? r->reason : "");
	return rc;
}

static int take(struct batch *b, const struct fg_store_report *r, struct fg_error *err)
{
	struct fg_store *store = b->store;
	const char *why = NULL;
	int rc = 0;

	if (r->seq <= b->acked)
		return duplicate_check(b, r, err);
	if (r->seq > b->acked + 1)
		rc = fg_sqlite_audit(store, b->now_ms, b->host, "reports-lost", err,
				     "%" PRId64 "..%" PRId64 " never came", b->acked + 1, r->seq - 1);
	if (rc == 0 && r->refused)
		why = r->refused;
	else if (rc == 0)
		rc = guest_check(b, r, &why, err);
	if (rc == 0)
		rc = fg_db_run(&store->db, err,
			       "INSERT INTO report (journal_id, seq, client, fix, version, job, state, at_ms,"
			       " received_ms, reason, evidence, isolator, refused)"
			       " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
			       "iississiissss", b->journal_id, r->seq, r->guest, r->fix, r->version, r->job,
			       state_text(r), r->at_ms, b->now_ms, r->reason, r->evidence, r->isolator, why);
	if (rc == 0 && why) {
		rc = fg_sqlite_audit(store, b->now_ms, b->host, "report-refused", err,
				     "report %" PRId64 " job %s guest %s fix %s state %s: %s", r->seq, r->job, r->guest,
				     r->fix, state_text(r), why);
		b->refused(r->seq, why, b->arg);
	} else if (rc == 0) {
		rc = apply(b, r, err);
	}
	if (rc == 0)
		b->acked = r->seq;
	return rc;
}

static int reports(struct batch *b, const struct fg_store_report *list, size_t n, struct fg_error *err)
{
	int rc = fg_sqlite_host(b->store, b->host, b->now_ms, &b->host_id, err);

	if (rc == 0)
		rc = journal_get(b, err);
	for (size_t i = 0; i < n && rc == 0; i++)
		rc = take(b, &list[i], err);
	if (rc == 0)
		rc = fg_db_run(&b->store->db, err, "UPDATE journal SET acked = ? WHERE id = ?", "ii", b->acked,
			       b->journal_id);
	return rc;
}

int fg_store_reports(struct fg_store *store, const char *host, const char *journal, const struct fg_store_report *list,
		     size_t n, int64_t now_ms, fg_store_refused_fn refused, void *arg, int64_t *acked,
		     struct fg_error *err)
{
	struct batch b = {
		.store = store, .host = host, .journal = journal, .now_ms = now_ms, .refused = refused, .arg = arg
	};
	int rc = fg_db_begin(&store->db, err);

	if (rc < 0)
		return rc;
	rc = fg_db_end(&store->db, reports(&b, list, n, err), err);
	if (rc == 0)
		*acked = b.acked;
	return rc;
}

/* Has the host an open offer of the blob for the guest, or a job that it has reported on and that did not end? */
static int job_check(struct fg_store *store, int64_t host_id, const char *job, const char *guest, const char *digest,
		     struct fg_error *err)
{
	fg_autostmt sqlite3_stmt *offer = NULL;
	fg_autostmt sqlite3_stmt *said = NULL;
	bool wanted = false, ended = false;
	int rc = fg_db_query(&store->db, &offer, err,
			     "SELECT 1 FROM offer o JOIN fix f ON f.id = o.fix AND f.version = o.version"
			     " WHERE o.client = ? AND o.host_id = ? AND o.open = 1 AND f.digest = ?",
			     "sis", guest, host_id, digest);

	if (rc == 0)
		rc = fg_db_step(&store->db, offer, err);
	wanted = rc > 0;
	if (rc >= 0)
		rc = fg_db_query(&store->db, &said, err,
				 "SELECT p.state FROM report p JOIN journal j ON j.id = p.journal_id JOIN fix f"
				 " ON f.id = p.fix AND f.version = p.version WHERE p.client = ? AND p.job = ?"
				 " AND j.host_id = ? AND f.digest = ? AND p.refused IS NULL",
				 "ssis", guest, job, host_id, digest);
	while (rc >= 0 && (rc = fg_db_step(&store->db, said, err)) > 0) {
		wanted = true;
		ended = ended || fg_state_is_end(fg_state_from_name(fg_db_text(said, 0)));
	}
	if (rc < 0 || (wanted && !ended))
		return rc;
	return fg_error_set(err, FG_ENOTALLOWED,
			    ended ? "job %s has ended" : "job %s is none: this was not offered to its guest", job);
}

static int token_add(struct fg_store *store, const char *hash, const char *host, const char *job, const char *guest,
		     const char *digest, int64_t now_ms, int64_t expires_ms, struct fg_error *err)
{
	int64_t host_id = 0;
	fg_autostmt sqlite3_stmt *st = NULL;
	int rc = fg_sqlite_host(store, host, now_ms, &host_id, err);

	if (rc == 0)
		rc = fg_db_query(&store->db, &st, err, "SELECT host_id FROM client WHERE uuid = ?", "s", guest);
	if (rc == 0)
		rc = fg_db_step(&store->db, st, err);
	if (rc < 0)
		return rc;
	if (rc == 0 || fg_db_int(st, 0) != host_id)
		return fg_error_set(err, FG_ENOTALLOWED, "guest %s is not a guest of this host", guest);
	rc = fg_store_blob_known(store, digest, err);
	if (rc == 0)
		rc = job_check(store, host_id, job, guest, digest, err);
	if (rc == 0)
		rc = fg_db_run(&store->db, err, "DELETE FROM token WHERE expires_ms <= ?", "i", now_ms);
	if (rc < 0)
		return rc;
	return fg_db_run(&store->db, err,
			 "INSERT INTO token (hash, host_id, job, client, digest, expires_ms) VALUES (?, ?, ?, ?, ?, ?)",
			 "sisssi", hash, host_id, job, guest, digest, expires_ms);
}

int fg_store_token_add(struct fg_store *store, const char *hash, const char *host, const char *job, const char *guest,
		       const char *digest, int64_t now_ms, int64_t expires_ms, struct fg_error *err)
{
	int rc = fg_db_begin(&store->db, err);

	if (rc < 0)
		return rc;
	return fg_db_end(&store->db, token_add(store, hash, host, job, guest, digest, now_ms, expires_ms, err), err);
}

int fg_store_token_check(struct fg_store *store, const char *hash, const char *digest, int64_t now_ms,
			 struct fg_error *err)
{
	fg_autostmt sqlite3_stmt *st = NULL;
	/* Withdrawn: asked when it is used, so that a token that was made afterwards is worth nothing either. */
	int rc = fg_db_query(&store->db, &st, err,
			     "SELECT t.digest, t.expires_ms FROM token t WHERE t.hash = ? AND NOT EXISTS"
			     " (SELECT 1 FROM fix f JOIN withdrawn w ON w.fix = f.id AND w.version >= f.version"
			     " WHERE f.digest = t.digest)",
			     "s", hash);

	if (rc == 0)
		rc = fg_db_step(&store->db, st, err);
	if (rc < 0)
		return rc;
	if (rc == 0 || strcmp(fg_db_text(st, 0), digest) != 0)
		return fg_error_set(err, FG_ENOTALLOWED, "the token is not for this blob, or its fix was withdrawn");
	if (fg_db_int(st, 1) <= now_ms)
		return fg_error_set(err, FG_ENOTALLOWED, "the token has expired");
	if (fg_db_int(st, 1) > now_ms + FG_TOKEN_LIFETIME_S * 1000ll + FG_STORE_FUTURE_MS)
		return fg_error_set(err, FG_ENOTALLOWED, "the token is of the future: the clock went back");
	return 0;
}
