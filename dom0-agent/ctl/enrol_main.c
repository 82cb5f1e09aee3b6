/* SPDX-License-Identifier: GPL-3.0-or-later */
/* fixgate-enrol: the verbs enrol and renew of fixgatectl(1), which need TLS and run without fixgated. */
#include "enrol.h"

#include <curl/curl.h>
#include <dom0-agent/config.h>
#include <errno.h>
#include <getopt.h>
#include <lib/util.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char usage[] = "usage: fixgatectl enrol --server ADDRESS:PORT --code CODE [--dir DIR] [--force]\n"
			    "       fixgatectl renew [--config FILE] [--force] [--restart]\n"
			    "A CODE of \"-\" is read from standard input.  See fixgatectl(1).\n";

struct options {
	struct fg_enrol enrol;
	struct fg_renew renew;
	bool restart;
	const char *verb;
};

static int parse(int argc, char **argv, struct options *o)
{
	static const struct option table[] = {
		{ "server", required_argument, NULL, 's' }, { "code", required_argument, NULL, 'c' },
		{ "dir", required_argument, NULL, 'd' },    { "config", required_argument, NULL, 'C' },
		{ "force", no_argument, NULL, 'f' },	    { "restart", no_argument, NULL, 'r' },
		{ "help", no_argument, NULL, 'h' },	    { NULL, 0, NULL, 0 }
	};
	int c;

	while ((c = getopt_long(argc, argv, "", table, NULL)) != -1) {
		if (c == 's') {
			o->enrol.server = optarg;
		} else if (c == 'c') {
			o->enrol.code = optarg;
		} else if (c == 'd') {
			o->enrol.dir = optarg;
		} else if (c == 'C') {
			o->renew.config = optarg;
		} else if (c == 'f') {
			o->enrol.force = o->renew.force = true;
		} else if (c == 'r') {
			o->restart = true;
		} else {
			fputs(usage, c == 'h' ? stdout : stderr);
			return c == 'h' ? 0 : FG_EUSAGE;
		}
	}
	o->verb = optind + 1 == argc ? argv[optind] : "";
	if (!strcmp(o->verb, "renew") || (!strcmp(o->verb, "enrol") && o->enrol.server && o->enrol.code))
		return -1;
	fputs(usage, stderr);
	return FG_EUSAGE;
}

/* Not on the command line, where others see it. */
static void code_read(struct options *o, char *line, size_t size)
{
	if (strcmp(o->enrol.code, "-") != 0 || !fgets(line, (int)size, stdin))
		return;
	line[strcspn(line, "\r\n")] = '\0';
	o->enrol.code = line;
}

static int run(struct options *o, struct fg_error *err)
{
	bool renewed = false;
	char line[128];
	int rc;

	if (!strcmp(o->verb, "enrol")) {
		code_read(o, line, sizeof(line));
		rc = fg_enrol(&o->enrol, err);
		if (rc == 0)
			printf("enrolled: certificate and key are in %s\n", o->enrol.dir);
		return rc;
	}
	rc = fg_renew(&o->renew, &renewed, err);
	if (rc < 0)
		return rc;
	puts(renewed ? "renewed" : "not due yet");
	fflush(stdout);
	if (renewed && o->restart) {
		execlp("systemctl", "systemctl", "try-restart", "fixgated.service", (char *)NULL);
		return fg_error_errno(err, FG_EFAILED, errno, "systemctl");
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct options o = { .enrol = { .dir = "/etc/fixgate" }, .renew = { .config = FG_AGENT_CONFIG } };
	struct fg_error err = FG_ERROR_INIT;
	int status = parse(argc, argv, &o);

	if (status >= 0)
		return status;
	umask(077);
	signal(SIGPIPE, SIG_IGN);
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return 1;
	status = 0;
	if (run(&o, &err) < 0) {
		fprintf(stderr, "fixgatectl: %s\n", err.text);
		status = fg_error_exit_status(&err);
	}
	curl_global_cleanup();
	return status;
}
