/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Bringing a guest back.  In this order: start_scanned (is it there already?) -> file_read (would its file make the same
 * domain?) -> with_xl -> xl_ended [-> undo -> undone], or with_libxl -> libxl_made -> start_found -> start_end.
 */
#include "dom0-agent/toolstack/child.h"
#include "dom0-agent/toolstack/xl_config.h"
#include "dom0-agent/toolstack/xl_daemon.h"
#include "dom0-agent/toolstack/xl_private.h"
#include "lib/log.h"
#include "lib/util.h"

#include <string.h>
#include <unistd.h>

#define SETTINGS_MAX 64

struct start {
	struct xl_op op;
	json_t *definition;
	const char *uuid, *file; /* of definition */
	json_t *config;
	char *settings[SETTINGS_MAX + 1]; /* borrowed from definition */
	bool daemon;
	struct fg_child *child;
	char *json; /* with_libxl */
	libxl_domain_config *d_config;
	uint32_t domid;
	fg_ts_guest_cb *cb;
	void *arg;
	struct fg_error early;
};

static void start_scanned(void *arg, int rc, struct xl_found *found, size_t n, const struct fg_error *err);
static void file_read(void *arg, int rc, json_t *config, const struct fg_error *err);
static void with_xl(struct start *start);
static void xl_ended(void *arg, const struct fg_child_result *result, const struct fg_error *error);
static void with_libxl(struct start *start);
static void libxl_made(void *arg, int rc);
static void undo(struct start *start, const struct fg_error *err);
static void undone(void *arg, int rc);
static void start_found(void *arg, int rc, struct xl_found *found, size_t n, const struct fg_error *err);
static void start_end(struct start *start, int rc, const struct fg_guest *guest, const struct fg_error *err);

static void start_release(struct xl_op *op)
{
	struct start *start = (struct start *)op;

	fg_child_cancel(start->child);
	json_decref(start->definition);
	free(start->json);
	if (start->d_config) {
		libxl_domain_config_dispose(start->d_config);
		free(start->d_config);
	}
}

static void start_refused(evutil_socket_t fd, short what, void *arg)
{
	struct start *start = arg;

	(void)fd;
	(void)what;
	start_end(start, -start->early.code, NULL, &start->early);
}

static int definition_read(struct start *start, const char *text, struct fg_error *err)
{
	const char *toolstack;
	json_t *args = NULL;
	int rc = strlen(text) > FG_XL_JSON_MAX ? fg_error_set(err, FG_ELIMIT, "definition too long")
					       : fg_json_parse(text, strlen(text), &start->definition, err);
	if (rc == 0)
		rc = fg_json_string(start->definition, "toolstack", &toolstack, err);
	if (rc == 0 && strcmp(toolstack, "xl") != 0)
		rc = fg_error_set(err, FG_EFORMAT, "definition is of toolstack %s", toolstack);
	if (rc == 0)
		rc = fg_json_string(start->definition, "uuid", &start->uuid, err);
	if (rc == 0)
		rc = fg_json_object(start->definition, "config", &start->config, err);
	if (rc == 0)
		rc = fg_json_string_opt(start->definition, "file", &start->file, err);
	if (rc == 0)
		rc = fg_json_array(start->definition, "args", SETTINGS_MAX, &args, err);
	for (size_t i = 0; rc == 0 && i < json_array_size(args); i++) {
		start->settings[i] = (char *)json_string_value(json_array_get(args, i));
		if (!start->settings[i])
			rc = fg_error_set(err, FG_EFORMAT, "args holds what is no string");
	}
	if (rc == 0)
		start->daemon = json_is_true(json_object_get(start->definition, "daemon"));
	return rc;
}

void xl_start_paused(struct fg_toolstack *opaque, const char *definition, fg_ts_guest_cb *cb, void *arg)
{
	struct xl_ts *ts = (struct xl_ts *)opaque;
	struct start *start = xl_op_new(ts, sizeof(*start), start_refused, start_release);

	start->cb = cb;
	start->arg = arg;
	if (definition_read(start, definition, &start->early) < 0)
		xl_op_soon(&start->op);
	else
		xl_scan(ts, start->uuid, start_scanned, start);
}

static void start_scanned(void *arg, int rc, struct xl_found *found, size_t n, const struct fg_error *err)
{
	struct start *start = arg;
	struct fg_error own = FG_ERROR_INIT;

	if (rc < 0 || (n && found[0].guest.domid)) {
		start_end(start, rc, n ? &found[0].guest : NULL, err);
		return;
	}
	if (!start->file || access(start->file, R_OK) < 0) {
		fg_log_info("guest %s has no config file: it is made from its saved definition", start->uuid);
		with_libxl(start);
		return;
	}
	rc = xl_dryrun(start->op.ts, start->file, start->settings, start->uuid, file_read, start, &own);
	if (rc < 0)
		start_end(start, rc, NULL, &own);
}

static void file_read(void *arg, int rc, json_t *config, const struct fg_error *err)
{
	struct start *start = arg;
	struct fg_error own = FG_ERROR_INIT;

	if (rc == 0) {
		rc = fg_xl_config_same(start->config, config, &own);
		err = &own;
	}
	if (rc < 0) {
		fg_log_warn("guest %s: %s no longer yields it (%s): it is made from its saved definition", start->uuid,
			    start->file, err->text);
		with_libxl(start);
		return;
	}
	with_xl(start);
}

/*
 * As a service of its own control group where systemd runs us, so that the daemon that xl leaves is no part of the
 * agent's unit (which has KillMode=process besides).
 */
static size_t scope_prefix(const char **argv, const char *unit)
{
	static const char *const words[] = { "systemd-run", "--scope", "--quiet", "--collect" };

	if (!getenv("INVOCATION_ID") || access("/run/systemd/system", F_OK) < 0)
		return 0;
	for (size_t i = 0; i < FG_COUNT(words); i++)
		argv[i] = words[i];
	argv[FG_COUNT(words)] = unit;
	return FG_COUNT(words) + 1;
}

static void with_xl(struct start *start)
{
	const char *argv[SETTINGS_MAX + 16];
	struct fg_error err = FG_ERROR_INIT;
	fg_autofree char *pin = fg_asprintf("uuid=\"%s\"", start->uuid);
	fg_autofree char *unit = fg_asprintf("--description=Xen guest %s", start->uuid);
	size_t n = scope_prefix(argv, unit);

	argv[n++] = FG_XL_PROGRAM;
	argv[n++] = "create";
	argv[n++] = "-p";
	if (!start->daemon)
		argv[n++] = "-e";
	argv[n++] = start->file;
	for (char **setting = start->settings; *setting; setting++)
		argv[n++] = *setting;
	argv[n++] = pin;
	argv[n] = NULL;
	int rc = fg_child_start(start->op.ts->cfg.base, argv, FG_XL_CREATE_MS, xl_ended, start, &start->child, &err);
	if (rc < 0)
		start_end(start, rc, NULL, &err);
}

static void xl_ended(void *arg, const struct fg_child_result *result, const struct fg_error *error)
{
	struct start *start = arg;
	struct fg_error err = FG_ERROR_INIT;
	char line[256];

	start->child = NULL;
	if (error) {
		err = *error;
		(void)fg_error_wrap(&err, "xl create %s", start->file);
		undo(start, &err);
	} else if (!fg_child_succeeded(result)) {
		fg_child_last_line(result, line, sizeof(line));
		(void)fg_error_set(&err, FG_EFAILED, "xl create %s: %s", start->file, line);
		undo(start, &err);
	} else {
		xl_scan(start->op.ts, start->uuid, start_found, start);
	}
}

/* An xl that was killed leaves half a domain: the next try must not take it for the guest. */
static void undo(struct start *start, const struct fg_error *err)
{
	struct fg_xl *xl = start->op.ts->xl;
	struct fg_xl_daemon daemon = { 0 };
	libxl_dominfo info;
	uint32_t domid = 0;

	start->early = *err;
	libxl_dominfo_init(&info);
	bool half = fg_xl_find(xl, start->uuid, &domid, &info, NULL) == 0 && info.paused;
	libxl_dominfo_dispose(&info);
	/* One that runs, or has its xl process, was made by somebody else meanwhile. */
	if (half && fg_xl_daemon_find("/proc", domid, start->uuid, &daemon, NULL) == 0) {
		fg_xl_daemon_release(&daemon);
		half = false;
	}
	if (!half) {
		undone(start, 0);
		return;
	}
	fg_log_warn("guest %s: %s: destroying what was made of it", start->uuid, err->text);
	libxl_asyncop_how how = fg_xl_how(xl, undone, start);
	fg_xl_started(xl, &how, libxl_domain_destroy(fg_xl_ctx(xl), domid, &how));
}

static void undone(void *arg, int rc)
{
	struct start *start = arg;

	if (rc && rc != ERROR_DOMAIN_NOTFOUND)
		fg_log_err("guest %s: half a domain is left: %s", start->uuid, fg_xl_error_name(rc));
	start_end(start, -start->early.code, NULL, &start->early);
}

static void with_libxl(struct start *start)
{
	struct xl_ts *ts = start->op.ts;
	libxl_ctx *ctx = fg_xl_ctx(ts->xl);
	struct fg_error err = FG_ERROR_INIT;

	start->json = fg_json_dump(start->config);
	start->d_config = fg_calloc(1, sizeof(*start->d_config));
	libxl_domain_config_init(start->d_config);
	int rc = libxl_domain_config_from_json(ctx, start->d_config, start->json);
	if (rc) {
		start_end(start, fg_xl_error_set(&err, rc, "saved definition of %s", start->uuid), NULL, &err);
		return;
	}
	start->d_config->c_info.domid = INVALID_DOMID; /* a new one */
	start->domid = INVALID_DOMID;
	libxl_asyncop_how how = fg_xl_how(ts->xl, libxl_made, start);
	fg_xl_started(ts->xl, &how, libxl_domain_create_new(ctx, start->d_config, &start->domid, &how, NULL));
}

static void libxl_made(void *arg, int rc)
{
	struct start *start = arg;
	struct fg_error err = FG_ERROR_INIT;

	if (rc) {
		start_end(start, fg_xl_error_set(&err, rc, "guest %s cannot be made", start->uuid), NULL, &err);
		return;
	}
	xl_own(start->op.ts, start->uuid, start->domid, start->json);
	xl_scan(start->op.ts, start->uuid, start_found, start);
}

static void start_found(void *arg, int rc, struct xl_found *found, size_t n, const struct fg_error *err)
{
	struct start *start = arg;
	struct fg_error own = FG_ERROR_INIT;

	if (rc == 0 && (!n || !found[0].guest.domid)) {
		rc = fg_error_set(&own, FG_EFAILED, "guest %s was made and is not there", start->uuid);
		err = &own;
	}
	start_end(start, rc, n ? &found[0].guest : NULL, err);
}

static void start_end(struct start *start, int rc, const struct fg_guest *guest, const struct fg_error *err)
{
	fg_ts_guest_cb *cb = start->cb;
	void *arg = start->arg;
	struct fg_error copy = err ? *err : (struct fg_error)FG_ERROR_INIT;

	xl_op_free(&start->op);
	cb(arg, rc, rc ? NULL : guest, rc ? &copy : NULL);
}
