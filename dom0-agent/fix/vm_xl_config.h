/* SPDX-License-Identifier: GPL-3.0-or-later */
/* libxl's definition of a fix VM: PVH where the host can (hardware assisted paging), PV else. */
#ifndef FG_FIX_VM_XL_CONFIG_H
#define FG_FIX_VM_XL_CONFIG_H

#include "dom0-agent/fix/fixvm.h"

#include <libxl.h>

#define FG_FIXVM_CMDLINE "console=hvc0 quiet panic=-1 loglevel=4"

struct fg_vm_xl_config;
int fg_vm_xl_config_new(libxl_ctx *ctx, const struct fg_fixvm_spec *spec, struct fg_vm_xl_config **out,
			struct fg_error *err) FG_MUST_CHECK;
libxl_domain_config *fg_vm_xl_config_of(struct fg_vm_xl_config *config);
void fg_vm_xl_config_free(struct fg_vm_xl_config *config); /* NULL is allowed */

#endif
