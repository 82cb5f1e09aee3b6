/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What may stand in the fields of the protocol. All fail with FORMAT. */
#ifndef FG_SERVER_CHECK_H
#define FG_SERVER_CHECK_H

#include <fixgate/bundle.h>
#include <jansson.h>
#include <stdbool.h>

#define FG_NAME_MAX 256 /* bytes of a guest's name */

/* 1 … max bytes, no control characters. */
int fg_check_text(const char *what, const char *text, size_t max, struct fg_error *err) FG_MUST_CHECK;
/* SHA-256, 64 lower-case hex digits. */
bool fg_check_is_digest(const char *text);
int fg_check_digest(const char *text, struct fg_error *err) FG_MUST_CHECK;
/* [a-z0-9][a-z0-9.+-]{0,127} */
int fg_check_fix_id(const char *text, struct fg_error *err) FG_MUST_CHECK;
/* One of the words of the list, which ends with NULL. */
int fg_check_word(const char *what, const char *text, const char *const *words, struct fg_error *err) FG_MUST_CHECK;

#endif
