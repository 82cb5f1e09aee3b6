/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The image files that a guest may write to, which loop devices may hold for as long as something of the guest is left in dom0.
 *
 * { NULL, 0 } is an empty list.  fg_image_files_of -> use -> fg_image_files_release.
 */
#ifndef FG_IMAGE_FILES_H
#define FG_IMAGE_FILES_H

#include <stddef.h>

struct fg_guest;

struct fg_image_files {
	char **paths; /* as the guest's definition has them */
	size_t n;
};

/* Those of the guest, instead of what was in the list. */
void fg_image_files_of(const struct fg_guest *guest, struct fg_image_files *files);
void fg_image_files_release(struct fg_image_files *files);

#endif
