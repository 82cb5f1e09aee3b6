/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "log.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char *log_program = "fixgate";
static enum fg_log_level log_level = FG_LOG_INFO;
static bool log_journal;

void fg_log_init(const char *program, enum fg_log_level level)
{
	log_program = program;
	log_level = level;
	log_journal = getenv("JOURNAL_STREAM") != NULL; /* systemd.exec(5) */
}

/* Copy text to line, control characters as \xNN; returns the length. */
static size_t escape(const char *text, char *line, size_t size)
{
	size_t n = 0;

	for (const unsigned char *p = (const unsigned char *)text; *p && n + 5 < size; p++) {
		if (*p < 0x20 || *p == 0x7f)
			n += (size_t)snprintf(line + n, size - n, "\\x%02x", *p);
		else
			line[n++] = (char)*p;
	}
	return n;
}

void fg_log(enum fg_log_level level, const char *fmt, ...)
{
	char text[2048], line[4096];
	int saved = errno;
	size_t n;
	va_list ap;

	if (level > log_level)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);

	if (log_journal)
		n = (size_t)snprintf(line, sizeof(line), "<%d>", (int)level);
	else
		n = (size_t)snprintf(line, sizeof(line), "%s[%ld]: ", log_program, (long)getpid());
	n += escape(text, line + n, sizeof(line) - n - 1);
	line[n++] = '\n';
	/* One write, so that lines of several processes do not mix. */
	if (write(STDERR_FILENO, line, n) < 0)
		errno = saved; /* nowhere left to say it */
	errno = saved;
}
