/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * fixgate-toolstack-probe: one operation of a toolstack, the fix VM or the layers by hand, for development and tests.
 *
 *	fixgate-toolstack-probe [-u URI] [-s DIR] xl|libvirt list | find UUID | save UUID | stop UUID | start FILE |
 *		unpause UUID | connected UUID | watch
 *	fixgate-toolstack-probe fixvm run KERNEL INITRD NAME UUID [BRIDGE MAC [PATH VDEV]…] | fixvm destroy UUID
 *	fixgate-toolstack-probe layer DIR create|view|merge|drop|begun JOB VDEV TARGET
 *
 * Prints JSON lines; exit status is that of the error (include/fixgate/error.h).
 */
#include "dom0-agent/fix/fixvm.h"
#include "dom0-agent/fix/layer.h"
#include "dom0-agent/toolstack/toolstack.h"
#include "lib/log.h"
#include "lib/util.h"

#include <arpa/inet.h>
#include <event2/event.h>
#include <jansson.h>
#include <string.h>
#include <unistd.h>

static struct event_base *base;
static int status;
static struct fg_fixvm *vm;
static struct fg_fixvms *vms;
static const char *vm_uuid;

static void out(json_t *json)
{
	fg_autofree char *text = fg_json_dump(json);

	puts(text);
	fflush(stdout);
	json_decref(json);
}

static void done(void *arg, int rc, const struct fg_error *err)
{
	(void)arg;
	status = rc ? fg_error_exit_status(err) : 0;
	out(json_pack("{s:b, s:i, s:s?}", "ok", rc == 0, "rc", rc, "error", rc && err ? err->text : NULL));
	event_base_loopbreak(base);
}

static json_t *nic_json(const struct fg_nic *nic)
{
	char mac[18], text[INET6_ADDRSTRLEN];
	json_t *addresses = json_array(), *netdevs = json_array();

	fg_mac_format(nic->mac, mac);
	for (size_t i = 0; i < nic->n_addresses; i++)
		json_array_append_new(addresses, json_string(inet_ntop(nic->addresses[i].family, &nic->addresses[i].v4,
								       text, sizeof(text))));
	for (size_t i = 0; i < nic->n_netdevs; i++)
		json_array_append_new(netdevs, json_string(nic->netdevs[i]));
	return json_pack("{s:i, s:s, s:s, s:o, s:o}", "devid", (int)nic->devid, "mac", mac, "bridge", nic->bridge,
			 "addresses", addresses, "netdevs", netdevs);
}

static json_t *guest_json(const struct fg_guest *g)
{
	static const char *const states[] = { "off", "running", "paused", "dying" };
	json_t *nics = json_array(), *disks = json_array();

	for (size_t i = 0; i < g->n_nics; i++)
		json_array_append_new(nics, nic_json(&g->nics[i]));
	for (size_t i = 0; i < g->n_disks; i++)
		json_array_append_new(disks, json_pack("{s:s, s:s, s:b, s:b, s:b}", "vdev", g->disks[i].vdev, "target",
						       g->disks[i].target, "block", g->disks[i].block, "readonly",
						       g->disks[i].readonly, "cdrom", g->disks[i].cdrom));
	return json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:o, s:o, s:s?}", "uuid", g->uuid, "name", g->name,
			 "owner", g->ops->name, "state", states[g->state], "domid", (json_int_t)g->domid, "created_s",
			 (json_int_t)g->created_s, "memory_mb", (json_int_t)g->memory_mb, "nics", nics, "disks", disks,
			 "refusal", g->refusal);
}

static void listed(void *arg, int rc, const struct fg_guest *guests, size_t n, const struct fg_error *err)
{
	for (size_t i = 0; i < n; i++)
		out(guest_json(&guests[i]));
	done(arg, rc, err);
}

static void found(void *arg, int rc, const struct fg_guest *guest, const struct fg_error *err)
{
	if (rc == 0)
		out(guest_json(guest));
	done(arg, rc, err);
}

static void text_is(void *arg, int rc, const char *text, const struct fg_error *err)
{
	if (rc == 0)
		puts(text);
	done(arg, rc, err);
}

static void step(void *arg, const char *what)
{
	(void)arg;
	out(json_pack("{s:s, s:I}", "step", what, "t", (json_int_t)fg_monotonic_ms()));
}

static void event(void *arg, struct fg_toolstack *ts, const char *uuid)
{
	(void)arg;
	(void)ts;
	out(json_pack("{s:s, s:s?}", "event", "changed", "uuid", uuid));
}

static void toolstack(const struct fg_toolstack_ops *ops, const struct fg_toolstack_config *config, int argc,
		      char **argv)
{
	const struct fg_stop_policy policy = { .shutdown_ms = 60000, .acpi_ms = 20000, .destroy_ms = 60000 };
	struct fg_error err = FG_ERROR_INIT;
	struct fg_toolstack *ts;
	const char *verb = argv[0], *uuid = argc > 1 ? argv[1] : "";
	fg_autofree char *definition = NULL;
	struct fg_guest last = { 0 };

	snprintf(last.uuid, sizeof(last.uuid), "%s", uuid);
	int rc = ops->open(config, &ts, &err);
	if (rc < 0) {
		done(NULL, rc, &err);
		return;
	}
	if (!strcmp(verb, "list"))
		ops->list(ts, listed, NULL);
	else if (!strcmp(verb, "find"))
		ops->find(ts, uuid, found, NULL);
	else if (!strcmp(verb, "save"))
		ops->save(ts, uuid, text_is, NULL);
	else if (!strcmp(verb, "stop"))
		ops->stop(ts, &last, &policy, step, done, NULL);
	else if (!strcmp(verb, "start") && (rc = fg_file_read(uuid, 2u << 20, &definition, NULL, &err)) == 0)
		ops->start_paused(ts, definition, found, NULL);
	else if (!strcmp(verb, "unpause"))
		ops->unpause(ts, uuid, done, NULL);
	else if (!strcmp(verb, "connected"))
		ops->wait_connected(ts, uuid, 120000, done, NULL);
	else if (strcmp(verb, "watch") != 0)
		done(NULL, rc ? rc : fg_error_set(&err, FG_EUSAGE, "unknown operation '%s'", verb), &err);
	event_base_dispatch(base);
	ops->close(ts);
}

/*----- fix VM -----*/

static void vm_output(void *arg, const void *bytes, size_t len)
{
	(void)arg;
	fwrite(bytes, 1, len, stdout);
	fflush(stdout);
}

static void vm_gone(void *arg, const char *why)
{
	(void)arg;
	out(json_pack("{s:s, s:s}", "event", "gone", "why", why));
	fg_fixvm_xl.forget(vm);
	fg_fixvm_xl.destroy(vms, vm_uuid, done, NULL);
}

static void vm_runs(void *arg, int rc, const struct fg_error *err)
{
	if (rc)
		done(arg, rc, err);
}

static void vm_created(void *arg, int rc, const struct fg_fixvm_created *created, const struct fg_error *err)
{
	if (rc) {
		done(arg, rc, err);
		return;
	}
	out(json_pack("{s:s, s:i, s:s?}", "event", "created", "domid", (int)created->domid, "netdev",
		      created->n_netdevs ? created->netdevs[0] : NULL));
	fg_fixvm_xl.run(vm, vm_runs, NULL);
}

static void fixvm(int argc, char **argv)
{
	static const struct fg_fixvm_events events = { .output = vm_output, .gone = vm_gone };
	struct fg_error err = FG_ERROR_INIT;
	struct fg_fixvm_spec spec = { .memory_mb = 256, .vcpus = 1 };
	struct fg_fixvm_disk disks[4];

	int rc = fg_fixvm_xl.open(base, &vms, &err);
	if (rc == 0 && !strcmp(argv[0], "destroy") && argc > 1) {
		fg_fixvm_xl.destroy(vms, argv[1], done, NULL);
	} else if (rc == 0 && !strcmp(argv[0], "run") && argc > 4) {
		spec.kernel = argv[1];
		spec.initrd = argv[2];
		spec.name = argv[3];
		vm_uuid = argv[4];
		snprintf(spec.uuid, sizeof(spec.uuid), "%s", vm_uuid);
		if (argc > 6) {
			spec.has_nic = true;
			snprintf(spec.bridge, sizeof(spec.bridge), "%s", argv[5]);
			rc = fg_mac_parse(argv[6], spec.mac, &err);
		}
		spec.disks = disks;
		for (int i = 7; i + 1 < argc && spec.n_disks < FG_COUNT(disks); i += 2) {
			struct fg_fixvm_disk *disk = &disks[spec.n_disks++];
			memset(disk, 0, sizeof(*disk));
			disk->path = argv[i];
			snprintf(disk->vdev, sizeof(disk->vdev), "%s", argv[i + 1]);
		}
		if (rc == 0)
			vm = fg_fixvm_xl.create(vms, &spec, &events, vm_created, NULL);
	} else if (rc == 0) {
		rc = fg_error_set(&err, FG_EUSAGE, "fixvm run|destroy …");
	}
	if (rc < 0) {
		done(NULL, rc, &err);
		return;
	}
	event_base_dispatch(base);
	fg_fixvm_xl.close(vms);
}

/*----- layers -----*/

static void layer_is(void *arg, int rc, const char *path, const struct fg_error *err)
{
	if (rc == 0)
		out(json_pack("{s:s}", "path", path));
	done(arg, rc, err);
}

static void layer(int argc, char **argv)
{
	struct fg_error err = FG_ERROR_INIT;
	struct fg_layer_request req = { .target = argc > 4 ? argv[4] : "" };
	struct fg_layers *layers;
	bool begun = false;

	if (argc < 4) {
		done(NULL, fg_error_set(&err, FG_EUSAGE, "layer DIR VERB JOB VDEV TARGET"), &err);
		return;
	}
	snprintf(req.job, sizeof(req.job), "%s", argv[2]);
	snprintf(req.vdev, sizeof(req.vdev), "%s", argv[3]);
	req.readonly = !strcmp(argv[1], "view");
	int rc = fg_layer_dm.open(base, argv[0], &layers, &err);
	if (rc < 0) {
		done(NULL, rc, &err);
		return;
	}
	if (!strcmp(argv[1], "create") || req.readonly)
		fg_layer_dm.create(layers, &req, layer_is, NULL);
	else if (!strcmp(argv[1], "merge"))
		fg_layer_dm.merge(layers, &req, done, NULL);
	else if (!strcmp(argv[1], "drop"))
		fg_layer_dm.drop(layers, &req, done, NULL);
	else {
		rc = fg_layer_dm.merge_begun(layers, req.job, &begun, &err);
		out(json_pack("{s:b}", "begun", begun));
		done(NULL, rc, &err);
	}
	if (strcmp(argv[1], "begun") != 0)
		event_base_dispatch(base);
	fg_layer_dm.close(layers);
}

int main(int argc, char **argv)
{
	struct fg_toolstack_config config = { .on_event = event };
	int opt;

	fg_log_init("fixgate-toolstack-probe", FG_LOG_DEBUG);
	while ((opt = getopt(argc, argv, "+u:s:")) != -1) {
		if (opt == 'u')
			config.uri = optarg;
		else if (opt == 's')
			config.state_dir = optarg;
		else
			return 2;
	}
	argc -= optind;
	argv += optind;
	if (argc < 2) {
		fprintf(stderr, "usage: fixgate-toolstack-probe [-u URI] [-s DIR] xl|libvirt|fixvm|layer VERB …\n");
		return 2;
	}
	base = config.base = event_base_new();
	if (!strcmp(argv[0], "xl"))
		toolstack(&fg_toolstack_xl, &config, argc - 1, argv + 1);
	else if (!strcmp(argv[0], "libvirt"))
		toolstack(&fg_toolstack_libvirt, &config, argc - 1, argv + 1);
	else if (!strcmp(argv[0], "fixvm"))
		fixvm(argc - 1, argv + 1);
	else if (!strcmp(argv[0], "layer"))
		layer(argc - 1, argv + 1);
	else
		status = 2;
	event_base_free(base);
	return status;
}
