/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "enrol.h"

#include <arpa/inet.h>
#include <dom0-agent/config.h>
#include <lib/util.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <unistd.h>

#define FILE_MAX_BYTES (64u << 10)
#define PIN_TEXT 32 /* "fg1-<32 hex digits>-<32 hex digits>" */

struct identity {
	X509 *ca, *cert;
	EVP_PKEY *key;
};

static void identity_release(struct identity *id)
{
	X509_free(id->ca);
	X509_free(id->cert);
	EVP_PKEY_free(id->key);
	ERR_clear_error();
}

static X509 *cert_parse(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *cert = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;

	BIO_free(bio);
	return cert;
}

static int no_passphrase(char *buf, int size, int rwflag, void *arg)
{
	(void)buf, (void)size, (void)rwflag, (void)arg;
	return -1;
}

static EVP_PKEY *key_parse(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL) : NULL;

	BIO_free(bio);
	return key;
}

/* What a memory BIO holds; frees it. */
static char *bio_take(BIO *bio)
{
	char *data = NULL;
	long len = BIO_get_mem_data(bio, &data);
	char *text = fg_asprintf("%.*s", (int)len, data);

	BIO_free(bio);
	return text;
}

/* The key of an attempt that broke off is used again: the server gives the same certificate to the same key. */
static int key_get(const char *path, EVP_PKEY **key, struct fg_error *err)
{
	fg_autofree char *text = NULL;

	if (access(path, F_OK) == 0) {
		int rc = fg_file_read(path, FILE_MAX_BYTES, &text, NULL, err);
		if (rc < 0)
			return rc;
		*key = key_parse(text);
		return *key ? 0 : fg_error_set(err, FG_EFORMAT, "%s: no private key without a passphrase in it", path);
	}
	BIO *bio = BIO_new(BIO_s_secmem());
	*key = EVP_EC_gen("P-256");
	if (!*key || !bio || PEM_write_bio_PKCS8PrivateKey(bio, *key, NULL, NULL, 0, NULL, NULL) != 1) {
		BIO_free(bio);
		return fg_error_set(err, FG_EFAILED, "cannot make a key");
	}
	text = bio_take(bio);
	return fg_file_write_durable(path, text, strlen(text), 0600, err);
}

/* The name in it does not count: the server knows whose code or certificate this is. */
static int csr_make(EVP_PKEY *key, char **out, struct fg_error *err)
{
	X509_REQ *req = X509_REQ_new();
	BIO *bio = BIO_new(BIO_s_mem());
	bool ok = req && bio && X509_REQ_set_pubkey(req, key) == 1 &&
		  X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(req), "O", MBSTRING_UTF8,
					     (const unsigned char *)"Fixgate", -1, -1, 0) == 1 &&
		  X509_REQ_sign(req, key, EVP_PKEY_is_a(key, "ED25519") ? NULL : EVP_sha256()) > 0 &&
		  PEM_write_bio_X509_REQ(bio, req) == 1;

	X509_REQ_free(req);
	if (!ok) {
		BIO_free(bio);
		return fg_error_set(err, FG_EFAILED, "cannot make a signing request");
	}
	*out = bio_take(bio);
	return 0;
}

/* Of this CA, for client authentication, valid now, and for our key? */
static int cert_check(const struct identity *id, struct fg_error *err)
{
	X509_STORE *store = X509_STORE_new();
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	bool ok = store && ctx && X509_STORE_add_cert(store, id->ca) == 1 &&
		  X509_STORE_CTX_init(ctx, store, id->cert, NULL) == 1 &&
		  X509_STORE_CTX_set_purpose(ctx, X509_PURPOSE_SSL_CLIENT) == 1 && X509_verify_cert(ctx) == 1;
	int rc = 0;

	if (!ok)
		rc = fg_error_set(err, FG_EUNTRUSTED, "the certificate does not verify: %s",
				  ctx ? X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)) : "out of memory");
	else if (X509_check_private_key(id->cert, id->key) != 1)
		rc = fg_error_set(err, FG_EUNTRUSTED, "the certificate is for another key");
	X509_STORE_CTX_free(ctx);
	X509_STORE_free(store);
	ERR_clear_error();
	return rc;
}

/* {"certificate":PEM} */
static int cert_take(const char *answer, struct identity *id, char **pem, struct fg_error *err)
{
	fg_autojson json_t *body = NULL;
	const char *text = NULL;
	int rc = fg_json_parse(answer, strlen(answer), &body, err);

	if (rc == 0)
		rc = fg_json_string(body, "certificate", &text, err);
	if (rc < 0)
		return rc;
	X509_free(id->cert);
	id->cert = cert_parse(text);
	if (!id->cert)
		return fg_error_set(err, FG_EFORMAT, "the server sent no certificate");
	rc = cert_check(id, err);
	if (rc == 0)
		*pem = fg_strdup(text);
	return rc;
}

/* ---- enrol ---- */

static int code_check(const char *code, struct fg_error *err)
{
	const char *hex = "0123456789abcdef";

	if (strlen(code) != 4 + PIN_TEXT + 1 + PIN_TEXT || strncmp(code, "fg1-", 4) != 0 ||
	    strspn(code + 4, hex) != PIN_TEXT || code[4 + PIN_TEXT] != '-' ||
	    strspn(code + 4 + PIN_TEXT + 1, hex) != PIN_TEXT)
		return fg_error_set(err, FG_EUSAGE, "this is no one-time code");
	return 0;
}

/* The CA, if it is the one that the code names. */
static int ca_get(const struct fg_enrol *e, struct fg_enrol_server *server, struct identity *id, char **pem,
		  struct fg_error *err)
{
	fg_autofree char *text = NULL;
	unsigned char sum[EVP_MAX_MD_SIZE];
	char pin[PIN_TEXT + 1];
	unsigned len = 0;
	int rc = fg_enrol_ask(server, "/v1/ca", NULL, &text, err);

	if (rc < 0)
		return rc;
	id->ca = cert_parse(text);
	if (!id->ca || X509_digest(id->ca, EVP_sha256(), sum, &len) != 1)
		return fg_error_set(err, FG_EFORMAT, "%s sent no CA certificate", server->origin);
	fg_hex_encode(sum, PIN_TEXT / 2, pin);
	if (strcmp(pin, e->code + 4 + PIN_TEXT + 1) != 0)
		return fg_error_set(err, FG_EUNTRUSTED, "%s is not the server that gave out the code", server->origin);
	BIO *bio = BIO_new(BIO_s_mem()); /* this one certificate and nothing else of what came */
	if (!bio || PEM_write_bio_X509(bio, id->ca) != 1)
		return fg_error_set(err, FG_EFAILED, "cannot encode the CA certificate");
	*pem = bio_take(bio);
	return 0;
}

static int enrol(const struct fg_enrol *e, struct fg_enrol_server *server, struct identity *id, struct fg_error *err)
{
	fg_autofree char *key = fg_asprintf("%s/agent.key", e->dir), *cert = fg_asprintf("%s/agent.pem", e->dir);
	fg_autofree char *ca = fg_asprintf("%s/server-ca.pem", e->dir);
	fg_autofree char *ca_pem = NULL, *csr = NULL, *answer = NULL, *pem = NULL, *text = NULL;

	if (!e->force && access(cert, F_OK) == 0)
		return fg_error_set(err, FG_EEXISTS, "%s is there already (--force replaces it)", cert);
	int rc = ca_get(e, server, id, &ca_pem, err);
	if (rc == 0)
		rc = fg_mkdir_p(e->dir, 0700, err);
	if (rc == 0 && e->force && access(cert, F_OK) == 0)
		rc = fg_file_remove_durable(key, err); /* a new one */
	if (rc == 0)
		rc = key_get(key, &id->key, err);
	if (rc == 0)
		rc = csr_make(id->key, &csr, err);
	if (rc < 0)
		return rc;
	fg_autojson json_t *body = json_pack("{s:s, s:s}", "code", e->code, "csr", csr);
	text = fg_json_dump(body);
	server->ca = ca_pem;
	rc = fg_enrol_ask(server, "/v1/enrol", text, &answer, err);
	if (rc == 0)
		rc = cert_take(answer, id, &pem, err);
	if (rc == 0)
		rc = fg_file_write_durable(ca, ca_pem, strlen(ca_pem), 0644, err);
	/* The last one: where it is, the host is enrolled. */
	return rc < 0 ? rc : fg_file_write_durable(cert, pem, strlen(pem), 0644, err);
}

int fg_enrol(const struct fg_enrol *e, struct fg_error *err)
{
	fg_autofree char *origin = fg_asprintf("https://%s", e->server);
	struct fg_enrol_server server = { .origin = origin };
	struct identity id = { NULL, NULL, NULL };
	int rc = code_check(e->code, err);

	if (rc == 0)
		rc = enrol(e, &server, &id, err);
	identity_release(&id);
	return rc;
}

/* ---- renew ---- */

static int identity_load(const struct fg_agent_config *config, struct identity *id, char **ca_pem, struct fg_error *err)
{
	fg_autofree char *cert = NULL, *key = NULL;
	int rc = fg_file_read(config->server_ca, FILE_MAX_BYTES, ca_pem, NULL, err);

	if (rc == 0)
		rc = fg_file_read(config->server_cert, FILE_MAX_BYTES, &cert, NULL, err);
	if (rc == 0)
		rc = fg_file_read(config->server_key, FILE_MAX_BYTES, &key, NULL, err);
	if (rc < 0)
		return rc;
	id->ca = cert_parse(*ca_pem);
	id->cert = cert_parse(cert);
	id->key = key_parse(key);
	if (!id->ca || !id->cert || !id->key)
		return fg_error_set(err, FG_EUSAGE, "the certificates or the key that %s names cannot be read",
				    FG_AGENT_CONFIG);
	return 0;
}

static bool is_due(const X509 *cert)
{
	int days = 0, seconds = 0, left_days = 0, left_seconds = 0;

	if (!ASN1_TIME_diff(&days, &seconds, X509_get0_notBefore(cert), X509_get0_notAfter(cert)) ||
	    !ASN1_TIME_diff(&left_days, &left_seconds, NULL, X509_get0_notAfter(cert)))
		return true;
	return left_days * 3 <= days;
}

static int renew(const struct fg_agent_config *config, struct identity *id, const char *ca_pem, struct fg_error *err)
{
	char address[INET6_ADDRSTRLEN] = "";
	fg_autofree char *csr = NULL, *answer = NULL, *pem = NULL, *text = NULL, *origin = NULL;
	int rc = csr_make(id->key, &csr, err);

	if (rc < 0)
		return rc;
	inet_ntop(config->server_address.family, &config->server_address.v4, address, sizeof(address));
	origin = fg_asprintf(config->server_address.family == AF_INET6 ? "https://[%s]:%u" : "https://%s:%u", address,
			     config->server_port);
	struct fg_enrol_server server = {
		.origin = origin, .ca = ca_pem, .cert = config->server_cert, .key = config->server_key
	};
	fg_autojson json_t *body = json_pack("{s:s}", "csr", csr);
	text = fg_json_dump(body);
	rc = fg_enrol_ask(&server, "/v1/renew", text, &answer, err);
	if (rc == 0)
		rc = cert_take(answer, id, &pem, err);
	return rc < 0 ? rc : fg_file_write_durable(config->server_cert, pem, strlen(pem), 0644, err);
}

int fg_renew(const struct fg_renew *r, bool *renewed, struct fg_error *err)
{
	struct fg_agent_config *config = NULL;
	struct identity id = { NULL, NULL, NULL };
	fg_autofree char *ca_pem = NULL;
	int rc = fg_agent_config_load(r->config, &config, err);

	if (rc < 0)
		return rc;
	rc = identity_load(config, &id, &ca_pem, err);
	bool due = rc == 0 && (r->force || is_due(id.cert));
	if (due)
		rc = renew(config, &id, ca_pem, err);
	if (rc == 0)
		*renewed = due;
	identity_release(&id);
	fg_agent_config_free(config);
	return rc;
}
