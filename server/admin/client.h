/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The administrator's side of the /v1 API: one connection, kept alive. */
#ifndef FG_ADMIN_CLIENT_H
#define FG_ADMIN_CLIENT_H

#include <fixgate/error.h>
#include <jansson.h>
#include <stdint.h>

#define FG_ADMIN_ANSWER_MAX (64u << 20)

struct fg_admin;

struct fg_admin_files {
	const char *url, *ca, *cert, *key;
};
int fg_admin_open(const struct fg_admin_files *files, struct fg_admin **out, struct fg_error *err) FG_MUST_CHECK;
void fg_admin_close(struct fg_admin *admin);

/*
 * body (NULL: none) is borrowed.  On success *answer is the caller's.  An error answer of the server becomes an error of
 * the same code; UNREACHABLE when there was no answer.
 */
int fg_admin_call(struct fg_admin *admin, const char *method, const char *path, const json_t *body, json_t **answer,
		  struct fg_error *err) FG_MUST_CHECK;
/* PUT of one part of total bytes. */
int fg_admin_put_part(struct fg_admin *admin, const char *path, const void *bytes, size_t len, uint64_t offset,
		      uint64_t total, json_t **answer, struct fg_error *err) FG_MUST_CHECK;

/*
 * GET page after page: path (with or without query), from after (or NULL), then with "after=<next>" while the answers have "next".  page gets each
 * answer's list under key (NULL: the answer itself); it returns 1 to stop, < 0 when it fails.
 */
typedef int (*fg_admin_page_fn)(const json_t *list, void *arg, struct fg_error *err);
int fg_admin_each_page(struct fg_admin *admin, const char *path, const char *key, const char *after,
		       fg_admin_page_fn page, void *arg, struct fg_error *err) FG_MUST_CHECK;
/* A part of a URL's path or query, percent-encoded; malloc'd. */
char *fg_admin_escape(const char *text);
/* The same, the lists in one array. */
int fg_admin_pages(struct fg_admin *admin, const char *path, const char *key, json_t **list,
		   struct fg_error *err) FG_MUST_CHECK;

#endif
