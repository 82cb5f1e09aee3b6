/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A device mapper that cannot be asked: the layer may still be in use, and nothing is merged or removed.  And what a killed
 * process has left. */
#include "dom0-agent/fix/layer.h"
#include "dom0-agent/fix/layer_dm_device.h"
#include "lib/util.h"
#include "test/folder.h"

#include <check.h>
#include <event2/event.h>
#include <string.h>
#include <unistd.h>

#define JOB "f19a0000-0000-4000-8000-0000000000aa"

static char dir[] = "/tmp/test-layer-dm-XXXXXX";
static char target[64], store[96], merging[96];
static struct event_base *base;
static struct fg_layers *layers;
static int present_rc, remove_rc, got_rc;
static bool present;
static unsigned removed;

/*----- layer_dm_device.c -----*/

int fg_dm_present(const char *sysfs, bool *out, struct fg_error *err)
{
	ck_assert_str_eq(sysfs, "/sys");
	*out = present;
	return present_rc ? fg_error_set(err, -present_rc, "cannot ask") : 0;
}

int fg_dm_remove(const char *name, struct fg_error *err)
{
	ck_assert_str_eq(name, "fixgate-" JOB "-xvda");
	removed++;
	return remove_rc ? fg_error_set(err, -remove_rc, "device mapper does not answer") : 0;
}

int fg_dm_check(struct fg_error *err)
{
	return fg_error_set(err, FG_EREFUSED, "no device mapper");
}

int fg_dm_exists(const char *name, bool *exists, int *open_count, struct fg_error *err)
{
	(void)name;
	(void)exists;
	(void)open_count;
	return fg_error_set(err, FG_EBUG, "not asked for");
}

int fg_dm_create(const char *name, const char *uuid, const char *type, const char *params, uint64_t sectors,
		 bool readonly, struct fg_error *err)
{
	(void)name;
	(void)uuid;
	(void)type;
	(void)params;
	(void)sectors;
	(void)readonly;
	return fg_error_set(err, FG_EBUG, "not asked for");
}

int fg_loop_open(const char *path, bool readonly, bool direct, char out[32], struct fg_error *err)
{
	(void)path;
	(void)readonly;
	(void)direct;
	(void)out;
	return fg_error_set(err, FG_EBUG, "not asked for");
}

/*----- the tests -----*/

static void setup(void)
{
	test_folder_make(dir);
	snprintf(target, sizeof(target), "%s/web1.img", dir);
	snprintf(store, sizeof(store), "%s/" JOB "-xvda.cow", dir);
	snprintf(merging, sizeof(merging), "%s/" JOB "-xvda.merging", dir);
	ck_assert_int_eq(fg_file_write_durable(target, "disk", 4, 0600, NULL), 0);
	ck_assert_int_eq(fg_file_write_durable(store, "store", 5, 0600, NULL), 0);
	present = true;
	present_rc = remove_rc = 0;
	removed = 0;
	base = event_base_new();
	ck_assert_int_eq(fg_layer_dm.open(base, dir, &layers, NULL), 0);
}

static void teardown(void)
{
	fg_layer_dm.close(layers);
	event_base_free(base);
	test_folder_remove(dir);
}

static void done(void *arg, int rc, const struct fg_error *err)
{
	(void)arg;
	(void)err;
	got_rc = rc;
	event_base_loopbreak(base);
}

static int run(bool merge)
{
	struct fg_layer_request req = { .target = target };

	snprintf(req.job, sizeof(req.job), "%s", JOB);
	snprintf(req.vdev, sizeof(req.vdev), "xvda");
	if (merge)
		fg_layer_dm.merge(layers, &req, done, NULL);
	else
		fg_layer_dm.drop(layers, &req, done, NULL);
	got_rc = 1;
	event_base_dispatch(base);
	return got_rc;
}

START_TEST(mapper_that_cannot_be_asked_stops_merge_and_drop)
{
	const bool merge = _i & 1;

	if (_i & 2)
		present_rc = -FG_EUNREACHABLE;
	else
		remove_rc = -FG_EUNREACHABLE;
	ck_assert_int_eq(run(merge), -FG_EUNREACHABLE);
	ck_assert_uint_eq(removed, _i & 2 ? 0 : 1);
	ck_assert(access(store, F_OK) == 0);
	ck_assert(access(merging, F_OK) < 0);
}
END_TEST

START_TEST(without_a_mapper_no_device_is_left)
{
	present = _i;
	ck_assert_int_eq(run(false), 0);
	ck_assert_uint_eq(removed, _i ? 1 : 0);
	ck_assert(access(store, F_OK) < 0);
}
END_TEST

/* Killed between the file and its name: the next drop takes it along, and nothing of another disk or job. */
START_TEST(half_a_marker_is_not_left)
{
	char half[112], others[2][112];

	snprintf(half, sizeof(half), "%s.kuWynH", merging);
	snprintf(others[0], sizeof(others[0]), "%s/" JOB "-xvdaa.merging.kuWynH", dir);
	snprintf(others[1], sizeof(others[1]), "%s/f19a0000-0000-4000-8000-0000000000ab-xvda.merging", dir);
	ck_assert_int_eq(fg_file_write_durable(half, "hal", 3, 0600, NULL), 0);
	for (size_t i = 0; i < FG_COUNT(others); i++)
		ck_assert_int_eq(fg_file_write_durable(others[i], "x", 1, 0600, NULL), 0);
	ck_assert_int_eq(run(false), 0);
	ck_assert(access(half, F_OK) < 0);
	for (size_t i = 0; i < FG_COUNT(others); i++)
		ck_assert(access(others[i], F_OK) == 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("layer_dm");
	TCase *tc = tcase_create("all");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, mapper_that_cannot_be_asked_stops_merge_and_drop, 0, 4);
	tcase_add_loop_test(tc, without_a_mapper_no_device_is_left, 0, 2);
	tcase_add_test(tc, half_a_marker_is_not_left);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
