/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "store_kit.h"

#include <check.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <string.h>
#include <test/folder.h>
#include <unistd.h>

struct fg_store *store;
char store_path[128];
static char dir[64];
static int64_t seq;

struct fg_store_guest kit_guest(const char *uuid, const char *name, const char *state)
{
	return (struct fg_store_guest){ .uuid = uuid,
					.name = name,
					.toolstack = "xl",
					.state = state,
					.identity = "config",
					.nics = "[{\"mac\":\"00:16:3e:00:00:01\"}]" };
}

void kit_fix_as(const char *id, int64_t version, const char *digest)
{
	struct fg_store_fix f = { .id = id,
				  .digest = digest,
				  .title = "title",
				  .severity = "critical",
				  .version = version,
				  .bytes = 10,
				  .published_s = 1,
				  .expires_s = NOW,
				  .added_ms = NOW };
	bool added = false;

	ck_assert_int_eq(fg_store_fix_add(store, &f, "admin", &added, NULL), 0);
	ck_assert(added);
}

void kit_fix(const char *id, int64_t version)
{
	char digest[65];
	uint8_t raw[32];

	fg_random_bytes(raw, sizeof(raw));
	fg_hex_encode(raw, sizeof(raw), digest);
	kit_fix_as(id, version, digest);
}

void kit_setup(void)
{
	struct fg_store_guest list[] = { kit_guest(A, "web1", "running"), kit_guest(B, "db1", "off") };
	size_t taken = 0;

	seq = 0;
	snprintf(dir, sizeof(dir), "/tmp/fg-test-store-XXXXXX");
	test_folder_make(dir);
	snprintf(store_path, sizeof(store_path), "%s/db", dir);
	ck_assert_int_eq(fg_store_create(store_path, &store, NULL), 0);
	ck_assert_int_eq(fg_store_inventory(store, "h1", list, 2, NOW, &taken, NULL), 0);
	kit_fix_as("fix-1", 1, KIT_DIGEST);
}

void kit_reopen(void)
{
	fg_store_close(store);
	ck_assert_int_eq(fg_store_open(store_path, &store, NULL), 0);
}

void kit_teardown(void)
{
	static const char *const ends[] = {
		"", "-wal", "-shm", ".copy", ".before-restore", ".before-restore-wal", "-journal"
	};
	struct fg_error err = FG_ERROR_INIT;
	int64_t n = 0;

	if (store) {
		ck_assert_msg(fg_store_recount(store, &err) == 0, "%s", err.text);
		ck_assert_msg(fg_store_audit_verify(store, &n, NULL, &err) == 0, "%s", err.text);
	}
	fg_store_close(store);
	store = NULL;
	for (size_t i = 0; i < FG_COUNT(ends); i++) {
		char name[160];
		snprintf(name, sizeof(name), "%s%s", store_path, ends[i]);
		unlink(name);
	}
	ck_assert_int_eq(rmdir(dir), 0);
}

static void on_skipped(const char *g, const char *reason, enum fg_error_code code, void *arg)
{
	(void)g, (void)reason, (void)code, (void)arg;
}
static void on_offered(const char *g, const char *host, void *arg)
{
	(void)g, (void)host;
	++*(int *)arg;
}

int kit_offer(const char *id, const char *guest)
{
	const char *const names[] = { guest };
	int n = 0;
	struct fg_store_offer_request r = { .fix = id,
					    .who = "admin",
					    .now_ms = NOW,
					    .guests = guest ? names : NULL,
					    .n_guests = guest ? 1 : 0,
					    .skipped = on_skipped,
					    .offered = on_offered,
					    .arg = &n };

	ck_assert_int_eq(fg_store_offer(store, &r, NULL), 0);
	return n;
}

static void on_refused(int64_t n, const char *why, void *arg)
{
	(void)arg;
	ck_abort_msg("report %" PRId64 " is refused: %s", n, why);
}

void kit_report(const char *guest, const char *fix, int64_t version, enum fg_state state)
{
	char job[FG_JOB_ID_MAX];
	seq++;
	struct fg_store_report r = {
		.seq = seq, .version = version, .at_ms = NOW, .job = job, .guest = guest, .fix = fix, .state = state
	};
	int64_t acked = 0;

	snprintf(job, sizeof(job), "job-%.4s-%s-%" PRId64, guest, fix, version);
	ck_assert_int_eq(fg_store_reports(store, "h1", "", &r, 1, NOW + seq, on_refused, NULL, &acked, NULL), 0);
	ck_assert_int_eq(acked, seq);
}

static char seen[1024];

static void on_offer(const struct fg_store_offer *o, void *arg)
{
	size_t len = strlen(seen);

	(void)arg;
	snprintf(seen + len, sizeof(seen) - len, "%s%" PRId64 ":%.4s:%s:%" PRId64 " ", o->cancels ? "x" : "",
		 o->cancels ? o->cancels : o->seq, o->guest, o->fix, o->version);
}

const char *kit_poll(const char *host, int64_t cursor, int64_t *next)
{
	int64_t unused = 0;

	seen[0] = '\0';
	ck_assert_int_eq(fg_store_offers_after(store, host, cursor, 100, on_offer, NULL, next ? next : &unused, NULL),
			 0);
	return seen;
}

void kit_sql(const char *path, const char *sql)
{
	sqlite3 *db = NULL;
	char *text = NULL;

	ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
	ck_assert_msg(sqlite3_exec(db, sql, NULL, NULL, &text) == SQLITE_OK, "%s: %s", sql, text ? text : "");
	sqlite3_close(db);
}

int64_t kit_number(const char *path, const char *sql)
{
	sqlite3 *db = NULL;
	sqlite3_stmt *st = NULL;

	ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
	ck_assert_int_eq(sqlite3_prepare_v2(db, sql, -1, &st, NULL), SQLITE_OK);
	ck_assert_int_eq(sqlite3_step(st), SQLITE_ROW);
	int64_t n = sqlite3_column_int64(st, 0);
	sqlite3_finalize(st);
	sqlite3_close(db);
	return n;
}

static char status[256];

static bool on_client(const struct fg_store_client *row, void *arg)
{
	if (!strcmp(row->uuid, arg))
		snprintf(status, sizeof(status), "%s %s", row->fix ? row->status : "-",
			 row->job_state ? row->job_state : "-");
	return true;
}

const char *kit_status(const char *uuid)
{
	struct fg_store_filter all = { .status = NULL };

	status[0] = '\0';
	ck_assert_int_eq(fg_store_clients(store, &all, "", on_client, (void *)(uintptr_t)uuid, NULL), 0);
	return status;
}
