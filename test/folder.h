/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A folder for one test.  test_folder_make() -> files -> test_folder_remove(). */
#ifndef FG_TEST_FOLDER_H
#define FG_TEST_FOLDER_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* name: as for mkdtemp(3), its last six characters are set; it can be used again.  The process is aborted where it cannot be made. */
static inline void test_folder_make(char *name)
{
	memcpy(name + strlen(name) - 6, "XXXXXX", 6);
	if (!mkdtemp(name)) {
		perror(name);
		abort();
	}
}

static inline int test_folder_remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

/* With all that is in it. */
static inline void test_folder_remove(const char *name)
{
	nftw(name, test_folder_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

#endif
