/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Offers that end before their job: cancelled, or dealt with. */
#include "sqlite.h"

#include <inttypes.h>
#include <string.h>

int fg_sqlite_offers_close(struct fg_store *store, const char *client, const char *fix, int64_t version,
			   const char *job, struct fg_error *err)
{
	char text[24];
	int64_t closed = 0;
	fg_autostmt sqlite3_stmt *st = NULL;
	int rc = fg_db_query(&store->db, &st, err,
			     "SELECT version, COUNT(*) FROM offer WHERE client = ?1 AND fix = ?2 AND version <= ?3"
			     " AND open = 1 AND at_ms <= COALESCE((SELECT MIN(received_ms) FROM report"
			     " WHERE client = ?1 AND job = ?4), at_ms) GROUP BY version",
			     "ssis", client, fix, version, job);

	if (rc < 0)
		return rc;
	while ((rc = fg_db_step(&store->db, st, err)) > 0) {
		closed += fg_db_int(st, 1);
		snprintf(text, sizeof(text), "%" PRId64, fg_db_int(st, 0));
		rc = fg_sqlite_count(store, "offer", fix, text, -fg_db_int(st, 1), err);
		if (rc < 0)
			return rc;
	}
	/* Not an offer that was made while the job was at work: that one is for the next job. */
	if (rc == 0 && closed)
		rc = fg_db_run(&store->db, err,
			       "UPDATE offer SET open = 0 WHERE client = ?1 AND fix = ?2 AND version <= ?3"
			       " AND open = 1 AND at_ms <= COALESCE((SELECT MIN(received_ms) FROM report"
			       " WHERE client = ?1 AND job = ?4), at_ms)",
			       "ssis", client, fix, version, job);
	if (rc == 0)
		rc = fg_db_run(&store->db, err, "UPDATE offer SET open = 0 WHERE client = ? AND fix = ? AND open = 2",
			       "ss", client, fix);
	return rc;
}

struct open_offer {
	char uuid[FG_UUID_TEXT], host[256], fix[129], status[32], state[32];
	int64_t seq, version, host_id;
};

/* What the last job made of the guest, now that the offer is none. */
static int ledger_back(struct fg_store *store, const struct open_offer *o, const struct fg_store_cancel *c,
		       struct fg_error *err)
{
	struct fg_ledger row, new;
	char state[32] = "";
	fg_autostmt sqlite3_stmt *st = NULL;
	int rc = fg_sqlite_ledger_get(store, o->uuid, o->fix, &row, err);

	if (rc == 0)
		rc = fg_db_query(&store->db, &st, err,
				 "SELECT state, job, version, CASE WHEN evidence LIKE ? THEN 1 ELSE 0 END FROM report "
				 "WHERE client = ? AND fix = ? AND"
				 " refused IS NULL ORDER BY received_ms DESC, seq DESC LIMIT 1",
				 "sss", "%\"applies\":\"not-applicable\"%", o->uuid, o->fix);
	if (rc == 0)
		rc = fg_db_step(&store->db, st, err);
	if (rc < 0)
		return rc;
	new = row;
	new.status = FG_STATUS_UNKNOWN;
	if (rc > 0) {
		struct fg_ledger before = { .fixed_version = row.fixed_version };
		snprintf(state, sizeof(state), "%s", fg_db_text(st, 0));
		fg_ledger_reported(&before, fg_db_text(st, 1), fg_db_int(st, 2), fg_state_from_name(state), &new);
		if (fg_db_int(st, 3))
			fg_ledger_not_applicable(&new);
	}
	return fg_sqlite_ledger_put(store, o->uuid, o->fix, &new, state[0] ? state : NULL, "the offer was cancelled",
				    NULL, c->now_ms, err);
}

static int cancel_one(struct fg_store *store, const struct open_offer *o, const struct fg_store_cancel *c,
		      struct fg_error *err)
{
	char version[24];
	bool unseen = !strcmp(o->status, fg_status_name(FG_STATUS_OFFERED));
	int rc = fg_db_run(&store->db, err, "UPDATE offer SET open = 0 WHERE seq = ?", "i", o->seq);

	snprintf(version, sizeof(version), "%" PRId64, o->version);
	if (rc == 0)
		rc = fg_sqlite_count(store, "offer", o->fix, version, -1, err);
	if (rc == 0)
		rc = fg_db_run(&store->db, err,
			       "INSERT INTO offer (client, host_id, fix, version, at_ms, who, force, open, cancels)"
			       " VALUES (?, ?, ?, ?, ?, ?, 0, 2, ?)",
			       "sisiisi", o->uuid, o->host_id, o->fix, o->version, c->now_ms, c->who, o->seq);
	if (rc == 0 && unseen)
		rc = ledger_back(store, o, c, err);
	if (rc == 0)
		rc = fg_sqlite_audit(store, c->now_ms, c->who, "cancel", err,
				     "offer %" PRId64 " of fix %s version %" PRId64 " to guest %s on host %s%s%s",
				     o->seq, o->fix, o->version, o->uuid, o->host, c->reason ? ": " : "",
				     c->reason ? c->reason : "");
	return rc;
}

/* Has the host told that the guest is isolated, or further? Then the job goes on to its end. */
static bool past_return(const struct open_offer *o)
{
	return !strcmp(o->status, fg_status_name(FG_STATUS_IN_PROGRESS)) &&
	       strcmp(o->state, fg_state_name(FG_STATE_OFFERED)) != 0 &&
	       strcmp(o->state, fg_state_name(FG_STATE_QUEUED)) != 0;
}

static int cancel(struct fg_store *store, const struct fg_store_cancel *c, enum fg_store_cancelled *out,
		  struct fg_error *err)
{
	struct open_offer o = { .seq = 0 };
	fg_autostmt sqlite3_stmt *st = NULL;
	int rc = fg_db_query(&store->db, &st, err,
			     "SELECT o.seq, o.host_id, h.name, o.version, COALESCE(l.status, ''), COALESCE(l.state, '')"
			     " FROM offer o JOIN host h ON h.id = o.host_id"
			     " LEFT JOIN ledger l ON l.client = o.client AND l.fix = o.fix"
			     " WHERE o.client = ? AND o.fix = ? AND o.open = 1 AND (? = '' OR o.who = ?)"
			     " ORDER BY o.seq LIMIT 1",
			     "ssss", c->client, c->fix, c->of ? c->of : "", c->of ? c->of : "");

	if (rc == 0)
		rc = fg_db_step(&store->db, st, err);
	if (rc < 0)
		return rc;
	*out = FG_CANCELLED_NONE;
	if (rc == 0)
		return 0;
	snprintf(o.uuid, sizeof(o.uuid), "%s", c->client);
	snprintf(o.fix, sizeof(o.fix), "%s", c->fix);
	o.seq = fg_db_int(st, 0);
	o.host_id = fg_db_int(st, 1);
	snprintf(o.host, sizeof(o.host), "%s", fg_db_text(st, 2));
	o.version = fg_db_int(st, 3);
	snprintf(o.status, sizeof(o.status), "%s", fg_db_text(st, 4));
	snprintf(o.state, sizeof(o.state), "%s", fg_db_text(st, 5));
	sqlite3_reset(st);
	*out = FG_CANCELLED_TOO_LATE;
	if (past_return(&o))
		return 0;
	rc = cancel_one(store, &o, c, err);
	if (rc < 0)
		return rc;
	*out = !strcmp(o.status, fg_status_name(FG_STATUS_IN_PROGRESS)) ? FG_CANCELLED_ASKED : FG_CANCELLED_NOW;
	if (!c->of) /* a rollout sees to its own targets */
		rc = fg_sqlite_rollouts_cancelled(store, c->client, c->fix, *out == FG_CANCELLED_ASKED,
						  c->reason ? c->reason : "cancelled by a person", c->now_ms, err);
	if (rc == 0 && c->cancelled)
		c->cancelled(o.host, c->arg);
	return rc;
}

int fg_store_cancel(struct fg_store *store, const struct fg_store_cancel *c, enum fg_store_cancelled *out,
		    struct fg_error *err)
{
	enum fg_store_cancelled what = FG_CANCELLED_NONE;
	int rc = fg_db_begin(&store->db, err);

	if (rc < 0)
		return rc;
	rc = fg_db_end(&store->db, cancel(store, c, &what, err), err);
	if (rc == 0)
		*out = what;
	return rc;
}
