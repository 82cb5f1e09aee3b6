/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Rollouts: rows, counters, lists. What is done to targets is in sqlite_targets.c. */
#include "rollouts.h"
#include "sqlite.h"
#include "sqlite_targets.h"

#include <inttypes.h>
#include <string.h>

int fg_sqlite_wave_count(struct fg_store *store, int64_t id, int64_t wave, enum fg_target_state state, int64_t delta,
			 struct fg_error *err)
{
	return fg_db_run(&store->db, err,
			 "INSERT INTO rollout_wave (rollout_id, wave, state, n) VALUES (?, ?, ?, ?)"
			 " ON CONFLICT (rollout_id, wave, state) DO UPDATE SET n = rollout_wave.n + excluded.n",
			 "iisi", id, wave, fg_target_state_name(state), delta);
}

static int targets_add(struct fg_store *store, const struct fg_store_rollout *r, int64_t id, const char *const *clients,
		       const int64_t *waves, size_t n, struct fg_error *err)
{
	int64_t in_wave[FG_ROLLOUT_WAVES_MAX] = { 0 };
	int rc = 0;

	for (size_t i = 0; i < n && rc == 0; i++) {
		in_wave[waves[i]]++;
		rc = fg_db_run(&store->db, err,
			       "INSERT INTO rollout_target (rollout_id, client, wave, state, seq, tries, at_ms)"
			       " VALUES (?, ?, ?, 'waiting', 0, 0, ?)",
			       "isii", id, clients[i], waves[i], r->created_ms);
	}
	for (int64_t w = 0; w < r->n_waves && rc == 0; w++)
		rc = fg_sqlite_wave_count(store, id, w, FG_TARGET_WAITING, in_wave[w], err);
	return rc;
}

static int rollout_add(struct fg_store *store, const struct fg_store_rollout *r, const char *const *clients,
		       const int64_t *waves, size_t n, int64_t *id, struct fg_error *err)
{
	fg_autostmt sqlite3_stmt *st = NULL;
	int rc = fg_db_query(&store->db, &st, err,
			     "INSERT INTO rollout (fix, version, state, plan, n_waves, wave, wave_ms, reached_ms,"
			     " forgiven, created_ms, created_by, changed_ms)"
			     " VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6, 0, 0, ?6, ?7, ?6) RETURNING id",
			     "sissiis", r->fix, r->version, fg_rollout_state_name(r->state), r->plan, r->n_waves,
			     r->created_ms, r->created_by);

	if (rc == 0)
		rc = fg_db_step(&store->db, st, err);
	if (rc < 0)
		return rc;
	*id = fg_db_int(st, 0);
	sqlite3_reset(st);
	rc = targets_add(store, r, *id, clients, waves, n, err);
	if (rc < 0)
		return rc;
	return fg_sqlite_audit(store, r->created_ms, r->created_by, "rollout-create", err,
			       "rollout %" PRId64 " of fix %s version %" PRId64 " to %zu guests in %" PRId64
			       " waves: %s, %s",
			       *id, r->fix, r->version, n, r->n_waves, fg_rollout_state_name(r->state), r->plan);
}

int fg_store_rollout_add(struct fg_store *store, const struct fg_store_rollout *r, const char *const *clients,
			 const int64_t *waves, size_t n, int64_t *id, struct fg_error *err)
{
	int64_t new = 0;
	int rc = fg_db_begin(&store->db, err);

	if (rc < 0)
		return rc;
	rc = fg_db_end(&store->db, rollout_add(store, r, clients, waves, n, &new, err), err);
	if (rc == 0)
		*id = new;
	return rc;
}

static int counts_get(struct fg_store *store, struct fg_store_rollout *r, struct fg_error *err)
{
	fg_autostmt sqlite3_stmt *st = NULL;
	int rc = fg_db_query(&store->db, &st, err, "SELECT wave, state, n FROM rollout_wave WHERE rollout_id = ?", "i",
			     r->id);

	if (rc < 0)
		return rc;
	while ((rc = fg_db_step(&store->db, st, err)) > 0) {
		int64_t wave = fg_db_int(st, 0);
		enum fg_target_state state = fg_target_state_from_name(fg_db_text(st, 1));
		if (wave >= 0 && wave < FG_ROLLOUT_WAVES_MAX && state != FG_TARGET_STATE_COUNT)
			r->n[wave][state] = fg_db_int(st, 2);
	}
	return rc;
}

int fg_store_rollout(struct fg_store *store, int64_t id, fg_store_rollout_fn fn, void *arg, struct fg_error *err)
{
	fg_autofinal sqlite3_stmt *st = NULL; /* not kept: fn may ask for others */
	struct fg_db_value value = { .number = id };
	int rc = fg_db_prepare(&store->db, &st,
			       "SELECT id, fix, version, state, plan, n_waves, wave, wave_ms, reached_ms, forgiven,"
			       " reason, created_ms, created_by, approved_by, changed_ms FROM rollout WHERE id = ?",
			       &value, 1, err);

	if (rc == 0)
		rc = fg_db_step(&store->db, st, err);
	if (rc < 0)
		return rc;
	if (rc == 0)
		return fg_error_set(err, FG_ENOTFOUND, "no rollout %" PRId64, id);
	struct fg_store_rollout r = {
		.id = fg_db_int(st, 0),
		.fix = fg_db_text(st, 1),
		.version = fg_db_int(st, 2),
		.state = fg_rollout_state_from_name(fg_db_text(st, 3)),
		.plan = fg_db_text(st, 4),
		.n_waves = fg_db_int(st, 5),
		.wave = fg_db_int(st, 6),
		.wave_ms = fg_db_int(st, 7),
		.reached_ms = fg_db_int(st, 8),
		.forgiven = fg_db_int(st, 9),
		.reason = fg_db_text(st, 10),
		.created_ms = fg_db_int(st, 11),
		.created_by = fg_db_text(st, 12),
		.approved_by = fg_db_text(st, 13),
		.changed_ms = fg_db_int(st, 14),
	};
	if (r.n_waves < 1 || r.n_waves > FG_ROLLOUT_WAVES_MAX || r.wave < 0 || r.wave >= r.n_waves)
		return fg_error_set(err, FG_EBUG, "rollout %" PRId64 " has no such wave", id);
	rc = counts_get(store, &r, err);
	return rc < 0 ? rc : fn(&r, arg, err);
}

int fg_store_rollout_ids(struct fg_store *store, enum fg_rollout_state only, int64_t before, size_t limit,
			 fg_store_id_fn fn, void *arg, struct fg_error *err)
{
	const char *state = fg_rollout_state_name(only);
	fg_autostmt sqlite3_stmt *st = NULL;
	int rc = state ? fg_db_query(&store->db, &st, err,
				     "SELECT id FROM rollout WHERE state = ? AND id < ? ORDER BY id DESC LIMIT ?",
				     "sii", state, before ? before : INT64_MAX, (int64_t)limit)
		       : fg_db_query(&store->db, &st, err,
				     "SELECT id FROM rollout WHERE id < ? ORDER BY id DESC LIMIT ?", "ii",
				     before ? before : INT64_MAX, (int64_t)limit);

	if (rc < 0)
		return rc;
	while ((rc = fg_db_step(&store->db, st, err)) > 0)
		fn(fg_db_int(st, 0), arg);
	return rc;
}

static int rollout_set(struct fg_store *store, const struct fg_store_rollout *r, const char *who, const char *what,
		       struct fg_error *err)
{
	const char *state = fg_rollout_state_name(r->state);
	int rc = fg_db_run(&store->db, err,
			   "UPDATE rollout SET state = ?, wave = ?, wave_ms = ?, reached_ms = ?, forgiven = ?,"
			   " reason = ?, approved_by = ?, changed_ms = ? WHERE id = ?",
			   "siiiissii", state, r->wave, r->wave_ms, r->reached_ms, r->forgiven, r->reason,
			   r->approved_by, r->changed_ms, r->id);

	if (rc < 0)
		return rc;
	return fg_sqlite_audit(store, r->changed_ms, who, what, err,
			       "rollout %" PRId64 ": %s, wave %" PRId64 " of %" PRId64 "%s%s", r->id, state,
			       r->wave + 1, r->n_waves, r->reason ? ": " : "", r->reason ? r->reason : "");
}

int fg_store_rollout_set(struct fg_store *store, const struct fg_store_rollout *r, const char *who, const char *what,
			 struct fg_error *err)
{
	int rc = fg_db_begin(&store->db, err);

	if (rc < 0)
		return rc;
	return fg_db_end(&store->db, rollout_set(store, r, who, what, err), err);
}

int fg_store_rollout_targets(struct fg_store *store, int64_t id, enum fg_target_state only, const char *after,
			     size_t limit, fg_store_target_fn fn, void *arg, struct fg_error *err)
{
	const char *state = fg_target_state_name(only);
	fg_autostmt sqlite3_stmt *st = NULL;
	int rc = fg_db_query(&store->db, &st, err,
			     "SELECT t.client, c.name, h.name, t.wave, t.state, t.tries, t.at_ms, t.reason, l.status,"
			     " l.state FROM rollout r JOIN rollout_target t ON t.rollout_id = r.id"
			     " JOIN client c ON c.uuid = t.client JOIN host h ON h.id = c.host_id"
			     " LEFT JOIN ledger l ON l.client = t.client AND l.fix = r.fix"
			     " WHERE r.id = ? AND (? = '' OR t.state = ?) AND t.client > ?"
			     " ORDER BY t.client LIMIT ?",
			     "isssi", id, state ? state : "", state ? state : "", after, (int64_t)limit);

	if (rc < 0)
		return rc;
	while ((rc = fg_db_step(&store->db, st, err)) > 0) {
		struct fg_store_target t = { .client = fg_db_text(st, 0),
					     .name = fg_db_text(st, 1),
					     .host = fg_db_text(st, 2),
					     .wave = fg_db_int(st, 3),
					     .state = fg_target_state_from_name(fg_db_text(st, 4)),
					     .tries = fg_db_int(st, 5),
					     .at_ms = fg_db_int(st, 6),
					     .reason = fg_db_text(st, 7),
					     .status = fg_db_text(st, 8),
					     .job_state = fg_db_text(st, 9) };
		fn(&t, arg);
	}
	return rc;
}

bool fg_store_rollouts_touched(struct fg_store *store)
{
	bool touched = store->rollouts_touched;

	store->rollouts_touched = false;
	return touched;
}

int fg_store_guests(struct fg_store *store, fg_store_guest_fn fn, void *arg, struct fg_error *err)
{
	fg_autostmt sqlite3_stmt *st = NULL;
	int rc = fg_db_query(&store->db, &st, err,
			     "SELECT c.uuid, c.name, h.name, c.os FROM client c JOIN host h ON h.id = c.host_id"
			     " WHERE c.present = 1 ORDER BY c.uuid",
			     "");

	while (rc == 0 && (rc = fg_db_step(&store->db, st, err)) > 0) {
		struct fg_store_guest_row row = { fg_db_text(st, 0), fg_db_text(st, 1), fg_db_text(st, 2),
						  fg_db_text(st, 3) };
		rc = fn(&row, arg, err);
	}
	return rc;
}

int fg_store_fix_version(struct fg_store *store, const char *fix, int64_t *version, int64_t now_ms,
			 struct fg_error *err)
{
	return fg_sqlite_fix_to_offer(store, fix, version, now_ms, err);
}
