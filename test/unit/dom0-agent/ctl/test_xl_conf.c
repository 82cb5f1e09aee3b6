/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <dom0-agent/ctl/xl_conf.h>

#include <lib/util.h>

#include <check.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/fg-xl-conf-XXXXXX";
static char *conf, *script;

static void setup(void)
{
	ck_assert_ptr_nonnull(mkdtemp(dir));
	conf = fg_asprintf("%s/xl.conf", dir);
	script = fg_asprintf("%s/vif-fixgate", dir);
}

static void teardown(void)
{
	unlink(conf);
	unlink(script);
	ck_assert_int_eq(rmdir(dir), 0);
	free(conf);
	free(script);
}

static void write_file(const char *path, const char *text, mode_t mode)
{
	FILE *f = fopen(path, "w");

	ck_assert_ptr_nonnull(f);
	ck_assert_int_ge(fputs(text, f), 0);
	ck_assert_int_eq(fclose(f), 0);
	ck_assert_int_eq(chmod(path, mode), 0);
}

static bool check_with(const char *text, const char *says)
{
	fg_autofree char *said = NULL;

	if (text)
		write_file(conf, text, 0644);
	bool ok = fg_xl_conf_check(conf, dir, &said);
	ck_assert_msg(strstr(said, says) != NULL, "'%s' is not in: %s", says, said);
	return ok;
}

START_TEST(is_set)
{
	static const char *const lines[] = {
		"vif.default.script=\"vif-fixgate\"\n",
		"vif.default.script=\"vif-fixgate\"",
		"autoballoon=0\n\n  vif.default.script = 'vif-fixgate' # ours\r\nclaim_mode=1\n",
		"vif.default.script=\"vif-bridge\"\nvif.default.script=\"vif-fixgate\"\n",
	};

	write_file(script, "#!/bin/sh\n", 0755);
	for (size_t i = 0; i < FG_COUNT(lines); i++)
		ck_assert_msg(check_with(lines[i], "vif-fixgate"), "%s", lines[i]);
	fg_autofree char *path = fg_asprintf("vif.default.script=\"%s\"\n", script);
	ck_assert(check_with(path, script));
}
END_TEST

START_TEST(is_not_set)
{
	static const struct {
		const char *text, *says;
	} cases[] = {
		{ NULL, "(not set)" },
		{ "", "(not set)" },
		{ "#vif.default.script=\"vif-fixgate\"\n", "(not set)" },
		{ "# vif.default.script=\"vif-fixgate\"\n", "(not set)" },
		{ "vif.default.script.x=\"vif-fixgate\"\n", "(not set)" },
		{ "vif.default.bridge=\"vif-fixgate\"\n", "(not set)" },
		{ "vif.default.script=vif-fixgate\n", "(not set)" },
		{ "vif.default.script=\"vif-fixgate\n", "(not set)" },
		{ "vif.default.script=\"vif-bridge\"\n", "(vif-bridge)" },
		{ "vif.default.script=\"not-vif-fixgate\"\n", "(not-vif-fixgate)" },
		{ "vif.default.script=\"vif-fixgate\"\nvif.default.script=\"vif-bridge\"\n", "(vif-bridge)" },
	};

	write_file(script, "#!/bin/sh\n", 0755);
	for (size_t i = 0; i < FG_COUNT(cases); i++) {
		ck_assert_msg(!check_with(cases[i].text, cases[i].says), "%s", cases[i].text);
		ck_assert(!check_with(cases[i].text, "set vif.default.script=\"vif-fixgate\" in /"));
	}
}
END_TEST

START_TEST(cannot_be_run)
{
	ck_assert(!check_with("vif.default.script=\"vif-fixgate\"\n", "cannot be run"));
	write_file(script, "#!/bin/sh\n", 0644);
	ck_assert(!check_with("vif.default.script=\"vif-fixgate\"\n", "cannot be run"));
	unlink(conf);
	ck_assert_int_eq(symlink("xl.conf", conf), 0);
	ck_assert(!check_with(NULL, "symbolic links"));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("xl_conf");
	TCase *t = tcase_create("xl_conf");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, is_set);
	tcase_add_test(t, is_not_set);
	tcase_add_test(t, cannot_be_run);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
