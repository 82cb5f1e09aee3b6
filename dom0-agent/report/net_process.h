/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The child process fixgate-net: started, spoken with over a socketpair, started again with back-off when it ends.
 *
 *	fg_net_process_start -> [loop] -> fg_net_process_stop
 */
#ifndef FG_NET_PROCESS_H
#define FG_NET_PROCESS_H

#include "dom0-agent/job/agent.h"

struct fg_net_process;

/* Sets agent->net_send and net_ctx. config_path is handed on to the child. */
int fg_net_process_start(struct event_base *base, struct fg_agent *agent, const char *config_path, bool verbose,
			 struct fg_net_process **out, struct fg_error *err) FG_MUST_CHECK;
void fg_net_process_stop(struct fg_net_process *np);

#endif
