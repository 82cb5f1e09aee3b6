/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Clients x fixes, filtered; the history of a client. */
#include "sqlite.h"

#include <stdarg.h>
#include <string.h>

#define VALUES_MAX 16
#define SQL_MAX 2048
#define FEW 10000 /* rows of a status that are looked at one by one rather than all clients with a label */
#define FIXES 32 /* rows that a client has, about */

struct query {
	char sql[SQL_MAX];
	size_t len;
	struct fg_db_value values[VALUES_MAX];
	size_t n;
};

static void add(struct query *q, const char *sql)
{
	size_t len = strlen(sql);

	if (q->len + len >= sizeof(q->sql))
		abort();
	memcpy(q->sql + q->len, sql, len + 1);
	q->len += len;
}

static void add_text(struct query *q, const char *sql, const char *value)
{
	if (q->n == VALUES_MAX)
		abort();
	add(q, sql);
	q->values[q->n++].text = value;
}

static void add_count(const char *status, int64_t n, void *arg)
{
	(void)status;
	*(int64_t *)arg += n;
}

/* How many ledger rows have the status (and fix) of the filter. */
static int ledger_rows(struct fg_store *store, const struct fg_store_filter *f, int64_t *n, struct fg_error *err)
{
	fg_autostmt sqlite3_stmt *st = NULL;

	*n = 0;
	if (f->fix && !f->status)
		return fg_store_counters(store, f->fix, add_count, n, err);
	int rc = fg_db_query(&store->db, &st, err,
			     "SELECT COALESCE(SUM(n), 0) FROM counter WHERE kind = 'ledger' AND word = ?1"
			     " AND (name = ?2 OR ?2 = '')",
			     "ss", f->status, f->fix ? f->fix : "");

	if (rc == 0)
		rc = fg_db_step(&store->db, st, err);
	if (rc < 0)
		return rc;
	*n = fg_db_int(st, 0);
	return 0;
}

/*
 * Clients without a row are unknown: with a fix that there is, they are listed like the others.  Without one they would be
 * clients x fixes.  Where the counters say that every client has a row, the ledger is enough.
 */
static int lists_unknown(struct fg_store *store, const struct fg_store_filter *f, bool *out, struct fg_error *err)
{
	fg_autostmt sqlite3_stmt *st = NULL;

	*out = false;
	if (!f->fix || (f->status && strcmp(f->status, fg_status_name(FG_STATUS_UNKNOWN)) != 0))
		return 0;
	int rc = fg_db_query(
		&store->db, &st, err,
		"SELECT 1 FROM fix WHERE id = ?1 AND (SELECT SUM(CASE WHEN kind = 'client' THEN n ELSE -n END)"
		" FROM counter WHERE (kind = 'client' AND name = '') OR (kind = 'ledger' AND name = ?1)) > 0"
		" LIMIT 1",
		"s", f->fix);

	if (rc == 0)
		rc = fg_db_step(&store->db, st, err);
	if (rc < 0)
		return rc;
	*out = rc > 0;
	return 0;
}

/* Are there fewer clients than that with the system of the filter?  Not even so many are counted. */
static int few_of_os(struct fg_store *store, const char *os, int64_t limit, bool *out, struct fg_error *err)
{
	fg_autostmt sqlite3_stmt *st = NULL;
	int rc = fg_db_query(
		&store->db, &st, err,
		strchr(os, ':') ? "SELECT COUNT(*) FROM (SELECT 1 FROM client WHERE os = ?1 LIMIT ?2) AS counted"
				: "SELECT COUNT(*) FROM (SELECT 1 FROM client WHERE os_id = ?1 LIMIT ?2) AS counted",
		"si", os, limit);

	if (rc == 0)
		rc = fg_db_step(&store->db, st, err);
	if (rc < 0)
		return rc;
	*out = fg_db_int(st, 0) < limit;
	return 0;
}

enum driver { BY_CLIENT, BY_LEDGER, BY_LABEL };

/*
 * What the rows are found by: where an index gives few of them, in the order of the answer.  Of a system that few clients have
 * all rows of theirs are looked at, one each where a fix is given, rather than all of a status that many have.
 */
static int driver_of(struct fg_store *store, const struct fg_store_filter *f, bool unknown, enum driver *out,
		     struct fg_error *err)
{
	bool ledger = (f->status || f->fix) && !unknown, few = false;
	int64_t rows = 0;
	int rc = 0;

	*out = BY_CLIENT;
	if (f->host || f->name)
		return 0;
	*out = ledger ? BY_LEDGER : f->label ? BY_LABEL : BY_CLIENT;
	if (*out == BY_CLIENT || (!f->label && !f->os))
		return 0;
	if (ledger)
		rc = ledger_rows(store, f, &rows, err);
	if (rc == 0 && f->os && (rows > FEW || !ledger))
		rc = few_of_os(store, f->os, !ledger ? FEW : f->fix ? rows / 2 : rows / FIXES, &few, err);
	if (rc == 0 && few)
		*out = BY_CLIENT;
	else if (rc == 0 && f->label && rows > FEW)
		*out = BY_LABEL;
	return rc;
}

static void query_columns(struct query *q, const struct fg_store_filter *f, bool unknown)
{
	add(q, "SELECT c.uuid, c.name, h.name, c.toolstack, c.state, c.nics, c.first_seen_ms, c.last_seen_ms,"
	       " c.present, c.os, l.state, l.job, l.reason, l.isolator, l.version, l.fixed_version, ");
	if (unknown)
		add_text(q, "COALESCE(l.status, 'unknown'), COALESCE(l.at_ms, c.first_seen_ms), ?", f->fix);
	else
		add(q, "l.status, l.at_ms, l.fix");
	add(q, " FROM ");
}

/*
 * Clients without a row, and those whose row says unknown, of which the ledger has so many rows.  Ranges of one: so that both go along
 * an index that has all of it, and not to the ledger's rows.  Nearly every client may have a row, so each look counts: few
 * rows that say unknown are a list of their own.
 */
static void add_unknown(struct query *q, const struct fg_store_filter *f, int64_t rows)
{
	add_text(q, " AND (NOT EXISTS (SELECT 1 FROM ledger x WHERE x.client BETWEEN c.uuid AND c.uuid AND x.fix = ?",
		 f->fix);
	add(q, ")");
	if (rows > 0) {
		add(q, rows > FEW ? " OR EXISTS (SELECT 1 FROM ledger y WHERE y.client BETWEEN c.uuid AND c.uuid AND"
				  : " OR c.uuid IN (SELECT y.client FROM ledger y WHERE");
		add_text(q, " y.fix = ?", f->fix);
		add_text(q, " AND y.status = ?)", f->status);
	}
	add(q, ")");
}

/* CROSS JOIN: SQLite keeps the order of the tables; in PostgreSQL it is a join like any other. */
static void query_make(struct query *q, const struct fg_store_filter *f, bool unknown, int64_t rows, enum driver by,
		       const char *after)
{
	bool ledger = (f->status || f->fix) && !unknown;
	const char *key = by == BY_LEDGER ? "l.client" : by == BY_LABEL ? "b.client" : "c.uuid";

	query_columns(q, f, unknown);
	if (by == BY_LEDGER)
		add(q, "ledger l CROSS JOIN client c");
	else if (by == BY_LABEL)
		add(q, ledger ? "label b CROSS JOIN client c CROSS JOIN ledger l" : "label b CROSS JOIN client c");
	else
		add(q, ledger ? "client c CROSS JOIN ledger l" : "client c");
	add(q, ledger ? " CROSS JOIN host h" : " CROSS JOIN host h LEFT JOIN ledger l ON l.client = c.uuid");
	if (unknown)
		add_text(q, " AND l.fix = ?", f->fix);
	add(q, " WHERE h.id = c.host_id");
	/* As an expression: else SQLite passes "> after" on to the ledger, and takes that for the better index. */
	if (ledger)
		add(q, by == BY_LEDGER ? " AND c.uuid = l.client" : " AND l.client = (c.uuid || '')");
	if (by == BY_LABEL)
		add_text(q, " AND c.uuid = b.client AND b.name = ?", f->label);
	if (by == BY_LABEL && f->value)
		add_text(q, " AND b.value = ?", f->value);
	if (by != BY_LABEL && f->label)
		add_text(q, " AND EXISTS (SELECT 1 FROM label b WHERE b.client = c.uuid AND b.name = ?", f->label);
	if (by != BY_LABEL && f->label && f->value)
		add_text(q, " AND b.value = ?", f->value);
	if (by != BY_LABEL && f->label)
		add(q, ")");
	if (f->fix && !unknown)
		add_text(q, " AND l.fix = ?", f->fix);
	if (f->status && unknown)
		add_unknown(q, f, rows);
	else if (f->status)
		add_text(q, " AND l.status = ?", f->status);
	if (f->host)
		add_text(q, " AND c.host_id = (SELECT id FROM host WHERE name = ?)", f->host);
	if (f->name)
		add_text(q, " AND c.name = ?", f->name);
	if (f->os)
		add_text(q, strchr(f->os, ':') ? " AND c.os = ?" : " AND c.os_id = ?", f->os);
	if (f->present)
		add(q, " AND c.present = 1");
	add_text(q, " AND ", after);
	add(q, key);
	add(q, " > ? ORDER BY ");
	add(q, key);
	add(q, ", l.fix");
}

static int clients_query(struct fg_store *store, const struct fg_store_filter *f, const char *after, struct query *q,
			 struct fg_error *err)
{
	enum driver by = BY_CLIENT;
	bool unknown = false;
	int64_t rows = 0; /* of the ledger, that say so */
	int rc = lists_unknown(store, f, &unknown, err);

	if (rc == 0 && unknown && f->status)
		rc = ledger_rows(store, f, &rows, err);
	if (rc == 0)
		rc = driver_of(store, f, unknown, &by, err);
	if (rc == 0)
		query_make(q, f, unknown, rows, by, after);
	return rc;
}

int fg_store_clients(struct fg_store *store, const struct fg_store_filter *f, const char *after, fg_store_client_fn fn,
		     void *arg, struct fg_error *err)
{
	struct query q = { .len = 0 };
	fg_autofinal sqlite3_stmt *st = NULL;
	int rc = clients_query(store, f, after, &q, err);

	if (rc == 0)
		rc = fg_db_prepare(&store->db, &st, q.sql, q.values, q.n, err);
	if (rc < 0)
		return rc;
	while ((rc = fg_db_step(&store->db, st, err)) > 0) {
		struct fg_store_client row = {
			.uuid = fg_db_text(st, 0),
			.name = fg_db_text(st, 1),
			.host = fg_db_text(st, 2),
			.toolstack = fg_db_text(st, 3),
			.state = fg_db_text(st, 4),
			.nics = fg_db_text(st, 5),
			.first_seen_ms = fg_db_int(st, 6),
			.last_seen_ms = fg_db_int(st, 7),
			.present = fg_db_int(st, 8) != 0,
			.os = fg_db_text(st, 9),
			.job_state = fg_db_text(st, 10),
			.job = fg_db_text(st, 11),
			.reason = fg_db_text(st, 12),
			.isolator = fg_db_text(st, 13),
			.version = fg_db_int(st, 14),
			.fixed_version = fg_db_int(st, 15),
			.status = fg_db_text(st, 16),
			.at_ms = fg_db_int(st, 17),
			.fix = fg_db_text(st, 18),
		};
		if (!fn(&row, arg))
			return 0;
	}
	return rc;
}

int fg_store_clients_plan(struct fg_store *store, const struct fg_store_filter *f, char **out, struct fg_error *err)
{
	struct query q = { .len = 0 };
	char *text = fg_strdup("");
	fg_autofinal sqlite3_stmt *st = NULL;

	add(&q, "EXPLAIN QUERY PLAN ");
	int rc = clients_query(store, f, "", &q, err);
	if (rc == 0)
		rc = fg_db_prepare(&store->db, &st, q.sql, q.values, q.n, err);
	while (rc == 0 && (rc = fg_db_step(&store->db, st, err)) > 0) {
		char *more = fg_asprintf("%s%s\n", text, fg_db_text(st, 3));
		free(text);
		text = more;
		rc = 0;
	}
	if (rc < 0)
		free(text);
	else
		*out = text;
	return rc;
}

/* ---- history ---- */

int fg_store_history(struct fg_store *store, const char *client, const struct fg_store_history_cursor *before,
		     size_t limit, fg_store_event_fn fn, void *arg, struct fg_error *err)
{
	bool first = before->at_ms == 0;
	fg_autostmt sqlite3_stmt *st = NULL;
	int rc = fg_db_query(
		&store->db, &st, err,
		"SELECT * FROM (SELECT o.at_ms AS at_ms, CASE WHEN o.cancels IS NULL THEN 'offer' ELSE 'cancel' END"
		" AS kind, o.seq AS n, h.name, o.fix, o.version, o.who, NULL, NULL, NULL, NULL, NULL FROM offer o"
		" JOIN host h ON h.id = o.host_id WHERE o.client = ?1 AND o.at_ms <= ?2"
		" UNION ALL SELECT r.received_ms, 'report', r.seq, h.name, r.fix, r.version, NULL, r.job, r.state,"
		" r.reason, r.refused, r.evidence FROM report r JOIN journal j ON j.id = r.journal_id"
		" JOIN host h ON h.id = j.host_id WHERE r.client = ?1 AND r.received_ms <= ?2) AS events"
		" WHERE (at_ms, kind, n) < (?2, ?3, ?4) ORDER BY at_ms DESC, kind DESC, n DESC LIMIT ?5",
		"sisii", client, first ? INT64_MAX : before->at_ms, first ? "" : before->kind, before->n,
		(int64_t)limit);

	if (rc < 0)
		return rc;
	while ((rc = fg_db_step(&store->db, st, err)) > 0) {
		struct fg_store_event e = { .at_ms = fg_db_int(st, 0),
					    .kind = fg_db_text(st, 1),
					    .n = fg_db_int(st, 2),
					    .host = fg_db_text(st, 3),
					    .fix = fg_db_text(st, 4),
					    .version = fg_db_int(st, 5),
					    .who = fg_db_text(st, 6),
					    .job = fg_db_text(st, 7),
					    .state = fg_db_text(st, 8),
					    .reason = fg_db_text(st, 9),
					    .refused = fg_db_text(st, 10),
					    .evidence = fg_db_text(st, 11) };
		fn(&e, arg);
	}
	return rc;
}
