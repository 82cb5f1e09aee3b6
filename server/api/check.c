/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "check.h"

#include <string.h>

int fg_check_text(const char *what, const char *text, size_t max, struct fg_error *err)
{
	size_t len = strlen(text);

	if (len == 0 || len > max)
		return fg_error_set(err, FG_EFORMAT, "%s must have 1 to %zu bytes", what, max);
	for (const unsigned char *p = (const unsigned char *)text; *p; p++)
		if (*p < 0x20 || *p == 0x7f)
			return fg_error_set(err, FG_EFORMAT, "%s has a control character", what);
	return 0;
}

bool fg_check_is_digest(const char *text)
{
	return strlen(text) == FG_DIGEST_HEX - 1 && strspn(text, "0123456789abcdef") == FG_DIGEST_HEX - 1;
}

int fg_check_digest(const char *text, struct fg_error *err)
{
	return fg_check_is_digest(text) ? 0 : fg_error_set(err, FG_EFORMAT, "a digest is 64 lower-case hex digits");
}

int fg_check_fix_id(const char *text, struct fg_error *err)
{
	size_t len = strlen(text);

	if (len == 0 || len > 128 || strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789.+-") != len ||
	    strchr(".+-", text[0]))
		return fg_error_set(err, FG_EFORMAT, "a fix id is [a-z0-9][a-z0-9.+-]{0,127}");
	return 0;
}

int fg_check_word(const char *what, const char *text, const char *const *words, struct fg_error *err)
{
	for (; *words; words++)
		if (!strcmp(*words, text))
			return 0;
	return fg_error_set(err, FG_EFORMAT, "%s has a value that is not known", what);
}
