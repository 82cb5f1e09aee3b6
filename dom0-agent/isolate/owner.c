/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "owner.h"

#include <lib/util.h>

#include <linux/if_arp.h>
#include <string.h>
#include <unistd.h>

/* "vif7.0", "vif7.0-emu", and of sysfs "vif-7-0". */
static bool vif_numbers(const char *name, char between, unsigned *domid, unsigned *devid)
{
	char *end;

	if (strncmp(name, "vif", 3) != 0)
		return false;
	name += 3;
	if (between == '-' && *name++ != '-')
		return false;
	if (*name < '0' || *name > '9')
		return false;
	unsigned long d = strtoul(name, &end, 10);
	if (*end != between || end[1] < '0' || end[1] > '9')
		return false;
	unsigned long n = strtoul(end + 1, &end, 10);
	if (d == 0 || d > 0x7fff || n > 0xffff || (*end && strcmp(end, "-emu") != 0))
		return false;
	*domid = (unsigned)d;
	*devid = (unsigned)n;
	return true;
}

static bool sysfs_numbers(const char *name, unsigned *domid, unsigned *devid)
{
	char path[64 + IFNAMSIZ], target[256];

	snprintf(path, sizeof(path), "/sys/class/net/%s/device", name);
	ssize_t n = readlink(path, target, sizeof(target) - 1);
	target[n < 0 ? 0 : n] = '\0';
	const char *slash = strrchr(target, '/');
	return slash && vif_numbers(slash + 1, '-', domid, devid);
}

static int node(const struct fg_owner_source *s, const char *dir, const char *name, char **out, struct fg_error *err)
{
	fg_autofree char *path = fg_asprintf("%s/%s", dir, name);

	return s->xenstore(s->arg, path, out, err);
}

/* As vif-fixgate: /local/domain/D/vm names a folder that has the UUID, or is called like it. */
static int uuid_of(const struct fg_owner_source *s, unsigned domid, char uuid[37], struct fg_error *err)
{
	fg_autofree char *domain = fg_asprintf("/local/domain/%u", domid), *vm = NULL, *text = NULL;
	int rc = node(s, domain, "vm", &vm, err);

	if (rc < 0)
		return rc;
	rc = node(s, vm, "uuid", &text, err);
	if (rc == 0)
		return fg_uuid_parse(text, uuid, err);
	if (rc != -FG_ENOTFOUND)
		return rc;
	const char *slash = strrchr(vm, '/');
	fg_error_clear(err);
	return fg_uuid_parse(slash ? slash + 1 : vm, uuid, err);
}

static int by_domain(const struct fg_owner_source *s, unsigned domid, unsigned devid, struct fg_owner *out,
		     struct fg_error *err)
{
	fg_autofree char *backend = fg_asprintf("/local/domain/0/backend/vif/%u/%u", domid, devid);
	fg_autofree char *mac = NULL, *frontend = NULL;
	struct fg_owner owner = { .uuid = "" };
	int rc = node(s, backend, "frontend-id", &frontend, err);

	if (rc == 0 && strtoul(frontend, NULL, 10) != domid)
		return fg_error_set(err, FG_EDIFFERS, "vif%u.%u is of domain %.20s", domid, devid, frontend);
	if (rc == 0)
		rc = uuid_of(s, domid, owner.uuid, err);
	if (rc == 0)
		rc = node(s, backend, "mac", &mac, err);
	if (rc == 0)
		rc = fg_mac_parse(mac, owner.mac, err);
	if (rc == 0)
		*out = owner;
	return rc;
}

/* libvirt gives a tap the guest's MAC with another first byte (virNetDevTapCreateInBridgePort). */
static int by_mac(const struct fg_owner_source *s, const struct fg_link_event *link, struct fg_owner *out,
		  struct fg_error *err)
{
	const struct fg_filter_guest *g, *found = NULL;
	const uint8_t *mac = NULL;

	for (size_t i = 0; link->mac[0] == 0xfe && (g = s->marked(s->arg, i)) != NULL; i++) {
		for (size_t d = 0; d < g->n_devs; d++) {
			if (memcmp(g->devs[d].mac + 1, link->mac + 1, 5) != 0)
				continue;
			if (found && (found != g || memcmp(mac, g->devs[d].mac, 6) != 0))
				return fg_error_set(err, FG_ENOTFOUND, "%s: more than one guest has such a MAC",
						    link->name);
			found = g;
			mac = g->devs[d].mac;
		}
	}
	if (!found)
		return fg_error_set(err, FG_ENOTFOUND, "%s: no isolated guest has its MAC", link->name);
	memcpy(out->uuid, found->uuid, sizeof(out->uuid));
	memcpy(out->mac, mac, 6);
	return 0;
}

static bool may_be_guests(const struct fg_link_event *link)
{
	return link->type == ARPHRD_ETHER &&
	       (!link->kind[0] || strcmp(link->kind, "veth") == 0 || strcmp(link->kind, "tun") == 0);
}

/* A device of the host has a bus behind it that is not Xen's. */
static bool is_hosts(const struct fg_link_event *link)
{
	char path[64 + IFNAMSIZ];

	snprintf(path, sizeof(path), "/sys/class/net/%s/device", link->name);
	return !link->kind[0] && access(path, F_OK) == 0;
}

int fg_owner_find(const struct fg_owner_source *s, const struct fg_link_event *link, struct fg_owner *out,
		  struct fg_error *err)
{
	unsigned domid, devid;

	if (!may_be_guests(link))
		return fg_error_set(err, FG_EREFUSED, "%s is no guest's device", link->name);
	if (vif_numbers(link->name, '.', &domid, &devid) || sysfs_numbers(link->name, &domid, &devid))
		return by_domain(s, domid, devid, out, err);
	if (is_hosts(link))
		return fg_error_set(err, FG_EREFUSED, "%s is a NIC of this host", link->name);
	return by_mac(s, link, out, err);
}
