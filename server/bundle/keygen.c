/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fix.h"

#include <lib/bundle/cms.h>

#include <errno.h>
#include <openssl/pem.h>
#include <string.h>
#include <unistd.h>

#define CA_DAYS 3650u
#define SIGNER_DAYS 730u

struct pair {
	EVP_PKEY *key;
	X509 *cert;
};

static void release_pair(struct pair *p)
{
	EVP_PKEY_free(p->key);
	X509_free(p->cert);
}

/* Never over a key that is there. */
static int write_new(const char *dir, const char *name, int mode, BIO *bio, struct fg_error *err)
{
	fg_autofree char *path = fg_asprintf("%s/%s", dir, name);
	char *bytes = NULL;
	long len = BIO_get_mem_data(bio, &bytes);

	if (access(path, F_OK) == 0)
		return fg_error_set(err, FG_EEXISTS, "%s is there already", path);
	return fg_file_write_durable(path, bytes, (size_t)len, mode, err);
}

static int write_key(const char *dir, const char *name, EVP_PKEY *key, struct fg_error *err)
{
	BIO *bio = BIO_new(BIO_s_secmem());
	int rc;

	if (!bio || PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1)
		rc = fg_ssl_error(err, FG_EFAILED, "cannot encode a key");
	else
		rc = write_new(dir, name, 0600, bio, err);
	BIO_free(bio);
	return rc;
}

static int write_cert(const char *dir, const char *name, X509 *cert, struct fg_error *err)
{
	BIO *bio = BIO_new(BIO_s_mem());
	int rc;

	if (!bio || PEM_write_bio_X509(bio, cert) != 1)
		rc = fg_ssl_error(err, FG_EFAILED, "cannot encode a certificate");
	else
		rc = write_new(dir, name, 0644, bio, err);
	BIO_free(bio);
	return rc;
}

static int load_ca(const char *dir, struct pair *ca, struct fg_error *err)
{
	fg_autofree char *key = fg_asprintf("%s/publisher-ca.key", dir);
	fg_autofree char *cert = fg_asprintf("%s/publisher-ca.pem", dir);
	STACK_OF(X509) *certs = NULL;
	int rc = fix_key_load(key, &ca->key, err);

	if (rc == 0)
		rc = fix_certs_load(cert, &certs, err);
	if (rc == 0)
		ca->cert = sk_X509_shift(certs);
	sk_X509_pop_free(certs, X509_free);
	return rc;
}

static int make_ca(const char *dir, const char *cn, struct pair *ca, struct fg_error *err)
{
	fg_autofree char *name = fg_asprintf("%.58s CA", cn); /* 64: ub-common-name of RFC 5280 */
	int rc;

	if ((rc = fix_key_new(&ca->key, err)) < 0 ||
	    (rc = fix_cert_new(name, ca->key, NULL, NULL, CA_DAYS, &ca->cert, err)) < 0 ||
	    (rc = write_key(dir, "publisher-ca.key", ca->key, err)) < 0)
		return rc;
	return write_cert(dir, "publisher-ca.pem", ca->cert, err);
}

static int make_signer(const char *dir, const char *cn, unsigned days, const struct pair *ca, struct pair *signer,
		       struct fg_error *err)
{
	int rc;

	if ((rc = fix_key_new(&signer->key, err)) < 0 ||
	    (rc = fix_cert_new(cn, signer->key, ca->cert, ca->key, days, &signer->cert, err)) < 0 ||
	    (rc = write_key(dir, "publisher.key", signer->key, err)) < 0)
		return rc;
	return write_cert(dir, "publisher.pem", signer->cert, err);
}

int fix_keygen(const struct fix_options *o, struct fg_error *err)
{
	const char *cn = o->name ? o->name : "Fixgate publisher";
	fg_autofree char *trust = fg_asprintf("%s/trust", o->out);
	struct pair ca = { NULL, NULL }, signer = { NULL, NULL };
	int rc;

	if ((rc = fg_mkdir_p(o->out, 0700, err)) < 0 || (rc = fg_mkdir_p(trust, 0755, err)) < 0)
		return rc;
	rc = o->ca ? load_ca(o->ca, &ca, err) : make_ca(o->out, cn, &ca, err);
	if (rc == 0)
		rc = make_signer(o->out, cn, o->days ? o->days : SIGNER_DAYS, &ca, &signer, err);
	if (rc == 0)
		rc = write_cert(trust, "publisher-ca.pem", ca.cert, err);
	release_pair(&ca);
	release_pair(&signer);
	if (rc < 0)
		return rc;
	if (o->json) {
		fg_autojson json_t *out = json_pack("{s:s+,s:s+,s:s}", "key", o->out, "/publisher.key", "cert", o->out,
						    "/publisher.pem", "trust", trust);
		fg_autofree char *text = fg_json_dump(out);
		puts(text);
	} else {
		printf("signing key  %s/publisher.key\ncertificate  %s/publisher.pem\ntrust folder %s\n", o->out,
		       o->out, trust);
		if (!o->ca)
			printf("CA key       %s/publisher-ca.key: take it off this machine (keys.md)\n", o->out);
	}
	return 0;
}
