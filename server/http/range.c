/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "range.h"

#include <stddef.h>
#include <string.h>
#include <strings.h>

/* Digits at *p; false if there are none or the number does not fit. */
static bool number(const char **p, uint64_t *out)
{
	uint64_t n = 0;
	const char *s = *p;

	for (; *s >= '0' && *s <= '9'; s++) {
		if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, (uint64_t)(*s - '0'), &n))
			return false;
	}
	if (s == *p)
		return false;
	*p = s;
	*out = n;
	return true;
}

static const char *skip_blanks(const char *p)
{
	while (*p == ' ' || *p == '\t')
		p++;
	return p;
}

static enum fg_range_kind suffix(const char *p, uint64_t total, uint64_t *first, uint64_t *last)
{
	uint64_t n = 0;

	if (!number(&p, &n) || *skip_blanks(p) != '\0')
		return FG_RANGE_ALL;
	if (n == 0 || total == 0)
		return FG_RANGE_BAD;
	*first = n < total ? total - n : 0;
	*last = total - 1;
	return FG_RANGE_PART;
}

enum fg_range_kind fg_range_parse(const char *header, uint64_t total, uint64_t *first, uint64_t *last)
{
	uint64_t a = 0, b = UINT64_MAX;

	if (!header || strncasecmp(header, "bytes=", 6) != 0)
		return FG_RANGE_ALL;
	const char *p = skip_blanks(header + 6);
	if (*p == '-')
		return suffix(p + 1, total, first, last);
	if (!number(&p, &a) || *p++ != '-')
		return FG_RANGE_ALL;
	if (*p >= '0' && *p <= '9' && !number(&p, &b))
		return FG_RANGE_ALL;
	if (*skip_blanks(p) != '\0' || b < a)
		return FG_RANGE_ALL;
	if (a >= total)
		return FG_RANGE_BAD;
	*first = a;
	*last = b < total ? b : total - 1;
	return FG_RANGE_PART;
}

bool fg_content_range_parse(const char *header, uint64_t *first, uint64_t *last, uint64_t *total)
{
	uint64_t a = 0, b = 0, t = 0;

	if (!header || strncasecmp(header, "bytes ", 6) != 0)
		return false;
	const char *p = skip_blanks(header + 6);
	if (!number(&p, &a) || *p++ != '-' || !number(&p, &b) || *p++ != '/' || !number(&p, &t) ||
	    *skip_blanks(p) != '\0')
		return false;
	if (a > b || b >= t)
		return false;
	*first = a;
	*last = b;
	*total = t;
	return true;
}

bool fg_etag_matches(const char *header, const char *etag, bool weak)
{
	size_t len = strlen(etag);

	for (const char *p = skip_blanks(header); *p;) {
		bool is_weak = !strncmp(p, "W/", 2);
		if (*p == '*')
			return true;
		if (is_weak)
			p += 2;
		const char *end = *p == '"' ? strchr(p + 1, '"') : NULL;
		if (!end)
			return false;
		if ((size_t)(end - p - 1) == len && !strncmp(p + 1, etag, len) && (weak || !is_weak))
			return true;
		for (p = end + 1; *p == ' ' || *p == '\t' || *p == ',';)
			p++;
	}
	return false;
}
