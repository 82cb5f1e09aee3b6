/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Counters that each write keeps, labels, settings. */
#include "sqlite.h"

#include <inttypes.h>
#include <string.h>

int fg_sqlite_count(struct fg_store *store, const char *kind, const char *name, const char *word, int64_t delta,
		    struct fg_error *err)
{
	if (delta == 0)
		return 0;
	return fg_db_run(&store->db, err,
			 "INSERT INTO counter (kind, name, word, n) VALUES (?, ?, ?, ?)"
			 " ON CONFLICT (kind, name, word) DO UPDATE SET n = counter.n + excluded.n",
			 "sssi", kind, name, word, delta);
}

/* Clients that the ledger has no row of for the fix.  A row is one client's, and a client is never removed. */
static int unknown_clients(struct fg_store *store, const char *fix, int64_t *n, struct fg_error *err)
{
	fg_autostmt sqlite3_stmt *st = NULL;
	int rc = fg_db_query(&store->db, &st, err,
			     "SELECT COALESCE(SUM(CASE WHEN kind = 'client' THEN n ELSE -n END), 0) FROM counter"
			     " WHERE (kind = 'client' AND name = '') OR (kind = 'ledger' AND name = ?)",
			     "s", fix);

	if (rc == 0)
		rc = fg_db_step(&store->db, st, err);
	if (rc < 0)
		return rc;
	*n = fg_db_int(st, 0);
	return 0;
}

int fg_store_counters(struct fg_store *store, const char *fix, fg_store_counter_fn fn, void *arg, struct fg_error *err)
{
	fg_autostmt sqlite3_stmt *st = NULL;
	int64_t unknown = 0;
	int rc = fg_db_query(&store->db, &st, err,
			     "SELECT word, n FROM counter WHERE kind = 'ledger' AND name = ? AND n <> 0 ORDER BY word",
			     "s", fix);

	if (rc == 0)
		rc = unknown_clients(store, fix, &unknown, err);
	if (rc < 0)
		return rc;
	while ((rc = fg_db_step(&store->db, st, err)) > 0) {
		int64_t more = !strcmp(fg_db_text(st, 0), fg_status_name(FG_STATUS_UNKNOWN)) ? unknown : 0;
		fn(fg_db_text(st, 0), fg_db_int(st, 1) + more, arg);
		if (more)
			unknown = 0;
	}
	if (rc == 0 && unknown > 0)
		fn(fg_status_name(FG_STATUS_UNKNOWN), unknown, arg);
	return rc;
}

/* Each counter beside what counting the rows gives; a row comes out where the two differ. */
#define RECOUNT                                                                                                        \
	"SELECT 'ledger' AS kind, fix AS name, status AS word, COUNT(*) AS n FROM ledger GROUP BY fix, status"         \
	" UNION ALL SELECT 'offer', fix, CAST(version AS TEXT), COUNT(*) FROM offer WHERE open = 1"                    \
	" GROUP BY fix, version"                                                                                       \
	" UNION ALL SELECT 'client', '', CASE WHEN present = 1 THEN 'present' ELSE 'gone' END, COUNT(*) FROM client"   \
	" GROUP BY present"

int fg_store_recount(struct fg_store *store, struct fg_error *err)
{
	fg_autostmt sqlite3_stmt *st = NULL;
	int rc = fg_db_query(
		&store->db, &st, err,
		"SELECT kind, name, word, SUM(kept), SUM(counted) FROM (SELECT kind, name, word,"
		" n AS kept, 0 AS counted FROM counter UNION ALL SELECT kind, name, word, 0, n FROM (" RECOUNT
		") AS r) AS b GROUP BY kind, name, word HAVING SUM(kept) <> SUM(counted) LIMIT 1",
		"");

	if (rc == 0)
		rc = fg_db_step(&store->db, st, err);
	if (rc <= 0)
		return rc;
	return fg_error_set(err, FG_EDIFFERS, "the counter %s %s %s says %" PRId64 ", there are %" PRId64,
			    fg_db_text(st, 0), fg_db_text(st, 1), fg_db_text(st, 2), fg_db_int(st, 3),
			    fg_db_int(st, 4));
}

/* ---- labels ---- */

static int label_set(struct fg_store *store, const struct fg_store_label *l, struct fg_error *err)
{
	int rc;

	if (l->value)
		rc = fg_db_run(&store->db, err,
			       "INSERT INTO label (client, name, value) VALUES (?, ?, ?)"
			       " ON CONFLICT (client, name) DO UPDATE SET value = excluded.value",
			       "sss", l->client, l->name, l->value);
	else
		rc = fg_db_run(&store->db, err, "DELETE FROM label WHERE client = ? AND name = ?", "ss", l->client,
			       l->name);
	if (rc < 0)
		return rc;
	if (l->value)
		return fg_sqlite_audit(store, l->now_ms, l->who, "label", err, "guest %s %s=%s", l->client, l->name,
				       l->value);
	return fg_sqlite_audit(store, l->now_ms, l->who, "label", err, "guest %s %s removed", l->client, l->name);
}

int fg_store_label(struct fg_store *store, const struct fg_store_label *l, struct fg_error *err)
{
	int rc = fg_db_begin(&store->db, err);

	if (rc < 0)
		return rc;
	return fg_db_end(&store->db, label_set(store, l, err), err);
}

int fg_store_labels(struct fg_store *store, const char *client, fg_store_label_fn fn, void *arg, struct fg_error *err)
{
	fg_autostmt sqlite3_stmt *st = NULL;
	int rc = fg_db_query(&store->db, &st, err, "SELECT name, value FROM label WHERE client = ? ORDER BY name", "s",
			     client);

	if (rc < 0)
		return rc;
	while ((rc = fg_db_step(&store->db, st, err)) > 0)
		fn(fg_db_text(st, 0), fg_db_text(st, 1), arg);
	return rc;
}

int fg_store_client_find(struct fg_store *store, const char *key, char uuid[FG_UUID_TEXT], struct fg_error *err)
{
	fg_autostmt sqlite3_stmt *st = NULL;
	char found[FG_UUID_TEXT];
	int n = 0,
	    rc = fg_db_query(&store->db, &st, err,
			     "SELECT uuid FROM client WHERE uuid = lower(?1) OR name = ?1"
			     " ORDER BY CASE WHEN uuid = lower(?1) THEN 0 ELSE 1 END, present DESC, uuid LIMIT 2",
			     "s", key);

	if (rc < 0)
		return rc;
	while ((rc = fg_db_step(&store->db, st, err)) > 0) {
		if (n++ == 0)
			snprintf(found, sizeof(found), "%s", fg_db_text(st, 0));
		if (strcasecmp(found, key) == 0)
			break;
	}
	if (rc < 0)
		return rc;
	if (n == 0)
		return fg_error_set(err, FG_ENOTFOUND, "no client %s", key);
	if (n > 1)
		return fg_error_set(err, FG_EREFUSED, "several guests are named %s: give the UUID", key);
	memcpy(uuid, found, sizeof(found));
	return 0;
}

/* ---- settings ---- */

int fg_sqlite_catalogue_changed(struct fg_store *store, bool wrong, struct fg_error *err)
{
	return fg_db_run(&store->db, err,
			 "INSERT INTO setting (name, value) VALUES ('" FG_SQLITE_CATALOGUE_CHANGED
			 "', ?) ON CONFLICT (name) DO UPDATE"
			 " SET value = excluded.value WHERE setting.value <> '" FG_SQLITE_WRONG "'",
			 "s", wrong ? FG_SQLITE_WRONG : FG_SQLITE_INCOMPLETE);
}

/* ---- transactions ---- */

int fg_store_begin(struct fg_store *store, struct fg_error *err)
{
	return fg_db_begin(&store->db, err);
}

int fg_store_end(struct fg_store *store, int rc, struct fg_error *err)
{
	return fg_db_end(&store->db, rc, err);
}
