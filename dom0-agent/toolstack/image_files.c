/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "dom0-agent/toolstack/image_files.h"

#include "dom0-agent/toolstack/toolstack.h"
#include "lib/util.h"

void fg_image_files_of(const struct fg_guest *guest, struct fg_image_files *files)
{
	fg_image_files_release(files);
	files->paths = fg_calloc(guest->n_disks + 1, sizeof(char *));
	for (size_t i = 0; i < guest->n_disks; i++) {
		const struct fg_disk *disk = &guest->disks[i];
		if (!disk->block && !disk->readonly && disk->target && disk->target[0] == '/')
			files->paths[files->n++] = fg_strdup(disk->target);
	}
}

void fg_image_files_release(struct fg_image_files *files)
{
	for (size_t i = 0; i < files->n; i++)
		free(files->paths[i]);
	free(files->paths);
	*files = (struct fg_image_files){ NULL, 0 };
}
