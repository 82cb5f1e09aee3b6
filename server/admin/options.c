/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

void fg_admin_usage(FILE *to)
{
	fputs("usage: fixgate-admin WHERE publish FILE\n"
	      "       fixgate-admin WHERE catalogue\n"
	      "       fixgate-admin WHERE withdraw FIX [--version N] [--reason TEXT]\n"
	      "       fixgate-admin WHERE revoke-signer CERTIFICATE|SHA256 [--reason TEXT]\n"
	      "       fixgate-admin WHERE offer --fix ID [--version N] {--guest NAME|UUID... | --all} [--force]\n"
	      "       fixgate-admin WHERE cancel --fix ID --guest NAME|UUID...\n"
	      "       fixgate-admin WHERE clients [--status S] [--fix ID] [--host H] [--name N] [--os ID[:VERSION]]\n"
	      "                     [--label NAME[=VALUE]] [--present] [--csv] [--limit N [--after UUID]]\n"
	      "       fixgate-admin WHERE history NAME|UUID [--csv] [--limit N]\n"
	      "       fixgate-admin WHERE label NAME=[VALUE]... --guest NAME|UUID...\n"
	      "       fixgate-admin WHERE fixes | offers [--csv]\n"
	      "       fixgate-admin WHERE rollout create FIX --select SELECTOR [--version N] [--waves 1,10%,100%]\n"
	      "                     [--success PERCENT] [--max-failures N|any] [--wait TIME] [--timeout TIME]\n"
	      "                     [--window WINDOW]... [--approval]\n"
	      "       fixgate-admin WHERE rollout list | show ID [--targets [--state S]] [--csv]\n"
	      "       fixgate-admin WHERE rollout approve | pause | resume | cancel | retry ID\n"
	      "       fixgate-admin WHERE enrol HOST | revoke [ROLE] NAME | certificates [--csv]\n"
	      "       fixgate-admin WHERE audit [list] [--csv] | audit verify [--noted N:HASH]\n"
	      "       fixgate-admin --dir DIR backup FILE | restore FILE\n"
	      "WHERE: --dir DIR, or --server URL --ca FILE --cert FILE --key FILE\n"
	      "Every command: --json\n",
	      to);
}

static int number(const char *text, const char *what, int64_t min, int64_t *out, struct fg_error *err)
{
	char *end = NULL;

	errno = 0;
	long long n = strtoll(text, &end, 10);
	if (errno || end == text || *end || n < min)
		return fg_error_set(err, FG_EUSAGE, "'%s' is no %s", text, what);
	*out = n;
	return 0;
}

static int add(char **list, size_t *n, size_t max, char *value, const char *what, struct fg_error *err)
{
	if (*n == max)
		return fg_error_set(err, FG_EUSAGE, "more than %zu %s", max, what);
	list[(*n)++] = value;
	return 0;
}

/* 30, 30s, 10m, 2h, 1d */
static int duration(const char *text, int64_t *out, struct fg_error *err)
{
	static const struct {
		char unit;
		int64_t s;
	} units[] = { { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 }, { '\0', 1 } };
	char *end = NULL;

	errno = 0;
	long long n = strtoll(text, &end, 10);
	for (size_t i = 0; !errno && end != text && n >= 0 && n < 1000000 && i < sizeof(units) / sizeof(units[0]);
	     i++) {
		if (*end == units[i].unit && (!*end || !end[1])) {
			*out = n * units[i].s;
			return 0;
		}
	}
	return fg_error_set(err, FG_EUSAGE, "'%s' is no time: 30s, 10m, 2h, 1d", text);
}

static int success(char *text, int64_t *out, struct fg_error *err)
{
	size_t len = strlen(text);

	if (len > 1 && text[len - 1] == '%')
		text[len - 1] = '\0';
	int rc = number(text, "percentage", 0, out, err);
	if (rc == 0 && *out > 100)
		rc = fg_error_set(err, FG_EUSAGE, "'%s' is more than 100%%", text);
	return rc;
}

enum {
	O_STATUS = 256,
	O_HOST,
	O_NAME,
	O_OS,
	O_LABEL,
	O_PRESENT,
	O_CSV,
	O_LIMIT,
	O_AFTER,
	O_SELECT,
	O_WAVES,
	O_SUCCESS,
	O_MAX_FAILURES,
	O_WAIT,
	O_TIMEOUT,
	O_WINDOW,
	O_APPROVAL,
	O_TARGETS,
	O_STATE,
	O_NOTED
};

static int take_filter(struct fg_admin_options *o, int c, struct fg_error *err)
{
	switch (c) {
	case O_STATUS:
		o->status = optarg;
		return 0;
	case O_HOST:
		o->host = optarg;
		return 0;
	case O_NAME:
		o->name = optarg;
		return 0;
	case O_OS:
		o->os = optarg;
		return 0;
	case O_LABEL:
		o->label = optarg;
		return 0;
	case O_PRESENT:
		o->present = true;
		return 0;
	case O_CSV:
		o->csv = true;
		return 0;
	case O_LIMIT:
		return number(optarg, "number", 1, &o->limit, err);
	case O_AFTER:
		o->after = optarg;
		return 0;
	case O_TARGETS:
		o->targets = true;
		return 0;
	case O_STATE:
		o->state = optarg;
		return 0;
	case O_NOTED:
		o->noted = optarg;
		return 0;
	}
	return fg_error_set(err, FG_EUSAGE, "see fixgate-admin --help");
}

static int take_plan(struct fg_admin_options *o, int c, struct fg_error *err)
{
	switch (c) {
	case O_SELECT:
		o->select = optarg;
		return 0;
	case O_WAVES:
		o->waves = optarg;
		return 0;
	case O_SUCCESS:
		return success(optarg, &o->success_pct, err);
	case O_MAX_FAILURES:
		o->max_failures = -1;
		return !strcmp(optarg, "any") ? 0 : number(optarg, "number of failures", 0, &o->max_failures, err);
	case O_WAIT:
		return duration(optarg, &o->wait_s, err);
	case O_TIMEOUT:
		return duration(optarg, &o->timeout_s, err);
	case O_WINDOW:
		return add(o->windows, &o->n_windows, FG_ADMIN_WINDOWS_MAX, optarg, "windows", err);
	case O_APPROVAL:
		o->approval = true;
		return 0;
	}
	return take_filter(o, c, err);
}

static int take(struct fg_admin_where *where, struct fg_admin_options *o, int c, struct fg_error *err)
{
	switch (c) {
	case 'd':
		where->dir = optarg;
		return 0;
	case 's':
		where->server = optarg;
		return 0;
	case 'C':
		where->ca = optarg;
		return 0;
	case 'c':
		where->cert = optarg;
		return 0;
	case 'k':
		where->key = optarg;
		return 0;
	case 'f':
		o->fix = optarg;
		return 0;
	case 'v':
		return number(optarg, "version", 1, &o->version, err);
	case 'g':
		return add(o->guests, &o->n_guests, FG_ADMIN_GUESTS_MAX, optarg, "guests: use --all", err);
	case 'a':
		o->all = true;
		return 0;
	case 'F':
		o->force = true;
		return 0;
	case 'r':
		o->reason = optarg;
		return 0;
	case 'j':
		o->json = true;
		return 0;
	case 'h':
		fg_admin_usage(stdout);
		exit(0);
	}
	return take_plan(o, c, err);
}

int fg_admin_options_parse(int argc, char **argv, struct fg_admin_where *where, struct fg_admin_options *out,
			   struct fg_error *err)
{
	static const struct option table[] = {
		{ "dir", required_argument, NULL, 'd' },
		{ "server", required_argument, NULL, 's' },
		{ "ca", required_argument, NULL, 'C' },
		{ "cert", required_argument, NULL, 'c' },
		{ "key", required_argument, NULL, 'k' },
		{ "fix", required_argument, NULL, 'f' },
		{ "version", required_argument, NULL, 'v' },
		{ "guest", required_argument, NULL, 'g' },
		{ "all", no_argument, NULL, 'a' },
		{ "force", no_argument, NULL, 'F' },
		{ "reason", required_argument, NULL, 'r' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ "status", required_argument, NULL, O_STATUS },
		{ "host", required_argument, NULL, O_HOST },
		{ "name", required_argument, NULL, O_NAME },
		{ "os", required_argument, NULL, O_OS },
		{ "label", required_argument, NULL, O_LABEL },
		{ "present", no_argument, NULL, O_PRESENT },
		{ "csv", no_argument, NULL, O_CSV },
		{ "limit", required_argument, NULL, O_LIMIT },
		{ "after", required_argument, NULL, O_AFTER },
		{ "select", required_argument, NULL, O_SELECT },
		{ "waves", required_argument, NULL, O_WAVES },
		{ "success", required_argument, NULL, O_SUCCESS },
		{ "max-failures", required_argument, NULL, O_MAX_FAILURES },
		{ "wait", required_argument, NULL, O_WAIT },
		{ "timeout", required_argument, NULL, O_TIMEOUT },
		{ "window", required_argument, NULL, O_WINDOW },
		{ "approval", no_argument, NULL, O_APPROVAL },
		{ "targets", no_argument, NULL, O_TARGETS },
		{ "state", required_argument, NULL, O_STATE },
		{ "noted", required_argument, NULL, O_NOTED },
		{ NULL, 0, NULL, 0 },
	};
	int c, rc = 0;

	out->success_pct = 100;
	while (rc == 0 && (c = getopt_long(argc, argv, "d:jh", table, NULL)) != -1)
		rc = take(where, out, c, err);
	return rc;
}
