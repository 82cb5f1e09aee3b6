/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Who may sign: chains, key usage, revocation, k of n, and every other shape of CMS. */
#include "maker.h"

#include <lib/bundle/cms.h>

#include <check.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <string.h>

#define PAYLOAD 70000
#define ALICE_SERIAL 4711

static struct maker_id ca, alice, bob;
static uint8_t *payload;
static char *manifest;

static void setup(void)
{
	ca = maker_id(NULL, (struct maker_spec){ .cn = "publisher ca" });
	alice = maker_id(&ca, (struct maker_spec){ .cn = "alice", .serial = ALICE_SERIAL });
	bob = maker_id(&ca, (struct maker_spec){ .cn = "bob" });
	payload = maker_payload(PAYLOAD);
	manifest = maker_manifest("demo-1", payload, PAYLOAD);
}

static void teardown(void)
{
	free(manifest);
	free(payload);
	maker_id_release(&bob);
	maker_id_release(&alice);
	maker_id_release(&ca);
}

static int verify_der(const uint8_t *der, size_t len, const struct fg_trust *trust, int64_t now_s, size_t *n_signers,
		      struct fg_error *err)
{
	struct maker_file f = maker_file_cms(der, len, payload, PAYLOAD);
	struct fg_bundle_head head = { 0 };
	int rc = fg_bundle_head_parse(f.bytes, f.head_len, &head, err);

	if (rc == 0)
		rc = fg_bundle_head_verify(&head, trust, now_s, err);
	if (n_signers)
		*n_signers = head.n_signers;
	fg_bundle_head_release(&head);
	free(f.bytes);
	return rc;
}

/* cms is used up. */
static int verify_cms(CMS_ContentInfo *cms, const struct fg_trust *trust, struct fg_error *err)
{
	size_t len = 0;
	fg_autofree uint8_t *der = maker_der(cms, &len);

	return verify_der(der, len, trust, MAKER_NOW, NULL, err);
}

static int verify_signed_by(const struct maker_id *const *signers, size_t n, const struct fg_trust *trust,
			    struct fg_error *err)
{
	return verify_cms(maker_cms(manifest, signers, n, (struct maker_cms){ .flags = 0 }), trust, err);
}

static void refused(int rc, struct fg_error *err, const char *why)
{
	ck_assert_msg(rc == -FG_EUNTRUSTED, "%s: %d %s", why, rc, err->text);
	ck_assert_msg(strstr(err->text, why) != NULL, "'%s' does not say '%s'", err->text, why);
	fg_error_clear(err);
}

/* One signer made by spec under the CA. */
static void refused_signer(struct maker_spec spec, const char *why)
{
	struct fg_trust *trust = maker_trust(ca.cert, NULL, NULL);
	struct maker_id signer = maker_id(&ca, spec);
	const struct maker_id *signers[] = { &signer };
	struct fg_error err = FG_ERROR_INIT;

	refused(verify_signed_by(signers, 1, trust, &err), &err, why);
	maker_id_release(&signer);
	fg_trust_free(trust);
}

START_TEST(signers_that_may_not_sign)
{
	refused_signer((struct maker_spec){ .purpose = "serverAuth" }, "not for code signing");
	refused_signer((struct maker_spec){ .purpose = "" }, "not for code signing");
	refused_signer((struct maker_spec){ .purpose = "anyExtendedKeyUsage" }, "not for code signing");
	refused_signer((struct maker_spec){ .usage = "critical,keyEncipherment" }, "not for digital signatures");
	refused_signer((struct maker_spec){ .constraints = "critical,CA:TRUE",
					    .usage = "critical,digitalSignature,keyCertSign" },
		       "one of a CA");
	refused_signer((struct maker_spec){ .to_s = MAKER_NOW - 1 }, "expired");
	refused_signer((struct maker_spec){ .from_s = MAKER_NOW + 1 }, "not yet valid");
	refused_signer((struct maker_spec){ .md = EVP_sha1() }, "too weak");
	EVP_PKEY *weak = EVP_RSA_gen(1024);
	refused_signer((struct maker_spec){ .key = weak }, "key too weak");
	EVP_PKEY_free(weak);
}
END_TEST

START_TEST(signers_that_may_sign)
{
	struct fg_trust *trust = maker_trust(ca.cert, NULL, NULL);
	struct maker_spec specs[] = { { .usage = "" },
				      { .purpose = "critical,codeSigning" },
				      { .to_s = MAKER_NOW + 1 },
				      { .from_s = MAKER_NOW },
				      { .purpose = "codeSigning,emailProtection" },
				      { .key = EVP_RSA_gen(2048) },
				      { .key = EVP_EC_gen("P-384") } };
	struct fg_error err = FG_ERROR_INIT;

	for (size_t i = 0; i < FG_COUNT(specs); i++) {
		struct maker_id signer = maker_id(&ca, specs[i]);
		const struct maker_id *signers[] = { &signer };
		ck_assert_msg(verify_signed_by(signers, 1, trust, &err) == 0, "%zu: %s", i, err.text);
		CMS_ContentInfo *cms = maker_cms(manifest, signers, 1, (struct maker_cms){ .md = EVP_sha512() });
		ck_assert_msg(verify_cms(cms, trust, &err) == 0, "%zu: %s", i, err.text);
		maker_id_release(&signer);
		EVP_PKEY_free(specs[i].key);
	}
	fg_trust_free(trust);
}
END_TEST

START_TEST(another_ca_is_not_trusted)
{
	struct maker_id other = maker_id(NULL, (struct maker_spec){ .cn = "publisher ca" }); /* the same name */
	struct maker_id mallory = maker_id(&other, (struct maker_spec){ .cn = "alice" });
	struct fg_trust *trust = maker_trust(ca.cert, NULL, NULL);
	const struct maker_id *signers[] = { &mallory }, *both[] = { &mallory, &alice };
	struct fg_error err = FG_ERROR_INIT;
	size_t len = 0, n = 0;

	refused(verify_signed_by(signers, 1, trust, &err), &err, "0 of 1");
	CMS_ContentInfo *cms = maker_cms(manifest, signers, 1, (struct maker_cms){ .extra = other.cert });
	refused(verify_cms(cms, trust, &err), &err, "0 of 1");
	/* beside one that counts it does no harm and does not count */
	fg_autofree uint8_t *der = maker_der(maker_cms(manifest, both, 2, (struct maker_cms){ .flags = 0 }), &len);
	ck_assert_msg(verify_der(der, len, trust, MAKER_NOW, &n, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(n, 1);
	fg_trust_set_threshold(trust, 2);
	refused(verify_der(der, len, trust, MAKER_NOW, &n, &err), &err, "1 of 2");
	fg_trust_free(trust);
	maker_id_release(&mallory);
	maker_id_release(&other);
}
END_TEST

START_TEST(k_of_n)
{
	struct fg_trust *trust = maker_trust(ca.cert, NULL, "2\n");
	struct maker_id alice_again = maker_id(&ca, (struct maker_spec){ .cn = "alice two", .key = alice.key });
	const struct maker_id *one[] = { &alice }, *two[] = { &alice, &bob }, *same[] = { &alice, &alice_again },
			      *twice[] = { &alice, &alice };
	struct fg_error err = FG_ERROR_INIT;

	ck_assert_uint_eq(fg_trust_threshold(trust), 2);
	refused(verify_signed_by(one, 1, trust, &err), &err, "1 of 2");
	refused(verify_signed_by(same, 2, trust, &err), &err, "1 of 2");
	refused(verify_signed_by(twice, 2, trust, &err), &err, "1 of 2");
	ck_assert_msg(verify_signed_by(two, 2, trust, &err) == 0, "%s", err.text);
	fg_trust_set_threshold(trust, 3);
	refused(verify_signed_by(two, 2, trust, &err), &err, "2 of 3");
	fg_trust_set_threshold(trust, 0);
	ck_assert_uint_eq(fg_trust_threshold(trust), 1);
	refused(verify_signed_by(NULL, 0, trust, &err), &err, "not signed");
	maker_id_release(&alice_again);
	fg_trust_free(trust);
}
END_TEST

static void with_crl(X509_CRL *crl, const char *why)
{
	struct fg_trust *trust = maker_trust(ca.cert, crl, NULL);
	const struct maker_id *signers[] = { &alice };
	struct fg_error err = FG_ERROR_INIT;
	int rc = verify_signed_by(signers, 1, trust, &err);

	if (why)
		refused(rc, &err, why);
	else
		ck_assert_msg(rc == 0, "%s", err.text);
	X509_CRL_free(crl);
	fg_trust_free(trust);
}

START_TEST(revoked_signers_do_not_count)
{
	const long alices[] = { ALICE_SERIAL }, others[] = { ALICE_SERIAL + 1 };
	const int64_t past = MAKER_NOW - MAKER_DAY, soon = MAKER_NOW + MAKER_DAY;
	struct maker_id other = maker_id(NULL, (struct maker_spec){ .cn = "other ca" });
	struct maker_id forged = maker_id(NULL, (struct maker_spec){ .cn = "publisher ca" });

	with_crl(maker_crl(&ca, alices, 1, past, soon), "revoked");
	with_crl(maker_crl(&ca, others, 1, past, soon), NULL);
	with_crl(maker_crl(&ca, others, 1, past - MAKER_DAY, past), "CRL has expired");
	with_crl(maker_crl(&ca, others, 1, soon, soon + MAKER_DAY), "CRL is not yet valid");
	with_crl(maker_crl(&other, others, 1, past, soon), "unable to get certificate CRL");
	with_crl(maker_crl(&forged, others, 1, past, soon), "CRL");
	maker_id_release(&forged);
	maker_id_release(&other);
}
END_TEST

START_TEST(chains_with_a_ca_between)
{
	struct fg_trust *trust = maker_trust(ca.cert, NULL, NULL);
	static const struct {
		const char *purpose, *constraints, *usage, *why;
	} cases[] = { { "", "critical,CA:TRUE", "critical,keyCertSign,cRLSign", NULL },
		      { "codeSigning", "critical,CA:TRUE", "critical,keyCertSign", NULL },
		      { "serverAuth", "critical,CA:TRUE", "critical,keyCertSign", "not for code signing" },
		      { "", "critical,CA:FALSE", "critical,digitalSignature", "invalid CA" } };
	struct fg_error err = FG_ERROR_INIT;

	for (size_t i = 0; i < FG_COUNT(cases); i++) {
		struct maker_id between = maker_id(&ca, (struct maker_spec){ .cn = "between",
									     .purpose = cases[i].purpose,
									     .constraints = cases[i].constraints,
									     .usage = cases[i].usage });
		struct maker_id carol = maker_id(&between, (struct maker_spec){ .cn = "carol" });
		const struct maker_id *signers[] = { &carol };
		struct maker_cms with = { .extra = between.cert };
		refused(verify_signed_by(signers, 1, trust, &err), &err, "unable to get local issuer");
		int rc = verify_cms(maker_cms(manifest, signers, 1, with), trust, &err);
		if (cases[i].why)
			refused(rc, &err, cases[i].why);
		else
			ck_assert_msg(rc == 0, "%zu: %s", i, err.text);
		maker_id_release(&carol);
		maker_id_release(&between);
	}
	fg_trust_free(trust);
}
END_TEST

/* The folder may name the CA in between itself; its own issuer's CRL is not asked then. */
START_TEST(a_ca_in_between_as_the_anchor)
{
	struct maker_id between = maker_id(&ca, (struct maker_spec){ .cn = "between",
								     .purpose = "",
								     .constraints = "critical,CA:TRUE",
								     .usage = "critical,keyCertSign,cRLSign" });
	struct maker_id carol = maker_id(&between, (struct maker_spec){ .cn = "carol", .serial = 77 });
	const struct maker_id *signers[] = { &carol };
	const long carols[] = { 77 };
	struct fg_error err = FG_ERROR_INIT;

	for (size_t revoked = 0; revoked < 2; revoked++) {
		X509_CRL *crl = maker_crl(&between, carols, revoked, MAKER_NOW - 1, MAKER_NOW + 1);
		struct fg_trust *trust = maker_trust(between.cert, crl, NULL);
		int rc = verify_signed_by(signers, 1, trust, &err);
		if (revoked)
			refused(rc, &err, "revoked");
		else
			ck_assert_msg(rc == 0, "%s", err.text);
		X509_CRL_free(crl);
		fg_trust_free(trust);
	}
	maker_id_release(&carol);
	maker_id_release(&between);
}
END_TEST

static void refused_shape(CMS_ContentInfo *cms, int code, const char *why)
{
	struct fg_trust *trust = maker_trust(ca.cert, NULL, NULL);
	struct fg_error err = FG_ERROR_INIT;
	int rc = verify_cms(cms, trust, &err);

	ck_assert_msg(rc == -code && strstr(err.text, why), "%s: %d %s", why, rc, err.text);
	fg_trust_free(trust);
}

START_TEST(other_kinds_of_cms)
{
	const struct maker_id *signers[] = { &alice };
	BIO *text = BIO_new_mem_buf(manifest, -1);
	STACK_OF(X509) *certs = sk_X509_new_null();

	sk_X509_push(certs, alice.cert);
	refused_shape(CMS_data_create(text, CMS_BINARY), FG_EFORMAT, "not of type SignedData");
	BIO_free(text);
	text = BIO_new_mem_buf(manifest, -1);
	refused_shape(CMS_digest_create(text, EVP_sha256(), CMS_BINARY), FG_EFORMAT, "not of type SignedData");
	BIO_free(text);
	text = BIO_new_mem_buf(manifest, -1);
	refused_shape(CMS_encrypt(certs, text, EVP_aes_128_cbc(), CMS_BINARY), FG_EFORMAT, "not of type SignedData");
	BIO_free(text);
	sk_X509_free(certs);
	refused_shape(maker_cms(manifest, signers, 1, (struct maker_cms){ .content_nid = NID_pkcs7_enveloped }),
		      FG_EFORMAT, "not of type data");
	refused_shape(maker_cms(manifest, signers, 1, (struct maker_cms){ .flags = CMS_DETACHED }), FG_EFORMAT,
		      "no content");
	refused_shape(maker_cms("", signers, 1, (struct maker_cms){ .flags = 0 }), FG_EFORMAT, "no content");
	refused_shape(maker_cms(manifest, signers, 1, (struct maker_cms){ .flags = CMS_NOATTR }), FG_EUNTRUSTED,
		      "signed attributes");
	refused_shape(maker_cms(manifest, signers, 1, (struct maker_cms){ .flags = CMS_NOCERTS }), FG_EUNTRUSTED,
		      "not in the CMS");
	refused_shape(maker_cms(manifest, signers, 1, (struct maker_cms){ .md = EVP_sha1() }), FG_EUNTRUSTED,
		      "digest is not SHA-256");
	refused_shape(maker_cms("{\"format\":1}", signers, 1, (struct maker_cms){ .flags = 0 }), FG_EFORMAT,
		      "manifest");
}
END_TEST

START_TEST(additions_to_a_cms)
{
	const struct maker_id *signers[] = { &alice };
	CMS_ContentInfo *cms = maker_cms(manifest, signers, 1, (struct maker_cms){ .flags = 0 });
	X509_CRL *crl = maker_crl(&ca, NULL, 0, MAKER_NOW - 1, MAKER_NOW + 1);

	ck_assert_int_eq(CMS_add1_crl(cms, crl), 1);
	refused_shape(cms, FG_EFORMAT, "revocation lists");
	X509_CRL_free(crl);
	cms = maker_cms(manifest, signers, 1, (struct maker_cms){ .flags = 0 });
	CMS_SignerInfo *si = sk_CMS_SignerInfo_value(CMS_get0_SignerInfos(cms), 0);
	ck_assert_int_eq(CMS_unsigned_add1_attr_by_NID(si, NID_pkcs9_challengePassword, V_ASN1_UTF8STRING, "x", 1), 1);
	refused_shape(cms, FG_EFORMAT, "unsigned attributes");
}
END_TEST

/* The content is exchanged under the signature; and an attribute digest of other content. */
START_TEST(signature_over_other_content)
{
	const struct maker_id *signers[] = { &alice };
	CMS_ContentInfo *cms = maker_cms(manifest, signers, 1, (struct maker_cms){ .flags = 0 });
	char *at = strstr(manifest, "A fix");

	*at = 'B';
	ASN1_OCTET_STRING_set(*CMS_get0_content(cms), (const uint8_t *)manifest, (int)strlen(manifest));
	refused_shape(cms, FG_EUNTRUSTED, "other content");
}
END_TEST

/* Indefinite length is BER, and so are bytes behind. */
START_TEST(encodings_other_than_der)
{
	const struct maker_id *signers[] = { &alice };
	struct fg_trust *trust = maker_trust(ca.cert, NULL, NULL);
	struct fg_error err = FG_ERROR_INIT;
	size_t len = 0;
	fg_autofree uint8_t *der = maker_der(maker_cms(manifest, signers, 1, (struct maker_cms){ .flags = 0 }), &len);
	fg_autofree uint8_t *ber = fg_calloc(len + 2, 1);

	ck_assert_uint_eq(der[0], 0x30);
	ck_assert_uint_eq(der[1], 0x82);
	ber[0] = 0x30;
	ber[1] = 0x80;
	memcpy(ber + 2, der + 4, len - 4);
	CMS_ContentInfo *cms = NULL;
	ck_assert_int_eq(fg_cms_parse(ber, len, &cms, &err), -FG_EFORMAT);
	ck_assert_msg(strstr(err.text, "not in DER") != NULL, "%s", err.text);
	fg_error_clear(&err);
	memcpy(ber, der, len);
	ck_assert_int_eq(verify_der(ber, len + 1, trust, MAKER_NOW, NULL, &err), -FG_EFORMAT);
	ck_assert_msg(strstr(err.text, "after the CMS") != NULL, "%s", err.text);
	ck_assert_int_eq(verify_der(der, len - 1, trust, MAKER_NOW, NULL, NULL), -FG_EFORMAT);
	fg_trust_free(trust);
}
END_TEST

START_TEST(expired_and_exchanged_manifests)
{
	const struct maker_id *signers[] = { &alice };
	struct fg_trust *trust = maker_trust(ca.cert, NULL, NULL);
	struct fg_error err = FG_ERROR_INIT;
	size_t len = 0;
	fg_autofree uint8_t *other = maker_payload(PAYLOAD);
	CMS_ContentInfo *cms = maker_cms(manifest, signers, 1, (struct maker_cms){ .flags = 0 });
	fg_autofree uint8_t *der = maker_der(cms, &len);

	ck_assert_int_eq(verify_der(der, len, trust, MAKER_NOW + 30 * MAKER_DAY - 1, NULL, NULL), 0);
	refused(verify_der(der, len, trust, MAKER_NOW + 30 * MAKER_DAY, NULL, &err), &err, "demo-1 version 3 expired");
	other[PAYLOAD - 1] ^= 1; /* the manifest of one fix around the payload of another */
	fg_autofree char *theirs = maker_manifest("demo-2", other, PAYLOAD);
	refused(verify_cms(maker_cms(theirs, signers, 1, (struct maker_cms){ .flags = 0 }), trust, &err), &err,
		"hash list");
	fg_autofree char *shorter = maker_manifest("demo-2", payload, PAYLOAD - 1);
	refused(verify_cms(maker_cms(shorter, signers, 1, (struct maker_cms){ .flags = 0 }), trust, &err), &err,
		"bytes");
	fg_trust_free(trust);
}
END_TEST

static void trust_fails(char *dir, int code)
{
	struct fg_trust *trust = NULL;
	struct fg_error err = FG_ERROR_INIT;

	ck_assert_msg(fg_trust_load(dir, &trust, &err) == -code, "%d %s", err.code, err.text);
	ck_assert_ptr_null(trust);
	maker_remove(dir);
	free(dir);
}

START_TEST(trust_folders)
{
	static const char *const bad[] = { "", "0", "-1", "17", "2x", "x", "99999999999999999999", "0x2", "1 2" };
	X509_CRL *crl = maker_crl(&ca, NULL, 0, MAKER_NOW - 1, MAKER_NOW + 1);
	X509 *cas[] = { ca.cert, alice.cert };

	for (size_t i = 0; i < FG_COUNT(bad); i++)
		trust_fails(maker_trust_dir(cas, 1, NULL, 0, bad[i]), FG_EFORMAT);
	trust_fails(maker_trust_dir(NULL, 0, NULL, 0, NULL), FG_ENOTFOUND);
	trust_fails(maker_trust_dir(cas, 2, NULL, 0, NULL), FG_EFORMAT); /* a signer is no CA */
	char *dir = maker_trust_dir(cas, 1, &crl, 1, NULL);
	fg_autofree char *path = fg_asprintf("%s/crl.pem", dir);
	ck_assert_int_eq(fg_file_write_durable(path, "", 0, 0644, NULL), 0);
	trust_fails(dir, FG_EFORMAT);
	dir = maker_trust_dir(cas, 1, NULL, 0, NULL);
	fg_autofree char *ca_path = fg_asprintf("%s/publisher-ca.pem", dir);
	ck_assert_int_eq(fg_file_write_durable(ca_path, "no PEM\n", 7, 0644, NULL), 0);
	trust_fails(dir, FG_EFORMAT);
	X509_CRL_free(crl);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("bundle");
	TCase *t = tcase_create("signers");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, signers_that_may_not_sign);
	tcase_add_test(t, signers_that_may_sign);
	tcase_add_test(t, another_ca_is_not_trusted);
	tcase_add_test(t, k_of_n);
	tcase_add_test(t, revoked_signers_do_not_count);
	tcase_add_test(t, chains_with_a_ca_between);
	tcase_add_test(t, a_ca_in_between_as_the_anchor);
	tcase_add_test(t, other_kinds_of_cms);
	tcase_add_test(t, additions_to_a_cms);
	tcase_add_test(t, signature_over_other_content);
	tcase_add_test(t, encodings_other_than_der);
	tcase_add_test(t, expired_and_exchanged_manifests);
	tcase_add_test(t, trust_folders);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
