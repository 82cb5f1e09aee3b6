/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fix.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* Our own standard output carries JSON: the program's goes to stdout_fd, or where errors go. */
static void child(const char *const argv[], int stdout_fd)
{
	union {
		const char *const *in;
		char *const *out;
	} args = { argv }; /* exec takes char *const[] for history's sake (POSIX, exec, rationale) */

	unsetenv("SOURCE_DATE_EPOCH"); /* mksquashfs refuses it beside -mkfs-time */
	if (dup2(stdout_fd >= 0 ? stdout_fd : STDERR_FILENO, STDOUT_FILENO) >= 0)
		execvp(args.out[0], args.out);
	_exit(127);
}

static int wait_for(pid_t pid, const char *name, struct fg_error *err)
{
	int status = 0;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return fg_error_errno(err, FG_EFAILED, errno, "cannot wait for %s", name);
	if (WIFSIGNALED(status))
		return fg_error_set(err, FG_EFAILED, "%s was killed by signal %d", name, WTERMSIG(status));
	if (WEXITSTATUS(status) == 127)
		return fg_error_set(err, FG_EFAILED, "%s is not installed", name);
	if (WEXITSTATUS(status) != 0)
		return fg_error_set(err, FG_EFAILED, "%s failed (%d)", name, WEXITSTATUS(status));
	return 0;
}

int fix_run(const char *const argv[], struct fg_error *err)
{
	pid_t pid = fork();

	if (pid < 0)
		return fg_error_errno(err, FG_EFAILED, errno, "cannot start %s", argv[0]);
	if (pid == 0)
		child(argv, -1);
	return wait_for(pid, argv[0], err);
}

int fix_run_output(const char *const argv[], size_t max, char **out, struct fg_error *err)
{
	fg_autofree char *text = NULL;
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return fg_error_errno(err, FG_EFAILED, errno, "cannot make a pipe");
	pid_t pid = fork();
	if (pid < 0) {
		close(fds[0]);
		close(fds[1]);
		return fg_error_errno(err, FG_EFAILED, errno, "cannot start %s", argv[0]);
	}
	if (pid == 0)
		child(argv, fds[1]);
	close(fds[1]);
	int rc = fg_fd_read_all(fds[0], max, &text, NULL, err);
	close(fds[0]);
	int ended = wait_for(pid, argv[0], err);
	if (rc == 0)
		rc = ended;
	if (rc == 0)
		*out = FG_TAKE(text);
	return rc;
}

int fix_temp(int *fd, char path[32], struct fg_error *err)
{
	const char *dir = getenv("TMPDIR");
	fg_autofree char *name = fg_asprintf("%s/fixgate-fix.XXXXXX", dir && *dir ? dir : "/var/tmp");
	int f = mkstemp(name);

	if (f < 0)
		return fg_error_errno(err, FG_EIO, errno, "cannot create %s", name);
	unlink(name);
	snprintf(path, 32, "/proc/self/fd/%d", f);
	*fd = f;
	return 0;
}
