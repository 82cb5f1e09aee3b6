/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Answers that the store gave and that still hold, because nothing was written to the database since.  An entry is of one
 * moment (fg_db_moment) and worth nothing in another; a key whose place another one has taken is forgotten.
 *
 *	uint64_t moment = fg_memo_moment(memo, db);
 *	if (!fg_memo_get(memo, moment, key, values)) {
 *		… ask the database …
 *		fg_memo_put(memo, moment, key, values);
 *	}
 *
 * The moment is taken before the database is asked: if it is still the same when the answer is used, nothing was written in
 * between.
 */
#ifndef FG_SERVER_MEMO_H
#define FG_SERVER_MEMO_H

#include "db.h"

#include <stdbool.h>
#include <stdint.h>

#define FG_MEMO_SLOTS 4096 /* a power of two */
#define FG_MEMO_KEY 152 /* longer keys are not remembered */

struct fg_memo {
	struct fg_db_moment seen;
	uint64_t moment; /* the number of seen; 0 before the first */
	uint64_t hits;
	struct fg_memo_slot {
		uint64_t moment;
		int64_t values[2];
		char key[FG_MEMO_KEY];
	} slot[FG_MEMO_SLOTS];
};

/* A number that no earlier moment had; 0: cannot be told, so nothing is to be remembered. */
uint64_t fg_memo_moment(struct fg_memo *memo, struct fg_db *db);
bool fg_memo_get(struct fg_memo *memo, uint64_t moment, const char *key, int64_t values[2]);
void fg_memo_put(struct fg_memo *memo, uint64_t moment, const char *key, const int64_t values[2]);
/* kind, a letter, and up to three texts, as a key; of one that is too long only the beginning, which get and put refuse. */
void fg_memo_key(char key[FG_MEMO_KEY], char kind, const char *a, const char *b, const char *c);

#endif
