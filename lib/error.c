/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <fixgate/error.h>

#include "util.h"

#include <stdio.h>
#include <string.h>

static const char *const names[] = {
	[FG_EOK] = "ok",
	[FG_EFAILED] = "failed",
	[FG_EUSAGE] = "usage",
	[FG_ENOTFOUND] = "not-found",
	[FG_EREFUSED] = "refused",
	[FG_EDIFFERS] = "differs",
	[FG_ENOTALLOWED] = "not-allowed",
	[FG_EUNTRUSTED] = "untrusted",
	[FG_EFORMAT] = "format",
	[FG_ELIMIT] = "limit",
	[FG_EUNREACHABLE] = "unreachable",
	[FG_ETIMEOUT] = "timeout",
	[FG_EHELD] = "held",
	[FG_EEXISTS] = "exists",
	[FG_EIO] = "io",
	[FG_ENOMEM] = "out-of-memory",
	[FG_ECANCELED] = "canceled",
	[FG_EBUG] = "bug",
};

static const int statuses[] = { [FG_EOK] = 0,
#define X(name, status, text) [FG_E##name] = status,
				FG_ERROR_LIST(X)
#undef X
};

#define CODE_COUNT ((int)(sizeof(names) / sizeof(names[0])))

static void fill(struct fg_error *err, enum fg_error_code code, int sys, const char *fmt, va_list ap)
{
	if (!err || err->code)
		return; /* the first cause stays */
	err->code = (int)code;
	err->sys = sys;
	int used = vsnprintf(err->text, sizeof(err->text), fmt, ap);
	if (sys && used >= 0 && (size_t)used < sizeof(err->text))
		snprintf(err->text + used, sizeof(err->text) - (size_t)used, ": %s", strerror(sys));
	fg_utf8_clean(err->text); /* what was quoted may be anything, and cut anywhere */
}

int fg_error_set(struct fg_error *err, enum fg_error_code code, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	fill(err, code, 0, fmt, ap);
	va_end(ap);
	return -(int)code;
}

int fg_error_errno(struct fg_error *err, enum fg_error_code code, int sys, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	fill(err, code, sys, fmt, ap);
	va_end(ap);
	return -(int)code;
}

int fg_error_wrap(struct fg_error *err, const char *fmt, ...)
{
	char joined[2 * sizeof(err->text)];
	va_list ap;

	if (!err || !err->code)
		return -FG_EFAILED;
	va_start(ap, fmt);
	int used = vsnprintf(joined, sizeof(err->text), fmt, ap);
	va_end(ap);
	if (used < 0)
		return -err->code;
	if ((size_t)used >= sizeof(err->text))
		used = (int)sizeof(err->text) - 1;
	snprintf(joined + used, sizeof(err->text), ": %s", err->text);
	joined[sizeof(err->text) - 1] = '\0'; /* a long chain loses its innermost words */
	memcpy(err->text, joined, sizeof(err->text));
	fg_utf8_clean(err->text);
	return -err->code;
}

void fg_error_clear(struct fg_error *err)
{
	if (err)
		*err = (struct fg_error)FG_ERROR_INIT;
}

const char *fg_error_name(int code)
{
	if (code < 0)
		code = -code;
	return code < CODE_COUNT ? names[code] : "unknown";
}

int fg_error_exit_status(const struct fg_error *err)
{
	if (!err || err->code <= 0 || err->code >= CODE_COUNT)
		return 1;
	return statuses[err->code];
}
