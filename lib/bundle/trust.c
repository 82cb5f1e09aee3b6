/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The trust folder: publisher CAs, CRLs, how many signers. */
#include "cms.h"

#include <lib/util.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <string.h>

int fg_ssl_error(struct fg_error *err, enum fg_error_code code, const char *fmt, ...)
{
	unsigned long cause = ERR_peek_error();
	char text[256], why[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	const char *reason = ERR_reason_error_string(cause);
	snprintf(why, sizeof(why), "%s", reason ? reason : "");
	ERR_clear_error();
	if (!cause)
		return fg_error_set(err, code, "%s", text);
	if (reason)
		return fg_error_set(err, code, "%s: %s", text, why);
	return fg_error_set(err, code, "%s: OpenSSL error %lx", text, cause);
}

static void free_infos(STACK_OF(X509_INFO) * infos)
{
	sk_X509_INFO_pop_free(infos, X509_INFO_free);
}

static STACK_OF(X509_INFO) * pem_infos(const char *text, size_t len)
{
	BIO *bio = BIO_new_mem_buf(text, (int)len);
	STACK_OF(X509_INFO) *infos = bio ? PEM_X509_INFO_read_bio(bio, NULL, NULL, NULL) : NULL;

	BIO_free(bio);
	return infos;
}

/* NOTFOUND when there is no such file.  Anything in it but certificates and CRLs is refused. */
static int read_pem(const char *path, STACK_OF(X509_INFO) * *out, struct fg_error *err)
{
	fg_autofree char *text = NULL;
	size_t len = 0;
	int rc = fg_file_read(path, FG_TRUST_FILE_MAX, &text, &len, err);

	if (rc < 0)
		return rc;
	STACK_OF(X509_INFO) *infos = pem_infos(text, len);
	if (!infos)
		return fg_ssl_error(err, FG_EFORMAT, "%s is no PEM", path);
	ERR_clear_error(); /* "no start line" at the end of the file */
	*out = infos;
	return 0;
}

static int add_ca(struct fg_trust *t, X509 *cert, struct fg_error *err)
{
	char subject[256];

	X509_NAME_oneline(X509_get_subject_name(cert), subject, sizeof(subject));
	if (X509_check_ca(cert) != 1)
		return fg_error_set(err, FG_EFORMAT, "%s is no CA certificate", subject);
	if (X509_STORE_add_cert(t->store, cert) != 1)
		return fg_ssl_error(err, FG_EFORMAT, "cannot take %s", subject);
	return 0;
}

int fg_trust_add_pem(struct fg_trust *t, const char *text, size_t len, const char *what, int *n, struct fg_error *err)
{
	STACK_OF(X509_INFO) *infos = pem_infos(text, len);
	int rc = 0;

	if (!infos)
		return fg_ssl_error(err, FG_EFORMAT, "%s is no PEM", what);
	ERR_clear_error(); /* "no start line" at the end of the file */
	*n = 0;
	for (int i = 0; rc == 0 && i < sk_X509_INFO_num(infos); i++) {
		X509_INFO *info = sk_X509_INFO_value(infos, i);
		if (!info->x509)
			continue;
		(*n)++;
		rc = add_ca(t, info->x509, err);
	}
	free_infos(infos);
	if (rc == 0 && *n == 0)
		rc = fg_error_set(err, FG_EFORMAT, "%s holds no certificate", what);
	return rc;
}

static int load_cas(struct fg_trust *t, const char *dir, struct fg_error *err)
{
	fg_autofree char *path = fg_asprintf("%s/publisher-ca.pem", dir);
	fg_autofree char *text = NULL;
	size_t len = 0;
	int n = 0, rc = fg_file_read(path, FG_TRUST_FILE_MAX, &text, &len, err);

	return rc < 0 ? rc : fg_trust_add_pem(t, text, len, path, &n, err);
}

static int load_crls(struct fg_trust *t, const char *dir, struct fg_error *err)
{
	fg_autofree char *path = fg_asprintf("%s/crl.pem", dir);
	struct fg_error none = FG_ERROR_INIT;
	STACK_OF(X509_INFO) *infos = NULL;
	int rc = read_pem(path, &infos, &none);

	if (rc == -FG_ENOTFOUND)
		return 0;
	if (rc < 0)
		return fg_error_set(err, (enum fg_error_code)none.code, "%s", none.text);
	for (int i = 0; rc == 0 && i < sk_X509_INFO_num(infos); i++) {
		X509_INFO *info = sk_X509_INFO_value(infos, i);
		if (!info->crl)
			continue;
		t->crl = true;
		if (X509_STORE_add_crl(t->store, info->crl) != 1)
			rc = fg_ssl_error(err, FG_EFORMAT, "%s: cannot take CRL %d", path, i + 1);
	}
	free_infos(infos);
	if (rc == 0 && !t->crl)
		rc = fg_error_set(err, FG_EFORMAT, "%s holds no CRL", path);
	return rc;
}

static int load_threshold(struct fg_trust *t, const char *dir, struct fg_error *err)
{
	fg_autofree char *path = fg_asprintf("%s/threshold", dir);
	struct fg_error none = FG_ERROR_INIT;
	fg_autofree char *text = NULL;
	int rc = fg_file_read(path, 64, &text, NULL, &none);

	if (rc == -FG_ENOTFOUND)
		return 0;
	if (rc < 0)
		return fg_error_set(err, (enum fg_error_code)none.code, "%s", none.text);
	char *end = NULL;
	unsigned long k = text[0] >= '0' && text[0] <= '9' ? strtoul(text, &end, 10) : 0;
	if (k < 1 || k > FG_CMS_SIGNERS_MAX || end[strspn(end, " \n")] != '\0')
		return fg_error_set(err, FG_EFORMAT, "%s: not a number from 1 to %d", path, FG_CMS_SIGNERS_MAX);
	t->threshold = (unsigned)k;
	return 0;
}

int fg_trust_load(const char *dir, struct fg_trust **out, struct fg_error *err)
{
	struct fg_trust *t = fg_calloc(1, sizeof(*t));
	int rc;

	t->threshold = 1;
	t->store = X509_STORE_new();
	if (!t->store) {
		fg_trust_free(t);
		return fg_ssl_error(err, FG_ENOMEM, "cannot make a certificate store");
	}
	if ((rc = load_cas(t, dir, err)) < 0 || (rc = load_crls(t, dir, err)) < 0 ||
	    (rc = load_threshold(t, dir, err)) < 0) {
		fg_trust_free(t);
		fg_error_wrap(err, "trust folder");
		return rc;
	}
	*out = t;
	return 0;
}

void fg_trust_free(struct fg_trust *t)
{
	if (!t)
		return;
	X509_STORE_free(t->store);
	free(t->revoked);
	free(t);
}

unsigned fg_trust_threshold(const struct fg_trust *t)
{
	return t->threshold;
}

void fg_trust_set_threshold(struct fg_trust *t, unsigned k)
{
	t->threshold = k ? k : 1;
}

void fg_trust_set_revoked(struct fg_trust *t, const uint8_t (*keys)[FG_DIGEST_BYTES], size_t n)
{
	free(t->revoked);
	t->revoked = fg_calloc(n + 1, sizeof(*t->revoked));
	if (n)
		memcpy(t->revoked, keys, n * sizeof(*keys));
	t->n_revoked = n;
}
