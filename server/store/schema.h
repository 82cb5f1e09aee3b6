/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The database's schema and its versions.  Each step is one transaction that also notes the version in the table
 * schema_version (from version FG_SCHEMA_TABLE on) and in PRAGMA user_version.
 */
#ifndef FG_SERVER_SCHEMA_H
#define FG_SERVER_SCHEMA_H

#include "db.h"

#define FG_SCHEMA_TABLE 4

int fg_schema_newest(void);
/* Of this database; 0: it has no tables. */
int fg_schema_version(struct fg_db *db, int64_t *version, struct fg_error *err) FG_MUST_CHECK;
/* To the newest; DIFFERS if the database is of a newer program. */
int fg_schema_migrate(struct fg_db *db, struct fg_error *err) FG_MUST_CHECK;
/* For tests: to a version from 1 to the newest. */
int fg_schema_migrate_to(struct fg_db *db, int to, struct fg_error *err) FG_MUST_CHECK;

#endif
