/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fix.h"

#include <lib/bundle/cms.h>
#include <lib/bundle/head.h>

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <string.h>
#include <unistd.h>

#define SIGN_FLAGS (CMS_BINARY | CMS_PARTIAL | CMS_NOSMIMECAP)

/* CMS_final() wants at least one digest algorithm, that is a signer: the content is put in by hand. */
int fix_cms_new(const char *manifest, CMS_ContentInfo **out, struct fg_error *err)
{
	CMS_ContentInfo *cms = CMS_sign(NULL, NULL, NULL, NULL, CMS_BINARY | CMS_PARTIAL);
	ASN1_OCTET_STRING **content = cms ? CMS_get0_content(cms) : NULL;
	ASN1_OCTET_STRING *text = ASN1_OCTET_STRING_new();

	if (!content || !text || ASN1_OCTET_STRING_set(text, (const uint8_t *)manifest, (int)strlen(manifest)) != 1) {
		ASN1_OCTET_STRING_free(text);
		CMS_ContentInfo_free(cms);
		return fg_ssl_error(err, FG_EFAILED, "cannot make a CMS");
	}
	ASN1_OCTET_STRING_free(*content);
	*content = text;
	*out = cms;
	return 0;
}

static int check_cert(CMS_ContentInfo *cms, X509 *cert, struct fg_error *err)
{
	STACK_OF(CMS_SignerInfo) *infos = CMS_get0_SignerInfos(cms);
	int rc = fg_cms_check_signer_cert(cert, err);

	if (rc < 0)
		return rc;
	if (X509_cmp_current_time(X509_get0_notAfter(cert)) <= 0)
		return fg_error_set(err, FG_EUNTRUSTED, "certificate has expired");
	CMS_set1_signers_certs(cms, NULL, 0);
	for (int i = 0; i < sk_CMS_SignerInfo_num(infos); i++) {
		X509 *other = NULL;
		CMS_SignerInfo_get0_algs(sk_CMS_SignerInfo_value(infos, i), NULL, &other, NULL, NULL);
		if (other && EVP_PKEY_eq(X509_get0_pubkey(other), X509_get0_pubkey(cert)) == 1)
			return fg_error_set(err, FG_EEXISTS, "this key has signed the bundle already");
	}
	if (sk_CMS_SignerInfo_num(infos) >= FG_CMS_SIGNERS_MAX)
		return fg_error_set(err, FG_ELIMIT, "the bundle has %d signers, no more are taken", FG_CMS_SIGNERS_MAX);
	return 0;
}

/*
 * The content digest goes into the attributes by hand: CMS_final() would sign for the earlier signers again, without their
 * keys.
 */
static int add_signer(CMS_ContentInfo *cms, EVP_PKEY *key, STACK_OF(X509) * certs, struct fg_error *err)
{
	X509 *cert = sk_X509_value(certs, 0);
	uint8_t digest[FG_DIGEST_BYTES];
	const uint8_t *bytes = NULL;
	size_t len = 0;
	int rc = check_cert(cms, cert, err);

	fg_cms_content(cms, &bytes, &len);
	if (rc == 0)
		rc = fg_sha256(bytes, len, digest, err);
	if (rc < 0)
		return rc;
	ERR_clear_error();
	CMS_SignerInfo *si = CMS_add1_signer(cms, cert, key, EVP_sha256(), SIGN_FLAGS);
	if (!si ||
	    CMS_signed_add1_attr_by_NID(si, NID_pkcs9_contentType, V_ASN1_OBJECT, OBJ_nid2obj(NID_pkcs7_data), -1) !=
		    1 ||
	    CMS_signed_add1_attr_by_NID(si, NID_pkcs9_messageDigest, V_ASN1_OCTET_STRING, digest, sizeof(digest)) !=
		    1 ||
	    CMS_SignerInfo_sign(si) != 1)
		return fg_ssl_error(err, FG_EFAILED, "cannot sign");
	for (int i = 1; i < sk_X509_num(certs); i++)
		CMS_add1_cert(cms, sk_X509_value(certs, i)); /* fails where another signer brought it along: fine */
	ERR_clear_error();
	return 0;
}

int fix_cms_add_signer(CMS_ContentInfo *cms, const char *key_uri, const char *cert_uri, struct fg_error *err)
{
	STACK_OF(X509) *certs = NULL;
	EVP_PKEY *key = NULL;
	int rc = fix_certs_load(cert_uri, &certs, err);

	if (rc == 0)
		rc = fix_key_load(key_uri, &key, err);
	if (rc == 0)
		rc = add_signer(cms, key, certs, err);
	EVP_PKEY_free(key);
	sk_X509_pop_free(certs, X509_free);
	return rc;
}

/* Nobody signs for a payload that is not the manifest's. */
static int check_bundle(int fd, const struct fg_bundle_head *head, CMS_ContentInfo *cms, struct fg_error *err)
{
	struct fg_manifest *m = NULL;
	const uint8_t *bytes = NULL;
	size_t len = 0;
	int rc;

	fg_cms_content(cms, &bytes, &len);
	if ((rc = fg_manifest_parse(bytes, len, &m, err)) < 0)
		return rc;
	rc = fg_bundle_head_consistent(head, m, err);
	if (rc == 0)
		rc = fg_bundle_payload_verify(fd, head, m->payload_digest, -1, err);
	fg_manifest_free(m);
	return rc;
}

static int sign_file(const struct fix_options *o, int fd, const struct fg_bundle_head *head, struct fg_error *err)
{
	CMS_ContentInfo *cms = NULL;
	int rc = fg_cms_parse(head->cms, head->cms_bytes, &cms, err);

	if (rc < 0)
		return rc;
	if ((rc = check_bundle(fd, head, cms, err)) == 0 && (rc = fix_cms_add_signer(cms, o->key, o->cert, err)) == 0)
		rc = fix_bundle_write(o->arg, cms, head->hashes, head->payload_bytes, fd, head->head_bytes, err);
	CMS_ContentInfo_free(cms);
	return rc;
}

int fix_sign(const struct fix_options *o, struct fg_error *err)
{
	fg_autoclose int fd = open(o->arg, O_RDONLY | O_CLOEXEC);
	fg_autofree uint8_t *buf = NULL;
	struct fg_bundle_head head = { 0 };
	int rc;

	if (fd < 0)
		return fg_error_errno(err, errno == ENOENT ? FG_ENOTFOUND : FG_EIO, errno, "%s", o->arg);
	rc = fg_bundle_head_read(fd, &buf, &head, err);
	if (rc == 0)
		rc = sign_file(o, fd, &head, err);
	if (rc < 0) {
		fg_error_wrap(err, "%s", o->arg);
		return rc;
	}
	return fix_print_summary(o->arg, o->json, "signed", err);
}
