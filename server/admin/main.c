/* SPDX-License-Identifier: GPL-3.0-or-later */
/* fixgate-admin(1). */
#include "options.h"

#include <getopt.h>
#include <lib/log.h>
#include <lib/util.h>
#include <server/config.h>
#include <stdlib.h>
#include <string.h>

/* What was not given by its own option comes from --dir. */
static int connect_to(const struct fg_admin_where *o, struct fg_admin **out, struct fg_error *err)
{
	struct fg_server_config config = { .url = NULL };
	fg_autofree char *ca = o->dir ? fg_asprintf("%s/%s", o->dir, FG_SERVER_CA_PEM) : NULL;
	fg_autofree char *cert = o->dir ? fg_asprintf("%s/%s", o->dir, FG_SERVER_ADMIN_PEM) : NULL;
	fg_autofree char *key = o->dir ? fg_asprintf("%s/%s", o->dir, FG_SERVER_ADMIN_KEY) : NULL;
	int rc = o->dir && !o->server ? fg_server_config_read(o->dir, &config, err) : 0;

	if (rc < 0)
		return rc;
	struct fg_admin_files files = { .url = o->server ? o->server : config.url,
					.ca = o->ca ? o->ca : ca,
					.cert = o->cert ? o->cert : cert,
					.key = o->key ? o->key : key };
	if (files.url && files.ca && files.cert && files.key)
		rc = fg_admin_open(&files, out, err);
	else
		rc = fg_error_set(err, FG_EUSAGE, "give --dir DIR, or --server, --ca, --cert and --key");
	fg_server_config_release(&config);
	return rc;
}

static const struct verb {
	const char *name, *word; /* the second word, or NULL */
	int words; /* that must follow: a number, -1 = one or more */
	int (*run)(struct fg_admin *a, const struct fg_admin_options *o, struct fg_error *err);
	int (*run_on)(struct fg_admin *a, const struct fg_admin_options *o, const char *argument, struct fg_error *err);
	int (*run_here)(const struct fg_admin_options *o, const char *argument, struct fg_error *err);
	bool list; /* prints one: --csv is allowed */
} verbs[] = {
	{ "publish", NULL, 1, NULL, fg_admin_publish, NULL, false },
	{ "catalogue", NULL, 0, fg_admin_catalogue, NULL, NULL, false },
	{ "withdraw", NULL, 1, NULL, fg_admin_withdraw, NULL, false },
	{ "revoke-signer", NULL, 1, NULL, fg_admin_revoke_signer, NULL, false },
	{ "offer", NULL, 0, fg_admin_offer, NULL, NULL, false },
	{ "cancel", NULL, 0, fg_admin_cancel, NULL, NULL, false },
	{ "clients", NULL, 0, fg_admin_clients, NULL, NULL, true },
	{ "history", NULL, 1, NULL, fg_admin_history, NULL, true },
	{ "label", NULL, -1, fg_admin_label, NULL, NULL, false },
	{ "fixes", NULL, 0, fg_admin_fixes, NULL, NULL, true },
	{ "offers", NULL, 0, fg_admin_offers, NULL, NULL, true },
	{ "rollout", "create", 1, NULL, fg_admin_rollout_create, NULL, false },
	{ "rollout", "list", 0, fg_admin_rollout_list, NULL, NULL, true },
	{ "rollout", "show", 1, NULL, fg_admin_rollout_show, NULL, true },
	{ "rollout", "approve", 1, NULL, fg_admin_rollout_control, NULL, false },
	{ "rollout", "pause", 1, NULL, fg_admin_rollout_control, NULL, false },
	{ "rollout", "resume", 1, NULL, fg_admin_rollout_control, NULL, false },
	{ "rollout", "cancel", 1, NULL, fg_admin_rollout_control, NULL, false },
	{ "rollout", "retry", 1, NULL, fg_admin_rollout_control, NULL, false },
	{ "enrol", NULL, 1, NULL, fg_admin_enrol, NULL, false },
	{ "revoke", NULL, 1, NULL, fg_admin_revoke, NULL, false },
	{ "revoke", "agent", 1, NULL, fg_admin_revoke, NULL, false },
	{ "revoke", "viewer", 1, NULL, fg_admin_revoke, NULL, false },
	{ "revoke", "operator", 1, NULL, fg_admin_revoke, NULL, false },
	{ "revoke", "admin", 1, NULL, fg_admin_revoke, NULL, false },
	{ "certificates", NULL, 0, fg_admin_certificates, NULL, NULL, true },
	{ "audit", NULL, 0, fg_admin_audit, NULL, NULL, true },
	{ "audit", "list", 0, fg_admin_audit, NULL, NULL, true },
	{ "audit", "verify", 0, fg_admin_audit_verify, NULL, NULL, false },
	{ "backup", NULL, 1, NULL, NULL, fg_admin_backup, false },
	{ "restore", NULL, 1, NULL, NULL, fg_admin_restore, false },
};

static const struct verb *find(int argc, char **argv)
{
	for (size_t i = 0; i < FG_COUNT(verbs) && argc > 0; i++) {
		const struct verb *v = &verbs[i];
		int left = argc - (v->word ? 2 : 1);
		if (strcmp(v->name, argv[0]) != 0 || left < 0 || (v->words < 0 ? left == 0 : left != v->words))
			continue;
		if (!v->word || !strcmp(v->word, argv[1]))
			return v;
	}
	return NULL;
}

static int run(int argc, char **argv, struct fg_error *err)
{
	struct fg_admin_where where = { .dir = NULL };
	struct fg_admin_options o = { .json = false };
	struct fg_admin *admin = NULL;
	int rc = fg_admin_options_parse(argc, argv, &where, &o, err);
	const struct verb *verb = rc == 0 ? find(argc - optind, argv + optind) : NULL;

	if (rc < 0)
		return rc;
	if (!verb) {
		fg_admin_usage(stderr);
		return fg_error_set(err, FG_EUSAGE, "no such command, or an argument of it is missing");
	}
	if (o.csv && !verb->list)
		return fg_error_set(err, FG_EUSAGE, "--csv is for lists");
	o.words = argv + optind;
	o.n_words = (size_t)(argc - optind);
	o.dir = where.dir;
	const char *last = argv[argc - 1];
	if (verb->run_here)
		return verb->run_here(&o, last, err);
	if (verb->run == fg_admin_offer && (!o.fix || o.all == (o.n_guests > 0)))
		return fg_error_set(err, FG_EUSAGE, "offer needs --fix, and --guest or --all");
	rc = connect_to(&where, &admin, err);
	if (rc < 0)
		return rc;
	rc = verb->run ? verb->run(admin, &o, err) : verb->run_on(admin, &o, last, err);
	fg_admin_close(admin);
	return rc;
}

int main(int argc, char **argv)
{
	struct fg_error err = FG_ERROR_INIT;

	fg_log_init("fixgate-admin", FG_LOG_INFO);
	if (run(argc, argv, &err) == 0)
		return 0;
	fg_log_err("%s", err.text);
	return fg_error_exit_status(&err);
}
