/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <check.h>
#include <dom0-agent/offer/offer.h>
#include <fixgate/bundle.h>
#include <lib/util.h>
#include <test/folder.h>

#include <openssl/sha.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CMS 10
#define HEAD_BYTES (FG_BUNDLE_HEADER_BYTES + CMS + 32)

static char dir[40], net[64], to[64];
static uint8_t head[HEAD_BYTES];
static char digest[FG_DIGEST_HEX];

static void put64(uint8_t *at, uint64_t value)
{
	for (int i = 7; i >= 0; i--, value >>= 8)
		at[i] = (uint8_t)value;
}

/* Well-formed, signed by nobody: that is for fixgate-net and the fix VM to find out. */
static void make_head(void)
{
	uint8_t sum[32];
	SHA256_CTX sha;

	memset(head, 7, sizeof(head));
	memcpy(head, FG_BUNDLE_MAGIC, 8);
	put64(head + 8, (1ull << 32) | FG_BUNDLE_HEADER_BYTES);
	put64(head + 16, CMS);
	put64(head + 24, 32);
	put64(head + 32, 5);
	put64(head + 40, 0);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
	SHA256_Init(&sha);
	SHA256_Update(&sha, head, 48);
	SHA256_Update(&sha, head + FG_BUNDLE_HEADER_BYTES, CMS + 32);
	SHA256_Final(sum, &sha);
#pragma GCC diagnostic pop
	memcpy(head + 48, sum, 32);
	fg_hex_encode(sum, 32, digest);
}

static void setup(void)
{
	snprintf(dir, sizeof(dir), "%s", "/tmp/fg-offer-XXXXXX");
	test_folder_make(dir);
	snprintf(net, sizeof(net), "%s/net", dir);
	snprintf(to, sizeof(to), "%s/head", dir);
	fg_autofree char *heads = fg_asprintf("%s/heads", net);
	ck_assert_int_eq(fg_mkdir_p(heads, 0700, NULL), 0);
	make_head();
}

static void put(const char *name, size_t len)
{
	fg_autofree char *path = fg_asprintf("%s/%s", net, name);

	ck_assert_int_eq(fg_file_write_durable(path, head, len, 0600, NULL), 0);
}

static void teardown(void)
{
	test_folder_remove(dir);
}

START_TEST(head_is_copied)
{
	fg_autofree char *copy = NULL;
	size_t len = 0;

	put("heads/a", sizeof(head));
	ck_assert_int_eq(fg_head_take(net, "heads/a", to, digest, NULL), 0);
	ck_assert_int_eq(fg_file_read(to, 4096, &copy, &len, NULL), 0);
	ck_assert_uint_eq(len, sizeof(head));
	ck_assert_mem_eq(copy, head, len);
}
END_TEST

START_TEST(every_flipped_byte_is_seen)
{
	for (size_t i = 0; i < sizeof(head); i++) {
		head[i] ^= 0x20;
		put("heads/a", sizeof(head));
		ck_assert_msg(fg_head_take(net, "heads/a", to, digest, NULL) < 0, "byte %zu", i);
		head[i] ^= 0x20;
	}
	ck_assert_int_ne(access(to, F_OK), 0);
}
END_TEST

START_TEST(another_head_than_the_one_that_was_verified)
{
	put("heads/a", sizeof(head));
	digest[0] = digest[0] == 'a' ? 'b' : 'a';
	ck_assert_int_eq(fg_head_take(net, "heads/a", to, digest, NULL), -FG_EUNTRUSTED);
	ck_assert_int_lt(fg_head_take(net, "heads/none", to, digest, NULL), 0);
	put("heads/a", sizeof(head) - 1);
	ck_assert_int_lt(fg_head_take(net, "heads/a", to, digest, NULL), 0);
}
END_TEST

/* The network process may have been talked into anything: its folder is hostile. */
START_TEST(no_way_out_of_the_folder)
{
	fg_autofree char *secret = fg_asprintf("%s/secret", dir), *link = fg_asprintf("%s/heads/link", net),
			 *away = fg_asprintf("%s/away", net), *pipe = fg_asprintf("%s/heads/pipe", net);

	ck_assert_int_eq(fg_file_write_durable(secret, head, sizeof(head), 0600, NULL), 0);
	ck_assert_int_eq(symlink(secret, link), 0);
	ck_assert_int_eq(symlink(dir, away), 0);
	ck_assert_int_eq(mkfifo(pipe, 0600), 0);
	ck_assert_int_lt(fg_head_take(net, "heads/link", to, digest, NULL), 0);
	ck_assert_int_lt(fg_head_take(net, "away/secret", to, digest, NULL), 0);
	ck_assert_int_lt(fg_head_take(net, "../secret", to, digest, NULL), 0);
	ck_assert_int_lt(fg_head_take(net, secret, to, digest, NULL), 0);
	ck_assert_int_lt(fg_head_take(net, "heads/pipe", to, digest, NULL), 0); /* and does not wait */
	ck_assert_int_lt(fg_head_take(net, "heads", to, digest, NULL), 0);
	ck_assert_int_ne(access(to, F_OK), 0);
}
END_TEST

START_TEST(offers_are_checked)
{
	static const struct {
		const char *key;
		const char *value;
	} bad[] = {
		{ "seq", "0" },
		{ "seq", "\"1\"" },
		{ "guest", "\"web1\"" },
		{ "guest", "\"../../../../../../../../../etc/passwd\"" },
		{ "fix", "\"\"" },
		{ "fix", "\"../x\"" },
		{ "fix", "\".x\"" },
		{ "fix", "\"A\"" },
		{ "version", "0" },
		{ "version", "-1" },
		{ "version", "1.5" },
		{ "bytes", "0" },
		{ "bytes", "79" },
		{ "bytes", "9223372036854775807" },
		{ "guest", "\"F19A0000-0000-4000-8000-000000000011\"" },
		{ "digest", "\"ab\"" },
		{ "digest", "\"zz00000000000000000000000000000000000000000000000000000000000000\"" },
		{ "digest", "null" },
	};
	struct fg_offer_terms terms;

	for (size_t i = 0; i <= FG_COUNT(bad); i++) {
		fg_autojson json_t *offer =
			json_pack("{si ss ss si si ss}", "seq", 1, "guest", "f19a0000-0000-4000-8000-000000000011",
				  "fix", "demo-1.2+x", "version", 3, "bytes", 1000, "digest",
				  "ab00000000000000000000000000000000000000000000000000000000000000");
		if (i == FG_COUNT(bad)) {
			ck_assert_int_eq(fg_offer_parse(offer, &terms, NULL), 0);
			ck_assert_str_eq(terms.guest, "f19a0000-0000-4000-8000-000000000011");
			ck_assert_int_eq(terms.digest[0], 'a');
			break;
		}
		json_object_set_new(offer, bad[i].key, json_loads(bad[i].value, JSON_DECODE_ANY, NULL));
		ck_assert_msg(fg_offer_parse(offer, &terms, NULL) == -FG_EFORMAT, "%s = %s", bad[i].key, bad[i].value);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("offer");
	TCase *t = tcase_create("offer");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, head_is_copied);
	tcase_add_test(t, every_flipped_byte_is_seen);
	tcase_add_test(t, another_head_than_the_one_that_was_verified);
	tcase_add_test(t, no_way_out_of_the_folder);
	tcase_add_test(t, offers_are_checked);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
