/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Log lines on stderr, one event a line: "job=… guest=… isolated -> stopped".  Under systemd each line gets a
 * "<N>" priority prefix (sd-daemon(3)).  Control characters of the text are escaped, so a peer cannot forge a line.
 * The step that decides logs, once; libraries return errors.
 */
#ifndef FG_LOG_H
#define FG_LOG_H

#include <fixgate/error.h>

/* NONE: for tests that fail on purpose many thousand times. */
enum fg_log_level {
	FG_LOG_NONE = 0,
	FG_LOG_ERR = 3,
	FG_LOG_WARN = 4,
	FG_LOG_INFO = 6,
	FG_LOG_DEBUG = 7
}; /* syslog(3) */

/* program: static string, put in front when stderr is a terminal or a file. level: most verbose to show. */
void fg_log_init(const char *program, enum fg_log_level level);
void fg_log(enum fg_log_level level, const char *fmt, ...) FG_PRINTF(2, 3);

#define fg_log_err(...) fg_log(FG_LOG_ERR, __VA_ARGS__)
#define fg_log_warn(...) fg_log(FG_LOG_WARN, __VA_ARGS__)
#define fg_log_info(...) fg_log(FG_LOG_INFO, __VA_ARGS__)
#define fg_log_debug(...) fg_log(FG_LOG_DEBUG, __VA_ARGS__)

#endif
