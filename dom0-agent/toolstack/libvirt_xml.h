/* SPDX-License-Identifier: GPL-3.0-or-later */
/* libvirt's domain XML to a guest.  Read with libxml2: no network, no DTD, no entities. */
#ifndef FG_LIBVIRT_XML_H
#define FG_LIBVIRT_XML_H

#include "dom0-agent/toolstack/toolstack.h"

#define FG_LIBVIRT_XML_MAX (1u << 20) /* bytes */

/* xen: netdevs are vifDOMID.N besides what <target> says. State is not set. out needs fg_guest_release on success. */
int fg_libvirt_guest_from_xml(const char *xml, bool xen, struct fg_guest *out, struct fg_error *err) FG_MUST_CHECK;
/* Same NICs (MAC, bridge) and disks (vdev, target) in the same order: nothing was hot-plugged. */
bool fg_libvirt_same_devices(const struct fg_guest *a, const struct fg_guest *b);

#endif
