/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tls.h"

#include <fixgate/protocol.h>
#include <lib/util.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

int fg_tls_error(struct fg_error *err, enum fg_error_code code, const char *fmt, ...)
{
	unsigned long e = ERR_get_error();
	const char *reason = !e ? NULL : ERR_SYSTEM_ERROR(e) ? strerror(ERR_GET_REASON(e)) : ERR_reason_error_string(e);
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	ERR_clear_error();
	return fg_error_set(err, code, "%s: %s", text, reason ? reason : "unknown TLS error");
}

static int load(SSL_CTX *ctx, const char *cert_file, const char *key_file, const char *ca_file, struct fg_error *err)
{
	if (SSL_CTX_use_certificate_chain_file(ctx, cert_file) != 1)
		return fg_tls_error(err, FG_EIO, "%s", cert_file);
	if (SSL_CTX_use_PrivateKey_file(ctx, key_file, SSL_FILETYPE_PEM) != 1)
		return fg_tls_error(err, FG_EIO, "%s", key_file);
	if (SSL_CTX_check_private_key(ctx) != 1)
		return fg_tls_error(err, FG_EDIFFERS, "%s does not belong to %s", key_file, cert_file);
	if (SSL_CTX_load_verify_file(ctx, ca_file) != 1)
		return fg_tls_error(err, FG_EIO, "%s", ca_file);
	STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(ca_file);
	if (!names)
		return fg_tls_error(err, FG_EIO, "%s", ca_file);
	SSL_CTX_set_client_CA_list(ctx, names);
	return 0;
}

int fg_tls_context(const char *cert_file, const char *key_file, const char *ca_file, SSL_CTX **out,
		   struct fg_error *err)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

	if (!ctx)
		return fg_error_set(err, FG_ENOMEM, "TLS: out of memory");
	SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION);
	/* No tickets: a resumed session would skip the check of the certificate (expiry, later revocation).  Connections
	 * are kept alive, so handshakes are rare. */
	SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION | SSL_OP_IGNORE_UNEXPECTED_EOF |
					 SSL_OP_NO_RENEGOTIATION);
	SSL_CTX_set_num_tickets(ctx, 0);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	/* One SSL_read() per turn of the loop takes one message that brings no data: with the retries that are the default
	 * a peer that asks for new keys without end (KeyUpdate) would keep the process inside of it. */
	SSL_CTX_clear_mode(ctx, SSL_MODE_AUTO_RETRY);
	/* Idle long polls hold no 34 KiB of buffers each. */
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_verify_depth(ctx, 2);
	int rc = load(ctx, cert_file, key_file, ca_file, err);
	if (rc < 0) {
		SSL_CTX_free(ctx);
		return rc;
	}
	*out = ctx;
	return 0;
}

/* The only entry nid of a name as text without NULs; false if there is none, several, or it is too long. */
static bool only_entry(const X509_NAME *name, int nid, char *out, size_t size)
{
	int at = X509_NAME_get_index_by_NID(name, nid, -1);
	unsigned char *text = NULL;

	if (at < 0 || X509_NAME_get_index_by_NID(name, nid, at) >= 0)
		return false;
	int len = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)));
	bool ok = len > 0 && (size_t)len < size && !memchr(text, '\0', (size_t)len);
	if (ok)
		snprintf(out, size, "%s", (const char *)text);
	OPENSSL_free(text);
	return ok;
}

static const struct {
	enum fg_role role;
	const char *name;
} roles[] = {
	{ FG_ROLE_IS_AGENT, FG_ROLE_AGENT },
	{ FG_ROLE_IS_VIEWER, FG_ROLE_VIEWER },
	{ FG_ROLE_IS_OPERATOR, FG_ROLE_OPERATOR },
	{ FG_ROLE_IS_ADMIN, FG_ROLE_ADMIN },
};

const char *fg_tls_role_name(enum fg_role role)
{
	for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++)
		if (roles[i].role == role)
			return roles[i].name;
	return NULL;
}

enum fg_role fg_tls_role_from_name(const char *name)
{
	for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++)
		if (!strcmp(roles[i].name, name))
			return roles[i].role;
	return 0;
}

bool fg_tls_serial(const X509 *cert, char out[41])
{
	const ASN1_INTEGER *serial = X509_get0_serialNumber(cert);
	int len = ASN1_STRING_length(serial);

	if (len < 1 || len > 20)
		return false;
	fg_hex_encode(ASN1_STRING_get0_data(serial), (size_t)len, out);
	return true;
}

void fg_tls_peer(const SSL *ssl, struct fg_peer *out)
{
	X509 *cert = SSL_get0_peer_certificate(ssl);
	struct tm tm;
	char unit[32];

	*out = (struct fg_peer){ .role = FG_ROLE_NOBODY };
	if (!cert || SSL_get_verify_result(ssl) != X509_V_OK)
		return;
	const X509_NAME *name = X509_get_subject_name(cert);
	if (!only_entry(name, NID_organizationalUnitName, unit, sizeof(unit)) ||
	    !ASN1_TIME_to_tm(X509_get0_notAfter(cert), &tm))
		return;
	enum fg_role role = fg_tls_role_from_name(unit);
	if (!role || !fg_tls_serial(cert, out->serial) ||
	    !only_entry(name, NID_commonName, out->name, sizeof(out->name)))
		return;
	out->role = role;
	out->not_after_s = (int64_t)timegm(&tm);
}
