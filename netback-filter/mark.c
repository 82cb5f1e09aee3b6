/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "guest_json.h"
#include "rule.h"

#include <lib/util.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define MARK_BYTES_MAX (64 * 1024)

static int mark_path(const char *dir, const char *uuid, char **out, struct fg_error *err)
{
	char lower[FG_UUID_TEXT];
	int rc = fg_uuid_parse(uuid, lower, err); /* also: no '/' gets into the path */

	if (rc == 0)
		*out = fg_asprintf("%s/%s.json", dir, lower);
	return rc;
}

/* A mark without a device is one: the guest has no NIC now, the one that comes is told to `arm` with its MAC. */
static int check(const struct fg_filter_guest *guest, struct fg_error *err)
{
	struct fg_filter_dev any = { .mac = { 2, 0, 0, 0, 0, 1 } };
	struct fg_filter_guest g = *guest;

	if (g.n_devs == 0) {
		g.devs = &any;
		g.n_devs = 1;
	}
	return fg_filter_guest_check(&g, err);
}

int fg_filter_mark_write(const char *dir, const struct fg_filter_guest *guest, struct fg_error *err)
{
	fg_autofree char *path = NULL;
	int rc = check(guest, err);

	if (rc == 0)
		rc = mark_path(dir, guest->uuid, &path, err);
	if (rc == 0)
		rc = fg_mkdir_p(dir, 0700, err);
	if (rc < 0)
		return rc;
	fg_autojson json_t *value = fg_guest_to_json(guest, false);
	fg_autofree char *text = fg_json_dump(value);
	return fg_file_write_durable(path, text, strlen(text), 0600, err);
}

int fg_filter_mark_read(const char *dir, const char *uuid, struct fg_filter_guest **out, struct fg_error *err)
{
	fg_autofree char *path = NULL, *text = NULL;
	fg_autojson json_t *value = NULL;
	struct fg_filter_guest *guest = NULL;
	size_t len = 0;
	int rc = mark_path(dir, uuid, &path, err);

	if (rc == 0)
		rc = fg_file_read(path, MARK_BYTES_MAX, &text, &len, err);
	if (rc == -FG_ENOTFOUND && faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
		fg_error_clear(err);
		return fg_error_set(err, FG_EIO, "%s leads nowhere", path);
	}
	if (rc < 0)
		return rc;
	rc = fg_json_parse(text, len, &value, err);
	if (rc == 0)
		rc = fg_guest_from_json(value, false, &guest, err);
	if (rc == 0)
		rc = check(guest, err);
	if (rc == 0 && strcasecmp(guest->uuid, uuid) != 0)
		rc = fg_error_set(err, FG_EFORMAT, "it is the mark of guest %s", guest->uuid);
	if (rc < 0) {
		fg_filter_guest_free(guest);
		if (rc == -FG_EUSAGE) /* the check's word for an argument; here the file is at fault */
			rc = -FG_EFORMAT;
		if (err)
			err->code = -rc;
		fg_error_wrap(err, "%s", path);
		return rc;
	}
	*out = guest;
	return 0;
}

int fg_filter_mark_remove(const char *dir, const char *uuid, struct fg_error *err)
{
	fg_autofree char *path = NULL;
	int rc = mark_path(dir, uuid, &path, err);

	if (rc < 0)
		return rc;
	if (access(dir, F_OK) < 0 && errno == ENOENT)
		return 0; /* no folder, no mark */
	return fg_file_remove_durable(path, err);
}
