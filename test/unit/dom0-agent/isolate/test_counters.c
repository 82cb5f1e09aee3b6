/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Counters add up over the lives of NICs and over rules that were replaced. */
#include <check.h>
#include <dom0-agent/isolate/counters.h>
#include <lib/util.h>

#include <string.h>

#define GUEST "f19a0000-0000-4000-8000-000000000011"

static struct fg_counters *c;

static void setup(void)
{
	c = fg_counters_new();
}

static void teardown(void)
{
	fg_counters_free(c);
}

/* One netdev that counted `frames` VLAN frames from the guest, of 100 bytes. */
static void sample(const char *dev, uint64_t frames)
{
	struct fg_filter_counter from[] = { { .reason = "vlan", .frames = frames, .bytes = frames * 100 },
					    { .reason = "fragment" } };
	struct fg_filter_counter to = { .reason = "no-arp", .frames = 1, .bytes = 60 };
	struct fg_filter_dev_status d = { .from_guest = from, .n_from_guest = 2, .to_guest = &to, .n_to_guest = 1 };
	struct fg_filter_status s = { .devs = &d, .n_devs = 1 };

	snprintf(d.dev, sizeof(d.dev), "%s", dev);
	fg_counters_sample(c, GUEST, &s);
}

static void expect(uint64_t vlan, uint64_t to, size_t n_devs)
{
	fg_autojson json_t *j = fg_counters_json(c, GUEST);
	const json_t *from = json_object_get(j, "from_guest");

	ck_assert_ptr_nonnull(j);
	ck_assert_int_eq(json_integer_value(json_object_get(json_object_get(from, "vlan"), "frames")), vlan);
	ck_assert_int_eq(json_integer_value(json_object_get(json_object_get(from, "vlan"), "bytes")), vlan * 100);
	ck_assert_ptr_null(json_object_get(from, "fragment")); /* nothing was counted */
	ck_assert_int_eq(json_integer_value(
				 json_object_get(json_object_get(json_object_get(j, "to_guest"), "no-arp"), "frames")),
			 to);
	ck_assert_uint_eq(json_array_size(json_object_get(j, "devs")), n_devs);
}

START_TEST(nothing_is_known_without_a_sample)
{
	ck_assert_ptr_null(fg_counters_json(c, GUEST));
}
END_TEST

START_TEST(the_last_sample_counts)
{
	sample("vif1.0", 3);
	sample("vif1.0", 5);
	expect(5, 1, 1);
}
END_TEST

START_TEST(replaced_rules_begin_anew)
{
	sample("vif1.0", 5);
	sample("vif1.0", 2);
	expect(7, 1, 1);
}
END_TEST

START_TEST(a_nic_that_is_gone_stays_counted)
{
	sample("vif1.0", 5);
	fg_counters_sample(c, GUEST, NULL);
	expect(5, 1, 0);
	sample("vif2.0", 1);
	expect(6, 2, 1);
}
END_TEST

START_TEST(a_new_isolation_begins_at_nothing)
{
	sample("vif1.0", 5);
	fg_counters_forget(c, GUEST);
	ck_assert_ptr_null(fg_counters_json(c, GUEST));
	sample("vif1.0", 1);
	expect(1, 1, 1);
}
END_TEST

/* However many reasons there are, the evidence stays small. */
START_TEST(many_reasons_become_others)
{
	struct fg_filter_counter from[200] = { 0 };
	struct fg_filter_dev_status d = { .dev = "vif1.0", .from_guest = from, .n_from_guest = FG_COUNT(from) };
	struct fg_filter_status s = { .devs = &d, .n_devs = 1 };

	for (size_t i = 0; i < FG_COUNT(from); i++) {
		snprintf(from[i].reason, sizeof(from[i].reason), "reason-with-a-long-name-%zu", i);
		from[i].frames = from[i].bytes = UINT32_MAX;
	}
	fg_counters_sample(c, GUEST, &s);
	fg_autojson json_t *j = fg_counters_json(c, GUEST);
	json_t *list = json_object_get(j, "from_guest");
	fg_autofree char *text = fg_json_dump(j);
	ck_assert_uint_eq(json_object_size(list), 64);
	ck_assert_int_eq(json_integer_value(json_object_get(json_object_get(list, "other"), "frames")),
			 137 * (json_int_t)UINT32_MAX);
	ck_assert_uint_lt(strlen(text), 16 * 1024);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("counters");
	TCase *t = tcase_create("counters");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, nothing_is_known_without_a_sample);
	tcase_add_test(t, the_last_sample_counts);
	tcase_add_test(t, replaced_rules_begin_anew);
	tcase_add_test(t, a_nic_that_is_gone_stays_counted);
	tcase_add_test(t, a_new_isolation_begins_at_nothing);
	tcase_add_test(t, many_reasons_become_others);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
