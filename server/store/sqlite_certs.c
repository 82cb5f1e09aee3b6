/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Certificates, revocation, one-time codes. */
#include "certs.h"
#include "sqlite.h"

#include <inttypes.h>
#include <string.h>

#define CODE_KEPT_MS (24 * 3600 * 1000ll) /* after its end, so that a retry gets a clear answer */

static int cert_insert(struct fg_store *store, const struct fg_store_cert *cert, const char *who, const char *what,
		       struct fg_error *err)
{
	char until[21];
	int rc =
		fg_db_run(&store->db, err,
			  "INSERT INTO certificate (serial, role, name, not_after_s, issued_ms) VALUES (?, ?, ?, ?, ?)",
			  "sssii", cert->serial, cert->role, cert->name, cert->not_after_s, cert->issued_ms);

	if (rc < 0)
		return rc;
	fg_time_format(cert->not_after_s, until);
	return fg_sqlite_audit(store, cert->issued_ms, who, what, err, "%s %s: certificate %s until %s", cert->role,
			       cert->name, cert->serial, until);
}

int fg_store_cert_add(struct fg_store *store, const struct fg_store_cert *cert, const char *who, const char *what,
		      struct fg_error *err)
{
	int rc = fg_db_begin(&store->db, err);

	if (rc < 0)
		return rc;
	return fg_db_end(&store->db, cert_insert(store, cert, who, what, err), err);
}

static int cert_look(struct fg_store *store, const char *serial, const char *role, const char *name,
		     struct fg_error *err)
{
	fg_autostmt sqlite3_stmt *known = NULL;
	fg_autostmt sqlite3_stmt *any = NULL;
	int rc = fg_db_query(&store->db, &known, err,
			     "SELECT revoked_ms FROM certificate WHERE serial = ? AND role = ? AND name = ?", "sss",
			     serial, role, name);

	if (rc == 0)
		rc = fg_db_step(&store->db, known, err);
	if (rc < 0)
		return rc;
	if (rc > 0) {
		if (sqlite3_column_type(known, 0) == SQLITE_NULL)
			return 0;
		return fg_error_set(err, FG_ENOTALLOWED, "the certificate was revoked");
	}
	rc = fg_db_query(&store->db, &any, err,
			 "SELECT 1 FROM certificate WHERE role = ? AND name = ? AND revoked_ms IS NOT NULL LIMIT 1",
			 "ss", role, name);
	if (rc == 0)
		rc = fg_db_step(&store->db, any, err);
	return rc > 0 ? fg_error_set(err, FG_ENOTALLOWED, "the certificate was revoked") : rc;
}

int fg_store_cert_check(struct fg_store *store, const char *serial, const char *role, const char *name,
			struct fg_error *err)
{
	int64_t values[2] = { 0, 0 };
	uint64_t moment = fg_memo_moment(&store->memo, &store->db);
	char key[FG_MEMO_KEY];

	fg_memo_key(key, 'c', serial, role, name);
	if (fg_memo_get(&store->memo, moment, key, values)) /* only what is allowed is remembered */
		return 0;
	int rc = cert_look(store, serial, role, name, err);
	if (rc == 0)
		fg_memo_put(&store->memo, moment, key, values);
	return rc;
}

/* A row that stands for certificates that the store never saw. */
static int tombstone(struct fg_store *store, const char *role, const char *name, int64_t now_ms, struct fg_error *err)
{
	fg_autofree char *serial = fg_asprintf("-%s-%s", role, name);

	return fg_db_run(&store->db, err,
			 "INSERT INTO certificate (serial, role, name, not_after_s, issued_ms, revoked_ms)"
			 " VALUES (?1, ?2, ?3, 0, ?4, ?4) ON CONFLICT (serial) DO NOTHING",
			 "sssi", serial, role, name, now_ms);
}

/* What a host that was revoked could still do: enrol with a code, fetch with a token, hold or get a guest. */
static int host_end(struct fg_store *store, const char *name, int64_t now_ms, struct fg_error *err)
{
	fg_autostmt sqlite3_stmt *st = NULL;
	int rc = fg_db_run(&store->db, err, "DELETE FROM enrolment WHERE host = ? AND used_ms IS NULL", "s", name);

	if (rc == 0)
		rc = fg_db_query(&store->db, &st, err, "SELECT id FROM host WHERE name = ?", "s", name);
	if (rc == 0)
		rc = fg_db_step(&store->db, st, err);
	if (rc <= 0)
		return rc;
	int64_t id = fg_db_int(st, 0);
	rc = fg_db_run(&store->db, err, "DELETE FROM token WHERE host_id = ?", "i", id);
	if (rc == 0)
		rc = fg_db_run(&store->db, err, "DELETE FROM claim WHERE host_id = ?", "i", id);
	return rc < 0 ? rc : fg_sqlite_claims_settle(store, id, now_ms, err);
}

static int revoke(struct fg_store *store, const char *role, const char *name, const char *who, int64_t now_ms,
		  int64_t *n, struct fg_error *err)
{
	int rc = fg_db_run(&store->db, err,
			   "UPDATE certificate SET revoked_ms = ? WHERE role = ? AND name = ? AND revoked_ms IS NULL",
			   "iss", now_ms, role, name);

	if (rc < 0)
		return rc;
	*n = sqlite3_changes(store->db.handle);
	rc = tombstone(store, role, name, now_ms, err);
	if (rc == 0 && !strcmp(role, "agent"))
		rc = host_end(store, name, now_ms, err);
	if (rc < 0)
		return rc;
	return fg_sqlite_audit(store, now_ms, who, "revoke", err, "%s %s: %" PRId64 " certificates", role, name, *n);
}

int fg_store_revoke(struct fg_store *store, const char *role, const char *name, const char *who, int64_t now_ms,
		    int64_t *n, struct fg_error *err)
{
	int64_t count = 0;
	int rc = fg_db_begin(&store->db, err);

	if (rc < 0)
		return rc;
	rc = fg_db_end(&store->db, revoke(store, role, name, who, now_ms, &count, err), err);
	if (rc == 0)
		*n = count;
	return rc;
}

int fg_store_certs(struct fg_store *store, fg_store_cert_fn fn, void *arg, struct fg_error *err)
{
	fg_autostmt sqlite3_stmt *st = NULL;
	int rc = fg_db_query(
		&store->db, &st, err,
		"SELECT serial, role, name, not_after_s, issued_ms, COALESCE(revoked_ms, 0) FROM certificate"
		" WHERE not_after_s > 0 ORDER BY role, name, issued_ms, serial",
		"");

	if (rc < 0)
		return rc;
	while ((rc = fg_db_step(&store->db, st, err)) > 0) {
		struct fg_store_cert cert = { fg_db_text(st, 0), fg_db_text(st, 1), fg_db_text(st, 2),
					      fg_db_int(st, 3),	 fg_db_int(st, 4),  fg_db_int(st, 5) };
		fn(&cert, arg);
	}
	return rc;
}

/* ---- one-time codes ---- */

static int code_add(struct fg_store *store, const char *hash, const char *host, const char *who, int64_t now_ms,
		    int64_t expires_ms, struct fg_error *err)
{
	char until[21];
	int rc = fg_db_run(&store->db, err, "DELETE FROM enrolment WHERE expires_ms < ?", "i", now_ms - CODE_KEPT_MS);

	if (rc == 0)
		rc = fg_db_run(&store->db, err,
			       "INSERT INTO enrolment (hash, host, made_ms, expires_ms) VALUES (?, ?, ?, ?)", "ssii",
			       hash, host, now_ms, expires_ms);
	if (rc < 0)
		return rc;
	fg_time_format(expires_ms / 1000, until);
	return fg_sqlite_audit(store, now_ms, who, "code", err, "host %s: one-time code until %s", host, until);
}

int fg_store_code_add(struct fg_store *store, const char *hash, const char *host, const char *who, int64_t now_ms,
		      int64_t expires_ms, struct fg_error *err)
{
	int rc = fg_db_begin(&store->db, err);

	if (rc < 0)
		return rc;
	return fg_db_end(&store->db, code_add(store, hash, host, who, now_ms, expires_ms, err), err);
}

/* 1: not used yet, 0: used by this very key (*pem, where asked for). */
static int code_look(struct fg_store *store, const char *hash, const char *key_hash, int64_t now_ms, char **host,
		     char **pem, struct fg_error *err)
{
	fg_autostmt sqlite3_stmt *st = NULL;
	int rc =
		fg_db_query(&store->db, &st, err,
			    "SELECT host, expires_ms, key_hash, pem, made_ms FROM enrolment WHERE hash = ?", "s", hash);

	if (rc == 0)
		rc = fg_db_step(&store->db, st, err);
	if (rc < 0)
		return rc;
	const char *key = rc > 0 ? fg_db_text(st, 2) : NULL;
	if (rc == 0 || fg_db_int(st, 1) <= now_ms || fg_db_int(st, 4) > now_ms + FG_STORE_FUTURE_MS ||
	    (key && key_hash && strcmp(key, key_hash) != 0))
		return fg_error_set(err, FG_ENOTALLOWED, "the code is unknown, has expired or was used");
	if (host)
		*host = fg_strdup(fg_db_text(st, 0));
	if (key && pem)
		*pem = fg_strdup(fg_db_text(st, 3));
	return key ? 0 : 1;
}

int fg_store_code_check(struct fg_store *store, const char *hash, int64_t now_ms, struct fg_error *err)
{
	int rc = code_look(store, hash, NULL, now_ms, NULL, NULL, err);

	return rc < 0 ? rc : 0;
}

static int code_use(struct fg_store *store, const char *hash, const char *key_hash, int64_t now_ms,
		    fg_store_issue_fn issue, void *arg, char **pem, struct fg_error *err)
{
	struct fg_store_cert cert = { .role = "agent", .issued_ms = now_ms };
	fg_autofree char *host = NULL;
	int rc = code_look(store, hash, key_hash, now_ms, &host, pem, err);

	if (rc <= 0)
		return rc;
	cert.name = host;
	rc = issue(host, &cert, pem, arg, err);
	if (rc == 0)
		rc = cert_insert(store, &cert, host, "enrol", err);
	if (rc == 0)
		rc = fg_db_run(&store->db, err,
			       "UPDATE enrolment SET used_ms = ?, key_hash = ?, pem = ? WHERE hash = ?", "isss", now_ms,
			       key_hash, *pem, hash);
	return rc;
}

int fg_store_code_use(struct fg_store *store, const char *hash, const char *key_hash, int64_t now_ms,
		      fg_store_issue_fn issue, void *arg, char **pem, struct fg_error *err)
{
	fg_autofree char *made = NULL;
	int rc = fg_db_begin(&store->db, err);

	if (rc < 0)
		return rc;
	rc = fg_db_end(&store->db, code_use(store, hash, key_hash, now_ms, issue, arg, &made, err), err);
	if (rc == 0)
		*pem = FG_TAKE(made);
	return rc;
}
