/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Isolated guests stay isolated whoever changes what: the kernel's notifications (linkwatch.h) are compared with the marks.
 *
 *	a device appears, is renamed, comes from another namespace	filtered at once; then the toolstack is asked
 *	it cannot be filtered						set down, and told
 *	it goes to another namespace					set down there, and told
 *	somebody else changes table netdev fixgate			compared; what is not as it was is put back
 *	notifications were lost						everything is looked at
 *
 * Whenever a NIC of an isolated guest could pass frames, that is a *window*, told with its length.  A NIC that was never up
 * before it was filtered had none.
 */
#ifndef FG_ISOLATE_GUARD_H
#define FG_ISOLATE_GUARD_H

#include "linkwatch.h"
#include "window.h"

struct fg_guard;
struct fg_isolator;

struct fg_guard_config {
	struct event_base *base;
	struct fg_isolator *isolator; /* of fg_isolator_vmm; its hooks become the guard's */
	int (*xenstore)(void *arg, const char *path, char **out, struct fg_error *err);
	/* Ask the toolstacks which NICs the guest has; "": every guest that is marked. */
	void (*look)(void *arg, const char *uuid);
	void (*window)(void *arg, const struct fg_window *window);
	void *arg;
};

/* All devices that are there are looked at before it returns. */
int fg_guard_open(const struct fg_guard_config *config, struct fg_guard **out, struct fg_error *err) FG_MUST_CHECK;
void fg_guard_close(struct fg_guard *g);

#endif
