/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Version order: known cases, then generated pairs against dpkg and rpm themselves. */
#include <fixgate/bundle.h>
#include <lib/util.h>

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAIRS 2500 /* a process each */
#define RPM_PAIRS 4000

static int sign(int n)
{
	return (n > 0) - (n < 0);
}

/* a, b, order */
struct row {
	const char *a, *b;
	int order;
};

static void check_rows(const struct row *rows, size_t n, int (*cmp)(const char *, const char *))
{
	for (size_t i = 0; i < n; i++) {
		ck_assert_msg(sign(cmp(rows[i].a, rows[i].b)) == rows[i].order, "%s %s", rows[i].a, rows[i].b);
		ck_assert_msg(sign(cmp(rows[i].b, rows[i].a)) == -rows[i].order, "%s %s", rows[i].b, rows[i].a);
	}
}

START_TEST(dpkg_order)
{
	static const struct row rows[] = {
		{ "1.0", "1.1", -1 },
		{ "1.10", "1.9", 1 },
		{ "1:1", "2", 1 },
		{ "0:1", "1", 0 },
		{ "1.0~rc1", "1.0", -1 },
		{ "1.0~~", "1.0~", -1 },
		{ "1.0-1", "1.0", 1 },
		{ "1.0-0", "1.0", 0 },
		{ "1.0a", "1.0+", -1 },
		{ "1.0", "1.0a", -1 },
		{ "1.00", "1.0", 0 },
		{ "1-1-1", "1-1", 1 },
		{ "1.0+deb12u1", "1.0", 1 },
		{ "007", "7", 0 },
		{ "a", "1", 1 },
		{ "", "0", 0 },
		{ "1.2.3", "1.2.3-0~x", 1 },
		{ "1:0", "1:", 0 },
		{ "5:20.10", "1:99", 1 },
		{ "x:1", "x:2", -1 },
		{ "18446744073709551617", "18446744073709551616", 1 },
		{ "1.0-1~bpo", "1.0-1", -1 },
		{ "99999999999999999999:1", "99999999999999999998:2", 1 },
	};

	check_rows(rows, FG_COUNT(rows), fg_version_cmp_dpkg);
}
END_TEST

/* From rpm's tests/rpmvercmp.at, and whole versions. */
START_TEST(rpm_order)
{
	static const struct row rows[] = {
		{ "1.0", "1.0", 0 },
		{ "1.0", "2.0", -1 },
		{ "2.0.1a", "2.0.1", 1 },
		{ "5.5p1", "5.5p10", -1 },
		{ "10xyz", "10.1xyz", -1 },
		{ "xyz10", "xyz10.1", -1 },
		{ "xyz.4", "8", -1 },
		{ "xyz.4", "2", -1 },
		{ "5.5p2", "5.6p1", -1 },
		{ "6.0.rc1", "6.0", 1 },
		{ "10b2", "10a1", 1 },
		{ "1.0aa", "1.0a", 1 },
		{ "10.0001", "10.1", 0 },
		{ "10.0001", "10.0039", -1 },
		{ "4.999.9", "5.0", -1 },
		{ "2_0", "2.0", 0 },
		{ "a", "a", 0 },
		{ "a+", "a_", 0 },
		{ "+", "_", 0 },
		{ "1.0~rc1", "1.0", -1 },
		{ "1.0~rc1", "1.0~rc2", -1 },
		{ "1.0~rc1~git123", "1.0~rc1", -1 },
		{ "1.0^", "1.0", 1 },
		{ "1.0^git1", "1.0^git2", -1 },
		{ "1.0^git1", "1.01", -1 },
		{ "1.0^20160101", "1.0.1", -1 },
		{ "1.0~rc1^git1", "1.0~rc1", 1 },
		{ "1.0^git1~pre", "1.0^git1", -1 },
		{ "1:1-1", "2-1", 1 },
		{ "0:1-1", "1-1", 0 },
		{ "1-1", "1-2", -1 },
		{ "1.0-1.el9_2", "1.0-1.el9", 1 },
		{ "1", "1-1", -1 },
		{ "405", "404", 1 },
		{ "fc4", "fc.4", 0 },
		{ "FC5", "fc4", -1 },
	};

	check_rows(rows, FG_COUNT(rows), fg_version_cmp_rpm);
}
END_TEST

/* Every run the same, so that a failure can be run again. */
static uint32_t next_random(void)
{
	static uint32_t x = 2463534242u;

	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	return x;
}

static void random_part(char *out, size_t max, const char *alphabet)
{
	size_t n = 1 + next_random() % max;

	for (size_t i = 0; i < n; i++)
		out[i] = alphabet[next_random() % strlen(alphabet)];
	out[n] = '\0';
}

/* Close relatives, or nearly every pair would be decided by its first character. */
static void random_pair(char a[64], char b[64], const char *alphabet)
{
	char epoch[4], version[10], revision[6];

	for (int i = 0; i < 2; i++) {
		char *out = i ? b : a;
		if (i == 0 || next_random() % 2)
			random_part(epoch, 1, "012");
		if (i == 0 || next_random() % 3 == 0)
			random_part(version, 8, alphabet);
		else
			version[next_random() % strlen(version)] = alphabet[next_random() % strlen(alphabet)];
		random_part(revision, 4, alphabet);
		snprintf(out, 64, "%s%s1%s%s%s", next_random() % 4 ? "" : epoch, "", version,
			 next_random() % 2 ? "-" : "", revision);
		if (next_random() % 4 == 0)
			snprintf(out, 64, "%s:1%s-%s", epoch, version, revision);
	}
}

static bool dpkg_says(const char *a, const char *op, const char *b)
{
	const char *const argv[] = { "dpkg", "--compare-versions", a, op, b, NULL };
	static posix_spawn_file_actions_t quiet;
	static bool ready;
	int status = 0;
	pid_t pid = 0;

	if (!ready) {
		ck_assert_int_eq(posix_spawn_file_actions_init(&quiet), 0);
		ck_assert_int_eq(posix_spawn_file_actions_addopen(&quiet, 2, "/dev/null", O_WRONLY, 0), 0);
		ready = true;
	}
	ck_assert_int_eq(posix_spawnp(&pid, "dpkg", &quiet, NULL, (char *const *)(uintptr_t)argv, environ), 0);
	while (waitpid(pid, &status, 0) < 0)
		ck_assert_int_eq(errno, EINTR);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) < 2, "dpkg --compare-versions %s %s %s: %d", a, op, b,
		      status);
	return WEXITSTATUS(status) == 0;
}

START_TEST(dpkg_agrees)
{
	char a[64], b[64];

	for (int i = 0; i < PAIRS; i++) {
		random_pair(a, b, "0019ab~+.");
		int order = sign(fg_version_cmp_dpkg(a, b));
		const char *op = order < 0 ? "lt" : order > 0 ? "gt" : "eq";
		ck_assert_msg(dpkg_says(a, op, b), "%s %s %s", a, op, b);
	}
}
END_TEST

/* One rpm for all pairs: its Lua prints one number for each. */
START_TEST(rpm_agrees)
{
	static char pairs[RPM_PAIRS][2][64];
	char path[] = "/tmp/fg-rpm-XXXXXX";
	fg_autofree char *text = NULL;
	int fds[2], status = 0;
	FILE *script = fdopen(mkstemp(path), "w");

	ck_assert_ptr_nonnull(script);
	for (int i = 0; i < RPM_PAIRS; i++) {
		random_pair(pairs[i][0], pairs[i][1], "0019ab~^+._");
		fprintf(script, "io.write(rpm.vercmp('%s', '%s'), ' ')\n", pairs[i][0], pairs[i][1]);
	}
	fclose(script);
	fg_autofree char *macro = fg_asprintf("%%{lua:dofile('%s')}", path);
	ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
	pid_t pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		dup2(fds[1], 1);
		execlp("rpm", "rpm", "--eval", macro, (char *)NULL);
		_exit(127);
	}
	close(fds[1]);
	ck_assert_int_eq(fg_fd_read_all(fds[0], 1 << 20, &text, NULL, NULL), 0);
	close(fds[0]);
	waitpid(pid, &status, 0);
	unlink(path);
	ck_assert_msg(!WIFEXITED(status) || WEXITSTATUS(status) != 127, "rpm is not installed: make deps");
	ck_assert_int_eq(status, 0);
	char *pos = text;
	for (int i = 0; i < RPM_PAIRS; i++) {
		char *end = pos;
		long order = strtol(pos, &end, 10);
		ck_assert_msg(end > pos && sign(fg_version_cmp_rpm(pairs[i][0], pairs[i][1])) == order,
			      "%s %s: rpm says %ld", pairs[i][0], pairs[i][1], order);
		pos = end;
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("bundle");
	TCase *t = tcase_create("version");

	tcase_set_timeout(t, 60);
	tcase_add_test(t, dpkg_order);
	tcase_add_test(t, rpm_order);
	tcase_add_test(t, dpkg_agrees);
	tcase_add_test(t, rpm_agrees);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
