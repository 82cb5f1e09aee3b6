/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The initramfs of one job: the fix VM's image with the job's files behind it (include/fixgate/fixvm.h).  It holds the
 * token: mode 0600, removed when the fix VM is gone.
 */
#ifndef FG_INITRD_H
#define FG_INITRD_H

#include <fixgate/error.h>
#include <jansson.h>

struct fg_initrd_request {
	const char *image; /* initramfs of the fix VM */
	const json_t *job; /* job.json */
	const char *head; /* file */
	const char *server_ca; /* file */
	const char *trust_dir; /* folder */
};

int fg_initrd_make(const struct fg_initrd_request *req, const char *path, struct fg_error *err) FG_MUST_CHECK;

#endif
