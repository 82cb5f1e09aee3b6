/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The guest's disks: wait for them, probe their partitions, find the root, mount it and what its fstab names.
 *
 *	fg_root_wait_disks -> fg_root_probe -> fg_root_find -> fg_root_mount -> … -> fg_root_unmount
 *
 * What stands on the disks is hostile: names from it are only ever resolved inside the guest's root (openat2
 * RESOLVE_IN_ROOT), nothing of it is executed here, and no device node of it can be opened (nodev).
 */
#ifndef FG_FIXVM_ROOT_H
#define FG_FIXVM_ROOT_H

#include "fixvm/init/job.h"

#include <fixgate/error.h>

#include <stdbool.h>
#include <stddef.h>

#define FG_ROOT_DIR "/guest"
#define FG_ROOT_BLOCKS_MAX 256
#define FG_ROOT_MOUNTS_MAX 32
#define FG_ROOT_FSTAB_MAX (64u << 10)

/* A disk or partition. Strings are NULL where it has none. */
struct fg_block {
	char name[64]; /* "xvda1"; the node is /dev/NAME */
	bool writable;
	char *type; /* of blkid: "ext4", "xfs", "crypto_LUKS", "LVM2_member" … */
	char *uuid, *label, *part_uuid, *part_label;
};

struct fg_root_mount {
	char target[256]; /* canonical, below FG_ROOT_DIR */
	char block[64];
	bool writable;
};

struct fg_root {
	char disks[FG_JOB_DISKS_MAX][32]; /* the kernel's name of each disk of the job */
	struct fg_block *blocks;
	size_t n_blocks;
	size_t block; /* index of the block with the root; valid after find_root */
	char subvol[64]; /* btrfs: folder of the root inside the file system, or empty */
	struct fg_root_mount mounts[FG_ROOT_MOUNTS_MAX];
	size_t n_mounts;
	int fd; /* O_PATH of FG_ROOT_DIR, -1 if not mounted */
	char os[192]; /* "debian 12", for the log */
};

void fg_root_init(struct fg_root *r);
void fg_root_release(struct fg_root *r);

/*
 * uevents: socket opened before the drivers were loaded. TIMEOUT names the disk that did not come.  Xen's driver calls a disk "hda" or
 * "sda" of the definition xvda.
 */
int fg_root_wait_disks(struct fg_root *r, const struct fg_job *job, int uevents, struct fg_error *err) FG_MUST_CHECK;
int fg_root_probe(struct fg_root *r, const struct fg_job *job, struct fg_error *err) FG_MUST_CHECK;
/* Mounts each candidate read-only for a look. NOTFOUND or REFUSED when there is not exactly one root; says why. */
int fg_root_find(struct fg_root *r, struct fg_error *err) FG_MUST_CHECK;
/* writable false: ro, and no journal is replayed: no byte of the disks changes. */
int fg_root_mount(struct fg_root *r, bool writable, struct fg_error *err) FG_MUST_CHECK;
/* In reverse order; what was writable is flushed to the disk. */
int fg_root_unmount(struct fg_root *r, struct fg_error *err) FG_MUST_CHECK;

/* Is there a regular file with an execute bit at this path inside the root? */
bool fg_root_is_program(int root_fd, const char *path);

/*
 * fstab (steps/fstab.c), pure: one entry of the lines that a fix needs: a local block device on a system
 * folder, not "noauto".
 */
struct fg_fstab_entry {
	char *spec; /* "UUID=…", "/dev/xvda2" */
	char *path; /* "/var" */
	char *type;
	char *subvol; /* of "subvol=", or NULL */
	bool nofail;
};
struct fg_fstab {
	struct fg_fstab_entry *entries; /* sorted: a folder before what is below it */
	size_t n;
};
/* Lines that are no fstab lines are skipped, as mount(8) does; LIMIT if there are more than FG_ROOT_MOUNTS_MAX. */
int fg_fstab_parse(const char *text, size_t len, struct fg_fstab *out, struct fg_error *err) FG_MUST_CHECK;
void fg_fstab_release(struct fg_fstab *f);
/* The block that spec names: NOTFOUND, or REFUSED if two match. */
int fg_fstab_resolve(const char *spec, const struct fg_block *blocks, size_t n, size_t *out,
		     struct fg_error *err) FG_MUST_CHECK;
#endif
