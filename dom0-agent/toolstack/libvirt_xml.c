/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "dom0-agent/toolstack/libvirt_xml.h"

#include "dom0-agent/toolstack/guest.h"
#include "lib/util.h"

#include <libxml/parser.h>
#include <string.h>

static void free_doc(xmlDocPtr *doc)
{
	if (*doc)
		xmlFreeDoc(*doc);
}

static bool is(const xmlNode *node, const char *name)
{
	return node->type == XML_ELEMENT_NODE && !strcmp((const char *)node->name, name);
}

static xmlNode *child(const xmlNode *node, const char *name)
{
	for (xmlNode *c = node ? node->children : NULL; c; c = c->next)
		if (is(c, name))
			return c;
	return NULL;
}

/* malloc'd (libxml2 uses malloc unless told otherwise), NULL if absent */
static char *attribute(const xmlNode *node, const char *name)
{
	return node ? (char *)xmlGetProp((xmlNode *)node, (const xmlChar *)name) : NULL;
}

static char *text_of(const xmlNode *node)
{
	return node ? (char *)xmlNodeGetContent((xmlNode *)node) : NULL;
}

static bool equals(const char *a, const char *b)
{
	return a && !strcmp(a, b);
}

static unsigned count(const xmlNode *devices, const char *name)
{
	unsigned n = 0;

	for (xmlNode *c = devices ? devices->children : NULL; c; c = c->next)
		n += is(c, name);
	return n;
}

/*----- NICs -----*/

/* Kinds that end in a netdev of dom0 on a bridge; all others are ways around the filter, or none at all. */
static void nic_kind(const char *type, unsigned index, struct fg_guest *g)
{
	if (equals(type, "bridge") || equals(type, "network") || equals(type, "ethernet"))
		return;
	if (equals(type, "hostdev"))
		fg_guest_refuse(g, "a network card is passed through to it (interface %u)", index);
	else if (equals(type, "direct"))
		fg_guest_refuse(g, "NIC %u is a macvtap device", index);
	else
		fg_guest_refuse(g, "NIC %u is of type %s, which the filter cannot reach", index, type ? type : "?");
}

/* N of "vifD.N" or "vifD.N-emu" */
static bool vif_devid(const char *name, unsigned *out)
{
	char *end;

	if (strncmp(name, "vif", 3) != 0)
		return false;
	(void)strtoul(name + 3, &end, 10);
	if (end == name + 3 || *end != '.')
		return false;
	const char *devid = end + 1;
	unsigned long n = strtoul(devid, &end, 10);
	*out = (unsigned)n;
	return end != devid && n < 65536;
}

static int nic_from_xml(const xmlNode *node, unsigned index, bool xen, struct fg_guest *g, struct fg_error *err)
{
	struct fg_nic *nic = &g->nics[index];
	fg_autofree char *type = attribute(node, "type"), *mac = attribute(child(node, "mac"), "address");
	fg_autofree char *bridge = attribute(child(node, "source"), "bridge");
	fg_autofree char *target = attribute(child(node, "target"), "dev");
	unsigned devid;

	nic->devid = index;
	/* libxl numbers NICs; the name tells the number after a hot-unplug */
	if (xen && target && vif_devid(target, &devid))
		nic->devid = devid;
	if (!mac || fg_mac_parse(mac, nic->mac, err) < 0)
		return fg_error_set(err, FG_EFORMAT, "interface %u has no MAC address", index);
	if (bridge && strlen(bridge) < IFNAMSIZ)
		snprintf(nic->bridge, sizeof(nic->bridge), "%s", bridge);
	nic_kind(type, index, g);
	if (child(node, "backenddomain"))
		fg_guest_refuse(g, "NIC %u has its backend in a driver domain", index);
	for (xmlNode *c = node->children; c; c = c->next) {
		fg_autofree char *ip = is(c, "ip") ? attribute(c, "address") : NULL;
		if (ip && fg_nic_add_addresses(nic, ip) < 0)
			fg_guest_refuse(g, "NIC %u: address '%s' is not understood", index, ip);
	}
	if (target)
		fg_nic_add_netdev(nic, target);
	if (xen && g->domid)
		fg_nic_add_xen_netdevs(nic, g->domid, target);
	return 0;
}

/*----- disks -----*/

static void disk_from_xml(const xmlNode *node, struct fg_guest *g)
{
	fg_autofree char *type = attribute(node, "type"), *device = attribute(node, "device");
	const xmlNode *source = child(node, "source"), *driver = child(node, "driver");
	fg_autofree char *file = attribute(source, "file"), *dev = attribute(source, "dev");
	fg_autofree char *format = attribute(driver, "type"), *vdev = attribute(child(node, "target"), "dev");
	struct fg_disk *disk = &g->disks[g->n_disks];
	const char *path = file ? file : dev, *name = vdev ? vdev : "?";

	disk->cdrom = equals(device, "cdrom") || equals(device, "floppy");
	disk->readonly = disk->cdrom || child(node, "readonly") != NULL;
	snprintf(disk->vdev, sizeof(disk->vdev), "%s", name);
	if (disk->cdrom && !path)
		return; /* an empty drive */
	g->n_disks++;
	disk->target = fg_strdup(path ? path : "");
	if (disk->cdrom)
		return;
	if (child(node, "backenddomain"))
		fg_guest_refuse(g, "disk %s has its backend in a driver domain", name);
	else if (!equals(type, "file") && !equals(type, "block"))
		fg_guest_refuse(g, "disk %s is of type %s", name, type ? type : "?");
	else if (format && strcmp(format, "raw") != 0)
		fg_guest_refuse(g, "disk %s has format %s; only raw disks can be worked on", name, format);
	else if (!path || path[0] != '/')
		fg_guest_refuse(g, "disk %s has no path in dom0", name);
	else if (child(node, "encryption"))
		fg_guest_refuse(g, "disk %s is encrypted by libvirt", name);
	else
		disk->block = fg_is_block_device(path);
}

/*----- domain -----*/

static uint32_t memory_mb(const xmlNode *root)
{
	const xmlNode *node = child(root, "memory");
	fg_autofree char *text = text_of(node), *unit = attribute(node, "unit");
	unsigned long long n = text ? strtoull(text, NULL, 10) : 0;

	if (unit && (!strcmp(unit, "b") || !strcmp(unit, "bytes")))
		return (uint32_t)(n >> 20);
	return (uint32_t)(n >> 10); /* libvirt always writes KiB */
}

static bool hostdev_may_be_nic(const xmlNode *node)
{
	fg_autofree char *type = attribute(node, "type");
	const xmlNode *address = child(child(node, "source"), "address");
	fg_autofree char *domain = attribute(address, "domain"), *bus = attribute(address, "bus");
	fg_autofree char *slot = attribute(address, "slot"), *function = attribute(address, "function");

	if (!equals(type, "pci") || !bus || !slot || !function)
		return true; /* USB and others: may be an adapter */
	return !fg_pci_harmless(domain ? (unsigned)strtoul(domain, NULL, 0) : 0, (unsigned)strtoul(bus, NULL, 0),
				(unsigned)strtoul(slot, NULL, 0), (unsigned)strtoul(function, NULL, 0));
}

/* libvirt's libxl driver sets no stub domain; one of a patched libvirt, or of a wrapper, is named here. */
static bool in_stub_domain(const xmlNode *emulator)
{
	fg_autofree char *type = attribute(emulator, "type");
	fg_autofree char *path = emulator ? (char *)xmlNodeGetContent(emulator) : NULL;

	return (type && strstr(type, "stubdom")) || (path && strstr(path, "stubdom"));
}

static int devices_from_xml(const xmlNode *devices, bool xen, struct fg_guest *g, struct fg_error *err)
{
	unsigned n_nics = count(devices, "interface"), n_disks = count(devices, "disk");
	size_t writable = 0;

	if (n_nics > FG_GUEST_NICS_MAX || n_disks > FG_GUEST_DISKS_MAX)
		return fg_error_set(err, FG_ELIMIT, "guest %s has too many NICs or disks", g->name);
	g->nics = fg_calloc(n_nics + 1, sizeof(*g->nics));
	g->disks = fg_calloc(n_disks + 1, sizeof(*g->disks));
	for (xmlNode *c = devices ? devices->children : NULL; c; c = c->next) {
		if (is(c, "interface")) {
			int rc = nic_from_xml(c, (unsigned)g->n_nics, xen, g, err);
			if (rc < 0)
				return rc;
			g->n_nics++;
		} else if (is(c, "disk")) {
			disk_from_xml(c, g);
		} else if (is(c, "hostdev") && hostdev_may_be_nic(c)) {
			fg_guest_refuse(g, "a host device that may be a way to the network is passed through to it");
		} else if (is(c, "emulator") && in_stub_domain(c)) {
			fg_guest_refuse(g, "its device model runs in a stub domain, which has NICs of its own");
		} else if (is(c, "redirdev")) {
			fg_guest_refuse(g, "it has redirected USB devices, which may be network adapters");
		}
	}
	for (size_t i = 0; i < g->n_disks; i++)
		writable += !g->disks[i].cdrom;
	if (!writable)
		fg_guest_refuse(g, "it has no disk");
	return 0;
}

/* <qemu:commandline> and <xen:commandline>: <arg value="…"/>. */
static void refuse_arguments(const xmlNode *root, struct fg_guest *g)
{
	for (xmlNode *line = root->children; line; line = line->next) {
		for (xmlNode *c = is(line, "commandline") ? line->children : NULL; c; c = c->next) {
			fg_autofree char *value = is(c, "arg") ? attribute(c, "value") : NULL;
			if (value)
				fg_guest_refuse_argument(g, value);
		}
	}
}

int fg_libvirt_guest_from_xml(const char *xml, bool xen, struct fg_guest *out, struct fg_error *err)
{
	size_t len = strlen(xml);
	struct fg_guest g = { 0 };

	if (len > FG_LIBVIRT_XML_MAX)
		return fg_error_set(err, FG_ELIMIT, "domain XML is longer than %u bytes", FG_LIBVIRT_XML_MAX);
	fg_cleanup(free_doc) xmlDocPtr doc = xmlReadMemory(xml, (int)len, "domain.xml", NULL,
							   XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
	const xmlNode *root = doc ? xmlDocGetRootElement(doc) : NULL;
	if (!root || !is(root, "domain") || doc->intSubset)
		return fg_error_set(err, FG_EFORMAT, "this is no domain XML");
	fg_autofree char *uuid = text_of(child(root, "uuid")), *name = text_of(child(root, "name"));
	fg_autofree char *id = attribute(root, "id");
	if (!uuid || !name || fg_uuid_parse(uuid, g.uuid, err) < 0)
		return fg_error_set(err, FG_EFORMAT, "domain XML without name or UUID");
	g.name = fg_strdup(name);
	g.domid = id ? (uint32_t)strtoul(id, NULL, 10) : 0;
	g.memory_mb = memory_mb(root);
	int rc = devices_from_xml(child(root, "devices"), xen, &g, err);
	refuse_arguments(root, &g);
	if (rc < 0) {
		fg_guest_release(&g);
		return rc;
	}
	*out = g;
	return 0;
}

bool fg_libvirt_same_devices(const struct fg_guest *a, const struct fg_guest *b)
{
	bool same = a->n_nics == b->n_nics && a->n_disks == b->n_disks;

	for (size_t i = 0; same && i < a->n_nics; i++)
		same = !memcmp(a->nics[i].mac, b->nics[i].mac, 6) && (!a->nics[i].bridge[0] || !b->nics[i].bridge[0] ||
								      !strcmp(a->nics[i].bridge, b->nics[i].bridge));
	for (size_t i = 0; same && i < a->n_disks; i++)
		same = !strcmp(a->disks[i].vdev, b->disks[i].vdev) && !strcmp(a->disks[i].target, b->disks[i].target) &&
		       a->disks[i].readonly == b->disks[i].readonly;
	return same;
}
