/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * PID 1 of the fix VM.  It does not return and does nothing that can crash once the worker runs.
 */
#include "fixvm/init/fixvm.h"

#include "fixvm/steps/network.h"
#include "lib/util.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static int prepare(struct fg_fixvm *vm, struct fg_error *err)
{
	fg_autofree char *text = NULL;
	size_t len;
	int rc = fg_file_read(FG_FIXVM_JOB_PATH, FG_JOB_BYTES_MAX, &text, &len, err);

	if (!rc)
		rc = fg_job_parse(text, len, &vm->job, err);
	if (rc)
		return rc;
	memcpy(vm->console.nonce, vm->job.nonce, sizeof(vm->job.nonce));
	fg_platform_clock(vm->job.now_s);
	fg_console_say(&vm->console, FG_FIXVM_HELLO, "{s:s,s:s}", "mode", vm->job.inspect ? "inspect" : "fix",
		       "version", FG_VERSION);
	rc = fg_platform_uevents(&vm->uevents, err);
	return rc ? rc : fg_platform_drivers(err);
}

static void describe_death(int status, char *out, size_t size)
{
	if (WIFSIGNALED(status))
		snprintf(out, size, "the worker was killed by signal %d", WTERMSIG(status));
	else
		snprintf(out, size, "the worker ended with status %d and no result", WEXITSTATUS(status));
}

static void supervise(struct fg_fixvm *vm)
{
	char reason[128];
	pid_t worker = fork();

	if (worker == 0)
		_exit(fg_fixvm_work(vm));
	if (worker < 0) {
		snprintf(reason, sizeof(reason), "fork: errno %d", errno);
		fg_fixvm_result(vm, "failed", reason, -1);
		return;
	}
	for (;;) {
		int status;
		pid_t pid = wait(&status);

		if (pid < 0 && errno != EINTR)
			break;
		if (pid != worker) /* an orphan of a helper program */
			continue;
		if (!vm->shared || !vm->shared->result_sent) {
			describe_death(status, reason, sizeof(reason));
			fg_fixvm_result(vm, "failed", reason, -1);
		}
		return;
	}
}

static void __attribute__((noreturn)) power_off(struct fg_fixvm *vm)
{
	kill(-1, SIGKILL);
	if (vm->console.fd >= 0)
		fg_console_drain(&vm->console);
	reboot(RB_POWER_OFF);
	reboot(RB_HALT_SYSTEM);
	for (;;)
		pause();
}

int main(int argc, char **argv)
{
	struct fg_error err = FG_ERROR_INIT;

	if (argc > 1 && !strcmp(argv[0], FG_DHCP_SCRIPT))
		return fg_network_dhcp_event(argv[1]);
	if (getpid() != 1) {
		fprintf(stderr, "fixvm-init: only as PID 1 of a fix VM, see fixvm-init(8)\n");
		return 2;
	}
	static struct fg_fixvm vm = { .console.fd = -1, .uevents = -1 };
	static struct fg_fixvm_shared own;

	umask(022);
	void *shared = mmap(NULL, sizeof(own), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	vm.shared = shared != MAP_FAILED ? shared : &own;
	int rc = fg_platform_mount(&err);
	if (!rc)
		rc = fg_console_open(&vm.console, "/dev/console", &err);
	if (!rc)
		rc = prepare(&vm, &err);
	if (rc)
		fg_fixvm_result(&vm, "failed", err.text, -1);
	else
		supervise(&vm);
	power_off(&vm);
}
