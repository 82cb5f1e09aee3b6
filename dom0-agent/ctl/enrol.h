/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Certificates of a host: fixgatectl enrol and renew (program fixgate-enrol, which fixgatectl starts for these two).
 *
 * The key is made here and never leaves the host.  Before the code's secret is sent, the server's CA certificate is
 * fetched and its fingerprint compared with the one in the code, and the server's certificate verified against it.
 */
#ifndef FG_CTL_ENROL_H
#define FG_CTL_ENROL_H

#include <fixgate/error.h>
#include <stdbool.h>
#include <stdint.h>

#define FG_ENROL_ANSWER_MAX (64u << 10)
#define FG_ENROL_TIMEOUT_S 30

struct fg_enrol {
	const char *server; /* ADDRESS:PORT or [ADDRESS]:PORT */
	const char *code;
	const char *dir; /* agent.key, agent.pem, server-ca.pem */
	bool force; /* replace what is there */
};
int fg_enrol(const struct fg_enrol *enrol, struct fg_error *err) FG_MUST_CHECK;

struct fg_renew {
	const char *config; /* agent.conf */
	bool force; /* also when more than a third of its time is left */
};
/* *renewed: false if it was not due.  The key stays; agent.pem is replaced in one step. */
int fg_renew(const struct fg_renew *renew, bool *renewed, struct fg_error *err) FG_MUST_CHECK;

/* ---- enrol_http.c ---- */

struct fg_enrol_server {
	char *origin; /* https://… */
	const char *ca; /* PEM; NULL: any (only to fetch the CA that is compared then) */
	const char *cert, *key; /* files, or NULL */
};
/* body NULL: GET, else POST of JSON. The answer is the caller's; an error of the server keeps its code. */
int fg_enrol_ask(const struct fg_enrol_server *server, const char *path, const char *body, char **answer,
		 struct fg_error *err) FG_MUST_CHECK;

#endif
