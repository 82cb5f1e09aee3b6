/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "dom0-agent/toolstack/xl_daemon.h"

#include "lib/util.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOG_TAIL_BYTES 65536 /* the line is one of the last ones; a log may be long */

static bool is_setting(const char *word)
{
	/* `xl create FILE 'key=value'…`: settings come after the file */
	const char *eq = strchr(word, '=');
	return eq && eq != word && word[0] != '/' && word[0] != '-';
}

bool fg_xl_command_parse(char *const *argv, size_t n, const char **file, size_t *first_setting)
{
	size_t i = 1;

	*file = NULL;
	*first_setting = n;
	while (i < n && argv[i][0] == '-') /* global options: -v -f -N -t -T */
		i++;
	if (i >= n)
		return false;
	if (!strcmp(argv[i], "restore") || !strcmp(argv[i], "migrate-receive"))
		return true;
	if (strcmp(argv[i], "create") != 0)
		return false;
	for (i++; i < n; i++) {
		const char *word = argv[i];
		if (!strncmp(word, "--defconfig=", 12)) {
			*file = word + 12;
		} else if (!strcmp(word, "-f") || !strcmp(word, "--defconfig")) {
			if (i + 1 < n)
				*file = argv[++i];
		} else if (word[0] == '-') {
			continue;
		} else if (is_setting(word)) {
			*first_setting = *first_setting < i ? *first_setting : i;
		} else if (!*file) {
			*file = word;
		}
	}
	return true;
}

/* "12) to die [pid 345]": a number, then what must follow it. */
static bool number_then(const char **text, const char *after, unsigned long *out)
{
	char *end;

	if (!isdigit((unsigned char)**text))
		return false;
	*out = strtoul(*text, &end, 10);
	size_t len = strlen(after);
	if (strncmp(end, after, len) != 0)
		return false;
	*text = end + len;
	return true;
}

uint32_t fg_xl_log_domain(const char *log, pid_t pid, char **name)
{
	static const char mark[] = "Waiting for domain ", tag[] = " (domid ";
	uint32_t domid = 0;

	*name = NULL;
	for (const char *line = strstr(log, mark); line; line = strstr(line + 1, mark)) {
		const char *end = line + strcspn(line, "\n"), *tail = NULL;
		unsigned long id = 0, by = 0;
		/* A name may hold anything: take the last " (domid ". */
		for (const char *at = strstr(line, tag); at && at < end; at = strstr(at + 1, tag))
			tail = at + strlen(tag);
		const char *name_end = tail ? tail - strlen(tag) : NULL;
		if (!tail || !number_then(&tail, ") to die [pid ", &id) || !number_then(&tail, "]", &by) ||
		    by != (unsigned long)pid || id > UINT32_MAX)
			continue;
		domid = (uint32_t)id;
		free(*name);
		line += strlen(mark);
		*name = fg_asprintf("%.*s", (int)(name_end - line), line);
	}
	return domid;
}

uint32_t fg_xl_log_domid(const char *log, pid_t pid)
{
	fg_autofree char *name = NULL;

	return fg_xl_log_domain(log, pid, &name);
}

/* It works in "/": a relative name on its command line no longer says which folder it was in. */
static bool same_file(const char *used, const char *path)
{
	size_t n = strlen(used), of = strlen(path);

	if (used[0] == '/')
		return !strcmp(used, path);
	return n && n < of && path[of - n - 1] == '/' && !strcmp(path + of - n, used);
}

/* uuid="…" as xl reads it: quotes of either kind or none, letters of either case. */
static bool pinned_uuid(const struct fg_xl_daemon *daemon, char out[37])
{
	bool pinned = false;

	for (char **arg = daemon->args; arg && *arg; arg++) {
		const char *value = strchr(*arg, '=') + 1;
		size_t key = strcspn(*arg, " \t=");
		if (key != 4 || strncmp(*arg, "uuid", 4) != 0)
			continue;
		value += strspn(value, " \t\"'");
		fg_autofree char *text = fg_asprintf("%.*s", (int)strcspn(value, " \t\"';"), value);
		pinned = fg_uuid_parse(text, out, NULL) == 0; /* the last one counts */
	}
	return pinned;
}

bool fg_xl_daemon_serves(const struct fg_xl_daemon *daemon, const struct fg_xl_known *guest)
{
	char pinned[37];

	bool named = guest->name && daemon->name;
	bool same_name = named && !strcmp(daemon->name, guest->name);

	if (pinned_uuid(daemon, pinned))
		return !strcmp(pinned, guest->uuid);
	/* After a boot of dom0 domids begin anew: with another name it is another guest's. */
	if (guest->domid && daemon->domid == guest->domid && (same_name || !named))
		return true;
	if (guest->file && daemon->file && same_file(daemon->file, guest->file))
		return true;
	return same_name;
}

static int proc_read(const char *proc, pid_t pid, const char *what, size_t max, char **out, size_t *len)
{
	char path[512];
	snprintf(path, sizeof(path), "%s/%ld/%s", proc, (long)pid, what);
	return fg_file_read(path, max, out, len, NULL);
}

static uint64_t start_ticks(const char *proc, pid_t pid)
{
	fg_autofree char *stat = NULL;
	unsigned long long ticks = 0;

	if (proc_read(proc, pid, "stat", 4096, &stat, NULL) < 0)
		return 0;
	/* proc(5): field 22; the name in parentheses, field 2, may hold anything */
	const char *p = strrchr(stat, ')');
	for (int field = 2; p && field < 22; field++) {
		p = strchr(p, ' ');
		p = p ? p + 1 : NULL;
	}
	if (p)
		ticks = strtoull(p, NULL, 10);
	return ticks;
}

static bool is_xl(const char *proc, pid_t pid)
{
	char path[512], exe[4096];

	snprintf(path, sizeof(path), "%s/%ld/exe", proc, (long)pid);
	ssize_t n = readlink(path, exe, sizeof(exe) - 1);
	if (n <= 0)
		return false;
	exe[n] = '\0';
	char *deleted = strstr(exe, " (deleted)"); /* the package was upgraded under it */
	if (deleted)
		*deleted = '\0';
	const char *base = strrchr(exe, '/');
	return base && !strcmp(base, "/xl");
}

static char *log_tail(const char *proc, pid_t pid)
{
	char path[512];
	fg_autofree char *text = fg_calloc(1, LOG_TAIL_BYTES + 1);

	snprintf(path, sizeof(path), "%s/%ld/fd/1", proc, (long)pid);
	fg_autoclose int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return NULL;
	off_t end = lseek(fd, 0, SEEK_END);
	if (end < 0) /* a terminal or a pipe: no log */
		return NULL;
	ssize_t n = pread(fd, text, LOG_TAIL_BYTES, end > LOG_TAIL_BYTES ? end - LOG_TAIL_BYTES : 0);
	return n < 0 ? NULL : FG_TAKE(text);
}

static size_t split(char *cmdline, size_t len, char **argv)
{
	size_t n = 0;

	for (size_t at = 0; at < len && n < FG_XL_ARGS_MAX; at += strlen(cmdline + at) + 1)
		argv[n++] = cmdline + at;
	return n;
}

static bool look(const char *proc, pid_t pid, struct fg_xl_daemon *out)
{
	fg_autofree char *cmdline = NULL;
	char *argv[FG_XL_ARGS_MAX];
	size_t len = 0, first;
	const char *file;

	if (!is_xl(proc, pid) || proc_read(proc, pid, "cmdline", 1u << 17, &cmdline, &len) < 0)
		return false;
	size_t n = split(cmdline, len, argv);
	if (!fg_xl_command_parse(argv, n, &file, &first))
		return false;
	fg_autofree char *log = log_tail(proc, pid);
	if (!log)
		return false;
	out->domid = fg_xl_log_domain(log, pid, &out->name);
	if (!out->domid)
		return false;
	out->pid = pid;
	out->start_ticks = start_ticks(proc, pid);
	out->file = fg_strdup(file);
	out->args = fg_calloc(n - first + 1, sizeof(char *));
	for (size_t i = first, k = 0; i < n; i++)
		if (is_setting(argv[i]))
			out->args[k++] = fg_strdup(argv[i]);
	return true;
}

int fg_xl_daemon_find_by(const char *proc, fg_xl_daemon_is *is, void *arg, struct fg_xl_daemon *out,
			 struct fg_error *err)
{
	struct fg_xl_daemon found = { 0 };
	bool have = false;
	DIR *dir = opendir(proc);

	if (!dir)
		return fg_error_errno(err, FG_EUNREACHABLE, errno, "%s", proc);
	for (struct dirent *entry; !have && (entry = readdir(dir));) {
		if (!isdigit((unsigned char)entry->d_name[0]) ||
		    !look(proc, (pid_t)strtol(entry->d_name, NULL, 10), &found))
			continue;
		have = is(&found, arg);
		if (!have)
			fg_xl_daemon_release(&found);
	}
	closedir(dir);
	if (!have)
		return fg_error_set(err, FG_ENOTFOUND, "no such xl process");
	*out = found;
	return 0;
}

static bool waits_for(const struct fg_xl_daemon *daemon, void *arg)
{
	return daemon->domid == *(uint32_t *)arg;
}

int fg_xl_daemon_find(const char *proc, uint32_t domid, struct fg_xl_daemon *out, struct fg_error *err)
{
	int rc = fg_xl_daemon_find_by(proc, waits_for, &domid, out, err);

	return rc == -FG_ENOTFOUND ? fg_error_set(err, FG_ENOTFOUND, "no xl process looks after domain %u", domid) : rc;
}

int fg_xl_daemon_open(const char *proc, const struct fg_xl_daemon *daemon, struct fg_error *err)
{
	fg_autoclose int fd = (int)syscall(SYS_pidfd_open, daemon->pid, 0);

	if (fd < 0)
		return fg_error_errno(err, errno == ESRCH ? FG_ENOTFOUND : FG_EFAILED, errno, "pid %ld",
				      (long)daemon->pid);
	/* The pidfd holds one process; now make sure that it is the one that was found. */
	if (start_ticks(proc, daemon->pid) != daemon->start_ticks || !is_xl(proc, daemon->pid))
		return fg_error_set(err, FG_ENOTFOUND, "pid %ld is another process now", (long)daemon->pid);
	return FG_TAKE_FD(fd);
}

void fg_xl_daemon_release(struct fg_xl_daemon *daemon)
{
	free(daemon->file);
	free(daemon->name);
	for (char **arg = daemon->args; arg && *arg; arg++)
		free(*arg);
	free(daemon->args);
	*daemon = (struct fg_xl_daemon){ 0 };
}
