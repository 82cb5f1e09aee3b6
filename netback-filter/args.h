/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The command line of netback-filter. */
#ifndef FG_FILTER_ARGS_H
#define FG_FILTER_ARGS_H

#include <fixgate/filter.h>

#define FG_ARGS_VERBS(X)                                                                                               \
	X(ISOLATE, "isolate")                                                                                          \
	X(RELEASE, "release")                                                                                          \
	X(LIST, "list")                                                                                                \
	X(VERIFY, "verify")                                                                                            \
	X(ARM, "arm")                                                                                                  \
	X(RESTORE, "restore")                                                                                          \
	X(SIMULATE, "simulate")                                                                                        \
	X(HELP, "help")                                                                                                \
	X(VERSION, "version")
enum fg_args_verb {
#define FG_ARGS_ENUM(name, text) FG_VERB_##name,
	FG_ARGS_VERBS(FG_ARGS_ENUM)
#undef FG_ARGS_ENUM
};

struct fg_args {
	enum fg_args_verb verb;
	bool json;
	struct fg_filter_guest guest;
	const char *mark_dir; /* arm, restore */
	const char *strict_dir; /* restore */
	const char *rename_to; /* arm */
	const char *batch; /* isolate: file, "-" = standard input */
	enum fg_filter_direction direction; /* simulate */
	const char *file; /* simulate: capture, "-" = standard input */
};

/* USAGE with what is wrong.  *json is set as soon as --json is seen, also on failure.  Free with fg_args_free. */
int fg_args_parse(int argc, char **argv, struct fg_args *out, struct fg_error *err) FG_MUST_CHECK;
void fg_args_free(struct fg_args *args);
extern const char fg_args_usage[];

#endif
