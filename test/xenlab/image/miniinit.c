// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * Init of the lab's initramfs, for dom0 and for the guests: load the modules listed in /modules (file names in load
 * order), wait for the root device, mount it, become its /sbin/init. The device comes from "root=" of the command line.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

_Noreturn static void die(const char *what)
{
	fprintf(stderr, "miniinit: %s: %s\n", what, strerror(errno));
	for (;;)
		pause();
}

static void load_modules(void)
{
	char name[256];
	FILE *list = fopen("/modules", "r");

	if (!list)
		die("/modules");
	while (fgets(name, sizeof(name), list)) {
		int fd;

		name[strcspn(name, "\n")] = '\0';
		fd = open(name, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST))
			fprintf(stderr, "miniinit: %s: %s, ignoring\n", name, strerror(errno));
		if (fd >= 0)
			close(fd);
	}
	fclose(list);
}

static void root_from_cmdline(char *root, size_t size)
{
	char line[4096] = "";
	int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, line, sizeof(line) - 1);

	if (n < 0)
		die("/proc/cmdline");
	close(fd);
	for (char *word = strtok(line, " \n"); word; word = strtok(NULL, " \n"))
		if (!strncmp(word, "root=", 5))
			snprintf(root, size, "%s", word + 5);
}

/* devtmpfs makes the node when the driver finds the disk; inotify sees it. */
static void wait_for(const char *path)
{
	char event[4096];
	int fd = inotify_init1(IN_CLOEXEC);

	if (fd < 0 || inotify_add_watch(fd, "/dev", IN_CREATE) < 0)
		die("inotify");
	while (access(path, F_OK))
		if (read(fd, event, sizeof(event)) < 0)
			die("inotify");
	close(fd);
}

int main(void)
{
	char root[128] = "/dev/xvda1";

	mkdir("/proc", 0755);
	mkdir("/dev", 0755);
	mkdir("/root", 0755);
	if (mount("proc", "/proc", "proc", 0, NULL))
		die("mount /proc");
	if (mount("devtmpfs", "/dev", "devtmpfs", 0, NULL) && errno != EBUSY)
		die("mount /dev");
	load_modules();
	root_from_cmdline(root, sizeof(root));
	wait_for(root);
	if (mount(root, "/root", "ext4", MS_NOATIME, NULL))
		die(root);
	if (mount("/dev", "/root/dev", NULL, MS_MOVE, NULL))
		die("move /dev");
	umount2("/proc", MNT_DETACH);
	if (chdir("/root") || mount(".", "/", NULL, MS_MOVE, NULL) || chroot(".") || chdir("/"))
		die("switch root");
	execl("/sbin/init", "init", (char *)NULL);
	die("/sbin/init");
}
