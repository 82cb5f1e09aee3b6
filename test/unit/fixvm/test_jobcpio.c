/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fixvm/jobcpio.h"

#include "lib/util.h"
#include "test/folder.h"

#include <check.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[] = "/tmp/test-jobcpio.XXXXXX";

static void run(const char *const argv[], int in)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		if (chdir(dir) < 0 || (in >= 0 && dup2(in, 0) < 0))
			_exit(126);
		execvp(argv[0], (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s: %d", argv[0], status);
}

static void setup(void)
{
	test_folder_make(dir);
}

static void teardown(void)
{
	test_folder_remove(dir);
}

START_TEST(cpio_unpacks_what_was_written)
{
	static const char *const cpio[] = { "cpio", "--quiet", "-idm", "--no-absolute-filenames", NULL };
	fg_autofree char *big = fg_calloc(1, 100001);
	memset(big, 'b', 100000);
	const struct fg_jobcpio_file files[] = {
		{ "/fixgate/job.json", 0600, "{}", 2 },
		{ "fixgate/bundle.head", 0600, big, 100000 },
		{ "fixgate/trust/publisher-ca.pem", 0644, "pem", 3 },
		{ "fixgate/trust/empty", 0600, NULL, 0 },
		{ "top", 0755, "1", 1 },
	};
	fg_autofree char *image = fg_asprintf("%s/image", dir), *out = fg_asprintf("%s/out", dir);

	ck_assert_int_eq(fg_file_write_durable(image, "seven..", 7, 0600, NULL), 0);
	fg_autoclose int fd = open(out, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	ck_assert_int_eq(fg_jobcpio_write(fd, image, files, FG_COUNT(files), NULL), 0);

	char head[14];
	ck_assert_int_eq(pread(fd, head, 14, 0), 14);
	ck_assert_int_eq(memcmp(head,
				"seven..\0"
				"070701",
				14),
			 0);
	ck_assert_int_eq(lseek(fd, 8, SEEK_SET), 8);
	run(cpio, fd);
	for (size_t i = 0; i < FG_COUNT(files); i++) {
		fg_autofree char *path = fg_asprintf("%s/%s", dir, files[i].name), *text = NULL;
		struct stat st;
		size_t len;

		ck_assert_int_eq(fg_file_read(path, 1 << 20, &text, &len, NULL), 0);
		ck_assert_uint_eq(len, files[i].len);
		ck_assert(len == 0 || !memcmp(text, files[i].data, len));
		ck_assert_int_eq(stat(path, &st), 0);
		ck_assert_uint_eq(st.st_mode & 07777, files[i].mode);
	}
	fg_autofree char *folder = fg_asprintf("%s/fixgate/trust", dir);
	struct stat st;
	ck_assert_int_eq(stat(folder, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0700);
}
END_TEST

START_TEST(names_that_leave_the_root_are_refused)
{
	static const char *const names[] = { "", "/", "../x", "a/../x", "a/./x", "a//x", "a/", "//a", "." };

	for (size_t i = 0; i < FG_COUNT(names); i++) {
		const struct fg_jobcpio_file f = { names[i], 0600, "x", 1 };
		fg_autoclose int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

		ck_assert_msg(fg_jobcpio_write(fd, NULL, &f, 1, NULL) == -FG_EUSAGE, "%s", names[i]);
	}
	const struct fg_jobcpio_file mode = { "a", S_IFCHR | 0600, "x", 1 };
	fg_autoclose int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	ck_assert_int_eq(fg_jobcpio_write(null, NULL, &mode, 1, NULL), -FG_EUSAGE);
}
END_TEST

START_TEST(a_full_disk_is_told)
{
	const struct fg_jobcpio_file f = { "a", 0600, "x", 1 };
	struct fg_error err = FG_ERROR_INIT;
	fg_autoclose int full = open("/dev/full", O_WRONLY | O_CLOEXEC);

	ck_assert_int_eq(fg_jobcpio_write(full, NULL, &f, 1, &err), -FG_EIO);
	ck_assert_int_eq(fg_jobcpio_write(full, "/nonexistent/image", &f, 1, NULL), -FG_EIO);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("fixvm");
	TCase *t = tcase_create("jobcpio");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, cpio_unpacks_what_was_written);
	tcase_add_test(t, names_that_leave_the_root_are_refused);
	tcase_add_test(t, a_full_disk_is_told);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
