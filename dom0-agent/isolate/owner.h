/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Whose is this network device?  Found out at once, without asking a toolstack:
 *	vifD.N, vifD.N-emu     the domain of that number has the guest's UUID in xenstore, the backend has the MAC
 *	renamed vif (vifname=) sysfs still says which backend it is: vif-D-N
 *	tap of libvirt         its MAC is the guest's with fe in front, and one marked guest has that MAC
 * What none of these can say has to be asked of the toolstacks.
 */
#ifndef FG_ISOLATE_OWNER_H
#define FG_ISOLATE_OWNER_H

#include "linkwatch.h"

#include <fixgate/filter.h>

struct fg_owner_source {
	/* A node of xenstore, malloc'd; NOTFOUND if there is none. */
	int (*xenstore)(void *arg, const char *path, char **out, struct fg_error *err);
	/* The next guest that is marked: at 0, 1 …; NULL: no more. */
	const struct fg_filter_guest *(*marked)(void *arg, size_t at);
	void *arg;
};

struct fg_owner {
	char uuid[37];
	uint8_t mac[6]; /* the guest's, on this device */
};

/* 0; REFUSED: it can be no guest's (a bridge, a NIC of the host …); NOTFOUND: it is no marked guest's as far as can be
 * said here; others: could not ask. */
int fg_owner_find(const struct fg_owner_source *source, const struct fg_link_event *link, struct fg_owner *out,
		  struct fg_error *err) FG_MUST_CHECK;

#endif
