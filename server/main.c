/* SPDX-License-Identifier: GPL-3.0-or-later */
/* fixgate-server init | enrol | admin | revoke | serve | routes; fixgate-server(8). */
#include "serve.h"
#include "setup/code.h"
#include "setup/setup.h"

#include <fixgate/protocol.h>
#include <getopt.h>
#include <lib/log.h>
#include <lib/util.h>
#include <server/api/api.h>
#include <string.h>
#include <sys/stat.h>

#define LIST_MAX 16

struct options {
	const char *dir, *trust, *out, *user, *role;
	char *addresses[LIST_MAX], *listen[LIST_MAX];
	size_t n_addresses, n_listen;
	long port, minutes;
};

static void usage(FILE *to)
{
	fputs("usage: fixgate-server init --dir DIR --address ADDR[,ADDR|NAME...] [--port P] [--trust DIR] [--user U]\n"
	      "       fixgate-server enrol HOST --dir DIR [--minutes N | --out DIR]\n"
	      "       fixgate-server admin NAME --role viewer|operator|admin --dir DIR --out DIR\n"
	      "       fixgate-server revoke NAME [--role agent|viewer|operator|admin] --dir DIR\n"
	      "       fixgate-server online-key --dir DIR [--user U]\n"
	      "       fixgate-server renew --dir DIR [--address ADDR[,ADDR|NAME...]]\n"
	      "       fixgate-server serve --dir DIR [--listen ADDR:PORT]... [--user U] [--verbose]\n"
	      "       fixgate-server routes\n",
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

static int number(const char *what, const char *text, long max, long *out, struct fg_error *err)
{
	char *end = NULL;
	long n = strtol(text, &end, 10);

	if (*end || end == text || n < 1 || n > max)
		return fg_error_set(err, FG_EUSAGE, "'%s' is no %s", text, what);
	*out = n;
	return 0;
}

static int parse(int argc, char **argv, struct options *o, struct fg_error *err)
{
	static const struct option table[] = {
		{ "dir", required_argument, NULL, 'd' },  { "address", required_argument, NULL, 'a' },
		{ "port", required_argument, NULL, 'p' }, { "trust", required_argument, NULL, 't' },
		{ "out", required_argument, NULL, 'o' },  { "listen", required_argument, NULL, 'l' },
		{ "user", required_argument, NULL, 'u' }, { "verbose", no_argument, NULL, 'v' },
		{ "role", required_argument, NULL, 'r' }, { "minutes", required_argument, NULL, 'm' },
		{ "help", no_argument, NULL, 'h' },	  { NULL, 0, NULL, 0 },
	};
	int c, rc = 0;

	while (rc == 0 && (c = getopt_long(argc, argv, "d:o:vh", table, NULL)) != -1) {
		switch (c) {
		case 'd':
			o->dir = optarg;
			break;
		case 'a':
			rc = add_all(o, optarg, err);
			break;
		case 'p':
			rc = number("port", optarg, 65535, &o->port, err);
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
		case 'r':
			o->role = optarg;
			break;
		case 'm':
			rc = number("time in minutes", optarg, FG_CODE_MINUTES_MAX, &o->minutes, err);
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
	return rc;
}

/* One line a route: methods, path, roles.  For those who check a description of the API against it. */
static int routes_print(void)
{
	static const struct {
		unsigned bit;
		const char *name;
	} methods[] = { { EVHTTP_REQ_GET, "GET" },   { EVHTTP_REQ_HEAD, "HEAD" },   { EVHTTP_REQ_PUT, "PUT" },
			{ EVHTTP_REQ_POST, "POST" }, { EVHTTP_REQ_PATCH, "PATCH" }, { EVHTTP_REQ_DELETE, "DELETE" } },
	  roles[] = { { FG_ROLE_NOBODY, "nobody" },
		      { FG_ROLE_IS_AGENT, FG_ROLE_AGENT },
		      { FG_ROLE_IS_VIEWER, FG_ROLE_VIEWER },
		      { FG_ROLE_IS_OPERATOR, FG_ROLE_OPERATOR },
		      { FG_ROLE_IS_ADMIN, FG_ROLE_ADMIN } };

	for (const struct fg_route *r = fg_api_routes; r->path; r++) {
		for (size_t m = 0; m < FG_COUNT(methods); m++) {
			if (!(r->methods & methods[m].bit))
				continue;
			printf("%s %s", methods[m].name, r->path);
			for (size_t i = 0; i < FG_COUNT(roles); i++)
				if (r->roles & roles[i].bit)
					printf(" %s", roles[i].name);
			putchar('\n');
		}
	}
	return 0;
}

static int run(int argc, char **argv, struct fg_error *err)
{
	struct options o = { .port = FG_SERVER_PORT_DEFAULT, .minutes = FG_CODE_MINUTES };
	int rc = parse(argc, argv, &o, err);

	if (rc < 0)
		return rc;
	int left = argc - optind;
	const char *verb = left > 0 ? argv[optind] : "";
	if (!strcmp(verb, "routes") && left == 1)
		return routes_print();
	if (!o.dir)
		return fg_error_set(err, FG_EUSAGE, "--dir is missing");
	if (!strcmp(verb, "init") && left == 1 && o.n_addresses) {
		struct fg_setup_init init = { .dir = o.dir,
					      .addresses = o.addresses,
					      .n_addresses = o.n_addresses,
					      .port = (uint16_t)o.port,
					      .trust_dir = o.trust,
					      .user = o.user };
		return fg_setup_init(&init, err);
	}
	if (!strcmp(verb, "enrol") && left == 2)
		return o.out ? fg_setup_enrol(o.dir, argv[optind + 1], o.out, err)
			     : fg_setup_code(o.dir, argv[optind + 1], o.minutes, err);
	if (!strcmp(verb, "admin") && left == 2 && o.out && o.role)
		return fg_setup_admin(o.dir, argv[optind + 1], o.role, o.out, err);
	if (!strcmp(verb, "revoke") && left == 2)
		return fg_setup_revoke(o.dir, o.role ? o.role : FG_ROLE_AGENT, argv[optind + 1], err);
	if (!strcmp(verb, "online-key") && left == 1)
		return fg_setup_online_key(o.dir, o.user, err);
	if (!strcmp(verb, "renew") && left == 1)
		return fg_setup_renew(o.dir, o.addresses, o.n_addresses, err);
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
