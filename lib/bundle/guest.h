/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a guest's root says about itself: os-release, architecture, packages, files, receipts.  Every byte is the
 * guest's and hostile: names resolve inside the root, sizes have limits, nothing of it is run.  *absent* is an answer; "could not
 * read" is an error.
 */
#ifndef FG_BUNDLE_GUEST_H
#define FG_BUNDLE_GUEST_H

#include <fixgate/bundle.h>

#define FG_GUEST_TEXT_MAX (64u << 10) /* os-release, receipts */
#define FG_GUEST_STATUS_MAX (64u << 20) /* dpkg's status */
#define FG_GUEST_FILE_MAX (4ull << 30) /* a file whose digest is asked */
#define FG_GUEST_UPDATES_MAX 4096 /* entries of dpkg's journal */
#define FG_GUEST_FOUND_MAX 4096 /* packages of one name, over all architectures and journal entries */

/* Opens a regular file inside the root; *fd is -1 if there is none. path may start with '/'. */
int fg_guest_open(int root_fd, const char *path, int *fd, struct fg_error *err) FG_MUST_CHECK;
/* Whole text; *out is NULL if there is no such file. */
int fg_guest_read(int root_fd, const char *path, size_t max, char **out, size_t *len,
		  struct fg_error *err) FG_MUST_CHECK;
/* Is there anything by this name? */
int fg_guest_exists(int root_fd, const char *path, bool *out, struct fg_error *err) FG_MUST_CHECK;

/* ID and VERSION_ID of os-release(5); NULL where not given. */
int fg_guest_os(int root_fd, char **id, char **version, struct fg_error *err) FG_MUST_CHECK;
/* Debian's name of the architecture; UNREACHABLE if nothing tells. */
int fg_guest_arch(int root_fd, char **out, struct fg_error *err) FG_MUST_CHECK;
/* Lower-case hex; out[0] is '\0' if there is no such file. */
int fg_guest_file_sha256(int root_fd, const char *path, char out[FG_DIGEST_HEX], struct fg_error *err) FG_MUST_CHECK;
/* Version counter in the receipt of a fix; *found false if there is none. */
int fg_guest_receipt(int root_fd, const char *fix, bool *found, uint64_t *version, struct fg_error *err) FG_MUST_CHECK;

/* Versions in which a dpkg package is installed, one for each architecture. */
struct fg_guest_package {
	char *arch, *version;
	bool installed;
};
struct fg_guest_packages {
	struct fg_guest_package *list;
	size_t n;
};
void fg_guest_packages_release(struct fg_guest_packages *p);

/*
 * dpkg's database, read once for all rules.  Calling sequence: open -> find … -> close.  A root without dpkg's status but with
 * dpkg itself is UNREACHABLE: /var is elsewhere.
 */
struct fg_dpkg_db;
int fg_dpkg_db_open(int root_fd, struct fg_dpkg_db **out, struct fg_error *err) FG_MUST_CHECK;
int fg_dpkg_db_find(const struct fg_dpkg_db *db, const char *name, struct fg_guest_packages *out,
		    struct fg_error *err) FG_MUST_CHECK;
void fg_dpkg_db_close(struct fg_dpkg_db *db);

#endif
