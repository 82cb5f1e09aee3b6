/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The quarantine after a start of the host, or after somebody flushed nf_tables: from the marks on disk, without the agent
 * and without a toolstack.  Devices that come later are the matter of vif-fixgate(8).
 */
#ifndef FG_FILTER_RESTORE_H
#define FG_FILTER_RESTORE_H

#include "args.h"
#include "owner.h"

#define FG_FILTER_STRICT_DIR                                                                                           \
	"/run/fixgate/strict" /* of vif-fixgate(8): guests that are closed since nobody knows them */

struct fg_restore {
	const char *mark_dir;
	const char *strict_dir; /* as mark_dir, but what is in its files does not matter: closed; NULL: none */
	int (*xenstore)(void *arg, const char *path, char **out, struct fg_error *err); /* as in fg_owner_source */
	void (*problem)(void *arg, const char *text); /* what could not be restored; the rest is, all the same */
	void *arg;
	size_t n_marks, n_devs; /* out: guests that are marked; devices that are filtered now */
};

/*
 * Every device that is there and belongs to a marked guest is filtered, in one transaction where that works.  A guest whose
 * mark cannot be read is closed (drop-all); a device that cannot be filtered is set down.  What cannot be told to be a marked
 * guest's stays as it is: it may be a bystander's.  The first problem's code if there was any.
 * Also asks nf_tables for a chain when nothing is to be filtered: what will be needed for a vif is found missing now.
 */
int fg_filter_restore(struct fg_filter *f, struct fg_restore *r, struct fg_error *err) FG_MUST_CHECK;

/* The command: problems to stderr, then "3 guests are marked, 2 devices filtered". */
int fg_restore_command(struct fg_filter *f, const struct fg_args *args, struct fg_error *err) FG_MUST_CHECK;

/* `xenstore-read PATH`, found in $PATH.  NOTFOUND if it says that there is no such node. */
int fg_xenstore_read(void *arg, const char *path, char **out, struct fg_error *err) FG_MUST_CHECK;

#endif
