/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A store in a folder of its own, for tests: two guests of host h1, fix-1 in version 1. */
#ifndef FG_TEST_STORE_KIT_H
#define FG_TEST_STORE_KIT_H

#include <server/store/store.h>

#define A "aaaaaaaa-0000-4000-8000-000000000001"
#define B "bbbbbbbb-0000-4000-8000-000000000002"
#define NOW 1000000000000
#define KIT_DIGEST "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee" /* of fix-1 */

extern struct fg_store *store;
extern char store_path[128];

void kit_setup(void);
/* Counters and audit log must be right, whatever the test did. */
void kit_teardown(void);
void kit_reopen(void);
struct fg_store_guest kit_guest(const char *uuid, const char *name, const char *state);
/* Of a digest that nothing else has, or of that one. */
void kit_fix(const char *id, int64_t version);
void kit_fix_as(const char *id, int64_t version, const char *digest);
/* To one guest, NULL = all; how many got it. */
int kit_offer(const char *id, const char *guest);
/* One report of host h1; numbers go on by themselves. */
void kit_report(const char *guest, const char *fix, int64_t version, enum fg_state state);
/* "seq:uuid[0..3]:fix:version " of each, "x" before one that cancels. */
const char *kit_poll(const char *host, int64_t cursor, int64_t *next);
/* Any statement, from another connection. */
void kit_sql(const char *path, const char *sql);
int64_t kit_number(const char *path, const char *sql);
/* The status and state of A's or B's ledger row, "-" where there is none. */
const char *kit_status(const char *uuid);

#endif
