/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The fix VM's own program.  PID 1 (main.c) prepares the machine, reads the job and forks the worker; the worker
 * (work.c) goes through the steps in order; PID 1 waits for it, says "result failed" in its place if it died, and
 * powers off.  Nothing here survives: all state is memory, the guest's disks excepted.
 */
#ifndef FG_FIXVM_INIT_H
#define FG_FIXVM_INIT_H

#include "fixvm/init/console.h"
#include "fixvm/init/job.h"
#include "fixvm/steps/root.h"

#include <fixgate/bundle.h>

/* The steps, in order; the name is the "step" of a failed result. */
#define FG_STEP_LIST(X)                                                                                                \
	X(INIT, "init")                                                                                                \
	X(HEAD, "head")                                                                                                \
	X(NETWORK, "network")                                                                                          \
	X(DOWNLOAD, "download")                                                                                        \
	X(CLOSE, "close")                                                                                              \
	X(ROOT, "root")                                                                                                \
	X(MOUNT, "mount")                                                                                              \
	X(APPLIES, "applies")                                                                                          \
	X(ENTRY, "entry")                                                                                              \
	X(POST_CHECK, "post-check")                                                                                    \
	X(RECEIPT, "receipt")                                                                                          \
	X(UNMOUNT, "unmount")

enum fg_step {
#define FG_STEP_ENUM(name, str) FG_STEP_##name,
	FG_STEP_LIST(FG_STEP_ENUM)
#undef FG_STEP_ENUM
		FG_STEP_COUNT
};
const char *fg_step_name(enum fg_step step);

/* Shared with PID 1, which speaks for a worker that died. */
struct fg_fixvm_shared {
	volatile int step; /* enum fg_step */
	volatile int result_sent;
};

struct fg_fixvm {
	struct fg_job job;
	struct fg_console console;
	struct fg_fixvm_shared *shared;
	int uevents; /* netlink socket, opened before the first driver was loaded */
	uint8_t *head_bytes;
	struct fg_bundle_head head;
	struct fg_root root;
};

#define FG_FIXVM_PAYLOAD "/work/payload.squashfs" /* on its own tmpfs */
#define FG_FIXVM_PAYLOAD_DIR "/payload"

/* main.c: PID 1 */

/* platform.c: what a kernel needs before it is of use */
int fg_platform_mount(struct fg_error *err) FG_MUST_CHECK;
int fg_platform_uevents(int *out, struct fg_error *err) FG_MUST_CHECK;
int fg_platform_drivers(struct fg_error *err) FG_MUST_CHECK;
void fg_platform_clock(int64_t now_s);
/* No module, no kexec, no user namespace from here on: before anything of the guest runs. */
int fg_platform_seal(struct fg_error *err) FG_MUST_CHECK;
/* Starts argv[0] and waits; FAILED with the exit status otherwise. */
int fg_platform_run(const char *const argv[], struct fg_error *err) FG_MUST_CHECK;
int fg_platform_sysctl(const char *path, const char *value, struct fg_error *err) FG_MUST_CHECK;

/* work.c: exit status of the worker, 0 if a result was sent */
int fg_fixvm_work(struct fg_fixvm *vm);
void fg_fixvm_result(struct fg_fixvm *vm, const char *outcome, const char *reason, int exit_status);

#endif
