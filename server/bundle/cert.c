/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Certificates in the shape that verification asks for (RFC 5280): a CA of its own, signers for code signing only. */
#include "fix.h"

#include <lib/bundle/cms.h>

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>

#define CLOCK_SKEW_S 3600 /* a host's clock may be behind ours */

int fix_key_new(EVP_PKEY **out, struct fg_error *err)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");

	if (!key)
		return fg_ssl_error(err, FG_EFAILED, "cannot make a key");
	*out = key;
	return 0;
}

static bool add_ext(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;

	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	bool ok = ext && X509_add_ext(cert, ext, -1) == 1;
	X509_EXTENSION_free(ext);
	return ok;
}

static bool set_serial(X509 *cert)
{
	unsigned char bytes[16];

	fg_random_bytes(bytes, sizeof(bytes));
	bytes[0] = (unsigned char)((bytes[0] & 0x7f) | 0x40); /* positive, not 0 */
	BIGNUM *n = BN_bin2bn(bytes, sizeof(bytes), NULL);
	bool ok = n && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(cert));
	BN_free(n);
	return ok;
}

static bool set_name(X509 *cert, const char *cn)
{
	return X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_UTF8, (const unsigned char *)cn,
					  -1, -1, 0) == 1;
}

static bool set_extensions(X509 *cert, X509 *issuer)
{
	bool ca = issuer == cert;

	return add_ext(cert, issuer, NID_basic_constraints, ca ? "critical,CA:TRUE,pathlen:0" : "critical,CA:FALSE") &&
	       add_ext(cert, issuer, NID_key_usage,
		       ca ? "critical,keyCertSign,cRLSign" : "critical,digitalSignature") &&
	       (ca || add_ext(cert, issuer, NID_ext_key_usage, "critical,codeSigning")) &&
	       add_ext(cert, issuer, NID_subject_key_identifier, "hash") &&
	       (ca || add_ext(cert, issuer, NID_authority_key_identifier, "keyid:always"));
}

int fix_cert_new(const char *cn, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key, unsigned days, X509 **out,
		 struct fg_error *err)
{
	X509 *cert = X509_new();

	ERR_clear_error();
	if (!cert || X509_set_version(cert, X509_VERSION_3) != 1 || !set_serial(cert) || !set_name(cert, cn) ||
	    X509_set_issuer_name(cert, X509_get_subject_name(issuer ? issuer : cert)) != 1 ||
	    !X509_gmtime_adj(X509_getm_notBefore(cert), -CLOCK_SKEW_S) ||
	    !X509_time_adj_ex(X509_getm_notAfter(cert), (int)days, 0, NULL) || X509_set_pubkey(cert, key) != 1 ||
	    !set_extensions(cert, issuer ? issuer : cert) ||
	    X509_sign(cert, issuer_key ? issuer_key : key, EVP_sha256()) <= 0) {
		X509_free(cert);
		return fg_ssl_error(err, FG_EFAILED, "cannot make a certificate for '%.64s'", cn);
	}
	*out = cert;
	return 0;
}
