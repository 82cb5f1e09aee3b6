/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <check.h>
#include <fixgate/state.h>
#include <lib/util.h>
#include <test/folder.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

START_TEST(error_keeps_first_cause_and_wraps_outside_in)
{
	struct fg_error err = FG_ERROR_INIT;

	ck_assert_int_eq(fg_error_errno(&err, FG_EIO, 2, "open %s", "x"), -FG_EIO);
	ck_assert_int_eq(fg_error_set(&err, FG_EBUG, "later"), -FG_EBUG);
	ck_assert_int_eq(fg_error_wrap(&err, "job %d", 7), -FG_EIO);
	ck_assert_str_eq(err.text, "job 7: open x: No such file or directory");
	ck_assert_int_eq(err.sys, 2);
	ck_assert_int_eq(fg_error_exit_status(&err), 14);
	for (int i = 0; i < 200; i++)
		fg_error_wrap(&err, "a rather long outer context number %d", i);
	ck_assert_uint_lt(strlen(err.text), sizeof(err.text));
}
END_TEST

START_TEST(what_is_no_utf8_is_replaced)
{
	static const struct {
		const char *in, *out;
	} cases[] = { { "plain", "plain" },
		      { "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80" },
		      { "a\xc3", "a?" },
		      { "\xe2\x82z\xff", "??z?" },
		      { "\xc0\xaf", "??" },
		      { "\xe0\x80\xaf", "???" },
		      { "\xed\xa0\x80", "???" },
		      { "\xed\x9f\xbf\xf4\x8f\xbf\xbf", "\xed\x9f\xbf\xf4\x8f\xbf\xbf" },
		      { "\xf4\x90\x80\x80", "????" },
		      { "\xf0\x8f\xbf\xbf", "????" },
		      { "\x80x", "?x" } };

	for (size_t i = 0; i < FG_COUNT(cases); i++) {
		fg_autofree char *text = fg_strdup(cases[i].in);
		fg_utf8_clean(text);
		ck_assert_str_eq(text, cases[i].out);
	}
}
END_TEST

START_TEST(errors_are_utf8_wherever_they_are_cut)
{
	char word[700] = "";

	for (size_t i = 0; i + 2 < sizeof(word); i += 2)
		memcpy(word + i, "\xc3\xa9", 3);
	for (int shift = 0; shift < 2; shift++) {
		struct fg_error err = FG_ERROR_INIT;
		json_t *text;
		ck_assert_int_eq(fg_error_set(&err, FG_EFORMAT, "%s%s", shift ? "x" : "", word), -FG_EFORMAT);
		text = json_string(err.text);
		ck_assert_ptr_nonnull(text);
		json_decref(text);
		fg_error_wrap(&err, "'%.*s'", 3, word);
		text = json_string(err.text);
		ck_assert_ptr_nonnull(text);
		json_decref(text);
	}
}
END_TEST

START_TEST(hex_uuid_mac)
{
	uint8_t b[6] = { 9, 9, 9, 9, 9, 9 };
	char uuid[FG_UUID_TEXT], again[FG_UUID_TEXT], mac[18];
	struct fg_error err = FG_ERROR_INIT;

	ck_assert_int_eq(fg_hex_decode("0aFF", b, 2, NULL), 0);
	ck_assert_uint_eq(b[0], 0x0a);
	ck_assert_uint_eq(b[1], 0xff);
	ck_assert_int_eq(fg_hex_decode("0aF", b, 2, NULL), -FG_EFORMAT);
	ck_assert_int_eq(fg_hex_decode("0aFg", b, 2, NULL), -FG_EFORMAT);
	ck_assert_uint_eq(b[0], 0x0a); /* untouched on failure */

	fg_uuid_new(uuid);
	ck_assert_int_eq(fg_uuid_parse(uuid, again, &err), 0);
	ck_assert_str_eq(uuid, again);
	ck_assert_int_eq(fg_uuid_parse("6ba7b810-9dad-11d1-80b4-00c04fd430cg", again, NULL), -FG_EFORMAT);
	ck_assert_int_eq(fg_uuid_parse("../../../../../../../../etc/passwd-xx", again, NULL), -FG_EFORMAT);

	ck_assert_int_eq(fg_mac_parse("00:16:3E:0a:0b:0c", b, NULL), 0);
	fg_mac_format(b, mac);
	ck_assert_str_eq(mac, "00:16:3e:0a:0b:0c");
	ck_assert_int_eq(fg_mac_parse("00-16-3E-0a-0b-0c", b, NULL), -FG_EFORMAT);
	ck_assert_int_eq(fg_mac_parse("00:16:3E:0a:0b", b, NULL), -FG_EFORMAT);
}
END_TEST

START_TEST(times_that_do_not_exist_are_refused)
{
	int64_t t = 0;
	char text[21];

	ck_assert_int_eq(fg_time_parse("2026-11-23T21:00:00Z", &t, NULL), 0);
	fg_time_format(t, text);
	ck_assert_str_eq(text, "2026-11-23T21:00:00Z");
	ck_assert_int_eq(fg_time_parse("2026-02-31T00:00:00Z", &t, NULL), -FG_EFORMAT);
	ck_assert_int_eq(fg_time_parse("2026-02-01T00:00:00", &t, NULL), -FG_EFORMAT);
	ck_assert_int_eq(fg_time_parse("2026-02-01T00:00:00Zx", &t, NULL), -FG_EFORMAT);
}
END_TEST

START_TEST(durable_file_replaces_whole_or_not_at_all)
{
	char dir[] = "/tmp/fg-util-XXXXXX";
	struct fg_error err = FG_ERROR_INIT;
	fg_autofree char *text = NULL;

	test_folder_make(dir);
	fg_autofree char *path = fg_asprintf("%s/a/b/state", dir);
	fg_autofree char *folder = fg_asprintf("%s/a/b", dir);
	ck_assert_int_eq(fg_file_write_durable(path, "x", 1, 0600, &err), -FG_EIO);
	ck_assert_int_eq(fg_mkdir_p(folder, 0700, NULL), 0);
	ck_assert_int_eq(fg_file_write_durable(path, "one", 3, 0600, NULL), 0);
	ck_assert_int_eq(fg_file_write_durable(path, "second", 6, 0600, NULL), 0);
	ck_assert_int_eq(fg_file_read(path, 6, &text, NULL, NULL), 0);
	ck_assert_str_eq(text, "second");
	fg_autofree char *none = NULL;
	ck_assert_int_eq(fg_file_read(path, 5, &none, NULL, NULL), -FG_ELIMIT);
	ck_assert_ptr_null(none);
	ck_assert_int_eq(fg_file_remove_durable(path, NULL), 0);
	ck_assert_int_eq(fg_file_remove_durable(path, NULL), 0);
	ck_assert_int_eq(fg_file_remove_durable("/nowhere/at-all", NULL), 0);
	ck_assert_int_eq(fg_file_remove_durable("/proc/version/at-all", NULL), -FG_EIO);
	ck_assert_int_eq(fg_file_read(path, 5, &none, NULL, NULL), -FG_ENOTFOUND);
	test_folder_remove(dir);
}
END_TEST

/* _i: the reader is there, or gone, or does not read. */
START_TEST(write_all_is_all_or_an_error)
{
	static char sent[300000], got[sizeof(sent)];
	int fds[2], status = 0;

	memset(sent, 'x', sizeof(sent));
	ck_assert_int_eq(pipe2(fds, _i == 2 ? O_NONBLOCK : 0), 0);
	signal(SIGPIPE, SIG_IGN);
	pid_t reader = _i == 0 ? fork() : 0;
	if (_i == 0 && reader == 0) {
		size_t n = 0;
		close(fds[1]);
		for (ssize_t r; (r = read(fds[0], got + n, sizeof(got) - n)) > 0;)
			n += (size_t)r;
		_exit(n == sizeof(got) && !memcmp(got, sent, n) ? 0 : 1);
	}
	if (_i < 2)
		close(fds[0]);
	errno = 0;
	ck_assert_int_eq(fg_fd_write_all(fds[1], sent, sizeof(sent)), _i == 0 ? 0 : -1);
	ck_assert_int_eq(errno, _i == 0 ? 0 : _i == 1 ? EPIPE : EAGAIN);
	close(fds[1]);
	if (_i == 2)
		close(fds[0]);
	if (reader)
		ck_assert_int_eq(waitpid(reader, &status, 0), reader);
	ck_assert_int_eq(status, 0);
}
END_TEST

START_TEST(json_is_strict)
{
	static const char *const bad[] = { "", "{", "{\"a\":1,\"a\":2}", "{} x", "{\"a\":\"\\u0000\"}", "[1,]" };
	struct fg_error err = FG_ERROR_INIT;
	fg_autojson json_t *j = NULL;
	const char *s = NULL;
	int64_t n = 0;

	for (size_t i = 0; i < FG_COUNT(bad); i++) {
		json_t *none = NULL;
		ck_assert_msg(fg_json_parse(bad[i], strlen(bad[i]), &none, NULL) == -FG_EFORMAT, "%s", bad[i]);
	}
	ck_assert_int_eq(fg_json_parse("{\"s\":\"x\",\"n\":7,\"z\":null}", 24, &j, NULL), 0);
	ck_assert_int_eq(fg_json_string(j, "s", &s, NULL), 0);
	ck_assert_str_eq(s, "x");
	ck_assert_int_eq(fg_json_string(j, "n", &s, NULL), -FG_EFORMAT);
	ck_assert_int_eq(fg_json_string(j, "z", &s, &err), -FG_EFORMAT);
	ck_assert_str_eq(err.text, "'z' is missing");
	ck_assert_int_eq(fg_json_int(j, "n", 0, 6, &n, NULL), -FG_EFORMAT);
	ck_assert_int_eq(fg_json_int(j, "n", 0, 7, &n, NULL), 0);
	ck_assert_int_eq(n, 7);
}
END_TEST

START_TEST(state_names_go_both_ways)
{
	for (int i = 0; i < FG_STATE_COUNT; i++)
		ck_assert_int_eq(fg_state_from_name(fg_state_name((enum fg_state)i)), i);
	ck_assert_int_eq(fg_state_from_name("nonsense"), FG_STATE_COUNT);
	ck_assert_ptr_null(fg_state_name(FG_STATE_COUNT));
	ck_assert(fg_state_is_end(FG_STATE_HELD));
	ck_assert(!fg_state_is_end(FG_STATE_REBOOTING));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("lib");
	TCase *t = tcase_create("util");

	tcase_add_test(t, error_keeps_first_cause_and_wraps_outside_in);
	tcase_add_test(t, what_is_no_utf8_is_replaced);
	tcase_add_test(t, errors_are_utf8_wherever_they_are_cut);
	tcase_add_test(t, hex_uuid_mac);
	tcase_add_test(t, times_that_do_not_exist_are_refused);
	tcase_add_test(t, durable_file_replaces_whole_or_not_at_all);
	tcase_add_loop_test(t, write_all_is_all_or_an_error, 0, 3);
	tcase_add_test(t, json_is_strict);
	tcase_add_test(t, state_names_go_both_ways);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
