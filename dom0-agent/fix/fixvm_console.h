/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Reads what a fix VM writes to its console (include/fixgate/fixvm.h).  Every byte is hostile: a line counts only with
 * the job's nonce, a known type in its order, and one JSON object; everything else is noise, kept for the log.
 *
 *	fg_console_init -> fg_console_feed… (message or noise fires) -> fg_console_release
 */
#ifndef FG_FIXVM_CONSOLE_H
#define FG_FIXVM_CONSOLE_H

#include <fixgate/fixvm.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fg_console_events {
	void (*message)(void *arg, enum fg_fixvm_message type, const json_t *body);
	void (*noise)(void *arg, const char *line); /* printable, cut to FG_CONSOLE_NOISE_MAX */
	void *arg;
};

#define FG_CONSOLE_NOISE_MAX 240

struct fg_console {
	struct fg_console_events events;
	char nonce[FG_FIXVM_NONCE_HEX + 1];
	bool inspect;
	bool closed_sent; /* set by the caller: from here on the guest's disk may be spoken of */
	bool any;
	enum fg_fixvm_message last;
	char line[FG_FIXVM_LINE_MAX];
	size_t used;
	bool too_long; /* the rest of this line is dropped */
	uint64_t noise_lines;
	char last_noise[FG_CONSOLE_NOISE_MAX + 1];
	bool stopped; /* by the caller, also from inside an event: no event after it */
};

void fg_console_init(struct fg_console *c, const char *nonce, bool inspect, const struct fg_console_events *events);
void fg_console_feed(struct fg_console *c, const void *bytes, size_t len);

#endif
