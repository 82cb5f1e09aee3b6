/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Configuration of fixgated and fixgate-net: /etc/fixgate/agent.conf, read with libinih.  Unknown sections and keys are
 * errors that name file and line.  Paths are absolute.
 *
 *	[server]   address = 10.99.0.2 (an IP, never a name), port = 8443, ca, cert, key (PEM files)
 *	[trust]    dir = /etc/fixgate/trust
 *	[agent]    state_dir = /var/lib/fixgate, run_dir = /run/fixgate, user = fixgate, net = path of fixgate-net
 *	[fixvm]    kernel, initrd, type = auto|pv (auto: PVH where the host can, else PV), memory_mb = 512, vcpus = 1, parallel = 1, layer_dir = <state_dir>/layers
 *	[toolstack] xl = yes, libvirt = xen:///system (empty: none)
 *	[policy]   release = before-boot|after-health, on_failure = isolate|release, on_health_failure = hold|release,
 *	           inspect = yes (look for the fix on a read-only view of the disks before the guest is isolated)
 *	[deadlines] (seconds) shutdown = 60, acpi = 30, destroy = 60, fixvm_boot = 180, download = 3600, fix = (manifest) , health = 300 …
 *	[network <bridge>]  prefix = 24, gateway = 10.99.0.1, prefix6, gateway6, dhcp: how a fix VM is addressed on that bridge;
 *	           default: from the address that dom0 has on it
 */
#ifndef FG_AGENT_CONFIG_H
#define FG_AGENT_CONFIG_H

#include <fixgate/error.h>
#include <fixgate/filter.h>

#define FG_AGENT_CONFIG "/etc/fixgate/agent.conf"
#define FG_NETWORKS_MAX 64

struct fg_network {
	char bridge[IFNAMSIZ];
	unsigned prefix, prefix6; /* 0 = not given */
	struct fg_ip gateway, gateway6; /* family 0 = none */
	struct fg_ip dhcp; /* IPv4 server that a fix VM without a known address asks; family 0 = none */
};

struct fg_agent_config {
	struct fg_ip server_address;
	uint16_t server_port;
	char *server_ca, *server_cert, *server_key;
	char *trust_dir;
	char *state_dir, *run_dir, *user, *net_program;
	char *fixvm_kernel, *fixvm_initrd, *layer_dir;
	bool fixvm_pv;
	uint32_t fixvm_memory_mb, fixvm_vcpus, parallel;
	bool xl;
	char *libvirt_uri; /* NULL: none */
	bool release_after_health, release_on_failure, release_on_health_failure, inspect;
	uint32_t shutdown_s, acpi_s, destroy_s, fixvm_boot_s, download_s, health_s;
	struct fg_network networks[FG_NETWORKS_MAX];
	size_t n_networks;
};

int fg_agent_config_load(const char *path, struct fg_agent_config **out, struct fg_error *err) FG_MUST_CHECK;
void fg_agent_config_free(struct fg_agent_config *config);

#endif
