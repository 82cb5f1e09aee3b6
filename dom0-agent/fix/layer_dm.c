/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Layers on device mapper.  In the folder of the stores, for each (job, vdev):
 *	<job>-<vdev>.cow	the store, sparse
 *	<job>-<vdev>.merging	merge has begun: the layer must reach the origin
 *	<job>-<vdev>.merged	merge is complete; kept until drop, so that a second merge knows
 * merge: device removed -> store checked -> .merging -> copied, fsync -> renamed to .merged -> store removed.
 * All work is done in one thread; calls of one connection run one after the other.
 */
#include "dom0-agent/fix/layer.h"

#include "dom0-agent/fix/layer_dm_cow.h"
#include "dom0-agent/fix/layer_dm_device.h"
#include "dom0-agent/toolstack/worker.h"
#include "lib/log.h"
#include "lib/util.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define SECTOR 512u
#define SPARE_DIVISOR 10 /* a tenth of the free space stays free, whatever a fix writes */

struct fg_layers {
	char *dir;
	struct fg_worker *worker;
};

enum verb { VERB_CREATE, VERB_MERGE, VERB_DROP };

struct call {
	struct fg_worker_job job; /* first */
	struct fg_layers *layers;
	enum verb verb;
	struct fg_layer_request req;
	char *target;
	char *name, *device, *store, *merging, *merged;
	fg_layer_path_cb *path_cb;
	fg_ts_done_cb *done_cb;
	void *arg;
	int rc;
	struct fg_error err;
};

/*----- names -----*/

static int names_check(const struct fg_layer_request *req, struct fg_error *err)
{
	char uuid[FG_UUID_TEXT];
	size_t n = strspn(req->vdev, "abcdefghijklmnopqrstuvwxyz0123456789");

	if (fg_uuid_parse(req->job, uuid, err) < 0)
		return -FG_EFORMAT;
	if (strcmp(uuid, req->job) != 0 || !n || req->vdev[n])
		return fg_error_set(err, FG_EFORMAT, "layer '%s' of job %s", req->vdev, req->job);
	return 0;
}

static void names_make(struct call *call)
{
	const char *dir = call->layers->dir, *job = call->req.job, *vdev = call->req.vdev;

	call->name = fg_asprintf("fixgate-%s-%s", job, vdev);
	call->device = fg_asprintf("/dev/mapper/%s", call->name);
	call->store = fg_asprintf("%s/%s-%s.cow", dir, job, vdev);
	call->merging = fg_asprintf("%s/%s-%s.merging", dir, job, vdev);
	call->merged = fg_asprintf("%s/%s-%s.merged", dir, job, vdev);
}

static bool there(const char *path)
{
	return access(path, F_OK) == 0;
}

/* How many files of the job end with this suffix. */
static int job_count(const char *dir, const char *job, const char *suffix, unsigned *out, struct fg_error *err)
{
	unsigned n = 0;
	size_t job_len = strlen(job), suffix_len = strlen(suffix);
	DIR *d = opendir(dir);

	if (!d && errno != ENOENT)
		return fg_error_errno(err, FG_EUNREACHABLE, errno, "%s", dir);
	for (struct dirent *entry; d && (entry = readdir(d));) {
		size_t len = strlen(entry->d_name);
		if (len > job_len + 1 + suffix_len && !strncmp(entry->d_name, job, job_len) &&
		    entry->d_name[job_len] == '-' && !strcmp(entry->d_name + len - suffix_len, suffix))
			n++;
	}
	if (d)
		closedir(d);
	*out = n;
	return 0;
}

static int dm_merge_begun(struct fg_layers *layers, const char *job, bool *out, struct fg_error *err)
{
	unsigned merging = 0, merged = 0;
	int rc = job_count(layers->dir, job, ".merging", &merging, err);

	if (rc == 0)
		rc = job_count(layers->dir, job, ".merged", &merged, err);
	if (rc == 0)
		*out = merging + merged > 0;
	return rc;
}

/*----- the thread's side -----*/

/* Size in bytes of a file or block device; what is behind the last whole sector no guest can see. */
static int size_of(int fd, const char *path, uint64_t *out, struct fg_error *err)
{
	struct stat st;
	uint64_t bytes = 0;

	if (fstat(fd, &st) < 0 || (S_ISBLK(st.st_mode) && ioctl(fd, BLKGETSIZE64, &bytes) < 0))
		return fg_error_errno(err, FG_EFAILED, errno, "%s", path);
	if (!S_ISBLK(st.st_mode) && !S_ISREG(st.st_mode))
		return fg_error_set(err, FG_EREFUSED, "%s is neither a file nor a block device", path);
	if (S_ISREG(st.st_mode))
		bytes = (uint64_t)st.st_size;
	bytes -= bytes % SECTOR;
	if (!bytes)
		return fg_error_set(err, FG_EREFUSED, "%s is empty", path);
	*out = bytes;
	return 0;
}

static int target_open(const struct call *call, int flags, bool *block, uint64_t *bytes, struct fg_error *err)
{
	struct stat st;
	fg_autoclose int fd = open(call->target, flags | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st) < 0)
		return fg_error_errno(err, errno == ENOENT ? FG_ENOTFOUND : FG_EFAILED, errno, "%s", call->target);
	*block = S_ISBLK(st.st_mode);
	int rc = size_of(fd, call->target, bytes, err);
	return rc < 0 ? rc : FG_TAKE_FD(fd);
}

static int store_make(const struct call *call, uint64_t origin_bytes, struct fg_error *err)
{
	struct statvfs fs;
	uint64_t want = fg_cow_store_bytes(origin_bytes);
	fg_autoclose int fd = open(call->store, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0 || fstatvfs(fd, &fs) < 0)
		return fg_error_errno(err, FG_EIO, errno, "%s", call->store);
	uint64_t room = (uint64_t)fs.f_bavail * fs.f_frsize;
	room -= room / SPARE_DIVISOR;
	if (want > room) {
		fg_log_info("layer %s: room for %" PRIu64 " MiB only", call->name, room >> 20);
		want = room;
	}
	want -= want % 4096;
	if (want < (1u << 20))
		return fg_error_set(err, FG_EREFUSED, "no room for a layer in %s", call->layers->dir);
	if (ftruncate(fd, (off_t)want) < 0 || fsync(fd) < 0)
		return fg_error_errno(err, FG_EIO, errno, "%s", call->store);
	return 0;
}

static int map(const struct call *call, const char *origin, uint64_t bytes, struct fg_error *err)
{
	char loop[32];
	fg_autoclose int store = -1;
	fg_autofree char *uuid = fg_asprintf("FIXGATE-%s-%s", call->req.job, call->req.vdev);

	if (call->req.readonly) {
		fg_autofree char *linear = fg_asprintf("%s 0", origin);
		return fg_dm_create(call->name, uuid, "linear", linear, bytes / SECTOR, true, err);
	}
	int rc = store_make(call, bytes, err);
	if (rc == 0)
		rc = store = fg_loop_open(call->store, false, true, loop, err);
	if (rc >= 0) {
		fg_autofree char *params = fg_asprintf("%s %s P %u", origin, loop, FG_COW_CHUNK_SECTORS);
		rc = fg_dm_create(call->name, uuid, "snapshot", params, bytes / SECTOR, false, err);
	}
	if (rc < 0 && unlink(call->store) < 0 && errno != ENOENT)
		fg_log_warn("%s cannot be removed: %s, ignoring", call->store, strerror(errno));
	return rc < 0 ? rc : 0;
}

static int do_create(struct call *call, struct fg_error *err)
{
	bool exists = false, block = false;
	uint64_t bytes = 0;
	char loop[32];

	int rc = fg_dm_check(err);
	if (rc == 0)
		rc = fg_dm_exists(call->name, &exists, NULL, err);
	if (rc < 0)
		return rc;
	if (exists || there(call->store) || there(call->merging) || there(call->merged))
		return fg_error_set(err, FG_EEXISTS, "layer %s is there already", call->name);
	fg_autoclose int target = target_open(call, O_RDONLY, &block, &bytes, err);
	if (target < 0)
		return target;
	if (block)
		return map(call, call->target, bytes, err);
	/* Read-only: the kernel itself keeps every writer of the layer off the origin. */
	fg_autoclose int origin = fg_loop_open(call->target, true, !call->req.readonly, loop, err);
	return origin < 0 ? origin : map(call, loop, bytes, err);
}

static int fsync_dir(const char *dir, struct fg_error *err)
{
	fg_autoclose int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || fsync(fd) < 0)
		return fg_error_errno(err, FG_EIO, errno, "fsync of %s", dir);
	return 0;
}

/* Store and origin are checked as a whole before the marker is written: up to there the layer can still be dropped. */
static int copy(struct call *call, struct fg_error *err)
{
	bool block = false;
	uint64_t origin_bytes = 0, store_bytes = 0;
	struct fg_cow cow = { 0 };
	fg_autoclose int store = open(call->store, O_RDONLY | O_CLOEXEC);

	if (store < 0)
		return fg_error_errno(err, errno == ENOENT ? FG_ENOTFOUND : FG_EIO, errno, "%s", call->store);
	/* O_EXCL on a block device: nobody else (a mount, another mapping) holds it. */
	struct stat st;
	if (stat(call->target, &st) < 0)
		return fg_error_errno(err, errno == ENOENT ? FG_ENOTFOUND : FG_EIO, errno, "%s", call->target);
	const int excl = S_ISBLK(st.st_mode) ? O_EXCL : 0;
	fg_autoclose int origin = target_open(call, O_RDWR | excl, &block, &origin_bytes, err);
	if (origin < 0)
		return origin;
	int rc = size_of(store, call->store, &store_bytes, err);
	if (rc == 0 && fsync(store) < 0)
		rc = fg_error_errno(err, FG_EIO, errno, "fsync of %s", call->store);
	if (rc == 0)
		rc = fg_cow_read(store, store_bytes, origin_bytes, &cow, err);
	if (rc == 0 && !there(call->merging))
		rc = fg_file_write_durable(call->merging, call->target, strlen(call->target), 0600, err);
	if (rc == 0)
		rc = fg_cow_copy(&cow, store, origin, origin_bytes, err);
	if (rc == 0)
		fg_log_info("layer %s: %zu chunks of %u bytes merged into %s", call->name, cow.n_exceptions,
			    cow.chunk_bytes, call->target);
	fg_cow_release(&cow);
	return rc;
}

/* After a reboot of dom0 the device mapper may not be loaded yet; if it does not answer, the device may be there. */
static int unmap(const struct call *call, struct fg_error *err)
{
	bool present = true;
	int rc = fg_dm_present("/sys", &present, err);

	return rc == 0 && present ? fg_dm_remove(call->name, err) : rc;
}

static int do_merge(struct call *call, struct fg_error *err)
{
	int rc = unmap(call, err);

	if (rc < 0 || call->req.readonly)
		return rc;
	if (!there(call->merged)) {
		rc = copy(call, err);
		if (rc < 0)
			return rc;
		if (rename(call->merging, call->merged) < 0)
			return fg_error_errno(err, FG_EIO, errno, "%s", call->merged);
		rc = fsync_dir(call->layers->dir, err);
	}
	if (rc == 0)
		rc = fg_file_remove_durable(call->store, err);
	return rc;
}

/* What a process that was killed has left of writing .merging (fg_file_write_durable): they say nothing. */
static int halves_remove(const struct call *call, struct fg_error *err)
{
	const char *name = strrchr(call->merging, '/') + 1;
	size_t len = strlen(name);
	DIR *d = opendir(call->layers->dir);
	int rc = 0;

	if (!d && errno != ENOENT)
		return fg_error_errno(err, FG_EUNREACHABLE, errno, "%s", call->layers->dir);
	for (struct dirent *entry; d && rc == 0 && (entry = readdir(d));) {
		if (strncmp(entry->d_name, name, len) != 0 || entry->d_name[len] != '.')
			continue;
		if (unlinkat(dirfd(d), entry->d_name, 0) < 0 && errno != ENOENT)
			rc = fg_error_errno(err, FG_EIO, errno, "cannot remove %s", entry->d_name);
	}
	if (d)
		closedir(d);
	return rc;
}

static int do_drop(struct call *call, struct fg_error *err)
{
	bool begun = false, done = there(call->merged);
	unsigned stores = 0;

	int rc = dm_merge_begun(call->layers, call->req.job, &begun, err);
	if (rc < 0)
		return rc;
	/* Of several disks of a job all are merged or none. */
	if (begun && !done && !call->req.readonly && there(call->store))
		return fg_error_set(err, FG_EHELD, "layer %s: the merge of this job has begun, it cannot be undone",
				    call->name);
	rc = unmap(call, err);
	if (rc == 0)
		rc = halves_remove(call, err);
	if (rc == 0)
		rc = fg_file_remove_durable(call->store, err);
	if (rc == 0 && done)
		rc = job_count(call->layers->dir, call->req.job, ".cow", &stores, err);
	/* While another disk is still to be merged, this record says that the job is past its point of no return. */
	if (rc == 0 && done && !stores)
		rc = fg_file_remove_durable(call->merged, err);
	return rc;
}

static void call_run(struct fg_worker_job *job)
{
	struct call *call = (struct call *)job;

	switch (call->verb) {
	case VERB_CREATE:
		call->rc = do_create(call, &call->err);
		break;
	case VERB_MERGE:
		call->rc = do_merge(call, &call->err);
		break;
	case VERB_DROP:
		call->rc = do_drop(call, &call->err);
		break;
	}
}

/*----- the loop's side -----*/

static void call_free(struct fg_worker_job *job)
{
	struct call *call = (struct call *)job;

	free(call->target);
	free(call->name);
	free(call->device);
	free(call->store);
	free(call->merging);
	free(call->merged);
	free(call);
}

static void call_done(struct fg_worker_job *job)
{
	struct call *call = (struct call *)job;
	const struct fg_error *err = call->rc ? &call->err : NULL;

	if (call->path_cb)
		call->path_cb(call->arg, call->rc, call->rc ? NULL : call->device, err);
	else
		call->done_cb(call->arg, call->rc, err);
	call_free(job);
}

static void call_start(struct fg_layers *layers, const struct fg_layer_request *req, enum verb verb,
		       fg_layer_path_cb *path_cb, fg_ts_done_cb *done_cb, void *arg)
{
	struct call *call = fg_calloc(1, sizeof(*call));

	call->job = (struct fg_worker_job){ .run = call_run, .done = call_done, .discard = call_free };
	call->layers = layers;
	call->verb = verb;
	call->req = *req;
	call->target = fg_strdup(req->target ? req->target : "");
	call->req.target = call->target;
	call->path_cb = path_cb;
	call->done_cb = done_cb;
	call->arg = arg;
	call->rc = names_check(req, &call->err);
	if (call->rc == 0)
		names_make(call);
	if (call->rc == 0)
		fg_worker_post(layers->worker, &call->job);
	else
		fg_worker_post_done(layers->worker, &call->job);
}

static void dm_create(struct fg_layers *layers, const struct fg_layer_request *req, fg_layer_path_cb *cb, void *arg)
{
	call_start(layers, req, VERB_CREATE, cb, NULL, arg);
}

static void dm_merge(struct fg_layers *layers, const struct fg_layer_request *req, fg_ts_done_cb *cb, void *arg)
{
	call_start(layers, req, VERB_MERGE, NULL, cb, arg);
}

static void dm_drop(struct fg_layers *layers, const struct fg_layer_request *req, fg_ts_done_cb *cb, void *arg)
{
	call_start(layers, req, VERB_DROP, NULL, cb, arg);
}

static int dm_open(struct event_base *base, const char *dir, struct fg_layers **out, struct fg_error *err)
{
	struct fg_layers *layers = fg_calloc(1, sizeof(*layers));

	layers->dir = fg_strdup(dir);
	int rc = fg_mkdir_p(dir, 0700, err);
	if (rc == 0)
		rc = fg_worker_new(base, &layers->worker, err);
	if (rc < 0) {
		free(layers->dir);
		free(layers);
		return rc;
	}
	*out = layers;
	return 0;
}

static void dm_close(struct fg_layers *layers)
{
	if (!layers)
		return;
	fg_worker_free(layers->worker);
	free(layers->dir);
	free(layers);
}

const struct fg_layer_ops fg_layer_dm = {
	.name = "dm",
	.open = dm_open,
	.close = dm_close,
	.create = dm_create,
	.merge = dm_merge,
	.drop = dm_drop,
	.merge_begun = dm_merge_begun,
};
