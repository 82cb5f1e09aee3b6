/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "dom0-agent/fix/layer_dm_device.h"

#include "lib/log.h"
#include "lib/util.h"

#include <errno.h>
#include <fcntl.h>
#include <libdevmapper.h>
#include <linux/loop.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define LOOP_TRIES 64 /* others take free loop devices at the same time */

/*----- loop -----*/

static int loop_configure(int file, const char *path, uint32_t flags, char out[32], struct fg_error *err)
{
	struct loop_config config = { .fd = (uint32_t)file, .info = { .lo_flags = flags } };
	fg_autoclose int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);

	if (control < 0)
		return fg_error_errno(err, FG_EFAILED, errno, "/dev/loop-control");
	snprintf((char *)config.info.lo_file_name, LO_NAME_SIZE, "%s", path);
	for (int i = 0; i < LOOP_TRIES; i++) {
		int n = ioctl(control, LOOP_CTL_GET_FREE);
		if (n < 0)
			return fg_error_errno(err, FG_EFAILED, errno, "no free loop device");
		snprintf(out, 32, "/dev/loop%d", n);
		fg_autoclose int fd = open(out, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			return fg_error_errno(err, FG_EFAILED, errno, "%s", out);
		if (ioctl(fd, LOOP_CONFIGURE, &config) == 0)
			return FG_TAKE_FD(fd);
		if (errno != EBUSY)
			return fg_error_errno(err, FG_EFAILED, errno, "%s over %s", out, path);
	}
	return fg_error_set(err, FG_EFAILED, "no free loop device after %d tries", LOOP_TRIES);
}

int fg_loop_open(const char *path, bool readonly, bool direct, char out[32], struct fg_error *err)
{
	uint32_t flags = LO_FLAGS_AUTOCLEAR | (readonly ? LO_FLAGS_READ_ONLY : 0) | (direct ? LO_FLAGS_DIRECT_IO : 0);
	fg_autoclose int file = open(path, (readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC);

	if (file < 0)
		return fg_error_errno(err, FG_EFAILED, errno, "%s", path);
	struct fg_error first = FG_ERROR_INIT;
	int rc = loop_configure(file, path, flags, out, &first);
	if (rc == -FG_EFAILED && direct && first.sys == EINVAL) /* the file system cannot do direct I/O */
		return loop_configure(file, path, flags & ~(uint32_t)LO_FLAGS_DIRECT_IO, out, err);
	if (rc < 0 && err)
		*err = first;
	return rc;
}

/*----- device mapper -----*/

static void dm_log(int level, const char *file, int line, int errno_or_class, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	(void)file;
	(void)line;
	(void)errno_or_class;
	if ((level & 7) > 4) /* syslog levels: warnings and worse */
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fg_log_debug("device mapper: %s", text);
}

static struct dm_task *task(int type, const char *name)
{
	dm_log_with_errno_init(dm_log);
	struct dm_task *t = dm_task_create(type);
	if (t && !dm_task_set_name(t, name)) {
		dm_task_destroy(t);
		return NULL;
	}
	return t;
}

/*
 * udev makes the node; nothing of it may look into the device: what is on it is the guest's (no blkid, no LVM scan).
 */
static int run_with_udev(struct dm_task *t, struct fg_error *err, const char *what, const char *name)
{
	uint32_t cookie = 0;
	const uint16_t flags = DM_UDEV_DISABLE_SUBSYSTEM_RULES_FLAG | DM_UDEV_DISABLE_DISK_RULES_FLAG |
			       DM_UDEV_DISABLE_OTHER_RULES_FLAG;

	if (!dm_task_set_cookie(t, &cookie, flags))
		return fg_error_set(err, FG_EFAILED, "%s: udev cannot be joined", name);
	int ok = dm_task_run(t);
	int sys = dm_task_get_errno(t);
	dm_udev_wait(cookie);
	if (!ok)
		return fg_error_errno(err, FG_EFAILED, sys, "%s: cannot %s", name, what);
	return 0;
}

int fg_dm_create(const char *name, const char *uuid, const char *target, const char *params, uint64_t sectors,
		 bool readonly, struct fg_error *err)
{
	struct dm_task *t = task(DM_DEVICE_CREATE, name);
	int rc;

	if (!t || !dm_task_set_uuid(t, uuid) || !dm_task_add_target(t, 0, sectors, target, params) ||
	    (readonly && !dm_task_set_ro(t)))
		rc = fg_error_set(err, FG_EFAILED, "%s: device mapper", name);
	else
		rc = run_with_udev(t, err, "create it", name);
	if (t)
		dm_task_destroy(t);
	return rc;
}

int fg_dm_exists(const char *name, bool *exists, int *open_count, struct fg_error *err)
{
	struct dm_info info = { 0 };
	struct dm_task *t = task(DM_DEVICE_INFO, name);
	int ok = t && dm_task_run(t) && dm_task_get_info(t, &info);

	if (t)
		dm_task_destroy(t);
	if (!ok)
		return fg_error_set(err, FG_EUNREACHABLE, "%s: device mapper does not answer", name);
	*exists = info.exists;
	if (open_count)
		*open_count = info.exists ? info.open_count : 0;
	return 0;
}

int fg_dm_remove(const char *name, struct fg_error *err)
{
	bool exists = false;
	int open_count = 0;

	int rc = fg_dm_exists(name, &exists, &open_count, err);
	if (rc < 0 || !exists)
		return rc;
	if (open_count)
		return fg_error_set(err, FG_EFAILED, "%s is in use", name);
	struct dm_task *t = task(DM_DEVICE_REMOVE, name);
	rc = t ? run_with_udev(t, err, "remove it", name) : fg_error_set(err, FG_EFAILED, "%s: device mapper", name);
	if (t)
		dm_task_destroy(t);
	return rc;
}

int fg_dm_present(const char *sysfs, bool *present, struct fg_error *err)
{
	/* Built in or loaded: it has parameters, so the folder is there either way. */
	fg_autofree char *modules = fg_asprintf("%s/module", sysfs), *dm = fg_asprintf("%s/dm_mod", modules);

	if (access(dm, F_OK) == 0) {
		*present = true;
		return 0;
	}
	int sys = errno;
	if (sys != ENOENT || access(modules, F_OK) < 0)
		return fg_error_errno(err, FG_EUNREACHABLE, sys, "is there a device mapper? %s", dm);
	*present = false;
	return 0;
}

int fg_dm_check(struct fg_error *err)
{
	char version[64];

	dm_log_with_errno_init(dm_log);
	if (access("/dev/loop-control", F_OK) < 0)
		return fg_error_set(err, FG_EREFUSED, "this kernel has no loop devices (modprobe loop)");
	if (!dm_driver_version(version, sizeof(version)))
		return fg_error_set(err, FG_EREFUSED, "this kernel has no device mapper (modprobe dm-snapshot)");
	return 0;
}
