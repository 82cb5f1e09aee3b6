/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Bringing a guest back.  In this order: look -> start_scanned (is it there already?) -> make -> file_read (would its file
 * make the same domain?) -> with_xl -> xl_ended [-> undo], or with_libxl -> libxl_made -> start_found -> start_end.
 *
 * What an agent that died left is put out of the way first, and looked at again: its xl, which outlives it (await_maker ->
 * maker_ended), and half a domain (half_destroy -> half_destroyed -> half_wait -> half_gone).  libxl writes a domain's
 * definition when the domain is complete (domcreate_complete in libxl_create.c): one without it is half a domain.
 * That xl is looked for before the domain and after it: none then can have completed what was seen as half, or be at it.
 */
#include "dom0-agent/toolstack/child.h"
#include "dom0-agent/toolstack/gone.h"
#include "dom0-agent/toolstack/xl_config.h"
#include "dom0-agent/toolstack/xl_daemon.h"
#include "dom0-agent/toolstack/xl_private.h"
#include "lib/log.h"
#include "lib/util.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SETTINGS_MAX 64
#define MAKER_MS 60000 /* for an xl of an agent that died; then it is ended */
#define MAKER_END_MS 5000
#define GONE_MS 60000
#define ROUNDS_MAX 8

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
	struct fg_guest want; /* by its definition */
	struct fg_xl_daemon maker;
	int maker_rc;
	struct fg_error maker_err;
	int pidfd; /* of the maker */
	struct event *maker_end;
	bool waited, killed;
	struct fg_gone *gone;
	bool undoing; /* what is left of this try, which ends with `early` */
	unsigned rounds;
	fg_ts_guest_cb *cb;
	void *arg;
	struct fg_error early;
};

static void look(struct start *start);
static void start_scanned(void *arg, int rc, struct xl_found *found, size_t n, const struct fg_error *err);
static void await_maker(struct start *start);
static void maker_ended(evutil_socket_t fd, short what, void *arg);
static void half_destroy(struct start *start, uint32_t domid, const char *why);
static void half_destroyed(void *arg, int rc);
static void half_wait(struct start *start);
static void half_gone(void *arg, int rc, const struct fg_error *err);
static void make(struct start *start);
static void file_read(void *arg, int rc, json_t *config, const struct fg_error *err);
static void with_xl(struct start *start);
static void xl_ended(void *arg, const struct fg_child_result *result, const struct fg_error *error);
static void with_libxl(struct start *start);
static void libxl_made(void *arg, int rc);
static void undo(struct start *start, const struct fg_error *err);
static void start_found(void *arg, int rc, struct xl_found *found, size_t n, const struct fg_error *err);
static void start_end(struct start *start, int rc, const struct fg_guest *guest, const struct fg_error *err);

static void maker_close(struct start *start)
{
	if (start->maker_end)
		event_free(start->maker_end);
	start->maker_end = NULL;
	if (start->pidfd >= 0)
		close(start->pidfd);
	start->pidfd = -1;
}

static void start_release(struct xl_op *op)
{
	struct start *start = (struct start *)op;

	fg_child_cancel(start->child);
	maker_close(start);
	fg_gone_cancel(start->gone);
	fg_xl_daemon_release(&start->maker);
	fg_guest_release(&start->want);
	json_decref(start->definition);
	free(start->json);
	if (start->d_config) {
		libxl_domain_config_dispose(start->d_config);
		free(start->d_config);
	}
}

static void maker_kill(struct start *start)
{
	struct fg_error err = FG_ERROR_INIT;

	fg_log_warn("guest %s: ending the xl that makes it", start->uuid);
	start->killed = true;
	xl_op_in(&start->op, MAKER_END_MS);
	if (syscall(SYS_pidfd_send_signal, start->pidfd, SIGKILL, NULL, 0) < 0 && errno != ESRCH) {
		int rc = fg_error_errno(&err, FG_EFAILED, errno, "the xl that makes guest %s cannot be ended",
					start->uuid);
		start_end(start, rc, NULL, &err);
	}
}

/* Refused from the start, or waited long enough for the maker. */
static void start_timer(evutil_socket_t fd, short what, void *arg)
{
	struct start *start = arg;
	struct fg_error err = FG_ERROR_INIT;

	(void)fd;
	(void)what;
	if (!start->maker_end) {
		start_end(start, -start->early.code, NULL, &start->early);
	} else if (start->killed) {
		int rc = fg_error_set(&err, FG_ETIMEOUT, "waited %d ms for the end of the xl that makes guest %s",
				      MAKER_END_MS, start->uuid);
		start_end(start, rc, NULL, &err);
	} else {
		/* It may be done, and only its process be left: look before it is ended. */
		start->waited = true;
		maker_close(start);
		look(start);
	}
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
	if (rc == 0)
		rc = fg_xl_guest_from_json(start->config, &start->want, err);
	for (size_t i = 0; rc == 0 && i < json_array_size(args); i++) {
		start->settings[i] = (char *)json_string_value(json_array_get(args, i));
		if (!start->settings[i])
			rc = fg_error_set(err, FG_EFORMAT, "args holds what is no string");
	}
	if (rc == 0)
		start->daemon = json_is_true(json_object_get(start->definition, "daemon"));
	return rc;
}

/* The caller may have given up waiting: the operation goes on all the same. */
static bool under_way(struct start *start)
{
	struct xl_op *op;

	LIST_FOREACH (op, &start->op.ts->ops, link)
		if (op != &start->op && op->release == start_release &&
		    strcmp(((struct start *)op)->want.uuid, start->want.uuid) == 0)
			return true;
	return false;
}

void xl_start_paused(struct fg_toolstack *opaque, const char *definition, fg_ts_guest_cb *cb, void *arg)
{
	struct xl_ts *ts = (struct xl_ts *)opaque;
	struct start *start = xl_op_new(ts, sizeof(*start), start_timer, start_release);

	start->cb = cb;
	start->arg = arg;
	start->pidfd = -1;
	int rc = definition_read(start, definition, &start->early);
	if (rc == 0 && under_way(start))
		rc = fg_error_set(&start->early, FG_EUNREACHABLE, "guest %s is just being made", start->uuid);
	if (rc < 0)
		xl_op_soon(&start->op);
	else
		look(start);
}

static void maker_look(struct start *start)
{
	fg_xl_daemon_release(&start->maker);
	start->maker_rc = fg_xl_maker_find("/proc", start->uuid, &start->maker, &start->maker_err);
}

static void look(struct start *start)
{
	struct fg_error err = FG_ERROR_INIT;

	if (++start->rounds <= ROUNDS_MAX) {
		maker_look(start);
		xl_scan(start->op.ts, start->uuid, start_scanned, start);
		return;
	}
	int rc =
		fg_error_set(&err, FG_EUNREACHABLE, "guest %s: what is there of it does not come to rest", start->uuid);
	start_end(start, rc, NULL, &err);
}

/* Made by an agent that died before it could note that it is the owner? */
static void adopt(struct start *start, const struct xl_found *found)
{
	struct xl_ts *ts = start->op.ts;
	struct fg_xl_daemon daemon = { 0 };
	struct fg_error err = FG_ERROR_INIT;

	if ((start->file && !start->daemon) || xl_owns(ts, start->uuid))
		return;
	int rc = fg_xl_daemon_find("/proc", found->guest.domid, start->uuid, &daemon, &err);
	if (rc == -FG_ENOTFOUND)
		rc = fg_xl_maker_find("/proc", start->uuid, &daemon, &err);
	fg_xl_daemon_release(&daemon);
	if (rc == -FG_ENOTFOUND)
		xl_own(ts, start->uuid, found->guest.domid, found->config);
	else if (rc < 0)
		fg_log_warn("guest %s: %s; the agent does not become its owner", start->uuid, err.text);
}

/* A complete domain is there: is it the guest? */
static void start_exists(struct start *start, const struct xl_found *found)
{
	struct fg_error err = FG_ERROR_INIT;
	int rc = fg_guest_same_devices(&start->want, &found->guest, &err);

	if (rc < 0)
		rc = fg_error_wrap(&err, "domain %u has the UUID of guest %s and is not it", found->guest.domid,
				   start->uuid);
	else
		adopt(start, found);
	start_end(start, rc, &found->guest, &err);
}

static void start_scanned(void *arg, int rc, struct xl_found *found, size_t n, const struct fg_error *err)
{
	struct start *start = arg;
	struct fg_error own = FG_ERROR_INIT;
	uint32_t domid = rc == 0 && n ? found[0].guest.domid : 0;
	enum fg_guest_state state = domid ? found[0].guest.state : FG_GUEST_OFF;

	if (rc < 0) {
		start_end(start, rc, NULL, err);
		return;
	}
	if (domid && state != FG_GUEST_DYING && found[0].config) {
		start_exists(start, found);
		return;
	}
	if (start->maker_rc == -FG_ENOTFOUND)
		maker_look(start);
	if (start->maker_rc == 0) {
		await_maker(start);
	} else if (start->maker_rc != -FG_ENOTFOUND) {
		start_end(start, start->maker_rc, NULL, &start->maker_err);
	} else if (state == FG_GUEST_DYING && found[0].config) {
		start->domid = domid;
		half_wait(start);
	} else if (state == FG_GUEST_PAUSED || state == FG_GUEST_DYING) {
		half_destroy(start, domid, "half a domain was left");
	} else if (domid) {
		rc = fg_error_set(&own, FG_EUNREACHABLE, "domain %u runs, and its definition cannot be read", domid);
		start_end(start, rc, NULL, &own);
	} else {
		make(start);
	}
}

static void await_maker(struct start *start)
{
	const struct fg_xl_daemon *maker = &start->maker;
	struct fg_error err = FG_ERROR_INIT;
	int rc = 0;

	if (maker->domid)
		rc = fg_error_set(&err, FG_EUNREACHABLE,
				  "xl process %ld looked after domain %u of guest %s and may be making it again",
				  (long)maker->pid, maker->domid, start->uuid);
	else
		rc = start->pidfd = fg_xl_daemon_open("/proc", maker, &err);
	if (rc == -FG_ENOTFOUND) {
		look(start); /* it has just ended */
		return;
	}
	if (rc < 0) {
		start_end(start, rc, NULL, &err);
		return;
	}
	fg_log_info("guest %s: xl process %ld makes it", start->uuid, (long)maker->pid);
	start->maker_end = event_new(start->op.ts->cfg.base, start->pidfd, EV_READ, maker_ended, start);
	event_add(start->maker_end, NULL);
	if (start->waited)
		maker_kill(start);
	else
		xl_op_in(&start->op, MAKER_MS);
}

static void maker_ended(evutil_socket_t fd, short what, void *arg)
{
	struct start *start = arg;

	(void)fd;
	(void)what;
	evtimer_del(start->op.timer);
	maker_close(start);
	start->killed = false;
	look(start);
}

static void half_destroy(struct start *start, uint32_t domid, const char *why)
{
	struct fg_xl *xl = start->op.ts->xl;

	fg_log_warn("guest %s: %s: destroying domain %u", start->uuid, why, domid);
	start->domid = domid;
	libxl_asyncop_how how = fg_xl_how(xl, half_destroyed, start);
	fg_xl_started(xl, &how, libxl_domain_destroy(fg_xl_ctx(xl), domid, &how));
}

static void half_destroyed(void *arg, int rc)
{
	struct start *start = arg;
	struct fg_error err = FG_ERROR_INIT;

	if (rc && rc != ERROR_DOMAIN_NOTFOUND) {
		rc = fg_xl_error_set(&err, rc, "half a domain of guest %s cannot be destroyed", start->uuid);
		half_gone(start, rc, &err);
		return;
	}
	half_wait(start);
}

static void half_wait(struct start *start)
{
	struct fg_error err = FG_ERROR_INIT;
	int rc = fg_gone_wait(start->op.ts->xs, start->domid, NULL, GONE_MS, half_gone, start, &start->gone, &err);

	if (rc < 0)
		half_gone(start, rc, &err);
}

static void half_gone(void *arg, int rc, const struct fg_error *err)
{
	struct start *start = arg;
	struct fg_error copy = rc < 0 ? *err : (struct fg_error)FG_ERROR_INIT;

	start->gone = NULL;
	if (start->undoing) {
		if (rc < 0)
			fg_log_err("guest %s: half a domain is left: %s", start->uuid, copy.text);
		start_end(start, -start->early.code, NULL, &start->early);
	} else if (rc < 0) {
		start_end(start, rc, NULL, &copy);
	} else {
		look(start);
	}
}

static void make(struct start *start)
{
	struct fg_error err = FG_ERROR_INIT;

	if (!start->file || access(start->file, R_OK) < 0) {
		fg_log_info("guest %s has no config file: it is made from its saved definition", start->uuid);
		with_libxl(start);
		return;
	}
	int rc = xl_dryrun(start->op.ts, start->file, start->settings, start->uuid, file_read, start, &err);
	if (rc < 0)
		start_end(start, rc, NULL, &err);
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
	struct fg_xl_daemon daemon = { 0 };
	libxl_dominfo info;
	uint32_t domid = 0;

	start->early = *err;
	start->undoing = true;
	libxl_dominfo_init(&info);
	bool half = fg_xl_find(start->op.ts->xl, start->uuid, &domid, &info, NULL) == 0 && info.paused;
	libxl_dominfo_dispose(&info);
	/* One that runs, or has its xl process, was made by somebody else meanwhile. */
	half = half && fg_xl_daemon_find("/proc", domid, start->uuid, &daemon, NULL) == -FG_ENOTFOUND;
	fg_xl_daemon_release(&daemon);
	if (half)
		half_destroy(start, domid, err->text);
	else
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

	if (rc == 0) {
		if (!n || !found[0].guest.domid || !found[0].config)
			rc = fg_error_set(&own, FG_EFAILED, "guest %s was made and is not there", start->uuid);
		else
			rc = fg_guest_same_devices(&start->want, &found[0].guest, &own);
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
