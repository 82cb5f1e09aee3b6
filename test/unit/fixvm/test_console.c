/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fixvm/init/console.h"
#include "fixvm/steps/output.h"

#include "lib/util.h"

#include <check.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define NONCE "00112233445566778899aabbccddeeff"

static struct fg_console console_on(int fd)
{
	struct fg_console c = { .fd = fd };

	memcpy(c.nonce, NONCE, sizeof(NONCE));
	return c;
}

START_TEST(a_line_is_ascii_and_ends_once)
{
	char line[FG_FIXVM_LINE_MAX + 1];
	size_t len;
	fg_autojson json_t *data = json_pack("{s:s}", "text", "a\nb\r\x1b[2J \"\\ \xc3\xa4 @fixgate1 x");

	ck_assert_int_eq(fg_console_line(NONCE, FG_FIXVM_OUTPUT, data, line, &len, NULL), 0);
	ck_assert_uint_eq(len, strlen(line));
	ck_assert_ptr_eq(strchr(line, '\n'), line + len - 1);
	for (size_t i = 0; i + 1 < len; i++)
		ck_assert(line[i] >= 0x20 && line[i] < 0x7f);
	ck_assert_int_eq(strncmp(line, FG_FIXVM_PREFIX NONCE " output {", 50), 0);
}
END_TEST

START_TEST(the_longest_text_fits_and_longer_lines_are_refused)
{
	char line[FG_FIXVM_LINE_MAX + 1], bytes[FG_CONSOLE_TEXT_MAX];
	size_t len;

	memset(bytes, 1, sizeof(bytes)); /* each becomes \u0001 */
	fg_autofree char *text = fg_console_text(bytes, sizeof(bytes), FG_CONSOLE_TEXT_MAX);
	fg_autojson json_t *data = json_pack("{s:s}", "text", text);
	ck_assert_int_eq(fg_console_line(NONCE, FG_FIXVM_OUTPUT, data, line, &len, NULL), 0);
	fg_autofree char *big = fg_calloc(1, FG_FIXVM_LINE_MAX);
	memset(big, 'x', FG_FIXVM_LINE_MAX - 1);
	fg_autojson json_t *too = json_pack("{s:s}", "text", big);
	ck_assert_int_eq(fg_console_line(NONCE, FG_FIXVM_OUTPUT, too, line, &len, NULL), -FG_ELIMIT);
}
END_TEST

START_TEST(text_from_any_bytes_is_utf8)
{
	static const struct {
		const char *in, *out;
		size_t len;
	} cases[] = {
		{ "plain", "plain", 5 },
		{ "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", 9 },
		{ "a\0b", "a?b", 3 },
		{ "\xff\xfe", "??", 2 },
		{ "\xc0\xaf", "??", 2 }, /* overlong */
		{ "\xed\xa0\x80", "???", 3 }, /* surrogate */
		{ "\xf4\x90\x80\x80", "????", 4 }, /* above U+10FFFF */
		{ "\xe2\x82", "??", 2 }, /* cut */
	};

	for (size_t i = 0; i < FG_COUNT(cases); i++) {
		fg_autofree char *text = fg_console_text(cases[i].in, cases[i].len, 600);
		fg_autojson json_t *json = json_string(text);

		ck_assert_str_eq(text, cases[i].out);
		ck_assert_ptr_nonnull(json);
	}
	fg_autofree char *cut = fg_console_text("ab\xc3\xa4", 4, 3);
	ck_assert_str_eq(cut, "ab");
}
END_TEST

static int feed(struct fg_console *c, const char *text)
{
	int got = 0;

	/* byte by byte: portions do not matter */
	for (; *text && !got; text++)
		got = fg_console_feed(c, text, 1);
	return got;
}

START_TEST(only_our_closed_counts)
{
	struct fg_console c = console_on(-1);
	fg_autofree char *big = fg_calloc(1, 3 * FG_FIXVM_LINE_MAX);

	ck_assert_int_eq(feed(&c, "noise\n\n@fixgate1 closed {}\n"), 0);
	ck_assert_int_eq(feed(&c, FG_FIXVM_PREFIX "00112233445566778899aabbccddeef0 closed {}\n"), 0);
	ck_assert_int_eq(feed(&c, FG_FIXVM_PREFIX NONCE " closed\n"), 0);
	ck_assert_int_eq(feed(&c, FG_FIXVM_PREFIX NONCE " closed []\n"), 0);
	ck_assert_int_eq(feed(&c, FG_FIXVM_PREFIX NONCE " closed {\"a\":}\n"), 0);
	ck_assert_int_eq(feed(&c, FG_FIXVM_PREFIX NONCE " verified {}\n"), 0);
	ck_assert_int_eq(feed(&c, "x" FG_FIXVM_PREFIX NONCE " closed {}\n"), 0);
	ck_assert_uint_eq(c.noise, 9);
	/* the end of a line that was too long is not a line */
	memset(big, 'x', 2 * FG_FIXVM_LINE_MAX);
	ck_assert_int_eq(feed(&c, big), 0);
	ck_assert_int_eq(feed(&c, FG_FIXVM_PREFIX NONCE " closed {}\n"), 0);
	ck_assert_int_eq(feed(&c, FG_FIXVM_PREFIX NONCE " closed {}\r\n"), 1);
}
END_TEST

START_TEST(waiting_ends_with_the_word_the_deadline_or_the_line)
{
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	struct fg_console c = console_on(pair[0]);
	ck_assert_int_eq(fg_console_wait_closed(&c, 1, NULL), -FG_ETIMEOUT);
	static const char word[] = "\n" FG_FIXVM_PREFIX NONCE " closed {}\n";
	ck_assert_int_eq(write(pair[1], word, sizeof(word) - 1), sizeof(word) - 1);
	ck_assert_int_eq(fg_console_wait_closed(&c, 5, NULL), 0);
	close(pair[1]);
	ck_assert_int_eq(fg_console_wait_closed(&c, 5, NULL), -FG_EIO);
	close(pair[0]);
}
END_TEST

START_TEST(of_much_output_the_begin_and_the_end_are_sent)
{
	int pair[2], size = 4 << 20;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	setsockopt(pair[0], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
	struct fg_console c = console_on(pair[0]);
	struct fg_output o;
	fg_output_init(&o, &c);
	for (int i = 0; i < 4000; i++) {
		char line[64];
		int n = snprintf(line, sizeof(line), "line %d of the output\n", i);
		fg_output_feed(&o, line, (size_t)n);
	}
	fg_output_end(&o);
	shutdown(pair[0], SHUT_WR);
	fg_autofree char *all = NULL;
	ck_assert_int_eq(fg_fd_read_all(pair[1], 8u << 20, &all, NULL, NULL), 0);
	ck_assert_ptr_nonnull(strstr(all, "line 0 of the output"));
	ck_assert_ptr_null(strstr(all, "line 3000 of the output"));
	ck_assert_ptr_nonnull(strstr(all, "bytes left out)"));
	ck_assert_ptr_nonnull(strstr(all, "line 3999 of the output"));
	ck_assert_uint_lt(strlen(all), 3 * (FG_OUTPUT_LIVE_MAX + FG_OUTPUT_TAIL_MAX) + 200000);
	close(pair[0]);
	close(pair[1]);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("fixvm");
	TCase *t = tcase_create("console");

	tcase_add_test(t, a_line_is_ascii_and_ends_once);
	tcase_add_test(t, the_longest_text_fits_and_longer_lines_are_refused);
	tcase_add_test(t, text_from_any_bytes_is_utf8);
	tcase_add_test(t, only_our_closed_counts);
	tcase_add_test(t, waiting_ends_with_the_word_the_deadline_or_the_line);
	tcase_add_test(t, of_much_output_the_begin_and_the_end_are_sent);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
