/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Group commit: what is to be written while the disk is busy with the transaction before goes into the next one together, and
 * each is told only when that is durable.  One that fails undoes its own writes only.
 *
 *	fg_writer_new -> fg_writer_add … -> write -> done (each) -> fg_writer_free
 */
#ifndef FG_SERVER_WRITER_H
#define FG_SERVER_WRITER_H

#include <event2/event.h>
#include <server/store/store.h>

#define FG_WRITER_GROUP_MAX 256 /* of one transaction */

struct fg_writer;

struct fg_write {
	/* Within the transaction; what it does is undone if it fails. */
	int (*write)(struct fg_store *store, void *arg, struct fg_error *err);
	/* Once, after the commit (rc 0) or when it is certain that nothing was written (rc < 0, err says why). */
	void (*done)(int rc, const struct fg_error *err, void *arg);
	void *arg;
};

struct fg_writer *fg_writer_new(struct event_base *base, struct fg_store *store);
/* write and done are called from the loop, in the order of the adds. */
void fg_writer_add(struct fg_writer *writer, const struct fg_write *write);
/* Writes what is left. */
void fg_writer_free(struct fg_writer *writer);

#endif
