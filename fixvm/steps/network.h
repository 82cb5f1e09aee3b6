/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The one NIC of the fix VM: found by MAC, brought up with the job's address or one from DHCP, permanent neighbour
 * entries, and a route to the server only.
 */
#ifndef FG_FIXVM_NETWORK_H
#define FG_FIXVM_NETWORK_H

#include "fixvm/init/job.h"

/* udhcpc calls fixvm-init by this name with the event as its argument. */
#define FG_DHCP_SCRIPT "/bin/dhcp-event"
int fg_network_dhcp_event(const char *event);

/* own: the address the NIC has now. TIMEOUT when the NIC does not come or has no link. */
int fg_network_up(const struct fg_job *job, struct fg_job_address *own, struct fg_error *err) FG_MUST_CHECK;

/* Is the address inside the network of `own`? Pure. */
bool fg_network_on_link(const struct fg_job_address *own, const struct fg_job_address *address);

#endif
