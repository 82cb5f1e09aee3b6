/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The fix VM as dom0 sees it: made paused, filtered by the caller, let run, listened to, destroyed.
 *
 * Calling sequence:
 *	ops->open -> create (paused) -> [filter its netdevs] -> run -> on_line… -> on_gone -> destroy (always) -> close
 * Asynchronous like toolstack.h: callbacks fire once, from the loop, never from inside the call.
 * Identity: the UUID of the fix VM is the job's UUID; its name is FG_FIXVM_NAME_PREFIX + first 8 of it (+ "-i" for an
 * inspection).  Its UUID is never a guest's.
 */
#ifndef FG_FIX_FIXVM_H
#define FG_FIX_FIXVM_H

#include "dom0-agent/toolstack/toolstack.h"

#define FG_FIXVM_NAME_PREFIX "fixgate-"
#define FG_FIXVM_DISKS_MAX FG_GUEST_DISKS_MAX

struct fg_fixvm_disk {
	char vdev[16];
	char *path; /* block device in dom0 */
	bool readonly; /* always true for an inspection */
};

struct fg_fixvm_spec {
	char uuid[37];
	char *name;
	const char *kernel; /* uncompressed ELF or bzImage */
	const char *initrd; /* with the job's cpio appended */
	bool pv; /* PV also where PVH would do */
	uint32_t memory_mb;
	uint32_t vcpus;
	bool has_nic;
	uint8_t mac[6];
	char bridge[IFNAMSIZ];
	struct fg_fixvm_disk *disks;
	size_t n_disks;
};

struct fg_fixvms; /* connection to what makes them */
struct fg_fixvm; /* one of them */

struct fg_fixvm_created {
	uint32_t domid;
	char netdevs[FG_NIC_NETDEVS_MAX][IFNAMSIZ];
	size_t n_netdevs;
};

/* A chunk of console output, any length, any bytes.  Parsing is fixvm_console.h's. */
typedef void fg_fixvm_output_cb(void *arg, const void *bytes, size_t len);
/* The domain ended: power-off, crash or destroyed by somebody.  All console output was delivered before. */
typedef void fg_fixvm_gone_cb(void *arg, const char *why);
typedef void fg_fixvm_created_cb(void *arg, int rc, const struct fg_fixvm_created *created, const struct fg_error *err);

struct fg_fixvm_events {
	fg_fixvm_output_cb *output;
	fg_fixvm_gone_cb *gone;
	void *arg;
};

struct fg_fixvm_ops {
	const char *name;
	int (*open)(struct event_base *base, struct fg_fixvms **out, struct fg_error *err);
	void (*close)(struct fg_fixvms *vms);
	/* spec is copied.  On failure no domain is left behind; the handle is the caller's until forget all the same. */
	struct fg_fixvm *(*create)(struct fg_fixvms *vms, const struct fg_fixvm_spec *spec,
				   const struct fg_fixvm_events *events, fg_fixvm_created_cb *cb, void *arg);
	void (*run)(struct fg_fixvm *vm, fg_ts_done_cb *cb, void *arg); /* unpause */
	int (*send)(struct fg_fixvm *vm, const void *bytes, size_t len, struct fg_error *err); /* to its console */
	/* Gives up the handle, no event after it.  Does not destroy the domain. */
	void (*forget)(struct fg_fixvm *vm);
	/* By identity, also after a restart of the agent: success = no such domain and its backends are gone. */
	void (*destroy)(struct fg_fixvms *vms, const char *uuid, fg_ts_done_cb *cb, void *arg);
};

extern const struct fg_fixvm_ops fg_fixvm_xl; /* libxl */

#endif
