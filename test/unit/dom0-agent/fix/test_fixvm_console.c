/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <check.h>
#include <dom0-agent/fix/fixvm_console.h>
#include <lib/util.h>

#include <string.h>

#define NONCE "0123456789abcdef0123456789abcdef"
#define LINE(type, body) FG_FIXVM_PREFIX NONCE " " type " " body "\n"

static struct fg_console c;
static enum fg_fixvm_message seen[64];
static size_t n_seen, n_noise;

static void on_message(void *arg, enum fg_fixvm_message type, const json_t *body)
{
	(void)arg;
	ck_assert(json_is_object(body));
	ck_assert_uint_lt(n_seen, FG_COUNT(seen));
	seen[n_seen++] = type;
}

static void on_noise(void *arg, const char *line)
{
	(void)arg;
	for (const char *p = line; *p; p++)
		if ((unsigned char)*p < 0x20 || (unsigned char)*p >= 0x7f)
			ck_abort_msg("not printable");
	ck_assert_uint_le(strlen(line), FG_CONSOLE_NOISE_MAX);
	n_noise++;
}

static void start(bool inspect)
{
	const struct fg_console_events events = { on_message, on_noise, NULL };

	n_seen = n_noise = 0;
	fg_console_init(&c, NONCE, inspect, &events);
}

static void feed(const char *text)
{
	fg_console_feed(&c, text, strlen(text));
}

START_TEST(a_fix_in_its_order)
{
	start(false);
	feed("Booting\n" LINE("hello", "{}") LINE("net-up", "{}") LINE("progress", "{}") LINE("progress", "{}"));
	feed(LINE("verified", "{}"));
	c.closed_sent = true;
	feed(LINE("mounted", "{}") LINE("applies", "{}") LINE("running", "{}") LINE("output", "{}")
		     LINE("output", "{}"));
	feed(LINE("result", "{\"outcome\":\"verified\"}"));
	ck_assert_uint_eq(n_seen, 11);
	ck_assert_uint_eq(n_noise, 1);
	feed(LINE("result", "{\"outcome\":\"failed\"}") LINE("output", "{}"));
	ck_assert_uint_eq(n_seen, 11); /* nothing counts after the result */
}
END_TEST

START_TEST(byte_by_byte_and_crlf)
{
	static const char text[] = FG_FIXVM_PREFIX NONCE " hello {\"mode\":\"fix\"}\r\n";

	start(false);
	for (size_t i = 0; i + 1 < sizeof(text); i++)
		fg_console_feed(&c, text + i, 1);
	ck_assert_uint_eq(n_seen, 1);
}
END_TEST

START_TEST(what_does_not_count)
{
	static const char *const bad[] = {
		FG_FIXVM_PREFIX "ffffffffffffffffffffffffffffffff hello {}\n",
		FG_FIXVM_PREFIX NONCE " hello\n",
		FG_FIXVM_PREFIX NONCE " hello []\n",
		FG_FIXVM_PREFIX NONCE " hello {\"a\":1,\"a\":2}\n",
		FG_FIXVM_PREFIX NONCE " hello {} x\n",
		FG_FIXVM_PREFIX NONCE " hello {\n",
		FG_FIXVM_PREFIX NONCE "  hello {}\n",
		FG_FIXVM_PREFIX NONCE " HELLO {}\n",
		FG_FIXVM_PREFIX NONCE " hell {}\n",
		FG_FIXVM_PREFIX NONCE " helloo {}\n",
		FG_FIXVM_PREFIX NONCE " closed {}\n",
		FG_FIXVM_PREFIX NONCE " result {}\n", /* before hello */
		FG_FIXVM_PREFIX NONCE " verified {}\n",
		"x" FG_FIXVM_PREFIX NONCE " hello {}\n",
		"@fixgate2 " NONCE " hello {}\n",
		FG_FIXVM_PREFIX "\n",
		FG_FIXVM_PREFIX NONCE "\n",
		FG_FIXVM_PREFIX NONCE " \n",
	};

	for (size_t i = 0; i < FG_COUNT(bad); i++) {
		start(false);
		feed(bad[i]);
		ck_assert_msg(n_seen == 0 && c.noise_lines == 1, "%s", bad[i]);
	}
}
END_TEST

START_TEST(guest_is_not_spoken_of_before_the_nic_is_closed)
{
	start(false);
	feed(LINE("hello", "{}") LINE("verified", "{}") LINE("mounted", "{}") LINE("running", "{}"));
	ck_assert_uint_eq(n_seen, 2);
	feed(LINE("result", "{\"outcome\":\"failed\"}")); /* but it may fail at any time */
	ck_assert_uint_eq(n_seen, 3);
}
END_TEST

START_TEST(an_inspection_downloads_and_runs_nothing)
{
	start(true);
	feed(LINE("hello", "{}") LINE("net-up", "{}") LINE("progress", "{}") LINE("verified", "{}")
		     LINE("running", "{}"));
	ck_assert_uint_eq(n_seen, 1);
	feed(LINE("mounted", "{}") LINE("applies", "{}") LINE("result", "{}"));
	ck_assert_uint_eq(n_seen, 4);
}
END_TEST

START_TEST(order_is_not_turned_back)
{
	start(false);
	feed(LINE("hello", "{}") LINE("verified", "{}") LINE("net-up", "{}") LINE("hello", "{}")
		     LINE("verified", "{}"));
	ck_assert_uint_eq(n_seen, 2);
}
END_TEST

START_TEST(long_lines_are_cut_and_do_not_count)
{
	fg_autofree char *text = fg_calloc(1, 3 * FG_FIXVM_LINE_MAX);

	start(false);
	memset(text, 'a', 2 * FG_FIXVM_LINE_MAX);
	feed(text);
	feed("\n" LINE("hello", "{}"));
	ck_assert_uint_eq(n_seen, 1);
	ck_assert_uint_eq(n_noise, 1);

	/* A message that is padded over the limit is none. */
	start(false);
	snprintf(text, 3 * FG_FIXVM_LINE_MAX, FG_FIXVM_PREFIX NONCE " hello {%*s}\n", FG_FIXVM_LINE_MAX, "");
	feed(text);
	ck_assert_uint_eq(n_seen, 0);
	/* The longest that is allowed: FG_FIXVM_LINE_MAX with its newline. */
	start(false);
	int room = FG_FIXVM_LINE_MAX - (int)strlen(LINE("hello", "{}"));
	snprintf(text, 3 * FG_FIXVM_LINE_MAX, FG_FIXVM_PREFIX NONCE " hello {%*s}\n", room, "");
	feed(text);
	ck_assert_uint_eq(n_seen, 1);
}
END_TEST

START_TEST(stopped_from_inside_an_event)
{
	start(false);
	feed(LINE("hello", "{}"));
	c.stopped = true;
	feed(LINE("net-up", "{}") "noise\n");
	ck_assert_uint_eq(n_seen, 1);
	ck_assert_uint_eq(n_noise, 0);
}
END_TEST

/* Any bytes: no crash, and nothing is taken for a message that has not the nonce. */
START_TEST(random_bytes)
{
	static const char good[] = LINE("hello", "{\"mode\":\"fix\"}");
	unsigned seed = 12345;
	char buf[sizeof(good)];

	for (int round = 0; round < 20000; round++) {
		memcpy(buf, good, sizeof(good));
		for (int k = 0; k < 1 + round % 3; k++) {
			seed = seed * 1103515245u + 12345u;
			buf[(seed >> 8) % (sizeof(good) - 1)] = (char)(seed >> 20);
		}
		start(false);
		fg_console_feed(&c, buf, sizeof(good) - 1);
		fg_console_feed(&c, "\n", 1);
		if (n_seen)
			ck_assert(n_seen == 1 && memmem(buf, sizeof(buf), NONCE, strlen(NONCE)) != NULL);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("fix");
	TCase *t = tcase_create("console");

	tcase_add_test(t, a_fix_in_its_order);
	tcase_add_test(t, byte_by_byte_and_crlf);
	tcase_add_test(t, what_does_not_count);
	tcase_add_test(t, guest_is_not_spoken_of_before_the_nic_is_closed);
	tcase_add_test(t, an_inspection_downloads_and_runs_nothing);
	tcase_add_test(t, order_is_not_turned_back);
	tcase_add_test(t, long_lines_are_cut_and_do_not_count);
	tcase_add_test(t, stopped_from_inside_an_event);
	tcase_add_test(t, random_bytes);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
