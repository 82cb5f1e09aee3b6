/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The last door: which system calls are left, and which files.  The lists are what glibc, OpenSSL, curl, libevent and
 * jansson use once everything is open; test/net/ runs the program through all of its work under them.
 */
#include "sandbox.h"

#include <lib/util.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static const int allowed[] = {
	/* memory */
	SCMP_SYS(brk),
	SCMP_SYS(munmap),
	SCMP_SYS(mremap),
	SCMP_SYS(madvise),
	/* event loop and clocks */
	SCMP_SYS(epoll_create1),
	SCMP_SYS(epoll_ctl),
	SCMP_SYS(epoll_wait),
	SCMP_SYS(epoll_pwait),
	SCMP_SYS(epoll_pwait2),
	SCMP_SYS(poll),
	SCMP_SYS(ppoll),
	SCMP_SYS(timerfd_settime),
	SCMP_SYS(clock_gettime),
	SCMP_SYS(clock_gettime64),
	SCMP_SYS(gettimeofday),
	SCMP_SYS(time),
	SCMP_SYS(futex),
	SCMP_SYS(restart_syscall),
	/* sockets; socket() itself is below */
	SCMP_SYS(connect),
	SCMP_SYS(getsockopt),
	SCMP_SYS(setsockopt),
	SCMP_SYS(getsockname),
	SCMP_SYS(getpeername),
	SCMP_SYS(sendto),
	SCMP_SYS(recvfrom),
	SCMP_SYS(sendmsg),
	SCMP_SYS(recvmsg),
	SCMP_SYS(shutdown),
	/* descriptors */
	SCMP_SYS(read),
	SCMP_SYS(readv),
	SCMP_SYS(write),
	SCMP_SYS(writev),
	SCMP_SYS(close),
	SCMP_SYS(fcntl),
	SCMP_SYS(fcntl64),
	SCMP_SYS(fstat),
	SCMP_SYS(newfstatat),
	SCMP_SYS(lseek),
	SCMP_SYS(_llseek),
	/* heads/ (where, is Landlock's) */
	SCMP_SYS(open),
	SCMP_SYS(openat),
	SCMP_SYS(rename),
	SCMP_SYS(renameat),
	SCMP_SYS(renameat2),
	SCMP_SYS(unlink),
	SCMP_SYS(unlinkat),
	SCMP_SYS(fsync),
	SCMP_SYS(fchmod),
	/* ourselves, and the end */
	SCMP_SYS(getrandom),
	SCMP_SYS(getpid),
	SCMP_SYS(gettid),
	SCMP_SYS(getuid),
	SCMP_SYS(geteuid),
	SCMP_SYS(getgid),
	SCMP_SYS(getegid),
	SCMP_SYS(rt_sigaction),
	SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(rt_sigreturn),
	SCMP_SYS(sigreturn),
	SCMP_SYS(tgkill),
	SCMP_SYS(exit),
	SCMP_SYS(exit_group),
};

/* Nothing in the program asks for these: whoever does has taken it over. */
static const int deadly[] = {
	SCMP_SYS(execve),
	SCMP_SYS(execveat),
	SCMP_SYS(fork),
	SCMP_SYS(vfork),
	SCMP_SYS(clone),
	SCMP_SYS(clone3),
	SCMP_SYS(ptrace),
	SCMP_SYS(process_vm_readv),
	SCMP_SYS(process_vm_writev),
	SCMP_SYS(mount),
	SCMP_SYS(umount2),
	SCMP_SYS(unshare),
	SCMP_SYS(setns),
	SCMP_SYS(pivot_root),
	SCMP_SYS(chroot),
	SCMP_SYS(bpf),
	SCMP_SYS(perf_event_open),
	SCMP_SYS(init_module),
	SCMP_SYS(finit_module),
	SCMP_SYS(kexec_load),
	SCMP_SYS(keyctl),
	SCMP_SYS(add_key),
	SCMP_SYS(userfaultfd),
	SCMP_SYS(io_uring_setup),
	SCMP_SYS(listen),
	SCMP_SYS(bind),
	SCMP_SYS(accept),
	SCMP_SYS(accept4),
};

#define ALL_BITS 0xffffffffu

/* Allowed if (argument & mask) == value. */
static const struct {
	int call;
	unsigned arg;
	scmp_datum_t mask, value;
} conditional[] = {
	/* Internet only; curl opens a datagram socket to see whether there is IPv6. */
	{ SCMP_SYS(socket), 0, ALL_BITS, AF_INET },
	{ SCMP_SYS(socket), 0, ALL_BITS, AF_INET6 },
	/* No new executable memory. */
	{ SCMP_SYS(mmap), 2, PROT_EXEC, 0 },
	{ SCMP_SYS(mmap2), 2, PROT_EXEC, 0 },
	{ SCMP_SYS(mprotect), 2, PROT_EXEC, 0 },
	{ SCMP_SYS(ioctl), 1, ALL_BITS, FIONREAD },
	{ SCMP_SYS(ioctl), 1, ALL_BITS, FIONBIO },
};

static int allow(scmp_filter_ctx ctx)
{
	int rc = 0;

	for (size_t i = 0; i < FG_COUNT(allowed) && rc == 0; i++)
		rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, allowed[i], 0);
	for (size_t i = 0; i < FG_COUNT(deadly) && rc == 0; i++)
		rc = seccomp_rule_add(ctx, SCMP_ACT_KILL_PROCESS, deadly[i], 0);
	for (size_t i = 0; i < FG_COUNT(conditional) && rc == 0; i++) {
		const struct scmp_arg_cmp arg = { conditional[i].arg, SCMP_CMP_MASKED_EQ, conditional[i].mask,
						  conditional[i].value };
		rc = seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, conditional[i].call, 1, &arg);
	}
	return rc;
}

static int load_filter(struct fg_error *err)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int rc;

	if (!ctx)
		return fg_error_set(err, FG_ENOMEM, "seccomp: out of memory");
	rc = allow(ctx);
	if (rc == 0)
		rc = seccomp_load(ctx);
	seccomp_release(ctx);
	return rc < 0 ? fg_error_errno(err, FG_EFAILED, -rc, "seccomp") : 0;
}

/*
 * Files below the folder we stand in, and no others (Linux Documentation/userspace-api/landlock.rst).  ABI 1 is what
 * Debian 12 has; glibc has no wrappers.  A kernel without Landlock leaves us with the user's rights alone.
 */
static int restrict_files(bool *active, struct fg_error *err)
{
	__u64 all = LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_FILE |
		    LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |
		    LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |
		    LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK |
		    LANDLOCK_ACCESS_FS_MAKE_SYM;
	struct landlock_ruleset_attr attr = { .handled_access_fs = all };
	fg_autoclose int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
	fg_autoclose int here = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);

	*active = false;
	if (ruleset < 0 && (errno == ENOSYS || errno == EOPNOTSUPP))
		return 0;
	struct landlock_path_beneath_attr rule = { .allowed_access =
							   LANDLOCK_ACCESS_FS_WRITE_FILE |
							   LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR |
							   LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG,
						   .parent_fd = here };
	if (ruleset < 0 || here < 0 ||
	    syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0 ||
	    syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
		return fg_error_errno(err, FG_EFAILED, errno, "Landlock");
	*active = true;
	return 0;
}

int fg_sandbox_close(bool *landlock, struct fg_error *err)
{
	int rc = restrict_files(landlock, err);

	return rc < 0 ? rc : load_filter(err);
}
