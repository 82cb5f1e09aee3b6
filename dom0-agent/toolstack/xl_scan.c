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

#include <inttypes.h>
#include <string.h>

struct scan {
	struct xl_op op;
	char uuid[37]; /* empty: all */
	libxl_dominfo *infos;
	bool *ended; /* of infos: it is not there any more */
	int n_infos, at;
	bool nobodys; /* a domain is going down, and its owner is not known any more */
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
static void former_lives_drop(struct scan *scan);
static void scan_file(struct scan *scan);
static void scan_file_read(void *arg, int rc, json_t *config, const struct fg_error *err);
static void scan_end(struct scan *scan, int rc, const struct fg_error *err);

static void found_free(struct xl_found *found)
{
	fg_guest_release(&found->guest);
	free(found->config);
	free(found->file);
}

static void scan_release(struct xl_op *op)
{
	struct scan *scan = (struct scan *)op;

	if (scan->infos)
		libxl_dominfo_list_free(scan->infos, scan->n_infos);
	free(scan->ended);
	/* An unfinished libxl_retrieve_domain_configuration still points here; its context is at rest then (fg_xl_close). */
	if (scan->have_config)
		libxl_domain_config_dispose(&scan->config);
	for (size_t i = 0; i < scan->n_found; i++)
		found_free(&scan->found[i]);
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
	scan->ended = fg_calloc((size_t)scan->n_infos + 1, sizeof(*scan->ended));
	scan->at = -1;
	xl_files_refresh(scan->op.ts);
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
	struct fg_error err = FG_ERROR_INIT;

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
	former_lives_drop(scan);
	if (scan->uuid[0] && scan->nobodys && !scan->n_found) {
		int rc = fg_error_set(&err, FG_EUNREACHABLE, "guest %s is just going down", scan->uuid);
		scan_end(scan, rc, &err);
	} else {
		scan_file(scan);
	}
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

/* What is there and cannot be read is listed, with the reason why nothing can be done to it. */
static void unreadable(struct fg_guest *g, const char *uuid, const char *name, const char *why)
{
	g->ops = &fg_toolstack_xl;
	g->name = fg_strdup(name && *name ? name : "(unnamed)");
	snprintf(g->uuid, sizeof(g->uuid), "%s", uuid);
	g->nics = fg_calloc(1, sizeof(*g->nics));
	g->disks = fg_calloc(1, sizeof(*g->disks));
	fg_guest_refuse(g, "its definition cannot be read: %s", why);
}

static void domain_unreadable(struct xl_ts *ts, const libxl_dominfo *info, struct fg_guest *g, const char *why)
{
	char *name = libxl_domid_to_name(fg_xl_ctx(ts->xl), info->domid), uuid[37];

	fg_xl_uuid_format(&info->uuid, uuid);
	const struct xl_file *file = xl_file_by_uuid(ts, uuid);
	unreadable(g, uuid, name ? name : file ? file->name : NULL, why);
	free(name);
}

enum still { STILL_THERE, STILL_DYING, STILL_GONE };

/*
 * Its definition could not be read: because the domain has ended since the list was made?  libxl_domain_destroy takes
 * away the xenstore home and the userdata first, and only then the domain.
 */
static enum still still_there(struct xl_ts *ts, const libxl_dominfo *info)
{
	libxl_dominfo now;
	unsigned n = 1;

	libxl_dominfo_init(&now);
	int alive = libxl_domain_info(fg_xl_ctx(ts->xl), &now, info->domid);
	bool dying = info->dying || (alive == 0 && (now.dying || now.shutdown));
	libxl_dominfo_dispose(&now);
	if (alive == ERROR_DOMAIN_NOTFOUND)
		return STILL_GONE;
	if (!dying && fg_xs_children(ts->xs, &n, NULL, "/local/domain/%" PRIu32, info->domid) == 0)
		dying = n == 0;
	return dying ? STILL_DYING : STILL_THERE;
}

static int config_read(struct scan *scan, char **json, json_t **config, struct fg_guest *g, struct fg_error *err)
{
	*json = libxl_domain_config_to_json(fg_xl_ctx(scan->op.ts->xl), &scan->config);
	int rc = *json ? fg_json_parse(*json, strlen(*json), config, err) : fg_error_set(err, FG_ENOMEM, "JSON");
	return rc < 0 ? rc : fg_xl_guest_from_json(*config, g, err);
}

static void domain_found(struct scan *scan, struct fg_guest *g, enum fg_guest_state state, const json_t *config,
			 char *json)
{
	struct xl_ts *ts = scan->op.ts;

	g->ops = &fg_toolstack_xl;
	g->state = state;
	g->domid = scan->infos[scan->at].domid;
	g->created_s = fg_xs_created_s(ts->xs, g->domid);
	for (size_t i = 0; i < g->n_nics; i++)
		fg_nic_add_xen_netdevs(&g->nics[i], g->domid, fg_xl_vifname(config, i));
	struct xl_found *found = found_add(scan);
	found->guest = *g;
	found->config = json;
}

static void scan_config_read(void *arg, int rc)
{
	struct scan *scan = arg;
	struct xl_ts *ts = scan->op.ts;
	const libxl_dominfo *info = &scan->infos[scan->at];
	struct fg_error err = FG_ERROR_INIT;
	fg_autojson json_t *config = NULL;
	fg_autofree char *json = NULL;
	struct fg_guest g = { 0 };
	enum still still = STILL_THERE;
	char uuid[37];

	fg_xl_uuid_format(&info->uuid, uuid);
	int frc =
		rc ? fg_xl_error_set(&err, rc, "domain %u", info->domid) : config_read(scan, &json, &config, &g, &err);
	if (rc)
		still = still_there(ts, info);
	scan->ended[scan->at] = still == STILL_GONE;
	/* Going down, and it is not known whose it was: libvirt's mark goes with the definition. */
	bool nobodys = still == STILL_DYING && !xl_file_by_uuid(ts, uuid);
	libxl_domain_config_dispose(&scan->config);
	scan->have_config = false;
	scan->nobodys |= nobodys;
	if (still != STILL_GONE && !nobodys) {
		if (frc < 0)
			domain_unreadable(ts, info, &g, err.text);
		domain_found(scan, &g, still == STILL_DYING ? FG_GUEST_DYING : state_of(info), config,
			     frc < 0 ? NULL : FG_TAKE(json));
	}
	scan_domain(scan);
}

/* A guest that reboots may be there twice: what is left of its former life is not the guest. */
static void former_lives_drop(struct scan *scan)
{
	for (size_t i = 0; i < scan->n_found;) {
		bool former = false;
		for (size_t k = 0; k < scan->n_found; k++)
			former |= k != i && scan->found[i].guest.state == FG_GUEST_DYING && !scan->found[i].config &&
				  !strcmp(scan->found[i].guest.uuid, scan->found[k].guest.uuid);
		if (former) {
			found_free(&scan->found[i]);
			scan->found[i] = scan->found[--scan->n_found];
		} else {
			i++;
		}
	}
}

static bool uuid_exists(const struct scan *scan, const char *uuid)
{
	for (int i = 0; i < scan->n_infos; i++) {
		char have[37];
		fg_xl_uuid_format(&scan->infos[i].uuid, have);
		if (!scan->ended[i] && !strcmp(have, uuid))
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

/* config NULL: xl did not say what it would make of it. */
static void file_found(struct scan *scan, const struct xl_file *file, const json_t *config, const struct fg_error *why)
{
	struct fg_error err = why ? *why : (struct fg_error)FG_ERROR_INIT;
	struct fg_guest g = { 0 };

	int rc = config ? fg_xl_guest_from_json(config, &g, &err) : -1;
	if (rc < 0) {
		fg_log_debug("%s: %s", file->path, err.text);
		unreadable(&g, file->uuid, file->name, err.text);
	}
	g.ops = &fg_toolstack_xl;
	if (!is_off(scan->op.ts, &g))
		g.state = FG_GUEST_DYING;
	struct xl_found *found = found_add(scan);
	found->guest = g;
	found->config = rc < 0 ? NULL : fg_json_dump(config);
	found->file = fg_strdup(file->path);
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
		file_found(scan, file, file->config, NULL);
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

	LIST_FOREACH (file, &scan->op.ts->files, link)
		if (!strcmp(file->path, scan->file_path))
			break;
	if (rc == 0 && file && !file->config)
		file->config = json_incref(config);
	/* The one guest that is asked for: an answer of xl, or none at all? */
	if (scan->uuid[0] && (rc == -FG_ETIMEOUT || rc == -FG_EUNREACHABLE)) {
		scan_end(scan, rc, err);
		return;
	}
	if (file && file->uuid[0]) /* else it was removed meanwhile */
		file_found(scan, file, rc < 0 ? NULL : config, rc < 0 ? err : NULL);
	scan_file(scan);
}

static void scan_end(struct scan *scan, int rc, const struct fg_error *err)
{
	scan->cb(scan->arg, rc, rc ? NULL : scan->found, rc ? 0 : scan->n_found, err);
	xl_op_free(&scan->op);
}
