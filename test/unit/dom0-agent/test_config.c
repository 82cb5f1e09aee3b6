/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <arpa/inet.h>
#include <check.h>
#include <dom0-agent/config.h>
#include <lib/util.h>
#include <string.h>
#include <unistd.h>

static char path[] = "/tmp/fg-test-config-XXXXXX";

static int load(const char *text, struct fg_agent_config **out, struct fg_error *err)
{
	fg_error_clear(err);
	ck_assert_int_eq(fg_file_write_durable(path, text, strlen(text), 0600, NULL), 0);
	return fg_agent_config_load(path, out, err);
}

START_TEST(defaults_stand_where_nothing_is_said)
{
	struct fg_agent_config *c = NULL;
	struct fg_error err = FG_ERROR_INIT;

	ck_assert_int_eq(load("[server]\naddress = 10.99.0.2\n", &c, &err), 0);
	ck_assert_int_eq(c->server_address.family, AF_INET);
	ck_assert_uint_eq(c->server_port, 8443);
	ck_assert_str_eq(c->state_dir, "/var/lib/fixgate");
	ck_assert_str_eq(c->layer_dir, "/var/lib/fixgate/layers");
	ck_assert_str_eq(c->libvirt_uri, "xen:///system");
	ck_assert(c->xl && c->inspect);
	ck_assert(!c->release_after_health && !c->release_on_failure && !c->release_on_health_failure);
	ck_assert_uint_eq(c->download_s, 3600);
	ck_assert_uint_eq(c->n_networks, 0);
	fg_agent_config_free(c);
}
END_TEST

START_TEST(every_kind_of_key_is_read)
{
	struct fg_agent_config *c = NULL;
	struct fg_error err = FG_ERROR_INIT;
	char text[64];

	ck_assert_int_eq(load("# a comment\n[server]\naddress = fd00::2 ; inline\nport=443\nca = /a/ca.pem\n\n"
			      "[agent]\nstate_dir = /srv/fg\n[toolstack]\nxl = no\nlibvirt =\n"
			      "[policy]\nrelease = after-health\non_failure = release\ninspect = no\n"
			      "[network xenbr0]\nprefix = 24\ngateway = 10.99.0.1\n"
			      "[network br1]\ngateway6 = fd00::1\nprefix6 = 64\n",
			      &c, &err),
			 0);
	ck_assert_str_eq(inet_ntop(AF_INET6, &c->server_address.v6, text, sizeof(text)), "fd00::2");
	ck_assert_uint_eq(c->server_port, 443);
	ck_assert_str_eq(c->layer_dir, "/srv/fg/layers");
	ck_assert(!c->xl && !c->inspect && c->release_after_health && c->release_on_failure);
	ck_assert_ptr_null(c->libvirt_uri);
	ck_assert_uint_eq(c->n_networks, 2);
	ck_assert_str_eq(c->networks[0].bridge, "xenbr0");
	ck_assert_uint_eq(c->networks[0].prefix, 24);
	ck_assert_int_eq(c->networks[0].gateway.family, AF_INET);
	ck_assert_int_eq(c->networks[0].gateway6.family, 0);
	ck_assert_uint_eq(c->networks[1].prefix6, 64);
	fg_agent_config_free(c);
}
END_TEST

#define SERVER "[server]\naddress = 10.0.0.1\n"
static const struct {
	const char *text, *says;
	int code;
} wrong[] = {
	{ "", "[server] address is missing", FG_EUSAGE },
	{ "[server]\naddress = fix.example.org\n", "line 2: [server] address: 'fix.example.org' is no IP", FG_EUSAGE },
	{ SERVER "port = 0\n", "line 3: [server] port: 0 is not between", FG_EUSAGE },
	{ SERVER "port = 65536\n", "line 3: [server] port: 65536 is not between", FG_EUSAGE },
	{ SERVER "port = +80\n", "line 3: [server] port: '+80' is no number", FG_EUSAGE },
	{ SERVER "port = 80x\n", "is no number", FG_EUSAGE },
	{ SERVER "port = 99999999999999999999\n", "is no number", FG_EUSAGE },
	{ SERVER "ca = ca.pem\n", "line 3: [server] ca: 'ca.pem' is no absolute path", FG_EUSAGE },
	{ SERVER "certificate = /x\n", "line 3: [server] certificate: unknown key", FG_EUSAGE },
	{ SERVER "address = 10.0.0.2\n", "line 3: [server] address: given twice", FG_EUSAGE },
	{ SERVER "\n[sever]\n", "line 4: [sever]: unknown section", FG_EUSAGE },
	{ "port = 1\n", "line 1: [] port: unknown section", FG_EUSAGE },
	{ SERVER "[policy]\nrelease = yes\n", "line 4: [policy] release: 'yes' is neither", FG_EUSAGE },
	{ SERVER "[toolstack]\nxl = maybe\n", "line 4: [toolstack] xl: 'maybe' is neither 'no' nor 'yes'", FG_EUSAGE },
	{ SERVER "[agent]\nuser =\n", "line 4: [agent] user: it is empty", FG_EUSAGE },
	{ SERVER "[network xenbr0]\nprefix = 33\n", "line 4: [network xenbr0] prefix: 33", FG_EUSAGE },
	{ SERVER "[network xenbr0]\ngateway = fd00::1\n", "other address family", FG_EUSAGE },
	{ SERVER "[network a-name-that-is-too-long]\n", "line 3: [network a-name", FG_EUSAGE },
	{ SERVER "[network b]\nprefix = 8\nprefix = 8\n", "line 5: [network b] prefix: given twice", FG_EUSAGE },
	{ SERVER "[network b]\ndns = 1.1.1.1\n", "line 4: [network b] dns: unknown key", FG_EUSAGE },
	{ SERVER "what is this\n", "line 3: neither [section] nor key = value", FG_EUSAGE },
	{ SERVER "[open\n", "line 3: neither", FG_EUSAGE },
};

START_TEST(mistakes_name_file_and_line)
{
	struct fg_agent_config *c = NULL;
	struct fg_error err = FG_ERROR_INIT;

	ck_assert_int_eq(load(wrong[_i].text, &c, &err), -wrong[_i].code);
	ck_assert_ptr_null(c);
	ck_assert_msg(strstr(err.text, wrong[_i].says), "'%s' is not in '%s'", wrong[_i].says, err.text);
	ck_assert_msg(strncmp(err.text, path, strlen(path)) == 0, "%s", err.text);
	ck_assert_int_eq(fg_agent_config_load(path, &c, NULL), -wrong[_i].code);
}
END_TEST

START_TEST(long_lines_are_taken_or_refused_never_cut)
{
	struct fg_agent_config *c = NULL;
	struct fg_error err = FG_ERROR_INIT;
	char name[4096], *text;

	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	text = fg_asprintf(SERVER "ca = /%s\n", name);
	ck_assert_int_eq(load(text, &c, &err), 0);
	ck_assert_uint_eq(strlen(c->server_ca), sizeof(name));
	fg_agent_config_free(c);
	free(text);

	c = NULL;
	text = fg_asprintf(SERVER "ca = /%s%s\n", name, name);
	ck_assert_int_eq(load(text, &c, &err), -FG_ELIMIT);
	ck_assert_ptr_nonnull(strstr(err.text, "line 3: longer than"));
	ck_assert_ptr_null(c);
	free(text);
}
END_TEST

START_TEST(a_missing_file_is_not_found)
{
	struct fg_agent_config *c = NULL;
	struct fg_error err = FG_ERROR_INIT;

	ck_assert_int_eq(fg_agent_config_load("/nonexistent/agent.conf", &c, &err), -FG_ENOTFOUND);
	ck_assert_str_eq(err.text, "/nonexistent/agent.conf: open: No such file or directory");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("config");
	TCase *t = tcase_create("config");
	int fd = mkstemp(path), failed;

	if (fd < 0)
		return 1;
	close(fd);
	tcase_add_test(t, defaults_stand_where_nothing_is_said);
	tcase_add_test(t, every_kind_of_key_is_read);
	tcase_add_loop_test(t, mistakes_name_file_and_line, 0, (int)FG_COUNT(wrong));
	tcase_add_test(t, long_lines_are_taken_or_refused_never_cut);
	tcase_add_test(t, a_missing_file_is_not_found);
	suite_add_tcase(s, t);

	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	unlink(path);
	return failed ? 1 : 0;
}
