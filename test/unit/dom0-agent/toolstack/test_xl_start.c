/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Bringing a guest back over what an agent that died has left of it. */
#include "lib/util.h"
#include "test/fakes/xl.h"

#include <check.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define WEB1 FAKE_XL_WEB1
#define CONFIG_OF(mac, disk)                                                                                           \
	"{\"c_info\":{\"name\":\"web1\",\"uuid\":\"" WEB1 "\"},\"b_info\":{\"max_memkb\":196608},"                     \
	"\"disks\":[{\"pdev_path\":\"" disk "\",\"vdev\":\"xvda\",\"format\":\"raw\",\"readwrite\":1}],"               \
	"\"nics\":[{\"devid\":0,\"mac\":\"" mac "\",\"bridge\":\"xenbr0\"}]}"
#define CONFIG CONFIG_OF("00:16:3e:99:00:11", "/nowhere/web1.img")
#define DEFINITION(file)                                                                                               \
	"{\"toolstack\":\"xl\",\"uuid\":\"" WEB1 "\",\"config\":" CONFIG ",\"args\":[],\"daemon\":true,\"file\":" file \
	"}"
#define NO_FILE DEFINITION("null")
#define WITH_FILE DEFINITION("\"/dev/null\"")

static struct {
	unsigned calls;
	int rc;
	uint32_t domid;
	char text[256];
} got;

static void started(void *arg, int rc, const struct fg_guest *guest, const struct fg_error *err)
{
	(void)arg;
	got.calls++;
	got.rc = rc;
	got.domid = guest ? guest->domid : 0;
	snprintf(got.text, sizeof(got.text), "%s", err ? err->text : "");
}

static void start(const char *definition)
{
	xl_start_paused((struct fg_toolstack *)&fake_xl.ts, definition, started, NULL);
	fake_xl_loop();
	ck_assert_uint_eq(got.calls, 1);
}

static void setup(void)
{
	fake_xl_begin();
	memset(&got, 0, sizeof(got));
	fake_xl.dryrun_json = CONFIG;
}

static void domain_is(const char *json, bool paused)
{
	fake_xl.domains[0] = (struct fake_xl_domain){ 4, WEB1, "web1", json, .paused = paused };
}

/* An xl create of an agent that died. */
static void maker_runs(void)
{
	fake_xl.maker = fake_xl_process();
}

START_TEST(made_from_its_definition)
{
	start(NO_FILE);
	ck_assert_msg(got.rc == 0, "%s", got.text);
	ck_assert_uint_eq(got.domid, 9);
	ck_assert_uint_eq(fake_xl.made, 1);
	ck_assert_uint_eq(fake_xl.owned, 1);
}
END_TEST

START_TEST(made_by_xl)
{
	start(WITH_FILE);
	ck_assert_msg(got.rc == 0, "%s", got.text);
	ck_assert_uint_eq(got.domid, 9);
	ck_assert_uint_eq(fake_xl.made, 1);
	ck_assert_uint_eq(fake_xl.owned, 0);
}
END_TEST

START_TEST(complete_domain_is_the_guest)
{
	fake_xl.daemon_known = _i;
	domain_is(CONFIG, true);
	start(WITH_FILE);
	ck_assert_int_eq(got.rc, 0);
	ck_assert_uint_eq(got.domid, 4);
	ck_assert_uint_eq(fake_xl.made + fake_xl.destroyed, 0);
	/* Made from its definition, and its maker died before it noted that it is the owner. */
	ck_assert_uint_eq(fake_xl.owned, _i ? 0 : 1);
}
END_TEST

static const char *const others[] = {
	CONFIG_OF("00:16:3e:99:00:99", "/nowhere/web1.img"),
	CONFIG_OF("00:16:3e:99:00:11", "/nowhere/else.img"),
	"{\"c_info\":{\"name\":\"web1\",\"uuid\":\"" WEB1 "\"},\"b_info\":{}}",
};

START_TEST(another_domain_with_its_uuid_is_not_the_guest)
{
	domain_is(others[_i], true);
	start(NO_FILE);
	ck_assert_msg(got.rc == -FG_EDIFFERS, "%s", got.text);
	ck_assert_uint_eq(fake_xl.made + fake_xl.destroyed, 0);
}
END_TEST

START_TEST(half_a_domain_is_made_anew)
{
	domain_is(NULL, true);
	start(NO_FILE);
	ck_assert_msg(got.rc == 0, "%s", got.text);
	ck_assert_uint_eq(got.domid, 9);
	ck_assert_uint_eq(fake_xl.destroyed, 1);
	ck_assert_uint_eq(fake_xl.gone_waits, 1);
	ck_assert_uint_eq(fake_xl.made, 1);
}
END_TEST

START_TEST(half_a_domain_that_stays_is_an_error)
{
	domain_is(NULL, true);
	fake_xl.destroy_rc = _i ? ERROR_FAIL : 0;
	fake_xl.gone_rc = _i ? 0 : -FG_ETIMEOUT;
	start(NO_FILE);
	ck_assert_int_eq(got.rc, _i ? -FG_EFAILED : -FG_ETIMEOUT);
	ck_assert_uint_eq(fake_xl.made, 0);
}
END_TEST

START_TEST(what_runs_and_cannot_be_read_is_left_alone)
{
	domain_is(NULL, false);
	start(NO_FILE);
	ck_assert_int_eq(got.rc, -FG_EUNREACHABLE);
	ck_assert_uint_eq(fake_xl.made + fake_xl.destroyed, 0);
}
END_TEST

START_TEST(one_that_goes_down_is_waited_for)
{
	domain_is(CONFIG, false);
	fake_xl.domains[0].shutdown = true;
	start(NO_FILE);
	ck_assert_msg(got.rc == 0, "%s", got.text);
	ck_assert_uint_eq(got.domid, 9);
	ck_assert_uint_eq(fake_xl.destroyed, 0);
	ck_assert_uint_eq(fake_xl.gone_waits, 1);
}
END_TEST

static void maker_is_done(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	ck_assert_uint_eq(got.calls, 0);
	fake_xl.domains[0].json = CONFIG;
	kill(fake_xl.process, SIGKILL);
}

/* A maker that will complete the domain, and end. */
static void maker_begins(void)
{
	const struct timeval in = { 0, 10000 };

	maker_runs();
	event_base_once(fake_xl.base, -1, EV_TIMEOUT, maker_is_done, NULL, &in);
}

/* Half a domain is seen, which the maker completes: it is the guest. */
static void start_keeps_the_domain(void)
{
	domain_is(NULL, true);
	fake_xl.daemon_known = true;
	start(WITH_FILE);
	ck_assert_msg(got.rc == 0, "%s", got.text);
	ck_assert_uint_eq(got.domid, 4);
	ck_assert_uint_eq(fake_xl.made + fake_xl.destroyed, 0);
}

START_TEST(xl_that_outlived_the_agent_is_waited_for)
{
	maker_begins();
	start_keeps_the_domain();
}
END_TEST

static void domain_completed(void)
{
	siginfo_t si;

	fake_xl.domains[0].json = CONFIG;
	kill(fake_xl.process, SIGKILL);
	ck_assert_int_eq(waitid(P_PID, (id_t)fake_xl.process, &si, WEXITED | WNOWAIT), 0);
}

/* It completes the domain just after the agent has seen half of it, and ends. */
START_TEST(xl_that_is_done_meanwhile_is_no_failure)
{
	maker_runs();
	fake_xl.definition_read = domain_completed;
	start_keeps_the_domain();
}
END_TEST

/* The agent died between fork and exec: what it started was no xl yet when the next one looked for it. */
START_TEST(xl_that_begins_meanwhile_is_waited_for)
{
	fake_xl.definition_read = maker_begins;
	start_keeps_the_domain();
}
END_TEST

START_TEST(xl_that_hangs_is_ended)
{
	int status;

	domain_is(NULL, true);
	maker_runs();
	start(WITH_FILE);
	ck_assert_msg(got.rc == 0, "%s", got.text);
	ck_assert_uint_eq(got.domid, 9);
	ck_assert_uint_eq(fake_xl.destroyed, 1);
	ck_assert_uint_eq(fake_xl.made, 1);
	ck_assert_int_eq(waitpid(fake_xl.process, &status, 0), fake_xl.process);
	fake_xl.process = 0;
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}
END_TEST

START_TEST(without_an_answer_nothing_is_made)
{
	if (_i == 0) {
		fake_xl.maker_rc = -FG_EUNREACHABLE;
	} else {
		fake_xl.maker = getpid(); /* one that makes the guest anew when it reboots */
		fake_xl.maker_domid = 3;
	}
	if (_i == 2)
		domain_is(NULL, true);
	start(WITH_FILE);
	ck_assert_int_eq(got.rc, -FG_EUNREACHABLE);
	ck_assert_uint_eq(fake_xl.made + fake_xl.destroyed, 0);
}
END_TEST

START_TEST(xl_that_fails_leaves_nothing)
{
	fake_xl.child_fails = true;
	start(WITH_FILE);
	ck_assert_int_eq(got.rc, -FG_EFAILED);
	ck_assert_uint_eq(fake_xl.made, 1);
	ck_assert_uint_eq(fake_xl.destroyed, 1);
	ck_assert_uint_eq(fake_xl.gone_waits, 1);
}
END_TEST

START_TEST(second_start_does_not_race_with_the_first)
{
	xl_start_paused((struct fg_toolstack *)&fake_xl.ts, NO_FILE, started, NULL);
	xl_start_paused((struct fg_toolstack *)&fake_xl.ts, NO_FILE, started, NULL);
	fake_xl_loop();
	ck_assert_uint_eq(got.calls, 2);
	ck_assert_uint_eq(fake_xl.made, 1);
}
END_TEST

START_TEST(broken_definition_is_refused)
{
	start("{\"toolstack\":\"libvirt\"}");
	ck_assert_int_eq(got.rc, -FG_EFORMAT);
	got.calls = 0;
	start("{\"toolstack\":\"xl\",\"uuid\":\"" WEB1 "\",\"config\":{},\"args\":[]}");
	ck_assert_int_eq(got.rc, -FG_EFORMAT);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("xl_start");
	TCase *tc = tcase_create("all");

	tcase_add_checked_fixture(tc, setup, fake_xl_end);
	tcase_add_test(tc, made_from_its_definition);
	tcase_add_test(tc, made_by_xl);
	tcase_add_loop_test(tc, complete_domain_is_the_guest, 0, 2);
	tcase_add_loop_test(tc, another_domain_with_its_uuid_is_not_the_guest, 0, (int)FG_COUNT(others));
	tcase_add_test(tc, half_a_domain_is_made_anew);
	tcase_add_loop_test(tc, half_a_domain_that_stays_is_an_error, 0, 2);
	tcase_add_test(tc, what_runs_and_cannot_be_read_is_left_alone);
	tcase_add_test(tc, one_that_goes_down_is_waited_for);
	tcase_add_test(tc, xl_that_outlived_the_agent_is_waited_for);
	tcase_add_test(tc, xl_that_is_done_meanwhile_is_no_failure);
	tcase_add_test(tc, xl_that_begins_meanwhile_is_waited_for);
	tcase_add_test(tc, xl_that_hangs_is_ended);
	tcase_add_loop_test(tc, without_an_answer_nothing_is_made, 0, 3);
	tcase_add_test(tc, xl_that_fails_leaves_nothing);
	tcase_add_test(tc, second_start_does_not_race_with_the_first);
	tcase_add_test(tc, broken_definition_is_refused);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
