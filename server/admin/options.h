/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The command line of fixgate-admin. */
#ifndef FG_ADMIN_OPTIONS_H
#define FG_ADMIN_OPTIONS_H

#include "verbs.h"

#include <stdio.h>

struct fg_admin_where {
	const char *dir, *server, *ca, *cert, *key;
};

/* USAGE.  What is left is argv from optind. */
int fg_admin_options_parse(int argc, char **argv, struct fg_admin_where *where, struct fg_admin_options *out,
			   struct fg_error *err) FG_MUST_CHECK;
void fg_admin_usage(FILE *to);

#endif
