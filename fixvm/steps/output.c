/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fixvm/steps/output.h"

#include "lib/util.h"

void fg_output_init(struct fg_output *o, struct fg_console *console)
{
	*o = (struct fg_output){ .console = console };
}

static void flush_line(struct fg_output *o)
{
	if (!o->line_len)
		return;
	fg_autofree char *text = fg_console_text(o->line, o->line_len, FG_CONSOLE_TEXT_MAX);
	fg_console_say(o->console, FG_FIXVM_OUTPUT, "{s:s}", "text", text);
	o->line_len = 0;
}

static void put(struct fg_output *o, char c)
{
	if (c == '\n') {
		flush_line(o);
		return;
	}
	o->line[o->line_len++] = c;
	if (o->line_len == sizeof(o->line))
		flush_line(o);
}

void fg_output_feed(struct fg_output *o, const char *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++, o->seen++) {
		if (o->seen < FG_OUTPUT_LIVE_MAX)
			put(o, bytes[i]);
		else
			o->tail[o->tail_seen++ % FG_OUTPUT_TAIL_MAX] = bytes[i];
	}
}

void fg_output_end(struct fg_output *o)
{
	uint64_t n = o->tail_seen < FG_OUTPUT_TAIL_MAX ? o->tail_seen : FG_OUTPUT_TAIL_MAX;

	flush_line(o);
	if (o->tail_seen > n) {
		fg_autofree char *text = fg_asprintf("(%llu bytes left out)", (unsigned long long)(o->tail_seen - n));
		fg_console_say(o->console, FG_FIXVM_OUTPUT, "{s:s}", "text", text);
	}
	for (uint64_t i = o->tail_seen - n; i < o->tail_seen; i++)
		put(o, o->tail[i % FG_OUTPUT_TAIL_MAX]);
	flush_line(o);
}
