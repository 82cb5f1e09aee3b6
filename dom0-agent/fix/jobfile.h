/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a fix VM is told: its network, its disks, its bundle (job.json of include/fixgate/fixvm.h). */
#ifndef FG_JOBFILE_H
#define FG_JOBFILE_H

#include "dom0-agent/job/job.h"

struct fg_network_plan {
	const struct fg_nic *nic; /* of the guest; the fix VM takes its place.  Or own: do not move the plan then */
	struct fg_nic own; /* of the fix VM of a guest that has no NIC */
	bool dhcp;
	struct fg_ip address;
	unsigned prefix;
	struct fg_reach reach;
};

/* REFUSED with the reason if a fix VM could not reach the server in the guest's place. */
int fg_network_plan(const struct fg_agent *agent, const struct fg_guest *guest, struct fg_network_plan *out,
		    struct fg_error *err) FG_MUST_CHECK;
/* plan NULL: inspection. token NULL then too. */
json_t *fg_jobfile(const struct fg_job *job, const struct fg_network_plan *plan, const char *token);

#endif
