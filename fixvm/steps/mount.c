/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fixvm/steps/root.h"

#include "lib/bundle/guest.h"
#include "lib/util.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* File systems a root or system folder may be on. look: how to mount without one write, not even the journal's. */
static const struct kind {
	const char *type, *driver, *look;
	bool root; /* may hold a root */
} kinds[] = {
	{ "ext4", "ext4", "noload", true },
	{ "ext3", "ext4", "noload", true },
	{ "ext2", "ext4", "noload", true },
	{ "xfs", "xfs", "norecovery,nouuid", true },
	{ "btrfs", "btrfs", "rescue=nologreplay", true },
	{ "vfat", "vfat", NULL, false },
};

static const struct kind *kind_of(const struct fg_block *b)
{
	for (size_t i = 0; i < FG_COUNT(kinds); i++) {
		if (b->type && !strcmp(b->type, kinds[i].type))
			return &kinds[i];
	}
	return NULL;
}

static int open_in(int root_fd, const char *path, uint64_t flags)
{
	struct open_how how = { .flags = flags | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS };

	return (int)syscall(SYS_openat2, root_fd, path, &how, sizeof(how));
}

static bool is_folder(int root_fd, const char *path)
{
	fg_autoclose int fd = open_in(root_fd, path, O_PATH | O_DIRECTORY);

	return fd >= 0;
}

static bool is_there(int root_fd, const char *path)
{
	fg_autoclose int fd = open_in(root_fd, path, O_PATH | O_NOFOLLOW);

	return fd >= 0;
}

bool fg_root_is_program(int root_fd, const char *path)
{
	struct stat st;
	fg_autoclose int fd = open_in(root_fd, path, O_PATH);

	return fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 0111);
}

/* /usr may be a partition of its own: then os-release is a link that leads nowhere yet. */
static bool looks_like_root(int root_fd)
{
	return (is_there(root_fd, "etc/os-release") || is_there(root_fd, "usr/lib/os-release")) &&
	       is_folder(root_fd, "etc") && is_folder(root_fd, "proc") && is_folder(root_fd, "dev") &&
	       is_folder(root_fd, "usr") && is_folder(root_fd, "var");
}

static int mount_block(const struct fg_block *b, const char *target, const char *subvol, bool writable,
		       struct fg_error *err)
{
	const struct kind *k = kind_of(b);
	char device[80], options[160];

	if (!k)
		return fg_error_set(err, FG_EREFUSED, "%s holds %s, which the fix VM does not mount", b->name,
				    b->type ? b->type : "no file system");
	if (subvol && strcmp(k->driver, "btrfs") != 0)
		subvol = NULL;
	snprintf(device, sizeof(device), "/dev/%s", b->name);
	snprintf(options, sizeof(options), "%s%s%s%s", !writable && k->look ? k->look : "",
		 !writable && k->look && subvol && *subvol ? "," : "", subvol && *subvol ? "subvol=" : "",
		 subvol ? subvol : "");
	if (mount(device, target, k->driver, MS_NODEV | MS_NOATIME | (writable ? 0 : MS_RDONLY), options) < 0)
		return fg_error_errno(err, FG_EFAILED, errno, "mount %s (%s) %s", b->name, k->type,
				      writable ? "read-write" : "read-only");
	return 0;
}

/* Where installers put a btrfs root; "" is the top. */
static const char *const subvols[] = { "", "@", "@rootfs", "root" };

static bool has_root(const struct fg_block *b, const char **subvol)
{
	const struct kind *k = kind_of(b);
	bool found = false;

	if (!k || !k->root || mount_block(b, FG_ROOT_DIR, NULL, false, NULL))
		return false;
	for (size_t i = 0; i < FG_COUNT(subvols) && !found; i++) {
		fg_autofree char *path = fg_asprintf(FG_ROOT_DIR "/%s", subvols[i]);
		fg_autoclose int fd = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

		if (fd >= 0 && looks_like_root(fd)) {
			found = true;
			*subvol = subvols[i];
		}
		if (strcmp(k->driver, "btrfs") != 0)
			break;
	}
	if (umount2(FG_ROOT_DIR, UMOUNT_NOFOLLOW) < 0)
		umount2(FG_ROOT_DIR, MNT_DETACH);
	return found;
}

static int no_root(const struct fg_root *r, struct fg_error *err)
{
	for (size_t i = 0; i < r->n_blocks; i++) {
		const char *type = r->blocks[i].type;

		if (type && !strcmp(type, "crypto_LUKS"))
			return fg_error_set(err, FG_EREFUSED, "no root found; %s is encrypted (LUKS)",
					    r->blocks[i].name);
		if (type && !strcmp(type, "LVM2_member"))
			return fg_error_set(err, FG_EREFUSED,
					    "no root found; %s belongs to LVM, which is not supported",
					    r->blocks[i].name);
		if (type && strstr(type, "raid_member"))
			return fg_error_set(err, FG_EREFUSED,
					    "no root found; %s belongs to a RAID (%s), which is not supported",
					    r->blocks[i].name, type);
	}
	return fg_error_set(err, FG_ENOTFOUND, "no disk or partition of %zu holds a root", r->n_blocks);
}

int fg_root_find(struct fg_root *r, struct fg_error *err)
{
	size_t found = 0, which = 0;
	char names[256] = "";

	for (size_t i = 0; i < r->n_blocks; i++) {
		const char *subvol = "";
		size_t len = strlen(names);

		if (!has_root(&r->blocks[i], &subvol))
			continue;
		snprintf(names + len, sizeof(names) - len, "%s%s", found ? ", " : "", r->blocks[i].name);
		if (!found++) {
			which = i;
			snprintf(r->subvol, sizeof(r->subvol), "%s", subvol);
		}
	}
	if (!found)
		return no_root(r, err);
	if (found > 1)
		return fg_error_set(err, FG_EREFUSED, "%zu candidates for the root: %s", found, names);
	r->block = which;
	return 0;
}

static int add_mount(struct fg_root *r, size_t block, const char *target, const char *subvol, bool writable,
		     struct fg_error *err)
{
	const struct fg_block *b = &r->blocks[block];

	if (r->n_mounts == FG_ROOT_MOUNTS_MAX)
		return fg_error_set(err, FG_ELIMIT, "more than %d mounts", FG_ROOT_MOUNTS_MAX);
	struct fg_root_mount *m = &r->mounts[r->n_mounts];
	writable = writable && b->writable;
	if ((size_t)snprintf(m->target, sizeof(m->target), "%s", target) >= sizeof(m->target))
		return fg_error_set(err, FG_ELIMIT, "mount point of %zu bytes", strlen(target));
	int rc = mount_block(b, m->target, subvol, writable, err);
	if (rc)
		return rc;
	snprintf(m->block, sizeof(m->block), "%s", b->name);
	m->writable = writable;
	r->n_mounts++;
	return 0;
}

/* The folder may be behind links: the kernel resolves it inside the root and names the place. */
static int canonical(const struct fg_root *r, const char *path, char out[256], struct fg_error *err)
{
	char link[64];
	fg_autoclose int fd = open_in(r->fd, path, O_PATH | O_DIRECTORY);

	if (fd < 0)
		return fg_error_errno(err, FG_ENOTFOUND, errno, "mount point %s", path);
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t n = readlink(link, out, 255);
	if (n < 0 || n >= 255)
		return fg_error_errno(err, FG_EIO, n < 0 ? errno : ENAMETOOLONG, "mount point %s", path);
	out[n] = 0;
	return 0;
}

static int mount_entry(struct fg_root *r, const struct fg_fstab_entry *e, bool writable, struct fg_error *err)
{
	char target[256];
	size_t block;
	int rc = fg_fstab_resolve(e->spec, r->blocks, r->n_blocks, &block, err);

	if (!rc)
		rc = canonical(r, e->path, target, err);
	if (!rc && !strcmp(target, FG_ROOT_DIR))
		rc = fg_error_set(err, FG_EREFUSED, "mount point %s is the root", e->path);
	if (!rc && e->subvol && strpbrk(e->subvol, ",\\"))
		rc = fg_error_set(err, FG_EREFUSED, "subvol=%s", e->subvol);
	return rc ? rc : add_mount(r, block, target, e->subvol, writable, err);
}

static int mount_fstab(struct fg_root *r, bool writable, struct fg_error *err)
{
	fg_autofree char *text = NULL;
	struct fg_fstab fstab = { .n = 0 };
	size_t len;
	int rc = fg_guest_read(r->fd, "/etc/fstab", FG_ROOT_FSTAB_MAX, &text, &len, err);

	if (rc || !text)
		return rc;
	rc = fg_fstab_parse(text, len, &fstab, err);
	for (size_t i = 0; !rc && i < fstab.n; i++) {
		struct fg_error why = FG_ERROR_INIT;

		/* A folder that is missing would make the fix work on the empty one below it. */
		if (mount_entry(r, &fstab.entries[i], writable, &why) && !fstab.entries[i].nofail)
			rc = fg_error_set(err, (enum fg_error_code)why.code, "etc/fstab: %s: %s", fstab.entries[i].path,
					  why.text);
	}
	fg_fstab_release(&fstab);
	return rc;
}

int fg_root_mount(struct fg_root *r, bool writable, struct fg_error *err)
{
	fg_autofree char *id = NULL, *version = NULL;
	int rc = add_mount(r, r->block, FG_ROOT_DIR, r->subvol, writable, err);

	if (rc)
		return rc;
	if (writable && !r->mounts[0].writable)
		return fg_error_set(err, FG_EREFUSED, "the root is on %s, which is read-only", r->mounts[0].block);
	r->fd = open(FG_ROOT_DIR, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (r->fd < 0)
		return fg_error_errno(err, FG_EIO, errno, "open %s", FG_ROOT_DIR);
	rc = mount_fstab(r, writable, err);
	if (!rc)
		rc = fg_guest_os(r->fd, &id, &version, err);
	if (!rc)
		snprintf(r->os, sizeof(r->os), "%s%s%s", id ? id : "unknown", version ? " " : "",
			 version ? version : "");
	return rc;
}

static int flush(const struct fg_root_mount *m, struct fg_error *err)
{
	fg_autofree char *path = fg_asprintf("/dev/%s", m->block);
	fg_autoclose int fd = open(path, O_RDWR | O_CLOEXEC);

	if (fd < 0 || fsync(fd) < 0)
		return fg_error_errno(err, FG_EIO, errno, "flush %s", path);
	return 0;
}

int fg_root_unmount(struct fg_root *r, struct fg_error *err)
{
	int rc = 0;

	fg_closep(&r->fd);
	while (r->n_mounts && !rc) {
		const struct fg_root_mount *m = &r->mounts[r->n_mounts - 1];

		if (umount2(m->target, UMOUNT_NOFOLLOW) < 0)
			return fg_error_errno(err, FG_EIO, errno, "unmount %s", m->target);
		if (m->writable)
			rc = flush(m, err);
		r->n_mounts--;
	}
	return rc;
}
