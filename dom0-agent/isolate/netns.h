/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Another network namespace of this host, by the id that the kernel gave it here (RTM_GETNSID). */
#ifndef FG_NETNS_H
#define FG_NETNS_H

#include <fixgate/error.h>

#include <libmnl/libmnl.h>
#include <stdint.h>

/*
 * A socket for rtnetlink in that namespace, to be closed with mnl_socket_close.  The namespace is looked for in /run/netns and
 * among those of all processes; NOTFOUND if it is in neither.  The calling thread is in its own namespace again afterwards.
 */
int fg_netns_route_socket(int32_t nsid, struct mnl_socket **out, struct fg_error *err) FG_MUST_CHECK;

#endif
