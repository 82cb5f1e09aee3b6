/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Bundles of somebody who can sign, or who can write to the file while it is read. */
#include "maker.h"

#include <lib/bundle/head.h>

#include <check.h>
#include <fixgate/catalogue.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAYLOAD (2 * FG_BUNDLE_BLOCK_BYTES + 5000)

static struct maker_id ca, alice;
static struct fg_trust *trust;
static uint8_t *payload;
static struct maker_file good;
static const struct maker_id *const signers[] = { &alice };

static void setup(void)
{
	ca = maker_id(NULL, (struct maker_spec){ .cn = "publisher ca" });
	alice = maker_id(&ca, (struct maker_spec){ .cn = "alice" });
	trust = maker_trust(ca.cert, NULL, NULL);
	payload = maker_payload(PAYLOAD);
	good = maker_file(NULL, payload, PAYLOAD, signers, 1);
}

static void teardown(void)
{
	free(good.bytes);
	free(payload);
	fg_trust_free(trust);
	maker_id_release(&alice);
	maker_id_release(&ca);
}

static int verify(const struct maker_file *f)
{
	fg_autoclose int fd = maker_memfd(f->bytes, f->len);
	fg_autofree uint8_t *buf = NULL;
	struct fg_bundle_head head = { 0 };
	int rc = fg_bundle_file_verify(fd, trust, MAKER_NOW, &buf, &head, NULL);

	fg_bundle_head_release(&head);
	return rc;
}

static void put_be(uint8_t *at, size_t bytes, uint64_t value)
{
	while (bytes--) {
		at[bytes] = (uint8_t)value;
		value >>= 8;
	}
}

static const uint64_t odd[] = { 0, 1, UINT64_MAX, 1ull << 31, 1ull << 32, 1ull << 63 };

/* Each number of the fixed header, the two of 32 bits as well. */
START_TEST(numbers_of_the_header)
{
	static const struct {
		size_t at, bytes;
	} fields[] = { { 8, 4 }, { 12, 4 }, { 16, 8 }, { 24, 8 }, { 32, 8 }, { 40, 8 } };

	for (size_t i = 0; i < FG_COUNT(fields); i++) {
		uint8_t was[8];
		memcpy(was, good.bytes + fields[i].at, fields[i].bytes);
		for (size_t k = 0; k < FG_COUNT(odd); k++) {
			put_be(good.bytes + fields[i].at, fields[i].bytes, odd[k]);
			if (memcmp(was, good.bytes + fields[i].at, fields[i].bytes) == 0)
				continue; /* it is so */
			maker_redigest(&good);
			int rc = verify(&good);
			ck_assert_msg(rc == -FG_EFORMAT || rc == -FG_ELIMIT, "byte %zu = %" PRIx64 ": %d", fields[i].at,
				      odd[k], rc);
		}
		memcpy(good.bytes + fields[i].at, was, fields[i].bytes);
	}
	maker_redigest(&good);
	ck_assert_int_eq(verify(&good), 0);
}
END_TEST

static char *replaced(const char *text, const char *from, const char *to)
{
	const char *at = strstr(text, from);

	ck_assert_ptr_nonnull(at);
	return fg_asprintf("%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
}

/* The same numbers, signed, in the manifest. */
START_TEST(numbers_of_the_manifest)
{
	static const char *const values[] = { "0",
					      "1",
					      "-1",
					      "2147483648",
					      "4294967296",
					      "9223372036854775807",
					      "9223372036854775808",
					      "18446744073709551615",
					      "1e3",
					      "136072.0" };
	fg_autofree char *text = maker_manifest("demo-1", payload, PAYLOAD);
	fg_autofree char *bytes = fg_asprintf("\"bytes\":%d", PAYLOAD);

	for (size_t i = 0; i < FG_COUNT(values); i++) {
		fg_autofree char *to = fg_asprintf("\"bytes\":%s", values[i]);
		fg_autofree char *manifest = replaced(text, bytes, to);
		struct maker_file f = maker_file(manifest, payload, PAYLOAD, signers, 1);
		int rc = verify(&f);
		ck_assert_msg(rc == -FG_EFORMAT || rc == -FG_EUNTRUSTED, "%s: %d", values[i], rc);
		free(f.bytes);
	}
	for (size_t i = 0; i < FG_COUNT(values); i++) {
		fg_autofree char *to = fg_asprintf("\"timeout_s\":%s", values[i]);
		fg_autofree char *manifest = replaced(text, "\"timeout_s\":60", to);
		struct maker_file f = maker_file(manifest, payload, PAYLOAD, signers, 1);
		ck_assert_int_eq(verify(&f), strcmp(values[i], "1") == 0 ? 0 : -FG_EFORMAT);
		free(f.bytes);
	}
	for (size_t i = 0; i < FG_COUNT(values); i++) {
		fg_autofree char *to = fg_asprintf("\"version\":%s", values[i]);
		fg_autofree char *manifest = replaced(text, "\"version\":3", to);
		struct maker_file f = maker_file(manifest, payload, PAYLOAD, signers, 1);
		bool fits = i == 1 || (i >= 3 && i <= 5); /* from 1 to 2^63 - 1 */
		int rc = verify(&f);
		ck_assert_msg(rc == (fits ? 0 : -FG_EFORMAT), "version %s: %d", values[i], rc);
		free(f.bytes);
	}
}
END_TEST

/* Signed texts that a lenient reader would take. */
START_TEST(manifests_that_are_signed_all_the_same)
{
	static const struct {
		const char *from, *to;
	} changes[] = {
		{ "\"id\":\"demo-1\"", "\"id\":\"demo-1\",\"id\":\"demo-2\"" },
		{ "\"version\":3", "\"version\":3,\"version\":4" },
		{ "\"id\":\"demo-1\"", "\"id\":\"demo-1\\u0000x\"" },
		{ "\"entry\":\"run\"", "\"entry\":\"../run\"" },
		{ "\"entry\":\"run\"", "\"entry\":\"/run\"" },
		{ "\"entry\":\"run\"", "\"entry\":\"run\\u0000.sh\"" },
		{ "\"format\":1", "\"format\":2" },
		{ "\"format\":1", "\"format\":1,\"more\":1" },
		{ "\"format\":1", "\"format\":1,\"FORMAT\":1" },
		{ "\"applies_to\":{}", "\"applies_to\":{\"os\":[{\"id\":\"a\",\"id\":\"b\"}]}" },
		{ "\"applies_to\":{}", "\"applies_to\":{},\"applies_to\":{\"arch\":[\"amd64\"]}" },
	};
	fg_autofree char *text = maker_manifest("demo-1", payload, PAYLOAD);

	for (size_t i = 0; i < FG_COUNT(changes); i++) {
		fg_autofree char *manifest = replaced(text, changes[i].from, changes[i].to);
		struct maker_file f = maker_file(manifest, payload, PAYLOAD, signers, 1);
		ck_assert_msg(verify(&f) == -FG_EFORMAT, "%s", changes[i].to);
		free(f.bytes);
	}
}
END_TEST

/* ---- lengths of the DER ---- */

struct der {
	uint8_t *bytes; /* malloc'd, of size max */
	size_t len, max;
};

static void der_add(struct der *d, const uint8_t *bytes, size_t n)
{
	ck_assert_uint_le(d->len + n, d->max);
	memcpy(d->bytes + d->len, bytes, n);
	d->len += n;
}

/* Octets of a length, in as few bytes as it takes. */
static size_t der_length(size_t n, uint8_t out[9])
{
	size_t width = 0;

	if (n < 0x80) {
		out[0] = (uint8_t)n;
		return 1;
	}
	for (size_t rest = n; rest; rest >>= 8)
		width++;
	out[0] = (uint8_t)(0x80 | width);
	put_be(out + 1, width, n);
	return 1 + width;
}

struct element {
	size_t content, len; /* of the content */
};

static struct element der_element(const uint8_t *der, size_t at)
{
	size_t start = at + 1, n = der[start];

	if (n & 0x80) {
		size_t bytes = n & 0x7f;
		for (n = 0; bytes > 0; bytes--)
			n = n << 8 | der[++start];
	}
	return (struct element){ start + 1, n };
}

/* The elements from at to end; the one at target gets these octets for its length, those around it the right ones. */
static void der_copy(struct der *out, const uint8_t *der, size_t at, size_t end, size_t target, const uint8_t *octets,
		     size_t n_octets)
{
	while (at < end) {
		struct element e = der_element(der, at);
		size_t next = e.content + e.len;
		if (at == target) {
			der_add(out, der + at, 1);
			der_add(out, octets, n_octets);
			der_add(out, der + e.content, e.len);
		} else if (target >= e.content && target < next) {
			struct der inner = { fg_calloc(out->max, 1), 0, out->max };
			uint8_t length[9] = { 0 };
			der_copy(&inner, der, e.content, next, target, octets, n_octets);
			der_add(out, der + at, 1);
			size_t n_length = der_length(inner.len, length);
			der_add(out, length, n_length);
			der_add(out, inner.bytes, inner.len);
			free(inner.bytes);
		} else {
			der_add(out, der + at, next - at);
		}
		at = next;
	}
}

static struct fg_trust *online_trust; /* not NULL: the DER is a catalogue's */

static int verify_der(const uint8_t *der, size_t len)
{
	static const struct fg_catalogue_mark none;
	struct fg_catalogue *c = NULL;

	if (online_trust) {
		int rc = fg_catalogue_verify(der, len, online_trust, &none, MAKER_NOW, &c, NULL);
		fg_catalogue_free(c);
		return rc;
	}
	struct maker_file f = maker_file_cms(der, len, payload, PAYLOAD);
	int rc = verify(&f);
	free(f.bytes);
	return rc;
}

static int verify_with_length(const uint8_t *der, size_t len, size_t at, const uint8_t *octets, size_t n)
{
	struct der bad = { fg_calloc(len + 64, 1), 0, len + 64 };

	der_copy(&bad, der, 0, len, at, octets, n);
	int rc = verify_der(bad.bytes, bad.len);
	free(bad.bytes);
	return rc;
}

/* Wrong by one, none, and lengths that are right when 32 or 64 bits of them are kept. */
static void try_one_length(const uint8_t *der, size_t len, size_t at, size_t n)
{
	const uint64_t values[] = {
		0, 1, n + 1, n - 1, 1ull << 31, 1ull << 32, 1ull << 63, (1ull << 32) + n, (1ull << 63) + n, UINT64_MAX
	};
	uint8_t octets[11] = { 0 };

	for (size_t i = 0; i < FG_COUNT(values); i++) {
		bool is_long = values[i] >= 1ull << 31;
		size_t n_octets = is_long ? 9 : der_length((size_t)values[i], octets);
		if (values[i] == n)
			continue;
		if (is_long) {
			octets[0] = 0x88;
			put_be(octets + 1, 8, values[i]);
		}
		int rc = verify_with_length(der, len, at, octets, n_octets);
		ck_assert_msg(rc == -FG_EFORMAT || rc == -FG_EUNTRUSTED, "length at %zu = %" PRIx64 ": %d", at,
			      values[i], rc);
	}
	octets[0] = 0x89; /* 2^64 + n */
	octets[1] = 1;
	put_be(octets + 2, 8, n);
	int rc = verify_with_length(der, len, at, octets, 10);
	ck_assert_msg(rc == -FG_EFORMAT || rc == -FG_EUNTRUSTED, "length at %zu = 2^64 + %zu: %d", at, n, rc);
}

/* Every length, at each depth. */
static size_t try_lengths(const uint8_t *der, size_t len, size_t at, size_t end, unsigned depth)
{
	size_t tried = 0;

	while (at + 2 <= end) {
		struct element e = der_element(der, at);
		try_one_length(der, len, at, e.len);
		tried++;
		if ((der[at] & 0x20) && depth < 12)
			tried += try_lengths(der, len, e.content, e.content + e.len, depth + 1);
		at = e.content + e.len;
	}
	return tried;
}

START_TEST(lengths_inside_the_signature)
{
	fg_autofree uint8_t *der = fg_calloc(good.cms_len, 1);
	uint8_t octets[9] = { 0 };

	memcpy(der, good.bytes + FG_BUNDLE_HEADER_BYTES, good.cms_len);
	/* With the right length it is what it was: the ones around it are right too. */
	struct element outer = der_element(der, 0), first = der_element(der, outer.content);
	size_t second = first.content + first.len;
	ck_assert_int_eq(
		verify_with_length(der, good.cms_len, second, octets, der_length(der_element(der, second).len, octets)),
		0);
	ck_assert_uint_gt(try_lengths(der, good.cms_len, 0, good.cms_len, 0), 50);
}
END_TEST

START_TEST(lengths_inside_the_catalogue)
{
	struct maker_id online = maker_id(
		&ca,
		(struct maker_spec){ .cn = "catalogue", .generation = "7", .purpose = "critical," FG_CATALOGUE_EKU });
	struct fg_catalogue_fix fix = { .id = (char *)"a-1", .version = 2 };
	struct fg_catalogue c = { .mark = { .version = 41 },
				  .published_s = MAKER_NOW,
				  .expires_s = MAKER_NOW + FG_CATALOGUE_LIFETIME_S,
				  .fixes = &fix,
				  .n_fixes = 1 };
	fg_autofree char *ca_pem = maker_pem(&ca), *pem = maker_pem(&online);
	fg_autofree uint8_t *der = NULL;
	size_t len = 0;

	ck_assert_int_eq(fg_trust_load_catalogue(ca_pem, strlen(ca_pem), &online_trust, NULL), 0);
	ck_assert_int_eq(fg_catalogue_sign(&c, pem, strlen(pem), &der, &len, NULL), 0);
	ck_assert_int_eq(verify_der(der, len), 0);
	ck_assert_uint_gt(try_lengths(der, len, 0, len, 0), 50);
	fg_trust_free(online_trust);
	online_trust = NULL;
	maker_id_release(&online);
}
END_TEST

/* The head of one fix before the payload of another, each good by itself. */
START_TEST(parts_of_several_bundles)
{
	fg_autofree uint8_t *other = maker_payload(PAYLOAD);

	other[0] ^= 1;
	struct maker_file second = maker_file(NULL, other, PAYLOAD, signers, 1);
	struct maker_file mixed = { .bytes = fg_calloc(good.head_len + PAYLOAD, 1), .len = good.head_len + PAYLOAD };
	memcpy(mixed.bytes, good.bytes, good.head_len);
	memcpy(mixed.bytes + good.head_len, other, PAYLOAD);
	ck_assert_int_eq(verify(&mixed), -FG_EUNTRUSTED);
	struct maker_file hashes = maker_file_cms(good.bytes + FG_BUNDLE_HEADER_BYTES, good.cms_len, other, PAYLOAD);
	ck_assert_int_eq(verify(&hashes),
			 -FG_EUNTRUSTED); /* the second's hash list and payload, the first's signature */
	free(hashes.bytes);
	free(mixed.bytes);
	free(second.bytes);
}
END_TEST

/* From here on the file changes between two looks at it. */
static int read_head(int fd, uint8_t **buf, struct fg_bundle_head *head)
{
	int rc = fg_bundle_head_read(fd, buf, head, NULL);

	return rc < 0 ? rc : fg_bundle_head_verify(head, trust, MAKER_NOW, NULL);
}

START_TEST(a_file_that_changes_after_its_head_was_read)
{
	for (int i = 0; i < 4; i++) {
		fg_autoclose int fd = maker_memfd(good.bytes, good.len), out = memfd_create("out", MFD_CLOEXEC);
		fg_autofree uint8_t *buf = NULL, *copy = fg_calloc(PAYLOAD, 1);
		struct fg_bundle_head head = { 0 };
		static const int expected[] = { 0, -FG_EUNTRUSTED, -FG_EFORMAT, -FG_EFORMAT };
		ck_assert_int_eq(read_head(fd, &buf, &head), 0);
		switch (i) {
		case 0: /* another head: the one that was verified is in memory */
			ck_assert_int_eq(pwrite(fd, "x", 1, 100), 1);
			break;
		case 1:
			ck_assert_int_eq(pwrite(fd, "xyz", 3, (off_t)good.len - 3), 3);
			break;
		case 2:
			ck_assert_int_eq(ftruncate(fd, (off_t)good.len - 1), 0);
			break;
		case 3:
			ck_assert_int_eq(ftruncate(fd, (off_t)good.len + 1), 0);
			break;
		}
		ck_assert_int_eq(fg_bundle_payload_verify(fd, &head, head.manifest->payload_digest, out, NULL),
				 expected[i]);
		if (i == 0) {
			/* Whatever becomes of the file now, what is used is what was verified. */
			ck_assert_int_eq(pwrite(fd, "xyz", 3, (off_t)good.head_len), 3);
			ck_assert_int_eq(pread(out, copy, PAYLOAD, 0), PAYLOAD);
			ck_assert_mem_eq(copy, payload, PAYLOAD);
		}
		fg_bundle_head_release(&head);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("bundle");
	TCase *t = tcase_create("hostile");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 120);
	tcase_add_test(t, numbers_of_the_header);
	tcase_add_test(t, numbers_of_the_manifest);
	tcase_add_test(t, manifests_that_are_signed_all_the_same);
	tcase_add_test(t, lengths_inside_the_signature);
	tcase_add_test(t, lengths_inside_the_catalogue);
	tcase_add_test(t, parts_of_several_bundles);
	tcase_add_test(t, a_file_that_changes_after_its_head_was_read);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
