/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The control socket, <run_dir>/ctl.sock: frames of lib/frame.h.  root and the members of group "fixgate" may use it.
 *
 *	-> {"cmd":"status"|"guests"|"jobs"|"job"|"events"|"remediate"|"isolate"|"release"|"resolve"|"doctor", arguments}
 *	<- {"ok":true,"result":…} | {"ok":false,"error":{"code","text"}}		once a request
 *	<- {"event":{"at_ms","job","guest","uuid","fix","state","reason"}}	events with "follow":true, after the result
 *
 *	fg_ctl_start -> fg_ctl_event… -> fg_ctl_stop
 */
#ifndef FG_CTL_H
#define FG_CTL_H

#include "dom0-agent/job/job.h"

#include <sys/queue.h>

#define FG_CTL_SOCKET "ctl.sock"
/* Not the group of fixgate-net's user: what speaks with the network has no business on this socket. */
#define FG_CTL_GROUP "fixgate-ctl"
#define FG_CTL_CLIENTS_MAX 64

struct fg_frame;

struct fg_ctl {
	struct event_base *base;
	struct fg_agent *agent;
	char *path;
	int fd;
	struct event *accept;
	LIST_HEAD(fg_ctl_clients, fg_ctl_client) clients;
	unsigned n_clients;
};

struct fg_ctl_client {
	LIST_ENTRY(fg_ctl_client) link;
	struct fg_ctl *ctl;
	struct fg_frame *frame; /* NULL: it hung up */
	unsigned pending; /* questions asked for it */
	json_t *request; /* being answered */
	bool follow;
	char wait_guest[37]; /* remediate --wait */
	char *wait_fix;
};

int fg_ctl_start(struct event_base *base, struct fg_agent *agent, struct fg_ctl **out,
		 struct fg_error *err) FG_MUST_CHECK;
void fg_ctl_stop(struct fg_ctl *ctl);
void fg_ctl_event(void *ctx, const json_t *event); /* fg_event_fn */

/* commands.c, guest_commands.c */
void fg_ctl_run(struct fg_ctl_client *client, const json_t *request);
void fg_ctl_remediate(struct fg_ctl_client *client);
void fg_ctl_isolate(struct fg_ctl_client *client);
void fg_ctl_release(struct fg_ctl_client *client);
void fg_ctl_guests(struct fg_ctl_client *client);
void fg_ctl_doctor(struct fg_ctl_client *client);
/* server.c */
void fg_ctl_answer(struct fg_ctl_client *client, json_t *result); /* takes result */
void fg_ctl_fail(struct fg_ctl_client *client, const struct fg_error *err);
/* A question to others is over; the client may be gone: then it is freed and false is returned. */
bool fg_ctl_resume(struct fg_ctl_client *client);

#endif
