/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Which guests are there?  In this order: scan_begin (domains) -> scan_domain -> scan_config_read … -> scan_file ->
 * scan_file_read … -> scan_end.
 */
#include "dom0-agent/toolstack/guest.h"
#include "dom0-agent/toolstack/xl_config.h"
#include "dom0-agent/toolstack/xl_daemon.h"
#include "dom0-agent/toolstack/xl_private.h"
#include "lib/log.h"
#include "lib/util.h"

#include <string.h>

struct scan {
	struct xl_op op;
	char uuid[37]; /* empty: all */
	libxl_dominfo *infos;
	int n_infos, at;
	libxl_domain_config config;
	bool have_config;
	struct xl_file *file; /* whose dry run is under way; may have been freed: compare by path */
	char *file_path;
	char **tried; /* files without a usable definition */
	size_t n_tried;
	struct xl_found *found;
	size_t n_found;
	xl_scan_cb *cb;
	void *arg;
};

static void scan_begin(evutil_socket_t fd, short what, void *arg);
static void scan_domain(struct scan *scan);
static void scan_config_read(void *arg, int rc);
static void scan_file(struct scan *scan);
static void scan_file_read(void *arg, int rc, json_t *config, const struct fg_error *err);
static void scan_end(struct scan *scan, int rc, const struct fg_error *err);

static void scan_release(struct xl_op *op)
{
	struct scan *scan = (struct scan *)op;

	if (scan->infos)
		libxl_dominfo_list_free(scan->infos, scan->n_infos);
	/* An unfinished libxl_retrieve_domain_configuration still points here; its context is at rest then (fg_xl_close). */
	if (scan->have_config)
		libxl_domain_config_dispose(&scan->config);
	for (size_t i = 0; i < scan->n_found; i++) {
		fg_guest_release(&scan->found[i].guest);
		free(scan->found[i].config);
		free(scan->found[i].file);
	}
	free(scan->found);
	for (size_t i = 0; i < scan->n_tried; i++)
		free(scan->tried[i]);
	free(scan->tried);
	free(scan->file_path);
}

void xl_scan(struct xl_ts *ts, const char *uuid, xl_scan_cb *cb, void *arg)
{
	struct scan *scan = xl_op_new(ts, sizeof(*scan), scan_begin, scan_release);

	snprintf(scan->uuid, sizeof(scan->uuid), "%s", uuid ? uuid : "");
	scan->cb = cb;
	scan->arg = arg;
	xl_op_soon(&scan->op);
}

static void scan_begin(evutil_socket_t fd, short what, void *arg)
{
	struct scan *scan = arg;
	struct fg_error err = FG_ERROR_INIT;

	(void)fd;
	(void)what;
	scan->infos = libxl_list_domain(fg_xl_ctx(scan->op.ts->xl), &scan->n_infos);
	if (!scan->infos) {
		int rc = fg_error_set(&err, FG_EUNREACHABLE, "libxl: cannot list domains");
		scan_end(scan, rc, &err);
		return;
	}
	scan->at = -1;
	scan_domain(scan);
}

/*
 * libvirt's libxl driver keeps its XML as userdata "libvirt-xml" with each domain it makes (libxlDomainStart); xl has
 * no such thing.  So the owner is known without asking libvirtd, which may be down.
 */
static bool owned_by_libvirt(struct xl_ts *ts, uint32_t domid)
{
	uint8_t *data = NULL;
	int len = 0;
	int rc = libxl_userdata_retrieve(fg_xl_ctx(ts->xl), domid, "libvirt-xml", &data, &len);

	free(data);
	return rc == 0 && len > 0;
}

static bool is_fixvm(struct xl_ts *ts, uint32_t domid)
{
	char *name = libxl_domid_to_name(fg_xl_ctx(ts->xl), domid);
	bool is = name && !strncmp(name, FG_FIXVM_PREFIX, strlen(FG_FIXVM_PREFIX));

	free(name);
	return is;
}

static bool wanted(struct scan *scan, const libxl_dominfo *info)
{
	char uuid[37];

	if (info->domid == 0)
		return false;
	fg_xl_uuid_format(&info->uuid, uuid);
	if (scan->uuid[0] && strcmp(uuid, scan->uuid) != 0)
		return false;
	return !is_fixvm(scan->op.ts, info->domid) && !owned_by_libvirt(scan->op.ts, info->domid);
}

static void scan_domain(struct scan *scan)
{
	struct xl_ts *ts = scan->op.ts;

	for (scan->at++; scan->at < scan->n_infos; scan->at++) {
		if (!wanted(scan, &scan->infos[scan->at]))
			continue;
		libxl_domain_config_init(&scan->config);
		scan->have_config = true;
		libxl_asyncop_how how = fg_xl_how(ts->xl, scan_config_read, scan);
		fg_xl_started(ts->xl, &how,
			      libxl_retrieve_domain_configuration(fg_xl_ctx(ts->xl), scan->infos[scan->at].domid,
								  &scan->config, &how));
		return;
	}
	xl_files_refresh(ts);
	scan_file(scan);
}

static struct xl_found *found_add(struct scan *scan)
{
	scan->found = realloc(scan->found, (scan->n_found + 1) * sizeof(*scan->found));
	if (!scan->found)
		abort();
	memset(&scan->found[scan->n_found], 0, sizeof(*scan->found));
	return &scan->found[scan->n_found++];
}

static enum fg_guest_state state_of(const libxl_dominfo *info)
{
	if (info->shutdown || info->dying)
		return FG_GUEST_DYING;
	return info->paused ? FG_GUEST_PAUSED : FG_GUEST_RUNNING;
}

/* A domain whose definition cannot be read is listed, with the reason why nothing can be done to it. */
static void unreadable(struct xl_ts *ts, const libxl_dominfo *info, struct fg_guest *g, const char *why)
{
	char *name = libxl_domid_to_name(fg_xl_ctx(ts->xl), info->domid);

	g->name = fg_strdup(name ? name : "(unnamed)");
	free(name);
	fg_xl_uuid_format(&info->uuid, g->uuid);
	g->nics = fg_calloc(1, sizeof(*g->nics));
	g->disks = fg_calloc(1, sizeof(*g->disks));
	fg_guest_refuse(g, "its definition cannot be read: %s", why);
}

static void scan_config_read(void *arg, int rc)
{
	struct scan *scan = arg;
	struct xl_ts *ts = scan->op.ts;
	const libxl_dominfo *info = &scan->infos[scan->at];
	struct fg_error err = FG_ERROR_INIT;
	fg_autojson json_t *config = NULL;
	struct fg_guest g = { 0 };
	char *json = NULL;
	int frc = 0;

	if (rc) {
		libxl_dominfo now;
		libxl_dominfo_init(&now);
		int alive = libxl_domain_info(fg_xl_ctx(ts->xl), &now, info->domid);
		libxl_dominfo_dispose(&now);
		if (alive == ERROR_DOMAIN_NOTFOUND || (alive == 0 && info->dying))
			goto next; /* it ended meanwhile */
		frc = fg_xl_error_set(&err, rc, "domain %u", info->domid);
	} else {
		json = libxl_domain_config_to_json(fg_xl_ctx(ts->xl), &scan->config);
		frc = json ? fg_json_parse(json, strlen(json), &config, &err) : fg_error_set(&err, FG_ENOMEM, "JSON");
		if (frc == 0)
			frc = fg_xl_guest_from_json(config, &g, &err);
	}
	if (frc < 0)
		unreadable(ts, info, &g, err.text);
	g.ops = &fg_toolstack_xl;
	g.state = state_of(info);
	g.domid = info->domid;
	g.created_s = fg_xs_created_s(ts->xs, info->domid);
	for (size_t i = 0; i < g.n_nics; i++)
		fg_nic_add_xen_netdevs(&g.nics[i], g.domid, fg_xl_vifname(config, i));
	struct xl_found *found = found_add(scan);
	found->guest = g;
	found->config = frc < 0 ? NULL : FG_TAKE(json);
next:
	free(json);
	libxl_domain_config_dispose(&scan->config);
	scan->have_config = false;
	scan_domain(scan);
}

static bool uuid_exists(const struct scan *scan, const char *uuid)
{
	for (int i = 0; i < scan->n_infos; i++) {
		char have[37];
		fg_xl_uuid_format(&scan->infos[i].uuid, have);
		if (!strcmp(have, uuid))
			return true; /* whoever owns it */
	}
	for (size_t i = 0; i < scan->n_found; i++)
		if (!strcmp(scan->found[i].guest.uuid, uuid))
			return true;
	return false;
}

static bool was_tried(const struct scan *scan, const char *path)
{
	for (size_t i = 0; i < scan->n_tried; i++)
		if (!strcmp(scan->tried[i], path))
			return true;
	return false;
}

static void file_tried(struct scan *scan, const char *path)
{
	scan->tried = realloc(scan->tried, (scan->n_tried + 1) * sizeof(char *));
	if (!scan->tried)
		abort();
	scan->tried[scan->n_tried++] = fg_strdup(path);
}

/* No domain, and nobody who is about to make it: not known is not off. */
static bool is_off(struct xl_ts *ts, const struct fg_guest *g)
{
	struct fg_xl_daemon daemon = { 0 };
	int rc = xl_daemon_of(ts, g, &daemon, NULL);

	fg_xl_daemon_release(&daemon);
	return rc == -FG_ENOTFOUND;
}

static void file_found(struct scan *scan, const char *path, const json_t *config)
{
	struct fg_error err = FG_ERROR_INIT;
	struct fg_guest g;

	if (fg_xl_guest_from_json(config, &g, &err) < 0) {
		fg_log_debug("%s: %s, ignoring", path, err.text);
		return;
	}
	g.ops = &fg_toolstack_xl;
	if (!is_off(scan->op.ts, &g))
		g.state = FG_GUEST_DYING;
	struct xl_found *found = found_add(scan);
	found->guest = g;
	found->config = fg_json_dump(config);
	found->file = fg_strdup(path);
}

static struct xl_file *file_pick(struct scan *scan)
{
	struct xl_ts *ts = scan->op.ts;
	struct xl_file *file;

	LIST_FOREACH (file, &ts->files, link)
		if (file->uuid[0] && (!scan->uuid[0] || !strcmp(file->uuid, scan->uuid)) &&
		    file == xl_file_by_uuid(ts, file->uuid) && !was_tried(scan, file->path) &&
		    !uuid_exists(scan, file->uuid))
			return file;
	return NULL;
}

static void scan_file(struct scan *scan)
{
	struct fg_error err = FG_ERROR_INIT;
	struct xl_file *file;

	for (file = file_pick(scan); file; file = file_pick(scan)) {
		file_tried(scan, file->path);
		if (!file->config)
			break;
		file_found(scan, file->path, file->config);
	}
	if (!file) {
		scan_end(scan, 0, NULL);
		return;
	}
	free(scan->file_path);
	scan->file_path = fg_strdup(file->path);
	if (xl_dryrun(scan->op.ts, file->path, NULL, file->uuid, scan_file_read, scan, &err) < 0)
		scan_end(scan, -err.code, &err);
}

static void scan_file_read(void *arg, int rc, json_t *config, const struct fg_error *err)
{
	struct scan *scan = arg;
	struct xl_file *file;

	if (rc < 0)
		fg_log_debug("%s: %s, ignoring", scan->file_path, err->text);
	LIST_FOREACH (file, &scan->op.ts->files, link)
		if (!strcmp(file->path, scan->file_path))
			break;
	if (rc == 0 && file && !file->config)
		file->config = json_incref(config);
	if (rc == 0)
		file_found(scan, scan->file_path, config);
	scan_file(scan);
}

static void scan_end(struct scan *scan, int rc, const struct fg_error *err)
{
	scan->cb(scan->arg, rc, rc ? NULL : scan->found, rc ? 0 : scan->n_found, err);
	xl_op_free(&scan->op);
}
