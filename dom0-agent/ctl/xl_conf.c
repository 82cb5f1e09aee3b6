/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "xl_conf.h"

#include <lib/util.h>

#include <string.h>
#include <unistd.h>

#define CONF_BYTES_MAX (64 * 1024)
#define KEY "vif.default.script"
#define OURS "vif-fixgate"
#define BLANK " \t\r"

/* KEY = "value" or 'value', maybe with a comment behind it; NULL: another line. */
static char *value_of(const char *line)
{
	line += strspn(line, BLANK);
	if (strncmp(line, KEY, strlen(KEY)) != 0)
		return NULL;
	line += strlen(KEY);
	line += strspn(line, BLANK);
	if (*line++ != '=')
		return NULL;
	line += strspn(line, BLANK);
	const char *end = *line == '"' || *line == '\'' ? strchr(line + 1, *line) : NULL;
	return end ? fg_asprintf("%.*s", (int)(end - line - 1), line + 1) : NULL;
}

/* The last one counts; NULL: there is none. */
static char *default_script(char *text)
{
	char *found = NULL, *at = NULL;

	for (char *line = strtok_r(text, "\n", &at); line; line = strtok_r(NULL, "\n", &at)) {
		char *value = value_of(line);
		if (!value)
			continue;
		free(found);
		found = value;
	}
	return found;
}

bool fg_xl_conf_check(const char *conf, const char *scripts, char **text)
{
	struct fg_error err = FG_ERROR_INIT;
	fg_autofree char *content = NULL;
	size_t len = 0;

	int rc = fg_file_read(conf, CONF_BYTES_MAX, &content, &len, &err);
	if (rc < 0 && rc != -FG_ENOTFOUND) {
		*text = fg_strdup(err.text);
		return false;
	}
	fg_autofree char *script = content ? default_script(content) : NULL;
	const char *slash = script ? strrchr(script, '/') : NULL;
	if (!script || strcmp(slash ? slash + 1 : script, OURS) != 0) {
		*text = fg_asprintf("set " KEY "=\"" OURS
				    "\" in %s: a new vif of an isolated guest is open for a moment (%s)",
				    conf, script ? script : "not set");
		return false;
	}
	fg_autofree char *path = script[0] == '/' ? fg_strdup(script) : fg_asprintf("%s/%s", scripts, script);
	if (access(path, X_OK) < 0) {
		*text = fg_asprintf("%s cannot be run: no guest gets a network", path);
		return false;
	}
	*text = FG_TAKE(script);
	return true;
}
