/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fixvm/init/fixvm.h"

#include "lib/util.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CLOCK_AHEAD_MAX_S 600

extern char **environ;

/*
 * pivot_root(2), which the sandbox needs, refuses to leave the initramfs; a bind mount of it, moved over it, can be left.
 */
static int leave_rootfs(struct fg_error *err)
{
	if (mkdir("/.root", 0700) < 0 && errno != EEXIST)
		return fg_error_errno(err, FG_EIO, errno, "mkdir /.root");
	if (mount("/", "/.root", NULL, MS_BIND, NULL) < 0 || chdir("/.root") < 0 ||
	    mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 || chdir("/") < 0)
		return fg_error_errno(err, FG_EIO, errno, "move the initramfs over itself");
	return 0;
}

/* The initramfs has no /dev/console, so the kernel gave us no descriptors: do not let a socket become one of these. */
static int standard_descriptors(struct fg_error *err)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR);
		if (fd < 0)
			return fg_error_errno(err, FG_EIO, errno, "open /dev/null");
	} while (fd < 3);
	close(fd);
	return 0;
}

int fg_platform_mount(struct fg_error *err)
{
	static const struct {
		const char *what, *where, *options;
		unsigned long flags;
	} mounts[] = {
		{ "proc", "/proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC },
		{ "sysfs", "/sys", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC },
		{ "devtmpfs", "/dev", "mode=0755", MS_NOSUID | MS_NOEXEC },
		{ "tmpfs", "/run", "mode=0755", MS_NOSUID | MS_NODEV },
		{ "tmpfs", "/tmp", "mode=1777", MS_NOSUID | MS_NODEV },
		/* The payload: all memory that is left may be used, the job's limits were checked in dom0. */
		{ "tmpfs", "/work", "mode=0700,size=95%", MS_NOSUID | MS_NODEV | MS_NOEXEC },
	};

	int rc = leave_rootfs(err);
	for (size_t i = 0; i < FG_COUNT(mounts) && !rc; i++) {
		if (mkdir(mounts[i].where, 0755) < 0 && errno != EEXIST)
			rc = fg_error_errno(err, FG_EIO, errno, "mkdir %s", mounts[i].where);
		else if (mount(mounts[i].what, mounts[i].where, mounts[i].what, mounts[i].flags, mounts[i].options) < 0)
			rc = fg_error_errno(err, FG_EIO, errno, "mount %s", mounts[i].where);
	}
	if (rc)
		return rc;
	/* A kernel message in the middle of one of our lines would spoil it. */
	klogctl(8, NULL, 1);
	/* Nobody but root reads the job: it holds the nonce and the token. */
	if (chmod("/fixgate", 0700) < 0)
		return fg_error_errno(err, FG_ENOTFOUND, errno, "no job in the initramfs: /fixgate");
	return standard_descriptors(err);
}

int fg_platform_uevents(int *out, struct fg_error *err)
{
	struct sockaddr_nl address = { .nl_family = AF_NETLINK, .nl_groups = 1 };
	int size = 1 << 20;
	fg_autoclose int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return fg_error_errno(err, FG_EIO, errno, "socket for uevents");
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	*out = FG_TAKE_FD(fd);
	return 0;
}

int fg_platform_run(const char *const argv[], struct fg_error *err)
{
	int status;
	pid_t pid = fork();

	if (pid < 0)
		return fg_error_errno(err, FG_EIO, errno, "fork for %s", argv[0]);
	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);

		for (int fd = 0; fd < 3 && null >= 0; fd++)
			dup2(null, fd);
		execve(argv[0], (char *const *)(uintptr_t)argv, environ);
		_exit(127);
	}
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return fg_error_errno(err, FG_EIO, errno, "wait for %s", argv[0]);
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	return fg_error_set(err, FG_EFAILED, "%s %s: %s %d", argv[0], argv[1] ? argv[1] : "",
			    WIFEXITED(status) ? "exit status" : "signal",
			    WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
}

int fg_platform_drivers(struct fg_error *err)
{
	static const char *const xen[] = { "/sbin/modprobe", "-a", "xen-blkfront", "xen-netfront", NULL };
	static const char *const virtio[] = { "/sbin/modprobe", "-a",	      "virtio_pci", "virtio_mmio",
					      "virtio_blk",	"virtio_net", NULL };
	fg_autofree char *type = NULL;

	/* sysfs-hypervisor-xen: "xen" in a Xen guest; the folder is empty elsewhere. */
	if (fg_file_read("/sys/hypervisor/type", 64, &type, NULL, NULL) == 0 && !strncmp(type, "xen", 3))
		return fg_platform_run(xen, err);
	return fg_platform_run(virtio, err);
}

void fg_platform_clock(int64_t now_s)
{
	struct timespec ts = { .tv_sec = now_s };
	int64_t now = fg_now_ms() / 1000;

	if (now < now_s || now > now_s + CLOCK_AHEAD_MAX_S)
		clock_settime(CLOCK_REALTIME, &ts); /* a wrong clock shows as a certificate that is not valid */
}

int fg_platform_sysctl(const char *path, const char *value, struct fg_error *err)
{
	fg_autoclose int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, value, strlen(value)) < 0)
		return fg_error_errno(err, FG_EIO, errno, "write %s", path);
	return 0;
}

int fg_platform_seal(struct fg_error *err)
{
	static const char *const seals[][2] = {
		{ "/proc/sys/kernel/modules_disabled", "1" },
		{ "/proc/sys/kernel/kexec_load_disabled", "1" },
		{ "/proc/sys/kernel/core_pattern", "\n" },
		{ "/proc/sys/kernel/unprivileged_bpf_disabled", "1" },
		{ "/proc/sys/kernel/sysrq", "0" },
		{ "/proc/sys/user/max_user_namespaces", "0" },
	};
	int rc = 0;

	for (size_t i = 0; i < FG_COUNT(seals) && !rc; i++)
		rc = fg_platform_sysctl(seals[i][0], seals[i][1], err);
	return rc;
}
