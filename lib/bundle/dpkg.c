/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * dpkg's status file and its journal: deb822 stanzas (dpkg-status, deb822(5)).  The journal, /var/lib/dpkg/updates,
 * holds what an interrupted dpkg has done but not yet merged into status; names are digits, later ones hold.
 */
#include "guest.h"

#include <lib/util.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define STATUS_PATH "/var/lib/dpkg/status"
#define UPDATES_PATH "/var/lib/dpkg/updates"

struct fg_dpkg_db {
	char **texts; /* status, then the journal in its order */
	size_t n;
};

struct field {
	const char *p;
	size_t len;
};

struct stanza {
	struct field package, status, arch, version;
};

static bool same(struct field f, const char *s)
{
	return f.len == strlen(s) && (f.len == 0 || memcmp(f.p, s, f.len) == 0);
}

static void take_field(const char *line, size_t len, const char *name, struct field *out)
{
	size_t n = strlen(name);

	if (len <= n || strncasecmp(line, name, n) != 0 || line[n] != ':')
		return;
	for (n++; n < len && (line[n] == ' ' || line[n] == '\t'); n++)
		;
	while (len > n && (line[len - 1] == ' ' || line[len - 1] == '\t'))
		len--;
	*out = (struct field){ line + n, len - n };
}

/* Next stanza; moves *pos behind it.  False at the end. */
static bool next_stanza(const char **pos, struct stanza *out)
{
	const char *line = *pos;

	*out = (struct stanza){ { NULL, 0 }, { NULL, 0 }, { NULL, 0 }, { NULL, 0 } };
	while (*line == '\n')
		line++;
	if (!*line)
		return false;
	while (*line && *line != '\n') {
		size_t n = strcspn(line, "\n");
		if (*line != ' ' && *line != '\t') { /* else it continues the field before */
			take_field(line, n, "Package", &out->package);
			take_field(line, n, "Status", &out->status);
			take_field(line, n, "Architecture", &out->arch);
			take_field(line, n, "Version", &out->version);
		}
		line += n + (line[n] == '\n');
	}
	*pos = line;
	return true;
}

/* Third word of "want flag state".  Whatever may have files of the package on the disk counts as installed. */
static bool is_installed(struct field status)
{
	static const char *const gone[] = { "not-installed", "config-files" };
	if (!status.p)
		return false;
	const char *end = status.p + status.len, *word = end;
	while (word > status.p && word[-1] != ' ')
		word--;
	for (size_t i = 0; i < FG_COUNT(gone); i++)
		if (same((struct field){ word, (size_t)(end - word) }, gone[i]))
			return false;
	return true;
}

static char *copy(struct field f)
{
	return f.p ? fg_asprintf("%.*s", (int)f.len, f.p) : NULL;
}

/* A stanza replaces an earlier one of the same architecture. */
static int remember(struct fg_guest_packages *out, const struct stanza *s, struct fg_error *err)
{
	size_t i = 0;

	while (i < out->n && !same(s->arch, out->list[i].arch ? out->list[i].arch : ""))
		i++;
	if (i == out->n) {
		if (out->n == FG_GUEST_FOUND_MAX)
			return fg_error_set(err, FG_ELIMIT, "too many packages of one name");
		struct fg_guest_package *more = realloc(out->list, (out->n + 1) * sizeof(*more));
		if (!more)
			return fg_error_set(err, FG_ENOMEM, "out of memory");
		out->list = more;
		out->list[out->n++] = (struct fg_guest_package){ copy(s->arch), NULL, false };
	}
	struct fg_guest_package *p = &out->list[i];
	free(p->version);
	p->version = copy(s->version);
	p->installed = is_installed(s->status);
	if (p->installed && !p->version)
		return fg_error_set(err, FG_EFORMAT, "dpkg's status of the guest: an installed package has no version");
	return 0;
}

int fg_dpkg_db_find(const struct fg_dpkg_db *db, const char *name, struct fg_guest_packages *out, struct fg_error *err)
{
	struct fg_guest_packages found = { NULL, 0 };
	struct stanza s;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < db->n; i++)
		for (const char *pos = db->texts[i]; rc == 0 && next_stanza(&pos, &s);)
			if (same(s.package, name))
				rc = remember(&found, &s, err);
	if (rc < 0) {
		fg_guest_packages_release(&found);
		return rc;
	}
	*out = found;
	return 0;
}

void fg_guest_packages_release(struct fg_guest_packages *p)
{
	for (size_t i = 0; i < p->n; i++) {
		free(p->list[i].arch);
		free(p->list[i].version);
	}
	free(p->list);
	*p = (struct fg_guest_packages){ NULL, 0 };
}

/* A NUL would hide the rest of the file from every string function. */
static int add_text(struct fg_dpkg_db *db, int root_fd, const char *path, bool *found, struct fg_error *err)
{
	fg_autofree char *text = NULL;
	size_t len = 0;
	int rc = fg_guest_read(root_fd, path, FG_GUEST_STATUS_MAX, &text, &len, err);

	if (rc < 0)
		return rc;
	*found = text != NULL;
	if (!text)
		return 0;
	if (strlen(text) != len)
		return fg_error_set(err, FG_EFORMAT, "%s of the guest: NUL byte", path);
	char **more = realloc(db->texts, (db->n + 1) * sizeof(*more));
	if (!more)
		return fg_error_set(err, FG_ENOMEM, "out of memory");
	db->texts = more;
	db->texts[db->n++] = FG_TAKE(text);
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b); /* all of the same length: dpkg's IMPORTANTFMT "%04d" */
}

static void free_names(char **names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(names[i]);
	free(names);
}

/* Names that dpkg reads: digits only. */
static int list_updates(DIR *dir, char **names, size_t *n, struct fg_error *err)
{
	struct dirent *entry;

	errno = 0;
	while ((entry = readdir(dir))) {
		if (strspn(entry->d_name, "0123456789") != strlen(entry->d_name))
			continue;
		if (*n == FG_GUEST_UPDATES_MAX)
			return fg_error_set(err, FG_ELIMIT, "%s of the guest has too many entries", UPDATES_PATH);
		names[(*n)++] = fg_strdup(entry->d_name);
	}
	if (errno)
		return fg_error_errno(err, FG_EIO, errno, "cannot read %s of the guest", UPDATES_PATH);
	qsort(names, *n, sizeof(*names), by_name);
	return 0;
}

static int add_updates(struct fg_dpkg_db *db, int root_fd, struct fg_error *err)
{
	struct open_how how = { .flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
				.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS };
	int fd = (int)syscall(SYS_openat2, root_fd, UPDATES_PATH, &how, sizeof(how));
	bool found = false;
	size_t n = 0;

	if (fd < 0 && errno == ENOENT)
		return 0;
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		int saved = errno;
		fg_closep(&fd);
		return fg_error_errno(err, FG_EIO, saved, "cannot open %s of the guest", UPDATES_PATH);
	}
	char **names = fg_calloc(FG_GUEST_UPDATES_MAX, sizeof(*names));
	int rc = list_updates(dir, names, &n, err);
	for (size_t i = 0; rc == 0 && i < n; i++) {
		fg_autofree char *path = fg_asprintf("%s/%s", UPDATES_PATH, names[i]);
		rc = add_text(db, root_fd, path, &found, err);
	}
	free_names(names, n);
	closedir(dir);
	return rc;
}

int fg_dpkg_db_open(int root_fd, struct fg_dpkg_db **out, struct fg_error *err)
{
	struct fg_dpkg_db *db = fg_calloc(1, sizeof(*db));
	bool found = false, has_dpkg = false;
	int rc = add_text(db, root_fd, STATUS_PATH, &found, err);

	if (rc == 0)
		rc = add_updates(db, root_fd, err);
	if (rc == 0 && !found)
		rc = fg_guest_exists(root_fd, "/usr/bin/dpkg", &has_dpkg, err);
	if (rc == 0 && has_dpkg)
		rc = fg_error_set(err, FG_EUNREACHABLE, "the guest has dpkg but no %s: is /var mounted?", STATUS_PATH);
	if (rc < 0) {
		fg_dpkg_db_close(db);
		return rc;
	}
	*out = db;
	return 0;
}

void fg_dpkg_db_close(struct fg_dpkg_db *db)
{
	if (!db)
		return;
	for (size_t i = 0; i < db->n; i++)
		free(db->texts[i]);
	free(db->texts);
	free(db);
}
