/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <check.h>
#include <event2/event.h>
#include <lib/frame.h>
#include <lib/util.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct peer {
	struct event_base *base;
	struct fg_frame *frame;
	int other; /* our end of the pair, blocking */
	unsigned messages, closed;
	int code;
	char last[128], text[512];
	bool free_on_message;
};

static void on_message(void *arg, struct fg_frame *frame, const json_t *message)
{
	struct peer *p = arg;
	char *text = fg_json_dump(message);

	p->messages++;
	snprintf(p->last, sizeof(p->last), "%s", text);
	free(text);
	ck_assert_ptr_eq(frame, p->frame);
	if (p->free_on_message) {
		fg_frame_free(frame);
		p->frame = NULL;
	}
}

static void on_closed(void *arg, struct fg_frame *frame, const struct fg_error *err)
{
	struct peer *p = arg;

	p->closed++;
	p->code = err->code;
	snprintf(p->text, sizeof(p->text), "%s", err->text);
	fg_frame_free(frame);
	p->frame = NULL;
}

static void setup(struct peer *p)
{
	int pair[2];

	*p = (struct peer){ .base = event_base_new() };
	struct fg_frame_events events = { .message = on_message, .closed = on_closed, .arg = p };
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	p->other = pair[1];
	ck_assert_int_eq(fg_frame_new(p->base, pair[0], &events, &p->frame, NULL), 0);
}

static void teardown(struct peer *p)
{
	fg_frame_free(p->frame);
	if (p->other >= 0)
		close(p->other);
	event_base_free(p->base);
}

/* What is there now. */
static void turn(struct peer *p)
{
	for (int i = 0; i < 200; i++)
		event_base_loop(p->base, EVLOOP_NONBLOCK);
}

static void put(struct peer *p, const void *bytes, size_t len)
{
	ck_assert_int_eq(write(p->other, bytes, len), (ssize_t)len);
}

static void put_message(struct peer *p, const char *text)
{
	size_t len = strlen(text);
	uint8_t head[4] = { (uint8_t)(len >> 24), (uint8_t)(len >> 16), (uint8_t)(len >> 8), (uint8_t)len };

	put(p, head, 4);
	put(p, text, len);
}

START_TEST(messages_come_whole_whatever_the_pieces)
{
	struct peer p;

	setup(&p);
	static const char bytes[] = "\0\0\0\x07{\"a\":1}\0\0\0\x02{}";
	for (size_t i = 0; i + 1 < sizeof(bytes); i++) {
		put(&p, bytes + i, 1);
		turn(&p);
		ck_assert_uint_eq(p.messages, i < 10 ? 0 : i < 16 ? 1 : 2);
	}
	ck_assert_str_eq(p.last, "{}");
	put_message(&p, "{\"n\":1}");
	put_message(&p, "{\"n\":2}");
	put_message(&p, "{\"n\":3}");
	turn(&p);
	ck_assert_uint_eq(p.messages, 5);
	ck_assert_str_eq(p.last, "{\"n\":3}");
	ck_assert_uint_eq(p.closed, 0);
	teardown(&p);
}
END_TEST

static const struct {
	const char *bytes;
	size_t len;
	int code;
	const char *says;
} bad[] = {
	{ "\xff\xff\xff\xff", 4, FG_ELIMIT, "4294967295 bytes" },
	{ "\x00\x40\x00\x01", 4, FG_ELIMIT, "4194305 bytes" },
	{ "\0\0\0\0", 4, FG_EFORMAT, "JSON" },
	{ "\0\0\0\2[]", 6, FG_EFORMAT, "no JSON object" },
	{ "\0\0\0\2{]", 6, FG_EFORMAT, "JSON" },
	{ "\0\0\0\4{}{}", 8, FG_EFORMAT, "JSON" },
	{ "\0\0\0\x0d{\"a\":1,\"a\":2}", 17, FG_EFORMAT, "JSON" },
	{ "\0\0\0\x04null", 8, FG_EFORMAT, "JSON" },
	{ "GET / HTTP/1.0\r\n\r\n", 18, FG_ELIMIT, "bytes" },
};

START_TEST(what_is_no_message_ends_the_connection)
{
	struct peer p;

	setup(&p);
	put_message(&p, "{}");
	put(&p, bad[_i].bytes, bad[_i].len);
	put_message(&p, "{\"after\":1}");
	turn(&p);
	ck_assert_uint_eq(p.messages, 1);
	ck_assert_uint_eq(p.closed, 1);
	ck_assert_int_eq(p.code, bad[_i].code);
	ck_assert_msg(strstr(p.text, bad[_i].says), "'%s'", p.text);
	teardown(&p);
}
END_TEST

START_TEST(end_of_file_is_clean_only_between_messages)
{
	struct peer p;

	setup(&p);
	put_message(&p, "{}");
	close(p.other);
	p.other = -1;
	turn(&p);
	ck_assert_uint_eq(p.messages, 1);
	ck_assert_uint_eq(p.closed, 1);
	ck_assert_int_eq(p.code, 0);
	teardown(&p);

	setup(&p);
	put(&p, "\0\0\0\x09{", 5);
	close(p.other);
	p.other = -1;
	turn(&p);
	ck_assert_uint_eq(p.messages, 0);
	ck_assert_uint_eq(p.closed, 1);
	ck_assert_int_eq(p.code, FG_EFORMAT);
	teardown(&p);

	setup(&p);
	json_t *unread = json_pack("{s:i}", "n", 1);
	ck_assert_int_eq(fg_frame_send(p.frame, unread, NULL), 0);
	turn(&p);
	close(p.other); /* with bytes unread: ECONNRESET at our end */
	p.other = -1;
	turn(&p);
	ck_assert_uint_eq(p.closed, 1);
	ck_assert_int_eq(p.code, 0);
	json_decref(unread);
	teardown(&p);
}
END_TEST

START_TEST(a_dead_peer_raises_no_signal_and_its_last_words_are_heard)
{
	struct peer p;
	json_t *message = json_pack("{s:i}", "n", 1);

	setup(&p);
	put_message(&p, "{\"last\":1}");
	close(p.other);
	p.other = -1;
	/* The write fails with EPIPE, perhaps before the read is seen. */
	ck_assert_int_eq(fg_frame_send(p.frame, message, NULL), 0);
	turn(&p);
	ck_assert_str_eq(p.last, "{\"last\":1}");
	ck_assert_uint_eq(p.closed, 1);
	json_decref(message);
	teardown(&p);
}
END_TEST

START_TEST(a_callback_may_free_the_frame)
{
	struct peer p;

	setup(&p);
	p.free_on_message = true;
	put_message(&p, "{}");
	put_message(&p, "{}");
	turn(&p);
	ck_assert_uint_eq(p.messages, 1);
	ck_assert_uint_eq(p.closed, 0);
	teardown(&p);
}
END_TEST

START_TEST(large_messages_go_both_ways)
{
	struct peer a, b;
	int pair[2];
	size_t len = FG_FRAME_MAX - 8; /* {"s":"…"} */
	char *text = fg_calloc(1, len + 1);

	memset(text, 'x', len);
	json_t *fits = json_pack("{s:s#}", "s", text, (int)len), *over = json_pack("{s:s}", "ss", text);
	a = (struct peer){ .base = event_base_new(), .other = -1 };
	b = (struct peer){ .base = a.base, .other = -1 };
	struct fg_frame_events ea = { on_message, on_closed, &a }, eb = { on_message, on_closed, &b };
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	ck_assert_int_eq(fg_frame_new(a.base, pair[0], &ea, &a.frame, NULL), 0);
	ck_assert_int_eq(fg_frame_new(a.base, pair[1], &eb, &b.frame, NULL), 0);
	ck_assert_int_eq(fg_frame_send(a.frame, fits, NULL), 0);
	ck_assert_int_eq(fg_frame_send(a.frame, over, NULL), -FG_ELIMIT);
	ck_assert_int_eq(fg_frame_send(b.frame, fits, NULL), 0);
	while (a.messages + b.messages < 2 && a.closed + b.closed == 0)
		event_base_loop(a.base, EVLOOP_ONCE);
	ck_assert_uint_eq(a.messages, 1);
	ck_assert_uint_eq(b.messages, 1);
	json_decref(fits);
	json_decref(over);
	free(text);
	fg_frame_free(b.frame);
	teardown(&a);
}
END_TEST

START_TEST(a_peer_that_does_not_read_is_limited)
{
	struct peer p;
	char *text = fg_calloc(1, 1u << 20);
	struct fg_error err = FG_ERROR_INIT;
	unsigned sent = 0;

	memset(text, 'x', (1u << 20) - 1);
	json_t *message = json_pack("{s:s}", "s", text);
	setup(&p);
	while (sent < 100 && fg_frame_send(p.frame, message, &err) == 0) {
		sent++;
		turn(&p);
	}
	ck_assert_int_eq(err.code, FG_ELIMIT);
	ck_assert_uint_ge(sent, 15);
	ck_assert_uint_le(sent, 17);
	json_decref(message);
	free(text);
	teardown(&p);
}
END_TEST

START_TEST(the_peer_is_known)
{
	struct peer p;
	unsigned uid = 99, gid = 99;
	int pid = 0;

	setup(&p);
	ck_assert_int_eq(fg_frame_peer(p.frame, &uid, &gid, &pid, NULL), 0);
	ck_assert_uint_eq(uid, geteuid());
	ck_assert_uint_eq(gid, getegid());
	ck_assert_int_gt(pid, 0);
	teardown(&p);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("frame");
	TCase *t = tcase_create("frame");

	tcase_set_timeout(t, 30);
	tcase_add_test(t, messages_come_whole_whatever_the_pieces);
	tcase_add_loop_test(t, what_is_no_message_ends_the_connection, 0, (int)FG_COUNT(bad));
	tcase_add_test(t, end_of_file_is_clean_only_between_messages);
	tcase_add_test(t, a_dead_peer_raises_no_signal_and_its_last_words_are_heard);
	tcase_add_test(t, a_callback_may_free_the_frame);
	tcase_add_test(t, large_messages_go_both_ways);
	tcase_add_test(t, a_peer_that_does_not_read_is_limited);
	tcase_add_test(t, the_peer_is_known);
	suite_add_tcase(s, t);

	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
