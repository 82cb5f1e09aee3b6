/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fixvm/steps/run.h"

#include "lib/util.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int open_folder(int at, const char *name, uint64_t resolve)
{
	struct open_how how = { .flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC, .resolve = resolve };

	return (int)syscall(SYS_openat2, at, name, &how, sizeof(how));
}

/* FG_RECEIPT_DIR: /var/lib may be behind links of the guest, what is below is ours and no link. */
static int open_receipts(int root_fd, int *out, struct fg_error *err)
{
	static const char *const ours[] = { "fixgate", "receipts" };
	fg_autoclose int fd = open_folder(root_fd, "var/lib", RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);

	if (fd < 0)
		return fg_error_errno(err, FG_EIO, errno, "open /var/lib");
	for (size_t i = 0; i < FG_COUNT(ours); i++) {
		if (mkdirat(fd, ours[i], 0755) == 0) {
			if (fsync(fd) < 0)
				return fg_error_errno(err, FG_EIO, errno, "fsync");
		} else if (errno != EEXIST) {
			return fg_error_errno(err, FG_EIO, errno, "mkdir %s", ours[i]);
		}
		int next = open_folder(fd, ours[i], RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
		if (next < 0)
			return fg_error_errno(err, FG_EIO, errno, "open %s", ours[i]);
		close(fd);
		fd = next;
	}
	*out = FG_TAKE_FD(fd);
	return 0;
}

static int replace(int folder, const char *name, const char *text, struct fg_error *err)
{
	fg_autofree char *temp = fg_asprintf(".%s.new", name);
	size_t len = strlen(text);

	if (unlinkat(folder, temp, 0) < 0 && errno != ENOENT)
		return fg_error_errno(err, FG_EIO, errno, "remove %s", temp);
	fg_autoclose int fd = openat(folder, temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0)
		return fg_error_errno(err, FG_EIO, errno, "create %s", temp);
	if (write(fd, text, len) != (ssize_t)len || fsync(fd) < 0)
		return fg_error_errno(err, FG_EIO, errno, "write %s", temp);
	if (renameat(folder, temp, folder, name) < 0 || fsync(folder) < 0)
		return fg_error_errno(err, FG_EIO, errno, "rename %s", temp);
	return 0;
}

int fg_receipt_write(const struct fg_fixvm *vm, struct fg_error *err)
{
	const struct fg_manifest *m = vm->head.manifest;
	fg_autoclose int folder = -1;
	char when[21], digest[FG_DIGEST_HEX];

	fg_time_format(fg_now_ms() / 1000, when);
	fg_hex_encode(m->payload_digest, FG_DIGEST_BYTES, digest);
	fg_autojson json_t *signers = json_array();
	for (size_t i = 0; i < vm->head.n_signers; i++)
		json_array_append_new(signers, json_string(vm->head.signers[i]));
	fg_autojson json_t *receipt =
		json_pack("{s:i,s:s,s:I,s:s,s:s,s:s,s:s,s:O}", "format", 1, "fix", m->id, "version",
			  (json_int_t)m->version, "job", vm->job.job, "guest", vm->job.guest, "applied", when,
			  "payload_sha256", digest, "signers", signers);
	fg_autofree char *json = receipt ? fg_json_dump(receipt) : NULL;
	if (!json)
		return fg_error_set(err, FG_EBUG, "receipt is no JSON");
	fg_autofree char *text = fg_asprintf("%s\n", json);
	fg_autofree char *name = fg_asprintf("%s.json", m->id);
	int rc = open_receipts(vm->root.fd, &folder, err);
	return rc ? rc : replace(folder, name, text, err);
}
