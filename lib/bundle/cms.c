/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The steps of CMS_verify(3), signer by signer: CMS_verify itself fails as a whole when one of several signers is
 * not trusted, which would make a change of the publisher's CA impossible, and OpenSSL 3.0 has no purpose
 * "code signing" (X509_PURPOSE_CODE_SIGN came with 3.2).
 */
#include "cms.h"
#include "head.h"

#include <lib/util.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>

#define CHAIN_DEPTH_MAX 4
#define AUTH_LEVEL 2 /* 112 bits: RSA from 2048, no SHA-1 in the chain; SSL_CTX_set_security_level(3) */

static bool is_strong_digest(int nid)
{
	return nid == NID_sha256 || nid == NID_sha384 || nid == NID_sha512;
}

/* Re-encoding gives the same bytes: there is one way to write what was read. */
static bool is_der(CMS_ContentInfo *cms, const uint8_t *bytes, size_t len)
{
	unsigned char *again = NULL;
	int n = i2d_CMS_ContentInfo(cms, &again);
	bool same = n >= 0 && (size_t)n == len && memcmp(again, bytes, len) == 0;

	OPENSSL_free(again);
	return same;
}

static bool has_crls(CMS_ContentInfo *cms)
{
	STACK_OF(X509_CRL) *crls = CMS_get1_crls(cms);
	bool any = sk_X509_CRL_num(crls) > 0;

	sk_X509_CRL_pop_free(crls, X509_CRL_free);
	return any;
}

static int check_shape(CMS_ContentInfo *cms, size_t max, struct fg_error *err)
{
	STACK_OF(CMS_SignerInfo) * infos;

	if (OBJ_obj2nid(CMS_get0_type(cms)) != NID_pkcs7_signed)
		return fg_error_set(err, FG_EFORMAT, "signature: CMS is not of type SignedData");
	if (OBJ_obj2nid(CMS_get0_eContentType(cms)) != NID_pkcs7_data)
		return fg_error_set(err, FG_EFORMAT, "signature: signed content is not of type data");
	ASN1_OCTET_STRING **content = CMS_get0_content(cms);
	if (!content || !*content || ASN1_STRING_length(*content) <= 0)
		return fg_error_set(err, FG_EFORMAT, "signature: there is no content in the CMS");
	if ((size_t)ASN1_STRING_length(*content) > max)
		return fg_error_set(err, FG_EFORMAT, "signature: content is longer than %zu bytes", max);
	if (has_crls(cms))
		return fg_error_set(err, FG_EFORMAT, "signature: revocation lists do not belong into the CMS");
	infos = CMS_get0_SignerInfos(cms);
	if (sk_CMS_SignerInfo_num(infos) > FG_CMS_SIGNERS_MAX)
		return fg_error_set(err, FG_EFORMAT, "signature: more than %d signers", FG_CMS_SIGNERS_MAX);
	for (int i = 0; i < sk_CMS_SignerInfo_num(infos); i++)
		if (CMS_unsigned_get_attr_count(sk_CMS_SignerInfo_value(infos, i)) > 0)
			return fg_error_set(err, FG_EFORMAT, "signature: signer %d has unsigned attributes", i + 1);
	return 0;
}

int fg_cms_parse(const uint8_t *der, size_t len, CMS_ContentInfo **out, struct fg_error *err)
{
	return fg_cms_parse_max(der, len, FG_BUNDLE_MANIFEST_MAX, out, err);
}

int fg_cms_parse_max(const uint8_t *der, size_t len, size_t max, CMS_ContentInfo **out, struct fg_error *err)
{
	const unsigned char *p = der;
	int rc = 0;

	ERR_clear_error();
	CMS_ContentInfo *cms = d2i_CMS_ContentInfo(NULL, &p, (long)len);
	if (!cms)
		return fg_ssl_error(err, FG_EFORMAT, "signature: no CMS");
	if (p != der + len)
		rc = fg_error_set(err, FG_EFORMAT, "signature: bytes after the CMS");
	else
		rc = check_shape(cms, max, err);
	if (rc == 0 && !is_der(cms, der, len))
		rc = fg_error_set(err, FG_EFORMAT, "signature: CMS is not in DER");
	ERR_clear_error();
	if (rc < 0) {
		CMS_ContentInfo_free(cms);
		return rc;
	}
	*out = cms;
	return 0;
}

void fg_cms_content(CMS_ContentInfo *cms, const uint8_t **bytes, size_t *len)
{
	ASN1_OCTET_STRING **content = CMS_get0_content(cms);

	*bytes = ASN1_STRING_get0_data(*content);
	*len = (size_t)ASN1_STRING_length(*content);
}

int fg_cms_check_signer_cert(X509 *cert, struct fg_error *err)
{
	uint32_t flags = X509_get_extension_flags(cert);

	if (flags & EXFLAG_INVALID)
		return fg_error_set(err, FG_EUNTRUSTED, "certificate is malformed");
	if (!(flags & EXFLAG_XKUSAGE) || !(X509_get_extended_key_usage(cert) & XKU_CODE_SIGN))
		return fg_error_set(err, FG_EUNTRUSTED, "certificate is not for code signing");
	if (!(X509_get_key_usage(cert) & KU_DIGITAL_SIGNATURE)) /* all bits set where the extension is absent */
		return fg_error_set(err, FG_EUNTRUSTED, "certificate is not for digital signatures");
	if (X509_check_ca(cert) != 0)
		return fg_error_set(err, FG_EUNTRUSTED, "certificate is one of a CA, not of a signer");
	return 0;
}

/* The trust anchor's own revocation is not ours to ask: whoever does not trust it removes it from the folder. */
static int verify_step(int ok, X509_STORE_CTX *ctx)
{
	STACK_OF(X509) *chain = X509_STORE_CTX_get0_chain(ctx);

	if (!ok && X509_STORE_CTX_get_error(ctx) == X509_V_ERR_UNABLE_TO_GET_CRL &&
	    X509_STORE_CTX_get_error_depth(ctx) > 0 && X509_STORE_CTX_get_error_depth(ctx) == sk_X509_num(chain) - 1) {
		X509_STORE_CTX_set_error(ctx, X509_V_OK);
		return 1;
	}
	return ok;
}

int fg_cms_key_digest(X509 *cert, uint8_t out[FG_DIGEST_BYTES], struct fg_error *err)
{
	unsigned char *der = NULL;
	int n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);
	int rc = n > 0 ? fg_sha256(der, (size_t)n, out, err) : fg_ssl_error(err, FG_EFORMAT, "certificate has no key");

	OPENSSL_free(der);
	return rc;
}

/* The key is what is revoked, not a certificate: who has the key may have other certificates of it. */
static int check_revoked(X509 *cert, const struct fg_trust *trust, struct fg_error *err)
{
	uint8_t key[FG_DIGEST_BYTES];
	int rc = trust->n_revoked ? fg_cms_key_digest(cert, key, err) : 0;

	for (size_t i = 0; rc == 0 && i < trust->n_revoked; i++)
		if (memcmp(trust->revoked[i], key, sizeof(key)) == 0)
			rc = fg_error_set(err, FG_EUNTRUSTED, "key is revoked");
	return rc;
}

/* A CA in between that is limited to other purposes cannot vouch for signers of code. */
static int check_chain(X509_STORE_CTX *ctx, const struct fg_trust *trust, struct fg_error *err)
{
	STACK_OF(X509) *chain = X509_STORE_CTX_get0_chain(ctx);

	for (int i = 0; i < sk_X509_num(chain); i++) {
		X509 *ca = sk_X509_value(chain, i);
		int rc = check_revoked(ca, trust, err);
		if (rc < 0)
			return rc;
		if (i > 0 && (X509_get_extension_flags(ca) & EXFLAG_XKUSAGE) &&
		    !(X509_get_extended_key_usage(ca) & (XKU_CODE_SIGN | XKU_ANYEKU)))
			return fg_error_set(err, FG_EUNTRUSTED, "a CA of its chain is not for code signing");
	}
	return 0;
}

static int check_cert(X509 *cert, const struct fg_trust *trust, struct fg_error *err)
{
	switch (trust->purpose) {
	case FG_TRUST_FIXES:
		return fg_cms_check_signer_cert(cert, err);
	case FG_TRUST_CATALOGUE:
		return fg_cms_check_catalogue_cert(cert, err);
	}
	return fg_error_set(err, FG_EBUG, "trust has no purpose");
}

static int verify_cert(X509 *cert, STACK_OF(X509) * others, const struct fg_trust *trust, int64_t now_s,
		       struct fg_error *err)
{
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	int rc = check_cert(cert, trust, err);

	if (rc == 0 && (!ctx || X509_STORE_CTX_init(ctx, trust->store, cert, others) != 1))
		rc = fg_ssl_error(err, FG_ENOMEM, "cannot verify a certificate");
	if (rc == 0) {
		X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
		unsigned long flags = X509_V_FLAG_X509_STRICT | X509_V_FLAG_PARTIAL_CHAIN;
		if (trust->crl)
			flags |= X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL;
		X509_VERIFY_PARAM_set_flags(param, flags);
		X509_VERIFY_PARAM_set_time(param, (time_t)now_s);
		X509_VERIFY_PARAM_set_depth(param, CHAIN_DEPTH_MAX);
		X509_VERIFY_PARAM_set_auth_level(param, AUTH_LEVEL);
		X509_STORE_CTX_set_verify_cb(ctx, verify_step);
		if (X509_verify_cert(ctx) != 1)
			rc = fg_error_set(err, FG_EUNTRUSTED, "%s",
					  X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
	}
	if (rc == 0)
		rc = check_chain(ctx, trust, err);
	X509_STORE_CTX_free(ctx);
	ERR_clear_error();
	return rc;
}

/* OpenSSL takes the algorithm from the key and does not look at the name that the CMS gives it. */
static bool is_known_signature(int nid, int digest_nid)
{
	switch (nid) {
	case NID_ecdsa_with_SHA256:
	case NID_sha256WithRSAEncryption:
		return digest_nid == NID_sha256;
	case NID_ecdsa_with_SHA384:
	case NID_sha384WithRSAEncryption:
		return digest_nid == NID_sha384;
	case NID_ecdsa_with_SHA512:
	case NID_sha512WithRSAEncryption:
		return digest_nid == NID_sha512;
	case NID_rsaEncryption: /* PKCS #1 v1.5 with the digest of the SignerInfo (RFC 3370, 3.2) */
	case NID_rsassaPss: /* OpenSSL compares its digest with the SignerInfo's */
		return true;
	}
	return false;
}

/* SHA-2, a known signature over it, and signed attributes that name the content's type. */
static int check_signer_info(CMS_SignerInfo *si, struct fg_error *err)
{
	X509_ALGOR *digest = NULL, *signature = NULL;
	const ASN1_OBJECT *oid = NULL;

	CMS_SignerInfo_get0_algs(si, NULL, NULL, &digest, &signature);
	X509_ALGOR_get0(&oid, NULL, NULL, digest);
	int digest_nid = OBJ_obj2nid(oid);
	if (!is_strong_digest(digest_nid))
		return fg_error_set(err, FG_EUNTRUSTED, "digest is not SHA-256, SHA-384 or SHA-512");
	X509_ALGOR_get0(&oid, NULL, NULL, signature);
	if (!is_known_signature(OBJ_obj2nid(oid), digest_nid))
		return fg_error_set(err, FG_EUNTRUSTED, "signature algorithm is not known, or has another digest");
	const ASN1_OBJECT *type =
		CMS_signed_get0_data_by_OBJ(si, OBJ_nid2obj(NID_pkcs9_contentType), -3, V_ASN1_OBJECT);
	if (!type || OBJ_obj2nid(type) != NID_pkcs7_data)
		return fg_error_set(err, FG_EUNTRUSTED, "signed attributes do not name the content's type");
	return 0;
}

/* content: the digest chain of CMS_dataInit, read to its end. */
static int verify_signer(CMS_SignerInfo *si, BIO *content, STACK_OF(X509) * others, const struct fg_trust *trust,
			 int64_t now_s, X509 **cert_out, struct fg_error *err)
{
	X509 *cert = NULL;
	int rc;

	CMS_SignerInfo_get0_algs(si, NULL, &cert, NULL, NULL);
	if (!cert)
		return fg_error_set(err, FG_EUNTRUSTED, "its certificate is not in the CMS");
	*cert_out = cert;
	if ((rc = check_signer_info(si, err)) < 0 || (rc = verify_cert(cert, others, trust, now_s, err)) < 0)
		return rc;
	if (CMS_SignerInfo_verify(si) != 1)
		return fg_ssl_error(err, FG_EUNTRUSTED, "signature is wrong");
	if (CMS_SignerInfo_verify_content(si, content) != 1)
		return fg_ssl_error(err, FG_EUNTRUSTED, "signature is over other content");
	return 0;
}

char *fg_cms_subject(X509 *cert)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *text = NULL;

	if (!cert || !bio || X509_NAME_print_ex(bio, X509_get_subject_name(cert), 0, XN_FLAG_RFC2253) < 0) {
		BIO_free(bio);
		return fg_strdup("?");
	}
	long n = BIO_get_mem_data(bio, &text);
	char *copy = fg_asprintf("%.*s", n > 256 ? 256 : (int)n, text);
	BIO_free(bio);
	return copy;
}

struct tally {
	X509 *certs[FG_CMS_SIGNERS_MAX]; /* borrowed from the CMS */
	size_t n;
	char why[320]; /* of those that do not count */
};

static void count(struct tally *t, X509 *cert)
{
	for (size_t i = 0; i < t->n; i++)
		if (EVP_PKEY_eq(X509_get0_pubkey(t->certs[i]), X509_get0_pubkey(cert)) == 1)
			return; /* one key, one voice */
	t->certs[t->n++] = cert;
}

static void leave_out(struct tally *t, X509 *cert, const struct fg_error *err)
{
	fg_autofree char *subject = fg_cms_subject(cert);
	size_t used = strlen(t->why);

	snprintf(t->why + used, sizeof(t->why) - used, "; %s: %s", subject, err->text);
}

static void tally_signers(CMS_ContentInfo *cms, BIO *content, const struct fg_trust *trust, int64_t now_s,
			  struct tally *t)
{
	STACK_OF(CMS_SignerInfo) *infos = CMS_get0_SignerInfos(cms);
	STACK_OF(X509) *others = CMS_get1_certs(cms);
	int certs = sk_X509_num(others);

	for (int i = 0; i < sk_CMS_SignerInfo_num(infos) && certs <= FG_CMS_CERTS_MAX; i++) {
		struct fg_error err = FG_ERROR_INIT;
		X509 *cert = NULL;
		if (verify_signer(sk_CMS_SignerInfo_value(infos, i), content, others, trust, now_s, &cert, &err) == 0)
			count(t, cert);
		else
			leave_out(t, cert, &err);
	}
	sk_X509_pop_free(others, X509_free);
}

/* Feeds the content through the digests that the CMS names. */
static BIO *digest_content(CMS_ContentInfo *cms)
{
	char buf[4096];
	BIO *bio = CMS_dataInit(cms, NULL);

	if (!bio)
		return NULL;
	while (BIO_read(bio, buf, sizeof(buf)) > 0)
		;
	return bio;
}

int fg_cms_verify_certs(CMS_ContentInfo *cms, const struct fg_trust *trust, int64_t now_s,
			X509 *certs[FG_CMS_SIGNERS_MAX], size_t *n, struct fg_error *err)
{
	struct tally t = { .n = 0 };

	ERR_clear_error();
	if (sk_CMS_SignerInfo_num(CMS_get0_SignerInfos(cms)) <= 0)
		return fg_error_set(err, FG_EUNTRUSTED, "signature: this is not signed");
	CMS_set1_signers_certs(cms, NULL, 0); /* a signer without one is left out below */
	BIO *content = digest_content(cms);
	if (!content)
		return fg_ssl_error(err, FG_EFORMAT, "signature: cannot digest the content");
	tally_signers(cms, content, trust, now_s, &t);
	BIO_free_all(content);
	ERR_clear_error();
	if (t.n < trust->threshold)
		return fg_error_set(err, FG_EUNTRUSTED, "signature: %zu of %u needed signers count%s", t.n,
				    trust->threshold, t.why);
	memcpy(certs, t.certs, sizeof(t.certs));
	*n = t.n;
	return 0;
}

int fg_cms_verify(CMS_ContentInfo *cms, const struct fg_trust *trust, int64_t now_s, char ***signers, size_t *n_signers,
		  struct fg_error *err)
{
	X509 *certs[FG_CMS_SIGNERS_MAX];
	size_t n = 0;
	int rc = fg_cms_verify_certs(cms, trust, now_s, certs, &n, err);

	if (rc < 0)
		return rc;
	char **names = fg_calloc(n, sizeof(*names));
	for (size_t i = 0; i < n; i++)
		names[i] = fg_cms_subject(certs[i]);
	*signers = names;
	*n_signers = n;
	return 0;
}
