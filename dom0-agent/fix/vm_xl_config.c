/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "dom0-agent/fix/vm_xl_config.h"

#include "dom0-agent/toolstack/event_libxl.h"
#include "lib/util.h"

#include <string.h>

struct fg_vm_xl_config {
	libxl_domain_config d;
};

static int domain_type(libxl_ctx *ctx, libxl_domain_type *out, struct fg_error *err)
{
	libxl_physinfo info;

	libxl_physinfo_init(&info);
	int rc = libxl_get_physinfo(ctx, &info);
	bool pvh = info.cap_hvm && info.cap_hap, pv = info.cap_pv;
	libxl_physinfo_dispose(&info);
	if (rc)
		return fg_xl_error_set(err, rc, "what this host can do");
	if (!pvh && !pv)
		return fg_error_set(err, FG_EREFUSED, "this host can make neither PVH nor PV domains");
	*out = pvh ? LIBXL_DOMAIN_TYPE_PVH : LIBXL_DOMAIN_TYPE_PV;
	return 0;
}

static int build_info(libxl_ctx *ctx, const struct fg_fixvm_spec *spec, libxl_domain_build_info *b,
		      struct fg_error *err)
{
	b->max_vcpus = spec->vcpus ? (int)spec->vcpus : 1;
	if (libxl_cpu_bitmap_alloc(ctx, &b->avail_vcpus, b->max_vcpus))
		return fg_error_set(err, FG_ENOMEM, "fix VM: vcpus");
	libxl_bitmap_set_none(&b->avail_vcpus);
	for (int i = 0; i < b->max_vcpus; i++)
		libxl_bitmap_set(&b->avail_vcpus, i);
	b->max_memkb = (uint64_t)spec->memory_mb * 1024;
	b->target_memkb = b->max_memkb;
	b->shadow_memkb = libxl_get_required_shadow_memory(b->max_memkb, (unsigned)b->max_vcpus);
	libxl_defbool_set(&b->claim_mode, true); /* fail at once if the memory is not there */
	b->kernel = fg_strdup(spec->kernel);
	b->ramdisk = fg_strdup(spec->initrd);
	b->cmdline = fg_strdup(FG_FIXVM_CMDLINE);
	return 0;
}

static void devices(const struct fg_fixvm_spec *spec, libxl_domain_config *d)
{
	d->num_disks = (int)spec->n_disks;
	d->disks = fg_calloc(spec->n_disks ? spec->n_disks : 1, sizeof(*d->disks));
	for (size_t i = 0; i < spec->n_disks; i++) {
		libxl_device_disk *disk = &d->disks[i];
		libxl_device_disk_init(disk);
		disk->pdev_path = fg_strdup(spec->disks[i].path);
		disk->vdev = fg_strdup(spec->disks[i].vdev);
		disk->backend = LIBXL_DISK_BACKEND_PHY;
		disk->format = LIBXL_DISK_FORMAT_RAW;
		disk->readwrite = !spec->disks[i].readonly;
	}
	d->num_nics = spec->has_nic ? 1 : 0;
	d->nics = fg_calloc(1, sizeof(*d->nics));
	libxl_device_nic_init(&d->nics[0]);
	if (!spec->has_nic)
		return;
	d->nics[0].devid = 0;
	d->nics[0].bridge = fg_strdup(spec->bridge);
	memcpy(d->nics[0].mac, spec->mac, sizeof(d->nics[0].mac));
	d->nics[0].nictype = LIBXL_NIC_TYPE_VIF;
}

int fg_vm_xl_config_new(libxl_ctx *ctx, const struct fg_fixvm_spec *spec, struct fg_vm_xl_config **out,
			struct fg_error *err)
{
	libxl_domain_type type = LIBXL_DOMAIN_TYPE_PV;

	int rc = spec->pv ? 0 : domain_type(ctx, &type, err);
	if (rc < 0)
		return rc;
	struct fg_vm_xl_config *config = fg_calloc(1, sizeof(*config));
	libxl_domain_config *d = &config->d;
	libxl_domain_config_init(d);
	d->c_info.type = type;
	d->c_info.name = fg_strdup(spec->name);
	libxl_domain_build_info_init_type(&d->b_info, type);
	/* It never migrates, so it may read the processor's time stamp itself: on a host without an invariant one Xen would
	 * trap and emulate each reading. */
	d->b_info.tsc_mode = LIBXL_TSC_MODE_NATIVE;
	if (libxl_uuid_from_string(&d->c_info.uuid, spec->uuid))
		rc = fg_error_set(err, FG_EFORMAT, "fix VM: UUID '%s'", spec->uuid);
	else if (strncmp(spec->name, FG_FIXVM_NAME_PREFIX, strlen(FG_FIXVM_NAME_PREFIX)) != 0)
		rc = fg_error_set(err, FG_EBUG, "fix VM: name '%s'", spec->name);
	else
		rc = build_info(ctx, spec, &d->b_info, err);
	devices(spec, d);
	/* Whatever ends it, it is the agent that looks and destroys it: nothing acts on these but a toolstack that adopts it. */
	d->on_poweroff = d->on_reboot = d->on_watchdog = d->on_crash = d->on_soft_reset =
		LIBXL_ACTION_ON_SHUTDOWN_DESTROY;
	if (rc < 0) {
		fg_vm_xl_config_free(config);
		return rc;
	}
	*out = config;
	return 0;
}

libxl_domain_config *fg_vm_xl_config_of(struct fg_vm_xl_config *config)
{
	return &config->d;
}

void fg_vm_xl_config_free(struct fg_vm_xl_config *config)
{
	if (!config)
		return;
	libxl_domain_config_dispose(&config->d);
	free(config);
}
