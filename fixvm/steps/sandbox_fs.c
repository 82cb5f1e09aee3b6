/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fixvm/steps/run.h"

#include "lib/util.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define POLICY_PATH "/usr/sbin/policy-rc.d"
#define POLICY_FOLDER "/usr/sbin"
#define POLICY_TEXT "#!/bin/sh\nexit 101\n"

static int mount_at(const char *type, const char *where, unsigned long flags, const char *options, struct fg_error *err)
{
	if (mount(type, where, type, flags | MS_NOSUID, options) < 0)
		return fg_error_errno(err, FG_EIO, errno, "sandbox: mount %s at %s", type, where);
	return 0;
}

static int read_only(const char *where, unsigned long flags, struct fg_error *err)
{
	if (mount(NULL, where, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | flags, NULL) < 0)
		return fg_error_errno(err, FG_EIO, errno, "sandbox: %s read-only", where);
	return 0;
}

/* From here on "/" is dir, and nothing above it can be reached. */
static int pivot(const char *dir, struct fg_error *err)
{
	if (chdir(dir) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return fg_error_errno(err, FG_EIO, errno, "sandbox: pivot_root to %s", dir);
	return 0;
}

static int make_dev(struct fg_error *err)
{
	static const struct {
		const char *path;
		unsigned major, minor;
	} nodes[] = { { "/dev/null", 1, 3 },   { "/dev/zero", 1, 5 },	 { "/dev/full", 1, 7 },
		      { "/dev/random", 1, 8 }, { "/dev/urandom", 1, 9 }, { "/dev/tty", 5, 0 } };
	static const char *const links[][2] = { { "/proc/self/fd", "/dev/fd" },
						{ "/proc/self/fd/0", "/dev/stdin" },
						{ "/proc/self/fd/1", "/dev/stdout" },
						{ "/proc/self/fd/2", "/dev/stderr" },
						{ "pts/ptmx", "/dev/ptmx" } };
	int rc = mount_at("tmpfs", "/dev", MS_NOEXEC, "mode=0755,size=64k", err);

	if (rc)
		return rc;
	for (size_t i = 0; i < FG_COUNT(nodes); i++) {
		if (mknod(nodes[i].path, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)) < 0 ||
		    chmod(nodes[i].path, 0666) < 0)
			return fg_error_errno(err, FG_EIO, errno, "sandbox: %s", nodes[i].path);
	}
	for (size_t i = 0; i < FG_COUNT(links); i++) {
		if (symlink(links[i][0], links[i][1]) < 0)
			return fg_error_errno(err, FG_EIO, errno, "sandbox: %s", links[i][1]);
	}
	if (mkdir("/dev/shm", 0755) < 0 || mkdir("/dev/pts", 0755) < 0)
		return fg_error_errno(err, FG_EIO, errno, "sandbox: folders of /dev");
	rc = mount_at("tmpfs", "/dev/shm", MS_NODEV | MS_NOEXEC, "mode=1777,size=16m", err);
	if (!rc)
		rc = mount_at("devpts", "/dev/pts", MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620", err);
	/* Read-only: no node can be added to the one place where nodes work. */
	return rc ? rc : read_only("/dev", MS_NOSUID | MS_NOEXEC, err);
}

static int common_mounts(struct fg_error *err)
{
	/* Read-only: /proc/sys and /proc/sysrq-trigger would reach the whole machine. */
	int rc = mount_at("proc", "/proc", MS_NODEV | MS_NOEXEC | MS_RDONLY, NULL, err);

	if (!rc)
		rc = make_dev(err);
	if (!rc)
		rc = mount_at("tmpfs", "/run", MS_NODEV, "mode=0755,size=10%", err);
	if (!rc)
		rc = mount_at("tmpfs", "/tmp", MS_NODEV, "mode=1777,size=25%", err);
	return rc;
}

static int chroot_files(struct fg_error *err)
{
	fg_autoclose int payload = open_tree(AT_FDCWD, FG_FIXVM_PAYLOAD_DIR, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	if (payload < 0)
		return fg_error_errno(err, FG_EIO, errno, "sandbox: payload");
	int rc = pivot(FG_ROOT_DIR, err);
	if (!rc)
		rc = common_mounts(err);
	if (rc)
		return rc;
	if (mkdir("/run/lock", 01777) < 0 || chmod("/run/lock", 01777) < 0 || mkdir("/run/fixgate", 0755) < 0 ||
	    mkdir(FG_RUN_PAYLOAD_CHROOT, 0755) < 0 ||
	    move_mount(payload, "", AT_FDCWD, FG_RUN_PAYLOAD_CHROOT, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return fg_error_errno(err, FG_EIO, errno, "sandbox: %s", FG_RUN_PAYLOAD_CHROOT);
	return 0;
}

static int outside_files(struct fg_error *err)
{
	if (mount(FG_RUN_OUTSIDE_DIR, FG_RUN_OUTSIDE_DIR, NULL, MS_BIND, NULL) < 0 ||
	    mount(FG_ROOT_DIR, FG_RUN_OUTSIDE_DIR "/guest", NULL, MS_BIND | MS_REC, NULL) < 0 ||
	    mount(FG_FIXVM_PAYLOAD_DIR, FG_RUN_OUTSIDE_DIR FG_RUN_PAYLOAD_OUTSIDE, NULL, MS_BIND, NULL) < 0)
		return fg_error_errno(err, FG_EIO, errno, "sandbox: bind the guest's root");
	int rc = pivot(FG_RUN_OUTSIDE_DIR, err);
	if (!rc)
		rc = common_mounts(err);
	return rc ? rc : read_only("/", MS_NODEV, err);
}

int fg_sandbox_files(enum fg_context context, struct fg_error *err)
{
	return context == FG_CONTEXT_CHROOT ? chroot_files(err) : outside_files(err);
}

int fg_policy_forbid(struct fg_policy *p, struct fg_error *err)
{
	static const char ours[] = "/run/fixgate/policy-rc.d";
	struct stat folder, st;

	*p = (struct fg_policy){ .made = false };
	if (stat(POLICY_FOLDER, &folder) < 0 || !S_ISDIR(folder.st_mode))
		return 0; /* no dpkg system */
	fg_autoclose int fd = open(ours, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
	if (fd < 0 || write(fd, POLICY_TEXT, strlen(POLICY_TEXT)) < 0)
		return fg_error_errno(err, FG_EIO, errno, "sandbox: %s", ours);
	if (lstat(POLICY_PATH, &st) < 0) {
		fg_autoclose int made = open(POLICY_PATH, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0755);

		if (made < 0 || write(made, POLICY_TEXT, strlen(POLICY_TEXT)) < 0 || fstat(made, &st) < 0)
			return fg_error_errno(err, FG_EIO, errno, "sandbox: %s", POLICY_PATH);
		*p = (struct fg_policy){ .made = true,
					 .dev = (long long)st.st_dev,
					 .ino = (long long)st.st_ino,
					 .times = { folder.st_atim.tv_sec, folder.st_atim.tv_nsec,
						    folder.st_mtim.tv_sec, folder.st_mtim.tv_nsec } };
		return 0;
	}
	if (S_ISREG(st.st_mode) && mount(ours, POLICY_PATH, NULL, MS_BIND, NULL) < 0)
		return fg_error_errno(err, FG_EIO, errno, "sandbox: over %s", POLICY_PATH);
	return 0;
}

void fg_policy_lift(const struct fg_policy *p)
{
	struct stat st;

	/* The fix may have put one of its own there. */
	if (!p->made || lstat(POLICY_PATH, &st) < 0 || (long long)st.st_dev != p->dev || (long long)st.st_ino != p->ino)
		return;
	struct timespec times[2] = { { .tv_sec = (time_t)p->times[0], .tv_nsec = (long)p->times[1] },
				     { .tv_sec = (time_t)p->times[2], .tv_nsec = (long)p->times[3] } };
	if (unlink(POLICY_PATH) == 0)
		utimensat(AT_FDCWD, POLICY_FOLDER, times, 0);
}
