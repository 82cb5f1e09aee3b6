/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The guard (guard.h) of the real agent: xenstore, sweeps over the toolstacks, reports. */
#ifndef FG_GUARD_AGENT_H
#define FG_GUARD_AGENT_H

#include "dom0-agent/job/agent.h"

struct fg_guard_agent;

/* After fg_agent_start. */
int fg_guard_agent_start(struct event_base *base, struct fg_agent *agent, struct fg_guard_agent **out,
			 struct fg_error *err) FG_MUST_CHECK;
void fg_guard_agent_stop(struct fg_guard_agent *ga); /* before the isolator is closed; NULL is allowed */

#endif
