/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What became of the fix; the merge of what it wrote. */
#ifndef FG_VERIFY_H
#define FG_VERIFY_H

#include "dom0-agent/job/job.h"

/* The fix VM ended, or did not power off after its result: job->run says all that is known. */
void fg_verify_result(struct fg_job *job);

#endif
