/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "code.h"

#include <lib/util.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <server/config.h>
#include <server/http/tls.h>
#include <server/store/certs.h>
#include <string.h>

#define HALF_BYTES 16
#define HALF_TEXT (2 * HALF_BYTES)
#define PREFIX "fg1-"

static int fingerprint(const char *dir, char out[HALF_TEXT + 1], struct fg_error *err)
{
	fg_autofree char *path = fg_asprintf("%s/%s", dir, FG_SERVER_CA_PEM);
	BIO *bio = BIO_new_file(path, "r");
	X509 *cert = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
	uint8_t sum[SHA256_DIGEST_LENGTH];
	unsigned len = 0;
	int ok = cert && X509_digest(cert, EVP_sha256(), sum, &len);

	X509_free(cert);
	BIO_free(bio);
	if (!ok)
		return fg_tls_error(err, FG_ENOTFOUND, "%s", path);
	fg_hex_encode(sum, HALF_BYTES, out);
	return 0;
}

static void hash_of(const char *secret, char hash[FG_CODE_HASH])
{
	uint8_t sum[SHA256_DIGEST_LENGTH];

	SHA256((const unsigned char *)secret, HALF_TEXT, sum);
	fg_hex_encode(sum, sizeof(sum), hash);
}

int fg_code_make(struct fg_store *store, const char *dir, const char *host, const char *who, int64_t minutes,
		 char code[FG_CODE_TEXT], int64_t *expires_ms, struct fg_error *err)
{
	uint8_t raw[HALF_BYTES];
	char secret[HALF_TEXT + 1], pin[HALF_TEXT + 1], hash[FG_CODE_HASH];
	int64_t now_ms = fg_now_ms(), until_ms = now_ms + minutes * 60 * 1000;
	int rc = fingerprint(dir, pin, err);

	if (rc < 0)
		return rc;
	fg_random_bytes(raw, sizeof(raw));
	fg_hex_encode(raw, sizeof(raw), secret);
	hash_of(secret, hash);
	rc = fg_store_code_add(store, hash, host, who, now_ms, until_ms, err);
	if (rc < 0)
		return rc;
	snprintf(code, FG_CODE_TEXT, PREFIX "%s-%s", secret, pin);
	*expires_ms = until_ms;
	return 0;
}

int fg_code_hash(const char *code, char hash[FG_CODE_HASH], struct fg_error *err)
{
	const char *secret = code + strlen(PREFIX);

	if (strlen(code) != FG_CODE_TEXT - 1 || strncmp(code, PREFIX, strlen(PREFIX)) != 0 ||
	    strspn(secret, "0123456789abcdef") != HALF_TEXT || secret[HALF_TEXT] != '-')
		return fg_error_set(err, FG_EFORMAT, "this is no one-time code");
	hash_of(secret, hash);
	return 0;
}
