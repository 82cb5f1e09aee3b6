/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "dom0-agent/toolstack/gone.h"

#include "dom0-agent/toolstack/image_files.h"
#include "dom0-agent/toolstack/xenstore.h"
#include "lib/util.h"

#include <dirent.h>
#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct fg_gone {
	struct fg_xs *xs;
	uint32_t domid;
	struct fg_image_files files; /* as sysfs shows them */
	struct fg_xs_watch *backends, *home;
	int uevents; /* netdevs and loop devices tell of their end there (kobject uevents) */
	struct event *uevent, *look, *deadline;
	fg_gone_cb *cb;
	void *arg;
	struct fg_error left;
};

static int look_xenstore(struct fg_gone *gone, struct fg_error *left)
{
	static const char *const types[] = { "vbd", "vif", "qdisk" };
	unsigned n = 0;
	int rc = fg_xs_children(gone->xs, &n, left, "/local/domain/%" PRIu32, gone->domid);

	if (rc < 0)
		return rc;
	if (n)
		return fg_error_set(left, FG_ETIMEOUT, "domain %" PRIu32 " is still there", gone->domid);
	for (size_t i = 0; i < FG_COUNT(types); i++) {
		rc = fg_xs_children(gone->xs, &n, left, "/local/domain/0/backend/%s/%" PRIu32, types[i], gone->domid);
		if (rc < 0)
			return rc;
		if (n)
			return fg_error_set(left, FG_ETIMEOUT, "backend %s/%" PRIu32 " is still there", types[i],
					    gone->domid);
	}
	return 0;
}

/* The next name in a folder of sysfs that begins so; NULL: no more, or (errno) could not ask. */
static const char *next_entry(DIR *dir, const char *prefix)
{
	struct dirent *entry;

	do {
		errno = 0;
		entry = readdir(dir);
	} while (entry && strncmp(entry->d_name, prefix, strlen(prefix)) != 0);
	return entry ? entry->d_name : NULL;
}

static int look_netdevs(struct fg_gone *gone, struct fg_error *left)
{
	char prefix[32];
	int rc = 0;
	DIR *dir = opendir("/sys/class/net");

	if (!dir)
		return fg_error_errno(left, FG_EUNREACHABLE, errno, "/sys/class/net");
	snprintf(prefix, sizeof(prefix), "vif%" PRIu32 ".", gone->domid);
	const char *name = next_entry(dir, prefix);
	if (name)
		rc = fg_error_set(left, FG_ETIMEOUT, "netdev %s is still there", name);
	else if (errno)
		rc = fg_error_errno(left, FG_EUNREACHABLE, errno, "/sys/class/net");
	closedir(dir);
	return rc;
}

/*
 * A file of a loop device in sysfs.  Without `loop/` it is not in use (drivers/block/loop.c makes that folder when it is
 * set up); ENXIO and ENODEV: it is just being taken down.  What else goes wrong says nothing of the device.
 */
static int loop_read(const char *sysfs, const char *name, const char *what, char **out, struct fg_error *err)
{
	fg_autofree char *path = fg_asprintf("%s/block/%s/%s", sysfs, name, what);
	struct fg_error own = FG_ERROR_INIT;

	if (fg_file_read(path, 8192, out, NULL, &own) == 0)
		return 0;
	if (own.sys == ENOENT || own.sys == ENXIO || own.sys == ENODEV)
		return fg_error_set(err, FG_ENOTFOUND, "%s is not in use", name);
	return fg_error_set(err, FG_EUNREACHABLE, "%s", own.text);
}

static int look_loop(const char *sysfs, const char *name, const struct fg_image_files *files, struct fg_error *left)
{
	fg_autofree char *file = NULL, *ro = NULL;
	bool same = false;

	int rc = loop_read(sysfs, name, "loop/backing_file", &file, left);
	if (rc < 0)
		return rc;
	file[strcspn(file, "\n")] = '\0';
	for (size_t i = 0; i < files->n; i++)
		same |= !strcmp(file, files->paths[i]);
	if (!same)
		return 0;
	rc = loop_read(sysfs, name, "ro", &ro, left);
	if (rc < 0 || ro[0] == '1')
		return rc;
	return fg_error_set(left, FG_ETIMEOUT, "%s is still behind /dev/%s", file, name);
}

/* A writable loop device over one of the files: somebody could still write to the disk. */
int fg_gone_loops(const char *sysfs, const struct fg_image_files *files, struct fg_error *err)
{
	fg_autofree char *path = fg_asprintf("%s/block", sysfs);
	const char *name;
	int rc = 0;

	if (!files->n)
		return 0;
	DIR *dir = opendir(path);
	if (!dir)
		return fg_error_errno(err, FG_EUNREACHABLE, errno, "%s", path);
	while (rc == 0 && (name = next_entry(dir, "loop"))) {
		rc = look_loop(sysfs, name, files, err);
		if (rc == -FG_ENOTFOUND) {
			fg_error_clear(err);
			rc = 0;
		}
	}
	if (rc == 0 && errno)
		rc = fg_error_errno(err, FG_EUNREACHABLE, errno, "%s", path);
	closedir(dir);
	return rc;
}

static void finish(struct fg_gone *gone, int rc)
{
	fg_gone_cb *cb = gone->cb;
	void *arg = gone->arg;
	struct fg_error err = gone->left;

	fg_gone_cancel(gone);
	cb(arg, rc, &err);
}

static int look_for_rest(struct fg_gone *gone)
{
	struct fg_error left = FG_ERROR_INIT;
	int rc = gone->domid ? look_xenstore(gone, &left) : 0;

	if (!rc && gone->domid)
		rc = look_netdevs(gone, &left);
	if (!rc)
		rc = fg_gone_loops("/sys", &gone->files, &left);
	gone->left = left;
	return rc;
}

static void look(struct fg_gone *gone)
{
	int rc = look_for_rest(gone);

	if (rc != -FG_ETIMEOUT)
		finish(gone, rc);
}

static void look_again(void *arg)
{
	struct fg_gone *gone = arg;
	event_active(gone->look, EV_TIMEOUT, 0);
}

static void look_now(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	look(arg);
}

static void uevent_ready(evutil_socket_t fd, short what, void *arg)
{
	char buf[16384];

	(void)what;
	while (recv(fd, buf, sizeof(buf), MSG_DONTWAIT) > 0)
		;
	look(arg);
}

/* On a machine that was busy the deadline may come before an end that was there first: only a look tells. */
static void too_late(evutil_socket_t fd, short what, void *arg)
{
	struct fg_gone *gone = arg;

	(void)fd;
	(void)what;
	finish(gone, look_for_rest(gone));
}

static int open_uevents(struct fg_error *err)
{
	struct sockaddr_nl addr = { .nl_family = AF_NETLINK, .nl_groups = 1 /* the kernel's own */ };
	fg_autoclose int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);

	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return fg_error_errno(err, FG_EUNREACHABLE, errno, "kernel events");
	return FG_TAKE_FD(fd);
}

/* As sysfs shows them. */
static struct fg_image_files real_paths(const struct fg_image_files *files)
{
	struct fg_image_files real = { fg_calloc(files->n + 1, sizeof(char *)), files->n };

	for (size_t i = 0; i < files->n; i++) {
		real.paths[i] = realpath(files->paths[i], NULL);
		if (!real.paths[i])
			real.paths[i] = fg_strdup(files->paths[i]);
	}
	return real;
}

int fg_gone_wait(struct fg_xs *xs, uint32_t domid, const struct fg_image_files *files, uint32_t deadline_ms,
		 fg_gone_cb *cb, void *arg, struct fg_gone **out, struct fg_error *err)
{
	struct event_base *base = fg_xs_base(xs);
	const struct timeval in = { deadline_ms / 1000, (deadline_ms % 1000) * 1000 };
	char home[64];
	int rc = open_uevents(err);

	if (rc < 0)
		return rc;
	struct fg_gone *gone = fg_calloc(1, sizeof(*gone));
	gone->xs = xs;
	gone->domid = domid;
	gone->uevents = rc;
	gone->cb = cb;
	gone->arg = arg;
	if (files)
		gone->files = real_paths(files);
	gone->uevent = event_new(base, gone->uevents, EV_READ | EV_PERSIST, uevent_ready, gone);
	gone->look = evtimer_new(base, look_now, gone);
	gone->deadline = evtimer_new(base, too_late, gone);
	event_add(gone->uevent, NULL);
	evtimer_add(gone->deadline, &in);
	snprintf(home, sizeof(home), "/local/domain/%" PRIu32, domid);
	rc = fg_xs_watch(xs, "/local/domain/0/backend", look_again, gone, &gone->backends, err);
	if (rc == 0 && domid)
		rc = fg_xs_watch(xs, home, look_again, gone, &gone->home, err);
	if (rc < 0) {
		fg_gone_cancel(gone);
		return rc;
	}
	look_again(gone);
	*out = gone;
	return 0;
}

void fg_gone_cancel(struct fg_gone *gone)
{
	if (!gone)
		return;
	fg_xs_unwatch(gone->backends);
	fg_xs_unwatch(gone->home);
	event_free(gone->uevent);
	event_free(gone->look);
	event_free(gone->deadline);
	close(gone->uevents);
	fg_image_files_release(&gone->files);
	free(gone);
}
