/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Inventories. */
#include "sqlite.h"

#include <inttypes.h>
#include <string.h>

/* Is the host h no host any more: revoked, and not enrolled anew? */
#define REVOKED                                                                                                        \
	" (EXISTS (SELECT 1 FROM certificate x WHERE x.role = 'agent' AND x.name = h.name AND x.revoked_ms IS NOT "    \
	"NULL)"                                                                                                        \
	" AND NOT EXISTS (SELECT 1 FROM certificate x WHERE x.role = 'agent' AND x.name = h.name"                      \
	" AND x.revoked_ms IS NULL))"

/* What the database says of a guest before an inventory names it. */
struct owner {
	bool known, present;
	int64_t host_id, host_seen_ms;
	bool on; /* present there, and not off */
	bool revoked;
	char host[256];
};

static int owner_get(struct fg_store *store, const char *uuid, struct owner *out, struct fg_error *err)
{
	fg_autostmt sqlite3_stmt *st = NULL;
	int rc = fg_db_query(&store->db, &st, err,
			     "SELECT c.host_id, h.last_seen_ms, c.present, c.state, h.name," REVOKED " FROM client c"
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
	out->on = out->present && strcmp(fg_db_text(st, 3), "off") != 0;
	snprintf(out->host, sizeof(out->host), "%s", fg_db_text(st, 4));
	out->revoked = fg_db_int(st, 5) != 0;
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

/* The guest is this host's from now on. */
static int guest_move(struct fg_store *store, const struct fg_store_guest *g, const struct owner *owner,
		      const char *host, int64_t host_id, int64_t now_ms, struct fg_error *err)
{
	bool moves = owner->known && owner->host_id != host_id;
	int rc = guest_put(store, g, host_id, now_ms, err);

	if (rc == 0 && !owner->present)
		rc = present_count(store, 1, owner->known ? -1 : 0, err);
	if (rc == 0 && moves)
		rc = offers_move(store, g->uuid, host_id, err);
	if (rc == 0 && moves)
		rc = fg_sqlite_audit(store, now_ms, host, "guest-moved", err, "guest %s (%s) from host %s to %s",
				     g->uuid, g->name, owner->host, host);
	return rc;
}

/* Kept until one of the two hosts is right; audited when it is new. */
static int claim(struct fg_store *store, const struct fg_store_guest *g, const struct owner *owner, const char *host,
		 int64_t host_id, int64_t now_ms, struct fg_error *err)
{
	int rc = fg_db_run(&store->db, err,
			   "UPDATE claim SET name = ?, toolstack = ?, state = ?, identity = ?, nics = ?, os_id = ?,"
			   " os_version = ?, said = 1 WHERE client = ? AND host_id = ?",
			   "ssssssssi", g->name, g->toolstack, g->state, g->identity, g->nics, g->os_id, g->os_version,
			   g->uuid, host_id);

	if (rc < 0 || fg_db_changes(&store->db) > 0)
		return rc;
	rc = fg_db_run(&store->db, err,
		       "INSERT INTO claim (client, host_id, name, toolstack, state, identity, nics, os_id, os_version,"
		       " at_ms, said) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1)",
		       "sisssssssi", g->uuid, host_id, g->name, g->toolstack, g->state, g->identity, g->nics, g->os_id,
		       g->os_version, now_ms);
	if (rc == 0)
		rc = fg_sqlite_audit(store, now_ms, host, "guest-claimed", err,
				     "guest %s (%s) runs on host %s, and so says %s: not moved", g->uuid, g->name,
				     owner->host, host);
	return rc;
}

static int guest_take(struct fg_store *store, const struct fg_store_guest *g, const char *host, int64_t host_id,
		      int64_t now_ms, size_t *taken, struct fg_error *err)
{
	struct owner owner;
	int rc = owner_get(store, g->uuid, &owner, err);

	if (rc < 0)
		return rc;
	/*
	 * It stays with the host that runs it.  A host may lie, and the same definition may lie, switched off, on the host
	 * that the guest was migrated from.
	 */
	if (owner.known && owner.host_id != host_id && owner.on && !owner.revoked &&
	    owner.host_seen_ms + FG_STORE_OWNER_MS > now_ms)
		return strcmp(g->state, "running") != 0 ? 0 : claim(store, g, &owner, host, host_id, now_ms, err);
	rc = guest_move(store, g, &owner, host, host_id, now_ms, err);
	if (rc == 0)
		++*taken;
	return rc;
}

/* The oldest claim that has to do with this host and is right now, carried out; 1, or 0 if there is none. */
static int settle_one(struct fg_store *store, int64_t host_id, int64_t now_ms, struct fg_error *err)
{
	struct owner owner;
	fg_autostmt sqlite3_stmt *st = NULL;
	int rc = fg_db_query(&store->db, &st, err,
			     "SELECT k.client, k.name, k.toolstack, k.state, k.identity, k.nics, k.os_id, k.os_version,"
			     " k.host_id, n.name FROM claim k JOIN client c ON c.uuid = k.client JOIN host h ON h.id ="
			     " c.host_id JOIN host n ON n.id = k.host_id WHERE (k.host_id = ?1 OR c.host_id = ?1)"
			     " AND (c.present = 0 OR c.state = 'off' OR h.last_seen_ms <= ?2 OR" REVOKED ")"
			     " ORDER BY k.at_ms, k.host_id, k.client LIMIT 1",
			     "ii", host_id, now_ms - FG_STORE_OWNER_MS);

	if (rc == 0)
		rc = fg_db_step(&store->db, st, err);
	if (rc <= 0)
		return rc;
	struct fg_store_guest g = {
		.uuid = fg_db_text(st, 0),
		.name = fg_db_text(st, 1),
		.toolstack = fg_db_text(st, 2),
		.state = fg_db_text(st, 3),
		.identity = fg_db_text(st, 4),
		.nics = fg_db_text(st, 5),
		.os_id = fg_db_text(st, 6),
		.os_version = fg_db_text(st, 7),
	};
	int64_t to = fg_db_int(st, 8);
	rc = owner_get(store, g.uuid, &owner, err);
	if (rc == 0 && owner.host_id != to)
		rc = guest_move(store, &g, &owner, fg_db_text(st, 9), to, now_ms, err);
	if (rc == 0)
		rc = fg_db_run(&store->db, err, "DELETE FROM claim WHERE client = ? AND host_id = ?", "si", g.uuid, to);
	return rc < 0 ? rc : 1;
}

int fg_sqlite_claims_settle(struct fg_store *store, int64_t host_id, int64_t now_ms, struct fg_error *err)
{
	int rc;

	while ((rc = settle_one(store, host_id, now_ms, err)) > 0)
		;
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
	if (rc == 0)
		rc = fg_db_run(&store->db, err, "UPDATE claim SET said = 0 WHERE host_id = ?", "i", host_id);
	for (size_t i = 0; i < n && rc == 0; i++)
		rc = guest_take(store, &guests[i], host, host_id, now_ms, taken, err);
	if (rc == 0)
		rc = fg_db_run(&store->db, err, "DELETE FROM claim WHERE host_id = ? AND said = 0", "i", host_id);
	return rc < 0 ? rc : fg_sqlite_claims_settle(store, host_id, now_ms, err);
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
