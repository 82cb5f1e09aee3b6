/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "dom0-agent/toolstack/guest.h"

#include "lib/util.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void fg_guest_release(struct fg_guest *g)
{
	for (size_t i = 0; i < g->n_disks; i++)
		free(g->disks[i].target);
	free(g->disks);
	free(g->nics);
	free(g->name);
	free(g->refusal);
	memset(g, 0, sizeof(*g));
}

void fg_guest_copy(const struct fg_guest *g, struct fg_guest *out)
{
	*out = *g;
	out->name = fg_strdup(g->name);
	out->refusal = fg_strdup(g->refusal);
	out->nics = fg_calloc(g->n_nics ? g->n_nics : 1, sizeof(*out->nics));
	if (g->n_nics)
		memcpy(out->nics, g->nics, g->n_nics * sizeof(*out->nics));
	out->disks = fg_calloc(g->n_disks ? g->n_disks : 1, sizeof(*out->disks));
	for (size_t i = 0; i < g->n_disks; i++) {
		out->disks[i] = g->disks[i];
		out->disks[i].target = fg_strdup(g->disks[i].target);
	}
}

static bool has_nic(const struct fg_guest *g, const struct fg_nic *nic)
{
	for (size_t i = 0; i < g->n_nics; i++)
		if (!memcmp(g->nics[i].mac, nic->mac, sizeof(nic->mac)))
			return true;
	return false;
}

static bool has_disk(const struct fg_guest *g, const struct fg_disk *disk)
{
	for (size_t i = 0; i < g->n_disks; i++)
		if (!strcmp(g->disks[i].vdev, disk->vdev) && !strcmp(g->disks[i].target, disk->target))
			return true;
	return disk->cdrom; /* a medium comes and goes */
}

static int has_devices(const struct fg_guest *of, const struct fg_guest *in, const char *what, struct fg_error *err)
{
	char mac[18];

	for (size_t i = 0; i < of->n_nics; i++)
		if (!has_nic(in, &of->nics[i]))
			return fg_error_set(err, FG_EDIFFERS, "%s NIC %s", what,
					    (fg_mac_format(of->nics[i].mac, mac), mac));
	for (size_t i = 0; i < of->n_disks; i++)
		if (!has_disk(in, &of->disks[i]))
			return fg_error_set(err, FG_EDIFFERS, "%s disk %s (%s)", what, of->disks[i].vdev,
					    of->disks[i].target);
	return 0;
}

int fg_guest_same_devices(const struct fg_guest *want, const struct fg_guest *have, struct fg_error *err)
{
	int rc = has_devices(want, have, "it lacks", err);

	return rc < 0 ? rc : has_devices(have, want, "it has besides", err);
}

void fg_guest_refuse(struct fg_guest *g, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	if (g->refusal)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	g->refusal = fg_strdup(text);
}

void fg_guest_refuse_argument(struct fg_guest *g, const char *arg)
{
	static const char *const options[] = { "-net", "-nic" };
	static const char *const parts[] = { "virtio-net", "e1000",   "rtl8139",  "pcnet", "ne2k",
					     "vmxnet",	   "usb-net", "usb-host", "vfio",  "netdev=" };
	bool nic = false;

	if (strncmp(arg, "--", 2) == 0)
		arg++;
	for (size_t i = 0; i < FG_COUNT(options); i++)
		nic |= strncmp(arg, options[i], strlen(options[i])) == 0;
	for (size_t i = 0; i < FG_COUNT(parts); i++)
		nic |= strstr(arg, parts[i]) != NULL;
	if (nic)
		fg_guest_refuse(g, "its device model is given '%.100s', which may be a way to the network", arg);
}

bool fg_pci_class_harmless(const char *class)
{
	/*
	 * Base classes of the PCI Code and ID Assignment Specification: mass storage, display, multimedia, encryption.  Not
	 * among them: network (02), bridges that cards are plugged in behind (06), serial buses (0c: a USB controller, 0c03,
	 * takes any adapter; FireWire, InfiniBand), wireless (0d), those that say nothing (00, 11, 12, ff).
	 */
	static const char *const harmless[] = { "0x01", "0x03", "0x04", "0x10" };

	if (strspn(class + (strncmp(class, "0x", 2) ? 0 : 2), "0123456789abcdef") != 6)
		return false;
	for (size_t i = 0; i < FG_COUNT(harmless); i++)
		if (!strncmp(class, harmless[i], 4))
			return true;
	return false;
}

bool fg_pci_harmless(unsigned domain, unsigned bus, unsigned slot, unsigned function)
{
	char path[128];
	fg_autofree char *class = NULL;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%04x:%02x:%02x.%x/class", domain, bus, slot, function);
	return fg_file_read(path, 64, &class, NULL, NULL) == 0 && fg_pci_class_harmless(class);
}

bool fg_netdev_exists(const char *name)
{
	char path[32 + IFNAMSIZ];

	if (!*name || strlen(name) >= IFNAMSIZ || strchr(name, '/') || !strcmp(name, ".") || !strcmp(name, ".."))
		return false;
	snprintf(path, sizeof(path), "/sys/class/net/%s", name);
	return access(path, F_OK) == 0;
}

void fg_nic_add_netdev(struct fg_nic *nic, const char *name)
{
	if (nic->n_netdevs >= FG_NIC_NETDEVS_MAX || !fg_netdev_exists(name))
		return;
	for (size_t i = 0; i < nic->n_netdevs; i++)
		if (!strcmp(nic->netdevs[i], name))
			return;
	snprintf(nic->netdevs[nic->n_netdevs++], IFNAMSIZ, "%s", name);
}

void fg_nic_add_xen_netdevs(struct fg_nic *nic, uint32_t domid, const char *vifname)
{
	char name[64];

	snprintf(name, sizeof(name), "vif%u.%u", domid, nic->devid);
	fg_nic_add_netdev(nic, name);
	snprintf(name, sizeof(name), "vif%u.%u-emu", domid, nic->devid);
	fg_nic_add_netdev(nic, name);
	if (!vifname || !*vifname || strlen(vifname) >= IFNAMSIZ)
		return;
	fg_nic_add_netdev(nic, vifname);
	snprintf(name, sizeof(name), "%s-emu", vifname);
	fg_nic_add_netdev(nic, name);
}

int fg_nic_add_addresses(struct fg_nic *nic, const char *text)
{
	while (*text) {
		char word[INET6_ADDRSTRLEN + 8];
		size_t n = strcspn(text, " ,\t");
		if (n && n < sizeof(word) && nic->n_addresses < FG_NIC_ADDRESSES_MAX) {
			struct fg_ip *ip = &nic->addresses[nic->n_addresses];
			memcpy(word, text, n);
			word[n] = '\0';
			word[strcspn(word, "/")] = '\0'; /* a prefix length may follow */
			if (inet_pton(AF_INET, word, &ip->v4) == 1)
				ip->family = AF_INET;
			else if (inet_pton(AF_INET6, word, &ip->v6) == 1)
				ip->family = AF_INET6;
			else
				return -FG_EFORMAT;
			nic->n_addresses++;
		} else if (n) {
			return -FG_ELIMIT;
		}
		text += n + strspn(text + n, " ,\t");
	}
	return 0;
}

bool fg_is_block_device(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 && S_ISBLK(st.st_mode);
}
