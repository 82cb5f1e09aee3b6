/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Makes certificates, CMS and bundles for tests, right and wrong ones.  Everything aborts on failure. */
#ifndef FG_TEST_MAKER_H
#define FG_TEST_MAKER_H

#include <fixgate/bundle.h>
#include <lib/util.h>

#include <openssl/cms.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#define MAKER_NOW 1780272000 /* 2026-06-01T00:00:00Z */
#define MAKER_DAY 86400

struct maker_id {
	EVP_PKEY *key;
	X509 *cert;
};

/* Zero or NULL means: as a good signer has it. */
struct maker_spec {
	const char *cn;
	const char *generation; /* serialNumber of the subject */
	const char *constraints, *usage, *purpose; /* extension values; "" leaves the extension out */
	int64_t from_s, to_s;
	EVP_PKEY *key; /* else a new P-256 key; not taken over */
	const EVP_MD *md;
	long serial;
};

/* issuer NULL: self-signed, a CA unless the spec says otherwise. */
struct maker_id maker_id(const struct maker_id *issuer, struct maker_spec spec);
void maker_id_release(struct maker_id *id);
/* Revokes the certificates with these serials; valid from_s … to_s. */
X509_CRL *maker_crl(const struct maker_id *ca, const long *serials, size_t n, int64_t from_s, int64_t to_s);

/* CMS over text by these signers; flags as for CMS_sign, 0 = as fixgate-fix does it. */
struct maker_cms {
	unsigned flags;
	const EVP_MD *md;
	int content_nid; /* 0 = id-data */
	X509 *extra; /* one more certificate inside */
};
CMS_ContentInfo *maker_cms(const char *text, const struct maker_id *const *signers, size_t n, struct maker_cms how);
uint8_t *maker_der(CMS_ContentInfo *cms, size_t *len); /* frees cms */
char *maker_pem(const struct maker_id *id); /* certificate and key, as online.pem has them */

/* A payload of len bytes that are not all alike. */
uint8_t *maker_payload(size_t len);
uint8_t *maker_hashes(const uint8_t *payload, size_t len);
/* Manifest for it, as text; expires MAKER_NOW + 30 days. */
char *maker_manifest(const char *id, const uint8_t *payload, size_t len);

struct maker_file {
	uint8_t *bytes;
	size_t len, head_len, cms_len;
};
/* manifest NULL: maker_manifest("demo-1"). */
struct maker_file maker_file(const char *manifest, const uint8_t *payload, size_t len,
			     const struct maker_id *const *signers, size_t n);
/* The same around a CMS that is given. */
struct maker_file maker_file_cms(const uint8_t *cms, size_t cms_len, const uint8_t *payload, size_t len);
void maker_redigest(struct maker_file *f); /* head digest over what is there now */
int maker_memfd(const uint8_t *bytes, size_t len);

/* A trust folder made of these; NULL and 0 leave a file out.  maker_trust loads it and removes it. */
char *maker_trust_dir(X509 *const *cas, size_t n_cas, X509_CRL *const *crls, size_t n_crls, const char *threshold);
struct fg_trust *maker_trust(X509 *ca, X509_CRL *crl, const char *threshold);
void maker_remove(const char *dir); /* a folder and the files in it, any depth */

#endif
