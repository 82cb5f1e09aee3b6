/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Any words as arguments of netback-filter, one a line: refused with a reason, or a guest that makes a set of rules. */
#include <lib/util.h>
#include <netback-filter/args.h>
#include <netback-filter/rule.h>

#include <getopt.h>
#include <string.h>

#include "target.h"

#define WORDS_MAX 256

/* getopt(3) keeps a pointer into the last arguments when it stops amid a cluster of short options. */
static void forget_getopt(void)
{
	char name[] = "netback-filter";
	char *argv[] = { name, NULL };

	optind = 0;
	(void)getopt(1, argv, "");
}

static void build(const struct fg_filter_guest *g)
{
	struct fg_ruleset set;

	if (fg_filter_guest_check(g, NULL) < 0)
		abort(); /* what was taken must be fit to be used */
	for (size_t i = 0; i < g->n_devs; i++) {
		fg_ruleset_build(g, g->devs[i].mac, 7, &set);
		fg_ruleset_free(&set);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fg_error err = FG_ERROR_INIT;
	char name[] = "netback-filter", *argv[WORDS_MAX + 2] = { name };
	struct fg_args a;
	int argc = 1;
	fg_autofree char *text = fg_calloc(size + 1, 1);

	memcpy(text, data, size);
	for (char *p = text, *end; p && *p && argc <= WORDS_MAX; p = end) {
		end = strchr(p, '\n');
		if (end)
			*end++ = '\0';
		argv[argc++] = p;
	}
	forget_getopt();
	int rc = fg_args_parse(argc, argv, &a, &err);
	if (rc < 0 && (!err.code || !err.text[0]))
		abort();
	if (rc == 0 &&
	    (a.verb == FG_VERB_VERIFY || a.verb == FG_VERB_SIMULATE || (a.verb == FG_VERB_ISOLATE && !a.batch)))
		build(&a.guest);
	fg_args_free(&a);
	return 0;
}
