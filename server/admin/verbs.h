/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What fixgate-admin can do; each prints its result to stdout, as a table or (json) as JSON. */
#ifndef FG_ADMIN_VERBS_H
#define FG_ADMIN_VERBS_H

#include "client.h"

#include <stdbool.h>

#define FG_ADMIN_GUESTS_MAX 1000
#define FG_ADMIN_WINDOWS_MAX 32

struct fg_admin_options {
	bool json, all, force;
	const char *fix, *reason;
	int64_t version; /* 0: the newest */
	char *guests[FG_ADMIN_GUESTS_MAX];
	size_t n_guests;
	/* lists */
	const char *status, *host, *name, *os, *label, *after, *state, *noted;
	bool present, csv, targets;
	int64_t limit; /* 0: all */
	/* rollout create */
	const char *select, *waves;
	int64_t success_pct, max_failures, wait_s, timeout_s;
	char *windows[FG_ADMIN_WINDOWS_MAX];
	size_t n_windows;
	bool approval;
	/* words after the command */
	char **words;
	size_t n_words;
	const char *dir; /* of the server, or NULL */
};

int fg_admin_publish(struct fg_admin *a, const struct fg_admin_options *o, const char *file,
		     struct fg_error *err) FG_MUST_CHECK;
/* NOTFOUND, after the others were offered, if a guest that was named does not exist. */
int fg_admin_offer(struct fg_admin *a, const struct fg_admin_options *o, struct fg_error *err) FG_MUST_CHECK;
/* clients.c */
int fg_admin_clients(struct fg_admin *a, const struct fg_admin_options *o, struct fg_error *err) FG_MUST_CHECK;
int fg_admin_history(struct fg_admin *a, const struct fg_admin_options *o, const char *guest,
		     struct fg_error *err) FG_MUST_CHECK;
int fg_admin_label(struct fg_admin *a, const struct fg_admin_options *o, struct fg_error *err) FG_MUST_CHECK;
int fg_admin_fixes(struct fg_admin *a, const struct fg_admin_options *o, struct fg_error *err) FG_MUST_CHECK;
int fg_admin_offers(struct fg_admin *a, const struct fg_admin_options *o, struct fg_error *err) FG_MUST_CHECK;
int fg_admin_audit(struct fg_admin *a, const struct fg_admin_options *o, struct fg_error *err) FG_MUST_CHECK;
/* audit.c. DIFFERS names the first entry that does not fit the one before. */
int fg_admin_audit_verify(struct fg_admin *a, const struct fg_admin_options *o, struct fg_error *err) FG_MUST_CHECK;

/* rollout.c */
int fg_admin_cancel(struct fg_admin *a, const struct fg_admin_options *o, struct fg_error *err) FG_MUST_CHECK;
int fg_admin_rollout_create(struct fg_admin *a, const struct fg_admin_options *o, const char *fix,
			    struct fg_error *err) FG_MUST_CHECK;
int fg_admin_rollout_list(struct fg_admin *a, const struct fg_admin_options *o, struct fg_error *err) FG_MUST_CHECK;
int fg_admin_rollout_show(struct fg_admin *a, const struct fg_admin_options *o, const char *id,
			  struct fg_error *err) FG_MUST_CHECK;
/* action: o->words[1] */
int fg_admin_rollout_control(struct fg_admin *a, const struct fg_admin_options *o, const char *id,
			     struct fg_error *err) FG_MUST_CHECK;

/* backup.c: the files of o->dir, without the server. */
int fg_admin_backup(const struct fg_admin_options *o, const char *file, struct fg_error *err) FG_MUST_CHECK;
int fg_admin_restore(const struct fg_admin_options *o, const char *file, struct fg_error *err) FG_MUST_CHECK;

/* certificates.c.  revoke: of agents, or of the role in o->words[1]. */
int fg_admin_enrol(struct fg_admin *a, const struct fg_admin_options *o, const char *host,
		   struct fg_error *err) FG_MUST_CHECK;
int fg_admin_revoke(struct fg_admin *a, const struct fg_admin_options *o, const char *name,
		    struct fg_error *err) FG_MUST_CHECK;
int fg_admin_certificates(struct fg_admin *a, const struct fg_admin_options *o, struct fg_error *err) FG_MUST_CHECK;

/* catalogue.c.  signer: file of a certificate, or the SHA-256 of its SubjectPublicKeyInfo in hex. */
int fg_admin_catalogue(struct fg_admin *a, const struct fg_admin_options *o, struct fg_error *err) FG_MUST_CHECK;
int fg_admin_withdraw(struct fg_admin *a, const struct fg_admin_options *o, const char *fix,
		      struct fg_error *err) FG_MUST_CHECK;
int fg_admin_revoke_signer(struct fg_admin *a, const struct fg_admin_options *o, const char *signer,
			   struct fg_error *err) FG_MUST_CHECK;

#endif
