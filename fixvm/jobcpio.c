/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fixvm/jobcpio.h"

#include "lib/util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NEWC_HEADER_BYTES 110u

struct out {
	int fd;
	uint64_t written; /* since the start of the job's archive, or of the image */
	uint32_t ino;
};

static int put(struct out *o, const void *data, size_t len, struct fg_error *err)
{
	o->written += len;
	if (fg_fd_write_all(o->fd, data, len) < 0)
		return fg_error_errno(err, FG_EIO, errno, "write initramfs");
	return 0;
}

static int pad(struct out *o, struct fg_error *err)
{
	static const char zeros[4];

	return put(o, zeros, (4 - o->written % 4) % 4, err);
}

static int entry(struct out *o, const char *name, mode_t mode, const void *data, size_t len, struct fg_error *err)
{
	char header[NEWC_HEADER_BYTES + 1];
	size_t name_len = strlen(name) + 1;

	/* magic ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check */
	snprintf(header, sizeof(header), "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X", o->ino++,
		 (unsigned)mode, 0u, 0u, S_ISDIR(mode) ? 2u : 1u, 0u, (unsigned)len, 0u, 0u, 0u, 0u, (unsigned)name_len,
		 0u);
	int rc = put(o, header, NEWC_HEADER_BYTES, err);
	if (!rc)
		rc = put(o, name, name_len, err);
	if (!rc)
		rc = pad(o, err);
	if (!rc && len)
		rc = put(o, data, len, err);
	return rc ? rc : pad(o, err);
}

static int check_name(const char *name, struct fg_error *err)
{
	size_t len = strlen(name);

	if (!len || len > FG_JOBCPIO_NAME_MAX)
		return fg_error_set(err, FG_EUSAGE, "job file name of %zu bytes", len);
	for (const char *p = name; *p;) {
		size_t part = strcspn(p, "/");

		if (!part || (part == 1 && p[0] == '.') || (part == 2 && p[0] == '.' && p[1] == '.'))
			return fg_error_set(err, FG_EUSAGE, "job file name \"%s\"", name);
		p += part;
		if (*p && !*++p)
			return fg_error_set(err, FG_EUSAGE, "job file name \"%s\"", name);
	}
	return 0;
}

/* Was the folder name[0..len) made for one of the files before? */
static bool seen_folder(const struct fg_jobcpio_file *files, size_t n, const char *name, size_t len)
{
	for (size_t i = 0; i < n; i++) {
		const char *other = files[i].name + (files[i].name[0] == '/');

		if (!strncmp(other, name, len) && other[len] == '/')
			return true;
	}
	return false;
}

static int put_file(struct out *o, const struct fg_jobcpio_file *files, size_t i, struct fg_error *err)
{
	const struct fg_jobcpio_file *f = &files[i];
	const char *name = f->name + (f->name[0] == '/');
	int rc = check_name(name, err);

	if (rc)
		return rc;
	if ((f->mode & ~(mode_t)07777) || f->len > FG_JOBCPIO_LEN_MAX)
		return fg_error_set(err, FG_EUSAGE, "job file %s: mode %o, %zu bytes", name, (unsigned)f->mode, f->len);
	for (const char *slash = strchr(name, '/'); slash && !rc; slash = strchr(slash + 1, '/')) {
		char folder[FG_JOBCPIO_NAME_MAX + 1];
		size_t len = (size_t)(slash - name);

		if (seen_folder(files, i, name, len))
			continue;
		snprintf(folder, sizeof(folder), "%.*s", (int)len, name);
		rc = entry(o, folder, S_IFDIR | 0700, NULL, 0, err);
	}
	return rc ? rc : entry(o, name, S_IFREG | f->mode, f->data, f->len, err);
}

static int copy_image(struct out *o, const char *path, struct fg_error *err)
{
	fg_autoclose int in = open(path, O_RDONLY | O_CLOEXEC);

	if (in < 0)
		return fg_error_errno(err, FG_EIO, errno, "open %s", path);
	fg_autofree char *buf = fg_calloc(1, 1 << 18);
	for (;;) {
		ssize_t n = read(in, buf, 1 << 18);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fg_error_errno(err, FG_EIO, errno, "read %s", path);
		if (!n)
			return pad(o, err);
		int rc = put(o, buf, (size_t)n, err);
		if (rc)
			return rc;
	}
}

int fg_jobcpio_write(int fd, const char *initrd_path, const struct fg_jobcpio_file *files, size_t n,
		     struct fg_error *err)
{
	struct out image = { .fd = fd }, job = { .fd = fd, .ino = 1 };
	int rc = 0;

	if (n > FG_JOBCPIO_FILES_MAX)
		return fg_error_set(err, FG_EUSAGE, "%zu job files, limit %d", n, FG_JOBCPIO_FILES_MAX);
	if (initrd_path)
		rc = copy_image(&image, initrd_path, err);
	for (size_t i = 0; i < n && !rc; i++)
		rc = put_file(&job, files, i, err);
	return rc ? rc : entry(&job, "TRAILER!!!", 0, NULL, 0, err);
}
