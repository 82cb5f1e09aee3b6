/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a program prints, as "output" messages: line by line, FG_RUN_OUTPUT_LIVE_MAX bytes as they come, of the rest
 * only the end.
 */
#ifndef FG_FIXVM_OUTPUT_H
#define FG_FIXVM_OUTPUT_H

#include "fixvm/init/console.h"

#include <stdint.h>

#define FG_OUTPUT_LIVE_MAX (64u << 10)
#define FG_OUTPUT_TAIL_MAX 4096u

struct fg_output {
	struct fg_console *console;
	uint64_t seen;
	char line[FG_CONSOLE_TEXT_MAX];
	size_t line_len;
	char tail[FG_OUTPUT_TAIL_MAX]; /* ring, once the live part is full */
	uint64_t tail_seen;
};

void fg_output_init(struct fg_output *o, struct fg_console *console);
void fg_output_feed(struct fg_output *o, const char *bytes, size_t len);
void fg_output_end(struct fg_output *o);

#endif
