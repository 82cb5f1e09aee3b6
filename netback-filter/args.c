/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "args.h"

#include "guest_json.h"
#include "rule.h"
#include "ruleset.h"

#include <lib/util.h>

#include <getopt.h>
#include <string.h>

const char fg_args_usage[] =
	"usage: netback-filter isolate --guest UUID --dev DEV[,DEV...] --mac MAC\n"
	"           [--ip ADDR]... --server ADDR:PORT [--server [ADDR6]:PORT]... [--server-mac MAC]\n"
	"           [--gateway ADDR]... [--gateway-mac MAC] [--dhcp ADDR] [--rate PPS] [--routed]\n"
	"       netback-filter isolate --guest UUID --dev DEV[,DEV...] --mac MAC --closed\n"
	"       netback-filter isolate --batch FILE\n"
	"       netback-filter release --guest UUID\n"
	"       netback-filter list\n"
	"       netback-filter verify  (arguments of isolate)\n"
	"       netback-filter simulate  (arguments of isolate) [--direction from-guest|to-guest|by-source] FILE.pcap\n"
	"       netback-filter arm --guest UUID --dev DEV [--mac MAC] [--rename-to DEV] [--mark-dir DIR]\n"
	"       netback-filter restore [--mark-dir DIR] [--strict-dir DIR]\n"
	"All take --json. Exit status: 0 done, 2 usage, 3 not found, 4 refused, 5 differs; netback-filter(8) has "
	"all.\n";

enum {
	OPT_GUEST = 256,
	OPT_DEV,
	OPT_MAC,
	OPT_IP,
	OPT_SERVER,
	OPT_SERVER_MAC,
	OPT_GATEWAY,
	OPT_GATEWAY_MAC,
	OPT_DHCP,
	OPT_RATE,
	OPT_ROUTED,
	OPT_CLOSED,
	OPT_JSON,
	OPT_MARK_DIR,
	OPT_STRICT_DIR,
	OPT_RENAME_TO,
	OPT_BATCH,
	OPT_DIRECTION,
	OPT_HELP,
	OPT_VERSION
};

static const struct option options[] = {
	{ "guest", required_argument, NULL, OPT_GUEST },
	{ "dev", required_argument, NULL, OPT_DEV },
	{ "mac", required_argument, NULL, OPT_MAC },
	{ "ip", required_argument, NULL, OPT_IP },
	{ "server", required_argument, NULL, OPT_SERVER },
	{ "server-mac", required_argument, NULL, OPT_SERVER_MAC },
	{ "gateway", required_argument, NULL, OPT_GATEWAY },
	{ "gateway-mac", required_argument, NULL, OPT_GATEWAY_MAC },
	{ "dhcp", required_argument, NULL, OPT_DHCP },
	{ "rate", required_argument, NULL, OPT_RATE },
	{ "routed", no_argument, NULL, OPT_ROUTED },
	{ "closed", no_argument, NULL, OPT_CLOSED },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "mark-dir", required_argument, NULL, OPT_MARK_DIR },
	{ "strict-dir", required_argument, NULL, OPT_STRICT_DIR },
	{ "rename-to", required_argument, NULL, OPT_RENAME_TO },
	{ "batch", required_argument, NULL, OPT_BATCH },
	{ "direction", required_argument, NULL, OPT_DIRECTION },
	{ "help", no_argument, NULL, OPT_HELP },
	{ "version", no_argument, NULL, OPT_VERSION },
	{ NULL, 0, NULL, 0 },
};

static int limit(const char *what, size_t max, struct fg_error *err)
{
	return fg_error_set(err, FG_EUSAGE, "more than %zu %s", max, what);
}

static int add_devs(struct fg_filter_guest *g, const char *list, struct fg_error *err)
{
	for (const char *p = list;; p++) {
		size_t len = strcspn(p, ",");
		if (len == 0 || len >= IFNAMSIZ)
			return fg_error_set(err, FG_EUSAGE, "--dev: '%.60s': an empty or too long name", list);
		if (g->n_devs == FG_FILTER_DEVS_MAX)
			return limit("devices", FG_FILTER_DEVS_MAX, err);
		struct fg_filter_dev *d = &g->devs[g->n_devs++];
		memset(d, 0, sizeof(*d));
		memcpy(d->name, p, len);
		p += len;
		if (!*p)
			return 0;
	}
}

static int parse_rate(const char *text, uint32_t *out, struct fg_error *err)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (text[0] < '0' || text[0] > '9' || *end || n == 0 || n > UINT32_MAX)
		return fg_error_set(err, FG_EUSAGE, "--rate: '%.40s' is no number of frames a second", text);
	*out = (uint32_t)n;
	return 0;
}

static int add_address(struct fg_args *a, int opt, const char *text, struct fg_error *err)
{
	struct fg_filter_guest *g = &a->guest;

	switch (opt) {
	case OPT_IP:
		if (g->n_addresses == FG_FILTER_ADDRS_MAX)
			return limit("addresses", FG_FILTER_ADDRS_MAX, err);
		return fg_ip_parse(text, &g->addresses[g->n_addresses++], err);
	case OPT_SERVER:
		if (g->n_servers == FG_FILTER_SERVERS_MAX)
			return limit("servers", FG_FILTER_SERVERS_MAX, err);
		return fg_server_parse(text, &g->servers[g->n_servers++], err);
	case OPT_GATEWAY:
		if (g->n_gateways == FG_FILTER_GATEWAYS_MAX)
			return limit("gateways", FG_FILTER_GATEWAYS_MAX, err);
		return fg_ip_parse(text, &g->gateways[g->n_gateways++].address, err);
	default:
		return fg_ip_parse(text, &g->dhcp, err);
	}
}

/* A MAC belongs to what was named before it and has none yet. */
static int add_mac(struct fg_args *a, int opt, const char *text, uint8_t last[6], struct fg_error *err)
{
	struct fg_filter_guest *g = &a->guest;
	uint8_t mac[6];
	int rc = fg_mac_parse(text, mac, err);

	if (rc < 0)
		return rc;
	if (opt == OPT_MAC) {
		memcpy(last, mac, 6);
		for (size_t i = 0; i < g->n_devs; i++)
			if (!fg_mac_known(g->devs[i].mac))
				memcpy(g->devs[i].mac, mac, 6);
		return 0;
	}
	size_t n = opt == OPT_SERVER_MAC ? g->n_servers : g->n_gateways;
	if (n == 0)
		return fg_error_set(err, FG_EUSAGE, "the MAC of a %s is given before the %s",
				    opt == OPT_SERVER_MAC ? "server" : "gateway",
				    opt == OPT_SERVER_MAC ? "server" : "gateway");
	for (size_t i = 0; i < n; i++) {
		uint8_t *slot = opt == OPT_SERVER_MAC ? g->servers[i].mac : g->gateways[i].mac;
		if (!fg_mac_known(slot))
			memcpy(slot, mac, 6);
	}
	return 0;
}

static int parse_direction(const char *text, enum fg_filter_direction *out, struct fg_error *err)
{
	static const char *const words[] = { [FG_FILTER_BY_SOURCE] = "by-source",
					     [FG_FILTER_FROM_GUEST] = "from-guest",
					     [FG_FILTER_TO_GUEST] = "to-guest" };

	for (size_t i = 0; i < FG_COUNT(words); i++)
		if (strcmp(words[i], text) == 0) {
			*out = (enum fg_filter_direction)i;
			return 0;
		}
	return fg_error_set(err, FG_EUSAGE, "'%.40s' is not from-guest, to-guest or by-source", text);
}

static int take_option(struct fg_args *a, int opt, const char *value, uint8_t last_mac[6], struct fg_error *err)
{
	switch (opt) {
	case OPT_GUEST:
		return fg_uuid_parse(value, a->guest.uuid, err);
	case OPT_DEV:
		return add_devs(&a->guest, value, err);
	case OPT_MAC:
	case OPT_SERVER_MAC:
	case OPT_GATEWAY_MAC:
		return add_mac(a, opt, value, last_mac, err);
	case OPT_IP:
	case OPT_SERVER:
	case OPT_GATEWAY:
	case OPT_DHCP:
		return add_address(a, opt, value, err);
	case OPT_RATE:
		return parse_rate(value, &a->guest.rate_pps, err);
	case OPT_ROUTED:
		a->guest.routed = true;
		return 0;
	case OPT_CLOSED:
		a->guest.closed = true;
		return 0;
	case OPT_JSON:
		return 0;
	case OPT_MARK_DIR:
		a->mark_dir = value;
		return 0;
	case OPT_STRICT_DIR:
		a->strict_dir = value;
		return 0;
	case OPT_RENAME_TO:
		if (!value[0] || strlen(value) >= IFNAMSIZ)
			return fg_error_set(err, FG_EUSAGE, "'%.40s' is no device name", value);
		a->rename_to = value;
		return 0;
	case OPT_BATCH:
		a->batch = value;
		return 0;
	case OPT_DIRECTION:
		return parse_direction(value, &a->direction, err);
	case OPT_HELP:
		a->verb = FG_VERB_HELP;
		return 0;
	case OPT_VERSION:
		a->verb = FG_VERB_VERSION;
		return 0;
	default:
		return fg_error_set(err, FG_EUSAGE, "unknown option or missing value");
	}
}

/* What a verb needs and takes beyond --json. */
static int check_verb(const struct fg_args *a, struct fg_error *err)
{
	const struct fg_filter_guest *g = &a->guest;
	bool described = g->n_devs || g->n_servers || g->n_addresses || g->n_gateways || g->dhcp.family ||
			 g->rate_pps || g->routed || g->closed;

	if (a->verb == FG_VERB_HELP || a->verb == FG_VERB_VERSION)
		return 0;
	if (a->batch && (a->verb != FG_VERB_ISOLATE || described || g->uuid[0]))
		return fg_error_set(err, FG_EUSAGE, "--batch goes with isolate alone");
	if (a->verb == FG_VERB_RESTORE)
		return described || g->uuid[0] || a->rename_to || a->direction
			       ? fg_error_set(err, FG_EUSAGE,
					      "restore takes no argument but --mark-dir and --strict-dir")
			       : 0;
	if (a->strict_dir)
		return fg_error_set(err, FG_EUSAGE, "--strict-dir goes with restore alone");
	if ((a->mark_dir || a->rename_to) && a->verb != FG_VERB_ARM)
		return fg_error_set(err, FG_EUSAGE, "--mark-dir and --rename-to go with arm alone");
	if (a->direction != FG_FILTER_BY_SOURCE && a->verb != FG_VERB_SIMULATE)
		return fg_error_set(err, FG_EUSAGE, "--direction goes with simulate alone");
	if (a->verb == FG_VERB_SIMULATE && !a->file)
		return fg_error_set(err, FG_EUSAGE, "no capture is named");
	if (g->closed &&
	    (g->n_servers || g->n_addresses || g->n_gateways || g->dhcp.family || g->rate_pps || g->routed))
		return fg_error_set(err, FG_EUSAGE,
				    "--closed lets nothing pass: no server, address or rate goes with it");
	if (a->verb == FG_VERB_LIST)
		return described || g->uuid[0] ? fg_error_set(err, FG_EUSAGE, "list takes no argument but --json") : 0;
	if (!a->batch && !g->uuid[0])
		return fg_error_set(err, FG_EUSAGE, "--guest is missing");
	if (a->verb == FG_VERB_RELEASE)
		return described ? fg_error_set(err, FG_EUSAGE, "release takes the guest only") : 0;
	if (a->verb == FG_VERB_ARM)
		return g->n_devs != 1 || g->n_servers || g->n_addresses || g->n_gateways || g->routed || g->closed
			       ? fg_error_set(err, FG_EUSAGE, "arm takes one device, all else is in the mark")
			       : 0;
	return a->batch ? 0 : fg_filter_guest_check(g, err);
}

static int find_verb(const char *text, enum fg_args_verb *out)
{
	static const struct {
		const char *text;
		enum fg_args_verb verb;
	} verbs[] = {
#define X(name, word) { word, FG_VERB_##name },
		FG_ARGS_VERBS(X)
#undef X
	};

	for (size_t i = 0; i < FG_COUNT(verbs); i++)
		if (strcmp(verbs[i].text, text) == 0) {
			*out = verbs[i].verb;
			return 0;
		}
	return -1;
}

static int parse_words(int argc, char **argv, struct fg_args *a, struct fg_error *err)
{
	uint8_t last_mac[6] = { 0 };
	int opt, rc = 0;

	if (argc < 2)
		return fg_error_set(err, FG_EUSAGE, "nothing to do: isolate, release, list, verify, simulate, arm");
	if (argv[1][0] != '-' && find_verb(argv[1], &a->verb) < 0)
		return fg_error_set(err, FG_EUSAGE, "'%.40s' is no command", argv[1]);
	if (argv[1][0] == '-' && strcmp(argv[1], "--help") != 0 && strcmp(argv[1], "--version") != 0)
		return fg_error_set(err, FG_EUSAGE, "the command comes first");
	opterr = 0;
	optind = argv[1][0] == '-' ? 1 : 2;
	while (rc == 0 && (opt = getopt_long(argc, argv, "+", options, NULL)) != -1) {
		const char *word = optind > 0 && optind <= argc ? argv[optind - 1] : "";
		rc = take_option(a, opt, optarg, last_mac, err);
		if (rc < 0)
			fg_error_wrap(err, "%.60s", word);
	}
	if (rc < 0)
		return -FG_EUSAGE;
	for (size_t i = 0; i < a->guest.n_devs; i++)
		if (!fg_mac_known(a->guest.devs[i].mac))
			memcpy(a->guest.devs[i].mac, last_mac, 6);
	if (a->verb == FG_VERB_SIMULATE && optind < argc)
		a->file = argv[optind++];
	if (optind < argc)
		return fg_error_set(err, FG_EUSAGE, "'%.40s' is one argument too many", argv[optind]);
	return check_verb(a, err);
}

int fg_args_parse(int argc, char **argv, struct fg_args *out, struct fg_error *err)
{
	memset(out, 0, sizeof(*out));
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], "--json") == 0)
			out->json = true;
	out->guest.devs = fg_calloc(FG_FILTER_DEVS_MAX, sizeof(out->guest.devs[0]));
	out->guest.addresses = fg_calloc(FG_FILTER_ADDRS_MAX, sizeof(out->guest.addresses[0]));
	out->guest.servers = fg_calloc(FG_FILTER_SERVERS_MAX, sizeof(out->guest.servers[0]));
	out->guest.gateways = fg_calloc(FG_FILTER_GATEWAYS_MAX, sizeof(out->guest.gateways[0]));
	int rc = parse_words(argc, argv, out, err);
	if (rc < 0 && err)
		err->code = -rc == FG_ELIMIT ? FG_ELIMIT : FG_EUSAGE;
	return rc;
}

void fg_args_free(struct fg_args *a)
{
	free(a->guest.devs);
	free(a->guest.addresses);
	free(a->guest.servers);
	free(a->guest.gateways);
	memset(a, 0, sizeof(*a));
}
