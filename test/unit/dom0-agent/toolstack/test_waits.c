/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The waits with a noun, on a made-up xenstore and sysfs: every vif is connected; nothing of a domain is left. */
#include "dom0-agent/toolstack/connected.h"
#include "dom0-agent/toolstack/gone.h"
#include "dom0-agent/toolstack/image_files.h"
#include "dom0-agent/toolstack/toolstack.h"
#include "dom0-agent/toolstack/xenstore.h"
#include "lib/util.h"
#include "test/folder.h"

#include <check.h>
#include <event2/event.h>
#include <string.h>
#include <unistd.h>

#define LONG_MS 60000 /* what is waited for comes at once, on a busy machine too */
#define VIF "/local/domain/0/backend/vif/7"

static struct event_base *base;
static unsigned n_vifs, n_vifs_then, calls;
static const char *states[2];
static bool domain_there, domain_ends;
static int got_rc;
static char got_text[256];

struct fg_xs_watch {
	fg_xs_watch_cb *cb;
	void *arg;
};
static struct fg_xs_watch *vif_watch;

struct event_base *fg_xs_base(struct fg_xs *xs)
{
	(void)xs;
	return base;
}

int fg_xs_children(struct fg_xs *xs, unsigned *n, struct fg_error *err, const char *fmt, ...)
{
	(void)xs;
	(void)err;
	(void)fmt;
	*n = domain_there ? 3 : 0;
	domain_there = domain_there && !domain_ends;
	return 0;
}

int fg_xs_list(struct fg_xs *xs, char ***out, unsigned *n, struct fg_error *err, const char *fmt, ...)
{
	static char names[2][2] = { "0", "1" };

	(void)xs;
	(void)err;
	(void)fmt;
	*out = fg_calloc(2, sizeof(char *));
	for (*n = 0; *n < n_vifs; (*n)++)
		(*out)[*n] = names[*n];
	n_vifs = n_vifs_then ? n_vifs_then : n_vifs;
	return 0;
}

int fg_xs_read(struct fg_xs *xs, char **out, struct fg_error *err, const char *fmt, ...)
{
	char path[128];
	va_list ap;

	(void)xs;
	va_start(ap, fmt);
	vsnprintf(path, sizeof(path), fmt, ap);
	va_end(ap);
	ck_assert_int_eq(strncmp(path, VIF "/", strlen(VIF) + 1), 0);
	const char *state = states[path[strlen(VIF) + 1] - '0'];
	if (!state)
		return fg_error_set(err, FG_ENOTFOUND, "%s", path);
	*out = fg_strdup(state);
	return 0;
}

int fg_xs_watch(struct fg_xs *xs, const char *path, fg_xs_watch_cb *cb, void *arg, struct fg_xs_watch **out,
		struct fg_error *err)
{
	(void)xs;
	(void)err;
	*out = fg_calloc(1, sizeof(**out));
	(*out)->cb = cb;
	(*out)->arg = arg;
	if (!strcmp(path, VIF))
		vif_watch = *out;
	return 0;
}

void fg_xs_unwatch(struct fg_xs_watch *watch)
{
	if (watch == vif_watch)
		vif_watch = NULL;
	free(watch);
}

static void ended(void *arg, int rc, const struct fg_error *err)
{
	(void)arg;
	calls++;
	got_rc = rc;
	snprintf(got_text, sizeof(got_text), "%s", err->text);
}

static void second_vif(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	ck_assert_uint_eq(calls, 0);
	n_vifs = 2;
	states[1] = "4";
	vif_watch->cb(vif_watch->arg);
}

static void setup(void)
{
	base = event_base_new();
	n_vifs = n_vifs_then = calls = 0;
	states[0] = states[1] = NULL;
	domain_there = true;
	domain_ends = false;
}

static void teardown(void)
{
	event_base_free(base);
}

static void wait_connected(size_t want, uint32_t deadline_ms)
{
	struct fg_connected *wait;

	ck_assert_int_eq(fg_connected_wait(NULL, 7, want, deadline_ms, ended, NULL, &wait, NULL), 0);
	event_base_dispatch(base);
	ck_assert_uint_eq(calls, 1);
}

static const struct {
	size_t want;
	unsigned n;
	const char *state0, *state1;
	bool gone;
	int rc;
	const char *text;
} connections[] = {
	{ 1, 1, "4", NULL, false, 0, "" },
	{ 2, 2, "4", "4", false, 0, "" },
	{ 0, 0, NULL, NULL, false, 0, "" }, /* a guest without NICs */
	{ 1, 0, NULL, NULL, false, -FG_ETIMEOUT, "0 of 1 vifs" }, /* half a domain */
	{ 2, 1, "4", NULL, false, -FG_ETIMEOUT, "1 of 2 vifs" },
	{ 2, 2, "4", "2", false, -FG_ETIMEOUT, "vif7.1 is not connected" },
	{ 1, 1, NULL, NULL, false, -FG_ETIMEOUT, "" },
	{ 1, 0, NULL, NULL, true, -FG_EFAILED, "ended" },
};

START_TEST(connected_is_all_vifs)
{
	n_vifs = connections[_i].n;
	states[0] = connections[_i].state0;
	states[1] = connections[_i].state1;
	domain_there = !connections[_i].gone;
	wait_connected(connections[_i].want, connections[_i].rc == -FG_ETIMEOUT ? 50 : LONG_MS);
	ck_assert_int_eq(got_rc, connections[_i].rc);
	ck_assert_msg(strstr(got_text, connections[_i].text) != NULL, "%s", got_text);
}
END_TEST

START_TEST(vif_that_comes_later_is_waited_for)
{
	const struct timeval in = { 0, 5000 };

	n_vifs = 1;
	states[0] = "4";
	event_base_once(base, -1, EV_TIMEOUT, second_vif, NULL, &in);
	wait_connected(2, LONG_MS);
	ck_assert_int_eq(got_rc, 0);
}
END_TEST

/* The agent did not get a CPU until its deadline: it has not been told of the second vif, which is there. */
START_TEST(vif_that_came_before_a_late_look_counts)
{
	n_vifs = 1;
	n_vifs_then = 2;
	states[0] = states[1] = "4";
	wait_connected(2, 0);
	ck_assert_int_eq(got_rc, 0);
}
END_TEST

/*----- the end of a domain -----*/

START_TEST(end_of_a_domain)
{
	static const struct {
		bool there, ends;
		uint32_t deadline_ms;
		int rc;
		const char *text;
	} cases[] = {
		{ false, false, LONG_MS, 0, "" },
		{ true, false, 50, -FG_ETIMEOUT, "domain 7 is still there" },
		{ true, true, 0, 0, "" }, /* it ended, and the agent did not get a CPU until its deadline */
	};
	struct fg_gone *wait;

	ck_assert_int_lt(_i, (int)FG_COUNT(cases));
	domain_there = cases[_i].there;
	domain_ends = cases[_i].ends;
	ck_assert_int_eq(fg_gone_wait(NULL, 7, NULL, cases[_i].deadline_ms, ended, NULL, &wait, NULL), 0);
	event_base_dispatch(base);
	ck_assert_uint_eq(calls, 1);
	ck_assert_int_eq(got_rc, cases[_i].rc);
	ck_assert_str_eq(got_text, cases[_i].text);
}
END_TEST

/*----- loop devices -----*/

static char sysfs[] = "/tmp/test-waits-XXXXXX";

static void sysfs_setup(void)
{
	test_folder_make(sysfs);
}

static void sysfs_teardown(void)
{
	test_folder_remove(sysfs);
}

/* text NULL: a folder of that name, which cannot be read as a file. */
static void put(const char *dir, const char *name, const char *text)
{
	fg_autofree char *folder = fg_asprintf("%s/block/%s", sysfs, dir), *path = fg_asprintf("%s/%s", folder, name);

	ck_assert_int_eq(fg_mkdir_p(text ? folder : path, 0755, NULL), 0);
	if (text)
		ck_assert_int_eq(fg_file_write_durable(path, text, strlen(text), 0600, NULL), 0);
}

static char *paths[] = { (char *)"/images/web1.img" };
static const struct fg_image_files files = { paths, 1 };

static int loops(void)
{
	return fg_gone_loops(sysfs, &files, NULL);
}

START_TEST(loop_devices)
{
	put("sda", "ro", "0\n");
	put("loop0", "ro", "0\n"); /* not in use */
	put("loop1/loop", "backing_file", "/images/other.img\n");
	put("loop1", "ro", "0\n");
	ck_assert_int_eq(loops(), 0);
	put("loop2/loop", "backing_file", "/images/web1.img\n");
	put("loop2", "ro", "1\n");
	ck_assert_int_eq(loops(), 0);
	put("loop3/loop", "backing_file", "/images/web1.img\n");
	put("loop3", "ro", "0\n");
	ck_assert_int_eq(loops(), -FG_ETIMEOUT);
}
END_TEST

START_TEST(loop_device_that_cannot_be_asked_is_not_free)
{
	const struct fg_image_files none = { NULL, 0 };

	ck_assert_int_eq(fg_gone_loops(sysfs, &none, NULL), 0);
	ck_assert_int_eq(loops(), -FG_EUNREACHABLE); /* no list of devices */
	if (_i == 0) {
		put("loop0/loop", "backing_file", NULL);
	} else {
		put("loop0/loop", "backing_file", "/images/web1.img\n");
		put("loop0", "ro", NULL);
	}
	ck_assert_int_eq(loops(), -FG_EUNREACHABLE);
}
END_TEST

START_TEST(image_files_of_a_guest)
{
	struct fg_disk disks[] = {
		{ .vdev = "xvda", .target = (char *)"/images/root.img" },
		{ .vdev = "xvdb", .target = (char *)"/dev/vg/data", .block = true },
		{ .vdev = "xvdc", .target = (char *)"/images/iso", .readonly = true },
		{ .vdev = "hdd", .cdrom = true }, /* an empty drive */
		{ .vdev = "xvdd", .target = (char *)"web1.img" }, /* no file of dom0 */
		{ .vdev = "xvde", .target = (char *)"/images/more.img" },
	};
	const struct fg_guest g = { .disks = disks, .n_disks = FG_COUNT(disks) };
	struct fg_image_files list = { NULL, 0 };

	for (int i = 0; i < 2; i++) { /* what was there is replaced */
		fg_image_files_of(&g, &list);
		ck_assert_uint_eq(list.n, 2);
		ck_assert_str_eq(list.paths[0], "/images/root.img");
		ck_assert_str_eq(list.paths[1], "/images/more.img");
	}
	fg_image_files_release(&list);
	ck_assert_ptr_null(list.paths);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("waits");
	TCase *tc = tcase_create("all");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, connected_is_all_vifs, 0, (int)FG_COUNT(connections));
	tcase_add_test(tc, vif_that_comes_later_is_waited_for);
	tcase_add_test(tc, vif_that_came_before_a_late_look_counts);
	tcase_add_loop_test(tc, end_of_a_domain, 0, 3);
	suite_add_tcase(suite, tc);
	tc = tcase_create("loops");
	tcase_add_checked_fixture(tc, sysfs_setup, sysfs_teardown);
	tcase_add_test(tc, loop_devices);
	tcase_add_loop_test(tc, loop_device_that_cannot_be_asked_is_not_free, 0, 2);
	tcase_add_test(tc, image_files_of_a_guest);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
