/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The steps in order.  Each one ends the work by returning an error; what they did is undone by throwing the machine and its
 * copy-on-write layer away.
 */
#include "fixvm/init/fixvm.h"
#include "fixvm/steps/download.h"
#include "fixvm/steps/network.h"
#include "fixvm/steps/run.h"

#include "lib/util.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static const char *const step_names[] = {
#define NAME(name, str) [FG_STEP_##name] = str,
	FG_STEP_LIST(NAME)
#undef NAME
};

const char *fg_step_name(enum fg_step step)
{
	return (unsigned)step < FG_COUNT(step_names) ? step_names[step] : "unknown";
}

void fg_fixvm_result(struct fg_fixvm *vm, const char *outcome, const char *reason, int exit_status)
{
	fg_autofree char *text = fg_console_text(reason, strlen(reason), 500);
	fg_autojson json_t *data = json_pack("{s:s,s:s,s:s}", "outcome", outcome, "step",
					     fg_step_name((enum fg_step)vm->shared->step), "reason", text);

	if (data && exit_status >= 0)
		json_object_set_new(data, "exit_status", json_integer(exit_status));
	if (data && fg_console_send(&vm->console, FG_FIXVM_RESULT, data, NULL) == 0)
		vm->shared->result_sent = 1;
}

static void enter(struct fg_fixvm *vm, enum fg_step step)
{
	vm->shared->step = step;
}

static int check_head(struct fg_fixvm *vm, struct fg_error *err)
{
	struct fg_trust *trust = NULL;
	size_t len;

	enter(vm, FG_STEP_HEAD);
	int rc = fg_file_read(FG_FIXVM_HEAD_PATH, FG_BUNDLE_HEAD_MAX, (char **)&vm->head_bytes, &len, err);
	if (!rc)
		rc = fg_bundle_head_parse(vm->head_bytes, len, &vm->head, err);
	if (!rc && memcmp(vm->head.head_digest, vm->job.head_digest, FG_DIGEST_BYTES) != 0)
		rc = fg_error_set(err, FG_EUNTRUSTED, "the bundle's head is not the one of the job");
	if (!rc)
		rc = fg_trust_load(FG_FIXVM_TRUST_PATH, &trust, err);
	if (!rc)
		rc = fg_bundle_head_verify(&vm->head, trust, vm->job.now_s, err);
	fg_trust_free(trust);
	return rc;
}

static int fetch_payload(struct fg_fixvm *vm, struct fg_error *err)
{
	struct fg_job_address own;

	enter(vm, FG_STEP_NETWORK);
	int rc = fg_network_up(&vm->job, &own, err);
	if (rc)
		return rc;
	fg_console_say(&vm->console, FG_FIXVM_NET_UP, "{s:s}", "address", own.text);
	enter(vm, FG_STEP_DOWNLOAD);
	rc = fg_download(vm, err);
	if (rc)
		return rc;
	enter(vm, FG_STEP_CLOSE);
	fg_console_say(&vm->console, FG_FIXVM_VERIFIED, "{s:I}", "payload_bytes", (json_int_t)vm->head.payload_bytes);
	return fg_console_wait_closed(&vm->console, vm->job.closed_wait_s, err);
}

static int open_guest(struct fg_fixvm *vm, struct fg_error *err)
{
	enter(vm, FG_STEP_ROOT);
	int rc = fg_root_wait_disks(&vm->root, &vm->job, vm->uevents, err);
	if (!rc)
		rc = fg_root_probe(&vm->root, &vm->job, err);
	if (!rc)
		rc = fg_root_find(&vm->root, err);
	if (rc)
		return rc;
	enter(vm, FG_STEP_MOUNT);
	rc = fg_root_mount(&vm->root, !vm->job.inspect, err);
	if (rc)
		return rc;
	fg_autofree char *device = fg_asprintf("/dev/%s", vm->root.mounts[0].block);
	fg_autofree char *os = fg_console_text(vm->root.os, strlen(vm->root.os), sizeof(vm->root.os));
	fg_console_say(&vm->console, FG_FIXVM_MOUNTED, "{s:s,s:s}", "root", device, "os", os);
	return 0;
}

static int check_applies(struct fg_fixvm *vm, enum fg_applies *applies, char **reason, struct fg_error *err)
{
	static const char *const names[] = { [FG_APPLIES_NEEDED] = "needed",
					     [FG_APPLIES_NOT_APPLICABLE] = "not-applicable",
					     [FG_APPLIES_ALREADY] = "already" };

	enter(vm, FG_STEP_APPLIES);
	int rc = fg_applies_evaluate(vm->head.manifest, vm->root.fd, applies, reason, err);
	if (rc)
		return rc;
	fg_autofree char *text = fg_console_text(*reason, strlen(*reason), 500);
	fg_console_say(&vm->console, FG_FIXVM_APPLIES, "{s:s,s:s}", "result", names[*applies], "reason", text);
	return 0;
}

static int run_one(struct fg_fixvm *vm, enum fg_step step, const char *program, int *exit_status, struct fg_error *err)
{
	enter(vm, step);
	if (step == FG_STEP_ENTRY)
		fg_console_say(&vm->console, FG_FIXVM_RUNNING, "{s:s}", "entry", program);
	int rc = fg_run_program(vm, program, exit_status, err);
	if (!rc && *exit_status)
		rc = fg_error_set(err, FG_EFAILED, "%s: exit status %d", program, *exit_status);
	return rc;
}

static int apply(struct fg_fixvm *vm, int *exit_status, struct fg_error *err)
{
	const struct fg_manifest *m = vm->head.manifest;

	enter(vm, FG_STEP_ENTRY);
	int rc = fg_payload_mount(FG_FIXVM_PAYLOAD, FG_FIXVM_PAYLOAD_DIR, err);
	if (!rc)
		rc = fg_run_check_tools(vm, err);
	if (!rc)
		rc = fg_platform_seal(err);
	if (!rc)
		rc = run_one(vm, FG_STEP_ENTRY, m->entry, exit_status, err);
	if (!rc && m->post_check)
		rc = run_one(vm, FG_STEP_POST_CHECK, m->post_check, exit_status, err);
	if (rc)
		return rc;
	enter(vm, FG_STEP_RECEIPT);
	rc = fg_receipt_write(vm, err);
	if (rc)
		return rc;
	enter(vm, FG_STEP_UNMOUNT);
	return fg_root_unmount(&vm->root, err);
}

static int work(struct fg_fixvm *vm, const char **outcome, char **reason, int *exit_status, struct fg_error *err)
{
	enum fg_applies applies = FG_APPLIES_NEEDED;
	int rc = check_head(vm, err);

	if (!rc && !vm->job.inspect)
		rc = fetch_payload(vm, err);
	if (!rc)
		rc = open_guest(vm, err);
	if (!rc)
		rc = check_applies(vm, &applies, reason, err);
	if (rc)
		return rc;
	if (applies == FG_APPLIES_NEEDED && !vm->job.inspect) {
		*outcome = "verified";
		free(*reason);
		*reason = fg_strdup("the fix is applied and checked");
		return apply(vm, exit_status, err);
	}
	*outcome = applies == FG_APPLIES_NEEDED ? "needed" : "not-needed";
	return fg_root_unmount(&vm->root, err);
}

/* Memory is needed by the fix: the kernel should not take ours. */
static void protect(void)
{
	fg_autoclose int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd >= 0 && write(fd, "-1000", 5) < 0)
		return;
}

int fg_fixvm_work(struct fg_fixvm *vm)
{
	struct fg_error err = FG_ERROR_INIT;
	const char *outcome = "failed";
	fg_autofree char *reason = NULL;
	int exit_status = -1;

	protect();
	fg_root_init(&vm->root);
	if (work(vm, &outcome, &reason, &exit_status, &err))
		fg_fixvm_result(vm, "failed", err.text, exit_status);
	else
		fg_fixvm_result(vm, outcome, reason ? reason : "", exit_status);
	return vm->shared->result_sent ? 0 : 1;
}
