/* SPDX-License-Identifier: GPL-3.0-or-later */
/* simulate on frames built here, and the reader of captures.  test/netns/filter_random.py compares with the kernel. */
#include <check.h>
#include <lib/util.h>
#include <netback-filter/pcap.h>

#include <arpa/inet.h>
#include <byteswap.h>
#include <string.h>

#define UUID "11111111-1111-4111-8111-111111111111"

static struct fg_filter_dev dev = { "vif1.0", { 2, 0, 0, 0, 0, 1 } };
static struct fg_filter_server server = { .port = 443, .mac = { 2, 0, 0, 0, 0, 9 } };
static struct fg_ip address = { .family = AF_INET };
static struct fg_filter_guest guest = { .uuid = UUID, .devs = &dev, .n_devs = 1, .servers = &server, .n_servers = 1 };
static struct fg_filter_sim *sim;
static struct fg_filter_verdict v;

/* Ethernet, IPv4 of 40 bytes, TCP from port 40000 to 443 */
static const uint8_t tcp[54] = { 2, 0,	  0,  0, 0, 9, 2, 0, 0,	 0, 0,	  1, 8,	 0, 0x45, 0, 0,	   40,
				 0, 7,	  64, 0, 9, 6, 0, 0, 10, 0, 0,	  2, 10, 0, 0,	  1, 0x9c, 0x40,
				 1, 0xbb, 0,  0, 0, 1, 0, 0, 0,	 0, 0x50, 2, 32, 0, 0,	  0, 0,	   0 };
static const uint8_t arp[42] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0,  0, 0, 0, 1, 8, 6, 0, 1, 8, 0,  6, 4, 0,
				 1,    2,    0,	   0,	 0,    0,    1, 10, 0, 0, 2, 0, 0, 0, 0, 0, 0, 10, 0, 0, 1 };

static void open_sim(void)
{
	server.address.family = address.family = AF_INET;
	inet_pton(AF_INET, "10.0.0.1", &server.address.v4);
	inet_pton(AF_INET, "10.0.0.2", &address.v4);
	guest.addresses = &address;
	guest.n_addresses = 1;
	ck_assert_int_eq(fg_filter_sim_new(&guest, &sim, NULL), 0);
}

static void close_sim(void)
{
	fg_filter_sim_free(sim);
	guest.rate_pps = 0;
}

static const char *judge_at(const uint8_t *bytes, size_t captured, size_t length, enum fg_filter_direction direction,
			    int64_t time_ns)
{
	struct fg_filter_frame f = { bytes, captured, length, time_ns };

	fg_filter_sim_frame(sim, direction, &f, &v);
	return v.reason;
}

static const char *judge(const uint8_t *bytes, size_t captured, size_t length)
{
	return judge_at(bytes, captured, length, FG_FILTER_FROM_GUEST, 0);
}

START_TEST(passes_and_drops)
{
	uint8_t f[54];

	ck_assert_str_eq(judge(tcp, 54, 54), "pass-tcp");
	ck_assert_int_eq(v.outcome, FG_FILTER_PASS);
	ck_assert(!v.rewritten);
	memcpy(f, tcp, sizeof(f));
	f[36] = 0;
	ck_assert_str_eq(judge(f, 54, 54), "wrong-port");
	ck_assert_int_eq(v.outcome, FG_FILTER_DROP);
	ck_assert_str_eq(judge(tcp, 10, 10), "runt");
	f[6] = 4;
	ck_assert_str_eq(judge(f, 54, 54), "spoofed-mac");
}
END_TEST

START_TEST(rewrites)
{
	ck_assert_str_eq(judge(arp, 42, 42), "pass-arp");
	ck_assert(v.rewritten);
	ck_assert_mem_eq(v.dmac, server.mac, 6);
}
END_TEST

/* What was not captured decides only where a rule asks for it. */
START_TEST(cut_captures)
{
	for (size_t n = 0; n <= 54; n++) {
		judge(tcp, n, 54);
		ck_assert_int_eq(v.outcome, n < 38 ? FG_FILTER_CUT : FG_FILTER_PASS);
		if (n < 38)
			ck_assert_str_eq(v.reason, "capture-too-short");
	}
	uint8_t f[20];
	memcpy(f, tcp, sizeof(f));
	f[12] = 0x81; /* tagged: dropped for that alone */
	ck_assert_str_eq(judge(f, 18, 54), "capture-too-short");
	ck_assert_str_eq(judge(f, 20, 54), "vlan");
	ck_assert_str_eq(judge(f, 19, 19), "runt");
}
END_TEST

/* The packet is as long as the frame, or there is no transport protocol. */
START_TEST(lengths)
{
	ck_assert_str_eq(judge(tcp, 54, 60), "pass-tcp");
	ck_assert_int_eq(v.outcome, FG_FILTER_PASS);
	judge(tcp, 53, 53);
	ck_assert_int_eq(v.outcome, FG_FILTER_DROP);
}
END_TEST

START_TEST(direction_by_source)
{
	uint8_t f[54];

	judge_at(tcp, 54, 54, FG_FILTER_BY_SOURCE, 0);
	ck_assert_int_eq(v.direction, FG_FILTER_FROM_GUEST);
	memcpy(f, tcp, sizeof(f));
	memcpy(f, dev.mac, 6);
	memcpy(f + 6, server.mac, 6);
	memcpy(f + 26, &server.address.v4, 4);
	memcpy(f + 30, &address.v4, 4);
	memcpy(f + 34, tcp + 36, 2);
	memcpy(f + 36, tcp + 34, 2);
	ck_assert_str_eq(judge_at(f, 54, 54, FG_FILTER_BY_SOURCE, 0), "pass-tcp");
	ck_assert_int_eq(v.direction, FG_FILTER_TO_GUEST);
	judge_at(f, 4, 54, FG_FILTER_BY_SOURCE, 0);
	ck_assert_int_eq(v.outcome, FG_FILTER_CUT);
}
END_TEST

/* Bucket of 64 frames, then 100 a second by the frames' times. */
START_TEST(rate_by_time)
{
	unsigned passed = 0;

	fg_filter_sim_free(sim);
	guest.rate_pps = 100;
	ck_assert_int_eq(fg_filter_sim_new(&guest, &sim, NULL), 0);
	for (int i = 0; i < 200; i++)
		passed += strcmp(judge_at(tcp, 54, 54, FG_FILTER_FROM_GUEST, 5000), "pass-tcp") == 0;
	ck_assert_uint_eq(passed, 64);
	ck_assert_str_eq(v.reason, "rate");
	ck_assert_str_eq(judge_at(tcp, 54, 54, FG_FILTER_FROM_GUEST, 4000), "rate"); /* time goes back */
	ck_assert_str_eq(judge_at(tcp, 54, 54, FG_FILTER_FROM_GUEST, 5000 + 9999999), "rate");
	ck_assert_str_eq(judge_at(tcp, 54, 54, FG_FILTER_FROM_GUEST, 5000 + 10000000), "pass-tcp");
	ck_assert_str_eq(judge_at(tcp, 54, 54, FG_FILTER_FROM_GUEST, 5000 + 10000001), "rate");
	passed = 0;
	for (int i = 0; i < 200; i++)
		passed += strcmp(judge_at(tcp, 54, 54, FG_FILTER_FROM_GUEST, INT64_MAX), "pass-tcp") == 0;
	ck_assert_uint_eq(passed, 64);
}
END_TEST

START_TEST(one_interface)
{
	struct fg_filter_dev two[2] = { dev, dev };
	struct fg_filter_guest g = guest;
	struct fg_filter_sim *s;

	g.devs = two;
	g.n_devs = 2;
	ck_assert_int_eq(fg_filter_sim_new(&g, &s, NULL), 0);
	fg_filter_sim_free(s);
	two[1].mac[5] = 2;
	ck_assert_int_eq(fg_filter_sim_new(&g, &s, NULL), -FG_EUSAGE);
}
END_TEST

struct capture {
	uint8_t bytes[512];
	size_t len;
	bool swapped;
};

static void put32(struct capture *c, uint32_t x)
{
	x = c->swapped ? bswap_32(x) : x;
	memcpy(c->bytes + c->len, &x, 4);
	c->len += 4;
}

static struct capture make(uint32_t magic, bool swapped, uint32_t link, uint32_t fraction, uint32_t captured,
			   uint32_t length)
{
	struct capture c = { .swapped = swapped };

	put32(&c, magic);
	put32(&c, swapped != (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__) ? 2 << 16 | 4 : 4 << 16 | 2);
	for (int i = 0; i < 2; i++)
		put32(&c, 0);
	put32(&c, 65535);
	put32(&c, link);
	put32(&c, 7);
	put32(&c, fraction);
	put32(&c, captured);
	put32(&c, length);
	return c;
}

/* Frames read, or the error. */
static int read_capture(const uint8_t *bytes, size_t len, struct fg_filter_frame *last)
{
	struct fg_pcap p;
	fg_autofclose FILE *f = fmemopen((void *)(uintptr_t)bytes, len, "rb");
	int rc = fg_pcap_open(&p, f, NULL), n = 0;

	if (rc < 0)
		return rc;
	while ((rc = fg_pcap_next(&p, last, NULL)) > 0)
		n++;
	fg_pcap_close(&p);
	return rc < 0 ? rc : n;
}

START_TEST(captures)
{
	struct fg_filter_frame f;
	bool swapped = _i & 1, nano = _i & 2;
	struct capture c = make(nano ? 0xa1b23c4d : 0xa1b2c3d4, swapped, 1, 999999, 54, 60);

	memcpy(c.bytes + c.len, tcp, 54);
	c.len += 54;
	ck_assert_int_eq(read_capture(c.bytes, c.len, &f), 1);
	ck_assert_uint_eq(f.captured, 54);
	ck_assert_uint_eq(f.length, 60);
	ck_assert_int_eq(f.time_ns, 7000000000 + (nano ? 999999 : 999999000));
	ck_assert_int_eq(read_capture(c.bytes, 24, &f), 0);
	for (size_t n = 1; n < c.len; n++)
		if (n != 24)
			ck_assert_int_eq(read_capture(c.bytes, n, &f), -FG_EFORMAT);
}
END_TEST

START_TEST(captures_malformed)
{
	static const struct {
		uint32_t magic, link, fraction, captured, length;
		int rc;
	} bad[] = { { 0x0a0d0d0a, 1, 0, 0, 0, -FG_EFORMAT },
		    { 0xa1b2cd34, 1, 0, 0, 0, -FG_EFORMAT },
		    { 0xa1b2c3d4, 113, 0, 0, 0, -FG_EFORMAT },
		    { 0xa1b2c3d4, 0x44000001, 0, 0, 0, -FG_EFORMAT },
		    { 0xa1b2c3d4, 1, 1000000, 0, 0, -FG_EFORMAT },
		    { 0xa1b23c4d, 1, 1000000000, 0, 0, -FG_EFORMAT },
		    { 0xa1b2c3d4, 1, 0, 55, 54, -FG_EFORMAT },
		    { 0xa1b2c3d4, 1, 0, FG_PCAP_FRAME_MAX + 1, UINT32_MAX, -FG_ELIMIT },
		    { 0xa1b2c3d4, 1, 0, UINT32_MAX, UINT32_MAX, -FG_ELIMIT } };
	struct fg_filter_frame f;

	for (size_t i = 0; i < FG_COUNT(bad); i++) {
		struct capture c =
			make(bad[i].magic, false, bad[i].link, bad[i].fraction, bad[i].captured, bad[i].length);
		ck_assert_int_eq(read_capture(c.bytes, c.len, &f), bad[i].rc);
	}
	struct capture c = make(0xa1b2c3d4, false, 1, 0, 0, 100);
	c.bytes[4] = 3;
	ck_assert_int_eq(read_capture(c.bytes, c.len, &f), -FG_EFORMAT);
	c.bytes[4] = 2;
	ck_assert_int_eq(read_capture(c.bytes, c.len, &f), 1);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("netback-filter simulate");
	TCase *t = tcase_create("frames");

	tcase_add_checked_fixture(t, open_sim, close_sim);
	tcase_add_test(t, passes_and_drops);
	tcase_add_test(t, rewrites);
	tcase_add_test(t, cut_captures);
	tcase_add_test(t, lengths);
	tcase_add_test(t, direction_by_source);
	tcase_add_test(t, rate_by_time);
	tcase_add_test(t, one_interface);
	suite_add_tcase(s, t);
	t = tcase_create("captures");
	tcase_add_loop_test(t, captures, 0, 4);
	tcase_add_test(t, captures_malformed);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
