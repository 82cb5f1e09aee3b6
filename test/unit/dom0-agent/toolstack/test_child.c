/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Programs that the agent runs: what they get, what is learned of them, and that each ends. */
#include "dom0-agent/toolstack/child.h"
#include "lib/util.h"
#include "test/folder.h"

#include <check.h>
#include <dlfcn.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SOON_MS 50
#define LONG_MS 60000

static struct event_base *base;
static struct fg_child *child;
static struct fg_error error;
static char dir[] = "/tmp/test-child-XXXXXX";
static char *text;
static int calls, status;
static bool truncated, ok;
static char last[80];
static const char *go_on; /* a FIFO: the child is let go, and ends, when it is about to be killed */

static void ended(void *arg, const struct fg_child_result *result, const struct fg_error *err)
{
	ck_assert_ptr_eq(arg, &calls);
	calls++;
	child = NULL;
	status = result->status;
	truncated = result->truncated;
	ok = fg_child_succeeded(result);
	ck_assert_uint_eq(result->out_len, strlen(result->out));
	text = fg_strdup(result->out);
	fg_child_last_line(result, last, sizeof(last));
	if (err)
		error = *err;
}

/* That of libc, but that a child may end in the very moment in which it is to be killed. */
long syscall(long number, ...)
{
	long (*next)(long, ...) = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
	long a[6];
	siginfo_t info;
	va_list args;

	va_start(args, number);
	for (size_t i = 0; i < FG_COUNT(a); i++)
		a[i] = va_arg(args, long);
	va_end(args);
	if (number == SYS_pidfd_send_signal && go_on) {
		close(open(go_on, O_WRONLY));
		waitid(P_ALL, 0, &info, WEXITED | WNOWAIT);
	}
	return next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static void setup(void)
{
	test_folder_make(dir);
	base = event_base_new();
	child = NULL;
	text = NULL;
	go_on = NULL;
	calls = status = 0;
	ok = truncated = false;
	fg_error_clear(&error);
}

static void teardown(void)
{
	fg_child_cancel(child);
	free(text);
	event_base_free(base);
	test_folder_remove(dir);
	ck_assert_msg(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD, "a child is left");
}

static void start(const char *script, uint32_t deadline_ms)
{
	const char *const argv[] = { "sh", "-c", script, NULL };

	ck_assert_int_eq(fg_child_start(base, argv, deadline_ms, ended, &calls, &child, NULL), 0);
}

static void run(const char *script, uint32_t deadline_ms)
{
	start(script, deadline_ms);
	event_base_dispatch(base); /* until nothing is left to wait for */
	ck_assert_int_eq(calls, 1);
}

/* _i: what a program finds, whatever we have. */
static const struct {
	const char *script, *finds;
} found[] = {
	{ "pwd", "/\n" },
	{ "env | grep -v '^\\(PWD\\|OLDPWD\\|SHLVL\\|_\\)=' | sort", "LC_ALL=C\nPATH=/usr/sbin:/usr/bin:/sbin:/bin\n" },
	{ "readlink /proc/self/fd/0", "/dev/null\n" },
	{ "for n in 0 1 2 3 4 5 6 7 8 9 10 11 12; do test -e /proc/$$/fd/$n && echo $n; done; :", "0\n1\n2\n" },
	/* 1 to 31; glibc's posix_spawn leaves its own two, 32 and 33, ignored */
	{ "exec grep -c '^Sig\\(Blk\\|Ign\\):.*[08]0000000$' /proc/self/status", "2\n" },
	{ "read -r pid name state parent group session rest </proc/$$/stat; test $session = $$ && echo leads",
	  "leads\n" },
};

START_TEST(a_program_gets_nothing_of_ours)
{
	sigset_t hup;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&hup);
	sigaddset(&hup, SIGHUP);
	sigprocmask(SIG_BLOCK, &hup, NULL);
	setenv("XL_SECRET", "x", 1);
	int fd = dup(2); /* without close-on-exec */
	run(found[_i].script, LONG_MS);
	close(fd);
	ck_assert_str_eq(text, found[_i].finds);
	ck_assert(ok && !error.text[0]);
}
END_TEST

START_TEST(a_failure_and_its_last_words)
{
	run("echo out; echo first >&2; echo 'the reason ' >&2; echo >&2; exit 3", LONG_MS);
	ck_assert(!ok && WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), 3);
	ck_assert_str_eq(text, "out\n");
	ck_assert_str_eq(last, "the reason");
}
END_TEST

START_TEST(the_last_words_may_be_on_stdout)
{
	run("echo one; echo two; kill -TERM $$", LONG_MS);
	ck_assert(!ok && WIFSIGNALED(status));
	ck_assert_str_eq(last, "two");
}
END_TEST

START_TEST(output_is_bounded_and_all_of_it_read)
{
	run("head -c 3000000 /dev/zero | tr '\\0' x; echo read >&2", LONG_MS);
	ck_assert(ok && truncated);
	ck_assert_uint_eq(strlen(text), FG_CHILD_OUTPUT_MAX);
	ck_assert_str_eq(last, "read");
}
END_TEST

START_TEST(who_has_no_end_is_killed)
{
	run("exec sleep 1000", SOON_MS);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	ck_assert_int_eq(error.code, FG_ETIMEOUT);
}
END_TEST

START_TEST(who_ended_before_it_was_killed_was_not_too_late)
{
	fg_autofree char *fifo = fg_asprintf("%s/fifo", dir), *script = fg_asprintf("read x <%s; exit %d", fifo, _i);

	ck_assert_int_eq(mkfifo(fifo, 0600), 0);
	go_on = fifo;
	run(script, SOON_MS);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), _i);
	ck_assert_msg(!error.text[0], "%s", error.text);
}
END_TEST

START_TEST(a_daemon_that_it_leaves_is_not_waited_for)
{
	run("sleep 1000 & echo $!", LONG_MS);
	ck_assert(ok);
	pid_t daemon = (pid_t)strtol(text, NULL, 10);
	ck_assert_int_gt(daemon, 1);
	ck_assert_int_eq(kill(daemon, SIGKILL), 0);
}
END_TEST

START_TEST(one_that_is_cancelled_is_not_heard_of)
{
	start("exec sleep 1000", LONG_MS);
	fg_child_cancel(FG_TAKE(child));
	event_base_dispatch(base);
	ck_assert_int_eq(calls, 0);
	fg_child_cancel(NULL);
}
END_TEST

START_TEST(a_program_that_is_not_there)
{
	const char *const argv[] = { "no-such-program", NULL };

	ck_assert_int_eq(fg_child_start(base, argv, LONG_MS, ended, &calls, &child, &error), -FG_EFAILED);
	ck_assert_str_eq(error.text, "no-such-program: cannot run: No such file or directory");
	ck_assert_int_eq(calls, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("child");
	TCase *tc = tcase_create("all");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, a_program_gets_nothing_of_ours, 0, (int)FG_COUNT(found));
	tcase_add_test(tc, a_failure_and_its_last_words);
	tcase_add_test(tc, the_last_words_may_be_on_stdout);
	tcase_add_test(tc, output_is_bounded_and_all_of_it_read);
	tcase_add_test(tc, who_has_no_end_is_killed);
	tcase_add_loop_test(tc, who_ended_before_it_was_killed_was_not_too_late, 0, 2);
	tcase_add_test(tc, a_daemon_that_it_leaves_is_not_waited_for);
	tcase_add_test(tc, one_that_is_cancelled_is_not_heard_of);
	tcase_add_test(tc, a_program_that_is_not_there);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
