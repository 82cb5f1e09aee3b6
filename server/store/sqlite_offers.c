/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Fixes and offers. */
#include "sqlite.h"

#include <inttypes.h>
#include <string.h>

/* ---- fixes ---- */

static int fix_add(struct fg_store *store, const struct fg_store_fix *fix, const char *who, bool *added,
		   struct fg_error *err)
{
	fg_autostmt sqlite3_stmt *st = NULL;
	int rc = fg_db_query(&store->db, &st, err, "SELECT digest FROM fix WHERE id = ? AND version = ?", "si", fix->id,
			     fix->version);

	if (rc == 0)
		rc = fg_db_step(&store->db, st, err);
	if (rc < 0)
		return rc;
	if (rc > 0 && strcmp(fg_db_text(st, 0), fix->digest) != 0)
		return fg_error_set(err, FG_EEXISTS, "fix %s version %" PRId64 " is published with other bytes (%s)",
				    fix->id, fix->version, fg_db_text(st, 0));
	*added = rc == 0;
	if (rc > 0)
		return 0;
	rc = fg_db_run(&store->db, err,
		       "INSERT INTO fix (id, version, digest, bytes, title, severity, published_s, expires_s, added_ms,"
		       " added_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		       "sisissiiis", fix->id, fix->version, fix->digest, fix->bytes, fix->title, fix->severity,
		       fix->published_s, fix->expires_s, fix->added_ms, who);
	if (rc == 0)
		rc = fg_sqlite_catalogue_changed(store, false, err);
	if (rc < 0)
		return rc;
	return fg_sqlite_audit(store, fix->added_ms, who, "publish", err, "fix %s version %" PRId64 " digest %s",
			       fix->id, fix->version, fix->digest);
}

int fg_store_fix_add(struct fg_store *store, const struct fg_store_fix *fix, const char *who, bool *added,
		     struct fg_error *err)
{
	bool new = false;
	int rc = fg_db_begin(&store->db, err);

	if (rc < 0)
		return rc;
	rc = fg_db_end(&store->db, fix_add(store, fix, who, &new, err), err);
	if (rc == 0)
		*added = new;
	return rc;
}

static void add_count(const char *status, int64_t n, void *arg)
{
	struct fg_store_fix *fix = arg;

	fix->clients[fg_status_from_name(status)] += n;
}

int fg_store_fixes(struct fg_store *store, fg_store_fix_fn fn, void *arg, struct fg_error *err)
{
	fg_autostmt sqlite3_stmt *st = NULL;
	int rc = fg_db_query(&store->db, &st, err,
			     "SELECT f.id, f.digest, f.title, f.severity, f.version, f.bytes, f.published_s,"
			     " f.expires_s, f.added_ms, COALESCE(n.n, 0) FROM fix f LEFT JOIN counter n"
			     " ON n.kind = 'offer' AND n.name = f.id AND n.word = CAST(f.version AS TEXT)"
			     " ORDER BY f.id, f.version",
			     "");

	if (rc < 0)
		return rc;
	while ((rc = fg_db_step(&store->db, st, err)) > 0) {
		struct fg_store_fix fix = {
			.id = fg_db_text(st, 0),
			.digest = fg_db_text(st, 1),
			.title = fg_db_text(st, 2),
			.severity = fg_db_text(st, 3),
			.version = fg_db_int(st, 4),
			.bytes = fg_db_int(st, 5),
			.published_s = fg_db_int(st, 6),
			.expires_s = fg_db_int(st, 7),
			.added_ms = fg_db_int(st, 8),
			.offered = fg_db_int(st, 9),
		};
		rc = fg_store_counters(store, fix.id, add_count, &fix, err);
		if (rc < 0)
			return rc;
		fn(&fix, arg);
	}
	return rc;
}

int fg_store_blob_known(struct fg_store *store, const char *digest, struct fg_error *err)
{
	fg_autostmt sqlite3_stmt *st = NULL;
	int rc = fg_db_query(&store->db, &st, err, "SELECT 1 FROM fix WHERE digest = ?", "s", digest);

	if (rc == 0)
		rc = fg_db_step(&store->db, st, err);
	if (rc < 0)
		return rc;
	return rc ? 0 : fg_error_set(err, FG_ENOTFOUND, "no blob %s", digest);
}

/* ---- giving offers out ---- */

/* While *st is not reset, all that is read is of the same moment, and the database's lock is taken once. */
static int newest_offer(struct fg_store *store, sqlite3_stmt **st, int64_t *seq, struct fg_error *err)
{
	int rc = fg_db_query(&store->db, st, err,
			     "SELECT MAX(n) FROM (SELECT COALESCE(MAX(seq), 0) AS n FROM offer UNION ALL SELECT"
			     " CAST(value AS BIGINT) FROM setting WHERE name = 'offer_floor') AS numbers",
			     "");

	if (rc == 0)
		rc = fg_db_step(&store->db, *st, err);
	if (rc < 0)
		return rc;
	*seq = fg_db_int(*st, 0);
	return 0;
}

static int offers_after(struct fg_store *store, const char *host, int64_t cursor, size_t limit, fg_store_offer_fn fn,
			void *arg, size_t *count, int64_t *next, struct fg_error *err)
{
	fg_autostmt sqlite3_stmt *moment = NULL;
	fg_autostmt sqlite3_stmt *st = NULL;
	int64_t newest = 0, last = 0;
	size_t n = 0;
	int rc = newest_offer(store, &moment, &newest, err);

	if (rc < 0)
		return rc;
	if (cursor > newest)
		cursor = 0;
	rc = fg_db_query(&store->db, &st, err,
			 "SELECT o.seq, o.client, o.fix, o.version, f.digest, f.bytes, 0 FROM offer o"
			 " JOIN host h ON h.id = o.host_id JOIN fix f ON f.id = o.fix AND f.version = o.version"
			 " WHERE h.name = ?1 AND o.seq > ?2 AND o.open = 1"
			 " UNION ALL SELECT o.seq, o.client, o.fix, o.version, '', 0, o.cancels FROM offer o"
			 " JOIN host h ON h.id = o.host_id WHERE h.name = ?1 AND o.seq > ?2 AND ?2 > 0 AND o.open = 2"
			 " ORDER BY 1 LIMIT ?3",
			 "sii", host, cursor, (int64_t)limit);
	if (rc < 0)
		return rc;
	while ((rc = fg_db_step(&store->db, st, err)) > 0) {
		struct fg_store_offer offer = {
			.seq = last = fg_db_int(st, 0),
			.guest = fg_db_text(st, 1),
			.fix = fg_db_text(st, 2),
			.version = fg_db_int(st, 3),
			.digest = fg_db_text(st, 4),
			.bytes = fg_db_int(st, 5),
			.cancels = fg_db_int(st, 6),
		};
		fn(&offer, arg);
		n++;
	}
	if (rc < 0)
		return rc;
	*count = n;
	*next = n == limit ? last : newest;
	return 0;
}

/* An offer is always read anew; remembered is that there was none. */
int fg_store_offers_after(struct fg_store *store, const char *host, int64_t cursor, size_t limit, fg_store_offer_fn fn,
			  void *arg, int64_t *next, struct fg_error *err)
{
	int64_t none[2] = { 0, 0 }; /* after which cursor, the next one */
	uint64_t moment = fg_memo_moment(&store->memo, &store->db);
	char key[FG_MEMO_KEY];
	size_t n = 0;

	fg_memo_key(key, 'o', host, NULL, NULL);
	if (fg_memo_get(&store->memo, moment, key, none) && none[0] == cursor) {
		*next = none[1];
		return 0;
	}
	int rc = offers_after(store, host, cursor, limit, fn, arg, &n, next, err);
	if (rc < 0)
		return rc;
	none[0] = cursor;
	none[1] = *next;
	if (n == 0)
		fg_memo_put(&store->memo, moment, key, none);
	return 0;
}

int fg_store_offers(struct fg_store *store, int64_t after, size_t limit, fg_store_offer_fn fn, void *arg,
		    struct fg_error *err)
{
	fg_autostmt sqlite3_stmt *st = NULL;
	int rc = fg_db_query(&store->db, &st, err,
			     "SELECT o.seq, o.client, c.name, h.name, o.fix, o.version, f.digest, f.bytes, o.who,"
			     " o.at_ms, o.force FROM offer o JOIN host h ON h.id = o.host_id"
			     " JOIN client c ON c.uuid = o.client JOIN fix f ON f.id = o.fix AND f.version = o.version"
			     " WHERE o.open = 1 AND o.seq > ? ORDER BY o.seq LIMIT ?",
			     "ii", after, (int64_t)limit);

	if (rc < 0)
		return rc;
	while ((rc = fg_db_step(&store->db, st, err)) > 0) {
		struct fg_store_offer offer = {
			.seq = fg_db_int(st, 0),
			.guest = fg_db_text(st, 1),
			.name = fg_db_text(st, 2),
			.host = fg_db_text(st, 3),
			.fix = fg_db_text(st, 4),
			.version = fg_db_int(st, 5),
			.digest = fg_db_text(st, 6),
			.bytes = fg_db_int(st, 7),
			.who = fg_db_text(st, 8),
			.at_ms = fg_db_int(st, 9),
			.force = fg_db_int(st, 10) != 0,
		};
		fn(&offer, arg);
	}
	return rc;
}

/* ---- making offers ---- */

struct guest {
	char uuid[FG_UUID_TEXT];
	char *host;
	int64_t host_id;
};

struct guests {
	struct guest *items;
	size_t n, size;
};

static void guests_release(struct guests *list)
{
	for (size_t i = 0; i < list->n; i++)
		free(list->items[i].host);
	free(list->items);
}

static void guests_add(struct guests *list, sqlite3_stmt *st)
{
	if (list->n == list->size) {
		size_t size = list->size ? 2 * list->size : 16;
		struct guest *more = fg_calloc(size, sizeof(*more));
		if (list->n)
			memcpy(more, list->items, list->n * sizeof(*more));
		free(list->items);
		list->items = more;
		list->size = size;
	}
	struct guest *g = &list->items[list->n++];
	snprintf(g->uuid, sizeof(g->uuid), "%s", fg_db_text(st, 0));
	g->host = fg_strdup(fg_db_text(st, 1));
	g->host_id = fg_db_int(st, 2);
}

static int guests_all(struct fg_store *store, struct guests *list, struct fg_error *err)
{
	fg_autostmt sqlite3_stmt *st = NULL;
	int rc = fg_db_query(&store->db, &st, err,
			     "SELECT c.uuid, h.name, c.host_id FROM client c JOIN host h ON h.id = c.host_id"
			     " WHERE c.present = 1 ORDER BY c.uuid",
			     "");

	if (rc < 0)
		return rc;
	while ((rc = fg_db_step(&store->db, st, err)) > 0)
		guests_add(list, st);
	return rc;
}

/* By UUID, else by name; *why is set if there is not exactly one. */
static int guest_find(struct fg_store *store, const char *key, struct guests *list, const char **why,
		      struct fg_error *err)
{
	size_t before = list->n;
	fg_autostmt sqlite3_stmt *st = NULL;
	int rc = fg_db_query(&store->db, &st, err,
			     "SELECT c.uuid, h.name, c.host_id FROM client c JOIN host h ON h.id = c.host_id"
			     " WHERE c.present = 1 AND (c.uuid = lower(?1) OR c.name = ?1)"
			     " ORDER BY c.name = ?1, c.uuid",
			     "s", key);

	if (rc < 0)
		return rc;
	while ((rc = fg_db_step(&store->db, st, err)) > 0) {
		guests_add(list, st);
		/* A guest that is named like the UUID of another does not get in its way. */
		if (strcasecmp(list->items[list->n - 1].uuid, key) == 0)
			break;
	}
	if (rc < 0)
		return rc;
	*why = list->n == before      ? "not in the inventory of any host"
	       : list->n > before + 1 ? "several guests have this name: give the UUID"
				      : NULL;
	for (; *why && list->n > before; list->n--)
		free(list->items[list->n - 1].host);
	return 0;
}

static int guests_resolve(struct fg_store *store, const struct fg_store_offer_request *r, struct guests *list,
			  struct fg_error *err)
{
	if (!r->guests)
		return guests_all(store, list, err);
	for (size_t i = 0; i < r->n_guests; i++) {
		const char *why = NULL;
		int rc = guest_find(store, r->guests[i], list, &why, err);
		if (rc < 0)
			return rc;
		if (why)
			r->skipped(r->guests[i], why, FG_ENOTFOUND, r->arg);
	}
	return 0;
}

int fg_sqlite_fix_to_offer(struct fg_store *store, const char *fix, int64_t *version, int64_t now_ms,
			   struct fg_error *err)
{
	fg_autostmt sqlite3_stmt *st = NULL;
	int rc = fg_db_query(
		&store->db, &st, err,
		"SELECT version, expires_s FROM fix WHERE id = ?1 AND (?2 = 0 OR version = ?2)"
		" AND NOT EXISTS (SELECT 1 FROM withdrawn w WHERE w.fix = fix.id AND w.version >= fix.version)"
		" ORDER BY version DESC LIMIT 1",
		"si", fix, *version);

	if (rc == 0)
		rc = fg_db_step(&store->db, st, err);
	if (rc < 0)
		return rc;
	if (rc == 0 && *version)
		return fg_error_set(err, FG_ENOTFOUND,
				    "no fix %s of version %" PRId64 " is published (and not withdrawn)", fix, *version);
	if (rc == 0)
		return fg_error_set(err, FG_ENOTFOUND, "no fix %s is published (and not withdrawn)", fix);
	if (fg_db_int(st, 1) * 1000 <= now_ms)
		return fg_error_set(err, FG_EREFUSED, "fix %s version %" PRId64 " has expired", fix, fg_db_int(st, 0));
	*version = fg_db_int(st, 0);
	return 0;
}

int fg_sqlite_offer_put(struct fg_store *store, const struct fg_sqlite_offer *o, const struct fg_ledger *row,
			struct fg_error *err)
{
	char version[24];
	int rc = 0;

	/* A fixed guest stays fixed, whatever is offered: its row goes on telling of the job that fixed it. */
	if (row->status != FG_STATUS_FIXED)
		rc = fg_sqlite_ledger_put(store, o->client, o->fix, row, NULL, NULL, NULL, o->now_ms, err);
	if (rc == 0)
		rc = fg_sqlite_offers_close(store, o->client, o->fix, INT64_MAX, NULL, err);
	if (rc == 0)
		rc = fg_db_run(&store->db, err,
			       "INSERT INTO offer (client, host_id, fix, version, at_ms, who, force, open)"
			       " VALUES (?, ?, ?, ?, ?, ?, ?, 1)",
			       "sisiisi", o->client, o->host_id, o->fix, o->version, o->now_ms, o->who,
			       (int64_t)o->force);
	snprintf(version, sizeof(version), "%" PRId64, o->version);
	if (rc == 0)
		rc = fg_sqlite_count(store, "offer", o->fix, version, 1, err);
	if (rc < 0)
		return rc;
	return fg_sqlite_audit(store, o->now_ms, o->who, "offer", err,
			       "fix %s version %" PRId64 " to guest %s on host %s%s", o->fix, o->version, o->client,
			       o->host, o->force ? ", forced" : "");
}

static int offer_put(struct fg_store *store, const struct fg_store_offer_request *r, int64_t version,
		     const struct guest *g, const struct fg_ledger *row, struct fg_error *err)
{
	struct fg_sqlite_offer o = { .client = g->uuid,
				     .host = g->host,
				     .fix = r->fix,
				     .who = r->who,
				     .host_id = g->host_id,
				     .version = version,
				     .now_ms = r->now_ms,
				     .force = r->force };

	return fg_sqlite_offer_put(store, &o, row, err);
}

static int offer_one(struct fg_store *store, const struct fg_store_offer_request *r, int64_t version,
		     const struct guest *g, struct fg_error *err)
{
	struct fg_ledger row;
	int rc = fg_sqlite_ledger_get(store, g->uuid, r->fix, &row, err);

	if (rc < 0)
		return rc;
	const char *why = fg_ledger_no_offer(&row, version, r->force);
	if (why) {
		r->skipped(g->uuid, why, FG_EREFUSED, r->arg);
		return 0;
	}
	struct fg_ledger new = fg_ledger_offered(&row, version);
	rc = offer_put(store, r, version, g, &new, err);
	if (rc == 0)
		r->offered(g->uuid, g->host, r->arg);
	return rc;
}

static int offer_all(struct fg_store *store, const struct fg_store_offer_request *r, struct fg_error *err)
{
	struct guests list = { NULL, 0, 0 };
	int64_t version = r->version;
	int rc = fg_sqlite_fix_to_offer(store, r->fix, &version, r->now_ms, err);

	if (rc == 0)
		rc = guests_resolve(store, r, &list, err);
	for (size_t i = 0; i < list.n && rc == 0; i++)
		rc = offer_one(store, r, version, &list.items[i], err);
	guests_release(&list);
	return rc;
}

int fg_store_offer(struct fg_store *store, const struct fg_store_offer_request *r, struct fg_error *err)
{
	int rc = fg_db_begin(&store->db, err);

	if (rc < 0)
		return rc;
	return fg_db_end(&store->db, offer_all(store, r, err), err);
}

/* ---- a host asks ---- */

static int request_one(struct fg_store *store, const struct fg_store_offer_request *r, struct guests *list,
		       struct fg_error *err)
{
	struct fg_ledger row;
	int64_t version = r->version;
	const char *why = NULL;
	int rc = fg_sqlite_fix_to_offer(store, r->fix, &version, r->now_ms, err);

	if (rc == 0)
		rc = guest_find(store, r->guests[0], list, &why, err);
	if (rc < 0)
		return rc;
	if (why || list->n != 1 || strcmp(list->items[0].host, r->who) != 0)
		return fg_error_set(err, FG_ENOTFOUND, "no guest %s in the inventory of this host", r->guests[0]);
	rc = fg_sqlite_ledger_get(store, list->items[0].uuid, r->fix, &row, err);
	if (rc < 0)
		return rc;
	struct fg_ledger new = fg_ledger_offered(&row, version);
	return offer_put(store, r, version, &list->items[0], &new, err);
}

static int newest_alone(struct fg_store *store, int64_t *newest, struct fg_error *err)
{
	fg_autostmt sqlite3_stmt *moment = NULL;

	return newest_offer(store, &moment, newest, err);
}

int fg_store_request(struct fg_store *store, const char *host, const char *guest, const char *fix, int64_t now_ms,
		     int64_t *seq, struct fg_error *err)
{
	const char *const names[] = { guest };
	struct fg_store_offer_request r = {
		.fix = fix, .who = host, .now_ms = now_ms, .guests = names, .n_guests = 1, .force = true
	};
	struct guests list = { NULL, 0, 0 };
	int64_t newest = 0;
	int rc = fg_db_begin(&store->db, err);

	if (rc < 0)
		return rc;
	rc = request_one(store, &r, &list, err);
	if (rc == 0)
		rc = newest_alone(store, &newest, err);
	guests_release(&list);
	rc = fg_db_end(&store->db, rc, err);
	if (rc == 0)
		*seq = newest;
	return rc;
}
