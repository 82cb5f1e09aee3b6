/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "maker.h"

#include <lib/bundle/head.h>
#include <test/folder.h>

#include <inttypes.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define NEED(x)                                                                                                        \
	do {                                                                                                           \
		if (!(x)) {                                                                                            \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x);                                        \
			ERR_print_errors_fp(stderr);                                                                   \
			abort();                                                                                       \
		}                                                                                                      \
	} while (0)

static void add_ext(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;

	if (!*value)
		return;
	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	NEED(ext && X509_add_ext(cert, ext, -1) == 1);
	X509_EXTENSION_free(ext);
}

static const char *given(const char *value, const char *otherwise)
{
	return value ? value : otherwise;
}

struct maker_id maker_id(const struct maker_id *issuer, struct maker_spec spec)
{
	static long serial = 1000;
	struct maker_id id = { spec.key, X509_new() };
	X509 *by = issuer ? issuer->cert : id.cert;

	if (id.key)
		EVP_PKEY_up_ref(id.key);
	else
		id.key = EVP_EC_gen("P-256");
	NEED(id.key && id.cert && X509_set_version(id.cert, X509_VERSION_3) == 1);
	ASN1_INTEGER_set(X509_get_serialNumber(id.cert), spec.serial ? spec.serial : serial++);
	NEED(X509_NAME_add_entry_by_txt(X509_get_subject_name(id.cert), "CN", MBSTRING_UTF8,
					(const unsigned char *)given(spec.cn, issuer ? "signer" : "ca"), -1, -1,
					0) == 1);
	NEED(!spec.generation ||
	     X509_NAME_add_entry_by_txt(X509_get_subject_name(id.cert), "serialNumber", MBSTRING_UTF8,
					(const unsigned char *)spec.generation, -1, -1, 0) == 1);
	NEED(X509_set_issuer_name(id.cert, X509_get_subject_name(by)) == 1);
	ASN1_TIME_set(X509_getm_notBefore(id.cert), spec.from_s ? spec.from_s : MAKER_NOW - 100 * MAKER_DAY);
	ASN1_TIME_set(X509_getm_notAfter(id.cert), spec.to_s ? spec.to_s : MAKER_NOW + 100 * MAKER_DAY);
	NEED(X509_set_pubkey(id.cert, id.key) == 1);
	add_ext(id.cert, by, NID_basic_constraints,
		given(spec.constraints, issuer ? "critical,CA:FALSE" : "critical,CA:TRUE"));
	add_ext(id.cert, by, NID_key_usage,
		given(spec.usage, issuer ? "critical,digitalSignature" : "critical,keyCertSign,cRLSign"));
	add_ext(id.cert, by, NID_ext_key_usage, given(spec.purpose, issuer ? "codeSigning" : ""));
	add_ext(id.cert, by, NID_subject_key_identifier, "hash");
	add_ext(id.cert, by, NID_authority_key_identifier, issuer ? "keyid:always" : "");
	NEED(X509_sign(id.cert, issuer ? issuer->key : id.key, spec.md ? spec.md : EVP_sha256()) > 0);
	return id;
}

void maker_id_release(struct maker_id *id)
{
	EVP_PKEY_free(id->key);
	X509_free(id->cert);
}

X509_CRL *maker_crl(const struct maker_id *ca, const long *serials, size_t n, int64_t from_s, int64_t to_s)
{
	X509_CRL *crl = X509_CRL_new();
	ASN1_TIME *from = ASN1_TIME_set(NULL, from_s), *to = ASN1_TIME_set(NULL, to_s);

	NEED(X509_CRL_set_version(crl, X509_CRL_VERSION_2) == 1);
	NEED(X509_CRL_set_issuer_name(crl, X509_get_subject_name(ca->cert)) == 1);
	NEED(X509_CRL_set1_lastUpdate(crl, from) == 1 && X509_CRL_set1_nextUpdate(crl, to) == 1);
	for (size_t i = 0; i < n; i++) {
		X509_REVOKED *revoked = X509_REVOKED_new();
		ASN1_INTEGER *serial = ASN1_INTEGER_new();
		ASN1_INTEGER_set(serial, serials[i]);
		NEED(X509_REVOKED_set_serialNumber(revoked, serial) == 1);
		NEED(X509_REVOKED_set_revocationDate(revoked, from) == 1);
		NEED(X509_CRL_add0_revoked(crl, revoked) == 1);
		ASN1_INTEGER_free(serial);
	}
	X509_CRL_sort(crl);
	X509V3_CTX ctx;
	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, ca->cert, NULL, NULL, crl, 0);
	X509_EXTENSION *aki = X509V3_EXT_conf_nid(NULL, &ctx, NID_authority_key_identifier, "keyid:always");
	ASN1_INTEGER *number = ASN1_INTEGER_new();
	ASN1_INTEGER_set(number, 1);
	NEED(aki && X509_CRL_add_ext(crl, aki, -1) == 1);
	NEED(X509_CRL_add1_ext_i2d(crl, NID_crl_number, number, 0, 0) == 1);
	X509_EXTENSION_free(aki);
	ASN1_INTEGER_free(number);
	NEED(X509_CRL_sign(crl, ca->key, EVP_sha256()) > 0);
	ASN1_TIME_free(from);
	ASN1_TIME_free(to);
	return crl;
}

CMS_ContentInfo *maker_cms(const char *text, const struct maker_id *const *signers, size_t n, struct maker_cms how)
{
	unsigned flags = how.flags | CMS_BINARY | CMS_NOSMIMECAP;
	CMS_ContentInfo *cms = CMS_sign(NULL, NULL, NULL, NULL, flags | CMS_PARTIAL);
	BIO *bio = BIO_new_mem_buf(text, -1);

	NEED(cms && bio);
	if (how.content_nid)
		NEED(CMS_set1_eContentType(cms, OBJ_nid2obj(how.content_nid)) == 1);
	for (size_t i = 0; i < n; i++) {
		bool again = i > 0 && signers[i]->cert == signers[i - 1]->cert;
		NEED(CMS_add1_signer(cms, signers[i]->cert, signers[i]->key, how.md ? how.md : EVP_sha256(),
				     flags | CMS_PARTIAL | (again ? CMS_NOCERTS : 0)));
	}
	if (how.extra)
		NEED(CMS_add1_cert(cms, how.extra) == 1);
	if (n > 0) {
		NEED(CMS_final(cms, bio, NULL, flags) == 1);
	} else { /* CMS_final() wants a signer */
		ASN1_OCTET_STRING **content = CMS_get0_content(cms);
		ASN1_OCTET_STRING_free(*content);
		*content = ASN1_OCTET_STRING_new();
		NEED(ASN1_OCTET_STRING_set(*content, (const uint8_t *)text, (int)strlen(text)) == 1);
	}
	BIO_free(bio);
	return cms;
}

uint8_t *maker_der(CMS_ContentInfo *cms, size_t *len)
{
	unsigned char *der = NULL;
	int n = i2d_CMS_ContentInfo(cms, &der);

	NEED(n > 0);
	uint8_t *copy = fg_calloc((size_t)n, 1);
	memcpy(copy, der, (size_t)n);
	*len = (size_t)n;
	OPENSSL_free(der);
	CMS_ContentInfo_free(cms);
	return copy;
}

char *maker_pem(const struct maker_id *id)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *data = NULL;

	NEED(bio && PEM_write_bio_X509(bio, id->cert) == 1 &&
	     PEM_write_bio_PKCS8PrivateKey(bio, id->key, NULL, NULL, 0, NULL, NULL) == 1);
	long n = BIO_get_mem_data(bio, &data);
	char *copy = fg_asprintf("%.*s", (int)n, data);
	BIO_free(bio);
	return copy;
}

uint8_t *maker_payload(size_t len)
{
	uint8_t *p = fg_calloc(len, 1);
	uint32_t x = 2463534242u; /* xorshift32 */

	for (size_t i = 0; i < len; i++) {
		x ^= x << 13;
		x ^= x >> 17;
		x ^= x << 5;
		p[i] = (uint8_t)x;
	}
	return p;
}

uint8_t *maker_hashes(const uint8_t *payload, size_t len)
{
	size_t n = (size_t)fg_bundle_block_count(len);
	uint8_t *hashes = fg_calloc(n, FG_DIGEST_BYTES);

	for (size_t i = 0; i < n; i++) {
		size_t at = i * FG_BUNDLE_BLOCK_BYTES, left = len - at;
		NEED(fg_sha256(payload + at, left < FG_BUNDLE_BLOCK_BYTES ? left : FG_BUNDLE_BLOCK_BYTES,
			       hashes + i * FG_DIGEST_BYTES, NULL) == 0);
	}
	return hashes;
}

char *maker_manifest(const char *id, const uint8_t *payload, size_t len)
{
	uint8_t digest[FG_DIGEST_BYTES];
	char sum[FG_DIGEST_HEX], hashes_sum[FG_DIGEST_HEX], expires[21];
	fg_autofree uint8_t *hashes = maker_hashes(payload, len);

	NEED(fg_sha256(payload, len, digest, NULL) == 0);
	fg_hex_encode(digest, sizeof(digest), sum);
	NEED(fg_sha256(hashes, (size_t)fg_bundle_block_count(len) * FG_DIGEST_BYTES, digest, NULL) == 0);
	fg_hex_encode(digest, sizeof(digest), hashes_sum);
	fg_time_format(MAKER_NOW + 30 * MAKER_DAY, expires);
	return fg_asprintf(
		"{\"format\":1,\"id\":\"%s\",\"version\":3,\"title\":\"A fix\",\"severity\":\"important\","
		"\"published\":\"2026-01-01T00:00:00Z\",\"expires\":\"%s\",\"applies_to\":{},\"entry\":\"run\","
		"\"context\":\"chroot\",\"timeout_s\":60,\"payload\":{\"bytes\":%zu,\"sha256\":\"%s\","
		"\"hashes_sha256\":\"%s\"}}",
		id, expires, len, sum, hashes_sum);
}

struct maker_file maker_file_cms(const uint8_t *cms, size_t cms_len, const uint8_t *payload, size_t len)
{
	fg_autofree uint8_t *hashes = maker_hashes(payload, len);
	fg_autofree uint8_t *head = NULL;
	struct maker_file f = { .cms_len = cms_len };

	NEED(fg_bundle_head_build(cms, cms_len, hashes, len, &head, &f.head_len, NULL) == 0);
	f.len = f.head_len + len;
	f.bytes = fg_calloc(f.len, 1);
	memcpy(f.bytes, head, f.head_len);
	memcpy(f.bytes + f.head_len, payload, len);
	return f;
}

struct maker_file maker_file(const char *manifest, const uint8_t *payload, size_t len,
			     const struct maker_id *const *signers, size_t n)
{
	fg_autofree char *text = manifest ? fg_strdup(manifest) : maker_manifest("demo-1", payload, len);
	size_t cms_len = 0;
	fg_autofree uint8_t *cms = maker_der(maker_cms(text, signers, n, (struct maker_cms){ .flags = 0 }), &cms_len);

	return maker_file_cms(cms, cms_len, payload, len);
}

void maker_redigest(struct maker_file *f)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();

	NEED(EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1 && EVP_DigestUpdate(ctx, f->bytes, 48) == 1 &&
	     EVP_DigestUpdate(ctx, f->bytes + 80, f->head_len - 80) == 1 &&
	     EVP_DigestFinal_ex(ctx, f->bytes + 48, NULL) == 1);
	EVP_MD_CTX_free(ctx);
}

int maker_memfd(const uint8_t *bytes, size_t len)
{
	int fd = memfd_create("bundle", MFD_CLOEXEC);

	NEED(fd >= 0 && write(fd, bytes, len) == (ssize_t)len);
	return fd;
}

char *maker_trust_dir(X509 *const *cas, size_t n_cas, X509_CRL *const *crls, size_t n_crls, const char *threshold)
{
	char *dir = fg_strdup("/tmp/fg-trust-XXXXXX");

	test_folder_make(dir);
	fg_autofree char *ca_path = fg_asprintf("%s/publisher-ca.pem", dir);
	fg_autofree char *crl_path = fg_asprintf("%s/crl.pem", dir);
	fg_autofree char *threshold_path = fg_asprintf("%s/threshold", dir);
	FILE *f = n_cas ? fopen(ca_path, "w") : NULL;
	for (size_t i = 0; i < n_cas; i++)
		NEED(PEM_write_X509(f, cas[i]) == 1);
	if (f)
		fclose(f);
	f = n_crls ? fopen(crl_path, "w") : NULL;
	for (size_t i = 0; i < n_crls; i++)
		NEED(PEM_write_X509_CRL(f, crls[i]) == 1);
	if (f)
		fclose(f);
	if (threshold)
		NEED(fg_file_write_durable(threshold_path, threshold, strlen(threshold), 0644, NULL) == 0);
	return dir;
}

struct fg_trust *maker_trust(X509 *ca, X509_CRL *crl, const char *threshold)
{
	fg_autofree char *dir = maker_trust_dir(&ca, 1, &crl, crl != NULL, threshold);
	struct fg_error err = FG_ERROR_INIT;
	struct fg_trust *trust = NULL;
	int rc = fg_trust_load(dir, &trust, &err);

	if (rc < 0)
		fprintf(stderr, "%s\n", err.text);
	NEED(rc == 0);
	maker_remove(dir);
	return trust;
}

void maker_remove(const char *dir)
{
	test_folder_remove(dir);
}
