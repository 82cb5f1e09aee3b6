/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fixvm_console.h"

#include <lib/util.h>
#include <string.h>

static const char *const names[FG_FIXVM_MESSAGE_COUNT] = {
#define X(NAME, str) [FG_FIXVM_##NAME] = str,
	FG_FIXVM_MESSAGE_LIST(X)
#undef X
};

void fg_console_init(struct fg_console *c, const char *nonce, bool inspect, const struct fg_console_events *events)
{
	memset(c, 0, sizeof(*c));
	c->events = *events;
	snprintf(c->nonce, sizeof(c->nonce), "%s", nonce);
	c->inspect = inspect;
}

static bool type_named(const char *name, size_t len, enum fg_fixvm_message *out)
{
	for (unsigned i = 0; i < FG_FIXVM_MESSAGE_COUNT; i++) {
		if (strlen(names[i]) == len && memcmp(names[i], name, len) == 0) {
			*out = (enum fg_fixvm_message)i;
			return true;
		}
	}
	return false;
}

/* May the type come now?  The list of fixvm.h is the order; result may come from anywhere: a step failed. */
static bool in_order(const struct fg_console *c, enum fg_fixvm_message type)
{
	if (type == FG_FIXVM_CLOSED) /* ours to say */
		return false;
	if (!c->any)
		return type == FG_FIXVM_HELLO;
	if (c->last == FG_FIXVM_RESULT)
		return false;
	if (c->inspect && (type == FG_FIXVM_NET_UP || type == FG_FIXVM_PROGRESS || type == FG_FIXVM_VERIFIED ||
			   type == FG_FIXVM_RUNNING))
		return false;
	if (!c->inspect && !c->closed_sent && type > FG_FIXVM_CLOSED && type != FG_FIXVM_RESULT)
		return false;
	if (type == c->last)
		return type == FG_FIXVM_PROGRESS || type == FG_FIXVM_OUTPUT;
	return type > c->last;
}

static bool take_message(struct fg_console *c, const char *line, size_t len)
{
	const size_t prefix = strlen(FG_FIXVM_PREFIX);
	enum fg_fixvm_message type = FG_FIXVM_MESSAGE_COUNT;
	fg_autojson json_t *body = NULL;

	if (len <= prefix + FG_FIXVM_NONCE_HEX + 1 || memcmp(line, FG_FIXVM_PREFIX, prefix) != 0)
		return false;
	line += prefix;
	len -= prefix;
	if (memcmp(line, c->nonce, FG_FIXVM_NONCE_HEX) != 0 || line[FG_FIXVM_NONCE_HEX] != ' ')
		return false;
	line += FG_FIXVM_NONCE_HEX + 1;
	len -= FG_FIXVM_NONCE_HEX + 1;
	const char *space = memchr(line, ' ', len);
	if (!space || !type_named(line, (size_t)(space - line), &type) || !in_order(c, type))
		return false;
	if (fg_json_parse(space + 1, len - (size_t)(space + 1 - line), &body, NULL) < 0 || !json_is_object(body))
		return false;
	c->any = true;
	c->last = type;
	c->events.message(c->events.arg, type, body);
	return true;
}

static void take_noise(struct fg_console *c, const char *line, size_t len)
{
	size_t n = 0;

	c->noise_lines++;
	for (size_t i = 0; i < len && n < FG_CONSOLE_NOISE_MAX; i++)
		c->last_noise[n++] = line[i] >= 0x20 && line[i] < 0x7f ? line[i] : '.';
	if (n == 0)
		return;
	c->last_noise[n] = '\0';
	c->events.noise(c->events.arg, c->last_noise);
}

static void end_of_line(struct fg_console *c)
{
	size_t len = c->used;

	c->used = 0;
	while (len && c->line[len - 1] == '\r')
		len--;
	if (c->too_long) {
		c->too_long = false;
		take_noise(c, c->line, len);
		return;
	}
	if (!take_message(c, c->line, len) && !c->stopped)
		take_noise(c, c->line, len);
}

void fg_console_feed(struct fg_console *c, const void *bytes, size_t len)
{
	const char *p = bytes;

	for (size_t i = 0; i < len && !c->stopped; i++) {
		if (p[i] == '\n')
			end_of_line(c);
		else if (c->used < sizeof(c->line) - 1)
			c->line[c->used++] = p[i];
		else
			c->too_long = true;
	}
}
