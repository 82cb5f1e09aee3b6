/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Errors.
 *
 * Every function that can fail returns int: 0, or -FG_E… .  Its last parameter is a
 * `struct fg_error *`, which may be NULL.  On failure the outputs of the function are
 * untouched and the error says what was wrong, where, and (where that is known) what to do.
 *
 *	struct fg_error err = FG_ERROR_INIT;
 *	if (fg_bundle_head_verify(&head, trust, now, &err) < 0)
 *		return fg_error_wrap(&err, "fix %s", id);	// "fix demo-1: signature: …"
 *
 * Text is wrapped outside-in; code and errno of the first cause are never overwritten.
 */
#ifndef FIXGATE_ERROR_H
#define FIXGATE_ERROR_H

#include <stdarg.h>
#include <stddef.h>

/*
 * X(name, exit status of a command that ends with it, what still holds)
 * The exit statuses are documented in every man page: keep them stable.
 */
#define FG_ERROR_LIST(X)                                                                                               \
	X(FAILED, 1, "the operation failed; what it meant to change is unchanged")                                     \
	X(USAGE, 2, "bad argument or configuration; nothing was tried")                                                \
	X(NOTFOUND, 3, "the thing named does not exist; nothing was changed")                                          \
	X(REFUSED, 4, "refused for a stated reason; nothing was changed")                                              \
	X(DIFFERS, 5, "what is there is not what was expected; nothing was changed")                                   \
	X(NOTALLOWED, 6, "the caller may not do this; nothing was changed")                                            \
	X(UNTRUSTED, 7, "signature, digest, expiry or version did not verify")                                         \
	X(FORMAT, 8, "malformed input; nothing of it was used")                                                        \
	X(LIMIT, 9, "a stated limit was exceeded; nothing was used")                                                   \
	X(UNREACHABLE, 10, "could not ask: says nothing about the state of what was asked")                            \
	X(TIMEOUT, 11, "a deadline passed: says nothing about the state of what was asked")                            \
	X(HELD, 12, "stopped in the safe state; a person decides")                                                     \
	X(EXISTS, 13, "it is there already")                                                                           \
	X(IO, 14, "reading or writing failed")                                                                         \
	X(NOMEM, 15, "out of memory")                                                                                  \
	X(CANCELED, 16, "given up on request")                                                                         \
	X(BUG, 17, "a contract inside Fixgate was broken")

enum fg_error_code {
	FG_EOK = 0,
#define FG_ERROR_ENUM(name, status, text) FG_E##name,
	FG_ERROR_LIST(FG_ERROR_ENUM)
#undef FG_ERROR_ENUM
};

struct fg_error {
	int code; /* enum fg_error_code; 0 = no error */
	int sys; /* errno of the cause, 0 if there is none */
	char text[512]; /* UTF-8, one line, no newline; "outer: inner: cause" */
};

#define FG_ERROR_INIT                                                                                                  \
	{                                                                                                              \
		0, 0, ""                                                                                               \
	}

#define FG_MUST_CHECK __attribute__((warn_unused_result))
#define FG_PRINTF(fmt, first) __attribute__((format(printf, fmt, first)))

/* Fill err (may be NULL) unless it already holds a cause; returns -code. */
int fg_error_set(struct fg_error *err, enum fg_error_code code, const char *fmt, ...) FG_PRINTF(3, 4);
/* The same with errno: its text is appended (": No such file or directory"). */
int fg_error_errno(struct fg_error *err, enum fg_error_code code, int sys, const char *fmt, ...) FG_PRINTF(4, 5);
/* Put "fmt: " in front of the text; returns -err->code, or -FG_EFAILED if err is NULL or empty: where err may be NULL, keep
 * the code of the failed call and return that. */
int fg_error_wrap(struct fg_error *err, const char *fmt, ...) FG_PRINTF(2, 3);
void fg_error_clear(struct fg_error *err);
/* "untrusted", "refused" … for JSON and logs; never NULL. */
const char *fg_error_name(int code);
/* Exit status for a command that failed with err; 1 if err is NULL or empty. */
int fg_error_exit_status(const struct fg_error *err);

#endif
