/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "identity.h"

#include <lib/util.h>

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <sys/stat.h>

static int read_pem(const char *path, struct fg_pem *out, struct fg_error *err)
{
	return fg_file_read(path, FG_IDENTITY_FILE_MAX, &out->text, &out->len, err);
}

static X509 *first_certificate(const struct fg_pem *pem)
{
	BIO *bio = BIO_new_mem_buf(pem->text, (int)pem->len);
	X509 *cert = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;

	BIO_free(bio);
	return cert;
}

/* OpenSSL would ask on the terminal. */
static int no_passphrase(char *buf, int size, int rwflag, void *arg)
{
	(void)buf, (void)size, (void)rwflag, (void)arg;
	return -1;
}

static EVP_PKEY *private_key(const struct fg_pem *pem)
{
	BIO *bio = BIO_new_mem_buf(pem->text, (int)pem->len);
	EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL) : NULL;

	BIO_free(bio);
	return key;
}

static int check_mode(const char *path, struct fg_error *err)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return fg_error_errno(err, errno == ENOENT ? FG_ENOTFOUND : FG_EIO, errno, "key %s", path);
	if (st.st_mode & (S_IROTH | S_IWOTH | S_IWGRP))
		return fg_error_set(err, FG_EREFUSED, "key %s: mode %o lets others at it: chmod 600", path,
				    (unsigned)st.st_mode & 07777);
	return 0;
}

static int check_pair(const struct fg_identity *id, struct fg_error *err)
{
	X509 *ca = first_certificate(&id->ca), *cert = first_certificate(&id->cert);
	EVP_PKEY *key = private_key(&id->key);
	int rc = 0;

	if (!ca)
		rc = fg_error_set(err, FG_EUSAGE, "server CA: no certificate in it");
	else if (!cert)
		rc = fg_error_set(err, FG_EUSAGE, "certificate: no certificate in it");
	else if (!key)
		rc = fg_error_set(err, FG_EUSAGE, "key: no private key without a passphrase in it");
	else if (X509_check_private_key(cert, key) != 1)
		rc = fg_error_set(err, FG_EUSAGE, "key and certificate do not belong together");
	ERR_clear_error();
	X509_free(ca);
	X509_free(cert);
	EVP_PKEY_free(key);
	return rc;
}

int fg_identity_load(const char *ca, const char *cert, const char *key, struct fg_identity **out, struct fg_error *err)
{
	struct fg_identity *id = fg_calloc(1, sizeof(*id));
	int rc;

	if ((rc = check_mode(key, err)) == 0 && (rc = read_pem(ca, &id->ca, err)) == 0 &&
	    (rc = read_pem(cert, &id->cert, err)) == 0 && (rc = read_pem(key, &id->key, err)) == 0)
		rc = check_pair(id, err);
	if (rc < 0) {
		fg_identity_free(id);
		return rc;
	}
	*out = id;
	return 0;
}

void fg_identity_free(struct fg_identity *identity)
{
	if (!identity)
		return;
	if (identity->key.text)
		OPENSSL_cleanse(identity->key.text, identity->key.len);
	free(identity->ca.text);
	free(identity->cert.text);
	free(identity->key.text);
	free(identity);
}
