/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Any bytes on the socket between fixgated and fixgate-net: messages that are objects, then one end. */
#include <lib/frame.h>
#include <lib/util.h>

#include <event2/event.h>
#include <sys/socket.h>
#include <unistd.h>

#include "target.h"

#define INPUT_MAX (64u << 10) /* what a socket takes at once */

static void on_message(void *arg, struct fg_frame *frame, const json_t *message)
{
	(void)arg, (void)frame;
	if (!json_is_object(message))
		abort();
}

static void on_closed(void *arg, struct fg_frame *frame, const struct fg_error *err)
{
	(void)err;
	++*(unsigned *)arg;
	fg_frame_free(frame);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct event_base *base;
	struct fg_frame *frame = NULL;
	unsigned closed = 0;
	struct fg_frame_events events = { on_message, on_closed, &closed };
	int pair[2];

	if (size > INPUT_MAX)
		return 0;
	if (!base)
		base = event_base_new();
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0 || fg_frame_new(base, pair[0], &events, &frame, NULL) < 0)
		abort();
	if (write(pair[1], data, size) != (ssize_t)size)
		abort();
	close(pair[1]);
	event_base_dispatch(base); /* ends when nothing is watched any more */
	if (closed != 1)
		abort();
	return 0;
}
