/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "dom0-agent/toolstack/xl_config.h"

#include "dom0-agent/toolstack/guest.h"
#include "lib/util.h"

#include <string.h>

static const char *string_or(const json_t *obj, const char *key, const char *fallback)
{
	const char *s = json_string_value(json_object_get(obj, key));
	return s ? s : fallback;
}

static int64_t int_or(const json_t *obj, const char *key, int64_t fallback)
{
	const json_t *v = json_object_get(obj, key);
	return json_is_integer(v) ? json_integer_value(v) : json_is_boolean(v) ? json_is_true(v) : fallback;
}

/*----- to a guest -----*/

static int nic_from_json(const json_t *json, size_t index, struct fg_guest *g, struct fg_error *err)
{
	struct fg_nic *nic = &g->nics[index];
	const char *mac = string_or(json, "mac", NULL), *ip = string_or(json, "ip", NULL);
	const char *bridge = string_or(json, "bridge", "");

	int64_t devid = int_or(json, "devid", -1);
	nic->devid = devid >= 0 ? (unsigned)devid : (unsigned)index;
	if (mac && fg_mac_parse(mac, nic->mac, err) < 0)
		return fg_error_wrap(err, "NIC %u", nic->devid);
	if (!mac)
		fg_guest_refuse(g, "NIC %u has no fixed MAC address", nic->devid);
	if (strlen(bridge) >= IFNAMSIZ)
		return fg_error_set(err, FG_EFORMAT, "NIC %u: bridge name too long", nic->devid);
	snprintf(nic->bridge, sizeof(nic->bridge), "%s", bridge);
	if (ip && fg_nic_add_addresses(nic, ip) < 0)
		fg_guest_refuse(g, "NIC %u: address '%s' is not understood", nic->devid, ip);
	if (int_or(json, "backend_domid", 0) != 0 || json_object_get(json, "backend_domname"))
		fg_guest_refuse(g, "NIC %u has its backend in a driver domain", nic->devid);
	return 0;
}

static void disk_from_json(const json_t *json, struct fg_guest *g)
{
	struct fg_disk *disk = &g->disks[g->n_disks];
	const char *vdev = string_or(json, "vdev", "?"), *format = string_or(json, "format", "unknown");
	const char *path = string_or(json, "pdev_path", NULL), *script = string_or(json, "script", NULL);
	const char *backend = string_or(json, "backend", "unknown");

	disk->cdrom = int_or(json, "is_cdrom", 0) != 0;
	disk->readonly = disk->cdrom || int_or(json, "readwrite", 0) == 0;
	snprintf(disk->vdev, sizeof(disk->vdev), "%s", vdev);
	if (disk->cdrom && (!path || !strcmp(format, "empty")))
		return; /* an empty drive */
	g->n_disks++;
	disk->target = fg_strdup(path ? path : "");
	if (int_or(json, "backend_domid", 0) != 0 || json_object_get(json, "backend_domname"))
		fg_guest_refuse(g, "disk %s has its backend in a driver domain", vdev);
	else if (strcmp(format, "raw") != 0)
		fg_guest_refuse(g, "disk %s has format %s; only raw disks can be worked on", vdev, format);
	else if (script && strcmp(script, "block") != 0 && strcmp(script, "/etc/xen/scripts/block") != 0)
		fg_guest_refuse(g, "disk %s is attached by the script %s", vdev, script);
	else if (!strcmp(backend, "standalone") || !strcmp(backend, "tap"))
		fg_guest_refuse(g, "disk %s has backend type %s", vdev, backend);
	else if (!path || path[0] != '/')
		fg_guest_refuse(g, "disk %s has no path in dom0", vdev);
	else
		disk->block = fg_is_block_device(path);
}

static bool pci_may_be_nic(const json_t *pci)
{
	/* "00:1f.*" passes several functions of a device, which are not listed one by one. */
	int64_t functions = int_or(pci, "vfunc_mask", 0);

	return (functions & (functions - 1)) != 0 ||
	       !fg_pci_harmless((unsigned)int_or(pci, "domain", 0), (unsigned)int_or(pci, "bus", 0),
				(unsigned)int_or(pci, "dev", 0), (unsigned)int_or(pci, "func", 0));
}

/*
 * The device model in a domain of its own: an emulated NIC is then vif<its domid>.N, of a domain with another UUID, which
 * no filter on the guest's own vifs reaches.  A defbool: "True", "False" or "<default>", which is false.
 */
static bool in_stub_domain(const json_t *b_info)
{
	const json_t *stub = json_object_get(b_info, "device_model_stubdomain");
	const char *text = json_string_value(stub);

	if (!stub || json_is_null(stub) || json_is_false(stub))
		return false;
	return !text || (strcmp(text, "False") != 0 && strcmp(text, "<default>") != 0);
}

/* device_model_args=, device_model_args_pv=, device_model_args_hvm= */
static void refuse_arguments(const json_t *b_info, struct fg_guest *g)
{
	static const char *const lists[] = { "extra", "extra_pv", "extra_hvm" };
	size_t k;
	json_t *arg;

	for (size_t i = 0; i < FG_COUNT(lists); i++)
		json_array_foreach (json_object_get(b_info, lists[i]), k, arg)
			if (json_is_string(arg))
				fg_guest_refuse_argument(g, json_string_value(arg));
}

/* usbdevice="host:…": a USB device of dom0, given to QEMU; the others are emulated (tablet, mouse, keyboard). */
static void refuse_usbdevice(const json_t *usbdevice, struct fg_guest *g)
{
	const char *text = json_string_value(usbdevice);

	if (text && strncmp(text, "host", 4) == 0)
		fg_guest_refuse(g, "it has USB devices, which may be network adapters");
}

static void refuse_devices(const json_t *config, struct fg_guest *g)
{
	size_t i;
	json_t *pci;

	refuse_arguments(json_object_get(config, "b_info"), g);
	if (in_stub_domain(json_object_get(config, "b_info")))
		fg_guest_refuse(g, "its device model runs in a stub domain, which has NICs of its own");
	const json_t *hvm = json_object_get(json_object_get(config, "b_info"), "type.hvm");
	refuse_usbdevice(json_object_get(hvm, "usbdevice"), g);
	const json_t *usbdevices = json_object_get(hvm, "usbdevice_list");
	for (i = 0; i < json_array_size(usbdevices); i++)
		refuse_usbdevice(json_array_get(usbdevices, i), g);
	json_array_foreach (json_object_get(config, "pcidevs"), i, pci)
		if (pci_may_be_nic(pci))
			fg_guest_refuse(g, "a PCI device that may be a way to the network is passed through to it");
	if (json_array_size(json_object_get(config, "pvcallsifs")))
		fg_guest_refuse(g, "it has a PV calls device, which is a way to the network without a NIC");
	if (json_array_size(json_object_get(config, "usbdevs")))
		fg_guest_refuse(g, "it has USB devices, which may be network adapters");
	size_t disks = 0;
	for (i = 0; i < g->n_disks; i++)
		disks += !g->disks[i].cdrom;
	if (!disks)
		fg_guest_refuse(g, "it has no disk");
}

int fg_xl_guest_from_json(const json_t *config, struct fg_guest *out, struct fg_error *err)
{
	struct fg_guest g = { .state = FG_GUEST_OFF };
	const json_t *c_info = json_object_get(config, "c_info"), *b_info = json_object_get(config, "b_info");
	const json_t *nics = json_object_get(config, "nics"), *disks = json_object_get(config, "disks");
	const char *name = string_or(c_info, "name", NULL), *uuid = string_or(c_info, "uuid", NULL);
	int rc = 0;

	if (!name || !uuid)
		return fg_error_set(err, FG_EFORMAT, "definition without name or UUID");
	if (fg_uuid_parse(uuid, g.uuid, err) < 0)
		return fg_error_wrap(err, "definition of %s", name);
	if (json_array_size(nics) > FG_GUEST_NICS_MAX || json_array_size(disks) > FG_GUEST_DISKS_MAX)
		return fg_error_set(err, FG_ELIMIT, "guest %s has too many NICs or disks", name);
	g.name = fg_strdup(name);
	int64_t kib = int_or(b_info, "target_memkb", 0);
	if (kib <= 0)
		kib = int_or(b_info, "max_memkb", 0);
	g.memory_mb = kib > 0 ? (uint32_t)(kib / 1024) : 0;
	g.n_nics = json_array_size(nics);
	g.nics = fg_calloc(g.n_nics ? g.n_nics : 1, sizeof(*g.nics));
	g.disks = fg_calloc(json_array_size(disks) + 1, sizeof(*g.disks));
	for (size_t i = 0; i < g.n_nics && rc == 0; i++)
		rc = nic_from_json(json_array_get(nics, i), i, &g, err);
	for (size_t i = 0; i < json_array_size(disks); i++)
		disk_from_json(json_array_get(disks, i), &g);
	refuse_devices(config, &g);
	if (rc < 0) {
		fg_guest_release(&g);
		return rc;
	}
	*out = g;
	return 0;
}

const char *fg_xl_vifname(const json_t *config, size_t nic)
{
	return string_or(json_array_get(json_object_get(config, "nics"), nic), "ifname", NULL);
}

/*----- comparison -----*/

/* Absent in the file, at any depth: libxl's default, which the live one then shows. */
static bool value_same(const json_t *live, const json_t *file, const char *key)
{
	const json_t *l = json_object_get(live, key), *f = json_object_get(file, key);
	const char *inner;
	json_t *unused;

	if (!f || json_is_null(f))
		return true;
	if (json_is_object(f)) {
		json_object_foreach ((json_t *)f, inner, unused)
			if (!value_same(l, f, inner))
				return false;
		return true;
	}
	if (!l || json_is_null(l)) /* libxl leaves out what is zero */
		return json_is_integer(f) ? json_integer_value(f) == 0 : json_is_false(f);
	return json_equal(l, f);
}

static int keys_same(const json_t *live, const json_t *file, const char *const *keys, const char *what,
		     struct fg_error *err)
{
	for (; *keys; keys++)
		if (!value_same(live, file, *keys))
			return fg_error_set(err, FG_EDIFFERS, "%s: %s differs", what, *keys);
	return 0;
}

static const json_t *by_key(const json_t *list, const char *key, const char *value)
{
	size_t i;
	json_t *item;

	json_array_foreach (list, i, item)
		if (!strcmp(string_or(item, key, ""), value))
			return item;
	return NULL;
}

static int disks_same(const json_t *live, const json_t *file, struct fg_error *err)
{
	static const char *const keys[] = { "pdev_path", "format",    "script",		 "readwrite",
					    "is_cdrom",	 "removable", "backend_domname", NULL };
	size_t i;
	json_t *disk;

	if (json_array_size(live) != json_array_size(file))
		return fg_error_set(err, FG_EDIFFERS, "number of disks differs");
	json_array_foreach (file, i, disk) {
		char what[48];
		const json_t *other = by_key(live, "vdev", string_or(disk, "vdev", "?"));
		snprintf(what, sizeof(what), "disk %s", string_or(disk, "vdev", "?"));
		if (!other)
			return fg_error_set(err, FG_EDIFFERS, "%s is only in the file", what);
		/* Absent is "read-only" here, not "default". */
		if (int_or(disk, "readwrite", 0) != int_or(other, "readwrite", 0))
			return fg_error_set(err, FG_EDIFFERS, "%s: mode differs", what);
		int rc = keys_same(other, disk, keys, what, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int nics_same(const json_t *live, const json_t *file, struct fg_error *err)
{
	static const char *const keys[] = { "bridge",
					    "ip",
					    "model",
					    "ifname",
					    "script",
					    "mtu",
					    "rate_bytes_per_interval",
					    "rate_interval_usecs",
					    "backend_domname",
					    NULL };
	size_t i;
	json_t *nic;

	if (json_array_size(live) != json_array_size(file))
		return fg_error_set(err, FG_EDIFFERS, "number of NICs differs");
	json_array_foreach (file, i, nic) {
		char what[32];
		const json_t *other = json_array_get(live, i);
		const char *mac = string_or(nic, "mac", NULL);
		snprintf(what, sizeof(what), "NIC %zu", i);
		if (!mac)
			return fg_error_set(err, FG_EDIFFERS, "%s: the file pins no MAC address", what);
		if (strcasecmp(mac, string_or(other, "mac", "")) != 0)
			return fg_error_set(err, FG_EDIFFERS, "%s: MAC address differs", what);
		int rc = keys_same(other, nic, keys, what, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

int fg_xl_config_same(const json_t *live, const json_t *file, struct fg_error *err)
{
	static const char *const c_keys[] = { "type", "name", "uuid", "poolid", "ssid_label", NULL };
	/* target_memkb is not compared: it is the balloon's, and a reboot under xl takes the file's as well. */
	static const char *const b_keys[] = {
		"max_vcpus",	"max_memkb", "kernel",	  "ramdisk", "cmdline", "bootloader", "bootloader_args",
		"cpuid",	"type",	     "localtime", "acpi",    "apic",	"nested_hvm", "vcpu_hard_affinity",
		"sched_params", NULL
	};
	static const char *const top[] = {
		"on_poweroff", "on_reboot", "on_crash", "on_watchdog", "on_soft_reset", NULL
	};
	static const char *const counted[] = { "pcidevs",  "vfbs",     "vtpms",	  "p9s",    "pvcallsifs",
					       "channels", "usbctrls", "usbdevs", "dtdevs", NULL };

	int rc = keys_same(json_object_get(live, "c_info"), json_object_get(file, "c_info"), c_keys, "domain", err);
	if (rc == 0)
		rc = keys_same(json_object_get(live, "b_info"), json_object_get(file, "b_info"), b_keys, "build", err);
	if (rc == 0)
		rc = disks_same(json_object_get(live, "disks"), json_object_get(file, "disks"), err);
	if (rc == 0)
		rc = nics_same(json_object_get(live, "nics"), json_object_get(file, "nics"), err);
	if (rc == 0)
		rc = keys_same(live, file, top, "actions", err);
	for (const char *const *key = counted; rc == 0 && *key; key++)
		if (json_array_size(json_object_get(live, *key)) != json_array_size(json_object_get(file, *key)))
			rc = fg_error_set(err, FG_EDIFFERS, "number of %s differs", *key);
	return rc;
}
