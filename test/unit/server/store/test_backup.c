/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Schema versions, backup and restore. */
#include "store_kit.h"

#include <check.h>
#include <server/store/db.h>
#include <server/store/schema.h>
#include <server/store/sqlite.h>
#include <string.h>
#include <unistd.h>

static char copy[160];

static void setup(void)
{
	kit_setup();
	snprintf(copy, sizeof(copy), "%s.copy", store_path);
}

/* ---- schema ---- */

/* A database as the first release made it, with a row of each kind. */
static void old_database(const char *path)
{
	struct fg_db db;

	ck_assert_int_eq(fg_db_create(&db, path, NULL), 0);
	ck_assert_int_eq(fg_schema_migrate_to(&db, 1, NULL), 0);
	fg_db_close(&db);
	kit_sql(path, "INSERT INTO host VALUES (1, 'h1', 1, 2);"
		      "INSERT INTO client VALUES ('" A "', 'web1', 1, 'xl', 'running', 'config', '[]', 1, 1, 2);"
		      "INSERT INTO client VALUES ('" B "', 'db1', 1, 'xl', 'off', 'config', '[]', 0, 1, 2);"
		      "INSERT INTO fix VALUES ('fix-1', 1, 'd1', 10, 't', 'low', 1, 1000000000000, 1, 'admin');"
		      "INSERT INTO offer (client, host_id, fix, version, at_ms, who, force, open) VALUES"
		      " ('" A "', 1, 'fix-1', 1, 5, 'admin', 0, 0), ('" B "', 1, 'fix-1', 1, 6, 'admin', 0, 1);"
		      "INSERT INTO ledger VALUES ('" A "', 'fix-1', 'fixed', 1, 1, 'job-1', 'done', NULL, 'vmm', 7);"
		      "INSERT INTO ledger VALUES ('" B "', 'fix-1', 'offered', 1, 0, '', NULL, NULL, NULL, 6);"
		      "INSERT INTO journal VALUES (1, 1, 'old', 1);"
		      "INSERT INTO report VALUES (1, 1, '" A "', 'fix-1', 1, 'job-1', 'done', 7, 7, NULL, NULL, 'vmm',"
		      " NULL);");
}

START_TEST(an_older_schema_comes_along_with_its_data)
{
	fg_store_close(store);
	store = NULL;
	unlink(store_path);
	old_database(store_path);
	kit_reopen();
	ck_assert_str_eq(kit_status(A), "fixed done");
	ck_assert_str_eq(kit_status(B), "offered -");
	ck_assert_str_eq(kit_poll("h1", 0, NULL), "2:bbbb:fix-1:1 ");
	ck_assert_int_eq(fg_store_recount(store, NULL), 0);
	ck_assert_int_eq(kit_number(store_path, "SELECT n FROM counter WHERE kind = 'ledger' AND word = 'fixed'"), 1);
	ck_assert_int_eq(kit_number(store_path, "SELECT MAX(version) FROM schema_version"), fg_schema_newest());
	ck_assert_int_eq(kit_number(store_path, "PRAGMA user_version"), fg_schema_newest());
	/* And it goes on from there. */
	kit_report(A, "fix-1", 1, FG_STATE_DONE);
}
END_TEST

START_TEST(every_version_comes_to_the_newest)
{
	struct fg_db db;

	for (int from = 1; from <= fg_schema_newest(); from++) {
		fg_store_close(store);
		store = NULL;
		unlink(store_path);
		ck_assert_int_eq(fg_db_create(&db, store_path, NULL), 0);
		ck_assert_int_eq(fg_schema_migrate_to(&db, from, NULL), 0);
		ck_assert_int_eq(kit_number(store_path, "PRAGMA user_version"), from);
		fg_db_close(&db);
		kit_reopen();
		kit_fix("fix-2", 1);
		ck_assert_int_eq(kit_number(store_path, "PRAGMA user_version"), fg_schema_newest());
	}
}
END_TEST

/* All tables and indices, as they were made. */
static char *schema_text(const char *path)
{
	fg_autofinal sqlite3_stmt *st = NULL;
	struct fg_db db;
	char *text = fg_strdup("");

	ck_assert_int_eq(fg_db_open(&db, path, NULL), 0);
	ck_assert_int_eq(fg_db_prepare(&db, &st, "SELECT name, COALESCE(sql, '') FROM sqlite_master ORDER BY name",
				       NULL, 0, NULL),
			 0);
	while (fg_db_step(&db, st, NULL) > 0) {
		char *more = fg_asprintf("%s%s: %s\n", text, (const char *)sqlite3_column_text(st, 0),
					 (const char *)sqlite3_column_text(st, 1));
		free(text);
		text = more;
	}
	sqlite3_finalize(st);
	st = NULL;
	fg_db_close(&db);
	return text;
}

/*
 * Databases as the releases of each version left them (sqlite3's .dump), and not as today's steps would make them: a step
 * that was edited makes another schema for who starts anew.
 */
START_TEST(a_stored_database_of_each_version_comes_along)
{
	fg_autofree char *fresh = schema_text(store_path);

	for (int from = 1; from <= fg_schema_newest(); from++) {
		fg_autofree char *file = fg_asprintf("test/data/schema/v%d.sql", from);
		fg_autofree char *dump = NULL;
		ck_assert_msg(fg_file_read(file, 1 << 20, &dump, NULL, NULL) == 0, "%s: each version has one", file);
		fg_store_close(store);
		store = NULL;
		unlink(store_path);
		kit_sql(store_path, dump);
		ck_assert_int_eq(kit_number(store_path, "PRAGMA user_version"), from);
		kit_reopen();
		fg_autofree char *now = schema_text(store_path);
		ck_assert_msg(strcmp(now, fresh) == 0, "%s comes to another schema", file);
		ck_assert_str_eq(kit_status(A), "fixed done");
		ck_assert_str_eq(kit_status(B), "offered -");
		ck_assert_str_eq(kit_poll("h1", 0, NULL), "2:bbbb:fix-1:1 ");
		ck_assert_int_eq(kit_number(store_path, "SELECT COUNT(*) FROM report"), 1);
		ck_assert_int_eq(fg_store_recount(store, NULL), 0);
		kit_report(A, "fix-1", 1, FG_STATE_DONE);
	}
}
END_TEST

START_TEST(a_step_that_fails_leaves_the_schema_as_it_was)
{
	fg_store_close(store);
	store = NULL;
	unlink(store_path);
	old_database(store_path);
	kit_sql(store_path, "CREATE TABLE counter (x)"); /* in the way of step 4 */
	ck_assert_int_lt(fg_store_open(store_path, &store, NULL), 0);
	ck_assert_int_eq(kit_number(store_path, "PRAGMA user_version"), FG_SCHEMA_TABLE - 1);
	kit_sql(store_path, "DROP TABLE counter");
	kit_reopen();
	ck_assert_str_eq(kit_status(A), "fixed done");
	kit_report(A, "fix-1", 1, FG_STATE_DONE);
}
END_TEST

/* ---- transactions in one another ---- */

START_TEST(an_inner_write_that_fails_undoes_itself_only)
{
	ck_assert_int_eq(fg_store_begin(store, NULL), 0);
	ck_assert_int_eq(fg_store_audit_add(store, NOW, "a", "one", "", NULL), 0);
	ck_assert_int_eq(fg_store_begin(store, NULL), 0);
	ck_assert_int_eq(fg_store_audit_add(store, NOW, "a", "two", "", NULL), 0);
	ck_assert_int_eq(fg_store_end(store, -FG_EREFUSED, NULL), -FG_EREFUSED);
	ck_assert_int_eq(fg_store_audit_add(store, NOW, "a", "three", "", NULL), 0);
	ck_assert_int_eq(kit_number(store_path, "SELECT COUNT(*) FROM audit WHERE who = 'a'"), 0);
	ck_assert_int_eq(fg_store_end(store, 0, NULL), 0);
	ck_assert_int_eq(kit_number(store_path, "SELECT COUNT(*) FROM audit WHERE who = 'a'"), 2);
}
END_TEST

START_TEST(an_outer_failure_undoes_all)
{
	ck_assert_int_eq(fg_store_begin(store, NULL), 0);
	ck_assert_int_eq(kit_offer("fix-1", NULL), 2);
	ck_assert_int_eq(fg_store_end(store, -FG_EREFUSED, NULL), -FG_EREFUSED);
	ck_assert_str_eq(kit_poll("h1", 0, NULL), "");
	ck_assert_str_eq(kit_status(A), "- -");
}
END_TEST

/* ---- durability ---- */

static int64_t pragma(const char *sql)
{
	fg_autofinal sqlite3_stmt *st = NULL;

	ck_assert_int_eq(fg_db_prepare(&store->db, &st, sql, NULL, 0, NULL), 0);
	ck_assert_int_eq(fg_db_step(&store->db, st, NULL), 1);
	return sqlite3_column_type(st, 0) == SQLITE_TEXT ? !strcmp((const char *)sqlite3_column_text(st, 0), "wal")
							 : sqlite3_column_int64(st, 0);
}

/* Of the store's own connection: these are no properties of the file. */
START_TEST(a_commit_is_synced)
{
	for (int again = 0; again < 2; again++) {
		ck_assert_int_eq(pragma("PRAGMA synchronous"), 2); /* FULL */
		ck_assert_int_eq(pragma("PRAGMA journal_mode"), 1);
		ck_assert_int_eq(pragma("PRAGMA foreign_keys"), 1);
		ck_assert_int_eq(pragma("PRAGMA trusted_schema"), 0);
		kit_reopen();
	}
}
END_TEST

/* ---- backup ---- */

START_TEST(a_backup_is_what_was_there)
{
	int64_t next = 0;

	ck_assert_int_eq(kit_offer("fix-1", NULL), 2);
	ck_assert_int_eq(fg_store_backup(store_path, copy, NULL), 0); /* while the store is open */
	kit_report(A, "fix-1", 1, FG_STATE_DONE);
	kit_fix("fix-2", 1);
	ck_assert_int_eq(kit_offer("fix-2", NULL), 2);
	ck_assert_str_eq(kit_poll("h1", 0, &next), "2:bbbb:fix-1:1 3:aaaa:fix-2:1 4:bbbb:fix-2:1 ");
	ck_assert_int_eq(next, 4);
	ck_assert_int_eq(kit_number(copy, "SELECT COUNT(*) FROM report"), 0);

	/* Not while it is in use. */
	struct fg_error err = FG_ERROR_INIT;
	ck_assert_int_eq(fg_store_restore(store_path, copy, "root", NOW, &err), -FG_EREFUSED);
	ck_assert_ptr_nonnull(strstr(err.text, "in use"));
	fg_store_close(store);
	store = NULL;
	ck_assert_int_eq(fg_store_restore(store_path, copy, "root", NOW, NULL), 0);
	kit_reopen();
	ck_assert_str_eq(kit_status(A), "offered -");
	/* A host that had come to 4 gets what is open, and its cursor goes on. */
	char wanted[128];
	snprintf(wanted, sizeof(wanted), "%lld:aaaa:fix-1:1 %lld:bbbb:fix-1:1 ", NOW + 1LL, NOW + 2LL);
	ck_assert_str_eq(kit_poll("h1", 4, &next), wanted);
	ck_assert_int_eq(next, NOW + 2LL);
	/* What it had reported comes again as lost numbers or anew; nothing is in the way. */
	kit_report(A, "fix-1", 1, FG_STATE_DONE);
	ck_assert_str_eq(kit_status(A), "fixed done");
}
END_TEST

START_TEST(a_cursor_never_goes_back_after_a_restore)
{
	int64_t next = 0;

	ck_assert_int_eq(fg_store_backup(store_path, copy, NULL), 0);
	ck_assert_int_eq(kit_offer("fix-1", NULL), 2);
	kit_poll("h1", 0, &next);
	ck_assert_int_eq(next, 2);
	fg_store_close(store);
	store = NULL;
	ck_assert_int_eq(fg_store_restore(store_path, copy, "root", NOW, NULL), 0);
	kit_reopen();
	ck_assert_str_eq(kit_poll("h1", 2, &next), "");
	ck_assert_int_ge(next, 2);
	ck_assert_int_eq(kit_offer("fix-1", "web1"), 1);
	ck_assert_int_gt((kit_poll("h1", next, &next), next), NOW);
}
END_TEST

START_TEST(a_bad_backup_is_not_restored)
{
	struct fg_error err = FG_ERROR_INIT;

	ck_assert_int_eq(fg_store_backup(store_path, copy, NULL), 0);
	kit_sql(copy, "UPDATE audit SET detail = 'x' WHERE n = 1");
	fg_store_close(store);
	store = NULL;
	ck_assert_int_eq(fg_store_restore(store_path, copy, "root", NOW, &err), -FG_EDIFFERS);
	fg_error_clear(&err);
	FILE *f = fopen(copy, "w");
	ck_assert_ptr_nonnull(f);
	fputs("this is no database, it only looks long enough to be one", f);
	fclose(f);
	ck_assert_int_lt(fg_store_restore(store_path, copy, "root", NOW, &err), 0);
	ck_assert_int_eq(fg_store_restore(store_path, "/nonexistent", "root", NOW, NULL), -FG_ENOTFOUND);
	kit_reopen();
	ck_assert_str_eq(kit_status(A), "- -");
}
END_TEST

START_TEST(a_damaged_database_is_replaced)
{
	ck_assert_int_eq(fg_store_backup(store_path, copy, NULL), 0);
	fg_store_close(store);
	store = NULL;
	FILE *f = fopen(store_path, "w");
	ck_assert_ptr_nonnull(f);
	fputs("gone", f);
	fclose(f);
	ck_assert_int_eq(fg_store_restore(store_path, copy, "root", NOW, NULL), 0);
	kit_reopen();
	ck_assert_str_eq(kit_status(A), "- -");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("backup");
	TCase *t = tcase_create("backup");

	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, setup, kit_teardown);
	tcase_add_test(t, an_older_schema_comes_along_with_its_data);
	tcase_add_test(t, every_version_comes_to_the_newest);
	tcase_add_test(t, a_stored_database_of_each_version_comes_along);
	tcase_add_test(t, a_step_that_fails_leaves_the_schema_as_it_was);
	tcase_add_test(t, an_inner_write_that_fails_undoes_itself_only);
	tcase_add_test(t, an_outer_failure_undoes_all);
	tcase_add_test(t, a_commit_is_synced);
	tcase_add_test(t, a_backup_is_what_was_there);
	tcase_add_test(t, a_cursor_never_goes_back_after_a_restore);
	tcase_add_test(t, a_bad_backup_is_not_restored);
	tcase_add_test(t, a_damaged_database_is_replaced);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
