/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The console: framed lines to dom0, and the one line that dom0 sends (fixgate/fixvm.h, part 2).
 *
 *	fg_console_open -> fg_console_send … -> fg_console_wait_closed -> fg_console_send …
 */
#ifndef FG_FIXVM_CONSOLE_H
#define FG_FIXVM_CONSOLE_H

#include <fixgate/error.h>
#include <fixgate/fixvm.h>

#include <jansson.h>
#include <stdint.h>

/* Text of one "output" message, in bytes before escaping: six times as many fit into a line. */
#define FG_CONSOLE_TEXT_MAX 600

struct fg_console {
	int fd;
	char nonce[FG_FIXVM_NONCE_HEX + 1];
	/* the line that is being received; `skip`: it was too long, ignore up to its end */
	char in[FG_FIXVM_LINE_MAX];
	size_t in_len;
	int skip;
	unsigned noise; /* lines that were not for us */
};

/* "message name" of the list, never NULL. */
const char *fg_console_message_name(enum fg_fixvm_message type);

/*
 * One line with its newline into out, NUL-terminated; its length in *len.  Pure ASCII: whatever data holds cannot end the line.
 * LIMIT if it is longer than FG_FIXVM_LINE_MAX.
 */
int fg_console_line(const char *nonce, enum fg_fixvm_message type, const json_t *data, char out[FG_FIXVM_LINE_MAX + 1],
		    size_t *len, struct fg_error *err) FG_MUST_CHECK;
/* Valid UTF-8 of at most max bytes from any bytes: what is no UTF-8 and NUL become '?'; malloc'd. */
char *fg_console_text(const char *bytes, size_t len, size_t max);

/* Feeds received bytes; 1 when "closed" with our nonce is among them (the rest is dropped), else 0. */
int fg_console_feed(struct fg_console *c, const char *bytes, size_t len);

/* Opens a tty and makes it raw: no echo, no translation of newlines, no signals. */
int fg_console_open(struct fg_console *c, const char *path, struct fg_error *err) FG_MUST_CHECK;
int fg_console_send(struct fg_console *c, enum fg_fixvm_message type, const json_t *data,
		    struct fg_error *err) FG_MUST_CHECK;
/* The same from jansson's pack format; going on after a failure is all one can do, so there is no result. */
void fg_console_say(struct fg_console *c, enum fg_fixvm_message type, const char *fmt, ...);
/* Until what was written has left the machine. */
void fg_console_drain(struct fg_console *c);
/* Waits for "closed". TIMEOUT after wait_s. */
int fg_console_wait_closed(struct fg_console *c, int64_t wait_s, struct fg_error *err) FG_MUST_CHECK;

#endif
