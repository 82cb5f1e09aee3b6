/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Inventories. */
#include "sqlite.h"

#include <inttypes.h>
#include <string.h>

/* What the database says of a guest before an inventory names it. */
struct owner {
	bool known, present;
	int64_t host_id, host_seen_ms;
	bool runs; /* present there and running */
	char host[256];
};

static int owner_get(struct fg_store *store, const char *uuid, struct owner *out, struct fg_error *err)
{
	fg_autostmt sqlite3_stmt *st = NULL;
	int rc = fg_db_query(&store->db, &st, err,
			     "SELECT c.host_id, h.last_seen_ms, c.present, c.state, h.name FROM client c"
			     " JOIN host h ON h.id = c.host_id WHERE c.uuid = ?",
			     "s", uuid);

	memset(out, 0, sizeof(*out));
	if (rc == 0)
		rc = fg_db_step(&store->db, st, err);
	if (rc <= 0)
		return rc;
	out->known = true;
	out->host_id = fg_db_int(st, 0);
	out->host_seen_ms = fg_db_int(st, 1);
	out->present = fg_db_int(st, 2) != 0;
	out->runs = out->present && !strcmp(fg_db_text(st, 3), "running");
	snprintf(out->host, sizeof(out->host), "%s", fg_db_text(st, 4));
	return 0;
}

/*
 * The guest's open offers again, under new numbers: the new host's cursor may be past the old ones.
 */
static int offers_move(struct fg_store *store, const char *uuid, int64_t host_id, struct fg_error *err)
{
	int64_t newest = 0;
	fg_autostmt sqlite3_stmt *st = NULL;
	int rc = fg_db_query(&store->db, &st, err, "SELECT COALESCE(MAX(seq), 0) FROM offer", "");

	if (rc == 0)
		rc = fg_db_step(&store->db, st, err);
	if (rc < 0)
		return rc;
	newest = fg_db_int(st, 0);
	rc = fg_db_run(&store->db, err,
		       "INSERT INTO offer (client, host_id, fix, version, at_ms, who, force, open)"
		       " SELECT client, ?, fix, version, at_ms, who, force, 1 FROM offer WHERE client = ? AND open = 1"
		       " ORDER BY seq",
		       "is", host_id, uuid);
	if (rc == 0)
		rc = fg_db_run(&store->db, err, "UPDATE offer SET open = 0 WHERE client = ? AND open = 1 AND seq <= ?",
			       "si", uuid, newest);
	return rc;
}

/* "id" or "id:version"; NULL where it is not known. malloc'd. */
static char *os_text(const char *id, const char *version)
{
	return !id ? NULL : version ? fg_asprintf("%s:%s", id, version) : fg_strdup(id);
}

int fg_sqlite_client_os(struct fg_store *store, const char *client, const char *id, const char *version,
			struct fg_error *err)
{
	fg_autofree char *os = os_text(id, version);

	if (!os)
		return 0;
	return fg_db_run(&store->db, err, "UPDATE client SET os_id = ?1, os = ?2 WHERE uuid = ?3 AND os <> ?2", "sss",
			 id, os, client);
}

static int guest_put(struct fg_store *store, const struct fg_store_guest *g, int64_t host_id, int64_t now_ms,
		     struct fg_error *err)
{
	fg_autofree char *os = os_text(g->os_id, g->os_version);

	return fg_db_run(&store->db, err,
			 "INSERT INTO client (uuid, name, host_id, toolstack, state, identity, nics, present,"
			 " first_seen_ms, last_seen_ms, os_id, os)"
			 " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1, ?8, ?8, COALESCE(?9, ''), COALESCE(?10, ''))"
			 " ON CONFLICT (uuid) DO UPDATE SET name = excluded.name, host_id = excluded.host_id,"
			 " toolstack = excluded.toolstack, state = excluded.state, identity = excluded.identity,"
			 " nics = excluded.nics, present = 1, last_seen_ms = excluded.last_seen_ms,"
			 " os_id = COALESCE(?9, client.os_id), os = COALESCE(?10, client.os)",
			 "ssissssiss", g->uuid, g->name, host_id, g->toolstack, g->state, g->identity, g->nics, now_ms,
			 g->os_id, os);
}

static int present_count(struct fg_store *store, int64_t present, int64_t gone, struct fg_error *err)
{
	int rc = fg_sqlite_count(store, "client", "", "present", present, err);

	return rc < 0 ? rc : fg_sqlite_count(store, "client", "", "gone", gone, err);
}

static int guest_take(struct fg_store *store, const struct fg_store_guest *g, const char *host, int64_t host_id,
		      int64_t now_ms, size_t *taken, struct fg_error *err)
{
	struct owner owner;
	int rc = owner_get(store, g->uuid, &owner, err);

	if (rc < 0)
		return rc;
	bool moves = owner.known && owner.host_id != host_id;
	/* The same definition may lie, switched off, on the host that the guest was migrated from. */
	if (moves && owner.runs && strcmp(g->state, "running") != 0 && owner.host_seen_ms + FG_STORE_OWNER_MS > now_ms)
		return 0;
	rc = guest_put(store, g, host_id, now_ms, err);
	if (rc == 0 && !owner.present)
		rc = present_count(store, 1, owner.known ? -1 : 0, err);
	if (rc == 0 && moves)
		rc = offers_move(store, g->uuid, host_id, err);
	if (rc == 0 && moves)
		rc = fg_sqlite_audit(store, now_ms, host, "guest-moved", err, "guest %s (%s) from host %s to %s",
				     g->uuid, g->name, owner.host, host);
	if (rc == 0)
		++*taken;
	return rc;
}

static int inventory(struct fg_store *store, const char *host, const struct fg_store_guest *guests, size_t n,
		     int64_t now_ms, size_t *taken, struct fg_error *err)
{
	int64_t host_id = 0;
	int rc = fg_sqlite_host(store, host, now_ms, &host_id, err);

	if (rc == 0)
		rc = fg_db_run(&store->db, err, "UPDATE client SET present = 0 WHERE host_id = ? AND present = 1", "i",
			       host_id);
	int64_t gone = rc == 0 ? fg_db_changes(&store->db) : 0;
	if (rc == 0)
		rc = present_count(store, -gone, gone, err);
	for (size_t i = 0; i < n && rc == 0; i++)
		rc = guest_take(store, &guests[i], host, host_id, now_ms, taken, err);
	return rc;
}

int fg_store_inventory(struct fg_store *store, const char *host, const struct fg_store_guest *guests, size_t n,
		       int64_t now_ms, size_t *taken, struct fg_error *err)
{
	size_t count = 0;
	int rc = fg_db_begin(&store->db, err);

	if (rc < 0)
		return rc;
	rc = fg_db_end(&store->db, inventory(store, host, guests, n, now_ms, &count, err), err);
	if (rc == 0)
		*taken = count;
	return rc;
}
