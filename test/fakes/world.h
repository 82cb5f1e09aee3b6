/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A host without Xen: guests, disks, layers, fix VMs, filter, server and clock that the agent is run against.
 *
 * What the world is (struct fake_world) lies in shared memory: it outlives an agent that dies in the middle, as the real
 * one does.  What the agent has asked and not been answered yet (struct fake) dies with it.  The fakes are strict: what the
 * real parts forbid, or what breaks a promise of the design, is a violation, kept as text.
 *
 *	fake_world_new -> fake_start -> fake_pump… -> fake_end [-> fake_start again] -> fake_world_free
 */
#ifndef FAKE_WORLD_H
#define FAKE_WORLD_H

#include "dom0-agent/job/job.h"

#include <lib/util.h>

#define FAKE_GUESTS 3
#define FAKE_REPORTS 256
#define FAKE_CALLS 4096
#define FAKE_FIX "demo-fix"
#define FAKE_WEB1 "f19a0000-0000-4000-8000-000000000011"
#define FAKE_WEB2 "f19a0000-0000-4000-8000-000000000012"
#define FAKE_DB1 "f19a0000-0000-4000-8000-000000000013"

/* What the fix VM does. */
enum fake_script {
	FAKE_VERIFIED,
	FAKE_NOT_NEEDED,
	FAKE_FAILS, /* the entry exits 1 */
	FAKE_DOWNLOAD_FAILS,
	FAKE_HANGS_AT_BOOT,
	FAKE_HANGS_AT_DOWNLOAD,
	FAKE_HANGS_AT_FIX,
	FAKE_NEVER_POWERS_OFF,
	FAKE_CRASHES,
	FAKE_LIES, /* verified, before the NIC was closed */
	FAKE_SAYS_NEEDED, /* in mode fix */
};
enum fake_look {
	FAKE_LOOK_NEEDED,
	FAKE_LOOK_NOT_NEEDED,
	FAKE_LOOK_CRASHES,
	FAKE_LOOK_FAILS,
	FAKE_LOOK_HANGS,
	FAKE_LOOK_NOT_APPLICABLE
};

/* What happens to web1 from outside, at the n-th call of a name. */
enum fake_happening {
	FAKE_NOTHING,
	FAKE_REBOOTS, /* its owner has destroyed it and makes it anew 2 s later, unless that owner is ended */
	FAKE_STARTED, /* somebody starts it, if it is off */
	FAKE_STARTED_AS_ANOTHER, /* the same with another UUID */
};

struct fake_guest {
	char uuid[37], name[16];
	bool off_known; /* libvirt: known while off; xl: not */
	enum fg_guest_state state;
	unsigned domid, n_nics;
	bool armed, marked, armed_once, refused;
	const char *refusal; /* why; NULL: a NIC is passed through */
	int disk; /* what is on it */
	bool disk_readonly2; /* a second, read-only disk */
	unsigned starts;
	int64_t back_ms; /* no domain now; its owner makes it anew then. 0: no */
	bool by_somebody; /* started behind the agent's back */
};

struct fake_layer {
	bool exists, readonly, merging, broken;
	int content;
};

struct fake_vm {
	bool exists, paused, armed, marked, closed, inspect, has_nic;
	char uuid[37], nonce[33];
};

struct fake_report {
	int64_t seq;
	char job[37], guest[37], state[16], reason[200];
	char evidence[400]; /* JSON, "" = none */
};

struct fake_world {
	int64_t now_ms;
	struct fake_guest guests[FAKE_GUESTS];
	struct fake_layer layers[FAKE_GUESTS][2];
	bool merge_begun[FAKE_GUESTS];
	char layer_job[FAKE_GUESTS][37];
	struct fake_vm vms[4];
	unsigned next_domid, vms_made, looks_made, isolations;
	/* server */
	struct fake_report reports[FAKE_REPORTS];
	unsigned n_reports;
	char offers[8][256];
	unsigned n_offers;
	bool server_down, head_untrusted, head_of_another, copy_differs;
	int catalogue_version; /* of the catalogue that fixgate-net goes by, less 1 */
	unsigned link_unknown; /* times that the server's link address is not known yet */
	bool nic_comes; /* a second NIC is plugged in while the first filter is installed */
	int64_t acks_held;
	enum fake_happening happens;
	const char *happens_at;
	unsigned happens_nth, happens_seen;
	const char *unknown_from; /* from this call on the toolstack does not answer for ten minutes */
	int64_t unknown_until_ms;
	bool other_has_disk; /* a guest of another UUID runs on the disk of web1 */
	bool started_in_merge; /* somebody starts web1 while the agent does not hear of the end of a merge */
	/* scripts */
	const char *os; /* as a fix VM says it when it has mounted the disks; NULL: it does not */
	enum fake_script script;
	enum fake_look look;
	bool stop_ignored, unhealthy, overflow, merge_breaks;
	/* injected failures */
	unsigned calls, fail_at; /* the n-th outside call … */
	int fail_code; /* … fails with this */
	bool fail_after; /* its effect takes place all the same */
	bool fail_for_ever; /* and all that follow */
	bool failed;
	char failed_name[40];
	char violation[256];
	char fatal[256];
};

struct fake_event;

struct fake {
	struct fg_clock clock; /* first */
	struct fake_world *w;
	const char *dir;
	struct fg_agent agent;
	struct fg_agent_config config;
	TAILQ_HEAD(fake_queue, fake_event) queue;
	uint64_t next_event;
	bool ended;
};

struct fake_world *fake_world_new(void);
void fake_world_free(struct fake_world *w);
void fake_violation(struct fake_world *w, const char *fmt, ...) FG_PRINTF(2, 3);
struct fake_guest *fake_guest(struct fake_world *w, const char *uuid);
void fake_guest_comes_up(struct fake_world *w, struct fake_guest *g);
void fake_happens(struct fake_world *w, enum fake_happening what, const char *at, unsigned nth);

/* The configuration that fake_start would take by itself, to be changed before it. */
void fake_configure(struct fake *f, const char *dir);
/* dir: for the journal.  hook: of the journal, may be NULL. */
void fake_start(struct fake *f, struct fake_world *w, const char *dir, void (*hook)(void *arg), void *arg);
/* Runs events until there is none, or until `until` says so. */
void fake_pump(struct fake *f, bool (*until)(struct fake *f));
void fake_end(struct fake *f);
void fake_offer(struct fake_world *w, const char *guest, uint64_t version);

struct fake_event *fake_later(struct fake *f, int64_t ms, void (*fn)(void *arg), void *arg);
/* 0, or the code that this outside call is to fail with; *effect: does it take place? */
int fake_outside(struct fake *f, const char *name, bool *effect, struct fg_error *err);
bool fake_send(void *ctx, const json_t *message);
void fake_offers_send(struct fake *f, int64_t after);
/* What a report says; NULL: none in that state. */
const struct fake_report *fake_report_of(const struct fake_world *w, const char *guest, const char *state);
unsigned fake_count(const struct fake_world *w, const char *guest, const char *state);
const char *fake_last_state(const struct fake_world *w, const char *guest);

extern const struct fg_toolstack_ops fake_toolstack;
extern const struct fg_fixvm_ops fake_fixvm;
extern const struct fg_layer_ops fake_layers;
extern const struct fg_isolator_ops fake_isolator;
int fake_make_initrd(const struct fg_initrd_request *req, const char *path, struct fg_error *err);
/* make_initrd has no context: the world of this process. */
extern struct fake_world *fake_the_world;
extern struct fake *fake_the_fake;

#endif
