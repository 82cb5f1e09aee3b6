/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the store makes catalogues of. */
#include "store_kit.h"

#include <check.h>
#include <lib/util.h>
#include <server/store/catalogue.h>
#include <string.h>

#define D1 "1111111111111111111111111111111111111111111111111111111111111111"
#define D2 "2222222222222222222222222222222222222222222222222222222222222222"
#define D3 "3333333333333333333333333333333333333333333333333333333333333333"
#define HEAD "4444444444444444444444444444444444444444444444444444444444444444"
#define NOW_S 1800000000

static char last[4096]; /* content of the one that was signed last */
static unsigned heads; /* how often one was asked for */
static bool fail;

static int head(const char *bundle, char digest[FG_DIGEST_HEX], void *arg, struct fg_error *err)
{
	(void)arg, (void)err;
	ck_assert_uint_eq(strlen(bundle), 64);
	heads++;
	snprintf(digest, FG_DIGEST_HEX, "%s", HEAD);
	return 0;
}

static int sign(const struct fg_catalogue *c, char **cms, void *arg, struct fg_error *err)
{
	fg_autofree char *text = fg_catalogue_text(c);

	(void)arg;
	if (fail)
		return fg_error_set(err, FG_EFAILED, "no key");
	snprintf(last, sizeof(last), "%s", text);
	*cms = fg_strdup("c0ffee");
	return 0;
}

static int64_t lifetime_s; /* 0: as it comes */

static int make(uint64_t generation, int64_t now_s)
{
	const struct fg_store_catalogue_maker maker = { head, sign, NULL, lifetime_s };

	return fg_store_catalogue_make(store, generation, now_s, &maker, NULL);
}

static struct fg_store_catalogue now(void)
{
	struct fg_store_catalogue c = { .published_s = 0 };
	fg_autofree char *cms = NULL;

	ck_assert_int_eq(fg_store_catalogue(store, &c, &cms, NULL), 0);
	ck_assert_str_eq(cms, "c0ffee");
	return c;
}

static void add(const char *id, int64_t version, const char *digest, int64_t expires_s)
{
	const struct fg_store_fix f = { .id = id,
					.digest = digest,
					.title = "title",
					.severity = "low",
					.version = version,
					.bytes = 10,
					.published_s = 1,
					.expires_s = expires_s,
					.added_ms = 1 };
	bool added = false;

	ck_assert_int_eq(fg_store_fix_add(store, &f, "admin", &added, NULL), 0);
}

static int withdraw(const char *fix, int64_t version, int64_t *upto)
{
	const struct fg_store_withdrawal w = {
		.fix = fix, .who = "admin", .reason = "it breaks", .version = version, .now_ms = 5
	};
	int64_t closed = 0;

	return fg_store_withdraw(store, &w, upto, &closed, NULL);
}

START_TEST(versions_only_grow)
{
	struct fg_store_catalogue c;

	ck_assert_int_eq(fg_store_catalogue(store, &c, NULL, NULL), -FG_ENOTFOUND);
	ck_assert_int_eq(make(1, NOW_S), 0);
	c = now();
	ck_assert_uint_eq(c.mark.version, NOW_S);
	ck_assert_int_eq(c.published_s, NOW_S);
	ck_assert_int_eq(c.expires_s, NOW_S + FG_CATALOGUE_LIFETIME_S);
	ck_assert_int_eq(make(1, NOW_S), 0); /* in the same second */
	ck_assert_uint_eq(now().mark.version, NOW_S + 1);
	ck_assert_int_eq(make(1, NOW_S - 1000), 0); /* the clock was set back */
	ck_assert_uint_eq(now().mark.version, NOW_S + 2);
	ck_assert_int_eq(make(2, NOW_S - 1000), 0);
	ck_assert_uint_eq(now().mark.version, NOW_S + 3);
	ck_assert_uint_eq(now().mark.generation, 2);
	fail = true;
	ck_assert_int_eq(make(2, NOW_S + 50), -FG_EFAILED);
	fail = false;
	ck_assert_uint_eq(now().mark.version, NOW_S + 3); /* as if it had not been tried */
	ck_assert_int_eq(make(2, NOW_S + 50), 0);
	ck_assert_uint_eq(now().mark.version, NOW_S + 50);
	lifetime_s = 3600;
	ck_assert_int_eq(make(2, NOW_S + 60), 0);
	ck_assert_int_eq(now().expires_s, NOW_S + 60 + 3600);
	lifetime_s = 0;
}
END_TEST

START_TEST(what_is_in_it)
{
	int64_t upto = 0;

	add("b", 1, D1, NOW_S + 10);
	add("a", 7, D2, NOW_S + 10);
	add("a", 10, D3, NOW_S + 10);
	ck_assert_int_eq(make(1, NOW_S), 0);
	ck_assert_ptr_nonnull(strstr(last, "\"fixes\":[{\"id\":\"a\",\"version\":7,\"head\":\"" HEAD
					   "\",\"bundle\":\"" D2 "\"},"
					   "{\"id\":\"a\",\"version\":10,"));
	ck_assert_ptr_nonnull(strstr(last, D1));
	ck_assert_uint_eq(heads, 4); /* the kit has one more */
	ck_assert_int_eq(make(1, NOW_S), 0);
	ck_assert_uint_eq(heads, 4); /* they are kept */
	ck_assert_int_eq(withdraw("a", 7, &upto), 0);
	ck_assert_int_eq(upto, 7);
	ck_assert_int_eq(make(1, NOW_S), 0);
	ck_assert_ptr_nonnull(strstr(last, "\"withdrawn\":[{\"id\":\"a\",\"version\":7}]"));
	ck_assert_ptr_null(strstr(last, D2));
	ck_assert_ptr_nonnull(strstr(last, D3));
	ck_assert_int_eq(make(1, NOW_S + 10), 0); /* the manifests end */
	ck_assert_ptr_null(strstr(last, D1));
	ck_assert_ptr_null(strstr(last, D3));
}
END_TEST

START_TEST(withdrawing)
{
	int64_t upto = 0;
	struct fg_store_offer_request r = { .fix = "a", .who = "admin", .now_ms = 5 };

	add("a", 1, D1, NOW_S);
	add("a", 2, D2, NOW_S);
	ck_assert_int_eq(withdraw("no", 0, &upto), -FG_ENOTFOUND);
	ck_assert_int_eq(withdraw("a", 3, &upto), -FG_ENOTFOUND);
	ck_assert_int_eq(withdraw("a", 0, &upto), 0);
	ck_assert_int_eq(upto, 2);
	ck_assert_int_eq(fg_store_offer(store, &r, NULL), -FG_ENOTFOUND);
	ck_assert_int_eq(withdraw("a", 1, &upto), 0); /* takes nothing back */
	ck_assert_int_eq(make(1, 1), 0);
	ck_assert_ptr_nonnull(strstr(last, "\"withdrawn\":[{\"id\":\"a\",\"version\":2}]"));
	add("a", 3, D3, NOW_S);
	ck_assert_int_eq(make(1, 1), 0);
	ck_assert_ptr_nonnull(strstr(last, D3));
}
END_TEST

START_TEST(revoking)
{
	struct fg_store_revocation r = {
		.key = D2, .name = "CN=Mallory", .who = "admin", .reason = "stolen", .now_ms = 5
	};
	uint8_t(*keys)[FG_DIGEST_BYTES] = NULL;
	size_t n = 9;

	ck_assert_int_eq(fg_store_revoked_keys(store, &keys, &n, NULL), 0);
	ck_assert_uint_eq(n, 0);
	free(keys);
	ck_assert_int_eq(fg_store_revoke_key(store, &r, NULL), 0);
	ck_assert_int_eq(fg_store_revoke_key(store, &r, NULL), -FG_EEXISTS);
	r.key = D1;
	ck_assert_int_eq(fg_store_revoke_key(store, &r, NULL), 0);
	ck_assert_int_eq(fg_store_revoked_keys(store, &keys, &n, NULL), 0);
	ck_assert_uint_eq(n, 2);
	ck_assert_uint_eq(keys[0][0], 0x11); /* in order */
	ck_assert_uint_eq(keys[1][31], 0x22);
	free(keys);
	ck_assert_int_eq(make(1, NOW_S), 0);
	ck_assert_ptr_nonnull(strstr(last, "\"revoked\":[{\"key\":\"" D1 "\",\"name\":\"CN=Mallory\"},"));
}
END_TEST

/* What one process wrote another one reads: here over a second connection. */
START_TEST(that_it_is_wrong_is_known_to_all)
{
	struct fg_store_revocation r = {
		.key = D2, .name = "CN=Mallory", .who = "admin", .reason = "stolen", .now_ms = 5
	};
	struct fg_store_catalogue c = { .published_s = 0 };
	struct fg_store *other = NULL;
	int64_t upto = 0;

	ck_assert_int_eq(fg_store_open(store_path, &other, NULL), 0);
	ck_assert_int_eq(make(1, NOW_S), 0);
	ck_assert_int_eq(fg_store_catalogue(other, &c, NULL, NULL), 0);
	ck_assert(!c.incomplete && !c.wrong);
	add("a", 1, D1, NOW_S + 1000);
	ck_assert_int_eq(fg_store_catalogue(other, &c, NULL, NULL), 0);
	ck_assert(c.incomplete && !c.wrong);
	ck_assert_int_eq(withdraw("a", 1, &upto), 0);
	add("b", 1, D3, NOW_S + 1000);
	ck_assert_int_eq(fg_store_catalogue(other, &c, NULL, NULL), 0);
	ck_assert(c.incomplete && c.wrong);
	fail = true;
	ck_assert_int_eq(make(1, NOW_S), -FG_EFAILED);
	fail = false;
	ck_assert_int_eq(fg_store_catalogue(other, &c, NULL, NULL), 0);
	ck_assert(c.wrong);
	ck_assert_int_eq(make(1, NOW_S), 0);
	ck_assert_int_eq(fg_store_catalogue(other, &c, NULL, NULL), 0);
	ck_assert(!c.incomplete && !c.wrong);
	ck_assert_int_eq(fg_store_revoke_key(store, &r, NULL), 0);
	ck_assert_int_eq(fg_store_catalogue(other, &c, NULL, NULL), 0);
	ck_assert(c.wrong);
	fg_store_close(other);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("store/catalogue");
	TCase *t = tcase_create("catalogue");

	tcase_add_checked_fixture(t, kit_setup, kit_teardown);
	tcase_add_test(t, versions_only_grow);
	tcase_add_test(t, what_is_in_it);
	tcase_add_test(t, withdrawing);
	tcase_add_test(t, revoking);
	tcase_add_test(t, that_it_is_wrong_is_known_to_all);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
