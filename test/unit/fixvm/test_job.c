/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fixvm/init/job.h"

#include "lib/util.h"

#include <check.h>
#include <string.h>

#define IDENTITY                                                                                                       \
	"\"format\":1,\"job\":\"0f0e0d0c-0b0a-0908-0706-050403020100\",\"nonce\":"                                     \
	"\"00112233445566778899aabbccddeeff\","                                                                        \
	"\"now_s\":1700000000,\"guest\":\"10f0e0d0-0b0a-0908-0706-050403020100\",\"name\":\"web1\","
#define DIGEST "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define BUNDLE "\"bundle\":{\"digest\":\"" DIGEST "\",\"head_digest\":\"" DIGEST "\"},"
#define SERVER "\"server\":{\"host\":\"10.99.0.2\",\"port\":8443,\"token\":\"abc\"},"
#define NET                                                                                                            \
	"\"net\":{\"mac\":\"00:16:3e:00:00:01\",\"mode\":\"static\",\"address\":\"10.99.0.11/24\","                    \
	"\"gateway\":\"10.99.0.1\",\"neighbours\":[{\"address\":\"10.99.0.2\",\"mac\":\"00:16:3e:00:00:02\"}]},"
#define DISKS "\"disks\":[{\"vdev\":\"xvda\",\"mode\":\"w\"},{\"vdev\":\"xvdb\",\"mode\":\"r\"}]"
#define FIX "{\"mode\":\"fix\"," IDENTITY SERVER NET BUNDLE DISKS "}"
#define INSPECT "{\"mode\":\"inspect\"," IDENTITY BUNDLE "\"disks\":[{\"vdev\":\"xvda\",\"mode\":\"r\"}]}"

START_TEST(a_whole_job_is_read)
{
	struct fg_job job;
	struct fg_error err = FG_ERROR_INIT;

	ck_assert_msg(fg_job_parse(FIX, strlen(FIX), &job, &err) == 0, "%s", err.text);
	ck_assert(!job.inspect && !job.dhcp);
	ck_assert_str_eq(job.server.text, "10.99.0.2");
	ck_assert_uint_eq(job.port, 8443);
	ck_assert_uint_eq(job.address.prefix, 24);
	ck_assert_int_eq(job.gateway.family, AF_INET);
	ck_assert_uint_eq(job.n_neighbours, 1);
	ck_assert_uint_eq(job.neighbours[0].mac[5], 2);
	ck_assert_uint_eq(job.n_disks, 2);
	ck_assert(job.disks[0].writable && !job.disks[1].writable);
	ck_assert_str_eq(job.digest, DIGEST);
	ck_assert_uint_eq(job.head_digest[1], 0x23);
	ck_assert_int_eq(job.closed_wait_s, FG_JOB_CLOSED_WAIT_S);
}
END_TEST

START_TEST(inspect_has_no_network)
{
	struct fg_job job;
	const char *with =
		"{\"mode\":\"inspect\"," IDENTITY SERVER NET BUNDLE "\"disks\":[{\"vdev\":\"xvda\",\"mode\":\"r\"}]}";
	const char *writes = "{\"mode\":\"inspect\"," IDENTITY BUNDLE DISKS "}";

	ck_assert_int_eq(fg_job_parse(INSPECT, strlen(INSPECT), &job, NULL), 0);
	ck_assert(job.inspect);
	ck_assert_int_eq(fg_job_parse(with, strlen(with), &job, NULL), -FG_EFORMAT);
	ck_assert_int_eq(fg_job_parse(writes, strlen(writes), &job, NULL), -FG_EFORMAT);
}
END_TEST

/* One piece of a good job replaced by a bad one. */
static const struct {
	const char *from, *to;
} bad[] = {
	{ "\"format\":1", "\"format\":2" },
	{ "\"mode\":\"fix\"", "\"mode\":\"repair\"" },
	{ "\"name\":\"web1\"", "\"name\":\"web1\",\"surprise\":1" },
	{ "\"name\":\"web1\"", "\"name\":\"a\\u0007b\"" },
	{ "\"name\":\"web1\"", "\"name\":null" },
	{ "00112233445566778899aabbccddeeff", "00112233445566778899aabbccddee" },
	{ "00112233445566778899aabbccddeeff", "00112233445566778899AABBCCDDEEFF" },
	{ "\"now_s\":1700000000", "\"now_s\":-1" },
	{ "\"now_s\":1700000000", "\"now_s\":\"1700000000\"" },
	{ "\"host\":\"10.99.0.2\"", "\"host\":\"fix.example.org\"" },
	{ "\"host\":\"10.99.0.2\"", "\"host\":\"10.99.0.2/24\"" },
	{ "\"host\":\"10.99.0.2\"", "\"host\":\"fd00::2\"" },
	{ "\"port\":8443", "\"port\":0" },
	{ "\"port\":8443", "\"port\":65536" },
	{ "\"token\":\"abc\"", "\"token\":\"a\\r\\nHost: x\"" },
	{ "\"mode\":\"static\"", "\"mode\":\"dhcp\"" },
	{ "\"mode\":\"static\"", "\"mode\":\"auto\"" },
	{ "10.99.0.11/24", "10.99.0.11" },
	{ "10.99.0.11/24", "10.99.0.11/33" },
	{ "10.99.0.11/24", "10.99.0.11/2x" },
	{ "10.99.0.11/24", "10.99.0.11/" },
	{ "00:16:3e:00:00:01", "00:16:3e:00:00" },
	{ "\"vdev\":\"xvda\"", "\"vdev\":\"../sda\"" },
	{ "\"vdev\":\"xvda\",\"mode\":\"w\"", "\"vdev\":\"xvda\",\"mode\":\"rw\"" },
	{ DISKS, "\"disks\":[]" },
	{ "\"digest\":\"" DIGEST, "\"digest\":\"../../etc" },
	{ DISKS "}", DISKS "} x" },
};

START_TEST(anything_else_is_refused)
{
	const char *at = strstr(FIX, bad[_i].from);
	struct fg_job job = { .port = 7 };
	struct fg_error err = FG_ERROR_INIT;

	ck_assert_ptr_nonnull(at);
	fg_autofree char *text = fg_asprintf("%.*s%s%s", (int)(at - FIX), FIX, bad[_i].to, at + strlen(bad[_i].from));
	int rc = fg_job_parse(text, strlen(text), &job, &err);
	ck_assert_msg(rc == -FG_EFORMAT, "%s: %d", bad[_i].to, rc);
	ck_assert_msg(err.text[0], "no reason");
	ck_assert_uint_eq(job.port, 7);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("fixvm");
	TCase *t = tcase_create("job");

	tcase_add_test(t, a_whole_job_is_read);
	tcase_add_test(t, inspect_has_no_network);
	tcase_add_loop_test(t, anything_else_is_refused, 0, (int)FG_COUNT(bad));
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
