/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <arpa/inet.h>
#include <check.h>
#include <lib/util.h>
#include <netinet/in.h>
#include <server/http/client.h>
#include <stdlib.h>
#include <string.h>

#define S 1000000ll

START_TEST(a_bucket)
{
	const struct fg_rate rate = { .per_s = 10, .burst = 5 };
	int64_t full = 0, now = 77 * S;

	for (int i = 0; i < 5; i++)
		ck_assert_int_eq(fg_rate_take(&rate, &full, now), 0);
	ck_assert_int_eq(fg_rate_take(&rate, &full, now), S / 10);
	ck_assert_int_eq(fg_rate_take(&rate, &full, now + S / 20), S / 20);
	ck_assert_int_eq(fg_rate_take(&rate, &full, now + S / 10), 0);
	ck_assert_int_gt(fg_rate_take(&rate, &full, now + S / 10), 0);
	/* Refusals cost nothing: a second later there are ten. */
	for (int i = 0; i < 1000; i++)
		ck_assert_int_gt(fg_rate_take(&rate, &full, now + S / 10), 0);
	now += S / 10 + S;
	for (int i = 0; i < 5; i++)
		ck_assert_int_eq(fg_rate_take(&rate, &full, now), 0);
	ck_assert_int_gt(fg_rate_take(&rate, &full, now), 0);
}
END_TEST

/* Over ten seconds of trying each millisecond: the burst, and per_s each second. */
START_TEST(long_run)
{
	const struct fg_rate rate = { .per_s = 100, .burst = 50 };
	int64_t full = 0;
	int taken = 0;

	for (int64_t now = S; now < 11 * S; now += 1000)
		taken += fg_rate_take(&rate, &full, now) == 0;
	ck_assert_int_ge(taken, 1048);
	ck_assert_int_le(taken, 1051);
}
END_TEST

START_TEST(no_limit)
{
	const struct fg_rate none = { .per_s = 0, .burst = 1 }, high = { .per_s = 1000000, .burst = 1000000 };
	int64_t full = 0;

	for (int i = 0; i < 100000; i++)
		ck_assert_int_eq(fg_rate_take(&none, &full, 5), 0);
	ck_assert_int_eq(full, 0);
	for (int i = 0; i < 1000000; i++)
		ck_assert_int_eq(fg_rate_take(&high, &full, 5), 0);
	ck_assert_int_eq(fg_rate_take(&high, &full, 5), 1);
}
END_TEST

static const char *counts_as(const char *text)
{
	static char out[FG_CLIENT_ADDRESS];
	struct sockaddr_storage ss = { .ss_family = strchr(text, ':') ? AF_INET6 : AF_INET };

	if (ss.ss_family == AF_INET6)
		ck_assert_int_eq(inet_pton(AF_INET6, text, &((struct sockaddr_in6 *)&ss)->sin6_addr), 1);
	else
		ck_assert_int_eq(inet_pton(AF_INET, text, &((struct sockaddr_in *)&ss)->sin_addr), 1);
	fg_client_address(&ss, out);
	return out;
}

/* Whoever has a network of IPv6 is one client, whichever of its 2^64 addresses it takes. */
START_TEST(addresses)
{
	const struct sockaddr_storage none = { .ss_family = AF_UNIX };
	struct fg_clients clients;
	char key[96], out[FG_CLIENT_ADDRESS];

	ck_assert_str_eq(counts_as("10.0.0.1"), "10.0.0.1");
	ck_assert_str_eq(counts_as("::ffff:10.0.0.1"), "10.0.0.1");
	ck_assert_str_eq(counts_as("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
	ck_assert_str_eq(counts_as("2001:db8:1:3:3:4:5:6"), "2001:db8:1:3::/64");
	ck_assert_str_eq(counts_as("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255"), "ffff:ffff:ffff:ffff::/64");
	ck_assert_str_eq(counts_as("::1"), "::/64");
	fg_client_address(&none, out);
	ck_assert_str_eq(out, "?");
	fg_clients_init(&clients);
	for (unsigned i = 0; i < 1000; i++) {
		snprintf(key, sizeof(key), "2001:db8::%x:%x", i + 1, i * 7919 % 65536);
		snprintf(key, sizeof(key), "hello/%s", counts_as(key));
		ck_assert_uint_eq(fg_clients_get(&clients, key)->n, i + 1);
	}
	struct fg_client *client = fg_clients_get(&clients, key);
	while (client->n > 1)
		fg_clients_put(&clients, client, 0);
	fg_clients_put(&clients, client, 0);
	fg_clients_release(&clients);
}
END_TEST

START_TEST(who_comes_back)
{
	const struct fg_rate rate = { .per_s = 1, .burst = 1 };
	struct fg_clients clients;

	fg_clients_init(&clients);
	struct fg_client *a = fg_clients_get(&clients, "agent/a"), *again = fg_clients_get(&clients, "agent/a");
	ck_assert_ptr_eq(a, again);
	ck_assert_uint_eq(a->n, 2);
	ck_assert_int_eq(fg_rate_take(&rate, &a->full_us, S), 0);
	fg_clients_put(&clients, a, S);
	fg_clients_put(&clients, a, S);
	ck_assert_uint_eq(clients.n_idle, 1);
	a = fg_clients_get(&clients, "agent/a");
	ck_assert_uint_eq(clients.n_idle, 0);
	ck_assert_msg(fg_rate_take(&rate, &a->full_us, S) > 0, "a new connection brings no new bucket");
	fg_clients_put(&clients, a, 2 * S);
	ck_assert_msg(clients.n_idle == 0 && !clients.tree, "a full bucket is not kept");
	fg_clients_put(&clients, NULL, S);
	fg_clients_release(&clients);
}
END_TEST

START_TEST(bounded)
{
	const struct fg_rate rate = { .per_s = 1, .burst = 1 };
	struct fg_clients clients;

	fg_clients_init(&clients);
	for (int i = 0; i < 3 * FG_CLIENTS_IDLE_MAX; i++) {
		fg_autofree char *key = fg_asprintf("-/10.%d.%d.%d", i >> 16, i >> 8 & 255, i & 255);
		struct fg_client *c = fg_clients_get(&clients, key);
		ck_assert_int_eq(fg_rate_take(&rate, &c->full_us, S), 0);
		fg_clients_put(&clients, c, S);
		ck_assert_uint_le(clients.n_idle, FG_CLIENTS_IDLE_MAX);
	}
	struct fg_client *newest = fg_clients_get(&clients, "-/10.0.95.255");
	ck_assert_msg(newest->full_us > S, "the newest are kept");
	fg_clients_put(&clients, newest, 0);
	fg_clients_release(&clients);
	ck_assert_ptr_null(clients.tree);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("client");
	TCase *tc = tcase_create("client");

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, a_bucket);
	tcase_add_test(tc, long_run);
	tcase_add_test(tc, no_limit);
	tcase_add_test(tc, addresses);
	tcase_add_test(tc, who_comes_back);
	tcase_add_test(tc, bounded);
	suite_add_tcase(suite, tc);
	SRunner *sr = srunner_create(suite);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
