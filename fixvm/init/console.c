/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fixvm/init/console.h"

#include "lib/util.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

static const char *const names[] = {
#define NAME(name, str) [FG_FIXVM_##name] = str,
	FG_FIXVM_MESSAGE_LIST(NAME)
#undef NAME
};

const char *fg_console_message_name(enum fg_fixvm_message type)
{
	return (unsigned)type < FG_COUNT(names) ? names[type] : "unknown";
}

int fg_console_line(const char *nonce, enum fg_fixvm_message type, const json_t *data, char out[FG_FIXVM_LINE_MAX + 1],
		    size_t *len, struct fg_error *err)
{
	fg_autofree char *json = json_dumps(data, JSON_COMPACT | JSON_ENSURE_ASCII);

	if (!json)
		return fg_error_set(err, FG_EBUG, "console message is no JSON");
	size_t need =
		strlen(FG_FIXVM_PREFIX) + strlen(nonce) + strlen(fg_console_message_name(type)) + strlen(json) + 3;
	if (need > FG_FIXVM_LINE_MAX)
		return fg_error_set(err, FG_ELIMIT, "console line of %zu bytes, limit %d", need, FG_FIXVM_LINE_MAX);
	*len = (size_t)snprintf(out, FG_FIXVM_LINE_MAX + 1, FG_FIXVM_PREFIX "%s %s %s\n", nonce,
				fg_console_message_name(type), json);
	return 0;
}

/* Length of the valid UTF-8 sequence (RFC 3629) at s, 0 if there is none. */
static size_t utf8_length(const unsigned char *s, size_t left)
{
	static const struct {
		unsigned char first, last, low, high, len;
	} forms[] = {
		{ 0x01, 0x7f, 0, 0, 1 },       { 0xc2, 0xdf, 0x80, 0xbf, 2 }, { 0xe0, 0xe0, 0xa0, 0xbf, 3 },
		{ 0xe1, 0xec, 0x80, 0xbf, 3 }, { 0xed, 0xed, 0x80, 0x9f, 3 }, { 0xee, 0xef, 0x80, 0xbf, 3 },
		{ 0xf0, 0xf0, 0x90, 0xbf, 4 }, { 0xf1, 0xf3, 0x80, 0xbf, 4 }, { 0xf4, 0xf4, 0x80, 0x8f, 4 },
	};

	for (size_t i = 0; i < FG_COUNT(forms); i++) {
		if (s[0] < forms[i].first || s[0] > forms[i].last || forms[i].len > left)
			continue;
		if (forms[i].len > 1 && (s[1] < forms[i].low || s[1] > forms[i].high))
			continue;
		for (size_t k = 2; k < forms[i].len; k++) {
			if ((s[k] & 0xc0) != 0x80)
				return 0;
		}
		return forms[i].len;
	}
	return 0;
}

char *fg_console_text(const char *bytes, size_t len, size_t max)
{
	const unsigned char *s = (const unsigned char *)bytes;
	char *out = fg_calloc(1, max + 1);
	size_t used = 0;

	for (size_t i = 0; i < len;) {
		size_t n = utf8_length(s + i, len - i);

		if (used + (n ? n : 1) > max)
			break;
		if (n)
			memcpy(out + used, s + i, n);
		else
			out[used] = '?';
		used += n ? n : 1;
		i += n ? n : 1;
	}
	return out;
}

static bool is_closed(struct fg_console *c)
{
	char want[sizeof(FG_FIXVM_PREFIX) + FG_FIXVM_NONCE_HEX + 16];
	size_t len = c->in_len;

	if (len && c->in[len - 1] == '\r')
		len--;
	size_t head = (size_t)snprintf(want, sizeof(want), FG_FIXVM_PREFIX "%s closed ", c->nonce);
	if (len <= head || memcmp(c->in, want, head) != 0)
		return false;
	fg_autojson json_t *data = NULL;
	return !fg_json_parse(c->in + head, len - head, &data, NULL) && json_is_object(data);
}

int fg_console_feed(struct fg_console *c, const char *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (bytes[i] != '\n') {
			if (c->in_len == sizeof(c->in))
				c->skip = 1;
			else
				c->in[c->in_len++] = bytes[i];
			continue;
		}
		bool closed = !c->skip && is_closed(c);
		c->in_len = 0;
		c->skip = 0;
		if (closed)
			return 1;
		c->noise++;
	}
	return 0;
}

int fg_console_open(struct fg_console *c, const char *path, struct fg_error *err)
{
	struct termios t;

	c->fd = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (c->fd < 0)
		return fg_error_errno(err, FG_EIO, errno, "open %s", path);
	if (tcgetattr(c->fd, &t) == 0) {
		cfmakeraw(&t);
		t.c_cc[VMIN] = 1;
		t.c_cc[VTIME] = 0;
		if (tcsetattr(c->fd, TCSANOW, &t) < 0)
			return fg_error_errno(err, FG_EIO, errno, "%s: raw mode", path);
	}
	return 0;
}

int fg_console_send(struct fg_console *c, enum fg_fixvm_message type, const json_t *data, struct fg_error *err)
{
	char line[FG_FIXVM_LINE_MAX + 1];
	size_t len = 0;
	int rc = fg_console_line(c->nonce, type, data, line, &len, err);

	if (rc == 0 && fg_fd_write_all(c->fd, line, len) < 0)
		rc = fg_error_errno(err, FG_EIO, errno, "write console");
	return rc;
}

void fg_console_say(struct fg_console *c, enum fg_fixvm_message type, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fg_autojson json_t *data = json_vpack_ex(NULL, 0, fmt, ap);
	va_end(ap);
	if (data && fg_console_send(c, type, data, NULL))
		return; /* dom0 has a deadline for what does not come */
}

int fg_console_wait_closed(struct fg_console *c, int64_t wait_s, struct fg_error *err)
{
	int64_t deadline = fg_monotonic_ms() + wait_s * 1000;

	for (;;) {
		struct pollfd p = { .fd = c->fd, .events = POLLIN };
		int64_t left = deadline - fg_monotonic_ms();
		char buf[512];

		if (left <= 0)
			break;
		int n = poll(&p, 1, (int)left);
		if (n < 0 && errno != EINTR)
			return fg_error_errno(err, FG_EIO, errno, "wait for \"closed\"");
		if (n <= 0)
			continue;
		ssize_t got = read(c->fd, buf, sizeof(buf));
		if (got < 0 && errno != EINTR && errno != EAGAIN)
			return fg_error_errno(err, FG_EIO, errno, "read console");
		if (got == 0)
			return fg_error_set(err, FG_EIO, "console hung up before \"closed\"");
		if (got > 0 && fg_console_feed(c, buf, (size_t)got))
			return 0;
	}
	return fg_error_set(err, FG_ETIMEOUT, "no \"closed\" from dom0 within %lld s (%u other lines)",
			    (long long)wait_s, c->noise);
}

void fg_console_drain(struct fg_console *c)
{
	tcdrain(c->fd);
}
