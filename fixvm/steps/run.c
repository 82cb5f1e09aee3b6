/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fixvm/steps/run.h"

#include "lib/util.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fixvm/steps/output.h"

#define SANDBOX_NAMESPACES (CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP)

struct running {
	pid_t pid;
	int pidfd, out, setup;
};

static bool tool_exists(int root_fd, const char *tool)
{
	static const char *const folders[] = { "/usr/local/sbin", "/usr/local/bin", "/usr/sbin",
					       "/usr/bin",	  "/sbin",	    "/bin" };

	if (tool[0] == '/')
		return fg_root_is_program(root_fd, tool);
	for (size_t i = 0; i < FG_COUNT(folders); i++) {
		fg_autofree char *path = fg_asprintf("%s/%s", folders[i], tool);

		if (fg_root_is_program(root_fd, path))
			return true;
	}
	return false;
}

int fg_run_check_tools(const struct fg_fixvm *vm, struct fg_error *err)
{
	const struct fg_manifest *m = vm->head.manifest;
	const char *dir = m->context == FG_CONTEXT_CHROOT ? FG_ROOT_DIR : FG_RUN_OUTSIDE_DIR;
	fg_autoclose int root = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (root < 0)
		return fg_error_errno(err, FG_EIO, errno, "open %s", dir);
	for (size_t i = 0; i < m->n_tools; i++) {
		if (!tool_exists(root, m->tools[i]))
			return fg_error_set(err, FG_ENOTFOUND, "the fix needs %s, which %s has not", m->tools[i],
					    m->context == FG_CONTEXT_CHROOT ? "the guest" : "the fix VM");
	}
	return 0;
}

static int start(struct fg_fixvm *vm, struct fg_sandbox *s, struct running *r, struct fg_error *err)
{
	int out[2] = { -1, -1 }, setup[2] = { -1, -1 };

	if (pipe2(out, O_CLOEXEC) < 0 || pipe2(setup, O_CLOEXEC) < 0) {
		fg_closep(&out[0]);
		fg_closep(&out[1]);
		return fg_error_errno(err, FG_EIO, errno, "pipe");
	}
	r->pid = (pid_t)syscall(SYS_clone, SANDBOX_NAMESPACES | SIGCHLD, NULL, NULL, NULL, NULL);
	if (r->pid == 0) {
		s->setup = setup[1];
		close(vm->console.fd);
		if (dup2(out[1], 1) < 0 || dup2(out[1], 2) < 0)
			_exit(125);
		close(out[1]);
		fg_sandbox_main(s);
	}
	int sys = errno;
	fg_closep(&out[1]);
	fg_closep(&setup[1]);
	r->out = out[0];
	r->setup = setup[0];
	if (r->pid < 0) {
		fg_closep(&r->out);
		fg_closep(&r->setup);
		return fg_error_errno(err, FG_EFAILED, sys, "sandbox");
	}
	r->pidfd = (int)syscall(SYS_pidfd_open, r->pid, 0);
	return r->pidfd < 0 ? fg_error_errno(err, FG_EFAILED, errno, "sandbox: pidfd") : 0;
}

/* Until the sandbox is gone; what it prints goes to the console. */
static int follow(struct fg_fixvm *vm, struct running *r, int64_t deadline_ms, struct fg_error *err)
{
	struct fg_output output;
	char buf[4096];
	bool gone = false;
	int rc = 0;

	fg_output_init(&output, &vm->console);
	while (!gone || r->out >= 0) {
		struct pollfd p[2] = { { .fd = r->out, .events = POLLIN },
				       { .fd = gone ? -1 : r->pidfd, .events = POLLIN } };
		int64_t left = deadline_ms - fg_monotonic_ms();

		if (left <= 0) {
			rc = fg_error_set(err, FG_ETIMEOUT, "killed after %u s", vm->head.manifest->timeout_s);
			break;
		}
		if (poll(p, 2, left > 60000 ? 60000 : (int)left) <= 0)
			continue;
		gone = gone || p[1].revents;
		if (!p[0].revents)
			continue;
		ssize_t n = read(r->out, buf, sizeof(buf));
		if (n > 0)
			fg_output_feed(&output, buf, (size_t)n);
		else if (n == 0 || errno != EINTR)
			fg_closep(&r->out);
	}
	fg_output_end(&output);
	return rc;
}

static const char *const *make_env(const struct fg_fixvm *vm, char *vars[8])
{
	static const char *env[16];
	bool in_guest = vm->head.manifest->context == FG_CONTEXT_CHROOT;
	size_t n = 0;

	vars[0] = fg_asprintf("FIXGATE_JOB=%s", vm->job.job);
	vars[1] = fg_asprintf("FIXGATE_FIX=%s", vm->head.manifest->id);
	env[n++] = vars[0];
	env[n++] = vars[1];
	env[n++] = in_guest ? "FIXGATE_CONTEXT=chroot" : "FIXGATE_CONTEXT=outside";
	env[n++] = in_guest ? "FIXGATE_ROOT=/" : "FIXGATE_ROOT=/guest";
	env[n++] = in_guest ? "FIXGATE_PAYLOAD=" FG_RUN_PAYLOAD_CHROOT : "FIXGATE_PAYLOAD=" FG_RUN_PAYLOAD_OUTSIDE;
	env[n++] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
	env[n++] = "HOME=/root";
	env[n++] = "LANG=C.UTF-8";
	env[n++] = "TERM=dumb";
	env[n++] = "DEBIAN_FRONTEND=noninteractive";
	env[n] = NULL;
	return env;
}

int fg_run_program(struct fg_fixvm *vm, const char *program, int *exit_status, struct fg_error *err)
{
	char *vars[8] = { NULL }, reason[480];
	struct running r = { .pid = -1, .pidfd = -1, .out = -1, .setup = -1 };
	struct fg_sandbox s = { .context = vm->head.manifest->context,
				.program = program,
				.hostname = vm->job.name[0] ? vm->job.name : "guest",
				.env = make_env(vm, vars) };
	int64_t deadline_ms = fg_monotonic_ms() + vm->head.manifest->timeout_s * 1000ll;
	int status = 0;

	int rc = start(vm, &s, &r, err);
	if (r.pid > 0) {
		if (!rc)
			rc = follow(vm, &r, deadline_ms, err);
		kill(r.pid, SIGKILL);
		while (waitpid(r.pid, &status, 0) < 0 && errno == EINTR)
			;
		ssize_t n = read(r.setup, reason, sizeof(reason));
		if (!rc && n > 0)
			rc = fg_error_set(err, FG_EFAILED, "%.*s", (int)n, reason);
	}
	if (!rc)
		*exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	fg_closep(&r.pidfd);
	fg_closep(&r.out);
	fg_closep(&r.setup);
	free(vars[0]);
	free(vars[1]);
	return rc;
}
