/* SPDX-License-Identifier: GPL-3.0-or-later */
/* fixgate-server init | enrol | serve; fixgate-server(8). */
#include "serve.h"
#include "setup/setup.h"

#include <fixgate/protocol.h>
#include <getopt.h>
#include <lib/log.h>
#include <lib/util.h>
#include <string.h>
#include <sys/stat.h>

#define LIST_MAX 16

struct options {
	const char *dir, *trust, *out, *user;
	char *addresses[LIST_MAX], *listen[LIST_MAX];
	size_t n_addresses, n_listen;
	long port;
};

static void usage(FILE *to)
{
	fputs("usage: fixgate-server init --dir DIR --address ADDR[,ADDR|NAME...] [--port P] [--trust DIR] [--user U]\n"
	      "       fixgate-server enrol HOST --dir DIR --out DIR\n"
	      "       fixgate-server online-key --dir DIR [--user U]\n"
	      "       fixgate-server serve --dir DIR [--listen ADDR:PORT]... [--user U] [--verbose]\n",
	      to);
}

static int add(char *list[LIST_MAX], size_t *n, char *value, struct fg_error *err)
{
	if (*n == LIST_MAX)
		return fg_error_set(err, FG_EUSAGE, "more than %d addresses", LIST_MAX);
	list[(*n)++] = value;
	return 0;
}

static int add_all(struct options *o, char *value, struct fg_error *err)
{
	int rc = 0;

	for (char *save = NULL, *part = strtok_r(value, ",", &save); part && rc == 0; part = strtok_r(NULL, ",", &save))
		rc = add(o->addresses, &o->n_addresses, part, err);
	return rc;
}

static int parse(int argc, char **argv, struct options *o, struct fg_error *err)
{
	static const struct option table[] = {
		{ "dir", required_argument, NULL, 'd' },  { "address", required_argument, NULL, 'a' },
		{ "port", required_argument, NULL, 'p' }, { "trust", required_argument, NULL, 't' },
		{ "out", required_argument, NULL, 'o' },  { "listen", required_argument, NULL, 'l' },
		{ "user", required_argument, NULL, 'u' }, { "verbose", no_argument, NULL, 'v' },
		{ "help", no_argument, NULL, 'h' },	  { NULL, 0, NULL, 0 },
	};
	int c, rc = 0;
	char *end = NULL;

	while (rc == 0 && (c = getopt_long(argc, argv, "d:o:vh", table, NULL)) != -1) {
		switch (c) {
		case 'd':
			o->dir = optarg;
			break;
		case 'a':
			rc = add_all(o, optarg, err);
			break;
		case 'p':
			o->port = strtol(optarg, &end, 10);
			if (*end || o->port < 1 || o->port > 65535)
				rc = fg_error_set(err, FG_EUSAGE, "'%s' is no port", optarg);
			break;
		case 't':
			o->trust = optarg;
			break;
		case 'o':
			o->out = optarg;
			break;
		case 'l':
			rc = add(o->listen, &o->n_listen, optarg, err);
			break;
		case 'u':
			o->user = optarg;
			break;
		case 'v':
			fg_log_init("fixgate-server", FG_LOG_DEBUG);
			break;
		case 'h':
			usage(stdout);
			exit(0);
		case '?':
			rc = fg_error_set(err, FG_EUSAGE, "see fixgate-server --help");
			break;
		}
	}
	if (rc == 0 && !o->dir)
		rc = fg_error_set(err, FG_EUSAGE, "--dir is missing");
	return rc;
}

static int run(int argc, char **argv, struct fg_error *err)
{
	struct options o = { .port = FG_SERVER_PORT_DEFAULT };
	int rc = parse(argc, argv, &o, err);

	if (rc < 0)
		return rc;
	int left = argc - optind;
	const char *verb = left > 0 ? argv[optind] : "";
	if (!strcmp(verb, "init") && left == 1 && o.n_addresses) {
		struct fg_setup_init init = { .dir = o.dir,
					      .addresses = o.addresses,
					      .n_addresses = o.n_addresses,
					      .port = (uint16_t)o.port,
					      .trust_dir = o.trust,
					      .user = o.user };
		return fg_setup_init(&init, err);
	}
	if (!strcmp(verb, "enrol") && left == 2 && o.out)
		return fg_setup_enrol(o.dir, argv[optind + 1], o.out, err);
	if (!strcmp(verb, "online-key") && left == 1)
		return fg_setup_online_key(o.dir, o.user, err);
	if (!strcmp(verb, "serve") && left == 1) {
		struct fg_serve serve = { o.dir, o.listen, o.n_listen, o.user };
		return fg_serve(&serve, err);
	}
	usage(stderr);
	return fg_error_set(err, FG_EUSAGE, "no such command, or an argument of it is missing");
}

int main(int argc, char **argv)
{
	struct fg_error err = FG_ERROR_INIT;

	umask(077); /* what is made here is for the server alone */
	fg_log_init("fixgate-server", FG_LOG_INFO);
	if (run(argc, argv, &err) == 0)
		return 0;
	fg_log_err("%s", err.text);
	return fg_error_exit_status(&err);
}
