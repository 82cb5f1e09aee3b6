/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The catalogue: who may sign it, which is taken, what it admits; keys that it revokes. */
#include "maker.h"

#include <fixgate/catalogue.h>

#include <check.h>
#include <string.h>

#define ONLINE "critical," FG_CATALOGUE_EKU
#define D64 "1111111111111111111111111111111111111111111111111111111111111111"
#define E64 "2222222222222222222222222222222222222222222222222222222222222222"

static struct maker_id ca, online;
static struct fg_trust *trust;
static const struct fg_catalogue_mark none;

static struct maker_id online_key(const struct maker_id *issuer, const char *generation)
{
	return maker_id(issuer, (struct maker_spec){ .cn = "catalogue", .generation = generation, .purpose = ONLINE });
}

static struct fg_trust *trust_of(const struct maker_id *id)
{
	fg_autofree char *pem = maker_pem(id);
	struct fg_error err = FG_ERROR_INIT;
	struct fg_trust *t = NULL;

	ck_assert_msg(fg_trust_load_catalogue(pem, strlen(pem), &t, &err) == 0, "%s", err.text);
	return t;
}

static void setup(void)
{
	ca = maker_id(NULL, (struct maker_spec){ .cn = "server ca" });
	online = online_key(&ca, "7");
	trust = trust_of(&ca);
}

static void teardown(void)
{
	fg_trust_free(trust);
	maker_id_release(&online);
	maker_id_release(&ca);
}

static struct fg_catalogue sample(uint64_t version)
{
	static struct fg_catalogue_fix fixes[] = { { .id = (char *)"a-1", .version = 2 },
						   { .id = (char *)"a-1", .version = 10 },
						   { .id = (char *)"b-1", .version = 1 } };
	static struct fg_catalogue_fix withdrawn[] = { { .id = (char *)"c-1", .version = 4 } };
	static struct fg_catalogue_revoked revoked[] = { { .name = (char *)"CN=Mallory" } };

	for (size_t i = 0; i < FG_COUNT(fixes); i++) {
		memset(fixes[i].head, (int)i + 1, FG_DIGEST_BYTES);
		memset(fixes[i].bundle, (int)i + 0x11, FG_DIGEST_BYTES);
	}
	return (struct fg_catalogue){ .mark = { .version = version },
				      .published_s = MAKER_NOW,
				      .expires_s = MAKER_NOW + FG_CATALOGUE_LIFETIME_S,
				      .fixes = fixes,
				      .n_fixes = FG_COUNT(fixes),
				      .withdrawn = withdrawn,
				      .n_withdrawn = 1,
				      .revoked = revoked,
				      .n_revoked = 1 };
}

static uint8_t *sign(const struct maker_id *by, uint64_t version, size_t *len)
{
	struct fg_catalogue c = sample(version);
	fg_autofree char *pem = maker_pem(by);
	struct fg_error err = FG_ERROR_INIT;
	uint8_t *der = NULL;

	ck_assert_msg(fg_catalogue_sign(&c, pem, strlen(pem), &der, len, &err) == 0, "%s", err.text);
	return der;
}

/* The code, and a part of the reason. */
static void refused(const uint8_t *der, size_t len, const struct fg_trust *by, const struct fg_catalogue_mark *oldest,
		    int64_t now_s, int code, const char *why)
{
	struct fg_catalogue *c = NULL;
	struct fg_error err = FG_ERROR_INIT;
	int rc = fg_catalogue_verify(der, len, by, oldest, now_s, &c, &err);

	ck_assert_msg(rc == -code && strstr(err.text, why), "%d %s; not %s", rc, err.text, why);
	ck_assert_ptr_null(c);
}

START_TEST(what_was_signed_is_read)
{
	struct fg_error err = FG_ERROR_INIT;
	struct fg_catalogue *c = NULL;
	size_t len = 0;
	fg_autofree uint8_t *der = sign(&online, 41, &len);

	ck_assert_msg(fg_catalogue_verify(der, len, trust, &none, MAKER_NOW, &c, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(c->mark.generation, 7);
	ck_assert_uint_eq(c->mark.version, 41);
	ck_assert_uint_eq(c->n_fixes, 3);
	ck_assert_str_eq(c->fixes[1].id, "a-1");
	ck_assert_uint_eq(c->fixes[1].version, 10);
	ck_assert_str_eq(c->withdrawn[0].id, "c-1");
	ck_assert_str_eq(c->revoked[0].name, "CN=Mallory");
	struct fg_catalogue like = sample(41);
	fg_autofree char *one = fg_catalogue_text(c), *two = fg_catalogue_text(&like);
	ck_assert_str_eq(one, two);
	fg_catalogue_free(c);
}
END_TEST

START_TEST(older_ones_are_refused)
{
	struct maker_id next = online_key(&ca, "8");
	const struct fg_catalogue_mark same = { 7, 41 }, later = { 7, 42 }, newer = { 8, 1 }, last = { 7, INT64_MAX };
	struct fg_catalogue *c = NULL;
	size_t len = 0, next_len = 0;
	fg_autofree uint8_t *der = sign(&online, 41, &len), *first = sign(&next, 1, &next_len);

	ck_assert_int_eq(fg_catalogue_verify(der, len, trust, &same, MAKER_NOW, &c, NULL), 0);
	fg_catalogue_free(c);
	c = NULL;
	refused(der, len, trust, &later, MAKER_NOW, FG_EUNTRUSTED, "older");
	refused(der, len, trust, &newer, MAKER_NOW, FG_EUNTRUSTED, "older");
	/* A stolen key that signed the highest version is overcome by the next generation. */
	ck_assert_int_eq(fg_catalogue_verify(first, next_len, trust, &last, MAKER_NOW, &c, NULL), 0);
	fg_catalogue_free(c);
	maker_id_release(&next);
}
END_TEST

START_TEST(times)
{
	struct fg_catalogue *c = NULL;
	size_t len = 0;
	fg_autofree uint8_t *der = sign(&online, 1, &len);
	const int64_t end = MAKER_NOW + FG_CATALOGUE_LIFETIME_S, early = MAKER_NOW - FG_CATALOGUE_SKEW_S;

	refused(der, len, trust, &none, end, FG_EUNTRUSTED, "expired");
	refused(der, len, trust, &none, early - 1, FG_EUNTRUSTED, "clock");
	ck_assert_int_eq(fg_catalogue_verify(der, len, trust, &none, end - 1, &c, NULL), 0);
	fg_catalogue_free(c);
	ck_assert_int_eq(fg_catalogue_verify(der, len, trust, &none, early, &c, NULL), 0);
	fg_catalogue_free(c);
}
END_TEST

/* By CMS_sign, as fg_catalogue_sign would refuse these. */
static void refused_signer(struct maker_spec spec, const char *why)
{
	struct maker_id id = maker_id(&ca, spec);
	const struct maker_id *signers[] = { &id };
	struct fg_catalogue c = sample(1);
	fg_autofree char *text = fg_catalogue_text(&c), *pem = maker_pem(&id);
	size_t len = 0;
	fg_autofree uint8_t *der = maker_der(maker_cms(text, signers, 1, (struct maker_cms){ .flags = 0 }), &len);
	uint8_t *made = NULL;
	uint64_t generation = 0;
	int64_t until = 0;

	refused(der, len, trust, &none, MAKER_NOW, FG_EUNTRUSTED, why);
	ck_assert_int_lt(fg_catalogue_sign(&c, pem, strlen(pem), &made, &len, NULL), 0);
	if (!spec.from_s && !spec.to_s)
		ck_assert_int_lt(fg_catalogue_generation(pem, strlen(pem), &generation, &until, NULL), 0);
	maker_id_release(&id);
}

START_TEST(signers_that_may_not_sign)
{
	static const char *const generations[] = { "0", "07", "-1", "7x", "1234567890123456789", " 7" };
	static const char *const purposes[] = {
		"serverAuth", "clientAuth",	 "codeSigning",	      "critical,anyExtendedKeyUsage",
		"",	      "critical,2.25.1", ONLINE ",clientAuth"
	};

	for (size_t i = 0; i < FG_COUNT(purposes); i++)
		refused_signer((struct maker_spec){ .generation = "7", .purpose = purposes[i] }, "catalogues");
	for (size_t i = 0; i < FG_COUNT(generations); i++)
		refused_signer((struct maker_spec){ .generation = generations[i], .purpose = ONLINE }, "generation");
	refused_signer((struct maker_spec){ .purpose = ONLINE }, "generation");
	refused_signer((struct maker_spec){ .generation = "7", .purpose = ONLINE, .usage = "critical,keyAgreement" },
		       "digital");
	refused_signer((struct maker_spec){ .generation = "7", .purpose = ONLINE, .usage = "" }, "digital");
	refused_signer((struct maker_spec){ .generation = "7",
					    .purpose = ONLINE,
					    .usage = "critical,digitalSignature,keyCertSign",
					    .constraints = "critical,CA:TRUE" },
		       "CA");
	refused_signer((struct maker_spec){ .generation = "7",
					    .purpose = ONLINE,
					    .from_s = MAKER_NOW - 2 * MAKER_DAY,
					    .to_s = MAKER_NOW - MAKER_DAY },
		       "expired");
}
END_TEST

START_TEST(other_cas_and_several_signers)
{
	struct maker_id other = maker_id(NULL, (struct maker_spec){ .cn = "other" }), foreign = online_key(&other, "9"),
			second = online_key(&ca, "9");
	const struct maker_id *both[] = { &online, &second };
	struct fg_catalogue c = sample(1);
	fg_autofree char *text = fg_catalogue_text(&c);
	size_t len = 0, foreign_len = 0;
	fg_autofree uint8_t *two = maker_der(maker_cms(text, both, 2, (struct maker_cms){ .flags = 0 }), &len);
	fg_autofree uint8_t *der = sign(&foreign, 1, &foreign_len);

	refused(two, len, trust, &none, MAKER_NOW, FG_EFORMAT, "more than one signer");
	refused(der, foreign_len, trust, &none, MAKER_NOW, FG_EUNTRUSTED, "signers count");
	maker_id_release(&second);
	maker_id_release(&foreign);
	maker_id_release(&other);
}
END_TEST

/* A manifest under the trust for catalogues and the other way round: neither key signs for the other. */
START_TEST(roles_are_apart)
{
	struct maker_id alice = maker_id(&ca, (struct maker_spec){ .cn = "alice" });
	const struct maker_id *by_online[] = { &online };
	uint8_t *payload = maker_payload(1000);
	struct maker_file f = maker_file(NULL, payload, 1000, by_online, 1);
	struct fg_trust *publishers = maker_trust(ca.cert, NULL, NULL);
	struct fg_bundle_head head = { 0 };

	ck_assert_int_eq(fg_bundle_head_parse(f.bytes, f.head_len, &head, NULL), 0);
	ck_assert_int_eq(fg_bundle_head_verify(&head, publishers, MAKER_NOW, NULL), -FG_EUNTRUSTED);
	fg_bundle_head_release(&head);
	refused_signer((struct maker_spec){ .cn = "alice", .generation = "7" }, "catalogues");
	fg_trust_free(publishers);
	free(f.bytes);
	free(payload);
	maker_id_release(&alice);
}
END_TEST

START_TEST(each_byte_counts)
{
	size_t len = 0;
	fg_autofree uint8_t *der = sign(&online, 41, &len);
	int unseen = 0;

	for (size_t at = 0; at < len; at++) {
		struct fg_catalogue *c = NULL;
		der[at] ^= (uint8_t)(1 << at % 8);
		if (fg_catalogue_verify(der, len, trust, &none, MAKER_NOW, &c, NULL) == 0) {
			struct fg_catalogue like = sample(41);
			fg_autofree char *one = fg_catalogue_text(c), *two = fg_catalogue_text(&like);
			ck_assert_str_eq(one, two);
			ck_assert_uint_eq(c->mark.generation, 7);
			unseen++; /* version numbers of CMS, letter case of the issuer: they say nothing */
		}
		fg_catalogue_free(c);
		der[at] ^= (uint8_t)(1 << at % 8);
	}
	ck_assert_int_le(unseen, 16);
	for (size_t n = 0; n < len; n += 7) {
		struct fg_catalogue *c = NULL;
		ck_assert_int_lt(fg_catalogue_verify(der, n, trust, &none, MAKER_NOW, &c, NULL), 0);
	}
}
END_TEST

START_TEST(what_is_admitted)
{
	struct fg_catalogue c = sample(1);
	struct fg_error err = FG_ERROR_INIT;
	uint8_t head[FG_DIGEST_BYTES], raw[FG_DIGEST_BYTES];
	char bundle[FG_DIGEST_HEX];

	memset(head, 2, sizeof(head));
	memset(raw, 0x12, sizeof(raw));
	fg_hex_encode(raw, sizeof(raw), bundle);
	ck_assert_int_eq(fg_catalogue_admits(&c, "a-1", 10, bundle, head, NULL), 0);
	/* Each fix has its own manifest: none stands for another. */
	ck_assert_int_eq(fg_catalogue_admits(&c, "a-1", 2, bundle, head, NULL), -FG_EUNTRUSTED);
	ck_assert_int_eq(fg_catalogue_admits(&c, "b-1", 1, bundle, head, &err), -FG_EUNTRUSTED);
	ck_assert_ptr_nonnull(strstr(err.text, "another bundle"));
	fg_error_clear(&err);
	ck_assert_int_eq(fg_catalogue_admits(&c, "a-1", 11, bundle, head, &err), -FG_EUNTRUSTED);
	ck_assert_ptr_nonnull(strstr(err.text, "not in the catalogue"));
	fg_error_clear(&err);
	ck_assert_int_eq(fg_catalogue_admits(&c, "c-1", 4, bundle, head, &err), -FG_EUNTRUSTED);
	ck_assert_ptr_nonnull(strstr(err.text, "withdrawn"));
	ck_assert_int_eq(fg_catalogue_admits(&c, "c-1", 5, bundle, head, NULL), -FG_EUNTRUSTED);
	head[31] ^= 1;
	ck_assert_int_eq(fg_catalogue_admits(&c, "a-1", 10, bundle, head, NULL), -FG_EUNTRUSTED);
	head[31] ^= 1;
	bundle[0] = 'f';
	ck_assert_int_eq(fg_catalogue_admits(&c, "a-1", 10, bundle, head, NULL), -FG_EUNTRUSTED);
}
END_TEST

#define HEAD "{\"format\":1,\"version\":1,\"published\":\"2026-06-01T00:00:00Z\",\"expires\":\"2026-06-04T00:00:00Z\","
#define FIX(id, v) "{\"id\":\"" id "\",\"version\":" v ",\"head\":\"" D64 "\",\"bundle\":\"" E64 "\"}"
#define LISTS(fixes, withdrawn, revoked)                                                                               \
	"\"fixes\":[" fixes "],\"withdrawn\":[" withdrawn "],\"revoked\":[" revoked "]}"

START_TEST(texts)
{
	static const char *const good[] = {
		HEAD LISTS("", "", ""),
		HEAD LISTS(FIX("a", "1") "," FIX("a", "2") "," FIX("b", "1"), "{\"id\":\"a\",\"version\":1}",
			   "{\"key\":\"" D64 "\",\"name\":\"\"},{\"key\":\"" E64 "\",\"name\":\"x\"}"),
	};
	static const char *const bad[] = {
		"",
		"[]",
		"{}",
		HEAD LISTS("", "", "") " x",
		HEAD "\"more\":1," LISTS("", "", ""),
		HEAD "\"format\":1," LISTS("", "", ""),
		HEAD "\"fixes\":[],\"withdrawn\":[]}",
		HEAD LISTS(FIX("b", "1") "," FIX("a", "1"), "", ""),
		HEAD LISTS(FIX("a", "2") "," FIX("a", "2"), "", ""),
		HEAD LISTS(FIX("A", "1"), "", ""),
		HEAD LISTS(FIX("", "1"), "", ""),
		HEAD LISTS(FIX("a", "0"), "", ""),
		HEAD LISTS(FIX("a", "9223372036854775808"), "", ""),
		HEAD LISTS("1", "", ""),
		HEAD LISTS("{\"id\":\"a\",\"version\":1,\"head\":\"" D64 "\"}", "", ""),
		HEAD LISTS("{\"id\":\"a\",\"id\":\"a\",\"version\":1,\"head\":\"" D64 "\",\"bundle\":\"" E64 "\"}", "",
			   ""),
		HEAD LISTS("{\"id\":\"a\",\"version\":1,\"head\":\"" D64 "0\",\"bundle\":\"" E64 "\"}", "", ""),
		HEAD LISTS("", "{\"id\":\"a\",\"version\":1},{\"id\":\"a\",\"version\":2}", ""),
		HEAD LISTS("", "", "{\"key\":\"" E64 "\",\"name\":\"\"},{\"key\":\"" D64 "\",\"name\":\"\"}"),
		HEAD LISTS("", "", "{\"key\":\"" D64 "\",\"name\":\"a\\u0000b\"}"),
		HEAD LISTS("", "", "{\"key\":\"" D64 "\",\"name\":\"\\u001b[2J\"}"),
		HEAD LISTS("", "", "{\"key\":\"" D64 "\",\"name\":\"\\u202e\"}"),
		"{\"format\":2,\"version\":1,\"published\":\"2026-06-01T00:00:00Z\",\"expires\":\"2026-06-04T00:00:"
		"00Z\"," LISTS("", "", ""),
		"{\"format\":1,\"version\":1,\"published\":\"2026-06-01T00:00:00Z\",\"expires\":\"2026-06-01T00:00:"
		"00Z\"," LISTS("", "", ""),
		"{\"format\":1,\"version\":0,\"published\":\"2026-06-01T00:00:00Z\",\"expires\":\"2026-06-04T00:00:"
		"00Z\"," LISTS("", "", ""),
	};
	struct fg_error err = FG_ERROR_INIT;

	for (size_t i = 0; i < FG_COUNT(good); i++) {
		struct fg_catalogue *c = NULL;
		ck_assert_msg(fg_catalogue_parse(good[i], strlen(good[i]), &c, &err) == 0, "%s", err.text);
		ck_assert_uint_eq(c->mark.generation, 0);
		fg_catalogue_free(c);
		for (size_t n = 0; n < strlen(good[i]); n++)
			ck_assert_int_eq(fg_catalogue_parse(good[i], n, &c, NULL), -FG_EFORMAT);
	}
	for (size_t i = 0; i < FG_COUNT(bad); i++) {
		struct fg_catalogue *c = NULL;
		ck_assert_msg(fg_catalogue_parse(bad[i], strlen(bad[i]), &c, NULL) == -FG_EFORMAT, "%s", bad[i]);
	}
	struct fg_catalogue *c = NULL;
	fg_autofree char *nul = fg_strdup(good[0]);
	nul[3] = '\0';
	ck_assert_int_eq(fg_catalogue_parse(nul, strlen(good[0]), &c, NULL), -FG_EFORMAT);
	fg_autofree char *big = fg_calloc(FG_CATALOGUE_MAX + 1, 1);
	ck_assert_int_eq(fg_catalogue_parse(big, FG_CATALOGUE_MAX + 1, &c, NULL), -FG_ELIMIT);
}
END_TEST

static int verify_bundle(const struct maker_file *f, const struct fg_trust *by, struct fg_error *err)
{
	struct fg_bundle_head head = { 0 };
	int rc = fg_bundle_head_parse(f->bytes, f->head_len, &head, err);

	if (rc == 0)
		rc = fg_bundle_head_verify(&head, by, MAKER_NOW, err);
	fg_bundle_head_release(&head);
	return rc;
}

START_TEST(revoked_keys_do_not_count)
{
	struct maker_id alice = maker_id(&ca, (struct maker_spec){ .cn = "alice" }),
			bob = maker_id(&ca, (struct maker_spec){ .cn = "bob" }),
			again = maker_id(&ca, (struct maker_spec){ .cn = "alice again", .key = alice.key });
	const struct maker_id *one[] = { &alice }, *two[] = { &alice, &bob }, *other[] = { &again };
	uint8_t *payload = maker_payload(1000), keys[2][FG_DIGEST_BYTES];
	struct maker_file by_alice = maker_file(NULL, payload, 1000, one, 1),
			  by_two = maker_file(NULL, payload, 1000, two, 2),
			  by_again = maker_file(NULL, payload, 1000, other, 1);
	struct fg_trust *t = maker_trust(ca.cert, NULL, NULL);
	struct fg_error err = FG_ERROR_INIT;
	fg_autofree char *alice_pem = maker_pem(&alice), *ca_pem = maker_pem(&ca);
	char *names[2] = { NULL, NULL };

	ck_assert_int_eq(fg_catalogue_key_of(alice_pem, strlen(alice_pem), keys[0], &names[0], NULL), 0);
	ck_assert_int_eq(fg_catalogue_key_of(ca_pem, strlen(ca_pem), keys[1], &names[1], NULL), 0);
	ck_assert_str_eq(names[0], "CN=alice");
	ck_assert_int_eq(verify_bundle(&by_alice, t, NULL), 0);
	fg_trust_set_revoked(t, keys, 1);
	ck_assert_int_eq(verify_bundle(&by_alice, t, &err), -FG_EUNTRUSTED);
	ck_assert_ptr_nonnull(strstr(err.text, "key is revoked"));
	ck_assert_int_eq(verify_bundle(&by_again, t, NULL), -FG_EUNTRUSTED); /* another certificate, the same key */
	ck_assert_int_eq(verify_bundle(&by_two, t, NULL), 0); /* bob still counts */
	fg_trust_set_threshold(t, 2);
	ck_assert_int_eq(verify_bundle(&by_two, t, NULL), -FG_EUNTRUSTED);
	fg_trust_set_revoked(t, NULL, 0);
	ck_assert_int_eq(verify_bundle(&by_two, t, NULL), 0);
	fg_trust_set_revoked(t, keys + 1, 1); /* the CA's */
	ck_assert_int_eq(verify_bundle(&by_two, t, NULL), -FG_EUNTRUSTED);
	free(names[0]);
	free(names[1]);
	fg_trust_free(t);
	free(by_alice.bytes);
	free(by_two.bytes);
	free(by_again.bytes);
	free(payload);
	maker_id_release(&again);
	maker_id_release(&bob);
	maker_id_release(&alice);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("catalogue");
	TCase *t = tcase_create("catalogue");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, what_was_signed_is_read);
	tcase_add_test(t, older_ones_are_refused);
	tcase_add_test(t, times);
	tcase_add_test(t, signers_that_may_not_sign);
	tcase_add_test(t, other_cas_and_several_signers);
	tcase_add_test(t, roles_are_apart);
	tcase_add_test(t, each_byte_counts);
	tcase_add_test(t, what_is_admitted);
	tcase_add_test(t, texts);
	tcase_add_test(t, revoked_keys_do_not_count);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
