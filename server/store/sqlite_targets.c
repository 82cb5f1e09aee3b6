/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What is done to the targets of a rollout. */
#include "rollouts.h"
#include "sqlite.h"
#include "sqlite_targets.h"

#include <inttypes.h>
#include <string.h>

struct target {
	int64_t id, wave, version;
	char client[FG_UUID_TEXT], fix[129];
	enum fg_target_state state;
};

struct targets {
	struct target *items;
	size_t n;
};

static int target_set(struct fg_store *store, const struct target *t, enum fg_target_state state, const char *reason,
		      int64_t now_ms, struct fg_error *err)
{
	int rc = fg_db_run(&store->db, err,
			   "UPDATE rollout_target SET state = ?, reason = ?, at_ms = ?, tries = tries + ?"
			   " WHERE rollout_id = ? AND client = ?",
			   "ssiiis", fg_target_state_name(state), reason, now_ms, (int64_t)(state == FG_TARGET_OFFERED),
			   t->id, t->client);

	if (rc == 0 && state != t->state)
		rc = fg_sqlite_wave_count(store, t->id, t->wave, t->state, -1, err);
	if (rc == 0 && state != t->state)
		rc = fg_sqlite_wave_count(store, t->id, t->wave, state, 1, err);
	return rc;
}

/* All rows of a statement id, wave, version, client, fix, state; at most limit. items: malloc'd. */
static int targets_read(struct fg_store *store, sqlite3_stmt *st, size_t limit, struct targets *out,
			struct fg_error *err)
{
	int rc = 0;

	out->items = fg_calloc(limit + 1, sizeof(*out->items));
	out->n = 0;
	while (out->n < limit && (rc = fg_db_step(&store->db, st, err)) > 0) {
		struct target *t = &out->items[out->n++];
		t->id = fg_db_int(st, 0);
		t->wave = fg_db_int(st, 1);
		t->version = fg_db_int(st, 2);
		snprintf(t->client, sizeof(t->client), "%s", fg_db_text(st, 3));
		snprintf(t->fix, sizeof(t->fix), "%s", fg_db_text(st, 4));
		t->state = fg_target_state_from_name(fg_db_text(st, 5));
	}
	sqlite3_reset(st);
	if (rc < 0) {
		free(out->items);
		out->items = NULL;
	}
	return rc < 0 ? rc : 0;
}

/* ---- offering ---- */

/* Why nothing is offered, and what the target is then; NULL: it is to be offered. */
static const char *no_offer(const struct fg_ledger *row, int64_t version, enum fg_target_state *state)
{
	bool open = row->status == FG_STATUS_OFFERED || row->status == FG_STATUS_IN_PROGRESS;

	*state = FG_TARGET_SKIPPED;
	if (row->fixed_version >= version)
		return "fixed already";
	if (open && row->version > version)
		return "a newer version is offered";
	if (row->status == FG_STATUS_HELD)
		return "held: a person decides";
	*state = FG_TARGET_OFFERED;
	return open && row->version == version ? "offered by others" : NULL;
}

static int offer_one(struct fg_store *store, const struct fg_store_rollout_work *w, const struct target *t,
		     const char *who, struct fg_error *err)
{
	struct fg_ledger row;
	enum fg_target_state state = FG_TARGET_OFFERED;
	char host[256];
	fg_autostmt sqlite3_stmt *st = NULL;
	int rc = fg_db_query(&store->db, &st, err,
			     "SELECT c.host_id, h.name, c.present FROM client c JOIN host h ON h.id = c.host_id"
			     " WHERE c.uuid = ?",
			     "s", t->client);

	if (rc == 0)
		rc = fg_db_step(&store->db, st, err);
	if (rc < 0)
		return rc;
	if (rc == 0 || !fg_db_int(st, 2))
		return target_set(store, t, FG_TARGET_SKIPPED, "not in the inventory of any host", w->now_ms, err);
	snprintf(host, sizeof(host), "%s", fg_db_text(st, 1));
	struct fg_sqlite_offer o = { .client = t->client,
				     .host = host,
				     .fix = t->fix,
				     .who = who,
				     .host_id = fg_db_int(st, 0),
				     .version = t->version,
				     .now_ms = w->now_ms };
	rc = fg_sqlite_ledger_get(store, t->client, t->fix, &row, err);
	if (rc < 0)
		return rc;
	const char *why = no_offer(&row, t->version, &state);
	if (!why) {
		struct fg_ledger new = fg_ledger_offered(&row, t->version);
		rc = fg_sqlite_offer_put(store, &o, &new, err);
		if (rc == 0)
			w->host(host, w->arg);
	}
	return rc < 0 ? rc : target_set(store, t, state, why, w->now_ms, err);
}

static int offer(struct fg_store *store, const struct fg_store_rollout_work *w, int64_t wave, size_t *n,
		 struct fg_error *err)
{
	struct targets list = { NULL, 0 };
	char who[FG_ROLLOUT_WHO_MAX];
	fg_autostmt sqlite3_stmt *st = NULL;
	int rc = fg_db_query(&store->db, &st, err,
			     "SELECT r.id, t.wave, r.version, t.client, r.fix, t.state FROM rollout r"
			     " JOIN rollout_target t ON t.rollout_id = r.id WHERE r.id = ? AND t.state = 'waiting'"
			     " AND t.wave <= ? ORDER BY t.wave, t.client LIMIT ?",
			     "iii", w->id, wave, (int64_t)w->limit);

	if (rc == 0)
		rc = targets_read(store, st, w->limit, &list, err);
	if (rc == 0 && list.n)
		rc = fg_sqlite_fix_to_offer(store, list.items[0].fix, &list.items[0].version, w->now_ms, err);
	fg_rollout_who(w->id, who);
	for (size_t i = 0; i < list.n && rc == 0; i++)
		rc = offer_one(store, w, &list.items[i], who, err);
	free(list.items);
	*n = list.n;
	return rc;
}

int fg_store_rollout_offer(struct fg_store *store, const struct fg_store_rollout_work *w, int64_t wave, size_t *n,
			   struct fg_error *err)
{
	size_t count = 0;
	int rc = fg_db_begin(&store->db, err);

	if (rc < 0)
		return rc;
	rc = fg_db_end(&store->db, offer(store, w, wave, &count, err), err);
	if (rc == 0)
		*n = count;
	return rc;
}

/* ---- cancelling ---- */

static int cancel_offer(struct fg_store *store, const struct fg_store_rollout_work *w, const struct target *t,
			const char *reason, enum fg_store_cancelled *what, struct fg_error *err)
{
	char who[FG_ROLLOUT_WHO_MAX];
	struct fg_store_cancel c = { .client = t->client,
				     .fix = t->fix,
				     .who = who,
				     .of = who,
				     .reason = reason,
				     .now_ms = w->now_ms,
				     .cancelled = w->host,
				     .arg = w->arg };

	fg_rollout_who(w->id, who);
	return fg_store_cancel(store, &c, what, err);
}

static int cancel_one(struct fg_store *store, const struct fg_store_rollout_work *w, const struct target *t,
		      enum fg_target_state after, const char *reason, struct fg_error *err)
{
	enum fg_store_cancelled what = FG_CANCELLED_NONE;
	int rc = cancel_offer(store, w, t, reason, &what, err);

	if (rc < 0 || what == FG_CANCELLED_TOO_LATE)
		return rc;
	return target_set(store, t, what == FG_CANCELLED_ASKED ? FG_TARGET_LEAVING : after, reason, w->now_ms, err);
}

static int cancel(struct fg_store *store, const struct fg_store_rollout_work *w, bool again, const char *reason,
		  size_t *n, struct fg_error *err)
{
	struct targets list = { NULL, 0 };
	char who[FG_ROLLOUT_WHO_MAX];
	fg_autostmt sqlite3_stmt *st = NULL;

	fg_rollout_who(w->id, who);
	int rc = fg_db_query(&store->db, &st, err,
			     "SELECT r.id, t.wave, r.version, t.client, r.fix, t.state FROM rollout r"
			     " JOIN rollout_target t ON t.rollout_id = r.id"
			     " JOIN offer o ON o.client = t.client AND o.fix = r.fix AND o.open = 1 AND o.who = ?"
			     " LEFT JOIN ledger l ON l.client = t.client AND l.fix = r.fix"
			     " WHERE r.id = ? AND t.state = 'offered' AND (COALESCE(l.status, '') <> 'in-progress'"
			     " OR COALESCE(l.state, '') IN ('offered', 'queued')) ORDER BY t.client LIMIT ?",
			     "sii", who, w->id, (int64_t)w->limit);
	if (rc == 0)
		rc = targets_read(store, st, w->limit, &list, err);
	for (size_t i = 0; i < list.n && rc == 0; i++)
		rc = cancel_one(store, w, &list.items[i], again ? FG_TARGET_WAITING : FG_TARGET_CANCELLED, reason, err);
	free(list.items);
	*n = list.n;
	return rc;
}

int fg_store_rollout_cancel(struct fg_store *store, const struct fg_store_rollout_work *w, bool again,
			    const char *reason, size_t *n, struct fg_error *err)
{
	size_t count = 0;
	int rc = fg_db_begin(&store->db, err);

	if (rc < 0)
		return rc;
	rc = fg_db_end(&store->db, cancel(store, w, again, reason, &count, err), err);
	if (rc == 0)
		*n = count;
	return rc;
}

/* ---- by time ---- */

static int expire(struct fg_store *store, const struct fg_store_rollout_work *w, int64_t before_ms, size_t *n,
		  struct fg_error *err)
{
	static const char why[] = "no end in time";
	struct targets list = { NULL, 0 };
	fg_autostmt sqlite3_stmt *st = NULL;
	int rc = fg_db_query(&store->db, &st, err,
			     "SELECT r.id, t.wave, r.version, t.client, r.fix, t.state FROM rollout r"
			     " JOIN rollout_target t ON t.rollout_id = r.id WHERE r.id = ? AND"
			     " t.state IN ('offered', 'leaving') AND t.at_ms <= ? LIMIT ?",
			     "iii", w->id, before_ms, (int64_t)w->limit);

	if (rc == 0)
		rc = targets_read(store, st, w->limit, &list, err);
	for (size_t i = 0; i < list.n && rc == 0; i++) {
		enum fg_store_cancelled what = FG_CANCELLED_NONE;
		rc = cancel_offer(store, w, &list.items[i], why, &what, err);
		/* Whatever the host will say: for the rollout this one has failed. */
		if (rc == 0)
			rc = target_set(store, &list.items[i], FG_TARGET_FAILED, why, w->now_ms, err);
	}
	free(list.items);
	*n = list.n;
	return rc;
}

int fg_store_rollout_expire(struct fg_store *store, const struct fg_store_rollout_work *w, int64_t before_ms, size_t *n,
			    struct fg_error *err)
{
	size_t count = 0;
	int rc = fg_db_begin(&store->db, err);

	if (rc < 0)
		return rc;
	rc = fg_db_end(&store->db, expire(store, w, before_ms, &count, err), err);
	if (rc == 0)
		*n = count;
	return rc;
}

int fg_store_rollout_oldest(struct fg_store *store, int64_t id, int64_t *at_ms, struct fg_error *err)
{
	fg_autostmt sqlite3_stmt *st = NULL;
	int rc = fg_db_query(&store->db, &st, err,
			     "SELECT COALESCE(MIN(at_ms), 0) FROM rollout_target WHERE rollout_id = ? AND"
			     " state IN ('offered', 'leaving')",
			     "i", id);

	if (rc == 0)
		rc = fg_db_step(&store->db, st, err);
	if (rc < 0)
		return rc;
	*at_ms = fg_db_int(st, 0);
	return 0;
}

static int retry(struct fg_store *store, int64_t id, bool failed, int64_t now_ms, size_t *n, struct fg_error *err)
{
	int64_t moved[FG_ROLLOUT_WAVES_MAX] = { 0 }, total = 0;
	fg_autostmt sqlite3_stmt *st = NULL;
	int rc = fg_db_query(&store->db, &st, err,
			     "SELECT wave, n FROM rollout_wave WHERE rollout_id = ? AND n > 0 AND (state = 'cancelled'"
			     " OR (? = 1 AND state IN ('failed', 'skipped')))",
			     "ii", id, (int64_t)failed);

	while (rc == 0 && (rc = fg_db_step(&store->db, st, err)) > 0) {
		moved[fg_db_int(st, 0) % FG_ROLLOUT_WAVES_MAX] += fg_db_int(st, 1);
		total += fg_db_int(st, 1);
		rc = 0;
	}
	for (int64_t w = 0; w < FG_ROLLOUT_WAVES_MAX && rc == 0; w++)
		if (moved[w])
			rc = fg_sqlite_wave_count(store, id, w, FG_TARGET_WAITING, moved[w], err);
	if (rc == 0)
		rc = fg_db_run(&store->db, err,
			       "UPDATE rollout_wave SET n = 0 WHERE rollout_id = ? AND (state = 'cancelled'"
			       " OR (? = 1 AND state IN ('failed', 'skipped')))",
			       "ii", id, (int64_t)failed);
	if (rc == 0)
		rc = fg_db_run(
			&store->db, err,
			"UPDATE rollout_target SET state = 'waiting', reason = NULL, at_ms = ? WHERE"
			" rollout_id = ? AND (state = 'cancelled' OR (? = 1 AND state IN ('failed', 'skipped')))",
			"iii", now_ms, id, (int64_t)failed);
	*n = (size_t)total;
	return rc;
}

int fg_store_rollout_retry(struct fg_store *store, int64_t id, bool failed, int64_t now_ms, size_t *n,
			   struct fg_error *err)
{
	size_t count = 0;
	int rc = fg_db_begin(&store->db, err);

	if (rc < 0)
		return rc;
	rc = fg_db_end(&store->db, retry(store, id, failed, now_ms, &count, err), err);
	if (rc == 0)
		*n = count;
	return rc;
}

/* ---- reports ---- */

static enum fg_target_state state_after(const struct target *t, enum fg_state state, bool running)
{
	switch (state) {
	case FG_STATE_DONE:
	case FG_STATE_NOT_NEEDED:
		return FG_TARGET_OK;
	case FG_STATE_REJECTED:
		if (t->state == FG_TARGET_LEAVING)
			return running ? FG_TARGET_WAITING : FG_TARGET_CANCELLED;
		return FG_TARGET_FAILED;
	case FG_STATE_FAILED:
	case FG_STATE_ROLLED_BACK:
	case FG_STATE_HELD:
		return FG_TARGET_FAILED;
	case FG_STATE_OFFERED:
	case FG_STATE_QUEUED:
	case FG_STATE_ISOLATED:
	case FG_STATE_STOPPED:
	case FG_STATE_FIXING:
	case FG_STATE_FIXED:
	case FG_STATE_RELEASED:
	case FG_STATE_REBOOTING:
	case FG_STATE_COUNT:
		break;
	}
	return t->state;
}

#define ROLLOUTS_OF_A_CLIENT 64

int fg_sqlite_rollouts_reported(struct fg_store *store, const char *client, const char *fix, int64_t version,
				enum fg_state state, const char *reason, int64_t now_ms, struct fg_error *err)
{
	struct targets list = { NULL, 0 };
	fg_autofree char *why = fg_asprintf("%s%s%s", fg_state_name(state), reason ? ": " : "", reason ? reason : "");
	fg_autostmt sqlite3_stmt *st = NULL;
	/* One that failed (held, for instance) may still end well while its rollout goes on. */
	int rc = fg_db_query(&store->db, &st, err,
			     "SELECT r.id, t.wave, CASE WHEN r.state = 'running' THEN 1 ELSE 0 END, t.client, r.fix,"
			     " t.state FROM rollout_target t JOIN rollout r ON r.id = t.rollout_id WHERE t.client = ?1"
			     " AND r.fix = ?2 AND r.version <= ?3 AND (t.state IN ('offered', 'leaving') OR"
			     " (t.state = 'failed' AND r.state NOT IN ('done', 'cancelled')))",
			     "ssi", client, fix, version);

	if (rc == 0)
		rc = targets_read(store, st, ROLLOUTS_OF_A_CLIENT, &list, err);
	for (size_t i = 0; i < list.n && rc == 0; i++) {
		struct target *t = &list.items[i];
		enum fg_target_state after = state_after(t, state, t->version != 0);
		if (after == t->state)
			continue;
		rc = target_set(store, t, after, why, now_ms, err);
		store->rollouts_touched = true;
	}
	free(list.items);
	return rc;
}

int fg_sqlite_rollouts_cancelled(struct fg_store *store, const char *client, const char *fix, bool asked,
				 const char *reason, int64_t now_ms, struct fg_error *err)
{
	struct targets list = { NULL, 0 };
	fg_autostmt sqlite3_stmt *st = NULL;
	int rc = fg_db_query(&store->db, &st, err,
			     "SELECT r.id, t.wave, r.version, t.client, r.fix, t.state FROM rollout_target t"
			     " JOIN rollout r ON r.id = t.rollout_id WHERE t.client = ? AND r.fix = ? AND"
			     " t.state = 'offered'",
			     "ss", client, fix);

	if (rc == 0)
		rc = targets_read(store, st, ROLLOUTS_OF_A_CLIENT, &list, err);
	for (size_t i = 0; i < list.n && rc == 0; i++) {
		rc = target_set(store, &list.items[i], asked ? FG_TARGET_LEAVING : FG_TARGET_CANCELLED, reason, now_ms,
				err);
		store->rollouts_touched = true;
	}
	free(list.items);
	return rc;
}
