/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "dom0-agent/toolstack/child.h"
#include "dom0-agent/toolstack/xl_config.h"
#include "dom0-agent/toolstack/xl_private.h"
#include "lib/log.h"
#include "lib/util.h"

#include <errno.h>
#include <glob.h>
#include <libxlutil.h>
#include <string.h>
#include <sys/stat.h>

struct dryrun {
	struct xl_op op;
	struct fg_child *child;
	xl_dryrun_cb *cb;
	void *arg;
};

static void file_free(struct xl_file *file)
{
	LIST_REMOVE(file, link);
	free(file->path);
	free(file->name);
	json_decref(file->config);
	free(file);
}

void xl_files_free(struct xl_ts *ts)
{
	struct xl_file *file, *next;

	for (file = LIST_FIRST(&ts->files); file; file = next) {
		next = LIST_NEXT(file, link);
		file_free(file);
	}
}

/*
 * Only `uuid` and `name`: reading two keys in this process is cheap, the dry run comes when the guest is asked for.  A file
 * that cannot be read or parsed now is still the one of the guest that it was.
 */
static bool read_uuid(struct xl_file *file)
{
	fg_autofclose FILE *report = fopen("/dev/null", "w");
	XLU_Config *config = report ? xlu_cfg_init(report, file->path) : NULL;
	const char *uuid = NULL, *name = NULL;

	if (!config)
		return false;
	bool read = xlu_cfg_readfile(config, file->path) == 0;
	if (read) {
		if (xlu_cfg_get_string(config, "uuid", &uuid, 1) != 0 || fg_uuid_parse(uuid, file->uuid, NULL) < 0)
			file->uuid[0] = '\0';
		free(file->name);
		file->name = xlu_cfg_get_string(config, "name", &name, 1) == 0 ? fg_strdup(name) : NULL;
	}
	xlu_cfg_destroy(config);
	return read;
}

static void look_at(struct xl_ts *ts, const char *path)
{
	struct stat st;
	struct xl_file *file;

	LIST_FOREACH (file, &ts->files, link)
		if (!strcmp(file->path, path))
			break;
	if (stat(path, &st) < 0 || !S_ISREG(st.st_mode))
		return;
	if (file && file->size == st.st_size && file->mtime.tv_sec == st.st_mtim.tv_sec &&
	    file->mtime.tv_nsec == st.st_mtim.tv_nsec)
		return;
	if (!file) {
		file = fg_calloc(1, sizeof(*file));
		file->path = fg_strdup(path);
		LIST_INSERT_HEAD(&ts->files, file, link);
	}
	json_decref(FG_TAKE(file->config));
	file->size = st.st_size;
	file->mtime = st.st_mtim;
	if (!read_uuid(file))
		file->size = -1; /* again at the next look */
}

void xl_files_refresh(struct xl_ts *ts)
{
	static const char *const patterns[] = { "*.cfg", "auto/*" };
	struct xl_file *file;
	struct stat st;

	LIST_FOREACH (file, &ts->files, link)
		if (stat(file->path, &st) < 0 && (errno == ENOENT || errno == ENOTDIR)) {
			file->uuid[0] = '\0'; /* it may come again */
			file->size = -1;
			json_decref(FG_TAKE(file->config));
		}
	for (size_t i = 0; i < FG_COUNT(patterns); i++) {
		glob_t found;
		fg_autofree char *pattern =
			fg_asprintf("%s/%s", ts->config_dir ? ts->config_dir : FG_XL_CONFIG_DIR, patterns[i]);
		if (glob(pattern, 0, NULL, &found) == 0) {
			for (size_t k = 0; k < found.gl_pathc; k++)
				look_at(ts, found.gl_pathv[k]);
			globfree(&found);
		}
	}
}

struct xl_file *xl_file_by_uuid(struct xl_ts *ts, const char *uuid)
{
	struct xl_file *file, *best = NULL;

	/* A link in auto/ is the same guest: prefer the file in /etc/xen itself. */
	LIST_FOREACH (file, &ts->files, link)
		if (!strcmp(file->uuid, uuid) && (!best || strlen(file->path) < strlen(best->path)))
			best = file;
	return best;
}

static void dryrun_release(struct xl_op *op)
{
	fg_child_cancel(((struct dryrun *)op)->child);
}

static void dryrun_ended(void *arg, const struct fg_child_result *result, const struct fg_error *error)
{
	struct dryrun *run = arg;
	struct fg_error err = FG_ERROR_INIT;
	fg_autojson json_t *config = NULL;
	char line[256];
	int rc = 0;

	run->child = NULL;
	if (error) {
		err = *error;
		rc = -error->code;
	} else if (!fg_child_succeeded(result)) {
		fg_child_last_line(result, line, sizeof(line));
		rc = fg_error_set(&err, FG_EFAILED, "xl create -n: %s", line);
	} else if (result->truncated) {
		rc = fg_error_set(&err, FG_ELIMIT, "xl create -n: more than %u bytes", FG_CHILD_OUTPUT_MAX);
	} else {
		/* "Parsing config from FILE" may come first, a newline after */
		const char *text = strchr(result->out, '{');
		const char *end = text ? strrchr(text, '}') : NULL;
		rc = end ? fg_json_parse(text, (size_t)(end - text) + 1, &config, &err)
			 : fg_error_set(&err, FG_EFORMAT, "no JSON");
		if (rc < 0)
			(void)fg_error_wrap(&err, "xl create -n");
	}
	xl_dryrun_cb *cb = run->cb;
	void *cb_arg = run->arg;
	xl_op_free(&run->op);
	cb(cb_arg, rc, config, rc ? &err : NULL);
}

static void never(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
}

int xl_dryrun(struct xl_ts *ts, const char *file, char *const *settings, const char *uuid, xl_dryrun_cb *cb, void *arg,
	      struct fg_error *err)
{
	const char *argv[80] = { FG_XL_PROGRAM, "create", "-n", "-q", file };
	size_t n = 5;
	fg_autofree char *pin = fg_asprintf("uuid=\"%s\"", uuid);

	for (; settings && *settings && n < FG_COUNT(argv) - 2; settings++)
		argv[n++] = *settings;
	argv[n++] = pin;
	struct dryrun *run = xl_op_new(ts, sizeof(*run), never, dryrun_release);
	run->cb = cb;
	run->arg = arg;
	int rc = fg_child_start(ts->cfg.base, argv, FG_XL_DRYRUN_MS, dryrun_ended, run, &run->child, err);
	if (rc < 0)
		xl_op_free(&run->op);
	return rc;
}
