/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "pki.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <fixgate/catalogue.h>
#include <lib/util.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>
#include <server/http/tls.h>
#include <string.h>
#include <time.h>

#define CLOCK_SKEW_S 86400 /* valid from a day ago: a host's clock may be behind */

static void key_freep(EVP_PKEY **k)
{
	EVP_PKEY_free(*k);
}
static void cert_freep(X509 **c)
{
	X509_free(*c);
}
static void bio_freep(BIO **b)
{
	BIO_free(*b);
}
#define auto_key fg_cleanup(key_freep)
#define auto_cert fg_cleanup(cert_freep)
#define auto_bio fg_cleanup(bio_freep)

int fg_pki_name_check(const char *name, struct fg_error *err)
{
	size_t len = strlen(name);

	if (len == 0 || len > 64 || !isalnum((unsigned char)name[0]))
		return fg_error_set(err, FG_EUSAGE, "'%s' is no host name", name);
	for (const char *p = name; *p; p++)
		if (!isalnum((unsigned char)*p) && *p != '-' && *p != '.')
			return fg_error_set(err, FG_EUSAGE, "'%s' is no host name", name);
	return 0;
}

static int add_ext(X509 *cert, X509 *issuer, int nid, const char *value, struct fg_error *err)
{
	X509V3_CTX ctx;

	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	if (!ext || X509_add_ext(cert, ext, -1) != 1) {
		X509_EXTENSION_free(ext);
		return fg_tls_error(err, FG_EFAILED, "certificate extension %s", value);
	}
	X509_EXTENSION_free(ext);
	return 0;
}

static int add_name(X509_NAME *name, const char *field, const char *value)
{
	return !value ||
	       X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8, (const unsigned char *)value, -1, -1, 0);
}

/* Everything but issuer, extensions and signature. */
static int cert_base(EVP_PKEY *key, const char *cn, const char *ou, int days, X509 **out, struct fg_error *err)
{
	auto_cert X509 *cert = X509_new();
	uint8_t serial[16];

	fg_random_bytes(serial, sizeof(serial));
	serial[0] &= 0x7f; /* positive */
	BIGNUM *bn = BN_bin2bn(serial, sizeof(serial), NULL);
	bool ok = cert && bn && X509_set_version(cert, X509_VERSION_3) &&
		  BN_to_ASN1_INTEGER(bn, X509_get_serialNumber(cert)) &&
		  X509_gmtime_adj(X509_getm_notBefore(cert), -CLOCK_SKEW_S) &&
		  X509_time_adj_ex(X509_getm_notAfter(cert), days, 0, NULL) && X509_set_pubkey(cert, key);
	BN_free(bn);
	X509_NAME *name = cert ? X509_get_subject_name(cert) : NULL;
	if (!ok || !add_name(name, "O", "Fixgate") || !add_name(name, "OU", ou) || !add_name(name, "CN", cn))
		return fg_tls_error(err, FG_EFAILED, "certificate for %s", cn);
	*out = FG_TAKE(cert);
	return 0;
}

static int key_make(EVP_PKEY **out, struct fg_error *err)
{
	*out = EVP_EC_gen("P-256");
	return *out ? 0 : fg_tls_error(err, FG_EFAILED, "cannot make a key");
}

static int bio_write(BIO *bio, const char *path, int mode, struct fg_error *err)
{
	char *data = NULL;
	long len = BIO_get_mem_data(bio, &data);

	return fg_file_write_durable(path, data, (size_t)len, mode, err);
}

static int pair_write(X509 *cert, const char *cert_file, EVP_PKEY *key, const char *key_file, struct fg_error *err)
{
	auto_bio BIO *cert_bio = BIO_new(BIO_s_mem());
	auto_bio BIO *key_bio = BIO_new(BIO_s_secmem());

	if (!cert_bio || !key_bio || PEM_write_bio_X509(cert_bio, cert) != 1 ||
	    PEM_write_bio_PKCS8PrivateKey(key_bio, key, NULL, NULL, 0, NULL, NULL) != 1)
		return fg_tls_error(err, FG_EFAILED, "cannot encode the key or certificate");
	int rc = bio_write(key_bio, key_file, 0600, err);
	return rc < 0 ? rc : bio_write(cert_bio, cert_file, 0644, err);
}

int fg_pki_ca_make(const char *cert_file, const char *key_file, struct fg_error *err)
{
	auto_key EVP_PKEY *key = NULL;
	auto_cert X509 *cert = NULL;
	int rc = key_make(&key, err);

	if (rc == 0)
		rc = cert_base(key, "Fixgate server CA", NULL, FG_PKI_CA_DAYS, &cert, err);
	if (rc < 0)
		return rc;
	X509_set_issuer_name(cert, X509_get_subject_name(cert));
	rc = add_ext(cert, cert, NID_basic_constraints, "critical,CA:TRUE,pathlen:0", err);
	if (rc == 0)
		rc = add_ext(cert, cert, NID_key_usage, "critical,keyCertSign,cRLSign", err);
	if (rc == 0)
		rc = add_ext(cert, cert, NID_subject_key_identifier, "hash", err);
	if (rc == 0 && !X509_sign(cert, key, EVP_sha256()))
		rc = fg_tls_error(err, FG_EFAILED, "cannot sign");
	return rc < 0 ? rc : pair_write(cert, cert_file, key, key_file, err);
}

static int ca_load(const char *cert_file, const char *key_file, X509 **cert, EVP_PKEY **key, struct fg_error *err)
{
	auto_bio BIO *cert_bio = BIO_new_file(cert_file, "r");
	auto_bio BIO *key_bio = BIO_new_file(key_file, "r");

	if (!cert_bio || !(*cert = PEM_read_bio_X509(cert_bio, NULL, NULL, NULL)))
		return fg_tls_error(err, FG_ENOTFOUND, "%s", cert_file);
	if (!key_bio || !(*key = PEM_read_bio_PrivateKey(key_bio, NULL, NULL, NULL)))
		return fg_tls_error(err, FG_ENOTFOUND, "%s", key_file);
	return 0;
}

/* "IP:10.0.0.1,DNS:fix.example.org"; each is checked, so that none can smuggle in another entry. */
static int alt_names(const struct fg_pki_request *r, char **out, struct fg_error *err)
{
	fg_autofree char *text = fg_strdup("");

	for (size_t i = 0; i < r->n_addresses; i++) {
		const char *a = r->addresses[i];
		uint8_t ip[16];
		bool is_ip = inet_pton(AF_INET, a, ip) == 1 || inet_pton(AF_INET6, a, ip) == 1;
		int rc = is_ip ? 0 : fg_pki_name_check(a, err);
		if (rc < 0)
			return rc;
		char *more = fg_asprintf("%s%s%s:%s", text, i ? "," : "", is_ip ? "IP" : "DNS", a);
		free(text);
		text = more;
	}
	*out = FG_TAKE(text);
	return 0;
}

static int leaf_extensions(X509 *cert, X509 *ca, const struct fg_pki_request *r, struct fg_error *err)
{
	static const char *const usages[] = { [FG_PKI_SERVER] = "serverAuth",
					      [FG_PKI_CLIENT] = "clientAuth",
					      [FG_PKI_CATALOGUE] = "critical," FG_CATALOGUE_EKU };
	fg_autofree char *names = NULL;
	int rc = alt_names(r, &names, err);

	if (rc == 0)
		rc = add_ext(cert, ca, NID_basic_constraints, "critical,CA:FALSE", err);
	if (rc == 0)
		rc = add_ext(cert, ca, NID_key_usage, "critical,digitalSignature", err);
	if (rc == 0)
		rc = add_ext(cert, ca, NID_ext_key_usage, usages[r->use], err);
	if (rc == 0)
		rc = add_ext(cert, ca, NID_subject_key_identifier, "hash", err);
	if (rc == 0)
		rc = add_ext(cert, ca, NID_authority_key_identifier, "keyid", err);
	if (rc == 0 && names[0])
		rc = add_ext(cert, ca, NID_subject_alt_name, names, err);
	return rc;
}

/* The addresses of another certificate. */
static int names_copy(X509 *cert, const X509 *from, struct fg_error *err)
{
	int at = X509_get_ext_by_NID(from, NID_subject_alt_name, -1);

	if (at < 0)
		return fg_error_set(err, FG_EFORMAT, "the certificate before has no addresses");
	return X509_add_ext(cert, X509_get_ext(from, at), -1) == 1 ? 0 : fg_tls_error(err, FG_EFAILED, "addresses");
}

/* before: the certificate whose addresses it gets if the request has none, or NULL. */
static int leaf_make(X509 *ca, EVP_PKEY *ca_key, EVP_PKEY *key, const struct fg_pki_request *r, const X509 *before,
		     X509 **out, struct fg_error *err)
{
	auto_cert X509 *cert = NULL;
	int rc = cert_base(key, r->cn, r->ou, FG_PKI_LEAF_DAYS, &cert, err);

	if (rc == 0 && !add_name(X509_get_subject_name(cert), "serialNumber", r->generation))
		rc = fg_tls_error(err, FG_EFAILED, "certificate for %s", r->cn);
	if (rc < 0)
		return rc;
	X509_set_issuer_name(cert, X509_get_subject_name(ca));
	rc = leaf_extensions(cert, ca, r, err);
	if (rc == 0 && before && r->n_addresses == 0)
		rc = names_copy(cert, before, err);
	if (rc == 0 && !X509_sign(cert, ca_key, EVP_sha256()))
		rc = fg_tls_error(err, FG_EFAILED, "cannot sign");
	if (rc == 0)
		*out = FG_TAKE(cert);
	return rc;
}

int fg_pki_issue(const char *ca_cert_file, const char *ca_key_file, const struct fg_pki_request *r,
		 const char *cert_file, const char *key_file, struct fg_error *err)
{
	auto_key EVP_PKEY *ca_key = NULL;
	auto_key EVP_PKEY *key = NULL;
	auto_cert X509 *ca = NULL;
	auto_cert X509 *cert = NULL;
	int rc = ca_load(ca_cert_file, ca_key_file, &ca, &ca_key, err);

	if (rc == 0)
		rc = key_make(&key, err);
	if (rc == 0)
		rc = leaf_make(ca, ca_key, key, r, NULL, &cert, err);
	return rc < 0 ? rc : pair_write(cert, cert_file, key, key_file, err);
}

int fg_pki_renew(const char *ca_cert_file, const char *ca_key_file, const struct fg_pki_request *r,
		 const char *cert_file, const char *key_file, struct fg_error *err)
{
	auto_key EVP_PKEY *ca_key = NULL;
	auto_key EVP_PKEY *key = NULL;
	auto_cert X509 *ca = NULL;
	auto_cert X509 *before = NULL;
	auto_cert X509 *cert = NULL;
	auto_bio BIO *bio = BIO_new(BIO_s_mem());
	int rc = ca_load(ca_cert_file, ca_key_file, &ca, &ca_key, err);

	if (rc == 0)
		rc = ca_load(cert_file, key_file, &before, &key, err);
	if (rc == 0 && X509_check_private_key(ca, ca_key) != 1)
		rc = fg_tls_error(err, FG_EDIFFERS, "%s is not the key of %s", ca_key_file, ca_cert_file);
	if (rc == 0)
		rc = leaf_make(ca, ca_key, key, r, before, &cert, err);
	if (rc == 0 && (!bio || PEM_write_bio_X509(bio, cert) != 1))
		rc = fg_tls_error(err, FG_EFAILED, "cannot write %s", cert_file);
	return rc < 0 ? rc : bio_write(bio, cert_file, 0644, err);
}

/* ---- keys that others made ---- */

struct fg_pki_ca {
	X509 *cert;
	EVP_PKEY *key;
};

struct fg_pki_csr {
	X509_REQ *req;
	char key_hash[2 * SHA256_DIGEST_LENGTH + 1];
};

static int describe(const X509 *cert, struct fg_pki_issued *out, struct fg_error *err)
{
	struct tm tm;

	if (!fg_tls_serial(cert, out->serial) || !ASN1_TIME_to_tm(X509_get0_notAfter(cert), &tm))
		return fg_error_set(err, FG_EFORMAT, "odd serial number or time in a certificate");
	out->not_after_s = (int64_t)timegm(&tm);
	return 0;
}

int fg_pki_describe(const char *cert_file, struct fg_pki_issued *out, struct fg_error *err)
{
	auto_bio BIO *bio = BIO_new_file(cert_file, "r");
	auto_cert X509 *cert = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;

	if (!cert)
		return fg_tls_error(err, FG_ENOTFOUND, "%s", cert_file);
	return describe(cert, out, err);
}

int fg_pki_ca_open(const char *cert_file, const char *key_file, struct fg_pki_ca **out, struct fg_error *err)
{
	struct fg_pki_ca *ca = fg_calloc(1, sizeof(*ca));
	int rc = ca_load(cert_file, key_file, &ca->cert, &ca->key, err);

	if (rc < 0) {
		fg_pki_ca_close(ca);
		return rc;
	}
	*out = ca;
	return 0;
}

void fg_pki_ca_close(struct fg_pki_ca *ca)
{
	if (!ca)
		return;
	X509_free(ca->cert);
	EVP_PKEY_free(ca->key);
	free(ca);
}

static int key_check(const EVP_PKEY *key, struct fg_error *err)
{
	char group[32] = "";
	size_t len = 0;

	if (EVP_PKEY_is_a(key, "ED25519") || (EVP_PKEY_is_a(key, "RSA") && EVP_PKEY_get_bits(key) >= 2048))
		return 0;
	if (EVP_PKEY_is_a(key, "EC") && EVP_PKEY_get_group_name(key, group, sizeof(group), &len) == 1 &&
	    (!strcmp(group, "prime256v1") || !strcmp(group, "secp384r1")))
		return 0;
	return fg_error_set(err, FG_EREFUSED,
			    "the key must be EC P-256 or P-384, Ed25519, or RSA of 2048 bits or more");
}

int fg_pki_csr_read(const char *pem, struct fg_pki_csr **out, struct fg_error *err)
{
	auto_bio BIO *bio = BIO_new_mem_buf(pem, -1);
	struct fg_pki_csr *csr = fg_calloc(1, sizeof(*csr));
	uint8_t sum[SHA256_DIGEST_LENGTH];
	unsigned char *der = NULL;
	int rc = 0;

	csr->req = strlen(pem) <= FG_PKI_CSR_MAX && bio ? PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL) : NULL;
	EVP_PKEY *key = csr->req ? X509_REQ_get0_pubkey(csr->req) : NULL;
	int len = key ? i2d_PUBKEY(key, &der) : -1;
	if (len <= 0)
		rc = fg_error_set(err, FG_EFORMAT, "no certificate signing request");
	if (rc == 0)
		rc = key_check(key, err);
	if (rc == 0 && X509_REQ_verify(csr->req, key) != 1)
		rc = fg_error_set(err, FG_EFORMAT, "the signing request is not signed by its own key");
	ERR_clear_error();
	if (rc < 0) {
		OPENSSL_free(der);
		fg_pki_csr_free(csr);
		return rc;
	}
	SHA256(der, (size_t)len, sum);
	OPENSSL_free(der);
	fg_hex_encode(sum, sizeof(sum), csr->key_hash);
	*out = csr;
	return 0;
}

const char *fg_pki_csr_key_hash(const struct fg_pki_csr *csr)
{
	return csr->key_hash;
}

void fg_pki_csr_free(struct fg_pki_csr *csr)
{
	if (!csr)
		return;
	X509_REQ_free(csr->req);
	free(csr);
}

int fg_pki_certify(const struct fg_pki_ca *ca, const struct fg_pki_request *r, const struct fg_pki_csr *csr, char **pem,
		   struct fg_pki_issued *issued, struct fg_error *err)
{
	auto_cert X509 *cert = NULL;
	auto_bio BIO *bio = BIO_new(BIO_s_mem());
	char *data = NULL;
	int rc = cert_base(X509_REQ_get0_pubkey(csr->req), r->cn, r->ou, FG_PKI_LEAF_DAYS, &cert, err);

	if (rc < 0)
		return rc;
	X509_set_issuer_name(cert, X509_get_subject_name(ca->cert));
	rc = leaf_extensions(cert, ca->cert, r, err);
	if (rc == 0 && (!X509_sign(cert, ca->key, EVP_sha256()) || !bio || PEM_write_bio_X509(bio, cert) != 1))
		rc = fg_tls_error(err, FG_EFAILED, "cannot sign");
	if (rc == 0)
		rc = describe(cert, issued, err);
	if (rc < 0)
		return rc;
	long len = BIO_get_mem_data(bio, &data);
	*pem = fg_asprintf("%.*s", (int)len, data);
	return 0;
}
