/* SPDX-License-Identifier: GPL-3.0-or-later */
/* On the server's machine, beside or without a running server. */
#include "verbs.h"

#include <lib/util.h>
#include <pwd.h>
#include <server/config.h>
#include <server/store/store.h>
#include <stdio.h>
#include <unistd.h>

static char *database_of(const struct fg_admin_options *o)
{
	return fg_asprintf("%s/%s", o->dir, FG_SERVER_DB);
}

static const char *who(void)
{
	const struct passwd *pw = getpwuid(getuid());

	return pw ? pw->pw_name : "somebody";
}

static int audit(const char *path, const char *what, const char *file, struct fg_error *err)
{
	struct fg_store *store = NULL;
	int rc = fg_store_open(path, &store, err);

	if (rc == 0)
		rc = fg_store_audit_add(store, fg_now_ms(), who(), what, file, err);
	fg_store_close(store);
	return rc;
}

int fg_admin_backup(const struct fg_admin_options *o, const char *file, struct fg_error *err)
{
	if (!o->dir)
		return fg_error_set(err, FG_EUSAGE, "backup needs --dir: it is made on the server's machine");
	fg_autofree char *path = database_of(o);
	if (access(path, F_OK) < 0)
		return fg_error_set(err, FG_ENOTFOUND, "%s is not there", path);
	int rc = audit(path, "backup", file, err);
	if (rc == 0)
		rc = fg_store_backup(path, file, err);
	if (rc == 0 && o->json)
		printf("{\"backup\":true}\n");
	else if (rc == 0)
		printf("%s: backed up and checked\n", file);
	return rc;
}

int fg_admin_restore(const struct fg_admin_options *o, const char *file, struct fg_error *err)
{
	if (!o->dir)
		return fg_error_set(err, FG_EUSAGE, "restore needs --dir: it is done on the server's machine");
	fg_autofree char *path = database_of(o);
	int rc = fg_store_restore(path, file, who(), fg_now_ms(), err);
	if (rc == 0 && o->json)
		printf("{\"restored\":true}\n");
	else if (rc == 0)
		printf("restored; what was there is %s.before-restore\n", path);
	return rc;
}
