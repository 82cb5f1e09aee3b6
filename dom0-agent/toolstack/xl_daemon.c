/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "dom0-agent/toolstack/xl_daemon.h"

#include "lib/util.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libxlutil.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOG_PART_BYTES 65536 /* the line is one of the last ones; a log may be long */
#define LOG_MAX_BYTES (16u << 20) /* further back it is not looked for */
#define LOG_LINE_BYTES 4096 /* parts overlap by this */

static bool is_setting(const char *word)
{
	/* `xl create FILE 'key=value'…`: settings come after the file */
	const char *eq = strchr(word, '=');
	return eq && eq != word && word[0] != '/' && word[0] != '-';
}

/* It makes nothing.  Short options may stand together, -qn; "-fNAME" is a file. */
static bool is_dry_run(const char *word)
{
	if (!strncmp(word, "--", 2))
		return strncmp(word, "--dryrun", 8) == 0;
	return word[0] == '-' && word[1] != 'f' && strchr(word, 'n') != NULL;
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
		} else if (is_dry_run(word)) {
			return false;
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

static enum fg_told same_uuid(const char *have, const char *uuid)
{
	return strcmp(have, uuid) == 0 ? FG_TOLD_YES : FG_TOLD_NO;
}

static enum fg_told file_pins(const char *path, const char *uuid)
{
	/* A relative name says nothing: a daemon works in "/". */
	bool absolute = path && path[0] == '/';
	fg_autofclose FILE *report = absolute ? fopen("/dev/null", "w") : NULL;
	XLU_Config *config = report ? xlu_cfg_init(report, path) : NULL;
	enum fg_told told = FG_TOLD_UNKNOWN;
	const char *text = NULL;
	char have[37];

	if (!config)
		return FG_TOLD_UNKNOWN;
	if (xlu_cfg_readfile(config, path) == 0 && xlu_cfg_get_string(config, "uuid", &text, 1) == 0 &&
	    fg_uuid_parse(text, have, NULL) == 0)
		told = same_uuid(have, uuid);
	xlu_cfg_destroy(config);
	return told;
}

/* Whose process is it by the UUID that it pins?  `uuid="…"` on the command line goes before the one of the file. */
static enum fg_told pins(const struct fg_xl_daemon *daemon, const char *uuid)
{
	char have[37];

	return pinned_uuid(daemon, have) ? same_uuid(have, uuid) : file_pins(daemon->file, uuid);
}

enum fg_told fg_xl_daemon_serves(const struct fg_xl_daemon *daemon, const struct fg_xl_known *guest)
{
	char have[37];
	bool named = guest->name && daemon->name;
	bool same_name = named && !strcmp(daemon->name, guest->name);

	if (pinned_uuid(daemon, have))
		return same_uuid(have, guest->uuid);
	/* After a boot of dom0 domids begin anew: with another name it is another guest's. */
	if (guest->domid && daemon->domid == guest->domid && (same_name || !named))
		return FG_TOLD_YES;
	if (guest->file && daemon->file && same_file(daemon->file, guest->file))
		return FG_TOLD_YES;
	if (same_name)
		return FG_TOLD_YES;
	return daemon->domid ? FG_TOLD_NO : file_pins(daemon->file, guest->uuid);
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

static bool process_ended(const struct fg_error *err)
{
	return err->code == FG_ENOTFOUND || err->sys == ESRCH || err->sys == ENOENT;
}

/* Base name of the program; empty: none (a kernel thread, or it has ended). */
static enum fg_told program_of(const char *proc, pid_t pid, char out[256])
{
	char path[512], exe[4096];

	out[0] = '\0';
	snprintf(path, sizeof(path), "%s/%ld/exe", proc, (long)pid);
	ssize_t n = readlink(path, exe, sizeof(exe) - 1);
	if (n < 0)
		return errno == ENOENT || errno == ESRCH ? FG_TOLD_NO : FG_TOLD_UNKNOWN;
	exe[n] = '\0';
	char *deleted = strstr(exe, " (deleted)"); /* the package was upgraded under it */
	if (deleted)
		*deleted = '\0';
	const char *base = strrchr(exe, '/');
	snprintf(out, 256, "%s", base ? base + 1 : exe);
	return FG_TOLD_YES;
}

/* The domain in the last line of the log that says it; 0: none does. */
static uint32_t log_domain(const char *proc, pid_t pid, char **name)
{
	char path[512];
	fg_autofree char *text = fg_calloc(1, LOG_PART_BYTES + 1);

	*name = NULL;
	snprintf(path, sizeof(path), "%s/%ld/fd/1", proc, (long)pid);
	fg_autoclose int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	off_t end = fd < 0 ? -1 : lseek(fd, 0, SEEK_END); /* fails for a terminal or a pipe: no log */
	for (off_t at = end, last = end - (off_t)LOG_MAX_BYTES; at > 0 && at > last;) {
		off_t from = at > LOG_PART_BYTES ? at - LOG_PART_BYTES : 0;
		ssize_t n = pread(fd, text, LOG_PART_BYTES, from);
		if (n <= 0)
			return 0;
		for (ssize_t i = 0; i < n; i++)
			if (!text[i]) /* of a hole, where a log was truncated under its writer */
				text[i] = '\n';
		text[n] = '\0';
		uint32_t domid = fg_xl_log_domain(text, pid, name);
		if (domid || !from)
			return domid;
		at = from + LOG_LINE_BYTES;
	}
	return 0;
}

static size_t split(char *cmdline, size_t len, char **argv)
{
	size_t n = 0;

	for (size_t at = 0; at < len && n < FG_XL_ARGS_MAX; at += strlen(cmdline + at) + 1)
		argv[n++] = cmdline + at;
	return n;
}

/* The file's name as it can be opened from anywhere, while it is still known in which folder xl was started. */
static char *file_of(const char *proc, pid_t pid, const char *file)
{
	char path[512], folder[4096];

	if (!file || file[0] == '/')
		return fg_strdup(file);
	snprintf(path, sizeof(path), "%s/%ld/cwd", proc, (long)pid);
	ssize_t n = readlink(path, folder, sizeof(folder) - 1);
	if (n <= 1) /* "/": it is a daemon by now */
		return fg_strdup(file);
	folder[n] = '\0';
	return fg_asprintf("%s/%s", folder, file);
}

/* YES: an xl that makes domains; out is filled. */
static enum fg_told look(const char *proc, pid_t pid, struct fg_xl_daemon *out)
{
	struct fg_error err = FG_ERROR_INIT;
	fg_autofree char *cmdline = NULL;
	char *argv[FG_XL_ARGS_MAX], program[256], path[512];
	size_t len = 0, first;
	const char *file;

	enum fg_told told = program_of(proc, pid, program);
	if (told != FG_TOLD_YES || strcmp(program, "xl") != 0)
		return told == FG_TOLD_YES ? FG_TOLD_NO : told;
	snprintf(path, sizeof(path), "%s/%ld/cmdline", proc, (long)pid);
	if (fg_file_read(path, 1u << 17, &cmdline, &len, &err) < 0)
		return process_ended(&err) ? FG_TOLD_NO : FG_TOLD_UNKNOWN;
	size_t n = split(cmdline, len, argv);
	if (!fg_xl_command_parse(argv, n, &file, &first))
		return FG_TOLD_NO;
	out->domid = log_domain(proc, pid, &out->name);
	if (!out->domid)
		free(FG_TAKE(out->name)); /* domain 0 is none that xl makes */
	out->pid = pid;
	out->start_ticks = start_ticks(proc, pid);
	out->file = file_of(proc, pid, file);
	out->args = fg_calloc(n - first + 1, sizeof(char *));
	for (size_t i = first, k = 0; i < n; i++)
		if (is_setting(argv[i]))
			out->args[k++] = fg_strdup(argv[i]);
	return FG_TOLD_YES;
}

/* The next process; 0: no more, -1: could not ask. */
static pid_t process_next(DIR *dir)
{
	struct dirent *entry;

	do {
		errno = 0;
		entry = readdir(dir);
	} while (entry && !isdigit((unsigned char)entry->d_name[0]));
	return entry ? (pid_t)strtol(entry->d_name, NULL, 10) : errno ? -1 : 0;
}

int fg_xl_daemon_find_by(const char *proc, fg_xl_daemon_is *is, void *arg, struct fg_xl_daemon *out,
			 struct fg_error *err)
{
	struct fg_xl_daemon found = { 0 };
	pid_t pid = 0, unknown = 0;
	DIR *dir = opendir(proc);

	if (!dir)
		return fg_error_errno(err, FG_EUNREACHABLE, errno, "%s", proc);
	/* What a log says goes before what others pin. */
	while (!found.domid && (pid = process_next(dir)) > 0) {
		struct fg_xl_daemon it = { 0 };
		enum fg_told told = look(proc, pid, &it);
		if (told == FG_TOLD_YES)
			told = is(&it, arg);
		if (told == FG_TOLD_UNKNOWN)
			unknown = pid;
		if (told == FG_TOLD_YES) {
			fg_xl_daemon_release(&found);
			found = it;
		} else {
			fg_xl_daemon_release(&it);
		}
	}
	int sys = errno;
	closedir(dir);
	if (pid < 0) {
		fg_xl_daemon_release(&found);
		return fg_error_errno(err, FG_EUNREACHABLE, sys, "%s", proc);
	}
	if (!found.pid && unknown)
		return fg_error_set(err, FG_EUNREACHABLE,
				    "process %ld may look after the guest: neither its log nor its command line says",
				    (long)unknown);
	if (!found.pid)
		return fg_error_set(err, FG_ENOTFOUND, "no such xl process");
	*out = found;
	return 0;
}

struct waited {
	uint32_t domid;
	const char *uuid;
};

static enum fg_told waits_for(const struct fg_xl_daemon *daemon, void *arg)
{
	const struct waited *waited = arg;

	if (!daemon->domid)
		return pins(daemon, waited->uuid);
	return daemon->domid == waited->domid ? FG_TOLD_YES : FG_TOLD_NO;
}

int fg_xl_daemon_find(const char *proc, uint32_t domid, const char *uuid, struct fg_xl_daemon *out,
		      struct fg_error *err)
{
	struct waited waited = { .domid = domid, .uuid = uuid };
	int rc = fg_xl_daemon_find_by(proc, waits_for, &waited, out, err);

	return rc == -FG_ENOTFOUND ? fg_error_set(err, FG_ENOTFOUND, "no xl process looks after domain %u", domid) : rc;
}

/* xl itself, or systemd-run, which becomes it. */
static enum fg_told is_maker(const char *proc, pid_t pid, const char *pin)
{
	struct fg_error err = FG_ERROR_INIT;
	fg_autofree char *cmdline = NULL;
	char path[512], program[256];
	bool create = false, pins = false, dry = false;
	size_t len = 0;

	enum fg_told told = program_of(proc, pid, program);
	if (told != FG_TOLD_YES)
		return told;
	if (strcmp(program, "xl") != 0 && strcmp(program, "systemd-run") != 0)
		return FG_TOLD_NO;
	snprintf(path, sizeof(path), "%s/%ld/cmdline", proc, (long)pid);
	if (fg_file_read(path, 1u << 17, &cmdline, &len, &err) < 0)
		return process_ended(&err) ? FG_TOLD_NO : FG_TOLD_UNKNOWN;
	for (size_t at = 0; at < len; at += strlen(cmdline + at) + 1) {
		create |= strcmp(cmdline + at, "create") == 0;
		pins |= strcmp(cmdline + at, pin) == 0;
		dry |= create && is_dry_run(cmdline + at);
	}
	return create && pins && !dry ? FG_TOLD_YES : FG_TOLD_NO;
}

int fg_xl_maker_find(const char *proc, const char *uuid, struct fg_xl_daemon *out, struct fg_error *err)
{
	fg_autofree char *pin = fg_asprintf("uuid=\"%s\"", uuid);
	struct fg_xl_daemon found = { 0 };
	pid_t pid, unknown = 0;
	DIR *dir = opendir(proc);

	if (!dir)
		return fg_error_errno(err, FG_EUNREACHABLE, errno, "%s", proc);
	while ((pid = process_next(dir)) > 0) {
		enum fg_told told = is_maker(proc, pid, pin);
		if (told == FG_TOLD_UNKNOWN)
			unknown = pid;
		if (told != FG_TOLD_YES)
			continue;
		fg_autofree char *name = NULL;
		found = (struct fg_xl_daemon){ .pid = pid, .start_ticks = start_ticks(proc, pid) };
		found.domid = log_domain(proc, pid, &name);
		if (!found.domid)
			break; /* one that still makes it goes before one that looks after it */
	}
	int sys = errno;
	closedir(dir);
	if (pid < 0)
		return fg_error_errno(err, FG_EUNREACHABLE, sys, "%s", proc);
	if (!found.pid && unknown)
		return fg_error_set(err, FG_EUNREACHABLE, "process %ld may be making guest %s", (long)unknown, uuid);
	if (!found.pid)
		return fg_error_set(err, FG_ENOTFOUND, "no process makes guest %s", uuid);
	*out = found;
	return 0;
}

int fg_xl_daemon_open(const char *proc, const struct fg_xl_daemon *daemon, struct fg_error *err)
{
	fg_autoclose int fd = (int)syscall(SYS_pidfd_open, daemon->pid, 0);

	if (fd < 0)
		return fg_error_errno(err, errno == ESRCH ? FG_ENOTFOUND : FG_EFAILED, errno, "pid %ld",
				      (long)daemon->pid);
	/* The pidfd holds one process; now make sure that it is the one that was found. */
	if (!daemon->start_ticks || start_ticks(proc, daemon->pid) != daemon->start_ticks)
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
