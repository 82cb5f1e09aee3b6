/* SPDX-License-Identifier: GPL-3.0-or-later */
/* fixgate-admin(1). */
#include "verbs.h"

#include <errno.h>
#include <getopt.h>
#include <lib/log.h>
#include <lib/util.h>
#include <server/config.h>
#include <stdlib.h>
#include <string.h>

struct options {
	struct fg_admin_options verb;
	const char *dir, *server, *ca, *cert, *key;
};

static void usage(FILE *to)
{
	fputs("usage: fixgate-admin WHERE publish FILE [--json]\n"
	      "       fixgate-admin WHERE offer --fix ID [--version N] {--guest NAME|UUID... | --all} [--force] "
	      "[--json]\n"
	      "       fixgate-admin WHERE clients | fixes | offers | audit | audit verify [--json]\n"
	      "       fixgate-admin WHERE catalogue [--json]\n"
	      "       fixgate-admin WHERE withdraw FIX [--version N] [--reason TEXT] [--json]\n"
	      "       fixgate-admin WHERE revoke-signer CERTIFICATE|SHA256 [--reason TEXT] [--json]\n"
	      "WHERE: --dir DIR, or --server URL --ca FILE --cert FILE --key FILE\n",
	      to);
}

static int parse_version(const char *text, int64_t *out, struct fg_error *err)
{
	char *end = NULL;

	errno = 0;
	long long n = strtoll(text, &end, 10);
	if (errno || end == text || *end || n < 1)
		return fg_error_set(err, FG_EUSAGE, "'%s' is no version", text);
	*out = n;
	return 0;
}

static int add_guest(struct fg_admin_options *o, char *guest, struct fg_error *err)
{
	if (o->n_guests == FG_ADMIN_GUESTS_MAX)
		return fg_error_set(err, FG_EUSAGE, "more than %d guests: use --all", FG_ADMIN_GUESTS_MAX);
	o->guests[o->n_guests++] = guest;
	return 0;
}

static int take_option(struct options *o, int c, struct fg_error *err)
{
	switch (c) {
	case 'd':
		o->dir = optarg;
		return 0;
	case 's':
		o->server = optarg;
		return 0;
	case 'C':
		o->ca = optarg;
		return 0;
	case 'c':
		o->cert = optarg;
		return 0;
	case 'k':
		o->key = optarg;
		return 0;
	case 'f':
		o->verb.fix = optarg;
		return 0;
	case 'v':
		return parse_version(optarg, &o->verb.version, err);
	case 'g':
		return add_guest(&o->verb, optarg, err);
	case 'a':
		o->verb.all = true;
		return 0;
	case 'F':
		o->verb.force = true;
		return 0;
	case 'r':
		o->verb.reason = optarg;
		return 0;
	case 'j':
		o->verb.json = true;
		return 0;
	case 'h':
		usage(stdout);
		exit(0);
	}
	return fg_error_set(err, FG_EUSAGE, "see fixgate-admin --help");
}

static int parse(int argc, char **argv, struct options *o, struct fg_error *err)
{
	static const struct option table[] = {
		{ "dir", required_argument, NULL, 'd' },     { "server", required_argument, NULL, 's' },
		{ "ca", required_argument, NULL, 'C' },	     { "cert", required_argument, NULL, 'c' },
		{ "key", required_argument, NULL, 'k' },     { "fix", required_argument, NULL, 'f' },
		{ "version", required_argument, NULL, 'v' }, { "guest", required_argument, NULL, 'g' },
		{ "all", no_argument, NULL, 'a' },	     { "force", no_argument, NULL, 'F' },
		{ "reason", required_argument, NULL, 'r' },  { "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },	     { NULL, 0, NULL, 0 },
	};
	int c, rc = 0;

	while (rc == 0 && (c = getopt_long(argc, argv, "d:jh", table, NULL)) != -1)
		rc = take_option(o, c, err);
	return rc;
}

/* What was not given by its own option comes from --dir. */
static int connect_to(const struct options *o, struct fg_admin **out, struct fg_error *err)
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
	const char *name, *argument; /* argument: a word that must follow, "*" = any, NULL = none */
	int (*run)(struct fg_admin *a, const struct fg_admin_options *o, struct fg_error *err);
	int (*run_on)(struct fg_admin *a, const struct fg_admin_options *o, const char *argument, struct fg_error *err);
} verbs[] = {
	{ "publish", "*", NULL, fg_admin_publish },   { "catalogue", NULL, fg_admin_catalogue, NULL },
	{ "withdraw", "*", NULL, fg_admin_withdraw }, { "revoke-signer", "*", NULL, fg_admin_revoke_signer },
	{ "offer", NULL, fg_admin_offer, NULL },      { "clients", NULL, fg_admin_clients, NULL },
	{ "fixes", NULL, fg_admin_fixes, NULL },      { "offers", NULL, fg_admin_offers, NULL },
	{ "audit", NULL, fg_admin_audit, NULL },      { "audit", "verify", fg_admin_audit_verify, NULL },
};

static const struct verb *find(int argc, char **argv)
{
	for (size_t i = 0; i < FG_COUNT(verbs) && argc > 0; i++) {
		const struct verb *v = &verbs[i];
		if (strcmp(v->name, argv[0]) != 0 || argc != (v->argument ? 2 : 1))
			continue;
		if (!v->argument || !strcmp(v->argument, "*") || !strcmp(v->argument, argv[1]))
			return v;
	}
	return NULL;
}

static int run(int argc, char **argv, struct fg_error *err)
{
	struct options o = { .dir = NULL };
	struct fg_admin *admin = NULL;
	int rc = parse(argc, argv, &o, err);
	const struct verb *verb = rc == 0 ? find(argc - optind, argv + optind) : NULL;

	if (rc < 0)
		return rc;
	if (!verb) {
		usage(stderr);
		return fg_error_set(err, FG_EUSAGE, "no such command, or an argument of it is missing");
	}
	if (verb->run == fg_admin_offer && (!o.verb.fix || o.verb.all == (o.verb.n_guests > 0)))
		return fg_error_set(err, FG_EUSAGE, "offer needs --fix, and --guest or --all");
	rc = connect_to(&o, &admin, err);
	if (rc < 0)
		return rc;
	rc = verb->run ? verb->run(admin, &o.verb, err) : verb->run_on(admin, &o.verb, argv[optind + 1], err);
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
