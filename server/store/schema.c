/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The database's tables, step by step.  lint: table */
#include "schema.h"

#include <inttypes.h>
#include <lib/util.h>

/*
 * migrations[n] brings schema n to n + 1.  Never edit one that was released: append.
 * offer.seq and audit.n are AUTOINCREMENT: a number is never given twice, also after a row was deleted.
 */
static const char *const migrations[] = {
	"CREATE TABLE host (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, first_seen_ms BIGINT NOT NULL,"
	"  last_seen_ms BIGINT NOT NULL);"
	"CREATE TABLE client (uuid TEXT PRIMARY KEY, name TEXT NOT NULL, host_id BIGINT NOT NULL REFERENCES host(id),"
	"  toolstack TEXT NOT NULL, state TEXT NOT NULL, identity TEXT NOT NULL, nics TEXT NOT NULL,"
	"  present INTEGER NOT NULL, first_seen_ms BIGINT NOT NULL, last_seen_ms BIGINT NOT NULL) WITHOUT ROWID;"
	"CREATE INDEX client_by_host ON client(host_id);"
	"CREATE INDEX client_by_name ON client(name);"
	"CREATE TABLE fix (id TEXT NOT NULL, version BIGINT NOT NULL, digest TEXT NOT NULL UNIQUE, bytes BIGINT NOT "
	"NULL,"
	"  title TEXT NOT NULL, severity TEXT NOT NULL, published_s BIGINT NOT NULL, expires_s BIGINT NOT NULL,"
	"  added_ms BIGINT NOT NULL, added_by TEXT NOT NULL, PRIMARY KEY (id, version)) WITHOUT ROWID;"
	"CREATE TABLE offer (seq INTEGER PRIMARY KEY AUTOINCREMENT, client TEXT NOT NULL REFERENCES client(uuid),"
	"  host_id BIGINT NOT NULL REFERENCES host(id), fix TEXT NOT NULL, version BIGINT NOT NULL, at_ms BIGINT NOT "
	"NULL,"
	"  who TEXT NOT NULL, force INTEGER NOT NULL, open INTEGER NOT NULL);"
	"CREATE INDEX offer_open_by_host ON offer(host_id, seq) WHERE open = 1;"
	"CREATE INDEX offer_open_by_client ON offer(client, fix) WHERE open = 1;"
	"CREATE INDEX offer_open_by_fix ON offer(fix, version) WHERE open = 1;"
	"CREATE TABLE ledger (client TEXT NOT NULL REFERENCES client(uuid), fix TEXT NOT NULL, status TEXT NOT NULL,"
	"  version BIGINT NOT NULL, fixed_version BIGINT NOT NULL, job TEXT NOT NULL, state TEXT, reason TEXT,"
	"  isolator TEXT, at_ms BIGINT NOT NULL, PRIMARY KEY (client, fix)) WITHOUT ROWID;"
	"CREATE INDEX ledger_by_fix ON ledger(fix, status);"
	"CREATE TABLE journal (id INTEGER PRIMARY KEY, host_id BIGINT NOT NULL REFERENCES host(id), name TEXT NOT NULL,"
	"  acked BIGINT NOT NULL, UNIQUE (host_id, name));"
	"CREATE TABLE report (journal_id BIGINT NOT NULL REFERENCES journal(id), seq BIGINT NOT NULL, client TEXT NOT "
	"NULL,"
	"  fix TEXT NOT NULL, version BIGINT NOT NULL, job TEXT NOT NULL, state TEXT NOT NULL, at_ms BIGINT NOT NULL,"
	"  received_ms BIGINT NOT NULL, reason TEXT, evidence TEXT, isolator TEXT, refused TEXT,"
	"  PRIMARY KEY (journal_id, seq)) WITHOUT ROWID;"
	"CREATE INDEX report_by_client ON report(client, received_ms);"
	"CREATE TABLE token (hash TEXT PRIMARY KEY, host_id BIGINT NOT NULL REFERENCES host(id), job TEXT NOT NULL,"
	"  client TEXT NOT NULL, digest TEXT NOT NULL, expires_ms BIGINT NOT NULL) WITHOUT ROWID;"
	"CREATE INDEX token_by_expiry ON token(expires_ms);"
	"CREATE TABLE audit (n INTEGER PRIMARY KEY AUTOINCREMENT, at_ms BIGINT NOT NULL, who TEXT NOT NULL,"
	"  what TEXT NOT NULL, detail TEXT NOT NULL, hash TEXT NOT NULL);",
	/* The catalogue (catalogue.h): what was withdrawn and revoked, head digests of bundles, the last one signed. */
	"CREATE TABLE withdrawn (fix TEXT PRIMARY KEY, version BIGINT NOT NULL, at_ms BIGINT NOT NULL, who TEXT NOT "
	"NULL,"
	"  reason TEXT NOT NULL) WITHOUT ROWID;"
	"CREATE TABLE revoked (key_digest TEXT PRIMARY KEY, name TEXT NOT NULL, at_ms BIGINT NOT NULL, who TEXT NOT "
	"NULL,"
	"  reason TEXT NOT NULL) WITHOUT ROWID;"
	"CREATE TABLE head (bundle TEXT PRIMARY KEY, digest TEXT NOT NULL) WITHOUT ROWID;"
	"CREATE TABLE catalogue (id INTEGER PRIMARY KEY, generation BIGINT NOT NULL, version BIGINT NOT NULL,"
	"  published_s BIGINT NOT NULL, expires_s BIGINT NOT NULL, cms TEXT NOT NULL);",
	"CREATE TABLE certificate (serial TEXT PRIMARY KEY, role TEXT NOT NULL, name TEXT NOT NULL,"
	"  not_after_s BIGINT NOT NULL, issued_ms BIGINT NOT NULL, revoked_ms BIGINT) WITHOUT ROWID;"
	"CREATE INDEX certificate_by_name ON certificate(role, name);"
	"CREATE TABLE enrolment (hash TEXT PRIMARY KEY, host TEXT NOT NULL, made_ms BIGINT NOT NULL,"
	"  expires_ms BIGINT NOT NULL, used_ms BIGINT, key_hash TEXT, pem TEXT) WITHOUT ROWID;",
	/*
	 * 4: counters kept by each write, labels, the guests' systems, cancelled offers, rollouts.
	 * offer.open: 0 = dealt with, 1 = an offer that is open, 2 = the word that offer `cancels` is cancelled.
	 */
	"CREATE TABLE schema_version (version BIGINT PRIMARY KEY, applied_ms BIGINT NOT NULL);"
	"CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL);"
	"CREATE TABLE counter (kind TEXT NOT NULL, name TEXT NOT NULL, word TEXT NOT NULL, n BIGINT NOT NULL,"
	"  PRIMARY KEY (kind, name, word));"
	"INSERT INTO counter SELECT 'ledger', fix, status, COUNT(*) FROM ledger GROUP BY fix, status;"
	"INSERT INTO counter SELECT 'offer', fix, CAST(version AS TEXT), COUNT(*) FROM offer WHERE open = 1"
	"  GROUP BY fix, version;"
	"INSERT INTO counter SELECT 'client', '', CASE WHEN present = 1 THEN 'present' ELSE 'gone' END, COUNT(*)"
	"  FROM client GROUP BY present;"
	"ALTER TABLE client ADD COLUMN os_id TEXT NOT NULL DEFAULT '';"
	"ALTER TABLE client ADD COLUMN os TEXT NOT NULL DEFAULT '';"
	"DROP INDEX client_by_host;"
	"DROP INDEX client_by_name;"
	"CREATE INDEX client_by_host ON client(host_id, uuid);"
	"CREATE INDEX client_by_name ON client(name, uuid);"
	"CREATE INDEX client_by_os_id ON client(os_id, uuid);"
	"CREATE INDEX client_by_os ON client(os, uuid);"
	"CREATE TABLE label (client TEXT NOT NULL REFERENCES client(uuid), name TEXT NOT NULL, value TEXT NOT NULL,"
	"  PRIMARY KEY (client, name));"
	"CREATE INDEX label_by_name ON label(name, client);"
	"CREATE INDEX label_by_value ON label(name, value, client);"
	"DROP INDEX ledger_by_fix;"
	"CREATE INDEX ledger_by_fix ON ledger(fix, client);"
	"CREATE INDEX ledger_by_fix_status ON ledger(fix, status, client);"
	"CREATE INDEX ledger_by_status ON ledger(status, client, fix);"
	"ALTER TABLE offer ADD COLUMN cancels BIGINT;"
	"CREATE INDEX offer_cancelled_by_host ON offer(host_id, seq) WHERE open = 2;"
	"CREATE INDEX offer_cancelled_by_client ON offer(client, fix) WHERE open = 2;"
	"CREATE INDEX offer_by_client ON offer(client, at_ms);"
	"CREATE TABLE rollout (id INTEGER PRIMARY KEY AUTOINCREMENT, fix TEXT NOT NULL, version BIGINT NOT NULL,"
	"  state TEXT NOT NULL, plan TEXT NOT NULL, n_waves BIGINT NOT NULL, wave BIGINT NOT NULL,"
	"  wave_ms BIGINT NOT NULL, reached_ms BIGINT NOT NULL, forgiven BIGINT NOT NULL, reason TEXT,"
	"  created_ms BIGINT NOT NULL, created_by TEXT NOT NULL, approved_by TEXT, changed_ms BIGINT NOT NULL);"
	"CREATE INDEX rollout_by_state ON rollout(state);"
	"CREATE TABLE rollout_wave (rollout_id BIGINT NOT NULL REFERENCES rollout(id), wave BIGINT NOT NULL,"
	"  state TEXT NOT NULL, n BIGINT NOT NULL, PRIMARY KEY (rollout_id, wave, state));"
	"CREATE TABLE rollout_target (rollout_id BIGINT NOT NULL REFERENCES rollout(id), client TEXT NOT NULL"
	"  REFERENCES client(uuid), wave BIGINT NOT NULL, state TEXT NOT NULL, seq BIGINT NOT NULL,"
	"  tries BIGINT NOT NULL, at_ms BIGINT NOT NULL, reason TEXT, PRIMARY KEY (rollout_id, client));"
	"CREATE INDEX rollout_target_by_state ON rollout_target(rollout_id, state, wave, client);"
	"CREATE INDEX rollout_target_by_client ON rollout_target(client, state);",
	/* A host says that it runs a guest which another one runs: as in its inventory, until one of them is right. */
	"CREATE TABLE claim (client TEXT NOT NULL REFERENCES client(uuid), host_id BIGINT NOT NULL REFERENCES host(id),"
	"  name TEXT NOT NULL, toolstack TEXT NOT NULL, state TEXT NOT NULL, identity TEXT NOT NULL, nics TEXT NOT "
	"NULL,"
	"  os_id TEXT, os_version TEXT, at_ms BIGINT NOT NULL, said BIGINT NOT NULL, PRIMARY KEY (client, host_id));"
	"CREATE INDEX claim_by_host ON claim(host_id);",
};

/* PRAGMA user_version too: programs from before the table read it, and must not take a newer schema for theirs. */
int fg_schema_version(struct fg_db *db, int64_t *version, struct fg_error *err)
{
	fg_autostmt sqlite3_stmt *st = NULL;
	int rc = fg_db_query(db, &st, err, "PRAGMA user_version", "");

	if (rc == 0)
		rc = fg_db_step(db, st, err);
	if (rc < 0)
		return rc;
	*version = fg_db_int(st, 0);
	return 0;
}

static int record(struct fg_db *db, int64_t version, struct fg_error *err)
{
	fg_autofree char *pragma = fg_asprintf("PRAGMA user_version = %" PRId64, version);
	int rc = fg_db_exec(db, pragma, err);

	if (rc < 0 || version < FG_SCHEMA_TABLE)
		return rc;
	return fg_db_run(db, err, "INSERT INTO schema_version (version, applied_ms) VALUES (?, ?)", "ii", version,
			 fg_now_ms());
}

int fg_schema_newest(void)
{
	return (int)FG_COUNT(migrations);
}

int fg_schema_migrate_to(struct fg_db *db, int to, struct fg_error *err)
{
	int64_t version = 0, newest = fg_schema_newest();
	int rc = fg_schema_version(db, &version, err);

	if (rc < 0)
		return rc;
	if (version > newest)
		return fg_error_set(err, FG_EDIFFERS, "its schema %" PRId64 " is newer than this program's %" PRId64,
				    version, newest);
	while (version < to) {
		rc = fg_db_begin(db, err);
		if (rc < 0)
			return rc;
		/* Another process may have been faster. */
		rc = fg_schema_version(db, &version, err);
		if (rc == 0 && version < to) {
			rc = fg_db_exec(db, migrations[version], err);
			if (rc == 0)
				rc = record(db, ++version, err);
		}
		rc = fg_db_end(db, rc, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

int fg_schema_migrate(struct fg_db *db, struct fg_error *err)
{
	return fg_schema_migrate_to(db, fg_schema_newest(), err);
}
