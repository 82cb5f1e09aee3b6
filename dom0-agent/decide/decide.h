/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Is the fix for this guest, now, here? */
#ifndef FG_DECIDE_H
#define FG_DECIDE_H

#include "dom0-agent/job/job.h"

/* What speaks against working on the guest at all, in words; REFUSED. */
int fg_decide_suits(const struct fg_job *job, const struct fg_guest *guest, struct fg_error *err) FG_MUST_CHECK;
/* Look for the fix on a read-only view of the disks; ends in queued, or in not-needed. */
void fg_inspect(struct fg_job *job);

#endif
