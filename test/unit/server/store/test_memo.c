/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the store answers without asking the database is what the database would say. */
#include "store_kit.h"

#include <check.h>
#include <server/store/certs.h>
#include <server/store/sqlite.h>
#include <string.h>

#define ROUNDS 3000

static struct fg_store *other; /* as another process has it */

static void setup(void)
{
	kit_setup();
	ck_assert_int_eq(fg_store_open(store_path, &other, NULL), 0);
}

static void teardown(void)
{
	fg_store_close(other);
	kit_teardown();
}

/* Is the same asked without the database the second time? */
static bool remembered(int (*ask)(void), int expected)
{
	ck_assert_int_eq(ask(), expected);
	uint64_t before = store->memo.hits;
	ck_assert_int_eq(ask(), expected);
	return store->memo.hits > before;
}

static int ask_cert(void)
{
	return fg_store_cert_check(store, "0a", "agent", "h1", NULL);
}

static int ask_offers(void)
{
	int64_t next = 0;

	return kit_poll("h1", 7, &next)[0] ? 1 : 0;
}

static int ask_seen(void)
{
	return fg_store_host_seen(store, "h1", NOW, 1000, NULL);
}

START_TEST(nothing_written_nothing_asked)
{
	int64_t next = 0;

	ck_assert(remembered(ask_cert, 0));
	ck_assert(remembered(ask_offers, 0));
	ck_assert(remembered(ask_seen, 0));
	ck_assert_str_eq(kit_poll("h1", 0, &next), ""); /* another cursor */
	ck_assert_int_eq(next, 0);
	ck_assert_int_eq(kit_offer("fix-1", A), 1);
	ck_assert_str_ne(kit_poll("h1", 0, &next), "");
	uint64_t before = store->memo.hits;
	ck_assert_str_ne(kit_poll("h1", 0, &next), ""); /* an offer is always read */
	ck_assert_uint_eq(store->memo.hits, before);
}
END_TEST

START_TEST(a_revocation_counts_at_once)
{
	int64_t n = 0;

	ck_assert(remembered(ask_cert, 0));
	ck_assert_int_eq(fg_store_revoke(other, "agent", "h1", "admin", NOW, &n, NULL), 0);
	ck_assert_int_eq(ask_cert(), -FG_ENOTALLOWED);
	ck_assert_int_eq(ask_cert(), -FG_ENOTALLOWED);
}
END_TEST

/* Also by those that know nothing of memos; a checkpoint moves what was written from the log into the file. */
START_TEST(other_writers_are_seen)
{
	static const char *const checkpoints[] = { "SELECT 1", "PRAGMA wal_checkpoint(PASSIVE)",
						   "PRAGMA wal_checkpoint(RESTART)",
						   "PRAGMA wal_checkpoint(TRUNCATE)" };
	char sql[128];

	ck_assert_int_eq(kit_offer("fix-1", NULL), 2);
	for (size_t i = 0; i < 2 * FG_COUNT(checkpoints); i++) {
		bool open = i % 2;
		snprintf(sql, sizeof(sql), "UPDATE offer SET open = %d", open);
		kit_sql(store_path, sql);
		ck_assert_int_eq(kit_poll("h1", 0, NULL)[0] != '\0', open);
		kit_sql(store_path, checkpoints[i / 2]);
		ck_assert_int_eq(kit_poll("h1", 0, NULL)[0] != '\0', open);
		kit_sql(store_path, "UPDATE offer SET open = open");
		ck_assert_int_eq(kit_poll("h1", 0, NULL)[0] != '\0', open);
	}
	kit_sql(store_path, "UPDATE offer SET open = 1");
}
END_TEST

START_TEST(not_within_a_transaction)
{
	ck_assert(remembered(ask_offers, 0));
	ck_assert_int_eq(fg_store_begin(store, NULL), 0);
	ck_assert(!remembered(ask_offers, 0));
	ck_assert_int_eq(fg_store_end(store, -FG_EFAILED, NULL), -FG_EFAILED);
	ck_assert(remembered(ask_offers, 0));
}
END_TEST

START_TEST(long_keys_are_not_remembered)
{
	char name[2 * FG_MEMO_KEY], key[FG_MEMO_KEY];
	int64_t values[2] = { 1, 2 };
	uint64_t moment = fg_memo_moment(&store->memo, &store->db);

	ck_assert_uint_ne(moment, 0);
	for (size_t len = FG_MEMO_KEY - 8; len < sizeof(name); len++) {
		memset(name, 'x', len);
		name[len] = '\0';
		fg_memo_key(key, 'o', name, NULL, NULL);
		fg_memo_put(&store->memo, moment, key, values);
		if (len > FG_MEMO_KEY - 4)
			ck_assert(!fg_memo_get(&store->memo, moment, key, values));
	}
}
END_TEST

/* Writes by either connection or none, in any order: an old answer is never given. */
START_TEST(as_the_database_says)
{
	unsigned random = 1;
	bool open = false;

	ck_assert_int_eq(kit_offer("fix-1", A), 1);
	kit_sql(store_path, "UPDATE offer SET open = 0");
	for (int i = 0; i < ROUNDS; i++) {
		random = random * 1103515245u + 12345u;
		unsigned dice = random >> 16 & 7;
		struct fg_db *db = dice & 1 ? &store->db : &other->db;
		if (dice < 4) {
			open = dice & 2;
			ck_assert_int_eq(fg_db_begin(db, NULL), 0);
			int rc = fg_db_run(db, NULL, "UPDATE offer SET open = ?", "i", (int64_t)open);
			ck_assert_int_eq(fg_db_end(db, rc, NULL), 0);
		}
		ck_assert_int_eq(kit_poll("h1", 0, NULL)[0] != '\0', open);
	}
	ck_assert_uint_gt(store->memo.hits, 0);
	kit_sql(store_path, "UPDATE offer SET open = 1");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("memo");
	TCase *t = tcase_create("memo");

	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, nothing_written_nothing_asked);
	tcase_add_test(t, a_revocation_counts_at_once);
	tcase_add_test(t, other_writers_are_seen);
	tcase_add_test(t, not_within_a_transaction);
	tcase_add_test(t, long_keys_are_not_remembered);
	tcase_add_test(t, as_the_database_says);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
