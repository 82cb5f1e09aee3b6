/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One-time codes: "fg1-<secret>-<fingerprint>", 32 hex digits each.  The secret is 128 random bits; the fingerprint is the
 * beginning of the SHA-256 of the server's CA certificate (DER), by which the host knows the server before it says the secret.
 * The store keeps the SHA-256 of the secret.
 */
#ifndef FG_SERVER_CODE_H
#define FG_SERVER_CODE_H

#include <fixgate/error.h>
#include <server/store/store.h>

#define FG_CODE_TEXT 70
#define FG_CODE_HASH 65
#define FG_CODE_MINUTES 60
#define FG_CODE_MINUTES_MAX (7 * 24 * 60)

int fg_code_make(struct fg_store *store, const char *dir, const char *host, const char *who, int64_t minutes,
		 char code[FG_CODE_TEXT], int64_t *expires_ms, struct fg_error *err) FG_MUST_CHECK;
/* Of a code as it was given out. FORMAT if it is none. */
int fg_code_hash(const char *code, char hash[FG_CODE_HASH], struct fg_error *err) FG_MUST_CHECK;

#endif
