/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "catalogue.h"
#include "sqlite.h"

#include <inttypes.h>
#include <string.h>

int fg_store_catalogue(struct fg_store *store, struct fg_store_catalogue *out, char **cms, struct fg_error *err)
{
	fg_autostmt sqlite3_stmt *st = NULL;
	int rc = fg_db_query(&store->db, &st, err,
			     "SELECT generation, version, published_s, expires_s, CASE WHEN ? = 1 THEN cms ELSE '' END,"
			     " (SELECT value FROM setting WHERE name = '" FG_SQLITE_CATALOGUE_CHANGED
			     "') FROM catalogue WHERE id = 1",
			     "i", (int64_t)(cms != NULL));

	if (rc == 0)
		rc = fg_db_step(&store->db, st, err);
	if (rc < 0)
		return rc;
	if (rc == 0)
		return fg_error_set(err, FG_ENOTFOUND, "there is no catalogue yet");
	out->mark.generation = (uint64_t)fg_db_int(st, 0);
	out->mark.version = (uint64_t)fg_db_int(st, 1);
	out->published_s = fg_db_int(st, 2);
	out->expires_s = fg_db_int(st, 3);
	const char *changed = fg_db_text(st, 5);
	out->incomplete = changed != NULL;
	out->wrong = changed && strcmp(changed, FG_SQLITE_INCOMPLETE) != 0;
	if (cms)
		*cms = fg_strdup(fg_db_text(st, 4));
	return 0;
}

/* ---- making one ---- */

static int head_of(struct fg_store *store, const char *bundle, const char *known,
		   const struct fg_store_catalogue_maker *maker, uint8_t out[FG_DIGEST_BYTES], struct fg_error *err)
{
	char digest[FG_DIGEST_HEX] = "";
	int rc = 0;

	if (known)
		return fg_hex_decode(known, out, FG_DIGEST_BYTES, err);
	rc = maker->head(bundle, digest, maker->arg, err);
	if (rc == 0)
		rc = fg_db_run(&store->db, err, "INSERT INTO head (bundle, digest) VALUES (?, ?)", "ss", bundle,
			       digest);
	return rc < 0 ? rc : fg_hex_decode(digest, out, FG_DIGEST_BYTES, err);
}

static int add_fixes(struct fg_store *store, int64_t now_s, const struct fg_store_catalogue_maker *maker,
		     struct fg_catalogue *c, struct fg_error *err)
{
	fg_autostmt sqlite3_stmt *st = NULL;
	int rc = fg_db_query(
		&store->db, &st, err,
		"SELECT f.id, f.version, f.digest, h.digest FROM fix f LEFT JOIN head h ON h.bundle = f.digest"
		" WHERE f.expires_s > ? AND NOT EXISTS (SELECT 1 FROM withdrawn w WHERE w.fix = f.id"
		" AND w.version >= f.version) ORDER BY f.id, f.version",
		"i", now_s);

	if (rc < 0)
		return rc;
	c->fixes = fg_calloc(FG_CATALOGUE_FIXES_MAX, sizeof(*c->fixes));
	while ((rc = fg_db_step(&store->db, st, err)) > 0) {
		if (c->n_fixes == FG_CATALOGUE_FIXES_MAX)
			return fg_error_set(err, FG_ELIMIT, "more than %d fixes are valid: withdraw old ones",
					    FG_CATALOGUE_FIXES_MAX);
		struct fg_catalogue_fix *f = &c->fixes[c->n_fixes++];
		f->id = fg_strdup(fg_db_text(st, 0));
		f->version = (uint64_t)fg_db_int(st, 1);
		rc = fg_hex_decode(fg_db_text(st, 2), f->bundle, FG_DIGEST_BYTES, err);
		if (rc == 0)
			rc = head_of(store, fg_db_text(st, 2), fg_db_text(st, 3), maker, f->head, err);
		if (rc < 0)
			return rc;
	}
	return rc;
}

static int add_withdrawn(struct fg_store *store, struct fg_catalogue *c, struct fg_error *err)
{
	fg_autostmt sqlite3_stmt *st = NULL;
	int rc = fg_db_query(&store->db, &st, err, "SELECT fix, version FROM withdrawn ORDER BY fix", "");

	if (rc < 0)
		return rc;
	c->withdrawn = fg_calloc(FG_CATALOGUE_WITHDRAWN_MAX, sizeof(*c->withdrawn));
	while ((rc = fg_db_step(&store->db, st, err)) > 0) {
		if (c->n_withdrawn == FG_CATALOGUE_WITHDRAWN_MAX)
			return fg_error_set(err, FG_ELIMIT, "more than %d fixes are withdrawn",
					    FG_CATALOGUE_WITHDRAWN_MAX);
		struct fg_catalogue_fix *f = &c->withdrawn[c->n_withdrawn++];
		f->id = fg_strdup(fg_db_text(st, 0));
		f->version = (uint64_t)fg_db_int(st, 1);
	}
	return rc;
}

static int add_revoked(struct fg_store *store, struct fg_catalogue *c, struct fg_error *err)
{
	fg_autostmt sqlite3_stmt *st = NULL;
	int rc = fg_db_query(&store->db, &st, err, "SELECT key_digest, name FROM revoked ORDER BY key_digest", "");

	if (rc < 0)
		return rc;
	c->revoked = fg_calloc(FG_CATALOGUE_REVOKED_MAX, sizeof(*c->revoked));
	while ((rc = fg_db_step(&store->db, st, err)) > 0) {
		if (c->n_revoked == FG_CATALOGUE_REVOKED_MAX)
			return fg_error_set(err, FG_ELIMIT, "more than %d keys are revoked", FG_CATALOGUE_REVOKED_MAX);
		struct fg_catalogue_revoked *r = &c->revoked[c->n_revoked++];
		rc = fg_hex_decode(fg_db_text(st, 0), r->key, FG_DIGEST_BYTES, err);
		if (rc < 0)
			return rc;
		r->name = fg_strdup(fg_db_text(st, 1));
	}
	return rc;
}

static int make(struct fg_store *store, uint64_t generation, int64_t now_s,
		const struct fg_store_catalogue_maker *maker, struct fg_catalogue *c, struct fg_error *err)
{
	struct fg_store_catalogue last = { .published_s = 0 };
	fg_autofree char *cms = NULL;
	int rc = fg_store_catalogue(store, &last, NULL, NULL);

	if (rc < 0 && rc != -FG_ENOTFOUND)
		return fg_error_set(err, FG_EIO, "cannot read the last catalogue");
	c->mark = (struct fg_catalogue_mark){ generation, last.mark.version + 1 };
	if (now_s > 0 && (uint64_t)now_s > c->mark.version)
		c->mark.version = (uint64_t)now_s;
	c->published_s = now_s;
	c->expires_s = now_s + (maker->lifetime_s ? maker->lifetime_s : FG_CATALOGUE_LIFETIME_S);
	if ((rc = add_fixes(store, now_s, maker, c, err)) < 0 || (rc = add_withdrawn(store, c, err)) < 0 ||
	    (rc = add_revoked(store, c, err)) < 0 || (rc = maker->sign(c, &cms, maker->arg, err)) < 0)
		return rc;
	rc = fg_db_run(&store->db, err, "DELETE FROM setting WHERE name = '" FG_SQLITE_CATALOGUE_CHANGED "'", "");
	if (rc < 0)
		return rc;
	return fg_db_run(&store->db, err,
			 "INSERT INTO catalogue (id, generation, version, published_s, expires_s, cms)"
			 " VALUES (1, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET generation = excluded.generation,"
			 " version = excluded.version, published_s = excluded.published_s,"
			 " expires_s = excluded.expires_s, cms = excluded.cms",
			 "iiiis", (int64_t)generation, (int64_t)c->mark.version, c->published_s, c->expires_s, cms);
}

int fg_store_catalogue_make(struct fg_store *store, uint64_t generation, int64_t now_s,
			    const struct fg_store_catalogue_maker *maker, struct fg_error *err)
{
	struct fg_catalogue *c;
	int rc = fg_db_begin(&store->db, err);

	if (rc < 0)
		return rc;
	c = fg_calloc(1, sizeof(*c));
	rc = make(store, generation, now_s, maker, c, err);
	fg_catalogue_free(c);
	return fg_db_end(&store->db, rc, err);
}

/* ---- withdrawing, revoking ---- */

/* Every open offer is cancelled: hosts that have not isolated for it yet hear of it. */
static int cancel_offers(struct fg_store *store, const struct fg_store_withdrawal *w, int64_t version, int64_t *closed,
			 struct fg_error *err)
{
	fg_autojson json_t *clients = json_array();
	json_t *client;
	size_t i;
	fg_autostmt sqlite3_stmt *st = NULL;
	int rc = fg_db_query(&store->db, &st, err,
			     "SELECT DISTINCT client FROM offer WHERE open = 1 AND fix = ? AND version <= ?", "si",
			     w->fix, version);

	if (rc < 0)
		return rc;
	while ((rc = fg_db_step(&store->db, st, err)) > 0)
		json_array_append_new(clients, json_string(fg_db_text(st, 0)));
	json_array_foreach (clients, i, client) {
		enum fg_store_cancelled what = FG_CANCELLED_NONE;
		struct fg_store_cancel c = { .client = json_string_value(client),
					     .fix = w->fix,
					     .who = w->who,
					     .reason = "the fix was withdrawn",
					     .now_ms = w->now_ms };
		if (rc == 0)
			rc = fg_store_cancel(store, &c, &what, err);
		*closed += what == FG_CANCELLED_NOW || what == FG_CANCELLED_ASKED;
	}
	return rc;
}

static int newest(struct fg_store *store, const struct fg_store_withdrawal *w, int64_t *version, struct fg_error *err)
{
	fg_autostmt sqlite3_stmt *st = NULL;
	int rc = fg_db_query(&store->db, &st, err,
			     "SELECT COALESCE(MAX(version), 0) FROM fix WHERE id = ?1 AND (?2 = 0 OR version = ?2)",
			     "si", w->fix, w->version);

	if (rc == 0)
		rc = fg_db_step(&store->db, st, err);
	if (rc < 0)
		return rc;
	*version = fg_db_int(st, 0);
	return *version ? 0 : fg_error_set(err, FG_ENOTFOUND, "no such fix is published");
}

static int withdraw(struct fg_store *store, const struct fg_store_withdrawal *w, int64_t *version, int64_t *closed,
		    struct fg_error *err)
{
	int rc = newest(store, w, version, err);

	if (rc == 0)
		rc = fg_db_run(
			&store->db, err,
			"INSERT INTO withdrawn (fix, version, at_ms, who, reason) VALUES (?, ?, ?, ?, ?)"
			" ON CONFLICT (fix) DO UPDATE SET version = excluded.version, at_ms = excluded.at_ms,"
			" who = excluded.who, reason = excluded.reason WHERE excluded.version > withdrawn.version",
			"siiss", w->fix, *version, w->now_ms, w->who, w->reason);
	if (rc == 0)
		rc = fg_sqlite_catalogue_changed(store, true, err);
	if (rc == 0)
		rc = cancel_offers(store, w, *version, closed, err);
	if (rc < 0)
		return rc;
	return fg_sqlite_audit(store, w->now_ms, w->who, "withdraw", err,
			       "fix %s up to version %" PRId64 ", %" PRId64 " offers closed: %s", w->fix, *version,
			       *closed, w->reason);
}

int fg_store_withdraw(struct fg_store *store, const struct fg_store_withdrawal *w, int64_t *version, int64_t *closed,
		      struct fg_error *err)
{
	int rc = fg_db_begin(&store->db, err);

	if (rc < 0)
		return rc;
	rc = withdraw(store, w, version, closed, err);
	return fg_db_end(&store->db, rc, err);
}

int fg_store_revoke_key(struct fg_store *store, const struct fg_store_revocation *r, struct fg_error *err)
{
	int rc = fg_db_begin(&store->db, err);

	if (rc < 0)
		return rc;
	rc = fg_db_run(&store->db, err,
		       "INSERT INTO revoked (key_digest, name, at_ms, who, reason) VALUES (?, ?, ?, ?, ?)"
		       " ON CONFLICT (key_digest) DO NOTHING",
		       "ssiss", r->key, r->name, r->now_ms, r->who, r->reason);
	if (rc == 0 && sqlite3_changes(store->db.handle) == 0)
		rc = fg_error_set(err, FG_EEXISTS, "the key is revoked already");
	if (rc == 0)
		rc = fg_sqlite_catalogue_changed(store, true, err);
	if (rc == 0)
		rc = fg_sqlite_audit(store, r->now_ms, r->who, "revoke-signer", err, "key %s (%s): %s", r->key, r->name,
				     r->reason);
	return fg_db_end(&store->db, rc, err);
}

int fg_store_revoked_keys(struct fg_store *store, uint8_t (**keys)[FG_DIGEST_BYTES], size_t *n, struct fg_error *err)
{
	struct fg_catalogue *c = fg_calloc(1, sizeof(*c));
	int rc = add_revoked(store, c, err);

	if (rc == 0) {
		*n = c->n_revoked;
		*keys = fg_calloc(c->n_revoked + 1, sizeof(**keys));
		for (size_t i = 0; i < c->n_revoked; i++)
			memcpy((*keys)[i], c->revoked[i].key, FG_DIGEST_BYTES);
	}
	fg_catalogue_free(c);
	return rc;
}
