/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Guests that the agent made from their saved definition have no xl process to look after them.  The agent does what
 * that would: on poweroff, reboot and crash the action of the definition.  Which guests these are survives the agent in
 * <state_dir>/xl-owned/<uuid>.json, the definition itself.
 * In this order: ended -> destroyed -> made -> let_run.
 */
#include "dom0-agent/toolstack/xl_config.h"
#include "dom0-agent/toolstack/xl_daemon.h"
#include "dom0-agent/toolstack/xl_private.h"
#include "lib/log.h"
#include "lib/util.h"

#include <dirent.h>
#include <string.h>

struct xl_owned {
	LIST_ENTRY(xl_owned) link;
	struct xl_ts *ts;
	char uuid[37];
	uint32_t domid;
	char *config;
	struct fg_xl_death *death;
	bool again; /* make it anew after it is destroyed */
	libxl_domain_config d_config;
	bool making; /* libxl writes to d_config and domid */
	bool disowned; /* free it when it is made */
};

static void ended(void *arg, bool shutdown, int reason);
static void destroyed(void *arg, int rc);
static void made(void *arg, int rc);
static void let_run(void *arg, int rc);

static char *state_path(const struct xl_ts *ts, const char *uuid)
{
	return ts->cfg.state_dir ? fg_asprintf("%s/xl-owned/%s.json", ts->cfg.state_dir, uuid) : NULL;
}

static void owned_free(struct xl_owned *owned)
{
	LIST_REMOVE(owned, link);
	free(owned->config);
	free(owned);
}

static void watch(struct xl_owned *owned)
{
	struct fg_error err = FG_ERROR_INIT;

	if (fg_xl_death_watch(owned->ts->xl, owned->domid, ended, owned, &owned->death, &err) < 0)
		fg_log_warn("guest %s: %s; its reboot will not be seen", owned->uuid, err.text);
}

static struct xl_owned *owned_new(struct xl_ts *ts, const char *uuid, uint32_t domid, const char *config)
{
	struct xl_owned *owned = fg_calloc(1, sizeof(*owned));

	owned->ts = ts;
	snprintf(owned->uuid, sizeof(owned->uuid), "%s", uuid);
	owned->domid = domid;
	owned->config = fg_strdup(config);
	LIST_INSERT_HEAD(&ts->owned, owned, link);
	fg_log_info("guest %s (domain %u) has no xl process, and is looked after by the agent", uuid, domid);
	watch(owned);
	return owned;
}

void xl_own(struct xl_ts *ts, const char *uuid, uint32_t domid, const char *config)
{
	fg_autofree char *path = state_path(ts, uuid);
	struct fg_error err = FG_ERROR_INIT;

	owned_new(ts, uuid, domid, config);
	if (!path)
		return;
	fg_autofree char *dir = fg_asprintf("%s/xl-owned", ts->cfg.state_dir);
	if (fg_mkdir_p(dir, 0700, &err) < 0 || fg_file_write_durable(path, config, strlen(config), 0600, &err) < 0)
		fg_log_warn("guest %s: %s; a restart of the agent forgets that it is its owner", uuid, err.text);
}

bool xl_owns(const struct xl_ts *ts, const char *uuid)
{
	const struct xl_owned *owned;

	LIST_FOREACH (owned, &ts->owned, link)
		if (!strcmp(owned->uuid, uuid) && !owned->disowned)
			return true;
	return false;
}

bool xl_disown(struct xl_ts *ts, const char *uuid)
{
	fg_autofree char *path = state_path(ts, uuid);
	struct xl_owned *owned;

	LIST_FOREACH (owned, &ts->owned, link)
		if (!strcmp(owned->uuid, uuid))
			break;
	if (path && fg_file_remove_durable(path, NULL) < 0)
		fg_log_warn("%s cannot be removed, ignoring", path);
	if (!owned)
		return true;
	fg_xl_death_unwatch(owned->death);
	owned->death = NULL;
	owned->disowned = true;
	if (owned->making)
		return false;
	fg_xl_forget(ts->xl, owned);
	owned_free(owned);
	return true;
}

/*
 * A guest that the agent looked after when it ended: does it still?  forget: it never will again.  What ended meanwhile is not brought
 * back: it may run on another host by now.
 */
static bool still_mine(struct xl_ts *ts, const char *uuid, uint32_t *domid, bool *forget)
{
	struct fg_error err = FG_ERROR_INIT;
	struct fg_xl_daemon daemon = { 0 };
	libxl_dominfo info;

	libxl_dominfo_init(&info);
	int rc = fg_xl_find(ts->xl, uuid, domid, &info, &err);
	bool paused = info.paused;
	libxl_dominfo_dispose(&info);
	*forget = rc == -FG_ENOTFOUND;
	if (rc < 0) {
		fg_log_warn("guest %s, which the agent looks after: %s", uuid,
			    *forget ? "it ended meanwhile, and stays off" : err.text);
		return false;
	}
	*forget = fg_xl_daemon_find("/proc", *domid, uuid, &daemon, NULL) == 0;
	fg_xl_daemon_release(&daemon);
	if (*forget) {
		fg_log_info("guest %s: somebody else has started it, an xl process looks after it", uuid);
		return false;
	}
	/* Where it cannot be told whose an xl process is, two may make it anew, and libxl takes one; better than nobody. */
	if (paused)
		fg_log_warn("guest %s (domain %u) is paused: by somebody, or the agent ended before it let it run",
			    uuid, *domid);
	return true;
}

void xl_owned_load(struct xl_ts *ts)
{
	fg_autofree char *dir_path = ts->cfg.state_dir ? fg_asprintf("%s/xl-owned", ts->cfg.state_dir) : NULL;
	DIR *dir = dir_path ? opendir(dir_path) : NULL;

	for (struct dirent *entry; dir && (entry = readdir(dir));) {
		fg_autofree char *path = fg_asprintf("%s/%s", dir_path, entry->d_name);
		fg_autofree char *config = NULL;
		char uuid[37] = "";
		uint32_t domid = 0;
		bool forget;
		if (strlen(entry->d_name) != 41 || strcmp(entry->d_name + 36, ".json") != 0)
			continue;
		memcpy(uuid, entry->d_name, 36);
		if (fg_file_read(path, FG_XL_JSON_MAX, &config, NULL, NULL) < 0)
			continue;
		if (still_mine(ts, uuid, &domid, &forget))
			owned_new(ts, uuid, domid, config);
		else if (forget && fg_file_remove_durable(path, NULL) < 0)
			fg_log_warn("%s cannot be removed, ignoring", path);
	}
	if (dir)
		closedir(dir);
}

void xl_owned_free(struct xl_ts *ts)
{
	struct xl_owned *owned, *next;

	/* What is being made is left to the end of the process, as its libxl context is (fg_xl_close). */
	for (owned = LIST_FIRST(&ts->owned); owned; owned = next) {
		next = LIST_NEXT(owned, link);
		fg_xl_death_unwatch(owned->death);
		if (!owned->making)
			owned_free(owned);
	}
}

static libxl_action_on_shutdown action_for(const libxl_domain_config *config, int reason)
{
	switch (reason) {
	case LIBXL_SHUTDOWN_REASON_REBOOT:
		return config->on_reboot;
	case LIBXL_SHUTDOWN_REASON_CRASH:
		return config->on_crash;
	case LIBXL_SHUTDOWN_REASON_WATCHDOG:
		return config->on_watchdog;
	case LIBXL_SHUTDOWN_REASON_SOFT_RESET:
		return config->on_soft_reset;
	default: /* a number from outside, not of the enum: as xl does, power-off */
		return config->on_poweroff;
	}
}

static void ended(void *arg, bool shutdown, int reason)
{
	struct xl_owned *owned = arg;
	struct xl_ts *ts = owned->ts;
	libxl_domain_config config;

	libxl_domain_config_init(&config);
	libxl_action_on_shutdown action = LIBXL_ACTION_ON_SHUTDOWN_DESTROY;
	if (libxl_domain_config_from_json(fg_xl_ctx(ts->xl), &config, owned->config) == 0 && shutdown)
		action = action_for(&config, reason);
	libxl_domain_config_dispose(&config);
	fg_log_info("guest %s (domain %u) %s (reason %d): %s", owned->uuid, owned->domid,
		    shutdown ? "has shut down" : "is gone", reason, libxl_action_on_shutdown_to_string(action));
	if (!shutdown) {
		(void)xl_disown(ts, owned->uuid);
		return;
	}
	if (action == LIBXL_ACTION_ON_SHUTDOWN_PRESERVE || action == LIBXL_ACTION_ON_SHUTDOWN_COREDUMP_DESTROY)
		return; /* left for a person to look at; no core file is written */
	owned->again = action == LIBXL_ACTION_ON_SHUTDOWN_RESTART ||
		       action == LIBXL_ACTION_ON_SHUTDOWN_RESTART_RENAME ||
		       action == LIBXL_ACTION_ON_SHUTDOWN_COREDUMP_RESTART;
	fg_xl_death_unwatch(owned->death);
	owned->death = NULL;
	libxl_asyncop_how how = fg_xl_how(ts->xl, destroyed, owned);
	fg_xl_started(ts->xl, &how, libxl_domain_destroy(fg_xl_ctx(ts->xl), owned->domid, &how));
}

static void destroyed(void *arg, int rc)
{
	struct xl_owned *owned = arg;
	struct xl_ts *ts = owned->ts;

	if (rc && rc != ERROR_DOMAIN_NOTFOUND)
		fg_log_err("guest %s: domain %u cannot be destroyed: %s", owned->uuid, owned->domid,
			   fg_xl_error_name(rc));
	if (rc || !owned->again) {
		(void)xl_disown(ts, owned->uuid);
		return;
	}
	libxl_domain_config_init(&owned->d_config);
	rc = libxl_domain_config_from_json(fg_xl_ctx(ts->xl), &owned->d_config, owned->config);
	owned->d_config.c_info.domid = INVALID_DOMID;
	owned->making = true;
	libxl_asyncop_how how = fg_xl_how(ts->xl, made, owned);
	if (rc == 0)
		rc = libxl_domain_create_new(fg_xl_ctx(ts->xl), &owned->d_config, &owned->domid, &how, NULL);
	fg_xl_started(ts->xl, &how, rc);
}

static void made(void *arg, int rc)
{
	struct xl_owned *owned = arg;
	struct xl_ts *ts = owned->ts;

	owned->making = false;
	libxl_domain_config_dispose(&owned->d_config);
	if (owned->disowned) {
		owned_free(owned);
		return;
	}
	if (rc) {
		fg_log_err("guest %s cannot be made again: %s", owned->uuid, fg_xl_error_name(rc));
		(void)xl_disown(ts, owned->uuid);
		return;
	}
	watch(owned);
	libxl_asyncop_how how = fg_xl_how(ts->xl, let_run, owned);
	fg_xl_started(ts->xl, &how, libxl_domain_unpause(fg_xl_ctx(ts->xl), owned->domid, &how));
}

static void let_run(void *arg, int rc)
{
	struct xl_owned *owned = arg;

	if (rc)
		fg_log_err("guest %s is made and cannot be let run: %s", owned->uuid, fg_xl_error_name(rc));
	else
		fg_log_info("guest %s runs again as domain %u", owned->uuid, owned->domid);
}
