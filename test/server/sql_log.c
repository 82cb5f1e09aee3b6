/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Preloaded into programs that use SQLite: what they prepare or execute is appended to the file that SQL_LOG names, each
 * statement ended by a NUL.  Only programs of ours count (a test's own Python also speaks SQL), and of those of tests only the
 * connections of the store.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int out = -1;

/* Before the program gives up its rights; the descriptor is beyond those that a program closes. */
__attribute__((constructor)) static void open_log(void)
{
	const char *path = getenv("SQL_LOG"), *name = program_invocation_short_name;

	if (!path || (strcmp(name, "fixgate-server") != 0 && strncmp(name, "test_", 5) != 0))
		return;
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		abort();
	out = fcntl(fd, F_DUPFD_CLOEXEC, 900);
	if (out < 0)
		abort();
	close(fd);
}

static void *next(const char *name)
{
	void *f = dlsym(RTLD_NEXT, name);

	if (!f)
		abort();
	return f;
}

/* Connections of a test's own; those of the store are opened by sqlite3_open_v2(). */
static sqlite3 *others[64];

int sqlite3_open(const char *path, sqlite3 **db)
{
	int (*real)(const char *, sqlite3 **) = next("sqlite3_open");
	static size_t n;
	int code = real(path, db);

	others[n++ % (sizeof(others) / sizeof(others[0]))] = *db;
	return code;
}

int sqlite3_close(sqlite3 *db)
{
	int (*real)(sqlite3 *) = next("sqlite3_close");

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (others[i] == db)
			others[i] = NULL;
	return real(db);
}

static void note(sqlite3 *db, const char *sql, size_t len)
{
	static char text[1 << 20];

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (others[i] == db)
			return;
	if (out < 0 || !len)
		return;
	if (len >= sizeof(text))
		abort();
	memcpy(text, sql, len);
	text[len] = '\0';
	if (write(out, text, len + 1) != (ssize_t)len + 1)
		abort();
}

/* sqlite3_exec() calls this one too, for each of its statements. */
int sqlite3_prepare_v2(sqlite3 *db, const char *sql, int len, sqlite3_stmt **st, const char **tail)
{
	int (*real)(sqlite3 *, const char *, int, sqlite3_stmt **, const char **) = next("sqlite3_prepare_v2");
	const char *end = NULL;
	int code = real(db, sql, len, st, &end);

	if (code == SQLITE_OK)
		note(db, sql, (size_t)(end - sql));
	if (tail)
		*tail = end;
	return code;
}

int sqlite3_prepare_v3(sqlite3 *db, const char *sql, int len, unsigned flags, sqlite3_stmt **st, const char **tail)
{
	int (*real)(sqlite3 *, const char *, int, unsigned, sqlite3_stmt **, const char **) =
		next("sqlite3_prepare_v3");
	const char *end = NULL;
	int code = real(db, sql, len, flags, st, &end);

	if (code == SQLITE_OK)
		note(db, sql, (size_t)(end - sql));
	if (tail)
		*tail = end;
	return code;
}
