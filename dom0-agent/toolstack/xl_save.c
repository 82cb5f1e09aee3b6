/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "dom0-agent/toolstack/xl_config.h"
#include "dom0-agent/toolstack/xl_daemon.h"
#include "dom0-agent/toolstack/xl_private.h"
#include "lib/util.h"

#include <string.h>
#include <unistd.h>

struct save {
	struct xl_op op;
	char uuid[37];
	fg_ts_text_cb *cb;
	void *arg;
};

static void never(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
}

/*
 * The daemon works in "/", so a relative name on its command line no longer says which file it was: look where
 * configurations are kept.  The comparison before the start decides whether it is the right one.
 */
static char *file_resolve(const char *file)
{
	if (!file)
		return NULL;
	if (file[0] == '/')
		return access(file, R_OK) == 0 ? fg_strdup(file) : NULL;
	fg_autofree char *path = fg_asprintf(FG_XL_CONFIG_DIR "/%s", file);
	return access(path, R_OK) == 0 ? FG_TAKE(path) : NULL;
}

static json_t *definition(struct xl_ts *ts, const struct xl_found *found, json_t *config,
			  const struct fg_xl_daemon *daemon)
{
	fg_autofree char *file = file_resolve(daemon ? daemon->file : found->file);
	json_t *args = json_array();
	bool with_daemon = daemon || found->guest.state == FG_GUEST_OFF;

	for (char **arg = daemon ? daemon->args : NULL; arg && *arg; arg++)
		if (strncmp(*arg, "uuid", 4) != 0) /* is pinned at the start */
			json_array_append_new(args, json_string(*arg));
	if (!file) {
		xl_files_refresh(ts);
		struct xl_file *known = xl_file_by_uuid(ts, found->guest.uuid);
		file = fg_strdup(known ? known->path : NULL);
	}
	return json_pack("{s:s, s:s, s:s, s:O, s:s?, s:o, s:b, s:I, s:I}", "toolstack", "xl", "uuid", found->guest.uuid,
			 "name", found->guest.name, "config", config, "file", file, "args", args, "daemon", with_daemon,
			 "domid", (json_int_t)found->guest.domid, "created_s", (json_int_t)found->guest.created_s);
}

static int save_text(struct xl_ts *ts, const struct xl_found *found, char **out, struct fg_error *err)
{
	struct fg_xl_daemon daemon = { 0 };
	fg_autojson json_t *config = NULL;
	bool have = false;

	if (!found->config)
		return fg_error_set(err, FG_EREFUSED, "%s",
				    found->guest.refusal ? found->guest.refusal : "no definition");
	if (found->guest.state == FG_GUEST_DYING && !found->guest.domid)
		return fg_error_set(err, FG_ENOTFOUND, "guest %s reboots just now", found->guest.uuid);
	int rc = fg_json_parse(found->config, strlen(found->config), &config, err);
	if (rc < 0)
		return rc;
	if (found->guest.domid) {
		rc = fg_xl_daemon_find("/proc", found->guest.domid, found->guest.uuid, &daemon, err);
		if (rc < 0 && rc != -FG_ENOTFOUND)
			return rc;
		have = rc == 0;
		fg_error_clear(err);
	}
	fg_autojson json_t *json = definition(ts, found, config, have ? &daemon : NULL);
	fg_xl_daemon_release(&daemon);
	fg_autofree char *text = json ? fg_json_dump(json) : NULL;
	if (!text)
		return fg_error_set(err, FG_EBUG, "definition cannot be written as JSON");
	if (strlen(text) > FG_XL_JSON_MAX)
		return fg_error_set(err, FG_ELIMIT, "definition is longer than %u bytes", FG_XL_JSON_MAX);
	*out = FG_TAKE(text);
	return 0;
}

static void save_scanned(void *arg, int rc, struct xl_found *found, size_t n, const struct fg_error *err)
{
	struct save *save = arg;
	fg_ts_text_cb *cb = save->cb;
	void *cb_arg = save->arg;
	struct fg_error own = FG_ERROR_INIT;
	fg_autofree char *text = NULL;

	if (rc == 0) {
		rc = n ? save_text(save->op.ts, found, &text, &own)
		       : fg_error_set(&own, FG_ENOTFOUND, "xl has no guest with UUID %s", save->uuid);
		err = &own;
	}
	xl_op_free(&save->op);
	cb(cb_arg, rc, text, rc ? err : NULL);
}

void xl_save(struct fg_toolstack *opaque, const char *uuid, fg_ts_text_cb *cb, void *arg)
{
	struct xl_ts *ts = (struct xl_ts *)opaque;
	struct save *save = xl_op_new(ts, sizeof(*save), never, NULL);

	snprintf(save->uuid, sizeof(save->uuid), "%s", uuid);
	save->cb = cb;
	save->arg = arg;
	xl_scan(ts, uuid, save_scanned, save);
}
