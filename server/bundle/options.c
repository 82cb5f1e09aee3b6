/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fix.h"

#include <getopt.h>
#include <string.h>

enum { OPT_OUT = 'o', OPT_HELP = 'h', OPT_FIRST = 256 };

/* X(long name, takes a value, help) */
#define OPTION_LIST(X)                                                                                                 \
	X(out, 1, "where to write: file of build, folder of keygen and extract (also -o)")                             \
	X(manifest, 1, "manifest without its payload section (JSON)")                                                  \
	X(key, 1, "signing key: PEM file or pkcs11: URI")                                                              \
	X(cert, 1, "certificate of the key, then those of its chain: PEM file or pkcs11: URI")                         \
	X(name, 1, "common name of the signer")                                                                        \
	X(ca, 1, "folder of an earlier keygen whose CA issues the certificate")                                        \
	X(days, 1, "validity of the signer's certificate (default 730)")                                               \
	X(trust, 1, "trust folder: publisher-ca.pem, crl.pem, threshold")                                              \
	X(threshold, 1, "number of distinct signers needed (default: what the trust folder says)")                     \
	X(now, 1, "time to verify against, RFC 3339 (default: the clock)")                                             \
	X(json, 0, "print JSON, errors too")

enum fix_option {
#define OPTION_ENUM(name, value, help) OPTION_##name,
	OPTION_LIST(OPTION_ENUM)
#undef OPTION_ENUM
		OPTION_COUNT
};

static const struct {
	const char *name;
	int value;
	const char *help;
} options[] = {
#define OPTION_ROW(name, value, help) { #name, value, help },
	OPTION_LIST(OPTION_ROW)
#undef OPTION_ROW
};

/* Is name among the verb's options?  *needed: it must be given. */
static bool takes(const struct fix_verb *verb, const char *name, bool *needed)
{
	size_t n = strlen(name);

	for (const char *p = verb->options; *p; p += *p == ' ') {
		size_t len = strcspn(p, " ");
		*needed = len > 0 && p[len - 1] == '!';
		if (len - *needed == n && strncmp(p, name, n) == 0)
			return true;
		p += len;
	}
	*needed = false;
	return false;
}

static void print_help(const struct fix_verb *verb)
{
	bool needed = false;

	printf("Usage: fixgate-fix %s [options]%s%s\n%s\n\nOptions:\n", verb->name, verb->operand ? " " : "",
	       verb->operand ? verb->operand : "", verb->help);
	for (size_t i = 0; i < FG_COUNT(options); i++)
		if (takes(verb, options[i].name, &needed))
			printf("  --%-16s %s%s\n", options[i].name, options[i].help, needed ? " (must be given)" : "");
	printf("  --%-16s %s\n", "help", "this text");
}

static int parse_number(const char *name, const char *text, unsigned max, unsigned *out, struct fg_error *err)
{
	char *end = NULL;
	unsigned long n = text[0] >= '0' && text[0] <= '9' ? strtoul(text, &end, 10) : 0;

	if (n < 1 || n > max || *end)
		return fg_error_set(err, FG_EUSAGE, "--%s: '%.40s' is no number from 1 to %u", name, text, max);
	*out = (unsigned)n;
	return 0;
}

static int take(enum fix_option option, const char *value, struct fix_options *o, struct fg_error *err)
{
	switch (option) {
	case OPTION_out:
		o->out = value;
		return 0;
	case OPTION_manifest:
		o->manifest = value;
		return 0;
	case OPTION_key:
		o->key = value;
		return 0;
	case OPTION_cert:
		o->cert = value;
		return 0;
	case OPTION_name:
		o->name = value;
		return 0;
	case OPTION_ca:
		o->ca = value;
		return 0;
	case OPTION_trust:
		o->trust = value;
		return 0;
	case OPTION_json:
		o->json = true;
		return 0;
	case OPTION_days:
		return parse_number("days", value, 36500, &o->days, err);
	case OPTION_threshold:
		return parse_number("threshold", value, 16, &o->threshold, err);
	case OPTION_now:
		if (fg_time_parse(value, &o->now_s, NULL) == 0)
			return 0;
		return fg_error_set(err, FG_EUSAGE, "--now: '%.40s' is no time of the form 2026-01-02T03:04:05Z",
				    value);
	case OPTION_COUNT:
		break;
	}
	return fg_error_set(err, FG_EBUG, "option %d", (int)option);
}

static int check_needed(const struct fix_verb *verb, const bool given[OPTION_COUNT], struct fg_error *err)
{
	bool needed = false;

	for (size_t i = 0; i < FG_COUNT(options); i++)
		if (takes(verb, options[i].name, &needed) && needed && !given[i])
			return fg_error_set(err, FG_EUSAGE, "%s needs --%s", verb->name, options[i].name);
	return 0;
}

int fix_options_parse(const struct fix_verb *verb, int argc, char **argv, struct fix_options *out, struct fg_error *err)
{
	struct fix_options o = { .now_s = fg_now_ms() / 1000 };
	struct option table[OPTION_COUNT + 2] = { { "help", no_argument, NULL, OPT_HELP } };
	bool given[OPTION_COUNT] = { false }, needed = false;
	int c, rc;

	for (size_t i = 0; i < FG_COUNT(options); i++)
		table[i + 1] = (struct option){ options[i].name, options[i].value ? required_argument : no_argument,
						NULL, OPT_FIRST + (int)i };
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":o:h", table, NULL)) != -1) {
		if (c == OPT_HELP) {
			print_help(verb);
			return 1;
		}
		if (c == OPT_OUT)
			c = OPT_FIRST + OPTION_out;
		if (c < OPT_FIRST || !takes(verb, options[c - OPT_FIRST].name, &needed))
			return fg_error_set(err, FG_EUSAGE, "%s: option '%.40s' is not known or lacks its value",
					    verb->name, argv[optind - 1]);
		given[c - OPT_FIRST] = true;
		rc = take((enum fix_option)(c - OPT_FIRST), optarg, &o, err);
		if (rc < 0)
			return rc;
	}
	if (argc - optind != (verb->operand != NULL))
		return fg_error_set(err, FG_EUSAGE, "%s takes %s (see --help)", verb->name,
				    verb->operand ? verb->operand : "no operand");
	o.arg = verb->operand ? argv[optind] : NULL;
	rc = check_needed(verb, given, err);
	if (rc == 0)
		*out = o;
	return rc;
}
