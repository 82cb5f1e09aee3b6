/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Filling struct fg_guest: what both toolstacks share. */
#ifndef FG_GUEST_H
#define FG_GUEST_H

#include "dom0-agent/toolstack/toolstack.h"

#define FG_FIXVM_PREFIX "fixgate-" /* names of fix VMs: never guests */

/* The first reason stays. */
void fg_guest_refuse(struct fg_guest *g, const char *fmt, ...) FG_PRINTF(2, 3);
/* An argument of the device model that may make a NIC beside those of the definition (-netdev user goes through dom0's own
 * network) is a refusal. */
void fg_guest_refuse_argument(struct fg_guest *g, const char *arg);

/* Is a passed-through PCI device of this class (the text of sysfs' `class`, "0x020000") certainly no way to a network? */
bool fg_pci_class_harmless(const char *class);
/* The same of a device of dom0; false if its class cannot be read. */
bool fg_pci_harmless(unsigned domain, unsigned bus, unsigned slot, unsigned function);

bool fg_netdev_exists(const char *name);
/* Adds the netdev if it exists in dom0 and is not there yet. */
void fg_nic_add_netdev(struct fg_nic *nic, const char *name);
/* vifD.N, vifD.N-emu, and the same for a renamed one (vifname may be NULL), those that exist. */
void fg_nic_add_xen_netdevs(struct fg_nic *nic, uint32_t domid, const char *vifname);
/* "10.0.0.1 fd00::1/64": FORMAT for what is no address, LIMIT for too many. */
int fg_nic_add_addresses(struct fg_nic *nic, const char *text) FG_MUST_CHECK;
bool fg_is_block_device(const char *path);

#endif
