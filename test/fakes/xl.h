/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * libxl, xenstore and xl's processes as xl_scan.c, xl_start.c and xl_stop.c see them: a few domains in an array.  Stands in for
 * toolstack_xl.c, event_libxl.c, xl_files.c, xl_daemon.c, xl_reboot.c, xl_owner.c, child.c and gone.c.
 */
#ifndef FAKE_XL_H
#define FAKE_XL_H

#include "dom0-agent/toolstack/xl_private.h"

#define FAKE_XL_DOMAINS 4
#define FAKE_XL_WEB1 "f19a0000-0000-4000-8000-000000000011"

struct fake_xl_domain {
	uint32_t domid; /* 0: no domain in this slot */
	const char *uuid, *name; /* name NULL: no xenstore home */
	const char *json; /* NULL: its definition cannot be read */
	bool listed_only; /* is in the list, and gone when it is asked for */
	bool paused, shutdown, dying, libvirt, hvm;
};

struct fake_xl {
	struct event_base *base;
	struct xl_ts ts;
	struct fake_xl_domain domains[FAKE_XL_DOMAINS];
	void (*definition_read)(void); /* once: libxl read one, and has not said so yet */
	int dryrun_rc; /* of xl_dryrun */
	const char *dryrun_json;
	unsigned dryruns;

	/* What xl_start.c does, and what comes of it. */
	unsigned made, destroyed, gone_waits, owned;
	int destroy_rc, gone_rc;
	bool daemon_known; /* an xl process looks after every domain */
	int reboot_rc; /* whose domain is gone: 0: no xl process makes it anew, 1: one does, below 0: could not ask */
	pid_t maker; /* makes web1: a child of the test; 0: none */
	uint32_t maker_domid;
	int maker_rc; /* could not ask for one */
	bool child_fails; /* xl create leaves half a domain */

	/* What xl_stop.c does, in its order ("shutdown 4, destroy 4, gone 4 +1"), and what comes of it. */
	char asked[256];
	enum fake_xl_end {
		FAKE_XL_STAYS,
		FAKE_XL_SHUTS_DOWN,
		FAKE_XL_REBOOTS,
		FAKE_XL_VANISHES
	} on_shutdown,
		on_button;
	int shutdown_rc, button_rc, find_rc, watch_rc, domid_rc;
	struct fg_xl_death *death; /* the watch, NULL: nobody looks */
	unsigned disowned, makes; /* so many times, the agent makes a domain of it just then */
	pid_t process; /* of fake_xl_process */
	pid_t daemon; /* the guest's xl process: a child of the test; 0: none */
	void (*last_moment)(void); /* once: what the daemon did before it ended, seen when all is looked at anew */
};
extern struct fake_xl fake_xl;

void fake_xl_begin(void);
void fake_xl_end(void);
/* A config file that pins the UUID; xl was not asked about it yet. */
void fake_xl_file(const char *path, const char *uuid, const char *name);
/* A complete domain of web1, paused, as create makes it. */
void fake_xl_make(void);
/* One that waits to be ended, at the latest by fake_xl_end. */
pid_t fake_xl_process(void);
/* Until nothing more happens. */
void fake_xl_loop(void);
/* The domain ends by itself. */
void fake_xl_ends(uint32_t domid, enum fake_xl_end how);

#endif
