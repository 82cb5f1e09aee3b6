/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <check.h>
#include <dom0-agent/net/sandbox.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <lib/util.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern void __asan_init(void) __attribute__((weak)); /* there is no room for a sanitizer in this sandbox */

static char dir[] = "/tmp/fg-test-sandbox-XXXXXX";
static bool landlock;

#define NEED(condition)                                                                                                \
	do {                                                                                                           \
		if (!(condition))                                                                                      \
			return __LINE__; /* this file has less than 256 */                                             \
	} while (0)

static int enter(void)
{
	struct fg_sandbox_user nobody = { 65534, 65534 };

	NEED(fg_sandbox_enter_folder(dir, &nobody, NULL) == 0);
	if (geteuid() == 0)
		NEED(fg_sandbox_drop_user(&nobody, NULL) == 0);
	else
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	NEED(fg_sandbox_close(&landlock, NULL) == 0);
	return 0;
}

/* Check's own clock does not run in there, so a child of ours goes in.  Returns its wait status. */
static int inside(int (*body)(int), int arg)
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		int line = enter();
		_exit(line ? line : body(arg));
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return status;
}

START_TEST(root_is_given_up_for_good)
{
	struct fg_sandbox_user nobody = { 65534, 65534 };
	gid_t groups[4];

	if (geteuid() != 0)
		return;
	ck_assert_int_eq(fg_sandbox_drop_user(&nobody, NULL), 0);
	ck_assert_int_eq(getuid(), 65534);
	ck_assert_int_eq(getegid(), 65534);
	ck_assert_int_eq(getgroups(4, groups), 0);
	ck_assert_int_lt(setuid(0), 0);
	ck_assert_int_lt(setgid(0), 0);
	ck_assert_int_eq(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
	ck_assert_int_eq(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), 0);
}
END_TEST

START_TEST(root_is_no_user_to_become)
{
	struct fg_sandbox_user user = { 1, 1 }, root = { 0, 0 };
	struct fg_error err = FG_ERROR_INIT;

	ck_assert_int_eq(fg_sandbox_user_find("root", &user, &err), -FG_EUSAGE);
	ck_assert_int_eq(user.uid, 1);
	ck_assert_int_eq(fg_sandbox_user_find("no-such-user-here", &user, NULL), -FG_EUSAGE);
	if (geteuid() == 0)
		ck_assert_int_eq(fg_sandbox_drop_user(&root, NULL), -FG_EFAILED);
}
END_TEST

START_TEST(a_link_in_place_of_the_folder_is_refused)
{
	struct fg_sandbox_user nobody = { 65534, 65534 };
	fg_autofree char *state = fg_asprintf("%s/linked", dir), *link = fg_asprintf("%s/net", state);
	struct stat before, after;

	ck_assert_int_eq(mkdir(state, 0755), 0);
	ck_assert_int_eq(symlink("/etc", link), 0);
	ck_assert_int_eq(stat("/etc", &before), 0);
	ck_assert_int_eq(fg_sandbox_enter_folder(state, &nobody, NULL), -FG_EIO);
	ck_assert_int_eq(stat("/etc", &after), 0);
	ck_assert_uint_eq(before.st_uid, after.st_uid);
	unlink(link);
	rmdir(state);
}
END_TEST

static int files(int arg)
{
	(void)arg;
	int fd = open("mine", O_RDWR | O_CREAT | O_TRUNC, 0600);
	NEED(fd >= 0);
	NEED(write(fd, "x", 1) == 1);
	NEED(rename("mine", "yours") == 0);
	NEED(unlink("yours") == 0);
	if (!landlock)
		return 0;
	NEED(open("/etc/passwd", O_RDONLY) < 0 && errno == EACCES);
	NEED(open("../outside", O_WRONLY | O_CREAT, 0600) < 0);
	NEED(open("/tmp", O_RDONLY | O_DIRECTORY) < 0);
	return 0;
}

START_TEST(files_only_below_the_folder)
{
	ck_assert_int_eq(inside(files, 0), 0);
}
END_TEST

static int sockets(int arg)
{
	static const int refused[] = { AF_UNIX, AF_NETLINK, AF_PACKET, AF_VSOCK };

	(void)arg;
	NEED(socket(AF_INET, SOCK_STREAM, 0) >= 0);
	for (size_t i = 0; i < FG_COUNT(refused); i++)
		NEED(socket(refused[i], SOCK_STREAM, 0) < 0 && errno == EPERM);
	return 0;
}

START_TEST(sockets_only_of_the_internet)
{
	ck_assert_int_eq(inside(sockets, 0), 0);
}
END_TEST

static int executable_memory(int arg)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)arg;
	NEED(page != MAP_FAILED);
	NEED(mprotect(page, 4096, PROT_READ | PROT_EXEC) < 0 && errno == EPERM);
	NEED(mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED);
	return 0;
}

START_TEST(no_new_executable_memory)
{
	ck_assert_int_eq(inside(executable_memory, 0), 0);
}
END_TEST

static int deadly(int which)
{
	static char name[] = "/bin/true";
	char *argv[] = { name, NULL };

	if (which == 0)
		execve(name, argv, NULL);
	else if (which == 1)
		(void)!fork();
	else if (which == 2)
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	else if (which == 3)
		listen(0, 1);
	else
		setns(0, 0);
	return 0;
}

START_TEST(what_only_an_attacker_tries_is_death)
{
	int status = inside(deadly, _i);

	ck_assert(WIFSIGNALED(status));
	ck_assert_int_eq(WTERMSIG(status), SIGSYS);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("net/sandbox");
	TCase *t = tcase_create("sandbox");

	if (!mkdtemp(dir) || chmod(dir, 0755) < 0)
		return 1;
	tcase_add_test(t, root_is_given_up_for_good);
	tcase_add_test(t, root_is_no_user_to_become);
	tcase_add_test(t, a_link_in_place_of_the_folder_is_refused);
	if (!__asan_init) {
		tcase_add_test(t, files_only_below_the_folder);
		tcase_add_test(t, sockets_only_of_the_internet);
		tcase_add_test(t, no_new_executable_memory);
		tcase_add_loop_test(t, what_only_an_attacker_tries_is_death, 0, 5);
	}
	suite_add_tcase(s, t);

	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	fg_autofree char *net = fg_asprintf("%s/net", dir);
	rmdir(net);
	rmdir(dir);
	return failed ? 1 : 0;
}
