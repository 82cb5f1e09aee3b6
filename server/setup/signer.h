/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The process that holds the CA's key and gives certificates to hosts.  It reads no byte of the network: workers hand it
 * requests over the bus (server/bus.h), and it decides again by the database.  It can make agents' certificates only.
 *
 *	{"id":N, "code":"<SHA-256 of the one-time code>", "csr":"<PEM>"}     enrolment: the code says for which host
 *	{"id":N, "host":"<name>", "serial":"…", "csr":"<PEM>"}               renewal by who has shown that certificate
 * answers
 *	{"id":N, "certificate":"<PEM>"}  or  {"id":N, "code":<enum fg_error_code>, "text":"…"}
 */
#ifndef FG_SERVER_SIGNER_H
#define FG_SERVER_SIGNER_H

#include <fixgate/error.h>
#include <server/bus.h>
#include <server/store/store.h>

struct fg_signer;

/* Reads the CA's certificate and key, with the rights that the caller has now. */
int fg_signer_load(const char *dir, struct fg_signer **out, struct fg_error *err) FG_MUST_CHECK;
/* Answers until it is killed; returns only when the bus fails. */
int fg_signer_run(struct fg_signer *signer, struct fg_store *store, struct fg_bus *bus,
		  struct fg_error *err) FG_MUST_CHECK;
void fg_signer_free(struct fg_signer *signer);

#endif
