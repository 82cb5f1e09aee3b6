/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Finding the process that xl left to look after a domain, in a made-up /proc. */
#include "dom0-agent/toolstack/xl_daemon.h"
#include "lib/util.h"
#include "test/folder.h"

#include <check.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WEB1 "f19a0000-0000-4000-8000-000000000011"
#define WEB2 "f19a0000-0000-4000-8000-000000000012"
#define XL "/usr/lib/xen-4.17/bin/xl"

static char root[] = "/tmp/test-xl-daemon-XXXXXX";

static void put(const char *pid, const char *name, const char *data, size_t len)
{
	fg_autofree char *path = fg_asprintf("%s/%s/%s", root, pid, name);
	fg_autofclose FILE *f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(fwrite(data, 1, len, f), len);
}

static void process(const char *pid, const char *exe, const char *cmdline, size_t len, const char *log)
{
	fg_autofree char *fd = fg_asprintf("%s/%s/fd", root, pid), *link = fg_asprintf("%s/%s/exe", root, pid);
	fg_autofree char *stat =
		fg_asprintf("%s (xl (x) create) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20", pid);

	ck_assert_int_eq(fg_mkdir_p(fd, 0755, NULL), 0);
	ck_assert_int_eq(symlink(exe, link), 0);
	put(pid, "cmdline", cmdline, len);
	put(pid, "stat", stat, strlen(stat));
	if (log)
		put(pid, "fd/1", log, strlen(log));
}
#define PROCESS(pid, exe, cmdline, log) process(pid, exe, cmdline, sizeof(cmdline), log)

static void setup(void)
{
	test_folder_make(root);
}

static void teardown(void)
{
	test_folder_remove(root);
}

START_TEST(daemon_is_found_by_the_domain_it_waits_for)
{
	struct fg_xl_daemon d;
	struct fg_error err = FG_ERROR_INIT;

	PROCESS("100", XL, XL "\0create\0/etc/xen/web1.cfg", "Waiting for domain web1 (domid 1) to die [pid 100]\n");
	PROCESS("101", XL " (deleted)", "xl\0create\0-p\0/etc/xen/web2.cfg\0memory=512\0uuid=\"x\"",
		"Waiting for domain web2 (domid 2) to die [pid 101]\nDomain 2 has shut down, reason code 1 0x1\n"
		"Done. Rebooting now\nWaiting for domain web2 (domid 7) to die [pid 101]\n");
	ck_assert_int_eq(fg_xl_daemon_find(root, 7, WEB1, &d, &err), 0);
	ck_assert_int_eq(d.pid, 101);
	ck_assert_uint_eq(d.start_ticks, 4242);
	ck_assert_str_eq(d.file, "/etc/xen/web2.cfg");
	ck_assert_str_eq(d.args[0], "memory=512");
	ck_assert_str_eq(d.args[1], "uuid=\"x\"");
	ck_assert_ptr_null(d.args[2]);
	fg_xl_daemon_release(&d);
	/* its former life */
	ck_assert_int_eq(fg_xl_daemon_find(root, 2, WEB1, &d, NULL), -FG_ENOTFOUND);
	ck_assert_int_eq(fg_xl_daemon_find(root, 1, WEB1, &d, NULL), 0);
	fg_xl_daemon_release(&d);
}
END_TEST

static enum fg_told serves(const struct fg_xl_daemon *daemon, void *arg)
{
	return fg_xl_daemon_serves(daemon, arg);
}

#define UUID "f19a0000-0000-4000-8000-000000000011"
#define OTHER_UUID "f19a0000-0000-4000-8000-000000000012"

/* Between destroying and making anew there is no domain; the process is known by what it was started with and says. */
START_TEST(daemon_of_a_guest_that_reboots)
{
	static const char log[] =
		"Waiting for domain web1 (domid 5) to die [pid 100]\n"
		"Domain 5 has shut down, reason code 1 0x1\nAction for shutdown reason code 1 is restart\n"
		"Domain 5 needs to be cleaned up: destroying the domain\nDone. Rebooting now\n";
	static const struct fg_xl_known its[] = {
		{ .uuid = UUID, .domid = 5 }, /* its last life */
		{ .uuid = UUID, .name = "web1", .domid = 3 }, /* the life before that */
		{ .uuid = UUID, .file = "/etc/xen/web1.cfg" },
	};
	static const struct fg_xl_known others[] = {
		{ .uuid = UUID, .name = "web11", .file = "/etc/xen/web11.cfg", .domid = 6 },
		{ .uuid = UUID, .name = "", .file = "/etc/xen/b1.cfg" },
		{ .uuid = UUID },
	};
	struct fg_xl_daemon d;

	PROCESS("99", XL, XL "\0create\0/etc/xen/db1.cfg", "Waiting for domain db1 (domid 2) to die [pid 99]\n");
	PROCESS("100", XL, XL "\0create\0web1.cfg", log);
	for (size_t i = 0; i < FG_COUNT(its); i++) {
		ck_assert_int_eq(fg_xl_daemon_find_by(root, serves, (void *)&its[i], &d, NULL), 0);
		ck_assert_int_eq(d.pid, 100);
		ck_assert_uint_eq(d.domid, 5);
		ck_assert_str_eq(d.name, "web1");
		fg_xl_daemon_release(&d);
	}
	for (size_t i = 0; i < FG_COUNT(others); i++)
		ck_assert_int_eq(fg_xl_daemon_find_by(root, serves, (void *)&others[i], &d, NULL), -FG_ENOTFOUND);
	ck_assert_int_eq(fg_xl_daemon_find_by("/nowhere", serves, (void *)&its[0], &d, NULL), -FG_EUNREACHABLE);
}
END_TEST

START_TEST(pinned_uuid_decides)
{
	static const struct {
		const char *arg;
		bool its;
	} cases[] = {
		{ "uuid=\"" UUID "\"", true }, { "uuid = 'F19A0000-0000-4000-8000-000000000011'", true },
		{ "uuid=" UUID ";", true },    { "uuid=\"" OTHER_UUID "\"", false },
		{ "uuid=\"no uuid\"", true },  { "uuidx=\"" OTHER_UUID "\"", true },
		{ "memory=512", true },
	};
	struct fg_xl_known guest = { .uuid = UUID, .name = "web1", .domid = 7 };

	for (size_t i = 0; i < FG_COUNT(cases); i++) {
		char *args[] = { (char *)cases[i].arg, NULL };
		struct fg_xl_daemon d = { .domid = 5, .name = (char *)"web1", .args = args };
		ck_assert_msg((fg_xl_daemon_serves(&d, &guest) == FG_TOLD_YES) == cases[i].its, "%s", cases[i].arg);
		d.name = (char *)"renamed";
		ck_assert_msg((fg_xl_daemon_serves(&d, &guest) == FG_TOLD_YES) == (i < 3), "%s", cases[i].arg);
		d.domid = 7; /* of before dom0 was booted */
		ck_assert_msg((fg_xl_daemon_serves(&d, &guest) == FG_TOLD_YES) == (i < 3), "%s", cases[i].arg);
		d.name = NULL;
		ck_assert_msg((fg_xl_daemon_serves(&d, &guest) == FG_TOLD_YES) == cases[i].its, "%s", cases[i].arg);
	}
}
END_TEST

START_TEST(others_are_not_taken_for_it)
{
	struct fg_xl_daemon d;
	static const char log[] = "Waiting for domain a (domid 3) to die [pid 200]\n";

	PROCESS("200", "/usr/bin/cat", "xl\0create\0/etc/xen/a.cfg", log); /* not xl */
	PROCESS("201", XL, "xl\0console\0a", log); /* not one that made a domain; another pid's line */
	PROCESS("202", XL, "xl\0create\0-qn\0/etc/xen/a.cfg", NULL); /* a dry run */
	PROCESS("205", XL, "", log);
	ck_assert_int_eq(fg_xl_daemon_find(root, 3, WEB1, &d, NULL), -FG_ENOTFOUND);
	ck_assert_int_eq(fg_xl_daemon_find("/nowhere", 3, WEB1, &d, NULL), -FG_EUNREACHABLE);
}
END_TEST

/* Its log says nothing of the domain: what it pins tells, or nothing does. */
static const struct {
	const char *log, *args;
	int rc;
} silent[] = {
	{ NULL, "", -FG_EUNREACHABLE }, /* no file descriptor to read */
	{ "", "", -FG_EUNREACHABLE }, /* truncated */
	{ "Waiting for domain a (domid 0) to die [pid 202]\n", "", -FG_EUNREACHABLE }, /* no domain of xl's */
	{ "Waiting for domain a (domid 3) to die [pid 200]\n", "", -FG_EUNREACHABLE }, /* the line of another pid */
	{ "", "uuid=\"" WEB1 "\"", 0 },
	{ "", "uuid='" WEB1 "'", 0 },
	{ NULL, "uuid=" WEB1, 0 },
	{ "", "uuid=\"" WEB2 "\"", -FG_ENOTFOUND },
	{ "", "uuid=\"x\"", -FG_EUNREACHABLE },
	{ "Waiting for domain a (domid 9) to die [pid 202]\n", "uuid=\"" WEB1 "\"", -FG_ENOTFOUND }, /* a former life */
};

static void silent_process(const char *pid, const char *file, const char *args, const char *log)
{
	char cmdline[512];
	int n = snprintf(cmdline, sizeof(cmdline), "xl%ccreate%c%s%c%s", 0, 0, file, 0, args);

	process(pid, XL, cmdline, (size_t)n + (*args ? 1 : 0), log);
}

START_TEST(silent_log)
{
	struct fg_xl_daemon d;
	struct fg_error err = FG_ERROR_INIT;

	silent_process("202", "/nowhere/a.cfg", silent[_i].args, silent[_i].log);
	int rc = fg_xl_daemon_find(root, 3, WEB1, &d, &err);
	ck_assert_msg(rc == silent[_i].rc, "%d: %s", rc, err.text);
	if (rc == 0)
		fg_xl_daemon_release(&d);
	/* Another that says it is the one: the silent one is no matter. */
	PROCESS("203", XL, "xl\0create\0a.cfg", "Waiting for domain a (domid 3) to die [pid 203]\n");
	ck_assert_int_eq(fg_xl_daemon_find(root, 3, WEB1, &d, NULL), 0);
	ck_assert_int_eq(d.pid, 203);
	fg_xl_daemon_release(&d);
}
END_TEST

START_TEST(config_file_tells_whose_a_silent_process_is)
{
	struct fg_xl_daemon d;
	fg_autofree char *one = fg_asprintf("%s/one.cfg", root), *two = fg_asprintf("%s/two.cfg", root);

	ck_assert_int_eq(fg_file_write_durable(one, "uuid = '" WEB1 "'\n", 46, 0600, NULL), 0);
	ck_assert_int_eq(fg_file_write_durable(two, "uuid = '" WEB2 "'\n", 46, 0600, NULL), 0);
	silent_process("300", two, "", NULL);
	ck_assert_int_eq(fg_xl_daemon_find(root, 3, WEB1, &d, NULL), -FG_ENOTFOUND);
	silent_process("301", one, "", NULL);
	ck_assert_int_eq(fg_xl_daemon_find(root, 3, WEB1, &d, NULL), 0);
	ck_assert_int_eq(d.pid, 301);
	fg_xl_daemon_release(&d);
}
END_TEST

START_TEST(line_far_back_in_a_log)
{
	static const char line[] = "Waiting for domain a (domid 3) to die [pid 400]\n";
	fg_autofree char *log = fg_calloc(1, 300001);
	struct fg_xl_daemon d;

	/* It ends, or begins, on every side of where two parts of the log meet. */
	memset(log, 'x', 300000);
	memcpy(log + 300000 - 65536 - 20 + _i * 20, line, sizeof(line) - 1);
	PROCESS("400", XL, "xl\0create\0a.cfg", log);
	ck_assert_int_eq(fg_xl_daemon_find(root, 3, WEB1, &d, NULL), 0);
	fg_xl_daemon_release(&d);
}
END_TEST

START_TEST(maker_of_a_guest)
{
#define PIN "uuid=\"" WEB1 "\""
	struct fg_xl_daemon d;

	ck_assert_int_eq(fg_xl_maker_find("/nowhere", WEB1, &d, NULL), -FG_EUNREACHABLE);
	PROCESS("500", XL, "xl\0create\0-n\0-q\0a.cfg\0" PIN, NULL); /* a dry run */
	PROCESS("501", "/usr/bin/vi", "vi\0create\0" PIN, NULL);
	PROCESS("502", XL, "xl\0create\0-p\0a.cfg\0uuid=\"" WEB2 "\"", NULL);
	ck_assert_int_eq(fg_xl_maker_find(root, WEB1, &d, NULL), -FG_ENOTFOUND);
	PROCESS("503", XL, "xl\0create\0-p\0a.cfg\0" PIN, "Waiting for domain a (domid 3) to die [pid 503]\n");
	ck_assert_int_eq(fg_xl_maker_find(root, WEB1, &d, NULL), 0);
	ck_assert_int_eq(d.pid, 503);
	ck_assert_uint_eq(d.domid, 3);
	PROCESS("504", "/usr/bin/systemd-run", "systemd-run\0--scope\0xl\0create\0-p\0a.cfg\0" PIN, NULL);
	ck_assert_int_eq(fg_xl_maker_find(root, WEB1, &d, NULL), 0);
	ck_assert_int_eq(d.pid, 504);
	ck_assert_uint_eq(d.domid, 0);
	ck_assert_uint_eq(d.start_ticks, 4242);
}
END_TEST

START_TEST(log_line_with_a_hostile_name)
{
	ck_assert_uint_eq(
		fg_xl_log_domid("Waiting for domain x (domid 9) to die [pid 5] (domid 4) to die [pid 5]\n", 5), 4);
	ck_assert_uint_eq(fg_xl_log_domid("Waiting for domain", 5), 0);
	ck_assert_uint_eq(fg_xl_log_domid("Waiting for domain a (domid ) to die [pid 5]\n", 5), 0);
	ck_assert_uint_eq(fg_xl_log_domid("", 5), 0);
}
END_TEST

static const struct {
	const char *argv[8];
	bool makes;
	const char *file;
	size_t first;
} commands[] = {
	{ { "xl", "create", "a.cfg" }, true, "a.cfg", 3 },
	{ { "xl", "-v", "-f", "create", "a.cfg", "memory=5" }, true, "a.cfg", 5 },
	{ { "xl", "create", "-f", "a.cfg", "name='b'" }, true, "a.cfg", 4 },
	{ { "xl", "create", "--defconfig=a.cfg" }, true, "a.cfg", 3 },
	{ { "xl", "create", "--defconfig", "a.cfg" }, true, "a.cfg", 4 },
	{ { "xl", "create", "name='b'", "memory=1" }, true, NULL, 2 },
	{ { "xl", "create", "/etc/xen/k=v.cfg" }, true, "/etc/xen/k=v.cfg", 3 },
	{ { "xl", "restore", "/tmp/x" }, true, NULL, 3 },
	{ { "xl", "migrate-receive" }, true, NULL, 2 },
	{ { "xl", "list" }, false, NULL, 2 },
	{ { "xl", "create", "-n", "a.cfg" }, false, NULL, 4 },
	{ { "xl", "create", "--dryrun", "a.cfg" }, false, NULL, 4 },
	{ { "xl" }, false, NULL, 1 },
};

START_TEST(command_lines)
{
	const char *file;
	size_t first, n = 0;

	while (commands[_i].argv[n])
		n++;
	ck_assert_int_eq(fg_xl_command_parse((char *const *)commands[_i].argv, n, &file, &first), commands[_i].makes);
	ck_assert_pstr_eq(file, commands[_i].file);
	ck_assert_uint_eq(first, commands[_i].first);
}
END_TEST

START_TEST(a_pid_used_again_is_not_the_daemon)
{
	struct fg_xl_daemon self = { .pid = getpid(), .start_ticks = 1 };
	struct fg_error err = FG_ERROR_INIT;

	ck_assert_int_eq(fg_xl_daemon_open("/proc", &self, &err), -FG_ENOTFOUND);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("xl_daemon");
	TCase *t = tcase_create("xl_daemon");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, daemon_is_found_by_the_domain_it_waits_for);
	tcase_add_test(t, daemon_of_a_guest_that_reboots);
	tcase_add_test(t, pinned_uuid_decides);
	tcase_add_test(t, others_are_not_taken_for_it);
	tcase_add_loop_test(t, silent_log, 0, (int)FG_COUNT(silent));
	tcase_add_test(t, config_file_tells_whose_a_silent_process_is);
	tcase_add_loop_test(t, line_far_back_in_a_log, 0, 3);
	tcase_add_test(t, maker_of_a_guest);
	tcase_add_test(t, log_line_with_a_hostile_name);
	tcase_add_loop_test(t, command_lines, 0, (int)FG_COUNT(commands));
	tcase_add_test(t, a_pid_used_again_is_not_the_daemon);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
