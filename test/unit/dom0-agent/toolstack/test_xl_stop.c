/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The stop ladder: what is asked of whom, in which order, and what each answer or silence leads to. */
#include "lib/util.h"
#include "test/fakes/xl.h"

#include <check.h>
#include <limits.h>
#include <string.h>

#define WEB1 FAKE_XL_WEB1
#define OTHER "f19a0000-0000-4000-8000-000000000012"
#define CONFIG                                                                                                         \
	"{\"c_info\":{\"name\":\"web1\",\"uuid\":\"" WEB1 "\"},\"b_info\":{\"max_memkb\":196608},"                     \
	"\"disks\":[{\"pdev_path\":\"/images/a.img\",\"vdev\":\"xvda\",\"format\":\"raw\",\"readwrite\":1},"           \
	"{\"pdev_path\":\"/images/b.img\",\"vdev\":\"xvdb\",\"format\":\"raw\",\"readwrite\":1}],"                     \
	"\"nics\":[{\"devid\":0,\"mac\":\"00:16:3e:99:00:11\",\"bridge\":\"xenbr0\"}]}"
#define ALL                                                                                                            \
	{                                                                                                              \
		30000, 30000, 60000                                                                                    \
	}
#define NO_BUTTON                                                                                                      \
	{                                                                                                              \
		30000, 0, 60000                                                                                        \
	}
#define NO_DESTROY                                                                                                     \
	{                                                                                                              \
		30000, 30000, 0                                                                                        \
	}

static struct {
	unsigned calls;
	int rc;
	char text[256], steps[512];
} got;

static void step(void *arg, const char *what)
{
	size_t len = strlen(got.steps);

	(void)arg;
	snprintf(got.steps + len, sizeof(got.steps) - len, "%s%s", len ? "; " : "", what);
}

static void stopped(void *arg, int rc, const struct fg_error *err)
{
	(void)arg;
	got.calls++;
	got.rc = rc;
	ck_assert((rc < 0) == (err != NULL));
	snprintf(got.text, sizeof(got.text), "%s", err ? err->text : "");
}

/* The guest as it was seen last: domain 4, one image file. */
static void stop(struct fg_stop_policy policy)
{
	struct fg_disk disk = { .vdev = "xvda", .target = (char *)"/images/a.img" };
	const struct fg_guest last = { .uuid = WEB1, .name = (char *)"web1", .domid = 4, .disks = &disk, .n_disks = 1 };

	xl_stop((struct fg_toolstack *)&fake_xl.ts, &last, &policy, step, stopped, NULL);
	fake_xl_loop();
	ck_assert_uint_eq(got.calls, 1);
	ck_assert_ptr_null(fake_xl.death);
	ck_assert_uint_ge(fake_xl.disowned, 1); /* the agent itself must not bring it back */
}

static void setup(void)
{
	fake_xl_begin();
	memset(&got, 0, sizeof(got));
	fake_xl.domains[0] = (struct fake_xl_domain){ 4, WEB1, "web1", CONFIG, .paused = false };
	fake_xl.domains[1] = (struct fake_xl_domain){ 5, OTHER, "web2", CONFIG, .paused = false };
}

static void teardown(void)
{
	ck_assert_uint_eq(fake_xl.domains[1].domid, 5);
	fake_xl_end();
}

/* An xl process that waits for the end of its domain. */
static void daemon_runs(void)
{
	fake_xl.daemon = fake_xl_process();
}

/* _i: how the guest is, what it does, and what comes of it. */
static const struct {
	struct fg_stop_policy policy;
	bool hvm, paused;
	enum fake_xl_end on_shutdown, on_button;
	int shutdown_rc, button_rc, destroy_rc, gone_rc, rc;
	const char *asked, *steps;
} ladder[] = {
	{ .policy = ALL,
	  .on_shutdown = FAKE_XL_SHUTS_DOWN,
	  .asked = "shutdown 4, destroy 4, gone 4 +2",
	  .steps = "shutdown requested; guest has shut down; destroying the domain; destroyed, backends gone" },
	{ .policy = ALL,
	  .on_shutdown = FAKE_XL_REBOOTS,
	  .asked = "shutdown 4, destroy 4, gone 4 +2",
	  .steps = "shutdown requested; guest wants to reboot: taken as its end; destroying the domain; destroyed, "
		   "backends gone" },
	{ .policy = ALL,
	  .on_shutdown = FAKE_XL_VANISHES,
	  .asked = "shutdown 4, destroy 4, gone 4 +2",
	  .steps = "shutdown requested; domain is gone; destroying the domain; destroyed, backends gone" },
	{ .policy = ALL, /* a PV guest has no button */
	  .asked = "shutdown 4, destroy 4, gone 4 +2",
	  .steps = "shutdown requested; no end after the shutdown request; destroying the domain; destroyed, backends "
		   "gone" },
	{ .policy = ALL,
	  .hvm = true,
	  .on_button = FAKE_XL_SHUTS_DOWN,
	  .asked = "shutdown 4, button 4, destroy 4, gone 4 +2",
	  .steps = "shutdown requested; no end after the shutdown request; power button pressed; guest has shut down; "
		   "destroying the domain; destroyed, backends gone" },
	{ .policy = ALL,
	  .hvm = true,
	  .asked = "shutdown 4, button 4, destroy 4, gone 4 +2",
	  .steps = "shutdown requested; no end after the shutdown request; power button pressed; no end after the "
		   "power button; "
		   "destroying the domain; destroyed, backends gone" },
	{ .policy = ALL,
	  .hvm = true,
	  .shutdown_rc = ERROR_NOPARAVIRT,
	  .button_rc = ERROR_FAIL,
	  .asked = "shutdown 4, button 4, destroy 4, gone 4 +2",
	  .steps = "shutdown requested; guest does not hear shutdown requests; power button pressed; guest has no "
		   "power button; "
		   "destroying the domain; destroyed, backends gone" },
	{ .policy = ALL, /* no acknowledgement is no news */
	  .shutdown_rc = ERROR_TIMEDOUT,
	  .on_shutdown = FAKE_XL_SHUTS_DOWN,
	  .asked = "shutdown 4, destroy 4, gone 4 +2",
	  .steps = "shutdown requested; guest has shut down; destroying the domain; destroyed, backends gone" },
	{ .policy = NO_BUTTON,
	  .hvm = true,
	  .asked = "shutdown 4, destroy 4, gone 4 +2",
	  .steps = "shutdown requested; no end after the shutdown request; destroying the domain; destroyed, backends "
		   "gone" },
	{ .policy = ALL,
	  .paused = true,
	  .asked = "destroy 4, gone 4 +2",
	  .steps = "destroying the domain; destroyed, backends gone" },
	{ .policy = NO_DESTROY,
	  .rc = -FG_ETIMEOUT,
	  .asked = "shutdown 4",
	  .steps = "shutdown requested; no end after the shutdown request" },
	{ .policy = ALL,
	  .on_shutdown = FAKE_XL_SHUTS_DOWN,
	  .destroy_rc = ERROR_FAIL,
	  .rc = -FG_EFAILED,
	  .asked = "shutdown 4, destroy 4",
	  .steps = "shutdown requested; guest has shut down; destroying the domain" },
	{ .policy = ALL, /* somebody was faster */
	  .on_shutdown = FAKE_XL_SHUTS_DOWN,
	  .destroy_rc = ERROR_DOMAIN_NOTFOUND,
	  .asked = "shutdown 4, destroy 4, gone 4 +2",
	  .steps = "shutdown requested; guest has shut down; destroying the domain; destroyed, backends gone" },
	{ .policy = ALL,
	  .on_shutdown = FAKE_XL_SHUTS_DOWN,
	  .gone_rc = -FG_ETIMEOUT,
	  .rc = -FG_ETIMEOUT,
	  .asked = "shutdown 4, destroy 4, gone 4 +2",
	  .steps = "shutdown requested; guest has shut down; destroying the domain" },
};

START_TEST(rungs)
{
	fake_xl.domains[0].hvm = ladder[_i].hvm;
	fake_xl.domains[0].paused = ladder[_i].paused;
	fake_xl.on_shutdown = ladder[_i].on_shutdown;
	fake_xl.on_button = ladder[_i].on_button;
	fake_xl.shutdown_rc = ladder[_i].shutdown_rc;
	fake_xl.button_rc = ladder[_i].button_rc;
	fake_xl.destroy_rc = ladder[_i].destroy_rc;
	fake_xl.gone_rc = ladder[_i].gone_rc;
	stop(ladder[_i].policy);
	ck_assert_str_eq(fake_xl.asked, ladder[_i].asked);
	ck_assert_str_eq(got.steps, ladder[_i].steps);
	ck_assert_int_eq(got.rc, ladder[_i].rc);
}
END_TEST

START_TEST(its_xl_process_ends_first)
{
	daemon_runs();
	fake_xl.on_shutdown = FAKE_XL_REBOOTS;
	stop((struct fg_stop_policy)ALL);
	ck_assert_str_eq(fake_xl.asked, "end xl, shutdown 4, destroy 4, gone 4 +2");
	ck_assert_ptr_eq(strstr(got.steps, "xl process ended; "), got.steps);
	ck_assert_int_eq(got.rc, 0);
}
END_TEST

static void reboots(void)
{
	fake_xl.domains[0].domid = 9;
}

static void vanishes(void)
{
	memset(&fake_xl.domains[0], 0, sizeof(fake_xl.domains[0]));
}

static void comes(void)
{
	fake_xl.domains[0] = (struct fake_xl_domain){ 9, WEB1, "web1", CONFIG, .paused = true };
}

/* _i: what the xl process did while it was being ended. */
static const struct {
	bool off;
	void (*last_moment)(void);
	const char *asked;
} moments[] = {
	{ false, reboots, "end xl, shutdown 9, destroy 9, gone 9 +2" },
	{ false, vanishes, "end xl, gone 4 +2" },
	{ true, comes, "end xl, destroy 9, gone 9 +2" },
	{ true, NULL, "end xl, gone 4 +1" },
};

START_TEST(what_its_xl_process_did_in_its_last_moment)
{
	daemon_runs();
	if (moments[_i].off)
		vanishes();
	fake_xl.last_moment = moments[_i].last_moment;
	fake_xl.domid_rc = -FG_ENOTFOUND;
	fake_xl.on_shutdown = FAKE_XL_SHUTS_DOWN;
	stop((struct fg_stop_policy)ALL);
	ck_assert_str_eq(fake_xl.asked, moments[_i].asked);
	ck_assert_int_eq(got.rc, 0);
}
END_TEST

/* The agent, its owner, makes it anew: nothing is known of it until that has ended. */
START_TEST(a_domain_that_is_being_made_is_waited_for)
{
	vanishes();
	fake_xl.makes = 3;
	fake_xl.last_moment = comes;
	stop((struct fg_stop_policy)ALL);
	ck_assert_uint_eq(fake_xl.disowned, 4);
	ck_assert_str_eq(fake_xl.asked, "destroy 9, gone 9 +2");
	ck_assert_str_eq(got.steps,
			 "its domain is being made: waiting for it; destroying the domain; destroyed, backends gone");
	ck_assert_int_eq(got.rc, 0);
}
END_TEST

/* But not for ever: the job asks again. */
START_TEST(a_domain_that_is_not_made_is_not_waited_for)
{
	vanishes();
	fake_xl.makes = UINT_MAX;
	stop((struct fg_stop_policy)ALL);
	ck_assert_int_eq(got.rc, -FG_ETIMEOUT);
	ck_assert_str_eq(got.text, "waited 45000 ms for its domain to be made");
	ck_assert_str_eq(fake_xl.asked, "");
}
END_TEST

/* _i: there is no domain of it; whose is its last number? */
static const struct {
	int domid_rc, rc;
	const char *asked;
} numbers[] = {
	{ -FG_ENOTFOUND, 0, "gone 4 +1" },
	{ 0, 0, "gone 4 +1" }, /* its own, that only now is no more listed */
	{ -FG_EEXISTS, 0, "gone 0 +1" },
	{ -FG_EUNREACHABLE, -FG_EUNREACHABLE, "" },
};

START_TEST(no_domain)
{
	vanishes();
	fake_xl.domid_rc = numbers[_i].domid_rc;
	stop((struct fg_stop_policy)ALL);
	ck_assert_str_eq(fake_xl.asked, numbers[_i].asked);
	ck_assert_int_eq(got.rc, numbers[_i].rc);
	ck_assert_str_eq(got.steps, got.rc ? "" : "no domain, backends gone");
}
END_TEST

/* _i: what cannot be asked. Nothing is done to a guest of which too little is known. */
START_TEST(unknown_is_an_error)
{
	if (_i == 0)
		fake_xl.find_rc = -FG_EUNREACHABLE;
	else if (_i == 1)
		fake_xl.watch_rc = -FG_EUNREACHABLE;
	else
		fake_xl.reboot_rc = -FG_EUNREACHABLE;
	stop((struct fg_stop_policy)ALL);
	ck_assert_int_eq(got.rc, -FG_EUNREACHABLE);
	ck_assert_str_eq(fake_xl.asked, "");
	ck_assert_str_eq(got.steps, "");
	ck_assert_uint_eq(fake_xl.domains[0].domid, 4);
}
END_TEST

START_TEST(files_of_a_guest_whose_definition_is_not_there)
{
	fake_xl.domains[0].json = _i == 0 ? NULL : "{";
	fake_xl.on_shutdown = FAKE_XL_SHUTS_DOWN;
	stop((struct fg_stop_policy)ALL);
	ck_assert_str_eq(fake_xl.asked, "shutdown 4, destroy 4, gone 4 +1");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("xl_stop");
	TCase *tc = tcase_create("all");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, rungs, 0, (int)FG_COUNT(ladder));
	tcase_add_test(tc, its_xl_process_ends_first);
	tcase_add_loop_test(tc, what_its_xl_process_did_in_its_last_moment, 0, (int)FG_COUNT(moments));
	tcase_add_test(tc, a_domain_that_is_being_made_is_waited_for);
	tcase_add_test(tc, a_domain_that_is_not_made_is_not_waited_for);
	tcase_add_loop_test(tc, no_domain, 0, (int)FG_COUNT(numbers));
	tcase_add_loop_test(tc, unknown_is_an_error, 0, 3);
	tcase_add_loop_test(tc, files_of_a_guest_whose_definition_is_not_there, 0, 2);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
