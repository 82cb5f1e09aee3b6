/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Many guests in one file: {"guests": [ … ]}, each as fg_guest_from_json takes it, with device names. */
#ifndef FG_FILTER_BATCH_H
#define FG_FILTER_BATCH_H

#include <fixgate/filter.h>

#define FG_BATCH_FILE_MAX (64UL * 1024 * 1024) /* 16,384 guests with 64 addresses each take less */

struct fg_guests {
	struct fg_filter_guest *list;
	size_t n;
};

/* FORMAT names the guest by its place; LIMIT if there are more than FG_FILTER_GUESTS_MAX.  An empty list is one.  Whether
 * the guests can be isolated is for fg_filter_isolate to say. */
int fg_guests_parse(const char *text, size_t len, struct fg_guests *out, struct fg_error *err) FG_MUST_CHECK;
/* path "-" is standard input. */
int fg_guests_read(const char *path, struct fg_guests *out, struct fg_error *err) FG_MUST_CHECK;
void fg_guests_clear(struct fg_guests *guests);

#endif
