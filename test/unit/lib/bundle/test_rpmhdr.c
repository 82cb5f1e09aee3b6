/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Headers of rpm packages, made and forged byte by byte. */
#include <lib/bundle/rpmhdr.h>
#include <lib/util.h>

#include <check.h>
#include <string.h>

#define ENTRIES_MAX 8
#define DATA_MAX 1024

struct tag {
	uint32_t tag, type, offset, count;
};

/* A header in its pieces; whole() joins them. */
struct maker {
	struct tag tags[ENTRIES_MAX];
	uint32_t n;
	char data[DATA_MAX];
	uint32_t len;
};

static struct fg_rpm_package got;
static struct fg_error err;

static void teardown(void)
{
	fg_rpm_package_release(&got);
	fg_error_clear(&err);
}

static void put_tag(struct maker *m, uint32_t tag, uint32_t type, const void *value, uint32_t len)
{
	m->tags[m->n++] = (struct tag){ tag, type, m->len, 1 };
	memcpy(m->data + m->len, value, len);
	m->len += len;
}

static void put_text(struct maker *m, uint32_t tag, const char *text)
{
	put_tag(m, tag, 6, text, (uint32_t)strlen(text) + 1);
}

static struct maker good(void)
{
	struct maker m = { .n = 0 };

	put_tag(&m, 63, 7, "the region says what was signed", 16);
	put_text(&m, 1000, "demo");
	put_text(&m, 1001, "1.0");
	put_text(&m, 1002, "3.el9");
	put_tag(&m, 1003, 4, "\0\0\0\7", 4);
	put_text(&m, 1004, "summary");
	return m;
}

static void put32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> (24 - 8 * i));
}

/* malloc'd, exact, so that a sanitizer sees a read behind the end */
static uint8_t *whole(const struct maker *m, size_t *len)
{
	*len = 8 + 16 * m->n + m->len;
	uint8_t *out = fg_calloc(*len, 1);

	put32(out, m->n);
	put32(out + 4, m->len);
	for (uint32_t i = 0; i < m->n; i++) {
		uint8_t *p = out + 8 + 16 * i;
		put32(p, m->tags[i].tag);
		put32(p + 4, m->tags[i].type);
		put32(p + 8, m->tags[i].offset);
		put32(p + 12, m->tags[i].count);
	}
	memcpy(out + 8 + 16 * m->n, m->data, m->len);
	return out;
}

struct bytes {
	const uint8_t *p;
	size_t len;
	int reads, fail_at;
};

static int read_bytes(void *arg, uint64_t offset, void *out, size_t len, struct fg_error *e)
{
	struct bytes *b = arg;

	ck_assert(offset <= b->len && len <= b->len - offset);
	if (++b->reads == b->fail_at)
		return fg_error_set(e, FG_EIO, "read %d", b->reads);
	memcpy(out, b->p + offset, len);
	return 0;
}

static int parse(const uint8_t *p, size_t len)
{
	struct bytes b = { p, len, 0, 0 };
	struct fg_rpmhdr_source source = { read_bytes, &b, len };

	teardown();
	int rc = fg_rpmhdr_read(&source, &got, &err);
	ck_assert_msg((rc == 0) == (got.name && got.evr), "outputs are untouched on failure");
	return rc;
}

static int parse_maker(const struct maker *m)
{
	size_t len = 0;
	fg_autofree uint8_t *p = whole(m, &len);

	return parse(p, len);
}

START_TEST(name_and_version)
{
	struct maker m = good();

	ck_assert_int_eq(parse_maker(&m), 0);
	ck_assert_str_eq(got.name, "demo");
	ck_assert_str_eq(got.evr, "7:1.0-3.el9");
	m.tags[4].tag = 5000; /* no epoch */
	ck_assert_int_eq(parse_maker(&m), 0);
	ck_assert_str_eq(got.evr, "1.0-3.el9");
	m = good();
	memset(m.data + m.tags[4].offset, 0xff, 4);
	ck_assert_int_eq(parse_maker(&m), 0);
	ck_assert_str_eq(got.evr, "4294967295:1.0-3.el9");
	m.n = 4; /* the order of entries means nothing */
	m.tags[0] = m.tags[3];
	m.tags[3] = (struct tag){ 1004, 9, 0, 1 };
	ck_assert_int_eq(parse_maker(&m), 0);
	ck_assert_str_eq(got.evr, "1.0-3.el9");
}
END_TEST

/* Without name, version or release it is no package; of a tag that is there twice nobody knows which holds. */
START_TEST(missing_and_twice)
{
	for (uint32_t i = 1; i <= 4; i++) {
		struct maker m = good();
		m.tags[5].tag = m.tags[i].tag;
		m.tags[5].type = m.tags[i].type;
		ck_assert_int_eq(parse_maker(&m), -FG_EFORMAT);
		m = good();
		m.tags[i].tag = 4999;
		ck_assert_int_eq(parse_maker(&m), i == 4 ? 0 : -FG_EFORMAT);
	}
}
END_TEST

/* Every field that is a length, a number or a place. */
static const uint32_t numbers[] = {
	0,	    1,		2,	    3,		15,	    16,		17,
	4095,	    4096,	4097,	    0xffff,	0x10000,    0x0ffffffe, 0x0fffffff,
	0x10000000, 0x7fffffff, 0x80000000, 0x80000001, 0xfffffff0, 0xfffffffe, 0xffffffff
};

START_TEST(forged_intro)
{
	struct maker m = good();
	size_t len = 0;
	fg_autofree uint8_t *p = whole(&m, &len);

	for (size_t field = 0; field < 8; field += 4)
		for (size_t i = 0; i < FG_COUNT(numbers); i++) {
			uint32_t was = field ? m.len : m.n;
			put32(p + field, numbers[i]);
			int rc = parse(p, len);
			ck_assert_msg(numbers[i] == was || rc == -FG_EFORMAT || rc == -FG_ELIMIT, "%zu = %u: %d", field,
				      numbers[i], rc);
			put32(p + field, was);
		}
	ck_assert_int_eq(parse(p, len), 0);
}
END_TEST

START_TEST(forged_entries)
{
	struct maker m = good();
	size_t len = 0;
	fg_autofree uint8_t *p = whole(&m, &len);

	for (uint32_t entry = 1; entry <= 4; entry++) {
		for (size_t i = 0; i < FG_COUNT(numbers); i++) {
			uint8_t *at = p + 8 + 16 * entry;
			struct tag was = m.tags[entry];
			put32(at + 4, numbers[i]); /* no type of those is the right one */
			ck_assert_int_eq(parse(p, len), -FG_EFORMAT);
			put32(at + 4, was.type);
			put32(at + 12, numbers[i]);
			ck_assert_int_eq(parse(p, len), numbers[i] == 1 ? 0 : -FG_EFORMAT);
			put32(at + 12, was.count);
			put32(at + 8, numbers[i]);
			int rc = parse(p, len);
			ck_assert_msg(numbers[i] < m.len ? rc == 0 || rc == -FG_EFORMAT : rc == -FG_EFORMAT,
				      "%u at %u: %d", entry, numbers[i], rc);
			put32(at + 8, was.offset);
		}
	}
	ck_assert_int_eq(parse(p, len), 0);
}
END_TEST

START_TEST(truncated)
{
	struct maker m = good();
	size_t len = 0;
	fg_autofree uint8_t *p = whole(&m, &len);

	for (size_t n = 0; n < len; n++) {
		fg_autofree uint8_t *cut = fg_calloc(n, 1);
		memcpy(cut, p, n);
		ck_assert_msg(parse(cut, n) == -FG_EFORMAT, "%zu bytes", n);
	}
	fg_autofree uint8_t *more = fg_calloc(len + 1, 1);
	memcpy(more, p, len);
	ck_assert_int_eq(parse(more, len + 1), -FG_EFORMAT);
}
END_TEST

/* At the very end of the data, and one byte over it. */
START_TEST(ends_of_data)
{
	struct maker m = good();

	m.tags[5].tag = 1004;
	m.tags[3].offset = m.len; /* release moves to the end */
	memcpy(m.data + m.len, "9", 2);
	m.len += 2;
	ck_assert_int_eq(parse_maker(&m), 0);
	ck_assert_str_eq(got.evr, "7:1.0-9");
	m.len--; /* without its NUL */
	ck_assert_int_eq(parse_maker(&m), -FG_EFORMAT);
	m = good();
	m.tags[4].offset = m.len - 4;
	ck_assert_int_eq(parse_maker(&m), 0);
	m.tags[4].offset = m.len - 3;
	ck_assert_int_eq(parse_maker(&m), -FG_EFORMAT);
}
END_TEST

START_TEST(texts)
{
	/* a version with these could be read as another one */
	static const char *const bad[] = { "", "1-2", "1:2", "-", ":" };
	char text[FG_RPMHDR_TEXT_MAX + 2];

	for (uint32_t tag = 1001; tag <= 1002; tag++)
		for (size_t i = 0; i < FG_COUNT(bad); i++) {
			struct maker m = good();
			m.tags[tag - 1000 + 1].offset = m.len;
			m.len += (uint32_t)snprintf(m.data + m.len, 16, "%s", bad[i]) + 1;
			ck_assert_msg(parse_maker(&m) == -FG_EFORMAT, "%s", bad[i]);
		}
	memset(text, 'n', sizeof(text));
	for (size_t n = FG_RPMHDR_TEXT_MAX; n <= FG_RPMHDR_TEXT_MAX + 1; n++) {
		struct maker m = good();
		m.tags[1].offset = m.len;
		text[n] = '\0';
		memcpy(m.data + m.len, text, n + 1);
		m.len += (uint32_t)n + 1;
		ck_assert_int_eq(parse_maker(&m), n == FG_RPMHDR_TEXT_MAX ? 0 : -FG_ELIMIT);
		text[n] = 'n';
	}
}
END_TEST

START_TEST(tags_limit)
{
	for (uint32_t n = FG_RPMHDR_TAGS_MAX; n <= FG_RPMHDR_TAGS_MAX + 1; n++) {
		struct maker m = good();
		size_t len = 0, more = 16 * ((size_t)n - m.n);
		fg_autofree uint8_t *p = whole(&m, &len);
		fg_autofree uint8_t *big = fg_calloc(len + more, 1);
		memcpy(big, p, 8 + 16 * m.n);
		memcpy(big + 8 + 16 * n, p + 8 + 16 * m.n, m.len);
		put32(big, n);
		ck_assert_int_eq(parse(big, len + more), n == FG_RPMHDR_TAGS_MAX ? 0 : -FG_ELIMIT);
	}
}
END_TEST

/* Each read fails once. */
START_TEST(failing_source)
{
	struct maker m = good();
	struct bytes b = { .p = whole(&m, &b.len) };
	struct fg_rpmhdr_source source = { read_bytes, &b, b.len };

	for (b.fail_at = 1;; b.fail_at++) {
		b.reads = 0;
		teardown();
		int rc = fg_rpmhdr_read(&source, &got, &err);
		if (b.reads < b.fail_at) {
			ck_assert_int_eq(rc, 0);
			break;
		}
		ck_assert_int_eq(rc, -FG_EIO);
		ck_assert_ptr_null(got.name);
	}
	ck_assert_int_eq(b.reads, 6);
	free((void *)b.p);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("bundle");
	TCase *t = tcase_create("rpmhdr");

	tcase_add_checked_fixture(t, NULL, teardown);
	tcase_add_test(t, name_and_version);
	tcase_add_test(t, missing_and_twice);
	tcase_add_test(t, forged_intro);
	tcase_add_test(t, forged_entries);
	tcase_add_test(t, truncated);
	tcase_add_test(t, ends_of_data);
	tcase_add_test(t, texts);
	tcase_add_test(t, tags_limit);
	tcase_add_test(t, failing_source);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
