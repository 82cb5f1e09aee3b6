/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fix.h"

#include <lib/bundle/head.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <string.h>
#include <unistd.h>

#define LISTING_MAX (64u << 20)
#define REMOVE_FDS 32

#define LISTED_ROOT " squashfs-root/"

/* "lrwxrwxrwx 0/0 3 1970-01-01 00:00 squashfs-root/a/b -> c"; what is not that (names with newlines) is refused. */
static bool link_stays(const char *line, size_t len)
{
	fg_autofree char *copy = strndup(line, len);
	char *path = copy ? strstr(copy, LISTED_ROOT) : NULL;
	char *arrow = path ? strstr(path, " -> ") : NULL;
	unsigned depth = 0;

	if (!arrow || strstr(arrow + 1, " -> "))
		return false;
	*arrow = '\0';
	for (const char *p = path + strlen(LISTED_ROOT); *p; p++)
		depth += *p == '/';
	return fix_link_stays(depth, arrow + 4);
}

/*
 * A signed payload may still come from a careless machine: no device nodes, FIFOs, sockets, setuid files, no symlinks that
 * leave.  Lines of `unsquashfs -lln` start with ten characters as those of ls(1).
 */
static int check_listing(const char *image, struct fg_error *err)
{
	const char *const argv[] = { "unsquashfs", "-lln", image, NULL };
	fg_autofree char *text = NULL;
	int rc = fix_run_output(argv, LISTING_MAX, &text, err);

	if (rc < 0)
		return rc;
	for (const char *line = text; *line;) {
		size_t len = strcspn(line, "\n");
		if (len > 10 && strchr("bcps", line[0]))
			return fg_error_set(err, FG_EREFUSED, "payload holds a device node, FIFO or socket");
		if (len > 10 && strchr("-d", line[0]) &&
		    (line[3] == 's' || line[3] == 'S' || line[6] == 's' || line[6] == 'S'))
			return fg_error_set(err, FG_EREFUSED, "payload holds a setuid or setgid file");
		if (len > 10 && line[0] == 'l' && !link_stays(line, len))
			return fg_error_set(err, FG_EREFUSED, "payload holds a symlink that leaves it");
		line += len + (line[len] == '\n');
	}
	return 0;
}

static int unpack(const char *image, const char *to, struct fg_error *err)
{
	const char *const argv[] = { "unsquashfs", "-no-xattrs", "-no-progress", "-quiet", "-dest", to, image, NULL };

	return fix_run(argv, err);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
	(void)st, (void)type, (void)where;
	(void)remove(path);
	return 0;
}

/*
 * Whole or not at all: unpacked in a folder beside it, which is renamed.  What is left of a failure is removed as far as the
 * modes that the payload gave to its folders let us.
 */
static int unpack_whole(const char *image, const char *to, struct fg_error *err)
{
	fg_autofree char *name = fg_strdup(to);
	size_t len = strlen(name);

	while (len > 1 && name[len - 1] == '/')
		name[--len] = '\0';
	/* "./": a name that starts with '-' would be an option */
	fg_autofree char *temp = fg_asprintf("%s%s.XXXXXX", name[0] == '-' ? "./" : "", name);
	if (!mkdtemp(temp))
		return fg_error_errno(err, FG_EIO, errno, "cannot create %s", temp);
	int rc = unpack(image, temp, err);
	if (rc == 0 && rename(temp, name) < 0)
		rc = fg_error_errno(err, FG_EIO, errno, "cannot rename %s to %s", temp, name);
	if (rc < 0)
		nftw(temp, remove_one, REMOVE_FDS, FTW_DEPTH | FTW_PHYS);
	return rc;
}

/* What is unpacked is what was verified: the blocks are copied as they are checked. */
static int copy_verified(const struct fix_options *o, const struct fg_trust *trust, int fd, int out_fd,
			 struct fg_error *err)
{
	fg_autofree uint8_t *buf = NULL;
	struct fg_bundle_head head = { 0 };
	int rc = fg_bundle_head_read(fd, &buf, &head, err);

	if (rc < 0)
		return rc;
	rc = fg_bundle_head_verify(&head, trust, o->now_s, err);
	if (rc == 0)
		rc = fg_bundle_payload_verify(fd, &head, head.manifest->payload_digest, out_fd, err);
	fg_bundle_head_release(&head);
	return rc;
}

int fix_extract(const struct fix_options *o, struct fg_error *err)
{
	fg_autoclose int fd = open(o->arg, O_RDONLY | O_CLOEXEC), temp = -1;
	struct fg_trust *trust = NULL;
	char image[32];
	int rc;

	if (fd < 0)
		return fg_error_errno(err, errno == ENOENT ? FG_ENOTFOUND : FG_EIO, errno, "%s", o->arg);
	if (faccessat(AT_FDCWD, o->out, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return fg_error_set(err, FG_EEXISTS, "%s is there already", o->out);
	if ((rc = fix_temp(&temp, image, err)) < 0 || (rc = fg_trust_load(o->trust, &trust, err)) < 0)
		return rc;
	if (o->threshold)
		fg_trust_set_threshold(trust, o->threshold);
	rc = copy_verified(o, trust, fd, temp, err);
	fg_trust_free(trust);
	if (rc < 0) {
		fg_error_wrap(err, "%s", o->arg);
		return rc;
	}
	if ((rc = check_listing(image, err)) < 0 || (rc = unpack_whole(image, o->out, err)) < 0)
		return rc;
	if (!o->json)
		printf("%s: payload in %s\n", o->arg, o->out);
	else
		puts("{\"extracted\":true}");
	return 0;
}
