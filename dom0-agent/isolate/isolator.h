/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What cuts a guest off.  One table of operations a kind; the agent uses the first that the machine has.  Here: "vmm",
 * the filter on the backend netdevs.  A service processor or a secondary operating system are further tables.
 *
 *	ops->open -> isolate (again and again, as NICs come) -> release -> ops->close
 * Calls block for as long as the kernel takes; none waits for a peer.  The fix VM is isolated like a guest, under the
 * UUID of its job.
 */
#ifndef FG_ISOLATOR_H
#define FG_ISOLATOR_H

#include "dom0-agent/config.h"
#include "dom0-agent/toolstack/toolstack.h"

#include <jansson.h>

struct fg_isolator;

struct fg_isolator_ops {
	const char *name; /* in reports */
	const char *assurance; /* "hypervisor": below the guest, beside the host's own kernel */
	int (*open)(const struct fg_agent_config *config, struct fg_isolator **out, struct fg_error *err);
	void (*close)(struct fg_isolator *iso);
	/*
	 * Mark, then cut off every netdev that the guest has now, then compare what the kernel holds with what was asked.
	 * A guest without netdevs (off, or it has no NIC) is only marked.  Success = promise 1 holds.  closed: not even the server is allowed.
	 * On failure the mark stays: a NIC that comes is armed.
	 */
	int (*isolate)(struct fg_isolator *iso, const struct fg_guest *guest, bool closed, struct fg_error *err);
	/* Success: no rule of it is left in the kernel, and no mark. Also if there was none. */
	int (*release)(struct fg_isolator *iso, const char *uuid, struct fg_error *err);
	int (*marked)(struct fg_isolator *iso, const char *uuid, bool *out, struct fg_error *err);
	/* All marks; free(*uuids). */
	int (*list)(struct fg_isolator *iso, char (**uuids)[37], size_t *n, struct fg_error *err);
	/* What was held back since the guest was isolated, for reports; also just after a release.  NULL: nothing is known.
	 * May be NULL itself. */
	json_t *(*evidence)(struct fg_isolator *iso, const char *uuid);
};

extern const struct fg_isolator_ops fg_isolator_vmm;

#endif
