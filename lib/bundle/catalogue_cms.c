/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The catalogue's signature: certificates of online keys, verifying, signing. */
#include "cms.h"
#include "head.h"

#include <fixgate/catalogue.h>
#include <lib/util.h>

#include <inttypes.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>

/* The usage of our own and no other: a certificate for TLS signs no catalogue, whatever else it may do. */
static bool has_usage(X509 *cert)
{
	EXTENDED_KEY_USAGE *usages = X509_get_ext_d2i(cert, NID_ext_key_usage, NULL, NULL);
	ASN1_OBJECT *own = OBJ_txt2obj(FG_CATALOGUE_EKU, 1);
	bool yes = own && sk_ASN1_OBJECT_num(usages) == 1 && OBJ_cmp(sk_ASN1_OBJECT_value(usages, 0), own) == 0;

	ASN1_OBJECT_free(own);
	sk_ASN1_OBJECT_pop_free(usages, ASN1_OBJECT_free);
	return yes;
}

/* Digits only, without leading zeros, at most 18 of them. */
static bool parse_number(const unsigned char *p, int len, uint64_t *out)
{
	uint64_t n = 0;

	if (len < 1 || len > 18 || p[0] == '0')
		return false;
	for (int i = 0; i < len; i++) {
		if (p[i] < '0' || p[i] > '9')
			return false;
		n = 10 * n + (uint64_t)(p[i] - '0');
	}
	*out = n;
	return true;
}

/* The subject's one serialNumber. */
static int generation_of(X509 *cert, uint64_t *out, struct fg_error *err)
{
	const X509_NAME *name = X509_get_subject_name(cert);
	int at = X509_NAME_get_index_by_NID(name, NID_serialNumber, -1);
	const ASN1_STRING *value = at < 0 ? NULL : X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at));

	if (!value || X509_NAME_get_index_by_NID(name, NID_serialNumber, at) >= 0 ||
	    !parse_number(ASN1_STRING_get0_data(value), ASN1_STRING_length(value), out))
		return fg_error_set(err, FG_EUNTRUSTED, "certificate has no generation");
	return 0;
}

int fg_cms_check_catalogue_cert(X509 *cert, struct fg_error *err)
{
	uint32_t flags = X509_get_extension_flags(cert);
	uint64_t generation = 0;

	if (flags & EXFLAG_INVALID)
		return fg_error_set(err, FG_EUNTRUSTED, "certificate is malformed");
	if (!has_usage(cert))
		return fg_error_set(err, FG_EUNTRUSTED, "certificate is not for signing catalogues");
	if (!(flags & EXFLAG_KUSAGE) || !(X509_get_key_usage(cert) & KU_DIGITAL_SIGNATURE))
		return fg_error_set(err, FG_EUNTRUSTED, "certificate is not for digital signatures");
	if (X509_check_ca(cert) != 0)
		return fg_error_set(err, FG_EUNTRUSTED, "certificate is one of a CA, not of an online key");
	return generation_of(cert, &generation, err);
}

int fg_trust_load_catalogue(const char *pem, size_t len, struct fg_trust **out, struct fg_error *err)
{
	struct fg_trust *t = fg_calloc(1, sizeof(*t));
	int n = 0, rc = 0;

	t->purpose = FG_TRUST_CATALOGUE;
	t->threshold = 1;
	t->store = X509_STORE_new();
	if (!t->store)
		rc = fg_ssl_error(err, FG_ENOMEM, "cannot make a certificate store");
	if (rc == 0)
		rc = fg_trust_add_pem(t, pem, len, "the server's CA", &n, err);
	if (rc < 0) {
		fg_trust_free(t);
		return rc;
	}
	*out = t;
	return 0;
}

static int check_times(const struct fg_catalogue *c, const struct fg_catalogue_mark *oldest, int64_t now_s,
		       struct fg_error *err)
{
	char when[21];

	if (fg_catalogue_mark_cmp(&c->mark, oldest) < 0)
		return fg_error_set(err, FG_EUNTRUSTED,
				    "it is older (%" PRIu64 ".%" PRIu64 ") than one that was taken (%" PRIu64
				    ".%" PRIu64 ")",
				    c->mark.generation, c->mark.version, oldest->generation, oldest->version);
	if (now_s >= c->expires_s) {
		fg_time_format(c->expires_s, when);
		return fg_error_set(err, FG_EUNTRUSTED, "it expired at %s", when);
	}
	if (c->published_s > now_s + FG_CATALOGUE_SKEW_S) {
		fg_time_format(c->published_s, when);
		return fg_error_set(err, FG_EUNTRUSTED, "it was published at %s: the clock here is behind", when);
	}
	return 0;
}

static int verify_cms(CMS_ContentInfo *cms, const struct fg_trust *trust, int64_t now_s, struct fg_catalogue **out,
		      struct fg_error *err)
{
	X509 *certs[FG_CMS_SIGNERS_MAX];
	const uint8_t *bytes = NULL;
	uint64_t generation = 0;
	size_t n = 0, len = 0;
	int rc = fg_cms_verify_certs(cms, trust, now_s, certs, &n, err);

	if (rc == 0 && sk_CMS_SignerInfo_num(CMS_get0_SignerInfos(cms)) != 1)
		rc = fg_error_set(err, FG_EFORMAT, "it has more than one signer");
	if (rc == 0)
		rc = generation_of(certs[0], &generation, err);
	if (rc < 0)
		return rc;
	fg_cms_content(cms, &bytes, &len);
	rc = fg_catalogue_parse(bytes, len, out, err);
	if (rc == 0)
		(*out)->mark.generation = generation;
	return rc;
}

int fg_catalogue_verify(const uint8_t *der, size_t len, const struct fg_trust *trust,
			const struct fg_catalogue_mark *oldest, int64_t now_s, struct fg_catalogue **out,
			struct fg_error *err)
{
	struct fg_catalogue *c = NULL;
	CMS_ContentInfo *cms = NULL;
	int rc = 0;

	if (len > FG_CATALOGUE_MAX)
		rc = fg_error_set(err, FG_ELIMIT, "it has %zu bytes, at most %u are taken", len, FG_CATALOGUE_MAX);
	if (rc == 0)
		rc = fg_cms_parse_max(der, len, FG_CATALOGUE_MAX, &cms, err);
	if (rc == 0)
		rc = verify_cms(cms, trust, now_s, &c, err);
	CMS_ContentInfo_free(cms);
	if (rc == 0)
		rc = check_times(c, oldest, now_s, err);
	if (rc < 0) {
		fg_catalogue_free(c);
		fg_error_wrap(err, "catalogue");
		return rc;
	}
	*out = c;
	return 0;
}

/* ---- the server's side ---- */

static int no_passphrase(char *buf, int size, int rwflag, void *arg)
{
	(void)buf, (void)size, (void)rwflag, (void)arg;
	return -1;
}

static X509 *read_cert(const char *pem, size_t len)
{
	BIO *bio = BIO_new_mem_buf(pem, (int)len);
	X509 *cert = bio ? PEM_read_bio_X509(bio, NULL, no_passphrase, NULL) : NULL;

	BIO_free(bio);
	return cert;
}

static EVP_PKEY *read_key(const char *pem, size_t len)
{
	BIO *bio = BIO_new_mem_buf(pem, (int)len);
	EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL) : NULL;

	BIO_free(bio);
	return key;
}

static int64_t epoch_of(const ASN1_TIME *t)
{
	ASN1_TIME *zero = ASN1_TIME_set(NULL, 0);
	int days = 0, seconds = 0;
	bool ok = zero && ASN1_TIME_diff(&days, &seconds, zero, t) == 1;

	ASN1_TIME_free(zero);
	return ok ? (int64_t)days * 86400 + seconds : 0;
}

int fg_catalogue_generation(const char *pem, size_t len, uint64_t *out, int64_t *not_after_s, struct fg_error *err)
{
	X509 *cert = read_cert(pem, len);
	int rc = cert ? fg_cms_check_catalogue_cert(cert, err) : fg_ssl_error(err, FG_EFORMAT, "no certificate");

	if (rc == 0)
		rc = generation_of(cert, out, err);
	if (rc == 0)
		*not_after_s = epoch_of(X509_get0_notAfter(cert));
	X509_free(cert);
	return rc;
}

static int sign_text(X509 *cert, EVP_PKEY *key, const char *text, uint8_t **der, size_t *der_len, struct fg_error *err)
{
	BIO *bio = BIO_new_mem_buf(text, -1);
	CMS_ContentInfo *cms = bio ? CMS_sign(cert, key, NULL, bio, CMS_BINARY | CMS_NOSMIMECAP) : NULL;
	unsigned char *bytes = NULL;
	int n = cms ? i2d_CMS_ContentInfo(cms, &bytes) : -1, rc = 0;

	if (n <= 0) {
		rc = fg_ssl_error(err, FG_EFAILED, "cannot sign the catalogue");
	} else {
		*der = fg_calloc((size_t)n, 1);
		memcpy(*der, bytes, (size_t)n);
		*der_len = (size_t)n;
	}
	OPENSSL_free(bytes);
	CMS_ContentInfo_free(cms);
	BIO_free(bio);
	return rc;
}

int fg_catalogue_sign(const struct fg_catalogue *c, const char *pem, size_t len, uint8_t **der, size_t *der_len,
		      struct fg_error *err)
{
	X509 *cert = read_cert(pem, len);
	EVP_PKEY *key = read_key(pem, len);
	fg_autofree char *text = fg_catalogue_text(c);
	int rc = 0;

	if (!cert || !key)
		rc = fg_ssl_error(err, FG_EFORMAT, "online key: no certificate or no key");
	if (rc == 0)
		rc = fg_cms_check_catalogue_cert(cert, err);
	if (rc == 0 && epoch_of(X509_get0_notAfter(cert)) <= c->published_s)
		rc = fg_error_set(err, FG_EREFUSED, "the online key's certificate has expired");
	if (rc == 0)
		rc = sign_text(cert, key, text, der, der_len, err);
	X509_free(cert);
	EVP_PKEY_free(key);
	ERR_clear_error();
	return rc;
}

int fg_catalogue_key_of(const char *pem, size_t len, uint8_t key[FG_DIGEST_BYTES], char **subject, struct fg_error *err)
{
	X509 *cert = read_cert(pem, len);
	int rc = cert ? fg_cms_key_digest(cert, key, err) : fg_ssl_error(err, FG_EFORMAT, "no certificate");

	if (rc == 0)
		*subject = fg_cms_subject(cert);
	X509_free(cert);
	return rc;
}
