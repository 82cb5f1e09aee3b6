/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "offer.h"

#include <fixgate/bundle.h>
#include <lib/util.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The folder may hold anything that the network process was talked into: no links, no devices, no waiting. */
static int read_head(const char *dir, const char *name, char **out, size_t *len, struct fg_error *err)
{
	const struct open_how how = { .flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
				      .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS };
	fg_autoclose int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fg_autoclose int fd = dir_fd < 0 ? -1 : (int)syscall(SYS_openat2, dir_fd, name, &how, sizeof(how));
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return fg_error_errno(err, FG_EIO, errno, "cannot open %s in %s", name, dir);
	if (!S_ISREG(st.st_mode))
		return fg_error_set(err, FG_EFORMAT, "%s is no regular file", name);
	return fg_fd_read_all(fd, FG_BUNDLE_HEAD_MAX, out, len, err);
}

int fg_head_take(const char *dir, const char *name, const char *to, const char *head_digest, struct fg_error *err)
{
	fg_autofree char *bytes = NULL;
	struct fg_bundle_head head = { 0 };
	char digest[FG_DIGEST_HEX];
	size_t len = 0;
	int rc = read_head(dir, name, &bytes, &len, err);

	if (rc < 0)
		return rc;
	rc = fg_bundle_head_parse((const uint8_t *)bytes, len, &head, err);
	if (rc < 0)
		return rc;
	fg_hex_encode(head.head_digest, FG_DIGEST_BYTES, digest);
	fg_bundle_head_release(&head);
	if (strcasecmp(digest, head_digest) != 0)
		return fg_error_set(err, FG_EUNTRUSTED, "the head has digest %s, not %s", digest, head_digest);
	return fg_file_write_durable(to, bytes, len, 0600, err);
}
