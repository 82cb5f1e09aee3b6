/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "util.h"

#include <ctype.h>
#include <stdarg.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

void fg_closep(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void fg_hex_encode(const void *bytes, size_t len, char *out)
{
	static const char digits[] = "0123456789abcdef";
	const uint8_t *b = bytes;

	for (size_t i = 0; i < len; i++) {
		out[2 * i] = digits[b[i] >> 4];
		out[2 * i + 1] = digits[b[i] & 15];
	}
	out[2 * len] = '\0';
}

static int nibble(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)tolower((unsigned char)c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int fg_hex_decode(const char *hex, void *out, size_t len, struct fg_error *err)
{
	fg_autofree uint8_t *tmp = fg_calloc(len + 1, 1);

	if (strlen(hex) != 2 * len)
		return fg_error_set(err, FG_EFORMAT, "%zu hex digits where %zu are needed", strlen(hex), 2 * len);
	for (size_t i = 0; i < len; i++) {
		int hi = nibble(hex[2 * i]), lo = nibble(hex[2 * i + 1]);
		if (hi < 0 || lo < 0)
			return fg_error_set(err, FG_EFORMAT, "no hex digit at offset %zu", 2 * i);
		tmp[i] = (uint8_t)(hi << 4 | lo);
	}
	memcpy(out, tmp, len);
	return 0;
}

/* Length of the sequence at p, 0 if it is none: shortest form, no surrogates, at most U+10FFFF. */
static size_t utf8_length(const unsigned char *p)
{
	unsigned low = 0x80, high = 0xbf; /* of the second byte */
	size_t len = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;

	if (p[0] == 0xe0)
		low = 0xa0;
	else if (p[0] == 0xed)
		high = 0x9f;
	else if (p[0] == 0xf0)
		low = 0x90;
	else if (p[0] == 0xf4)
		high = 0x8f;
	for (size_t i = 1; i < len; i++, low = 0x80, high = 0xbf)
		if (p[i] < low || p[i] > high) /* the NUL too */
			return 0;
	return len;
}

void fg_utf8_clean(char *text)
{
	while (*text) {
		size_t len = utf8_length((const unsigned char *)text);
		if (!len)
			*text = '?';
		text += len ? len : 1;
	}
}

void fg_random_bytes(void *out, size_t len)
{
	uint8_t *p = out;

	while (len) {
		ssize_t n = getrandom(p, len, 0);
		if (n < 0)
			abort();
		p += n;
		len -= (size_t)n;
	}
}

void fg_uuid_new(char out[FG_UUID_TEXT])
{
	uint8_t u[16];

	fg_random_bytes(u, sizeof(u));
	u[6] = (uint8_t)((u[6] & 0x0f) | 0x40); /* RFC 4122, 4.4 */
	u[8] = (uint8_t)((u[8] & 0x3f) | 0x80);
	snprintf(out, FG_UUID_TEXT, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", u[0], u[1],
		 u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14], u[15]);
}

int fg_uuid_parse(const char *text, char out[FG_UUID_TEXT], struct fg_error *err)
{
	static const char shape[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
	char tmp[FG_UUID_TEXT];

	if (strlen(text) != FG_UUID_TEXT - 1)
		return fg_error_set(err, FG_EFORMAT, "'%.60s' is no UUID", text);
	for (size_t i = 0; i < FG_UUID_TEXT - 1; i++) {
		char c = (char)tolower((unsigned char)text[i]);
		if (shape[i] == '-' ? c != '-' : nibble(c) < 0)
			return fg_error_set(err, FG_EFORMAT, "'%.60s' is no UUID", text);
		tmp[i] = c;
	}
	tmp[FG_UUID_TEXT - 1] = '\0';
	memcpy(out, tmp, sizeof(tmp));
	return 0;
}

int fg_mac_parse(const char *text, uint8_t out[6], struct fg_error *err)
{
	uint8_t mac[6];

	if (strlen(text) != 17)
		return fg_error_set(err, FG_EFORMAT, "'%.40s' is no MAC", text);
	for (int i = 0; i < 6; i++) {
		int hi = nibble(text[3 * i]), lo = nibble(text[3 * i + 1]);
		if (hi < 0 || lo < 0 || (i < 5 && text[3 * i + 2] != ':'))
			return fg_error_set(err, FG_EFORMAT, "'%.40s' is no MAC", text);
		mac[i] = (uint8_t)(hi << 4 | lo);
	}
	memcpy(out, mac, 6);
	return 0;
}

void fg_mac_format(const uint8_t mac[6], char out[18])
{
	snprintf(out, 18, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
}

static int64_t clock_ms(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int64_t fg_now_ms(void)
{
	return clock_ms(CLOCK_REALTIME);
}

int64_t fg_monotonic_ms(void)
{
	return clock_ms(CLOCK_MONOTONIC);
}

void fg_time_format(int64_t epoch_s, char out[21])
{
	time_t t = (time_t)epoch_s;
	struct tm tm;

	if (!gmtime_r(&t, &tm) || !strftime(out, 21, "%Y-%m-%dT%H:%M:%SZ", &tm))
		memcpy(out, "0000-00-00T00:00:00Z", 21);
}

int fg_time_parse(const char *text, int64_t *epoch_s, struct fg_error *err)
{
	struct tm tm = { 0 };
	char back[21];
	const char *end = strptime(text, "%Y-%m-%dT%H:%M:%SZ", &tm);

	if (!end || *end)
		return fg_error_set(err, FG_EFORMAT, "'%.40s' is no time of the form 2026-01-02T03:04:05Z", text);
	int64_t t = (int64_t)timegm(&tm);
	fg_time_format(t, back);
	if (strcmp(back, text) != 0) /* 31 February and the like */
		return fg_error_set(err, FG_EFORMAT, "'%.40s' does not exist", text);
	*epoch_s = t;
	return 0;
}

char *fg_asprintf(const char *fmt, ...)
{
	char *s = NULL;
	va_list ap;

	va_start(ap, fmt);
	int n = vasprintf(&s, fmt, ap);
	va_end(ap);
	if (n < 0)
		abort();
	return s;
}

char *fg_strdup(const char *s)
{
	if (!s)
		return NULL;
	char *copy = strdup(s);
	if (!copy)
		abort();
	return copy;
}

void *fg_calloc(size_t n, size_t size)
{
	void *p = calloc(n ? n : 1, size ? size : 1);

	if (!p)
		abort();
	return p;
}
