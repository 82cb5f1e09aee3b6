/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The isolator of the virtual machine manager, as the guard (guard.h) sees it: single netdevs of guests that are marked.
 * isolator.h has what the jobs use.
 */
#ifndef FG_ISOLATE_VMM_H
#define FG_ISOLATE_VMM_H

#include "isolator.h"

struct fg_vmm_hooks {
	/* The netdev is filtered; late: the guest was marked and the netdev had no filter until now. */
	void (*armed)(void *arg, const char *uuid, const char *dev, bool late);
	/* It has no filter and cannot get one. */
	void (*failed)(void *arg, const char *uuid, const char *dev, const struct fg_error *why);
	void *arg;
};

/* marks: the folder.  fg_isolator_vmm.open is this with FG_FILTER_MARK_DIR. */
int fg_vmm_open(const struct fg_agent_config *config, const char *marks, struct fg_isolator **out,
		struct fg_error *err) FG_MUST_CHECK;
void fg_vmm_set_hooks(struct fg_isolator *iso, const struct fg_vmm_hooks *hooks);

/* The filter of the guest's other NICs, or that of its mark, for one more netdev.
 * mac NULL: the one it was filtered with before.  *was: it had it already, exactly; *had: there were chains of the guest for this netdev. */
int fg_vmm_arm(struct fg_isolator *iso, const char *uuid, const char *dev, const uint8_t mac[6], bool *was, bool *had,
	       struct fg_error *err) FG_MUST_CHECK;
/* When the guest was isolated by this process, monotonic ms; 0: before it began. */
int64_t fg_vmm_since(const struct fg_isolator *iso, const char *uuid);
/* 0: the kernel holds what was installed, on every netdev of the guest that still exists.  DIFFERS says what is not so. */
int fg_vmm_check(struct fg_isolator *iso, const char *uuid, struct fg_error *err) FG_MUST_CHECK;
/* True if some netdev of the guest has no chain at all (or that could not be asked). */
bool fg_vmm_bare(struct fg_isolator *iso, const char *uuid);
/* Install it again. */
int fg_vmm_rearm(struct fg_isolator *iso, const char *uuid, struct fg_error *err) FG_MUST_CHECK;
/* Every guest of the list that has netdevs, in one transaction: all or nothing. */
int fg_vmm_rearm_all(struct fg_isolator *iso, char (*uuids)[37], size_t n, struct fg_error *err) FG_MUST_CHECK;
/* True if the guest has a netdev that exists. */
bool fg_vmm_has_devs(struct fg_isolator *iso, const char *uuid);
/* Count what the filter has counted so far: a netdev of the guest is about to go. */
void fg_vmm_sample(struct fg_isolator *iso, const char *uuid);
/* The mark of a guest; free with fg_filter_guest_free. */
int fg_vmm_mark(struct fg_isolator *iso, const char *uuid, struct fg_filter_guest **out,
		struct fg_error *err) FG_MUST_CHECK;
/* A change of nf_tables that this isolator asked for. */
bool fg_vmm_is_own(const struct fg_isolator *iso, uint32_t portid);

#endif
