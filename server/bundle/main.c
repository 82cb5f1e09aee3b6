/* SPDX-License-Identifier: GPL-3.0-or-later */
/* fixgate-fix: build, sign, verify, show and unpack fix bundles. */
#include "fix.h"

#include <fixgate/error.h>

#include <string.h>

static const struct fix_verb verbs[] = {
	{ "keygen", "out! name ca days json", NULL,
	  "Makes a publisher CA and a signer under it (EC P-256), and the trust folder that hosts get.", fix_keygen },
	{ "build", "manifest! out! key cert json", "DIR",
	  "Packs DIR and its manifest into a bundle; signs it if a key is given. The same input gives the same bytes\n"
	  "before signing.",
	  fix_build },
	{ "sign", "key! cert! json", "FILE", "Adds a signature to a bundle.", fix_sign },
	{ "verify", "trust! threshold now json", "FILE", "Verifies signatures, expiry and every digest of a bundle.",
	  fix_verify },
	{ "show", "trust threshold now json", "FILE",
	  "Prints what a bundle says. Without --trust nothing of it is verified.", fix_show },
	{ "extract", "trust! threshold now out! json", "FILE", "Unpacks the payload of a bundle that verifies.",
	  fix_extract },
};

static void print_usage(FILE *to)
{
	fprintf(to, "Usage: fixgate-fix VERB [options] (fixgate-fix VERB --help)\n\nVerbs:\n");
	for (size_t i = 0; i < FG_COUNT(verbs); i++)
		fprintf(to, "  %-10s %.*s\n", verbs[i].name, (int)strcspn(verbs[i].help, "\n"), verbs[i].help);
}

/* Wanted before the options are parsed: their errors are printed too. */
static bool wants_json(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], "--json") == 0)
			return true;
	return false;
}

static int fail(const struct fg_error *err, bool json)
{
	if (json) {
		fg_autojson json_t *out =
			json_pack("{s:{s:s,s:s}}", "error", "code", fg_error_name(err->code), "text", err->text);
		fg_autofree char *text =
			out ? fg_json_dump(out) : fg_strdup("{\"error\":{\"code\":\"failed\",\"text\":\"\"}}");
		puts(text);
	}
	fprintf(stderr, "fixgate-fix: %s\n", err->text);
	return fg_error_exit_status(err);
}

int main(int argc, char **argv)
{
	struct fg_error err = FG_ERROR_INIT;
	const struct fix_verb *verb = NULL;
	struct fix_options o;

	if (argc < 2) {
		print_usage(stderr);
		return FG_EUSAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
		print_usage(stdout);
		return 0;
	}
	if (strcmp(argv[1], "--version") == 0) {
		puts("fixgate-fix " FG_VERSION);
		return 0;
	}
	for (size_t i = 0; i < FG_COUNT(verbs); i++)
		if (strcmp(argv[1], verbs[i].name) == 0)
			verb = &verbs[i];
	bool json = wants_json(argc, argv);
	if (!verb) {
		fg_error_set(&err, FG_EUSAGE, "there is no verb '%.40s' (see --help)", argv[1]);
		return fail(&err, json);
	}
	int rc = fix_options_parse(verb, argc - 1, argv + 1, &o, &err);
	if (rc == 0)
		rc = verb->run(&o, &err);
	if (rc < 0)
		return fail(&err, json);
	if (fflush(stdout) != 0) {
		fg_error_set(&err, FG_EIO, "cannot write to standard output");
		return fail(&err, false);
	}
	return 0;
}
