/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Waiting until nothing of a domain is left in dom0: its xenstore home, its block and network backends, its netdevs, and
 * the loop devices that made its image files block devices.
 */
#ifndef FG_GONE_H
#define FG_GONE_H

#include <fixgate/error.h>

#include <stddef.h>
#include <stdint.h>

struct fg_gone;
struct fg_image_files;
struct fg_xs;

/* rc 0, TIMEOUT (err names what is left) or UNREACHABLE.  At the deadline one more look decides. */
typedef void fg_gone_cb(void *arg, int rc, const struct fg_error *err);

/*
 * domid 0: only the files.  files: must be behind no writable loop device; copied, NULL: none.
 * The callback fires once, from the loop; fg_gone_cancel before it: not at all.  The callback frees the handle.
 */
int fg_gone_wait(struct fg_xs *xs, uint32_t domid, const struct fg_image_files *files, uint32_t deadline_ms,
		 fg_gone_cb *cb, void *arg, struct fg_gone **out, struct fg_error *err) FG_MUST_CHECK;
/*
 * The look at the loop devices alone.  sysfs: "/sys" but in tests; files as sysfs shows them (realpath).  TIMEOUT: a writable loop
 * device is over one of them; UNREACHABLE: it cannot be told.
 */
int fg_gone_loops(const char *sysfs, const struct fg_image_files *files, struct fg_error *err) FG_MUST_CHECK;
void fg_gone_cancel(struct fg_gone *gone); /* NULL is allowed */

#endif
