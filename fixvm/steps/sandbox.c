/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fixvm/steps/run.h"

#include "lib/util.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * What dpkg, rpm and their scripts need to own, link and chown files.  MKNOD makes nodes that nothing can open (every
 * writable mount is nodev).  DAC_READ_SEARCH is left out: open_by_handle_at(2) would leave the root.
 */
static const int capabilities[] = { CAP_CHOWN,	 CAP_DAC_OVERRIDE, CAP_FOWNER,	   CAP_FSETID,
				    CAP_KILL,	 CAP_SETGID,	   CAP_SETUID,	   CAP_SETFCAP,
				    CAP_SETPCAP, CAP_MKNOD,	   CAP_SYS_CHROOT, CAP_AUDIT_WRITE };

static void __attribute__((noreturn)) give_up(const struct fg_sandbox *s, const struct fg_error *err)
{
	if (write(s->setup, err->text, strlen(err->text)) < 0)
		_exit(125);
	_exit(126);
}

static bool is_kept(int cap)
{
	for (size_t i = 0; i < FG_COUNT(capabilities); i++) {
		if (capabilities[i] == cap)
			return true;
	}
	return false;
}

static int drop_capabilities(struct fg_error *err)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { { 0, 0, 0 }, { 0, 0, 0 } };

	/* Until the kernel knows no more: it may be newer than our header. */
	for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++) {
		if (!is_kept(cap) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			return fg_error_errno(err, FG_EFAILED, errno, "sandbox: drop capability %d", cap);
	}
	for (size_t i = 0; i < FG_COUNT(capabilities); i++) {
		data[capabilities[i] / 32].permitted |= 1u << (capabilities[i] % 32);
		data[capabilities[i] / 32].effective |= 1u << (capabilities[i] % 32);
	}
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 || syscall(SYS_capset, &header, data) < 0)
		return fg_error_errno(err, FG_EFAILED, errno, "sandbox: drop capabilities");
	return 0;
}

static void loopback_up(void)
{
	struct ifreq ifr = { .ifr_flags = IFF_UP | IFF_RUNNING };
	fg_autoclose int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "lo");
	if (fd >= 0)
		ioctl(fd, SIOCSIFFLAGS, &ifr); /* some scripts want it, most do not */
}

static void __attribute__((noreturn)) run_entry(const struct fg_sandbox *s)
{
	const char *dir = s->context == FG_CONTEXT_CHROOT ? FG_RUN_PAYLOAD_CHROOT : FG_RUN_PAYLOAD_OUTSIDE;
	struct rlimit core = { 0, 0 };
	struct fg_error err = FG_ERROR_INIT;
	fg_autofree char *path = fg_asprintf("%s/%s", dir, s->program);
	const char *const argv[] = { path, NULL };
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (setsid() < 0 || null < 0 || dup2(null, 0) < 0 || chdir(dir) < 0 || setrlimit(RLIMIT_CORE, &core) < 0)
		fg_error_errno(&err, FG_EFAILED, errno, "sandbox: prepare %s", s->program);
	if (!err.code && drop_capabilities(&err) == 0) {
		close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
		execve(path, (char *const *)(uintptr_t)argv, (char *const *)(uintptr_t)s->env);
		fg_error_errno(&err, FG_EFAILED, errno, "start %s", s->program);
	}
	give_up(s, &err);
}

/* pid 1 of the namespace: when it exits, the kernel kills the rest. */
static int reap(pid_t entry)
{
	for (;;) {
		int status;
		pid_t pid = wait(&status);

		if (pid < 0 && errno != EINTR)
			return 125;
		if (pid == entry)
			return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	}
}

static void killable(void)
{
	fg_autoclose int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd >= 0 && write(fd, "500", 3) < 0)
		return; /* then the kernel picks someone else when memory ends */
}

void fg_sandbox_main(const struct fg_sandbox *s)
{
	struct fg_error err = FG_ERROR_INIT;
	struct fg_policy policy = { .made = false };

	killable();
	loopback_up();
	if (sethostname(s->hostname, strnlen(s->hostname, 64)) < 0)
		fg_error_errno(&err, FG_EFAILED, errno, "sandbox: host name");
	if (!err.code && fg_sandbox_files(s->context, &err) == 0 && s->context == FG_CONTEXT_CHROOT &&
	    fg_policy_forbid(&policy, &err))
		fg_policy_lift(&policy);
	if (err.code)
		give_up(s, &err);
	pid_t entry = fork();
	if (entry == 0)
		run_entry(s);
	if (entry < 0) {
		fg_error_errno(&err, FG_EFAILED, errno, "sandbox: fork");
		give_up(s, &err);
	}
	close(s->setup);
	int status = reap(entry);
	fg_policy_lift(&policy);
	_exit(status);
}
