/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fixvm/steps/root.h"

#include "lib/util.h"

#include <blkid/blkid.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define DISK_WAIT_MS 30000
#define UEVENT_BYTES_MAX 8192

void fg_root_init(struct fg_root *r)
{
	*r = (struct fg_root){ .fd = -1 };
}

void fg_root_release(struct fg_root *r)
{
	for (size_t i = 0; i < r->n_blocks; i++) {
		free(r->blocks[i].type);
		free(r->blocks[i].uuid);
		free(r->blocks[i].label);
		free(r->blocks[i].part_uuid);
		free(r->blocks[i].part_label);
	}
	free(r->blocks);
	fg_closep(&r->fd);
	fg_root_init(r);
}

/* "add@/devices/…/block/NAME": is it the whole disk that the definition calls vdev? Then its name, else NULL. */
static const char *announces(const char *event, const char *vdev)
{
	const char *base = strrchr(event, '/');

	if (strncmp(event, "add@", 4) != 0 || !base || !strstr(event, "/block/"))
		return NULL;
	base++;
	if (!strcmp(base, vdev))
		return base;
	bool emulated = (vdev[0] == 'h' || vdev[0] == 's') && vdev[1] == 'd';
	return emulated && !strncmp(base, "xvd", 3) && !strcmp(base + 3, vdev + 2) ? base : NULL;
}

/*
 * A disk is ready when the kernel has announced it: its partitions were read before.  The socket is older than the drivers, so
 * no announcement is missed.
 */
int fg_root_wait_disks(struct fg_root *r, const struct fg_job *job, int uevents, struct fg_error *err)
{
	int64_t deadline = fg_monotonic_ms() + DISK_WAIT_MS;
	size_t missing = job->n_disks;
	char event[UEVENT_BYTES_MAX + 1];

	while (missing) {
		struct pollfd p = { .fd = uevents, .events = POLLIN };
		int64_t left = deadline - fg_monotonic_ms();

		if (left <= 0)
			break;
		if (poll(&p, 1, (int)left) <= 0)
			continue;
		ssize_t n = recv(uevents, event, UEVENT_BYTES_MAX, 0);
		if (n < 0 && errno != EINTR && errno != ENOBUFS)
			return fg_error_errno(err, FG_EIO, errno, "uevents");
		if (n <= 0)
			continue;
		event[n] = 0;
		for (size_t i = 0; i < job->n_disks; i++) {
			const char *name = r->disks[i][0] ? NULL : announces(event, job->disks[i].vdev);

			if (name && strlen(name) < sizeof(r->disks[i])) {
				snprintf(r->disks[i], sizeof(r->disks[i]), "%s", name);
				missing--;
			}
		}
	}
	for (size_t i = 0; i < job->n_disks; i++) {
		if (!r->disks[i][0])
			return fg_error_set(err, FG_ETIMEOUT, "disk %s did not appear within %d s", job->disks[i].vdev,
					    DISK_WAIT_MS / 1000);
	}
	return 0;
}

static char *probe_value(blkid_probe pr, const char *name)
{
	const char *value;

	return blkid_probe_lookup_value(pr, name, &value, NULL) == 0 ? fg_strdup(value) : NULL;
}

static int probe_block(struct fg_root *r, const char *name, bool writable, struct fg_error *err)
{
	if (r->n_blocks == FG_ROOT_BLOCKS_MAX)
		return fg_error_set(err, FG_ELIMIT, "more than %d disks and partitions", FG_ROOT_BLOCKS_MAX);
	struct fg_block *b = &r->blocks[r->n_blocks++];
	snprintf(b->name, sizeof(b->name), "%s", name);
	b->writable = writable;

	fg_autofree char *path = fg_asprintf("/dev/%s", name);
	blkid_probe pr = blkid_new_probe_from_filename(path);
	if (!pr)
		return fg_error_errno(err, FG_EIO, errno, "read %s", path);
	blkid_probe_enable_superblocks(pr, 1);
	blkid_probe_set_superblocks_flags(pr, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_UUID | BLKID_SUBLKS_LABEL);
	blkid_probe_enable_partitions(pr, 1);
	blkid_probe_set_partitions_flags(pr, BLKID_PARTS_ENTRY_DETAILS);
	/* 1: nothing found; -2: more than one signature, which mount(8) refuses too */
	if (blkid_do_safeprobe(pr) == 0) {
		b->type = probe_value(pr, "TYPE");
		b->uuid = probe_value(pr, "UUID");
		b->label = probe_value(pr, "LABEL");
	}
	b->part_uuid = probe_value(pr, "PART_ENTRY_UUID");
	b->part_label = probe_value(pr, "PART_ENTRY_NAME");
	blkid_free_probe(pr);
	return 0;
}

static int probe_partitions(struct fg_root *r, const char *disk, bool writable, struct fg_error *err)
{
	fg_autofree char *folder = fg_asprintf("/sys/class/block/%s", disk);
	struct dirent **list = NULL;
	int n = scandir(folder, &list, NULL, alphasort), rc = 0;

	if (n < 0)
		return fg_error_errno(err, FG_EIO, errno, "read %s", folder);
	for (int i = 0; i < n; i++) {
		/* Folders of partitions begin with the disk's name. */
		if (!rc && !strncmp(list[i]->d_name, disk, strlen(disk)))
			rc = probe_block(r, list[i]->d_name, writable, err);
		free(list[i]);
	}
	free(list);
	return rc;
}

int fg_root_probe(struct fg_root *r, const struct fg_job *job, struct fg_error *err)
{
	int rc = 0;

	r->blocks = fg_calloc(FG_ROOT_BLOCKS_MAX, sizeof(*r->blocks));
	for (size_t i = 0; i < job->n_disks && !rc; i++) {
		rc = probe_block(r, r->disks[i], job->disks[i].writable, err);
		if (!rc)
			rc = probe_partitions(r, r->disks[i], job->disks[i].writable, err);
	}
	return rc;
}
