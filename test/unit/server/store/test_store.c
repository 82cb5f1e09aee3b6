/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "store_kit.h"

#include <check.h>
#include <inttypes.h>
#include <lib/util.h>
#include <server/store/certs.h>
#include <string.h>
#include <unistd.h>

#define DIGEST2 "2222222222222222222222222222222222222222222222222222222222222222"

static size_t inventory(const char *host, const struct fg_store_guest *list, size_t n, int64_t now)
{
	size_t taken = 0;

	ck_assert_int_eq(fg_store_inventory(store, host, list, n, now, &taken, NULL), 0);
	return taken;
}

/* ---- offers ---- */

static char skipped[256];
static int n_offered;
static void on_skipped(const char *g, const char *reason, enum fg_error_code code, void *arg)
{
	(void)code, (void)arg;
	snprintf(skipped, sizeof(skipped), "%s: %s", g, reason);
}
static void on_offered(const char *g, const char *host, void *arg)
{
	(void)g, (void)host, (void)arg;
	n_offered++;
}
static int offer(const char *id, const char *name, bool force, struct fg_error *err)
{
	const char *const names[] = { name };
	struct fg_store_offer_request r = { .fix = id,
					    .who = "admin",
					    .now_ms = NOW,
					    .guests = name ? names : NULL,
					    .n_guests = name ? 1 : 0,
					    .force = force,
					    .skipped = on_skipped,
					    .offered = on_offered };
	skipped[0] = '\0';
	n_offered = 0;
	return fg_store_offer(store, &r, err);
}

static char seen[512];
static void on_offer(const struct fg_store_offer *o, void *arg)
{
	size_t len = strlen(seen);

	(void)arg;
	snprintf(seen + len, sizeof(seen) - len, "%" PRId64 ":%.4s:%s:%" PRId64 " ", o->seq, o->guest, o->fix,
		 o->version);
}
static int64_t offers_after(const char *host, int64_t cursor, size_t limit)
{
	int64_t next = -1;

	seen[0] = '\0';
	ck_assert_int_eq(fg_store_offers_after(store, host, cursor, limit, on_offer, NULL, &next, NULL), 0);
	return next;
}

START_TEST(offers_reach_their_host_once)
{
	ck_assert_int_eq(offer("fix-1", NULL, false, NULL), 0);
	ck_assert_int_eq(n_offered, 2);
	ck_assert_int_eq(offers_after("h1", 0, 10), 2);
	ck_assert_str_eq(seen, "1:aaaa:fix-1:1 2:bbbb:fix-1:1 ");
	ck_assert_int_eq(offers_after("h1", 1, 10), 2);
	ck_assert_str_eq(seen, "2:bbbb:fix-1:1 ");
	ck_assert_int_eq(offers_after("h1", 2, 10), 2);
	ck_assert_str_eq(seen, "");
	ck_assert_int_eq(offers_after("h1", 0, 1), 1); /* a full page: the cursor is that of its last row */
	ck_assert_int_eq(offers_after("h2", 0, 10), 2);
	ck_assert_str_eq(seen, "");
	ck_assert_int_eq(offers_after("h1", 99, 10), 2); /* a cursor of a newer database than this one */
	ck_assert_str_eq(seen, "1:aaaa:fix-1:1 2:bbbb:fix-1:1 ");
}
END_TEST

START_TEST(offers_that_are_none)
{
	struct fg_error err = FG_ERROR_INIT;

	ck_assert_int_eq(offer("none", "web1", false, &err), -FG_ENOTFOUND);
	ck_assert_int_eq(offer("fix-1", "web1", false, NULL), 0);
	ck_assert_int_eq(n_offered, 1);
	ck_assert_int_eq(offer("fix-1", A, false, NULL), 0);
	ck_assert_int_eq(n_offered, 0);
	ck_assert_str_eq(skipped, A ": offered already");
	ck_assert_int_eq(offer("fix-1", "nobody", false, NULL), 0);
	ck_assert_str_eq(skipped, "nobody: not in the inventory of any host");
}
END_TEST

START_TEST(an_ambiguous_name_is_refused_and_a_uuid_is_not)
{
	/* A guest that bears another's UUID as its name. */
	struct fg_store_guest list[] = { kit_guest("cccccccc-0000-4000-8000-000000000003", A, "off"),
					 kit_guest("dddddddd-0000-4000-8000-000000000004", "web1", "off") };

	inventory("h2", list, 2, NOW);
	ck_assert_int_eq(offer("fix-1", "web1", false, NULL), 0);
	ck_assert_str_eq(skipped, "web1: several guests have this name: give the UUID");
	ck_assert_int_eq(offer("fix-1", A, false, NULL), 0);
	ck_assert_int_eq(n_offered, 1);
	offers_after("h1", 0, 10);
	ck_assert_str_eq(seen, "1:aaaa:fix-1:1 ");
}
END_TEST

START_TEST(an_expired_fix_is_not_offered)
{
	struct fg_store_fix f = { "old", DIGEST2, "title", "low", 1, 10, 1, NOW / 1000, NOW, 0, { 0 } };
	bool added;
	struct fg_error err = FG_ERROR_INIT;

	ck_assert_int_eq(fg_store_fix_add(store, &f, "admin", &added, NULL), 0);
	ck_assert_int_eq(offer("old", "web1", false, &err), -FG_EREFUSED);
}
END_TEST

START_TEST(a_host_asks_again)
{
	int64_t seq = 0;

	ck_assert_int_eq(offer("fix-1", "web1", false, NULL), 0);
	ck_assert_int_eq(fg_store_request(store, "h1", A, "fix-1", NOW, &seq, NULL), 0);
	ck_assert_int_eq(seq, 2);
	offers_after("h1", 1, 10);
	ck_assert_str_eq(seen, "2:aaaa:fix-1:1 ");
	ck_assert_int_eq(fg_store_request(store, "h2", A, "fix-1", NOW, &seq, NULL), -FG_ENOTFOUND);
	ck_assert_int_eq(fg_store_request(store, "h1", A, "nix", NOW, &seq, NULL), -FG_ENOTFOUND);
}
END_TEST

/* ---- fixes ---- */

START_TEST(other_bytes_of_a_version_are_refused)
{
	struct fg_store_fix f = { "fix-1", KIT_DIGEST, "title", "critical", 1, 10, 1, NOW, NOW, 0, { 0 } };
	bool added = true;

	ck_assert_int_eq(fg_store_fix_add(store, &f, "admin", &added, NULL), 0);
	ck_assert(!added);
	f.digest = DIGEST2;
	ck_assert_int_eq(fg_store_fix_add(store, &f, "admin", &added, NULL), -FG_EEXISTS);
	ck_assert_int_eq(fg_store_blob_known(store, KIT_DIGEST, NULL), 0);
	ck_assert_int_eq(fg_store_blob_known(store, DIGEST2, NULL), -FG_ENOTFOUND);
}
END_TEST

/* ---- reports ---- */

static char refused[256];
static void on_refused(int64_t seq, const char *why, void *arg)
{
	(void)arg;
	snprintf(refused, sizeof(refused), "%" PRId64 ": %s", seq, why);
}
static int report(const char *host, const char *journal, int64_t seq, const char *g, const char *job,
		  enum fg_state state, int64_t *acked)
{
	struct fg_store_report r = { .seq = seq,
				     .version = 1,
				     .at_ms = NOW,
				     .job = job,
				     .guest = g,
				     .fix = "fix-1",
				     .isolator = "vmm",
				     .state = state };
	struct fg_error err = FG_ERROR_INIT;

	refused[0] = '\0';
	return fg_store_reports(store, host, journal, &r, 1, NOW, on_refused, NULL, acked, &err);
}

static char status[64];
static bool on_client(const struct fg_store_client *row, void *arg)
{
	if (!strcmp(row->uuid, arg))
		snprintf(status, sizeof(status), "%s %s", row->fix ? row->status : "-",
			 row->job_state ? row->job_state : "-");
	return true;
}
static const char *status_of(const char *uuid)
{
	struct fg_store_filter all = { .status = NULL };

	status[0] = '\0';
	ck_assert_int_eq(fg_store_clients(store, &all, "", on_client, (void *)(uintptr_t)uuid, NULL), 0);
	return status;
}

START_TEST(reports_count_once)
{
	int64_t acked = 0;

	ck_assert_int_eq(report("h1", "", 1, A, "j", FG_STATE_ISOLATED, &acked), 0);
	ck_assert_int_eq(acked, 1);
	ck_assert_str_eq(status_of(A), "in-progress isolated");
	ck_assert_int_eq(report("h1", "", 2, A, "j", FG_STATE_DONE, &acked), 0);
	ck_assert_int_eq(report("h1", "", 1, A, "j", FG_STATE_ISOLATED, &acked), 0); /* a duplicate */
	ck_assert_int_eq(acked, 2);
	ck_assert_str_eq(status_of(A), "fixed done");
	/* Something else under a number that was taken: a journal that started again. */
	ck_assert_int_eq(report("h1", "", 2, A, "k", FG_STATE_FAILED, &acked), -FG_EDIFFERS);
	ck_assert_int_eq(report("h1", "new", 1, A, "k", FG_STATE_ISOLATED, &acked), 0);
	ck_assert_int_eq(acked, 1);
}
END_TEST

static char lost[256];
static void on_audit(const struct fg_store_audit *e, void *arg)
{
	(void)arg;
	if (!strcmp(e->what, "reports-lost"))
		snprintf(lost, sizeof(lost), "%s %s", e->who, e->detail);
}

START_TEST(a_gap_is_taken_and_audited)
{
	int64_t acked = 0;

	ck_assert_int_eq(report("h1", "", 5, A, "j", FG_STATE_DONE, &acked), 0);
	ck_assert_int_eq(acked, 5);
	ck_assert_int_eq(fg_store_audit_after(store, 0, 100, on_audit, NULL, NULL), 0);
	ck_assert_str_eq(lost, "h1 1..4 never came");
}
END_TEST

START_TEST(a_host_speaks_of_its_own_guests_only)
{
	struct fg_store_guest list[] = { kit_guest(A, "web1", "running") };
	int64_t acked = 0;

	ck_assert_int_eq(report("h2", "", 1, A, "j", FG_STATE_DONE, &acked), 0);
	ck_assert_int_eq(acked, 1); /* taken, or it would stop the host's outbox for ever */
	ck_assert_str_eq(refused, "1: not a guest of this host");
	ck_assert_str_eq(status_of(A), "- -");
	/* The guest moves while a job is reported on: its first host may end the story, and start none. */
	ck_assert_int_eq(report("h1", "", 1, A, "j", FG_STATE_REBOOTING, &acked), 0);
	inventory("h2", list, 1, NOW);
	inventory("h1", NULL, 0, NOW);
	ck_assert_int_eq(report("h1", "", 2, A, "j", FG_STATE_DONE, &acked), 0);
	ck_assert_str_eq(refused, "");
	ck_assert_str_eq(status_of(A), "fixed done");
	ck_assert_int_eq(report("h1", "", 3, A, "other", FG_STATE_ISOLATED, &acked), 0);
	ck_assert_str_eq(refused, "3: not a guest of this host");
	ck_assert_str_eq(status_of(A), "fixed done");
}
END_TEST

START_TEST(an_older_version_that_was_had_is_remembered)
{
	static const char had[] = "SELECT fixed_version FROM ledger WHERE client = '" A "' AND fix = 'fix-1'";

	kit_fix("fix-1", 2);
	kit_report(A, "fix-1", 2, FG_STATE_ISOLATED);
	kit_report(A, "fix-1", 1, FG_STATE_DONE); /* it was on its way for long */
	ck_assert_str_eq(kit_status(A), "in-progress isolated");
	ck_assert_int_eq(kit_number(store_path, had), 1);
	kit_report(A, "fix-1", 2, FG_STATE_FAILED);
	ck_assert_str_eq(kit_status(A), "failed failed");
	ck_assert_int_eq(kit_number(store_path, had), 1);
}
END_TEST

START_TEST(the_end_of_a_job_closes_its_offer_only)
{
	int64_t acked = 0, seq = 0;

	ck_assert_int_eq(offer("fix-1", "web1", false, NULL), 0);
	ck_assert_int_eq(report("h1", "", 1, A, "j", FG_STATE_ISOLATED, &acked), 0);
	ck_assert_int_eq(fg_store_request(store, "h1", A, "fix-1", NOW + 1, &seq, NULL), 0);
	ck_assert_int_eq(report("h1", "", 2, A, "j", FG_STATE_FAILED, &acked), 0);
	offers_after("h1", 0, 10);
	ck_assert_str_eq(seen, "2:aaaa:fix-1:1 ");
}
END_TEST

/* ---- guests that move ---- */

static int64_t audited(const char *what)
{
	fg_autofree char *sql = fg_asprintf("SELECT COUNT(*) FROM audit WHERE what = '%s'", what);

	return kit_number(store_path, sql);
}

START_TEST(a_guest_stays_where_it_runs)
{
	struct fg_store_guest off[] = { kit_guest(A, "web1", "off") }, on[] = { kit_guest(A, "web1", "running") };

	ck_assert_int_eq(offer("fix-1", "web1", false, NULL), 0);
	offers_after("h1", 0, 10);
	ck_assert_str_eq(seen, "1:aaaa:fix-1:1 ");
	ck_assert_uint_eq(inventory("h2", off, 1, NOW + 1), 0); /* a stale definition */
	ck_assert_int_eq(audited("guest-claimed"), 0);
	/* A lie, or a migration of which h1 has not told: said once. */
	ck_assert_uint_eq(inventory("h2", on, 1, NOW + 2), 0);
	ck_assert_uint_eq(inventory("h2", on, 1, NOW + 3), 0);
	ck_assert_uint_eq(inventory("h1", on, 1, NOW + 4), 1);
	ck_assert_int_eq(audited("guest-claimed"), 1);
	ck_assert_int_eq(audited("guest-moved"), 0);
	offers_after("h2", 0, 10);
	ck_assert_str_eq(seen, "");
	/* h1 has it no more: it moves without another word of h2. The offer goes along, under a number that h2's cursor cannot be past. */
	ck_assert_uint_eq(inventory("h1", NULL, 0, NOW + 5), 0);
	ck_assert_int_eq(audited("guest-moved"), 1);
	offers_after("h2", 1, 10);
	ck_assert_str_eq(seen, "2:aaaa:fix-1:1 ");
	offers_after("h1", 0, 10);
	ck_assert_str_eq(seen, "");
	ck_assert_int_eq(kit_number(store_path, "SELECT COUNT(*) FROM claim"), 0);
	/* h2 has been silent for long: h1 may have it back. */
	ck_assert_uint_eq(inventory("h1", off, 1, NOW + 3 + FG_STORE_OWNER_MS), 1);
}
END_TEST

START_TEST(a_claim_ends)
{
	struct fg_store_guest off[] = { kit_guest(A, "web1", "off") }, on[] = { kit_guest(A, "web1", "running") };

	/* h2 takes it back: nothing moves when h1 has it no more. */
	ck_assert_uint_eq(inventory("h2", on, 1, NOW + 1), 0);
	ck_assert_uint_eq(inventory("h2", NULL, 0, NOW + 2), 0);
	ck_assert_uint_eq(inventory("h1", NULL, 0, NOW + 3), 0);
	ck_assert_int_eq(audited("guest-moved"), 0);
	/* Off is not running. */
	ck_assert_uint_eq(inventory("h1", on, 1, NOW + 4), 1);
	ck_assert_uint_eq(inventory("h2", on, 1, NOW + 5), 0);
	ck_assert_uint_eq(inventory("h1", off, 1, NOW + 6), 1);
	ck_assert_int_eq(audited("guest-moved"), 1);
	/* Now h2 has it, and falls silent: a poll of h1 is enough. */
	ck_assert_uint_eq(inventory("h1", on, 1, NOW + 7), 0);
	ck_assert_int_eq(fg_store_host_seen(store, "h1", NOW + FG_STORE_OWNER_MS, 1, NULL), 0);
	ck_assert_int_eq(audited("guest-moved"), 1);
	ck_assert_int_eq(fg_store_host_seen(store, "h1", NOW + 6 + FG_STORE_OWNER_MS, 1, NULL), 0);
	ck_assert_int_eq(audited("guest-moved"), 2);
}
END_TEST

START_TEST(a_revoked_host_holds_no_guest)
{
	struct fg_store_guest on[] = { kit_guest(A, "web1", "running") };
	int64_t n = 0;

	ck_assert_uint_eq(inventory("h2", on, 1, NOW + 1), 0);
	ck_assert_int_eq(fg_store_revoke(store, "agent", "h1", "admin", NOW + 2, &n, NULL), 0);
	ck_assert_int_eq(audited("guest-moved"), 1);
	/* And who is revoked gets none. */
	ck_assert_uint_eq(inventory("h3", on, 1, NOW + 3), 0);
	ck_assert_int_eq(fg_store_revoke(store, "agent", "h3", "admin", NOW + 4, &n, NULL), 0);
	ck_assert_uint_eq(inventory("h2", NULL, 0, NOW + 5), 0);
	ck_assert_int_eq(audited("guest-moved"), 1);
}
END_TEST

START_TEST(a_guest_that_left_the_inventory_is_remembered)
{
	struct fg_store_guest list[] = { kit_guest(B, "db1", "off") };

	inventory("h1", list, 1, NOW);
	ck_assert_int_eq(offer("fix-1", NULL, false, NULL), 0);
	ck_assert_int_eq(n_offered, 1);
	ck_assert_str_eq(status_of(A), "- -");
}
END_TEST

/* ---- tokens ---- */

START_TEST(tokens)
{
	struct fg_error err = FG_ERROR_INIT;

	int64_t acked = 0;

	kit_fix_as("fix-2", 1, DIGEST2);
	ck_assert_int_eq(fg_store_token_add(store, "h", "h1", "j", A, KIT_DIGEST, NOW, NOW + 10, NULL),
			 -FG_ENOTALLOWED);
	ck_assert_int_eq(offer("fix-1", "web1", false, NULL), 0);
	ck_assert_int_eq(fg_store_token_add(store, "h", "h1", "j", A, DIGEST2, NOW, NOW + 10, NULL), -FG_ENOTALLOWED);
	ck_assert_int_eq(fg_store_token_add(store, "h", "h1", "j", A, KIT_DIGEST, NOW, NOW + 10, &err), 0);
	ck_assert_int_eq(fg_store_token_check(store, "h", KIT_DIGEST, NOW + 9, NULL), 0);
	ck_assert_int_eq(fg_store_token_check(store, "h", KIT_DIGEST, NOW + 10, NULL), -FG_ENOTALLOWED);
	ck_assert_int_eq(fg_store_token_check(store, "h", DIGEST2, NOW, NULL), -FG_ENOTALLOWED);
	ck_assert_int_eq(fg_store_token_check(store, "x", KIT_DIGEST, NOW, NULL), -FG_ENOTALLOWED);
	ck_assert_int_eq(fg_store_token_add(store, "i", "h2", "j", A, KIT_DIGEST, NOW, NOW + 10, NULL),
			 -FG_ENOTALLOWED);
	/* The job's end is the token's, and no other job's. */
	ck_assert_int_eq(report("h1", "", 1, A, "other", FG_STATE_FAILED, &acked), 0);
	ck_assert_int_eq(fg_store_token_check(store, "h", KIT_DIGEST, NOW, NULL), 0);
	ck_assert_int_eq(report("h1", "", 2, A, "j", FG_STATE_ISOLATED, &acked), 0);
	/* The offer is closed: the job is enough. */
	ck_assert_int_eq(fg_store_token_add(store, "k", "h1", "j", A, KIT_DIGEST, NOW, NOW + 10, &err), 0);
	ck_assert_int_eq(report("h1", "", 3, A, "j", FG_STATE_DONE, &acked), 0);
	ck_assert_int_eq(fg_store_token_check(store, "h", KIT_DIGEST, NOW, NULL), -FG_ENOTALLOWED);
	ck_assert_int_eq(fg_store_token_check(store, "k", KIT_DIGEST, NOW, NULL), -FG_ENOTALLOWED);
	ck_assert_int_eq(fg_store_token_add(store, "l", "h1", "j", A, KIT_DIGEST, NOW, NOW + 10, NULL),
			 -FG_ENOTALLOWED);
}
END_TEST

/* ---- the file ---- */

static int n_entries;
static char chain[65];
static void on_chain(const struct fg_store_audit *e, void *arg)
{
	char hash[65];

	(void)arg;
	n_entries++;
	fg_audit_hash(chain, e, hash);
	ck_assert_str_eq(hash, e->hash);
	snprintf(chain, sizeof(chain), "%s", hash);
}

START_TEST(the_audit_chain_goes_on_over_a_restart)
{
	memset(chain, '0', 64);
	ck_assert_int_eq(fg_store_audit_add(store, NOW, "me", "a", "one\ntwo", NULL), 0);
	fg_store_close(store);
	ck_assert_int_eq(fg_store_open(store_path, &store, NULL), 0);
	ck_assert_int_eq(fg_store_audit_add(store, NOW, "me", "b", "", NULL), 0);
	ck_assert_int_eq(fg_store_audit_after(store, 0, 100, on_chain, NULL, NULL), 0);
	ck_assert_int_eq(n_entries, 3); /* the fix of setup too */
}
END_TEST

/* A statement of somebody else, while the store is closed. */
static void sql(const char *text)
{
	fg_store_close(store);
	store = NULL;
	kit_sql(store_path, text);
}

START_TEST(a_newer_schema_is_left_alone)
{
	struct fg_error err = FG_ERROR_INIT;

	sql("PRAGMA user_version = 1000");
	ck_assert_int_eq(fg_store_open(store_path, &store, &err), -FG_EDIFFERS);
}
END_TEST

START_TEST(a_damaged_file_is_found)
{
	struct fg_error err = FG_ERROR_INIT;

	sql("PRAGMA journal_mode = DELETE");
	FILE *f = fopen(store_path, "r+");
	ck_assert_ptr_nonnull(f);
	for (long page = 2; page < 8; page++) {
		fseek(f, page * 4096, SEEK_SET);
		for (int i = 0; i < 64; i++)
			fputc(0x5a, f);
	}
	fclose(f);
	/* Opening does not read all of it: each process does it, and each respawned one. */
	ck_assert_int_eq(fg_store_open(store_path, &store, NULL), 0);
	ck_assert_int_lt(fg_store_check(store, &err), 0);
	fg_store_close(store);
	store = NULL;
}
END_TEST

START_TEST(a_missing_file_is_not_made)
{
	struct fg_error err = FG_ERROR_INIT;

	sql("PRAGMA journal_mode = DELETE");
	ck_assert_int_eq(unlink(store_path), 0);
	ck_assert_int_eq(fg_store_open(store_path, &store, &err), -FG_ENOTFOUND);
	ck_assert_ptr_nonnull(strstr(err.text, "restore"));
	ck_assert_int_lt(access(store_path, F_OK), 0);
	/* Nor is an empty one filled. */
	FILE *f = fopen(store_path, "w");
	ck_assert_ptr_nonnull(f);
	fclose(f);
	fg_error_clear(&err);
	ck_assert_int_eq(fg_store_open(store_path, &store, &err), -FG_EUNTRUSTED);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("store");
	TCase *t = tcase_create("store");

	tcase_add_checked_fixture(t, kit_setup, kit_teardown);
	tcase_add_test(t, offers_reach_their_host_once);
	tcase_add_test(t, offers_that_are_none);
	tcase_add_test(t, an_ambiguous_name_is_refused_and_a_uuid_is_not);
	tcase_add_test(t, an_expired_fix_is_not_offered);
	tcase_add_test(t, a_host_asks_again);
	tcase_add_test(t, other_bytes_of_a_version_are_refused);
	tcase_add_test(t, reports_count_once);
	tcase_add_test(t, a_gap_is_taken_and_audited);
	tcase_add_test(t, a_host_speaks_of_its_own_guests_only);
	tcase_add_test(t, an_older_version_that_was_had_is_remembered);
	tcase_add_test(t, the_end_of_a_job_closes_its_offer_only);
	tcase_add_test(t, a_guest_stays_where_it_runs);
	tcase_add_test(t, a_claim_ends);
	tcase_add_test(t, a_revoked_host_holds_no_guest);
	tcase_add_test(t, a_guest_that_left_the_inventory_is_remembered);
	tcase_add_test(t, tokens);
	tcase_add_test(t, the_audit_chain_goes_on_over_a_restart);
	tcase_add_test(t, a_newer_schema_is_left_alone);
	tcase_add_test(t, a_damaged_file_is_found);
	tcase_add_test(t, a_missing_file_is_not_made);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
