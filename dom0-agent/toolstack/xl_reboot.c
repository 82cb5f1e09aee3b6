/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A guest that reboots under xl is no domain for some seconds: its xl process has destroyed it, sleeps, and makes it anew.
 * Who looks for a domain only takes it for off or gone.
 */
#include "dom0-agent/toolstack/xl_daemon.h"
#include "dom0-agent/toolstack/xl_private.h"
#include "lib/log.h"
#include "lib/util.h"

#include <string.h>

struct wanted {
	struct xl_ts *ts;
	struct fg_xl_known guest;
};

int xl_domid_is(struct xl_ts *ts, uint32_t domid, const char *uuid, struct fg_error *err)
{
	libxl_dominfo info;
	char have[37] = "";

	libxl_dominfo_init(&info);
	int rc = libxl_domain_info(fg_xl_ctx(ts->xl), &info, domid);
	if (rc == 0)
		fg_xl_uuid_format(&info.uuid, have);
	libxl_dominfo_dispose(&info);
	if (rc)
		return fg_xl_error_set(err, rc, "domain %u", domid);
	return strcmp(have, uuid) == 0 ? 0 : fg_error_set(err, FG_EEXISTS, "domain %u is guest %s", domid, have);
}

/* Its command line names a file that pins the UUID of another guest. */
static bool is_of_another_file(const struct wanted *w, const struct fg_xl_daemon *daemon)
{
	struct xl_file *file;

	LIST_FOREACH (file, &w->ts->files, link)
		if (daemon->file && !strcmp(file->path, daemon->file) && file->uuid[0])
			return strcmp(file->uuid, w->guest.uuid) != 0;
	return false;
}

static enum fg_told is_its(const struct fg_xl_daemon *daemon, void *arg)
{
	struct wanted *w = arg;
	struct fg_error err = FG_ERROR_INIT;
	/* domid 0: its log says nothing of a domain */
	int rc = daemon->domid ? xl_domid_is(w->ts, daemon->domid, w->guest.uuid, &err) : -FG_ENOTFOUND;

	if (rc == 0 || rc == -FG_EEXISTS) /* it waits for a domain's end: it is that one's */
		return rc == 0 ? FG_TOLD_YES : FG_TOLD_NO;
	if (rc != -FG_ENOTFOUND) {
		fg_log_debug("%s, ignoring", err.text);
		return FG_TOLD_UNKNOWN;
	}
	return is_of_another_file(w, daemon) ? FG_TOLD_NO : fg_xl_daemon_serves(daemon, &w->guest);
}

int xl_daemon_of(struct xl_ts *ts, const struct fg_guest *last, struct fg_xl_daemon *out, struct fg_error *err)
{
	const struct xl_file *file = xl_file_by_uuid(ts, last->uuid);
	struct wanted w = { .ts = ts,
			    .guest = { .uuid = last->uuid,
				       .name = last->name,
				       .file = file ? file->path : NULL,
				       .domid = last->domid } };

	return fg_xl_daemon_find_by("/proc", is_its, &w, out, err);
}
