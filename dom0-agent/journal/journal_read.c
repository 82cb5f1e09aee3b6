/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "journal_private.h"

#include <string.h>

#define JOB_COLUMNS                                                                                                    \
	"SELECT n, id, guest, nonce, name, toolstack, fix, title, digest, head_digest, version, bytes, offer_seq,"     \
	" timeout_s, state, outcome, held_from, reason, snapshot, definition, was, merged, attempts, created_ms,"      \
	" changed_ms, not_applicable FROM jobs "

static char *text_at(sqlite3_stmt *s, int column)
{
	return fg_strdup((const char *)sqlite3_column_text(s, column));
}

static enum fg_state state_at(sqlite3_stmt *s, int column)
{
	const char *name = (const char *)sqlite3_column_text(s, column);

	return name ? fg_state_from_name(name) : FG_STATE_NONE;
}

static void copy_at(sqlite3_stmt *s, int column, char *out, size_t size)
{
	snprintf(out, size, "%s", (const char *)sqlite3_column_text(s, column));
}

static struct fg_job_record *read_job(sqlite3_stmt *s)
{
	struct fg_job_record *r = fg_calloc(1, sizeof(*r));

	r->n = sqlite3_column_int64(s, 0);
	copy_at(s, 1, r->id, sizeof(r->id));
	copy_at(s, 2, r->guest, sizeof(r->guest));
	copy_at(s, 3, r->nonce, sizeof(r->nonce));
	r->name = text_at(s, 4);
	r->toolstack = text_at(s, 5);
	r->fix = text_at(s, 6);
	r->title = text_at(s, 7);
	r->digest = text_at(s, 8);
	r->head_digest = text_at(s, 9);
	r->version = (uint64_t)sqlite3_column_int64(s, 10);
	r->bytes = (uint64_t)sqlite3_column_int64(s, 11);
	r->offer_seq = sqlite3_column_int64(s, 12);
	r->timeout_s = (uint32_t)sqlite3_column_int64(s, 13);
	r->state = state_at(s, 14);
	r->outcome = state_at(s, 15);
	r->held_from = state_at(s, 16);
	r->reason = text_at(s, 17);
	r->snapshot = text_at(s, 18);
	r->definition = text_at(s, 19);
	r->was = text_at(s, 20);
	r->merged = sqlite3_column_int(s, 21) != 0;
	r->attempts = (uint32_t)sqlite3_column_int64(s, 22);
	r->created_ms = sqlite3_column_int64(s, 23);
	r->changed_ms = sqlite3_column_int64(s, 24);
	r->not_applicable = sqlite3_column_int(s, 25) != 0;
	return r;
}

int fg_journal_job(struct fg_journal *j, const char *id, struct fg_job_record **out, struct fg_error *err)
{
	fg_autostmt sqlite3_stmt *s = NULL;
	int rc = fg_journal_prepare(j, &s, err, JOB_COLUMNS "WHERE id=?1");

	if (rc < 0)
		return rc;
	sqlite3_bind_text(s, 1, id, -1, SQLITE_STATIC);
	switch (sqlite3_step(s)) {
	case SQLITE_ROW:
		*out = read_job(s);
		return 0;
	case SQLITE_DONE:
		return fg_error_set(err, FG_ENOTFOUND, "there is no job %.60s", id);
	default:
		return fg_journal_error(j, "job", err);
	}
}

void fg_journal_jobs_free(struct fg_job_record **jobs, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		fg_job_record_release(jobs[i]);
		free(jobs[i]);
	}
	free(jobs);
}

int fg_journal_jobs(struct fg_journal *j, enum fg_journal_which which, struct fg_job_record ***out, size_t *n,
		    struct fg_error *err)
{
	static const char open_jobs[] =
		JOB_COLUMNS "WHERE state IN ('offered', 'queued', 'isolated', 'stopped', 'fixing', 'fixed', 'released',"
			    " 'rebooting', 'held') ORDER BY n";
	static const char all_jobs[] = JOB_COLUMNS "ORDER BY n DESC LIMIT 1000";
	fg_autostmt sqlite3_stmt *s = NULL;
	struct fg_job_record **jobs = NULL;
	size_t count = 0;
	int step, rc = fg_journal_prepare(j, &s, err, which == FG_JOBS_OPEN ? open_jobs : all_jobs);

	if (rc < 0)
		return rc;
	while ((step = sqlite3_step(s)) == SQLITE_ROW) {
		struct fg_job_record **more = realloc(jobs, (count + 1) * sizeof(*jobs));
		if (!more)
			abort();
		jobs = more;
		jobs[count++] = read_job(s);
	}
	if (step != SQLITE_DONE) {
		fg_journal_jobs_free(jobs, count);
		return fg_journal_error(j, "jobs", err);
	}
	*out = jobs;
	*n = count;
	return 0;
}

static json_t *text_json(sqlite3_stmt *s, int column)
{
	const char *text = (const char *)sqlite3_column_text(s, column);

	return text ? json_string(text) : json_null();
}

/* Rows as objects: the columns' names are the keys. */
static int read_rows(struct fg_journal *j, sqlite3_stmt *s, json_t **out, struct fg_error *err)
{
	fg_autojson json_t *rows = json_array();
	int step;

	while ((step = sqlite3_step(s)) == SQLITE_ROW) {
		json_t *row = json_object();
		for (int i = 0; i < sqlite3_column_count(s); i++) {
			bool number = sqlite3_column_type(s, i) == SQLITE_INTEGER;
			json_object_set_new(row, sqlite3_column_name(s, i),
					    number ? json_integer(sqlite3_column_int64(s, i)) : text_json(s, i));
		}
		json_array_append_new(rows, row);
	}
	if (step != SQLITE_DONE)
		return fg_journal_error(j, "read", err);
	*out = FG_TAKE(rows);
	return 0;
}

int fg_journal_steps(struct fg_journal *j, const char *job, json_t **out, struct fg_error *err)
{
	fg_autostmt sqlite3_stmt *s = NULL;
	int rc = fg_journal_prepare(j, &s, err, "SELECT at_ms, kind, what, reason FROM steps WHERE job=?1 ORDER BY n");

	if (rc < 0)
		return rc;
	sqlite3_bind_text(s, 1, job, -1, SQLITE_STATIC);
	return read_rows(j, s, out, err);
}

int fg_journal_events(struct fg_journal *j, json_t **out, struct fg_error *err)
{
	static const char sql[] =
		"SELECT at_ms, job, guest, uuid, fix, state, reason FROM (SELECT s.n AS n, s.at_ms AS at_ms, s.job AS "
		"job,"
		" coalesce(j.name, '') AS guest, j.guest AS uuid, j.fix AS fix, s.what AS state, s.reason AS reason"
		" FROM steps s JOIN jobs j ON j.id = s.job WHERE s.kind = 'state' ORDER BY s.n DESC LIMIT 5000) ORDER "
		"BY n";
	fg_autostmt sqlite3_stmt *s = NULL;
	int rc = fg_journal_prepare(j, &s, err, sql);

	return rc < 0 ? rc : read_rows(j, s, out, err);
}

/* Bodies of a table whose statement yields them in column 0. */
static int read_bodies(struct fg_journal *j, sqlite3_stmt *s, json_t **out, struct fg_error *err)
{
	fg_autojson json_t *list = json_array();
	int step;

	while ((step = sqlite3_step(s)) == SQLITE_ROW) {
		json_t *body = NULL;
		int rc = fg_json_parse((const char *)sqlite3_column_text(s, 0), (size_t)sqlite3_column_bytes(s, 0),
				       &body, err);
		if (rc < 0)
			return rc;
		json_array_append_new(list, body);
	}
	if (step != SQLITE_DONE)
		return fg_journal_error(j, "read", err);
	*out = FG_TAKE(list);
	return 0;
}

int fg_journal_outbox(struct fg_journal *j, int64_t after, size_t max, json_t **out, struct fg_error *err)
{
	fg_autostmt sqlite3_stmt *s = NULL;
	int rc = fg_journal_prepare(j, &s, err, "SELECT body FROM outbox WHERE seq > ?1 ORDER BY seq LIMIT ?2");

	if (rc < 0)
		return rc;
	sqlite3_bind_int64(s, 1, after);
	sqlite3_bind_int64(s, 2, (int64_t)max);
	return read_bodies(j, s, out, err);
}

int fg_journal_inbox(struct fg_journal *j, json_t **out, struct fg_error *err)
{
	fg_autostmt sqlite3_stmt *s = NULL;
	int rc = fg_journal_prepare(j, &s, err, "SELECT body FROM inbox ORDER BY seq");

	return rc < 0 ? rc : read_bodies(j, s, out, err);
}

/* One number, or 0 where there is no row; up to two text keys. */
static int read_number(struct fg_journal *j, const char *sql, const char *a, const char *b, int64_t *out,
		       struct fg_error *err)
{
	fg_autostmt sqlite3_stmt *s = NULL;
	int rc = fg_journal_prepare(j, &s, err, sql);

	if (rc < 0)
		return rc;
	if (a)
		sqlite3_bind_text(s, 1, a, -1, SQLITE_STATIC);
	if (b)
		sqlite3_bind_text(s, 2, b, -1, SQLITE_STATIC);
	switch (sqlite3_step(s)) {
	case SQLITE_ROW:
		*out = sqlite3_column_int64(s, 0);
		return 0;
	case SQLITE_DONE:
		*out = 0;
		return 0;
	default:
		return fg_journal_error(j, sql, err);
	}
}

int fg_journal_cursors(struct fg_journal *j, int64_t *cursor, int64_t *acked, struct fg_error *err)
{
	int rc = read_number(j, "SELECT value FROM meta WHERE key='cursor'", NULL, NULL, cursor, err);

	return rc < 0 ? rc : read_number(j, "SELECT value FROM meta WHERE key='acked'", NULL, NULL, acked, err);
}

int fg_journal_given(struct fg_journal *j, const char *guest, const char *fix, uint64_t *version, struct fg_error *err)
{
	int64_t value = 0;
	int rc = read_number(j, "SELECT max(version) FROM ledger WHERE guest=?1 AND fix=?2", guest, fix, &value, err);

	if (rc == 0)
		*version = (uint64_t)value;
	return rc;
}

int fg_journal_counter(struct fg_journal *j, const char *fix, uint64_t *version, struct fg_error *err)
{
	int64_t value = 0;
	int rc = read_number(j, "SELECT version FROM counters WHERE fix=?1", fix, NULL, &value, err);

	if (rc == 0)
		*version = (uint64_t)value;
	return rc;
}

int fg_journal_catalogue(struct fg_journal *j, struct fg_catalogue_mark *mark, struct fg_error *err)
{
	int64_t generation = 0, version = 0;
	int rc = read_number(j, "SELECT generation FROM catalogue WHERE id=1", NULL, NULL, &generation, err);

	if (rc == 0)
		rc = read_number(j, "SELECT version FROM catalogue WHERE id=1", NULL, NULL, &version, err);
	if (rc == 0)
		*mark = (struct fg_catalogue_mark){ (uint64_t)generation, (uint64_t)version };
	return rc;
}

int fg_journal_name(struct fg_journal *j, char **name, struct fg_error *err)
{
	fg_autostmt sqlite3_stmt *s = NULL;
	int rc = fg_journal_prepare(j, &s, err, "SELECT name FROM name WHERE id=1");

	if (rc < 0)
		return rc;
	if (sqlite3_step(s) != SQLITE_ROW)
		return fg_journal_error(j, "name", err);
	*name = text_at(s, 0);
	return 0;
}

int fg_journal_operator(struct fg_journal *j, const char *guest, bool *out, struct fg_error *err)
{
	int64_t value = 0;
	int rc = read_number(j, "SELECT 1 FROM operator WHERE guest=?1", guest, NULL, &value, err);

	if (rc == 0)
		*out = value != 0;
	return rc;
}

int fg_journal_guest_name(struct fg_journal *j, const char *guest, char **name, struct fg_error *err)
{
	fg_autostmt sqlite3_stmt *s = NULL;
	int step, rc = fg_journal_prepare(
			  j, &s, err,
			  "SELECT name FROM jobs WHERE guest=?1 AND name IS NOT NULL ORDER BY n DESC LIMIT 1");

	if (rc < 0)
		return rc;
	sqlite3_bind_text(s, 1, guest, -1, SQLITE_STATIC);
	step = sqlite3_step(s);
	if (step != SQLITE_ROW && step != SQLITE_DONE)
		return fg_journal_error(j, "name", err);
	*name = step == SQLITE_ROW ? text_at(s, 0) : NULL;
	return 0;
}
