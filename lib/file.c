/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int fg_fd_read_all(int fd, size_t max, char **out, size_t *len, struct fg_error *err)
{
	size_t used = 0, size = 4096;
	fg_autofree char *buf = fg_calloc(size, 1);

	for (;;) {
		if (used + 1 >= size) {
			size *= 2;
			char *more = realloc(buf, size);
			if (!more)
				return fg_error_set(err, FG_ENOMEM, "out of memory");
			buf = more;
		}
		ssize_t n = read(fd, buf + used, size - used - 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fg_error_errno(err, FG_EIO, errno, "cannot read");
		if (n == 0)
			break;
		used += (size_t)n;
		if (used > max)
			return fg_error_set(err, FG_ELIMIT, "longer than %zu bytes", max);
	}
	buf[used] = '\0';
	*out = FG_TAKE(buf);
	if (len)
		*len = used;
	return 0;
}

int fg_file_read(const char *path, size_t max, char **out, size_t *len, struct fg_error *err)
{
	fg_autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return fg_error_errno(err, errno == ENOENT ? FG_ENOTFOUND : FG_EIO, errno, "%s", path);
	int rc = fg_fd_read_all(fd, max, out, len, err);
	if (rc < 0)
		fg_error_wrap(err, "%s", path);
	return rc;
}

/* fsync of the folder that holds path: makes a rename or unlink in it durable. */
static int sync_folder(const char *path, struct fg_error *err)
{
	fg_autofree char *copy = fg_strdup(path);
	const char *dir = dirname(copy);
	fg_autoclose int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || fsync(fd) < 0)
		return fg_error_errno(err, FG_EIO, errno, "cannot sync folder %s", dir);
	return 0;
}

int fg_fd_write_all(int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len) {
		ssize_t n = write(fd, p, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int fg_file_write_durable(const char *path, const void *data, size_t len, int mode, struct fg_error *err)
{
	fg_autofree char *tmp = fg_asprintf("%s.XXXXXX", path);
	fg_autoclose int fd = mkostemp(tmp, O_CLOEXEC);

	if (fd < 0)
		return fg_error_errno(err, FG_EIO, errno, "cannot create %s", tmp);
	if (fchmod(fd, (mode_t)mode) < 0 || fg_fd_write_all(fd, data, len) < 0 || fsync(fd) < 0 ||
	    rename(tmp, path) < 0) {
		int saved = errno;
		unlink(tmp);
		return fg_error_errno(err, FG_EIO, saved, "cannot write %s", path);
	}
	return sync_folder(path, err);
}

int fg_file_remove_durable(const char *path, struct fg_error *err)
{
	fg_autofree char *folder = fg_strdup(path);

	if (unlink(path) < 0 && errno != ENOENT)
		return fg_error_errno(err, FG_EIO, errno, "cannot remove %s", path);
	if (access(dirname(folder), F_OK) < 0 && errno == ENOENT)
		return 0; /* nothing was ever there */
	return sync_folder(path, err);
}

int fg_mkdir_p(const char *path, int mode, struct fg_error *err)
{
	fg_autofree char *copy = fg_strdup(path);

	for (char *p = copy + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		if (mkdir(copy, 0755) < 0 && errno != EEXIST)
			return fg_error_errno(err, FG_EIO, errno, "cannot create %s", copy);
		*p = '/';
	}
	if (mkdir(copy, (mode_t)mode) < 0 && errno != EEXIST)
		return fg_error_errno(err, FG_EIO, errno, "cannot create %s", copy);
	return 0;
}
