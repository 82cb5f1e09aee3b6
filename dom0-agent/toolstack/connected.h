/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Waiting until every vif of a domain is connected: the state of its backend is XenbusStateConnected, which netback
 * enters only after the frontend did (xen/io/xenbus.h, xen/io/netif.h). */
#ifndef FG_CONNECTED_H
#define FG_CONNECTED_H

#include <fixgate/error.h>

#include <stddef.h>
#include <stdint.h>

struct fg_connected;
struct fg_xs;

/* rc 0, TIMEOUT (err names the vif), FAILED (the domain ended) or UNREACHABLE.  Frees the handle.
 * At the deadline the vifs are looked at once more, and that look decides. */
typedef void fg_connected_cb(void *arg, int rc, const struct fg_error *err);
/* n_vifs: as many as the guest has to have; fewer are not all. */
int fg_connected_wait(struct fg_xs *xs, uint32_t domid, size_t n_vifs, uint32_t deadline_ms, fg_connected_cb *cb,
		      void *arg, struct fg_connected **out, struct fg_error *err) FG_MUST_CHECK;
void fg_connected_cancel(struct fg_connected *wait); /* NULL is allowed */

#endif
