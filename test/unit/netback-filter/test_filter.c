/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <check.h>
#include <fixgate/filter.h>
#include <lib/util.h>
#include <netback-filter/args.h>
#include <netback-filter/guest_json.h>
#include <netback-filter/rule.h>
#include <netback-filter/ruleset.h>
#include <test/folder.h>

#include <arpa/inet.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define UUID "11111111-1111-4111-8111-111111111111"

static char dir[64];

static void make_dir(void)
{
	memcpy(dir, "/tmp/fg-filter-XXXXXX", 22);
	test_folder_make(dir);
}

static void remove_dir(void)
{
	test_folder_remove(dir);
}

static int parse(struct fg_args *args, struct fg_error *err, const char *const *argv)
{
	int argc = 0;

	while (argv[argc])
		argc++;
	return fg_args_parse(argc, (char **)(uintptr_t)argv, args, err); /* getopt(3) does not write to it */
}
#define PARSE(args, err, ...) parse(args, err, (const char *const[]){ "netback-filter", __VA_ARGS__, NULL })
#define BASE "isolate", "--guest", UUID, "--dev", "vif1.0,vif1.0-emu", "--mac", "02:00:00:00:00:01"

START_TEST(args_full)
{
	struct fg_args a;
	struct fg_error err = FG_ERROR_INIT;

	ck_assert_int_eq(PARSE(&a, &err, BASE, "--ip", "10.0.0.2", "--ip", "2001:db8::2", "--server", "10.0.0.1:443",
			       "--server", "[2001:db8::1]:8443", "--server-mac", "02:00:00:00:00:09", "--gateway",
			       "10.0.0.254", "--gateway-mac", "02:00:00:00:00:fe", "--dhcp", "10.0.0.1", "--rate",
			       "500", "--json"),
			 0);
	ck_assert_int_eq(a.verb, FG_VERB_ISOLATE);
	ck_assert(a.json);
	ck_assert_uint_eq(a.guest.n_devs, 2);
	ck_assert_str_eq(a.guest.devs[1].name, "vif1.0-emu");
	ck_assert_uint_eq(a.guest.devs[1].mac[5], 1);
	ck_assert_uint_eq(a.guest.n_addresses, 2);
	ck_assert_uint_eq(a.guest.n_servers, 2);
	ck_assert_uint_eq(a.guest.servers[1].port, 8443);
	ck_assert_int_eq(a.guest.servers[1].address.family, AF_INET6);
	ck_assert_uint_eq(a.guest.servers[0].mac[5], 9);
	ck_assert_uint_eq(a.guest.gateways[0].mac[5], 0xfe);
	ck_assert_int_eq(a.guest.dhcp.family, AF_INET);
	ck_assert_uint_eq(a.guest.rate_pps, 500);
	fg_args_free(&a);
}
END_TEST

START_TEST(args_each_device_its_mac)
{
	struct fg_args a;

	ck_assert_int_eq(PARSE(&a, NULL, "isolate", "--guest", UUID, "--dev", "vif1.0", "--mac", "02:00:00:00:00:01",
			       "--dev", "vif1.1", "--mac", "02:00:00:00:00:02", "--closed"),
			 0);
	ck_assert_uint_eq(a.guest.devs[0].mac[5], 1);
	ck_assert_uint_eq(a.guest.devs[1].mac[5], 2);
	fg_args_free(&a);
}
END_TEST

#define SRV "--server", "10.0.0.1:443"
static const char *const bad[][16] = {
	{ NULL },
	{ "frobnicate" },
	{ "--json", "list" },
	{ "list", "--guest", UUID },
	{ "list", "more" },
	{ "isolate" },
	{ "isolate", "--guest", "x", "--dev", "v", "--mac", "02:00:00:00:00:01", "--closed" },
	{ BASE },
	{ BASE, "--closed", SRV },
	{ BASE, "--closed", "--rate", "1" },
	{ BASE, "--server", "10.0.0.1" },
	{ BASE, "--server", "10.0.0.1:0" },
	{ BASE, "--server", "10.0.0.1:65536" },
	{ BASE, "--server", "10.0.0.1:443x" },
	{ BASE, "--server", "fix.example:443" },
	{ BASE, "--server", "2001:db8::1:443" },
	{ BASE, "--server", "[10.0.0.1]:443" },
	{ BASE, "--server", "[]:443" },
	{ BASE, "--server", "224.0.0.1:443" },
	{ BASE, "--server", "[ff02::1]:443" },
	{ BASE, "--server", "127.0.0.1:443" },
	{ BASE, SRV, "--ip", "0.0.0.0" },
	{ BASE, SRV, "--ip", "10.0.0.0/8" },
	{ BASE, SRV, "--ip", "10.0.0.1" }, /* the server's */
	{ BASE, SRV, "--gateway", "10.0.0.254", "--ip", "10.0.0.2", "--ip", "10.0.0.254" },
	{ BASE, SRV, "--dhcp", "10.0.0.3", "--ip", "10.0.0.3" },
	{ BASE, "--server", "[2001:db8::1]:443", "--ip", "2001:db8::1" },
	{ BASE, "--server", "[2001:db8::1]:443", "--server-mac", "02:00:00:00:00:09", "--ip", "fe80::ff:fe00:9" },
	{ BASE, SRV, "--rate", "0" },
	{ BASE, SRV, "--rate", "-1" },
	{ BASE, SRV, "--rate", "4294967296" },
	{ BASE, SRV, "--rate" },
	{ BASE, SRV, "--gateway", "10.0.0.2", "--gateway", "10.0.0.3" },
	{ BASE, "--server-mac", "02:00:00:00:00:09", SRV },
	{ BASE, SRV, "--server-mac", "03:00:00:00:00:09" },
	{ BASE, SRV, "--dhcp", "2001:db8::1" },
	{ BASE, "--server", "[2001:db8::1]:443", "--dhcp", "10.0.0.1" },
	{ BASE, SRV, "--unknown" },
	{ BASE, SRV, "trailing" },
	{ BASE, SRV, "--batch", "x" },
	{ "isolate", "--guest", UUID, "--dev", "a,,b", "--mac", "02:00:00:00:00:01", SRV },
	{ "isolate", "--guest", UUID, "--dev", "", "--mac", "02:00:00:00:00:01", SRV },
	{ "isolate", "--guest", UUID, "--dev", "a-name-of-sixteen", "--mac", "02:00:00:00:00:01", SRV },
	{ "isolate", "--guest", UUID, "--dev", "vif1.0", "--mac", "01:00:00:00:00:01", SRV },
	{ "isolate", "--guest", UUID, "--dev", "vif1.0", "--mac", "00:00:00:00:00:00", SRV },
	{ "isolate", "--guest", UUID, "--dev", "vif1.0", SRV },
	{ "release" },
	{ "release", "--guest", UUID, "--dev", "vif1.0" },
	{ "simulate", "x.pcap" },
	{ "simulate", "--guest", UUID, "--dev", "vif1.0", "--mac", "02:00:00:00:00:01", SRV },
	{ "simulate", "--guest", UUID, "--dev", "vif1.0", "--mac", "02:00:00:00:00:01", "x.pcap" },
	{ "simulate", "--guest", UUID, "--dev", "vif1.0", "--mac", "02:00:00:00:00:01", SRV, "x.pcap", "y.pcap" },
	{ "simulate", "--guest", UUID, "--dev", "vif1.0", "--mac", "02:00:00:00:00:01", SRV, "--direction", "up", "x" },
	{ BASE, SRV, "--direction", "to-guest" },
	{ "arm", "--guest", UUID },
	{ "arm", "--guest", UUID, "--dev", "a,b" },
};

START_TEST(args_that_are_refused)
{
	struct fg_args a;
	struct fg_error err = FG_ERROR_INIT;
	const char *argv[20] = { "netback-filter" };

	memcpy(argv + 1, bad[_i], sizeof(bad[0]));
	ck_assert_msg(parse(&a, &err, argv) < 0, "arguments %d were taken", _i);
	ck_assert_int_eq(err.code, FG_EUSAGE);
	ck_assert_uint_gt(strlen(err.text), 0);
	fg_args_free(&a);
}
END_TEST

START_TEST(args_simulate)
{
	struct fg_args a;

	ck_assert_int_eq(PARSE(&a, NULL, "simulate", "--guest", UUID, "--dev", "vif1.0", "--mac", "02:00:00:00:00:01",
			       SRV, "--direction", "to-guest", "--json", "x.pcap"),
			 0);
	ck_assert_int_eq(a.direction, FG_FILTER_TO_GUEST);
	ck_assert_str_eq(a.file, "x.pcap");
	ck_assert(a.json);
	fg_args_free(&a);
}
END_TEST

static void fill(struct fg_args *a)
{
	ck_assert_int_eq(PARSE(a, NULL, BASE, "--ip", "10.0.0.2", "--server", "10.0.0.1:443", "--server-mac",
			       "02:00:00:00:00:09", "--gateway", "10.0.0.254", "--dhcp", "10.0.0.1", "--rate", "77"),
			 0);
}

START_TEST(mark_round_trip)
{
	struct fg_args a;
	struct fg_filter_guest *back;
	struct stat st;
	char path[128];

	fill(&a);
	ck_assert_int_eq(fg_filter_mark_write(dir, &a.guest, NULL), 0);
	ck_assert_int_eq(fg_filter_mark_read(dir, UUID, &back, NULL), 0);
	fg_autojson json_t *before = fg_guest_to_json(&a.guest, false), *after = fg_guest_to_json(back, false);
	ck_assert(json_equal(before, after));
	ck_assert_uint_eq(back->n_devs, 2);
	ck_assert_str_eq(back->devs[0].name, "");
	fg_filter_guest_free(back);
	snprintf(path, sizeof(path), "%s/" UUID ".json", dir);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0600);

	a.guest.closed = true;
	ck_assert_int_eq(fg_filter_mark_write(dir, &a.guest, NULL), 0);
	ck_assert_int_eq(fg_filter_mark_read(dir, UUID, &back, NULL), 0);
	ck_assert(back->closed);
	fg_filter_guest_free(back);

	ck_assert_int_eq(fg_filter_mark_remove(dir, UUID, NULL), 0);
	ck_assert_int_eq(fg_filter_mark_remove(dir, UUID, NULL), 0);
	ck_assert_int_eq(fg_filter_mark_remove("/nonexistent/folder", UUID, NULL), 0);
	ck_assert_int_eq(fg_filter_mark_read(dir, UUID, &back, NULL), -FG_ENOTFOUND);
	fg_args_free(&a);
}
END_TEST

START_TEST(mark_of_a_routed_guest)
{
	struct fg_args a;
	struct fg_filter_guest *back;

	ck_assert_int_eq(PARSE(&a, NULL, BASE, "--server", "10.0.0.1:443", "--gateway", "10.0.0.254", "--routed"), 0);
	ck_assert_int_eq(fg_filter_mark_write(dir, &a.guest, NULL), 0);
	ck_assert_int_eq(fg_filter_mark_read(dir, UUID, &back, NULL), 0);
	ck_assert(back->routed);
	fg_filter_guest_free(back);
	a.guest.gateways[0].mac[5] = 1; /* it has a neighbour of its own then */
	ck_assert_int_eq(fg_filter_mark_write(dir, &a.guest, NULL), -FG_EUSAGE);
	fg_args_free(&a);
}
END_TEST

START_TEST(mark_names_stay_in_their_folder)
{
	struct fg_filter_guest *back;

	ck_assert_int_lt(fg_filter_mark_read(dir, "../../../../../../../../etc/passwd-xx", &back, NULL), 0);
	ck_assert_int_lt(fg_filter_mark_remove(dir, "../x", NULL), 0);
}
END_TEST

#define DEVS "\"devs\":[{\"mac\":\"02:00:00:00:00:01\"}]"
#define HEAD "\"uuid\":\"" UUID "\",\"closed\":false," DEVS ",\"addresses\":[],\"gateways\":[]"
#define SERVER "\"servers\":[{\"address\":\"10.0.0.1\",\"port\":443}]"
static const char *const malformed[] = {
	"",
	"{",
	"[]",
	"{}",
	"{\"uuid\":\"" UUID "\",\"closed\":true}",
	"{\"uuid\":\"" UUID "\",\"closed\":1," DEVS "}",
	"{\"uuid\":\"" UUID "\"," DEVS "}",
	"{\"uuid\":\"22222222-2222-4222-8222-222222222222\",\"closed\":true," DEVS "}",
	"{\"uuid\":\"" UUID "\",\"closed\":true,\"devs\":[{\"mac\":\"x\"}]}",
	"{\"uuid\":\"" UUID "\",\"closed\":true,\"devs\":[{}]}",
	"{\"uuid\":\"" UUID "\",\"closed\":true,\"devs\":[1]}",
	"{\"uuid\":\"" UUID "\",\"closed\":true,\"devs\":[{\"mac\":\"02:00:00:00:00:01\",\"name\":\"eth0\"}]}",
	"{" HEAD "}",
	"{" HEAD ",\"servers\":[]}",
	"{" HEAD ",\"servers\":[{\"address\":\"10.0.0.1\"}]}",
	"{" HEAD ",\"servers\":[{\"address\":\"10.0.0.1\",\"port\":0}]}",
	"{" HEAD ",\"servers\":[{\"address\":\"10.0.0.1\",\"port\":65536}]}",
	"{" HEAD ",\"servers\":[{\"address\":\"10.0.0\",\"port\":443}]}",
	"{" HEAD ",\"servers\":[{\"address\":\"10.0.0.1\",\"port\":443,\"ports\":[1]}]}",
	"{" HEAD "," SERVER ",\"rate\":-1}",
	"{" HEAD "," SERVER ",\"rate\":0}",
	"{" HEAD "," SERVER ",\"dhcp\":\"x\"}",
	"{\"uuid\":\"" UUID "\",\"closed\":false," DEVS ",\"addresses\":[\"10.0.0.1\"],\"gateways\":[]," SERVER "}",
	"{" HEAD "," SERVER ",\"allow\":\"all\"}",
	"{" HEAD "," SERVER "} x",
	"{" HEAD "," SERVER "," SERVER "}",
};

START_TEST(mark_malformed)
{
	struct fg_filter_guest *back = (void *)dir;
	struct fg_error err = FG_ERROR_INIT;
	char path[128];

	snprintf(path, sizeof(path), "%s/" UUID ".json", dir);
	ck_assert_int_eq(fg_file_write_durable(path, malformed[_i], strlen(malformed[_i]), 0600, NULL), 0);
	ck_assert_int_eq(fg_filter_mark_read(dir, UUID, &back, &err), -FG_EFORMAT);
	ck_assert_int_eq(err.code, FG_EFORMAT);
	ck_assert_ptr_eq(back, (void *)dir);
}
END_TEST

START_TEST(mark_well_formed_counterpart)
{
	static const char good[] = "{" HEAD "," SERVER "}";
	struct fg_filter_guest *back;
	char path[128];

	snprintf(path, sizeof(path), "%s/" UUID ".json", dir);
	ck_assert_int_eq(fg_file_write_durable(path, good, strlen(good), 0600, NULL), 0);
	ck_assert_int_eq(fg_filter_mark_read(dir, UUID, &back, NULL), 0);
	fg_filter_guest_free(back);
}
END_TEST

START_TEST(servers_as_text)
{
	struct fg_filter_server s;
	struct fg_ip ip;
	char text[FG_IP_TEXT];

	ck_assert_int_eq(fg_server_parse("[2001:DB8::1]:65535", &s, NULL), 0);
	ck_assert_uint_eq(s.port, 65535);
	fg_ip_format(&s.address, text);
	ck_assert_str_eq(text, "2001:db8::1");
	ck_assert_int_eq(fg_ip_parse("10.0.0.1 ", &ip, NULL), -FG_EFORMAT);
	ck_assert_int_eq(fg_ip_parse("010.0.0.1", &ip, NULL), -FG_EFORMAT);
	ck_assert_int_eq(fg_ip_parse("", &ip, NULL), -FG_EFORMAT);
}
END_TEST

START_TEST(closed_means_closed)
{
	struct fg_args a;
	struct fg_ruleset set;

	fill(&a);
	a.guest.closed = true;
	fg_ruleset_build(&a.guest, a.guest.devs[0].mac, 7, &set);
	for (int d = 0; d < FG_DIR_COUNT; d++)
		for (int c = 0; c < FG_CHAIN_COUNT; c++)
			for (size_t i = 0; i < set.chains[d][c].n; i++) {
				const struct fg_rule *r = &set.chains[d][c].rules[i];
				ck_assert_int_eq(c, FG_CHAIN_BASE);
				/* what is accepted is on another netdev */
				ck_assert(r->verdict == FG_VERDICT_DROP ||
					  (r->n_match == 1 && r->match[0].source == FG_SRC_IFINDEX &&
					   r->match[0].cmp == FG_CMP_NEQ));
			}
	fg_ruleset_free(&set);
	fg_args_free(&a);
}
END_TEST

/* A chain goes only to later ones and, but for the first rule of a hook, only the last chain (and DHCP) accepts. */
START_TEST(chains_lead_forward)
{
	struct fg_args a;
	struct fg_ruleset set;

	fill(&a);
	fg_ruleset_build(&a.guest, a.guest.devs[0].mac, 7, &set);
	for (int d = 0; d < FG_DIR_COUNT; d++)
		for (int c = 0; c < FG_CHAIN_COUNT; c++) {
			const struct fg_chain *chain = &set.chains[d][c];
			for (size_t i = 0; i < chain->n; i++) {
				const struct fg_rule *r = &chain->rules[i];
				if (r->verdict == FG_VERDICT_GOTO)
					ck_assert_int_gt(r->to, c);
				else if (r->verdict == FG_VERDICT_ACCEPT)
					ck_assert(c == FG_CHAIN_OK || r->match[0].source == FG_SRC_IFINDEX ||
						  strcmp(r->reason, "pass-dhcp") == 0);
			}
			if (chain->n) { /* ends with a drop of all that is left */
				ck_assert_int_eq(chain->rules[chain->n - 1].verdict, FG_VERDICT_DROP);
				ck_assert_uint_eq(chain->rules[chain->n - 1].n_match, 0);
			}
		}
	fg_ruleset_free(&set);
	fg_args_free(&a);
}
END_TEST

/* Two loads where one will do cost each isolate and each frame.  Nothing that is compared in another way is drawn in. */
START_TEST(neighbouring_fields_are_one_match)
{
	struct fg_args a;
	struct fg_ruleset set;
	size_t joined = 0;

	fill(&a);
	fg_ruleset_build(&a.guest, a.guest.devs[0].mac, 7, &set);
	for (int d = 0; d < FG_DIR_COUNT; d++)
		for (int c = 0; c < FG_CHAIN_COUNT; c++)
			for (size_t i = 0; i < set.chains[d][c].n; i++) {
				const struct fg_rule *r = &set.chains[d][c].rules[i];
				for (size_t m = 0; m < r->n_match; m++) {
					const struct fg_match *x = &r->match[m];
					ck_assert_uint_le(x->len, x->masked ? sizeof(x->mask) : sizeof(x->value));
					joined += c == FG_CHAIN_ARP && x->offset == 0 && x->len >= 8;
					if (x->cmp != FG_CMP_EQ || x->masked || x->source != FG_SRC_NET || m == 0)
						continue;
					const struct fg_match *y = &r->match[m - 1];
					ck_assert(y->cmp != FG_CMP_EQ || y->masked || y->source != FG_SRC_NET ||
						  y->offset + y->len != x->offset ||
						  y->len + x->len > (int)sizeof(x->value));
				}
			}
	ck_assert_uint_gt(joined, 4);
	fg_ruleset_free(&set);
	fg_args_free(&a);
}
END_TEST

/* Joined with its neighbour a mask of one byte would count for two, and for none of the second. */
START_TEST(a_mask_is_a_match_of_its_own)
{
	struct fg_ruleset set = { 0 };
	struct fg_rule *r = fg_rule_bare(&set, FG_DIR_FROM_GUEST, FG_CHAIN_IP4);

	fg_is8(r, FG_SRC_NET, 9, 6);
	fg_bits8(r, FG_SRC_NET, FG_CMP_EQ, 10, 0xf0, 0x40);
	fg_is8(r, FG_SRC_NET, 11, 7);
	ck_assert_uint_eq(r->n_match, 3);
	ck_assert(!r->match[0].masked && r->match[1].masked && !r->match[2].masked);
	ck_assert(r->match[1].len == 1 && r->match[1].mask[0] == 0xf0 && r->match[1].value[0] == 0x40);
	fg_ruleset_free(&set);
}
END_TEST

/* The kernel's idea of where an IPv6 transport header is can be the sender's: see ruleset_ip6.c. */
START_TEST(ip6_rules_use_no_transport_header)
{
	struct fg_args a;
	struct fg_ruleset set;
	size_t looked_at = 0;

	ck_assert_int_eq(PARSE(&a, NULL, BASE, "--server", "[2001:db8::1]:443", "--gateway", "2001:db8::fe"), 0);
	fg_ruleset_build(&a.guest, a.guest.devs[0].mac, 7, &set);
	for (int d = 0; d < FG_DIR_COUNT; d++)
		for (int c = 0; c < FG_CHAIN_COUNT; c++)
			for (size_t i = 0; i < set.chains[d][c].n; i++)
				for (size_t m = 0; m < set.chains[d][c].rules[i].n_match; m++, looked_at++)
					ck_assert_int_ne(set.chains[d][c].rules[i].match[m].source, FG_SRC_TRANSPORT);
	ck_assert_uint_gt(looked_at, 50);
	fg_ruleset_free(&set);
	fg_args_free(&a);
}
END_TEST

/* What was dropped must be tellable: each reason that docs/filter.md lists is counted somewhere. */
START_TEST(reasons)
{
	static const char *const wanted[] = {
		"vlan",	     "ethertype",	  "spoofed-mac",     "wrong-mac",	 "mac-unknown",
		"arp",	     "spoofed-arp",	  "ip-options",	     "fragment",	 "length",
		"protocol",  "wrong-port",	  "wrong-address",   "extension-header", "icmpv6",
		"neighbour", "spoofed-neighbour", "spoofed-address", "not-the-guest",	 "rate",
		"pass-tcp",  "pass-arp",	  "pass-neighbour",  "pass-dhcp"
	};
	bool seen[FG_COUNT(wanted)] = { false };
	struct fg_args a;
	struct fg_ruleset set;

	ck_assert_int_eq(PARSE(&a, NULL, BASE, "--ip", "10.0.0.2", "--server", "10.0.0.1:443", "--server-mac",
			       "02:00:00:00:00:09", "--server", "[2001:db8::1]:443", "--dhcp", "10.0.0.1"),
			 0);
	fg_ruleset_build(&a.guest, a.guest.devs[0].mac, 7, &set);
	for (int d = 0; d < FG_DIR_COUNT; d++)
		for (int c = 0; c < FG_CHAIN_COUNT; c++)
			for (size_t i = 0; i < set.chains[d][c].n; i++) {
				const struct fg_rule *r = &set.chains[d][c].rules[i];
				size_t k = 0;
				if (r->verdict == FG_VERDICT_GOTO || r->match[0].source == FG_SRC_IFINDEX)
					continue;
				while (k < FG_COUNT(wanted) && strcmp(wanted[k], r->reason) != 0)
					k++;
				if (k < FG_COUNT(wanted))
					seen[k] = true;
				else
					ck_abort_msg("'%s' is a new reason", r->reason);
			}
	for (size_t k = 0; k < FG_COUNT(wanted); k++)
		ck_assert_msg(seen[k], "nothing is counted as '%s'", wanted[k]);
	fg_ruleset_free(&set);
	fg_args_free(&a);
}
END_TEST

START_TEST(chain_names)
{
	char name[FG_CHAIN_NAME_MAX];

	fg_chain_name(name, FG_DIR_FROM_GUEST, "vif1.0-emu", 7, FG_CHAIN_ARP);
	ck_assert_str_eq(name, "in-vif1.0-emu-7-arp");
	fg_chain_name(name, FG_DIR_TO_GUEST, "a{b};\"c", 4294967295U, FG_CHAIN_BASE);
	ck_assert_str_eq(name, "out-a_b___c-4294967295");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("netback-filter");
	TCase *t = tcase_create("arguments");

	tcase_add_test(t, args_full);
	tcase_add_test(t, args_each_device_its_mac);
	tcase_add_test(t, args_simulate);
	tcase_add_loop_test(t, args_that_are_refused, 0, (int)FG_COUNT(bad));
	tcase_add_test(t, servers_as_text);
	suite_add_tcase(s, t);
	t = tcase_create("marks");
	tcase_add_checked_fixture(t, make_dir, remove_dir);
	tcase_add_test(t, mark_round_trip);
	tcase_add_test(t, mark_of_a_routed_guest);
	tcase_add_test(t, mark_names_stay_in_their_folder);
	tcase_add_loop_test(t, mark_malformed, 0, (int)FG_COUNT(malformed));
	tcase_add_test(t, mark_well_formed_counterpart);
	suite_add_tcase(s, t);
	t = tcase_create("rules");
	tcase_add_test(t, closed_means_closed);
	tcase_add_test(t, chains_lead_forward);
	tcase_add_test(t, neighbouring_fields_are_one_match);
	tcase_add_test(t, a_mask_is_a_match_of_its_own);
	tcase_add_test(t, neighbouring_fields_are_one_match);
	tcase_add_test(t, a_mask_is_a_match_of_its_own);
	tcase_add_test(t, ip6_rules_use_no_transport_header);
	tcase_add_test(t, reasons);
	tcase_add_test(t, chain_names);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
