/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Running the fix: the payload is mounted, its entry runs in a sandbox (sandbox.c), what it prints goes to the console.
 *
 * The sandbox: mount, pid, net, ipc, uts and cgroup namespaces of its own; the root is the guest's (context chroot)
 * or a shell's (outside); no device but null, zero, full, random, urandom, tty and pts; no /sys; /proc read-only; few
 * capabilities.  What runs in it sees neither the job, nor the console, nor the disks below the file systems.  It ends
 * with the entry, or with the deadline: the whole pid namespace is killed.
 */
#ifndef FG_FIXVM_RUN_H
#define FG_FIXVM_RUN_H

#include "fixvm/init/fixvm.h"

#define FG_RUN_PAYLOAD_CHROOT "/run/fixgate/payload"
#define FG_RUN_PAYLOAD_OUTSIDE "/payload"
#define FG_RUN_OUTSIDE_DIR "/outside"

/* payload.c: loop device and squashfs, read-only, nodev, nosuid */
int fg_payload_mount(const char *file, const char *dir, struct fg_error *err) FG_MUST_CHECK;

/* Every program of the manifest's list exists where the entry runs; NOTFOUND names the one that does not. */
int fg_run_check_tools(const struct fg_fixvm *vm, struct fg_error *err) FG_MUST_CHECK;
/*
 * program: path inside the payload.  0: it ended, *exit_status is 0..255 (128 + N for signal N).  TIMEOUT: killed.
 * FAILED: it could not be started.
 */
int fg_run_program(struct fg_fixvm *vm, const char *program, int *exit_status, struct fg_error *err) FG_MUST_CHECK;

/* sandbox.c: in a new process, pid 1 of its pid namespace; never returns.  stdout and stderr are the caller's pipe. */
struct fg_sandbox {
	enum fg_context context;
	const char *program, *hostname;
	const char *const *env;
	int setup; /* pipe for the reason when it cannot start; closed by exec */
};
void fg_sandbox_main(const struct fg_sandbox *s) __attribute__((noreturn));

/* sandbox_fs.c: its file systems; afterwards "/" is the sandbox's root */
int fg_sandbox_files(enum fg_context context, struct fg_error *err) FG_MUST_CHECK;
/*
 * dpkg's scripts ask /usr/sbin/policy-rc.d before they start a service: for the time of the run it says no.  Where the
 * guest has none, a file of ours stands there and `lift` removes it and restores the folder's times.
 */
struct fg_policy {
	bool made;
	long long dev, ino;
	long long times[4];
};
int fg_policy_forbid(struct fg_policy *p, struct fg_error *err) FG_MUST_CHECK;
void fg_policy_lift(const struct fg_policy *p);

/* receipt.c */
int fg_receipt_write(const struct fg_fixvm *vm, struct fg_error *err) FG_MUST_CHECK;

#endif
