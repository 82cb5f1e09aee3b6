/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Messages between the processes of one server.  Each process has a mailbox, a datagram socket pair made before the first
 * fork; every process may write into every box and reads its own.  The parent keeps both ends, so that a process that
 * takes a dead one's place finds the box as it was.
 *
 *	fg_bus_new -> fork -> fg_bus_join -> fg_bus_receive / fg_bus_send … -> fg_bus_free
 *
 * A box holds some hundred messages.  Where a broadcast does not fit, the box is marked, and its owner finds the mark
 * after it has read what is there: it then does for all what the lost message said of one.
 */
#ifndef FG_SERVER_BUS_H
#define FG_SERVER_BUS_H

#include <fixgate/error.h>
#include <stdbool.h>
#include <stddef.h>

#define FG_BUS_SIGNER 0 /* its box; the workers' are 1 … */
#define FG_BUS_WORKERS_MAX 32 /* those of a reload included: twice as many as may be configured */
#define FG_BUS_BYTES_MAX 8000

enum fg_bus_kind {
	FG_BUS_WAKE = 1, /* a host's name: there may be something new for its polls */
	FG_BUS_RECHECK, /* certificates were revoked */
	FG_BUS_SIGN, /* to the signer: JSON, server/setup/signer.h */
	FG_BUS_SIGNED, /* its answer */
};

struct fg_bus_message {
	enum fg_bus_kind kind;
	unsigned from;
	size_t len;
	char data[FG_BUS_BYTES_MAX + 1]; /* NUL-terminated */
};

struct fg_bus;

int fg_bus_new(struct fg_bus **out, struct fg_error *err) FG_MUST_CHECK;
/* In the child: box is this process's from now on.  What was in it is dropped. */
void fg_bus_join(struct fg_bus *bus, unsigned box);
/* In the parent: nobody reads the box any more. */
void fg_bus_leave(struct fg_bus *bus, unsigned box);
/* Readable when there are messages. */
int fg_bus_fd(const struct fg_bus *bus);
/* false: the box is full, or nobody reads it. */
bool fg_bus_send(struct fg_bus *bus, unsigned box, enum fg_bus_kind kind, const void *data, size_t len);
/* To all workers but this process. */
void fg_bus_broadcast(struct fg_bus *bus, enum fg_bus_kind kind, const void *data, size_t len);
/* false: there is none (and *missed says whether some were lost since it was last asked). */
bool fg_bus_receive(struct fg_bus *bus, struct fg_bus_message *message, bool *missed);
void fg_bus_free(struct fg_bus *bus);

#endif
