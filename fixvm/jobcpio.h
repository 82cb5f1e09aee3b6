/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The initramfs of one job: the fix VM's image, then an uncompressed "newc" cpio with the job's files.  The kernel
 * unpacks both, one after the other (Documentation/driver-api/early-userspace/buffer-format.rst).
 */
#ifndef FG_JOBCPIO_H
#define FG_JOBCPIO_H

#include <fixgate/error.h>

#include <sys/types.h>

#define FG_JOBCPIO_NAME_MAX 255
#define FG_JOBCPIO_FILES_MAX 1024
#define FG_JOBCPIO_LEN_MAX 0x7fffffffu /* bytes of one file: the format's fields have 32 bits */

struct fg_jobcpio_file {
	const char *name; /* below the root, "fixgate/job.json"; one leading '/' is skipped; no "." or ".." parts */
	mode_t mode; /* permission bits; folders above are made 0700 */
	const void *data;
	size_t len;
};

/*
 * Writes to fd, from where it stands: initrd_path (NULL: nothing) padded with zeros to 4 bytes, then the files, owned
 * by root, times 0, folders before what is in them.  fd is not synced.  USAGE for a name or mode that is not allowed,
 * IO otherwise; then what fd holds is of no use.
 */
int fg_jobcpio_write(int fd, const char *initrd_path, const struct fg_jobcpio_file *files, size_t n,
		     struct fg_error *err) FG_MUST_CHECK;

#endif
