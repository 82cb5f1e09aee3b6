/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Answers on stdout. */
#ifndef FG_ADMIN_PRINT_H
#define FG_ADMIN_PRINT_H

#include <jansson.h>

/* "-" and 0 where there is none. */
const char *fg_print_text(const json_t *object, const char *key);
json_int_t fg_print_int(const json_t *object, const char *key);
/* Milliseconds as RFC 3339. */
void fg_print_time(const json_t *object, const char *key);
void fg_print_json(const json_t *value);
/* {"key":[…]} */
void fg_print_list(const char *key, json_t *list);
/* "  fixed 12, failed 1" after head, and a newline; nothing where all are 0. */
void fg_print_counts(const char *head, const json_t *counts);
/*
 * RFC 4180, one line: the values of the keys (names with a comma between), quoted where that is needed.  A key that ends in
 * _ms is printed as a time.  What a spreadsheet would take for a formula gets a ' in front.
 */
void fg_print_csv_head(const char *keys);
void fg_print_csv(const char *keys, const json_t *object);

#endif
