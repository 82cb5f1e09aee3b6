/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The config files of xl: whose they are, also while one cannot be read. */
#include "dom0-agent/toolstack/xl_private.h"
#include "lib/util.h"
#include "test/folder.h"

#include <check.h>
#include <string.h>
#include <unistd.h>

#define WEB1 "f19a0000-0000-4000-8000-000000000011"
#define WEB2 "f19a0000-0000-4000-8000-000000000012"

static char dir[] = "/tmp/test-xl-files-XXXXXX";
static struct xl_ts ts;

static void setup(void)
{
	test_folder_make(dir);
	memset(&ts, 0, sizeof(ts));
	ts.config_dir = dir;
}

static void teardown(void)
{
	xl_files_free(&ts);
	test_folder_remove(dir);
}

static void put(const char *text)
{
	fg_autofree char *path = fg_asprintf("%s/web1.cfg", dir);

	ck_assert_int_eq(fg_file_write_durable(path, text, strlen(text), 0600, NULL), 0);
	xl_files_refresh(&ts);
}

static const char *name_of(const char *uuid)
{
	const struct xl_file *file = xl_file_by_uuid(&ts, uuid);

	return file ? file->name : "(none)";
}

START_TEST(file_keeps_its_guest_while_it_cannot_be_parsed)
{
	fg_autofree char *path = fg_asprintf("%s/web1.cfg", dir);

	put("name = 'web1'\nuuid = '" WEB1 "'\n");
	ck_assert_str_eq(name_of(WEB1), "web1");
	put("name = 'web1\nuuid = [\n"); /* somebody is just writing it */
	ck_assert_str_eq(name_of(WEB1), "web1");
	put("name = 'other'\nuuid = '" WEB2 "'\n");
	ck_assert_str_eq(name_of(WEB1), "(none)");
	ck_assert_str_eq(name_of(WEB2), "other");
	ck_assert_int_eq(unlink(path), 0);
	xl_files_refresh(&ts);
	ck_assert_str_eq(name_of(WEB2), "(none)");
	put("name = 'web1'\nuuid = '" WEB1 "'\n");
	ck_assert_str_eq(name_of(WEB1), "web1");
	put("name = 'web1'\n"); /* pins none any more */
	ck_assert_str_eq(name_of(WEB1), "(none)");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("xl_files");
	TCase *tc = tcase_create("all");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, file_keeps_its_guest_while_it_cannot_be_parsed);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
