/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * JSON messages over a stream socket: 4 bytes length (big-endian), then that many bytes of one JSON object.  Used
 * between fixgated and fixgate-net and on the control socket.  Both sides bound the length; a longer or malformed message
 * ends the connection.
 *
 *	fg_frame_new -> on_message… -> on_closed (once) -> fg_frame_free
 */
#ifndef FG_FRAME_H
#define FG_FRAME_H

#include <fixgate/error.h>
#include <jansson.h>

struct event_base;
struct fg_frame;

#define FG_FRAME_MAX (4u << 20) /* bytes of one message */
#define FG_FRAME_QUEUE_MAX (16u << 20) /* unsent bytes before the peer counts as dead */

struct fg_frame_events {
	void (*message)(void *arg, struct fg_frame *frame, const json_t *message); /* always an object */
	/* End of file, error, or a message that is not one.  err->code 0 = clean end of file.  Free the frame here or later. */
	void (*closed)(void *arg, struct fg_frame *frame, const struct fg_error *err);
	void *arg;
};

/* Takes fd, also on failure (non-blocking and close-on-exec are set). */
int fg_frame_new(struct event_base *base, int fd, const struct fg_frame_events *events, struct fg_frame **out,
		 struct fg_error *err) FG_MUST_CHECK;
/* Queues; takes no reference.  LIMIT when the peer does not read. */
int fg_frame_send(struct fg_frame *frame, const json_t *message, struct fg_error *err) FG_MUST_CHECK;
void fg_frame_free(struct fg_frame *frame);
/* Peer credentials of a unix socket (SO_PEERCRED): uid, gid, pid. */
int fg_frame_peer(const struct fg_frame *frame, unsigned *uid, unsigned *gid, int *pid,
		  struct fg_error *err) FG_MUST_CHECK;

#endif
