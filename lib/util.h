/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Small things that every program needs: cleanup attributes, hex, UUIDs, MACs, clocks, durable files.
 */
#ifndef FG_UTIL_H
#define FG_UTIL_H

#include <fixgate/error.h>

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* Cleanup attributes (GCC, Clang): `fg_autofree char *s = NULL;`  Hand ownership over with FG_TAKE(s). */
#define fg_cleanup(fn) __attribute__((cleanup(fn)))
static inline void fg_freep(void *p)
{
	free(*(void **)p);
}
void fg_closep(int *fd); /* closes if >= 0; then it is -1 */
static inline void fg_fclosep(FILE **f)
{
	if (*f)
		fclose(*f);
}
static inline void fg_json_decrefp(json_t **j)
{
	json_decref(*j);
}
#define fg_autofree fg_cleanup(fg_freep)
#define fg_autoclose fg_cleanup(fg_closep)
#define fg_autofclose fg_cleanup(fg_fclosep)
#define fg_autojson fg_cleanup(fg_json_decrefp)
#define FG_TAKE(p)                                                                                                     \
	__extension__({                                                                                                \
		__typeof__(p) fg_take_ = (p);                                                                          \
		(p) = NULL;                                                                                            \
		fg_take_;                                                                                              \
	})
#define FG_TAKE_FD(fd)                                                                                                 \
	__extension__({                                                                                                \
		int fg_take_ = (fd);                                                                                   \
		(fd) = -1;                                                                                             \
		fg_take_;                                                                                              \
	})
#define FG_COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* out holds 2 * len + 1. */
void fg_hex_encode(const void *bytes, size_t len, char *out);
/* hex must be exactly 2 * len lower- or upper-case digits; -FG_EFORMAT otherwise. */
int fg_hex_decode(const char *hex, void *out, size_t len, struct fg_error *err) FG_MUST_CHECK;

#define FG_UUID_TEXT 37
void fg_uuid_new(char out[FG_UUID_TEXT]);
/* Bytes that are no UTF-8 (RFC 3629) become '?'. */
void fg_utf8_clean(char *text);
/* 8-4-4-4-12 hex; out is lower case. */
int fg_uuid_parse(const char *text, char out[FG_UUID_TEXT], struct fg_error *err) FG_MUST_CHECK;
/* Six hex pairs, ':' between. */
int fg_mac_parse(const char *text, uint8_t out[6], struct fg_error *err) FG_MUST_CHECK;
void fg_mac_format(const uint8_t mac[6], char out[18]);
void fg_random_bytes(void *out, size_t len); /* getrandom(2); aborts if the kernel has none */

int64_t fg_now_ms(void); /* realtime, milliseconds since the epoch */
int64_t fg_monotonic_ms(void); /* for deadlines */
/* RFC 3339 UTC, "2026-01-02T03:04:05Z"; out holds 21. */
void fg_time_format(int64_t epoch_s, char out[21]);
int fg_time_parse(const char *text, int64_t *epoch_s, struct fg_error *err) FG_MUST_CHECK;

/* Whole file into a malloc'd, NUL-terminated buffer; LIMIT if it is longer than max. len may be NULL. */
int fg_file_read(const char *path, size_t max, char **out, size_t *len, struct fg_error *err) FG_MUST_CHECK;
int fg_fd_read_all(int fd, size_t max, char **out, size_t *len, struct fg_error *err) FG_MUST_CHECK;
/* All of it, over short and interrupted writes: 0, or -1 with errno. */
int fg_fd_write_all(int fd, const void *data, size_t len) FG_MUST_CHECK;
/* The one way to write durable state: temp file in the same folder, fsync, rename, fsync of the folder. */
int fg_file_write_durable(const char *path, const void *data, size_t len, int mode, struct fg_error *err) FG_MUST_CHECK;
/* unlink and fsync of the folder; a file that is not there is no error. */
int fg_file_remove_durable(const char *path, struct fg_error *err) FG_MUST_CHECK;
/* mkdir -p, the last part with mode. */
int fg_mkdir_p(const char *path, int mode, struct fg_error *err) FG_MUST_CHECK;

/* malloc'd printf; aborts when out of memory (as all x-functions do). */
char *fg_asprintf(const char *fmt, ...) FG_PRINTF(1, 2);
char *fg_strdup(const char *s); /* NULL -> NULL */
void *fg_calloc(size_t n, size_t size);

/* JSON (jansson), strict: duplicate keys, NULs and bytes after the value are refused; depth is jansson's 2048 unless checked. */
int fg_json_parse(const char *text, size_t len, json_t **out, struct fg_error *err) FG_MUST_CHECK;
/* Borrowed values of an object; FORMAT names the key when it is missing or of another type. */
int fg_json_string(const json_t *obj, const char *key, const char **out, struct fg_error *err) FG_MUST_CHECK;
int fg_json_int(const json_t *obj, const char *key, int64_t min, int64_t max, int64_t *out,
		struct fg_error *err) FG_MUST_CHECK;
int fg_json_array(const json_t *obj, const char *key, size_t max, json_t **out, struct fg_error *err) FG_MUST_CHECK;
int fg_json_object(const json_t *obj, const char *key, json_t **out, struct fg_error *err) FG_MUST_CHECK;
/* Optional ones: absent or null -> NULL / fallback; of another type -> FORMAT. */
int fg_json_string_opt(const json_t *obj, const char *key, const char **out, struct fg_error *err) FG_MUST_CHECK;
int fg_json_int_opt(const json_t *obj, const char *key, int64_t min, int64_t max, int64_t fallback, int64_t *out,
		    struct fg_error *err) FG_MUST_CHECK;
int fg_json_bool_opt(const json_t *obj, const char *key, bool fallback, bool *out, struct fg_error *err) FG_MUST_CHECK;
/* Compact, keys in insertion order; malloc'd. */
char *fg_json_dump(const json_t *value);

#endif
