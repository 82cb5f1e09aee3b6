/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The toolstack: what owns a guest (xl's daemon, libvirt), asked and told through one table of operations.
 *
 * Calling sequence:
 *	ops->open -> ops->list / find … (any number at once) -> ops->close
 * Every operation returns at once; its callback fires exactly once, from the event loop, never from inside the call.
 * rc is 0 or -FG_E…; err is valid only during the callback.  After close no callback fires.
 *
 * NOTFOUND means "asked, and it is not there".  UNREACHABLE, TIMEOUT and everything else mean "could not ask": the
 * caller must not conclude anything from them.  A guest is named by UUID; domid + created_s tell two lives of it apart.
 */
#ifndef FG_TOOLSTACK_H
#define FG_TOOLSTACK_H

#include <fixgate/error.h>
#include <fixgate/filter.h>

#include <stdbool.h>
#include <stdint.h>

struct event_base;

/* DYING with domid 0: it reboots, and its owner has not made it anew yet. */
enum fg_guest_state { FG_GUEST_OFF, FG_GUEST_RUNNING, FG_GUEST_PAUSED, FG_GUEST_DYING };

#define FG_NIC_NETDEVS_MAX 4
#define FG_NIC_ADDRESSES_MAX 8
#define FG_GUEST_NICS_MAX 16
#define FG_GUEST_DISKS_MAX 32

struct fg_nic {
	unsigned devid;
	uint8_t mac[6];
	char bridge[IFNAMSIZ]; /* empty: not bridged */
	struct fg_ip addresses[FG_NIC_ADDRESSES_MAX]; /* as configured; none = not known */
	size_t n_addresses;
	char netdevs[FG_NIC_NETDEVS_MAX][IFNAMSIZ]; /* that exist now in dom0: vifD.N, vifD.N-emu, tapX, vnetN */
	size_t n_netdevs;
};

struct fg_disk {
	char vdev[16]; /* xvda, hda, vda … as the guest sees it */
	char *target; /* path in dom0: raw image file or block device */
	bool block; /* target is a block device */
	bool readonly;
	bool cdrom;
};

struct fg_guest {
	char uuid[37];
	char *name;
	const struct fg_toolstack_ops *ops; /* who owns it */
	enum fg_guest_state state;
	uint32_t domid; /* of the running domain; 0 = none */
	int64_t created_s; /* when this domain was made, 0 = not known or off */
	struct fg_nic *nics;
	size_t n_nics;
	struct fg_disk *disks;
	size_t n_disks;
	uint32_t memory_mb;
	/* Why Fixgate cannot work on it (backend in a driver domain, passed-through NIC, qcow2 disk, …); NULL: it can. */
	char *refusal;
};
void fg_guest_release(struct fg_guest *g);
/* Deep copy; aborts when out of memory. */
void fg_guest_copy(const struct fg_guest *g, struct fg_guest *out);
/* Has it all NICs (by MAC) and all disks (by name and target; no CD drives), and no others?  DIFFERS if not. */
int fg_guest_same_devices(const struct fg_guest *want, const struct fg_guest *have, struct fg_error *err) FG_MUST_CHECK;

/* The stop ladder; each rung is tried, waits its deadline for the end of the domain, then the next. 0 skips a rung. */
struct fg_stop_policy {
	uint32_t shutdown_ms; /* PV shutdown request */
	uint32_t acpi_ms; /* ACPI power button */
	uint32_t destroy_ms; /* destroy, until domain and backends are gone */
};

struct fg_toolstack; /* one connection */

typedef void fg_ts_done_cb(void *arg, int rc, const struct fg_error *err);
/* guests: borrowed, valid during the callback. */
typedef void fg_ts_list_cb(void *arg, int rc, const struct fg_guest *guests, size_t n, const struct fg_error *err);
typedef void fg_ts_guest_cb(void *arg, int rc, const struct fg_guest *guest, const struct fg_error *err);
typedef void fg_ts_text_cb(void *arg, int rc, const char *text, const struct fg_error *err);
/* Each rung as it is tried: "shutdown requested", "no answer in 60 s: power button", "destroyed"… */
typedef void fg_ts_step_cb(void *arg, const char *what);
/* A domain of any guest came, went or changed: look again.  uuid may be NULL: not known which.  Of changes that follow each
 * other closely xl tells the first at once and the rest together (pace.h). */
typedef void fg_ts_event_cb(void *arg, struct fg_toolstack *ts, const char *uuid);

struct fg_toolstack_config {
	struct event_base *base;
	const char *uri; /* libvirt: connection URI; xl: NULL */
	const char *state_dir; /* may keep files here, e.g. definitions */
	fg_ts_event_cb *on_event;
	void *event_arg;
};

struct fg_toolstack_ops {
	const char *name; /* "xl", "libvirt" : also in JSON and the journal */

	int (*open)(const struct fg_toolstack_config *config, struct fg_toolstack **out, struct fg_error *err);
	void (*close)(struct fg_toolstack *ts);

	/* Only guests that this toolstack owns; off ones too where it knows them. Never dom0, never a fix VM. */
	void (*list)(struct fg_toolstack *ts, fg_ts_list_cb *cb, void *arg);
	void (*find)(struct fg_toolstack *ts, const char *uuid, fg_ts_guest_cb *cb, void *arg);

	/*
	 * Everything `start` needs to bring the guest back as it was, under its old owner, as JSON text (≤ 1 MiB) for the
	 * journal: the live definition with hot-plugged devices, and for xl the config file, its arguments and whether a
	 * daemon owned it.
	 */
	void (*save)(struct fg_toolstack *ts, const char *uuid, fg_ts_text_cb *cb, void *arg);

	/*
	 * Stop ladder.  Success: the domain is gone and so are its backends, and nothing has its image files.  Its owner does
	 * not bring it back (the xl daemon is ended first; libvirt: the life-cycle action is destroy), also where it was
	 * just about to: a guest that reboots is no domain for some seconds.
	 * last: the guest as it was last seen (UUID, name, domid, disks); it says what to look for where no domain is left.
	 * Borrowed during the call.  Idempotent: may be called again after a crash at any point.
	 */
	void (*stop)(struct fg_toolstack *ts, const struct fg_guest *last, const struct fg_stop_policy *policy,
		     fg_ts_step_cb *step, fg_ts_done_cb *cb, void *arg);

	/*
	 * Start from a saved definition; left paused, with its netdevs known, so that the caller can arm or clear the filter
	 * before the first instruction.  If the guest is there already, complete, it is returned as it is; DIFFERS if what is
	 * there under its UUID has other NICs or disks.  What an interrupted start has left is cleared away first.
	 */
	void (*start_paused)(struct fg_toolstack *ts, const char *definition, fg_ts_guest_cb *cb, void *arg);
	void (*unpause)(struct fg_toolstack *ts, const char *uuid, fg_ts_done_cb *cb, void *arg);

	/* Health: all its vifs are there and every one's frontend is connected (xenbus state 4) for this life of the guest, or deadline_ms. */
	void (*wait_connected)(struct fg_toolstack *ts, const char *uuid, uint32_t deadline_ms, fg_ts_done_cb *cb,
			       void *arg);
};

extern const struct fg_toolstack_ops fg_toolstack_xl;
extern const struct fg_toolstack_ops fg_toolstack_libvirt;

#endif
