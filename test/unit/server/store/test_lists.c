/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Clients x fixes by filter, labels, history, cancelled offers, the audit chain. */
#include "store_kit.h"

#include <check.h>
#include <inttypes.h>
#include <string.h>

#define ELSE1 "cccccccc-0000-4000-8000-000000000003"

static char rows[1024];

static bool on_row(const struct fg_store_client *row, void *arg)
{
	size_t len = strlen(rows);

	(void)arg;
	snprintf(rows + len, sizeof(rows) - len, "%s:%s ", row->name, row->fix ? row->status : "-");
	return true;
}

static const char *list(struct fg_store_filter f, const char *after)
{
	rows[0] = '\0';
	ck_assert_int_eq(fg_store_clients(store, &f, after, on_row, NULL, NULL), 0);
	return rows;
}

static void label(const char *uuid, const char *name, const char *value)
{
	struct fg_store_label l = { uuid, name, value, "admin", NOW };

	ck_assert_int_eq(fg_store_label(store, &l, NULL), 0);
}

START_TEST(filters)
{
	struct fg_store_guest else1 = kit_guest(ELSE1, "else1", "running");
	size_t taken = 0;

	else1.os_id = "debian";
	else1.os_version = "12";
	ck_assert_int_eq(fg_store_inventory(store, "h2", &else1, 1, NOW, &taken, NULL), 0);
	kit_offer("fix-1", "web1");
	kit_offer("fix-1", "db1");
	kit_report(A, "fix-1", 1, FG_STATE_FAILED);
	label(A, "env", "prod");
	label(B, "env", "test");
	label(B, "tier", "1");
	struct fg_store_filter none = { .status = NULL };
	ck_assert_str_eq(list(none, ""), "web1:failed db1:offered else1:- ");
	ck_assert_str_eq(list(none, A), "db1:offered else1:- ");
	ck_assert_str_eq(list((struct fg_store_filter){ .status = "failed" }, ""), "web1:failed ");
	ck_assert_str_eq(list((struct fg_store_filter){ .status = "fixed" }, ""), "");
	ck_assert_str_eq(list((struct fg_store_filter){ .fix = "fix-1" }, ""),
			 "web1:failed db1:offered else1:unknown ");
	ck_assert_str_eq(list((struct fg_store_filter){ .fix = "fix-1", .status = "offered" }, ""), "db1:offered ");
	ck_assert_str_eq(list((struct fg_store_filter){ .fix = "fix-1" }, A), "db1:offered else1:unknown ");
	ck_assert_str_eq(list((struct fg_store_filter){ .fix = "fix-1", .status = "unknown" }, ""), "else1:unknown ");
	ck_assert_str_eq(list((struct fg_store_filter){ .fix = "fix-1", .status = "unknown" }, ELSE1), "");
	ck_assert_str_eq(list((struct fg_store_filter){ .fix = "fix-1", .status = "unknown", .host = "h1" }, ""), "");
	ck_assert_str_eq(list((struct fg_store_filter){ .fix = "fix-1", .os = "debian" }, ""), "else1:unknown ");
	ck_assert_str_eq(list((struct fg_store_filter){ .fix = "no-such-fix" }, ""), "");
	ck_assert_str_eq(list((struct fg_store_filter){ .host = "h2" }, ""), "else1:- ");
	/* Along labels, and one that waits again. */
	ck_assert_str_eq(list((struct fg_store_filter){ .fix = "fix-1", .label = "env" }, ""),
			 "web1:failed db1:offered ");
	ck_assert_str_eq(list((struct fg_store_filter){ .fix = "fix-1", .label = "env", .status = "unknown" }, ""), "");
	ck_assert_str_eq(list((struct fg_store_filter){ .host = "h1", .status = "failed" }, ""), "web1:failed ");
	ck_assert_str_eq(list((struct fg_store_filter){ .host = "none" }, ""), "");
	ck_assert_str_eq(list((struct fg_store_filter){ .name = "db1" }, ""), "db1:offered ");
	ck_assert_str_eq(list((struct fg_store_filter){ .os = "debian" }, ""), "else1:- ");
	ck_assert_str_eq(list((struct fg_store_filter){ .os = "debian:12" }, ""), "else1:- ");
	ck_assert_str_eq(list((struct fg_store_filter){ .os = "debian:11" }, ""), "");
	ck_assert_str_eq(list((struct fg_store_filter){ .label = "env" }, ""), "web1:failed db1:offered ");
	ck_assert_str_eq(list((struct fg_store_filter){ .label = "env", .value = "prod" }, ""), "web1:failed ");
	ck_assert_str_eq(list((struct fg_store_filter){ .label = "env", .status = "offered" }, ""), "db1:offered ");
	ck_assert_str_eq(list((struct fg_store_filter){ .label = "tier", .host = "h1" }, ""), "db1:offered ");
	label(B, "tier", NULL);
	ck_assert_str_eq(list((struct fg_store_filter){ .label = "tier" }, ""), "");
	/* An inventory without the system keeps what is known of it. */
	else1.os_id = NULL;
	ck_assert_int_eq(fg_store_inventory(store, "h2", &else1, 1, NOW, &taken, NULL), 0);
	ck_assert_str_eq(list((struct fg_store_filter){ .os = "debian" }, ""), "else1:- ");
	ck_assert_int_eq(fg_store_inventory(store, "h2", &else1, 0, NOW, &taken, NULL), 0);
	ck_assert_str_eq(list((struct fg_store_filter){ .present = true }, ""), "web1:failed db1:offered ");
}
END_TEST

/* Whatever the filter: along indexes, in the order of the answer; no table is read from end to end, nothing sorted. */
START_TEST(pages_go_along_indexes)
{
	static const char *const on_off[2][7] = {
		{ NULL, NULL, NULL, NULL, NULL, NULL, NULL },
		{ "failed", "fix-1", "h1", "web1", "debian:12", "env", "prod" },
	};
	char *plan = NULL;

	/* Statistics must not be needed; many rows of a status turn the order of the joins round. */
	for (int many = 0; many < 3; many++) {
		for (unsigned bits = 0; bits < 1 << 7; bits++) {
			struct fg_store_filter f = { many == 0 ? "unknown" : on_off[bits & 1][0],
						     on_off[bits >> 1 & 1][1],
						     on_off[bits >> 2 & 1][2],
						     on_off[bits >> 3 & 1][3],
						     on_off[bits >> 4 & 1][4],
						     on_off[bits >> 5 & 1][5],
						     on_off[bits >> 6 & 1][6],
						     bits & 1 };
			ck_assert_int_eq(fg_store_clients_plan(store, &f, &plan, NULL), 0);
			ck_assert_msg(!strstr(plan, "SCAN"), "filter %u reads a whole table:\n%s", bits, plan);
			/* The ledger is looked up by client, except where it leads. */
			const char *ledger = strstr(plan, "SEARCH l ");
			const char *range = ledger ? strstr(ledger, "client>?") : NULL;
			ck_assert_msg(!range || ledger == plan || range > strchr(ledger, '\n'),
				      "filter %u reads the ledger for each client:\n%s", bits, plan);
			/* The rows of one client may be sorted by fix; never all clients. */
			const char *sort = strstr(plan, "USE TEMP B-TREE");
			ck_assert_msg(!sort || strstr(sort, "RIGHT PART OF ORDER BY") ||
					      strstr(sort, "LAST TERM OF ORDER BY"),
				      "filter %u sorts all:\n%s", bits, plan);
			free(plan);
		}
		if (many == 1)
			kit_sql(store_path, "INSERT INTO counter VALUES ('ledger', 'fix-1', 'failed', 1000000)");
	}
	kit_sql(store_path, "DELETE FROM counter WHERE word = 'failed'");
}
END_TEST

/* A status that a million rows have, and a system that no client has: they do not wait for each other. */
START_TEST(the_rarer_leads)
{
	static const struct {
		struct fg_store_filter f;
		const char *leads;
	} cases[] = {
		{ { .status = "fixed" }, "SEARCH l " },
		{ { .status = "fixed", .os = "plan9" }, "SEARCH c USING INDEX client_by_os_id" },
		{ { .status = "fixed", .os = "plan9:4" }, "SEARCH c USING INDEX client_by_os " },
		{ { .status = "fixed", .fix = "fix-1", .os = "plan9:4" }, "SEARCH c USING INDEX client_by_os " },
		{ { .status = "fixed", .label = "env", .os = "plan9" }, "SEARCH c USING INDEX client_by_os_id" },
		{ { .label = "env", .os = "plan9" }, "SEARCH c USING INDEX client_by_os_id" },
		{ { .status = "fixed", .label = "env" }, "SEARCH b " },
		{ { .status = "failed", .os = "plan9" }, "SEARCH l " }, /* few rows */
	};

	kit_sql(store_path, "INSERT INTO counter VALUES ('ledger', 'fix-1', 'fixed', 1000000)");
	for (size_t i = 0; i < FG_COUNT(cases); i++) {
		char *plan = NULL;
		ck_assert_int_eq(fg_store_clients_plan(store, &cases[i].f, &plan, NULL), 0);
		ck_assert_msg(!strncmp(plan, cases[i].leads, strlen(cases[i].leads)), "case %zu:\n%s", i, plan);
		free(plan);
	}
	/* Where few rows have the status they lead, whoever has the system. */
	kit_sql(store_path, "UPDATE counter SET n = 1 WHERE word = 'fixed'");
	char *plan = NULL;
	ck_assert_int_eq(fg_store_clients_plan(store, &cases[1].f, &plan, NULL), 0);
	ck_assert_msg(!strncmp(plan, "SEARCH l ", 9), "%s", plan);
	free(plan);
	kit_sql(store_path, "DELETE FROM counter WHERE word = 'fixed'");
}
END_TEST

static char counts[256];

static void on_count(const char *status, int64_t n, void *arg)
{
	size_t len = strlen(counts);

	(void)arg;
	snprintf(counts + len, sizeof(counts) - len, "%s=%" PRId64 " ", status, n);
}

static const char *count(void)
{
	counts[0] = '\0';
	ck_assert_int_eq(fg_store_counters(store, "fix-1", on_count, NULL, NULL), 0);
	return counts;
}

/* All clients are in some status, those that were never offered the fix as unknown. */
START_TEST(every_client_is_counted)
{
	struct fg_store_guest else1 = kit_guest(ELSE1, "else1", "running");
	struct fg_store_cancel c = { .client = B, .fix = "fix-1", .who = "admin", .now_ms = NOW };
	enum fg_store_cancelled what = FG_CANCELLED_NONE;
	size_t taken = 0;

	ck_assert_str_eq(count(), "unknown=2 ");
	ck_assert_int_eq(fg_store_inventory(store, "h2", &else1, 1, NOW, &taken, NULL), 0);
	ck_assert_str_eq(count(), "unknown=3 ");
	kit_offer("fix-1", "web1");
	kit_offer("fix-1", "db1");
	kit_report(A, "fix-1", 1, FG_STATE_FAILED);
	ck_assert_str_eq(count(), "failed=1 offered=1 unknown=1 ");
	ck_assert_int_eq(fg_store_inventory(store, "h2", &else1, 0, NOW, &taken, NULL), 0); /* gone, but known */
	ck_assert_int_eq(fg_store_cancel(store, &c, &what, NULL), 0); /* a row that says unknown */
	ck_assert_str_eq(count(), "failed=1 unknown=2 ");
	ck_assert_str_eq(list((struct fg_store_filter){ .fix = "fix-1", .status = "unknown" }, ""),
			 "db1:unknown else1:unknown ");
}
END_TEST

/* ---- history ---- */

static char events[1024];

static void on_event(const struct fg_store_event *e, void *arg)
{
	struct fg_store_history_cursor *c = arg;
	size_t len = strlen(events);

	snprintf(events + len, sizeof(events) - len, "%s%s%s ", e->kind, e->state ? "=" : "", e->state ? e->state : "");
	c->at_ms = e->at_ms;
	c->n = e->n;
	snprintf(c->kind, sizeof(c->kind), "%s", e->kind);
}

START_TEST(history_newest_first_in_pages)
{
	struct fg_store_history_cursor from, last = { .at_ms = 0 };
	static const char *const wanted[] = { "report=done report=queued ", "report=offered offer ", "" };

	kit_offer("fix-1", NULL);
	kit_report(A, "fix-1", 1, FG_STATE_OFFERED);
	kit_report(B, "fix-1", 1, FG_STATE_OFFERED);
	kit_report(A, "fix-1", 1, FG_STATE_QUEUED);
	kit_report(A, "fix-1", 1, FG_STATE_DONE);
	for (size_t i = 0; i < FG_COUNT(wanted); i++) {
		from = last;
		events[0] = '\0';
		ck_assert_int_eq(fg_store_history(store, A, &from, 2, on_event, &last, NULL), 0);
		ck_assert_str_eq(events, wanted[i]);
	}
}
END_TEST

/* ---- cancelled offers ---- */

static enum fg_store_cancelled cancel(const char *uuid, const char *of)
{
	struct fg_store_cancel c = { .client = uuid, .fix = "fix-1", .who = "admin", .of = of, .now_ms = NOW };
	enum fg_store_cancelled what = FG_CANCELLED_NONE;

	ck_assert_int_eq(fg_store_cancel(store, &c, &what, NULL), 0);
	return what;
}

START_TEST(an_offer_is_cancelled)
{
	int64_t next = 0;

	kit_offer("fix-1", NULL);
	ck_assert_int_eq(cancel(A, "rollout-1"), FG_CANCELLED_NONE); /* it is by others */
	ck_assert_int_eq(cancel(A, NULL), FG_CANCELLED_NOW);
	ck_assert_int_eq(cancel(A, NULL), FG_CANCELLED_NONE);
	ck_assert_str_eq(kit_status(A), "unknown -");
	ck_assert_str_eq(kit_poll("h1", 0, NULL), "2:bbbb:fix-1:1 "); /* who begins anew has nothing to forget */
	ck_assert_str_eq(kit_poll("h1", 1, &next), "2:bbbb:fix-1:1 x1:aaaa:fix-1:1 ");
	ck_assert_int_eq(next, 3);
	ck_assert_str_eq(kit_poll("h1", 3, NULL), "");
	ck_assert_str_eq(kit_poll("h2", 1, NULL), "");
	/* A new offer takes its place. */
	ck_assert_int_eq(kit_offer("fix-1", "web1"), 1);
	ck_assert_str_eq(kit_poll("h1", 2, NULL), "4:aaaa:fix-1:1 ");
}
END_TEST

START_TEST(a_cancelled_offer_leaves_the_outcome_of_before)
{
	kit_offer("fix-1", "web1");
	kit_report(A, "fix-1", 1, FG_STATE_OFFERED);
	kit_report(A, "fix-1", 1, FG_STATE_FAILED);
	kit_offer("fix-1", "web1");
	ck_assert_str_eq(kit_status(A), "offered -");
	ck_assert_int_eq(cancel(A, NULL), FG_CANCELLED_NOW);
	ck_assert_str_eq(kit_status(A), "failed failed");
}
END_TEST

START_TEST(only_before_the_guest_is_isolated)
{
	kit_offer("fix-1", NULL);
	kit_report(A, "fix-1", 1, FG_STATE_QUEUED);
	ck_assert_int_eq(cancel(A, NULL), FG_CANCELLED_ASKED);
	ck_assert_str_eq(kit_status(A), "in-progress queued"); /* until the host says what became of it */
	kit_report(A, "fix-1", 1, FG_STATE_REJECTED);
	ck_assert_str_eq(kit_status(A), "rejected rejected");
	ck_assert_str_eq(kit_poll("h1", 1, NULL), "2:bbbb:fix-1:1 "); /* and the word of it is dealt with */
	kit_report(B, "fix-1", 1, FG_STATE_ISOLATED);
	ck_assert_int_eq(cancel(B, NULL), FG_CANCELLED_TOO_LATE);
	ck_assert_str_eq(kit_poll("h1", 1, NULL), "2:bbbb:fix-1:1 ");
	kit_report(B, "fix-1", 1, FG_STATE_DONE);
	ck_assert_str_eq(kit_status(B), "fixed done");
}
END_TEST

/* ---- audit ---- */

static int verify(struct fg_error *err)
{
	int64_t n = 0;

	return fg_store_audit_verify(store, &n, NULL, err);
}

START_TEST(the_first_bad_entry_is_named)
{
	static const struct {
		const char *change, *back, *says;
	} t[] = {
		{ "UPDATE audit SET detail = 'x' WHERE n = 5", NULL, "entry 5 was changed" },
		{ "UPDATE audit SET who = 'x' WHERE n = 1", NULL, "entry 1 was changed" },
		{ "UPDATE audit SET what = 'x' WHERE n = 8", NULL, "entry 8 was changed" },
		{ "UPDATE audit SET at_ms = at_ms + 1 WHERE n = 2", NULL, "entry 2 was changed" },
		{ "UPDATE audit SET hash = 'x' WHERE n = 4", NULL, "entry 4 was changed" },
		{ "DELETE FROM audit WHERE n = 3", NULL, "entry 3 is missing" },
		{ "DELETE FROM audit WHERE n = 1", NULL, "entry 1 is missing" },
		{ "DELETE FROM audit WHERE n = 3; UPDATE audit SET n = n - 1 WHERE n > 3", NULL,
		  "entry 3 was changed" },
		{ "UPDATE audit SET n = 99 WHERE n = 6; UPDATE audit SET n = 6 WHERE n = 7;"
		  " UPDATE audit SET n = 7 WHERE n = 99",
		  NULL, "entry 6 was changed" },
		{ "INSERT INTO audit SELECT 9, at_ms, who, what, detail, hash FROM audit WHERE n = 8", NULL,
		  "entry 9 was changed" },
		{ "DELETE FROM audit WHERE n = 8", NULL, "entries 8 to 8 are missing" },
	};
	struct fg_error err = FG_ERROR_INIT;

	for (int i = 0; i < 7; i++)
		ck_assert_int_eq(fg_store_audit_add(store, NOW + i, "admin", "thing", "detail", NULL), 0);
	kit_sql(store_path, "CREATE TABLE kept AS SELECT * FROM audit");
	ck_assert_int_eq(verify(NULL), 0);
	for (size_t i = 0; i < FG_COUNT(t); i++) {
		kit_sql(store_path, t[i].change);
		ck_assert_int_eq(verify(&err), -FG_EDIFFERS);
		ck_assert_msg(strstr(err.text, t[i].says) != NULL, "%s: %s", t[i].change, err.text);
		fg_error_clear(&err);
		kit_sql(store_path, "DELETE FROM audit; INSERT INTO audit SELECT * FROM kept;"
				    "UPDATE sqlite_sequence SET seq = 8 WHERE name = 'audit'");
		ck_assert_int_eq(verify(NULL), 0);
	}
	kit_sql(store_path, "DROP TABLE kept");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("lists");
	TCase *t = tcase_create("lists");

	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, kit_setup, kit_teardown);
	tcase_add_test(t, filters);
	tcase_add_test(t, pages_go_along_indexes);
	tcase_add_test(t, the_rarer_leads);
	tcase_add_test(t, every_client_is_counted);
	tcase_add_test(t, history_newest_first_in_pages);
	tcase_add_test(t, an_offer_is_cancelled);
	tcase_add_test(t, a_cancelled_offer_leaves_the_outcome_of_before);
	tcase_add_test(t, only_before_the_guest_is_isolated);
	tcase_add_test(t, the_first_bad_entry_is_named);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
