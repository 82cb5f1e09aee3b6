/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Shared by journal.c (writes) and journal_read.c (reads). */
#ifndef FG_JOURNAL_PRIVATE_H
#define FG_JOURNAL_PRIVATE_H

#include "journal.h"

#include <lib/util.h>
#include <sqlite3.h>

struct fg_journal {
	sqlite3 *db;
	void (*hook)(void *arg);
	void *hook_arg;
};

static inline void fg_stmtp(sqlite3_stmt **s)
{
	sqlite3_finalize(*s);
}
#define fg_autostmt fg_cleanup(fg_stmtp)

int fg_journal_error(struct fg_journal *j, const char *what, struct fg_error *err);
int fg_journal_prepare(struct fg_journal *j, sqlite3_stmt **out, struct fg_error *err, const char *sql) FG_MUST_CHECK;

#endif
