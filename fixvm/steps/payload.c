/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fixvm/steps/run.h"

#include "lib/util.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

int fg_payload_mount(const char *file, const char *dir, struct fg_error *err)
{
	const char *const modprobe[] = { "/sbin/modprobe", "-a", "loop", "squashfs", NULL };
	int rc = fg_platform_run(modprobe, err);

	if (rc)
		return rc;
	fg_autoclose int fd = open(file, O_RDONLY | O_CLOEXEC);
	fg_autoclose int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	int number = control < 0 ? -1 : ioctl(control, LOOP_CTL_GET_FREE);
	if (fd < 0 || number < 0)
		return fg_error_errno(err, FG_EIO, errno, "loop device for %s", file);
	fg_autofree char *path = fg_asprintf("/dev/loop%d", number);
	fg_autoclose int loop = open(path, O_RDONLY | O_CLOEXEC);
	/* Gone with its last user, the mount. */
	struct loop_config config = { .fd = (__u32)fd, .info.lo_flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR };
	if (loop < 0 || ioctl(loop, LOOP_CONFIGURE, &config) < 0)
		return fg_error_errno(err, FG_EIO, errno, "%s for %s", path, file);
	if (mount(path, dir, "squashfs", MS_RDONLY | MS_NODEV | MS_NOSUID, NULL) < 0)
		return fg_error_errno(err, FG_EFORMAT, errno, "mount the payload");
	return 0;
}
