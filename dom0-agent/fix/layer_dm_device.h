/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Loop devices and device-mapper devices, blocking.  Call from one thread only: libdevmapper keeps state of its own.
 * Loop devices are made with autoclear: they go when the mapped device over them goes, so none can be left behind.
 */
#ifndef FG_FIX_LAYER_DM_DEVICE_H
#define FG_FIX_LAYER_DM_DEVICE_H

#include <fixgate/error.h>

#include <stdbool.h>
#include <stdint.h>

/* Descriptor of a new loop device over path; path of it (/dev/loopN) in out. Keep it open until it is mapped. */
int fg_loop_open(const char *path, bool readonly, bool direct, char out[32], struct fg_error *err) FG_MUST_CHECK;

/* The device is there under /dev/mapper when this returns. */
int fg_dm_create(const char *name, const char *uuid, const char *target, const char *params, uint64_t sectors,
		 bool readonly, struct fg_error *err) FG_MUST_CHECK;
/* A device that is not there is no error. FAILED while it is open. */
int fg_dm_remove(const char *name, struct fg_error *err) FG_MUST_CHECK;
/* open_count may be NULL. */
int fg_dm_exists(const char *name, bool *exists, int *open_count, struct fg_error *err) FG_MUST_CHECK;
/*
 * Is the device mapper in the running kernel?  Without it no device can be there.  sysfs: "/sys" but in tests.  UNREACHABLE if it
 * cannot be told.
 */
int fg_dm_present(const char *sysfs, bool *present, struct fg_error *err) FG_MUST_CHECK;
/* Is there a device mapper? REFUSED if not. */
int fg_dm_check(struct fg_error *err) FG_MUST_CHECK;

#endif
