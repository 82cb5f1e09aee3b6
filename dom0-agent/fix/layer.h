/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Copy-on-write layers over a guest's disks (device-mapper "snapshot" with a persistent store, Linux
 * Documentation/admin-guide/device-mapper/snapshot.rst).  The origin is written only by merge.
 *
 *	create -> [fix VM works on layer->path] -> merge | drop
 *
 * Everything is found again by (job UUID, vdev) after a crash of the agent or of dom0: the store is a sparse file
 * <dir>/<job>-<vdev>.cow, the mapped device is fixgate-<job>-<vdev>; loop devices are found by their backing file.
 * merge survives being cut off at any point: calling it again goes on (dm-snapshot-merge with persistent metadata).
 * Once merge was called the layer must not be dropped: drop then fails with HELD (a marker file is written durably first).
 * All are asynchronous like toolstack.h; done callbacks fire once, from the loop.
 */
#ifndef FG_FIX_LAYER_H
#define FG_FIX_LAYER_H

#include "dom0-agent/toolstack/toolstack.h"

struct fg_layers;

struct fg_layer_request {
	char job[37];
	char vdev[16];
	const char *target; /* raw file or block device */
	bool readonly; /* a plain read-only view, no store: for inspections and for disks the guest may not write */
};

typedef void fg_layer_path_cb(void *arg, int rc, const char *path, const struct fg_error *err);

struct fg_layer_ops {
	const char *name;
	/* dir: for the stores; free space of it is the limit of what a fix can write. */
	int (*open)(struct event_base *base, const char *dir, struct fg_layers **out, struct fg_error *err);
	void (*close)(struct fg_layers *layers);
	/* If it exists already (after a crash) it is an error of kind EXISTS: drop it first. */
	void (*create)(struct fg_layers *layers, const struct fg_layer_request *req, fg_layer_path_cb *cb, void *arg);
	/* Writes the layer into the origin, then removes the layer.  DIFFERS: the store overflowed or is invalid. */
	void (*merge)(struct fg_layers *layers, const struct fg_layer_request *req, fg_ts_done_cb *cb, void *arg);
	/* Success also if there is nothing. */
	void (*drop)(struct fg_layers *layers, const struct fg_layer_request *req, fg_ts_done_cb *cb, void *arg);
	/* Has merge of any disk of this job begun?  From disk, without asking the kernel. */
	int (*merge_begun)(struct fg_layers *layers, const char *job, bool *out, struct fg_error *err);
};

extern const struct fg_layer_ops fg_layer_dm;

#endif
