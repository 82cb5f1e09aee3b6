/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * libxl's JSON of a domain (`libxl-json`, libxl_domain_config_to_json, `xl create -n`): to a guest, and compared.
 * Pure: jansson in, struct out; only netdevs and block devices are looked up in dom0.
 */
#ifndef FG_XL_CONFIG_H
#define FG_XL_CONFIG_H

#include "dom0-agent/toolstack/toolstack.h"

#include <jansson.h>

#define FG_XL_JSON_MAX (1u << 20) /* bytes of a definition */

/* Name, UUID, memory, NICs (no netdevs), disks, refusal.  out is zeroed first; on failure nothing is to be released. */
int fg_xl_guest_from_json(const json_t *config, struct fg_guest *out, struct fg_error *err) FG_MUST_CHECK;
/* "vifname" of NIC i, or NULL; borrowed. */
const char *fg_xl_vifname(const json_t *config, size_t nic);

/*
 * Would a domain made of `file` (dry run of a config file) be the one of `live`?  0, or DIFFERS naming the first
 * difference.  What the file leaves to libxl's defaults (the live definition then has them filled in) is no difference;
 * a MAC that the file leaves open is one, for it would be a new one.
 */
int fg_xl_config_same(const json_t *live, const json_t *file, struct fg_error *err) FG_MUST_CHECK;

#endif
