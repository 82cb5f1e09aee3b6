/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * CMS SignedData as Fixgate takes it (RFC 5652, a narrow profile: docs/bundle.md), and the trust it is held against.
 * Inside the library only.
 */
#ifndef FG_BUNDLE_CMS_H
#define FG_BUNDLE_CMS_H

#include <fixgate/bundle.h>

#include <openssl/cms.h>
#include <openssl/x509.h>

#define FG_CMS_SIGNERS_MAX 16
#define FG_CMS_CERTS_MAX 64
#define FG_TRUST_FILE_MAX (4u << 20)

/* What a signer's certificate must be for. */
enum fg_trust_purpose { FG_TRUST_FIXES, FG_TRUST_CATALOGUE };

struct fg_trust {
	X509_STORE *store;
	enum fg_trust_purpose purpose;
	unsigned threshold;
	bool crl;
	uint8_t (*revoked)[FG_DIGEST_BYTES]; /* keys that do not count, as signer or in a chain */
	size_t n_revoked;
};

/* Sets err with the first text of OpenSSL's error queue behind it, and empties the queue. */
int fg_ssl_error(struct fg_error *err, enum fg_error_code code, const char *fmt, ...) FG_PRINTF(3, 4);

/*
 * DER, nothing after it, type SignedData over id-data, one eContent, no CRLs, no unsigned attributes.  Zero signers
 * are a bundle that waits for its first signature.  *out is the caller's (CMS_ContentInfo_free).
 */
int fg_cms_parse(const uint8_t *der, size_t len, CMS_ContentInfo **out, struct fg_error *err) FG_MUST_CHECK;
/* The same with content of at most max bytes, not FG_BUNDLE_MANIFEST_MAX. */
int fg_cms_parse_max(const uint8_t *der, size_t len, size_t max, CMS_ContentInfo **out,
		     struct fg_error *err) FG_MUST_CHECK;
/* The bytes that are signed; they live in cms. */
void fg_cms_content(CMS_ContentInfo *cms, const uint8_t **bytes, size_t *len);
/*
 * At least trust's threshold of distinct keys have signed.  A signature that does not count (unknown CA, revoked, bad
 * …) is left out, so that one bundle can carry signatures for an old and a new CA; UNTRUSTED says why each was left out.
 * *signers: subjects (RFC 2253) of those that count, malloc'd.
 */
int fg_cms_verify(CMS_ContentInfo *cms, const struct fg_trust *trust, int64_t now_s, char ***signers, size_t *n_signers,
		  struct fg_error *err) FG_MUST_CHECK;
/* The same, with the certificates themselves, which live in cms. */
int fg_cms_verify_certs(CMS_ContentInfo *cms, const struct fg_trust *trust, int64_t now_s,
			X509 *certs[FG_CMS_SIGNERS_MAX], size_t *n, struct fg_error *err) FG_MUST_CHECK;
/* May this certificate sign fixes, chain apart?  UNTRUSTED says what it lacks. */
int fg_cms_check_signer_cert(X509 *cert, struct fg_error *err) FG_MUST_CHECK;
/* The same for catalogues (catalogue_cms.c). */
int fg_cms_check_catalogue_cert(X509 *cert, struct fg_error *err) FG_MUST_CHECK;
/* SHA-256 of the SubjectPublicKeyInfo: names a key whatever certificates it has. */
int fg_cms_key_digest(X509 *cert, uint8_t out[FG_DIGEST_BYTES], struct fg_error *err) FG_MUST_CHECK;
/* RFC 2253, at most 256 bytes; malloc'd. */
char *fg_cms_subject(X509 *cert);
/* Adds the CA certificates of a PEM text to t; *n: how many. */
int fg_trust_add_pem(struct fg_trust *t, const char *text, size_t len, const char *what, int *n,
		     struct fg_error *err) FG_MUST_CHECK;

#endif
