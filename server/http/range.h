/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Byte ranges of HTTP (RFC 9110 section 14): one range of "bytes", closed, open ended or suffix; Content-Range of uploads.
 */
#ifndef FG_SERVER_RANGE_H
#define FG_SERVER_RANGE_H

#include <stdbool.h>
#include <stdint.h>

enum fg_range_kind {
	FG_RANGE_ALL, /* no range, or one that is to be ignored (other unit, malformed, several): 200 */
	FG_RANGE_PART, /* 206 */
	FG_RANGE_BAD, /* 416 */
};

/* header: value of Range, or NULL. total: length of the thing. first and last (inclusive) are set for FG_RANGE_PART. */
enum fg_range_kind fg_range_parse(const char *header, uint64_t total, uint64_t *first, uint64_t *last);

/* Content-Range "bytes first-last/total"; false unless first <= last < total. */
bool fg_content_range_parse(const char *header, uint64_t *first, uint64_t *last, uint64_t *total);

/* Is etag (without quotes) in the value of If-None-Match / If-Range? "*" matches; weak tags do only where weak is true. */
bool fg_etag_matches(const char *header, const char *etag, bool weak);

#endif
