/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Keys and certificates from files and from tokens.  A pkcs11: URI goes to OpenSSL's store, where a provider may
 * serve it, then to the engine "pkcs11" (libengine-pkcs11-openssl), which OpenSSL 3 still carries.
 */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "fix.h"

#include <lib/bundle/cms.h>

#include <openssl/engine.h>
#include <openssl/err.h>
#include <openssl/store.h>
#include <openssl/ui.h>
#include <string.h>

static bool is_pkcs11(const char *uri)
{
	return strncmp(uri, "pkcs11:", 7) == 0;
}

/* The store takes "a:b" for a URI of scheme a; a file name may have a colon as well. */
static OSSL_STORE_CTX *open_store(const char *uri, int expect)
{
	fg_autofree char *name = is_pkcs11(uri) || uri[0] == '/' ? fg_strdup(uri) : fg_asprintf("./%s", uri);
	OSSL_STORE_CTX *store = OSSL_STORE_open(name, UI_get_default_method(), NULL, NULL, NULL);

	if (store && OSSL_STORE_expect(store, expect) != 1) {
		OSSL_STORE_close(store);
		return NULL;
	}
	return store;
}

static EVP_PKEY *key_from_store(const char *uri)
{
	OSSL_STORE_CTX *store = open_store(uri, OSSL_STORE_INFO_PKEY);
	EVP_PKEY *key = NULL;

	while (store && !key && !OSSL_STORE_eof(store)) {
		OSSL_STORE_INFO *info = OSSL_STORE_load(store);
		if (!info)
			break;
		key = OSSL_STORE_INFO_get1_PKEY(info);
		OSSL_STORE_INFO_free(info);
	}
	OSSL_STORE_close(store);
	return key;
}

/* NULL if there is none; to be given back with engine_close. */
static ENGINE *engine_open(void)
{
	ENGINE_load_builtin_engines();
	ENGINE *engine = ENGINE_by_id("pkcs11");
	if (engine && !ENGINE_init(engine)) {
		ENGINE_free(engine);
		engine = NULL;
	}
	return engine;
}

static void engine_close(ENGINE *engine)
{
	if (engine)
		ENGINE_finish(engine);
	ENGINE_free(engine);
}

static EVP_PKEY *key_from_engine(const char *uri)
{
	ENGINE *engine = engine_open();
	EVP_PKEY *key = engine ? ENGINE_load_private_key(engine, uri, UI_OpenSSL(), NULL) : NULL;

	engine_close(engine);
	return key;
}

/* libp11's own command, as OpenSSL has none for certificates: its struct has these two members (libp11, eng_back.c). */
static X509 *cert_from_engine(const char *uri)
{
	struct {
		const char *uri;
		X509 *cert;
	} load = { uri, NULL };
	ENGINE *engine = engine_open();

	if (engine && ENGINE_ctrl_cmd(engine, "LOAD_CERT_CTRL", 0, &load, NULL, 1) != 1)
		load.cert = NULL;
	engine_close(engine);
	return load.cert;
}

int fix_key_load(const char *uri, EVP_PKEY **out, struct fg_error *err)
{
	ERR_clear_error();
	EVP_PKEY *key = key_from_store(uri);
	if (!key && is_pkcs11(uri))
		key = key_from_engine(uri);
	if (!key)
		return fg_ssl_error(err, FG_EFAILED, "cannot load the key %s", uri);
	ERR_clear_error();
	*out = key;
	return 0;
}

int fix_certs_load(const char *uri, STACK_OF(X509) * *out, struct fg_error *err)
{
	STACK_OF(X509) *certs = sk_X509_new_null();

	ERR_clear_error();
	OSSL_STORE_CTX *store = open_store(uri, OSSL_STORE_INFO_CERT);
	while (store && !OSSL_STORE_eof(store)) {
		OSSL_STORE_INFO *info = OSSL_STORE_load(store);
		X509 *cert = info ? OSSL_STORE_INFO_get1_CERT(info) : NULL;
		OSSL_STORE_INFO_free(info);
		if (cert && sk_X509_push(certs, cert) <= 0)
			X509_free(cert);
		if (!cert && OSSL_STORE_error(store))
			break;
	}
	OSSL_STORE_close(store);
	if (sk_X509_num(certs) <= 0 && is_pkcs11(uri)) {
		X509 *cert = cert_from_engine(uri);
		if (cert && sk_X509_push(certs, cert) <= 0)
			X509_free(cert);
	}
	if (sk_X509_num(certs) <= 0) {
		sk_X509_pop_free(certs, X509_free);
		return fg_ssl_error(err, FG_EFAILED, "cannot load a certificate from %s", uri);
	}
	ERR_clear_error();
	*out = certs;
	return 0;
}
