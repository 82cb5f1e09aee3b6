/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Guests without an xl process: the agent does what it would do, and stops to do it when it is told so, whatever is under way. */
#include "dom0-agent/toolstack/xl_daemon.h"
#include "dom0-agent/toolstack/xl_private.h"
#include "lib/util.h"
#include "test/folder.h"

#include <check.h>
#include <string.h>
#include <unistd.h>

#define WEB1 "f19a0000-0000-4000-8000-000000000011"
#define CONFIG "{\"the\":\"definition\"}"

static char dir[] = "/tmp/test-xl-owner-XXXXXX";
static char *file;
static struct xl_ts ts;
static char asked[256];
static libxl_action_on_shutdown on_reboot, on_poweroff;
static uint32_t next_domid, there; /* the domain that is found; 0: none */
static int create_rc, find_rc, daemon_rc;
static uint32_t *made_domid;

/* The operation that is under way, and the watch: there is one guest. */
static struct {
	fg_xl_ao_cb *cb;
	void *arg;
	int rc;
	bool running;
} op;
static struct fg_xl_death {
	fg_xl_death_cb *cb;
	void *arg;
	uint32_t domid;
} watch;

static void note(const char *fmt, ...)
{
	size_t len = strlen(asked);
	va_list ap;

	if (len)
		len += (size_t)snprintf(asked + len, sizeof(asked) - len, ", ");
	va_start(ap, fmt);
	vsnprintf(asked + len, sizeof(asked) - len, fmt, ap);
	va_end(ap);
}

/*----- what stands in for event_libxl.c and libxl -----*/

libxl_ctx *fg_xl_ctx(struct fg_xl *xl)
{
	(void)xl;
	return NULL;
}

libxl_asyncop_how fg_xl_how(struct fg_xl *xl, fg_xl_ao_cb *cb, void *arg)
{
	(void)xl;
	ck_assert_msg(!op.running, "two operations at once");
	op.cb = cb;
	op.arg = arg;
	return (libxl_asyncop_how){ .u.for_event = 0 };
}

void fg_xl_started(struct fg_xl *xl, const libxl_asyncop_how *how, int rc)
{
	(void)xl;
	(void)how;
	op.rc = rc;
	op.running = true;
}

void fg_xl_forget(struct fg_xl *xl, const void *arg)
{
	(void)xl;
	if (op.running && op.arg == arg)
		op.running = false;
}

const char *fg_xl_error_name(int rc)
{
	return rc == ERROR_FAIL ? "ERROR_FAIL" : "?";
}

int fg_xl_death_watch(struct fg_xl *xl, uint32_t domid, fg_xl_death_cb *cb, void *arg, struct fg_xl_death **out,
		      struct fg_error *err)
{
	(void)xl;
	(void)err;
	ck_assert_msg(!watch.cb, "two look at the end of a domain");
	watch = (struct fg_xl_death){ cb, arg, domid };
	*out = &watch;
	return 0;
}

void fg_xl_death_unwatch(struct fg_xl_death *w)
{
	if (w)
		watch.cb = NULL;
}

int fg_xl_find(struct fg_xl *xl, const char *uuid, uint32_t *domid, libxl_dominfo *info, struct fg_error *err)
{
	(void)xl;
	ck_assert_str_eq(uuid, WEB1);
	ck_assert_ptr_nonnull(info);
	*domid = there;
	return find_rc	? fg_error_set(err, -find_rc, "domains cannot be listed")
	       : !there ? fg_error_set(err, FG_ENOTFOUND, "no such domain")
			: 0;
}

int fg_xl_daemon_find(const char *proc, uint32_t domid, const char *uuid, struct fg_xl_daemon *out,
		      struct fg_error *err)
{
	ck_assert_str_eq(proc, "/proc");
	ck_assert_uint_eq(domid, there);
	ck_assert_str_eq(uuid, WEB1);
	(void)out;
	return daemon_rc ? fg_error_set(err, -daemon_rc, "processes") : 0;
}

void fg_xl_daemon_release(struct fg_xl_daemon *daemon)
{
	(void)daemon;
}

int libxl_domain_config_from_json(libxl_ctx *ctx, libxl_domain_config *config, const char *json)
{
	(void)ctx;
	ck_assert_str_eq(json, CONFIG);
	config->on_reboot = on_reboot;
	config->on_poweroff = on_poweroff;
	return 0;
}

int libxl_domain_destroy(libxl_ctx *ctx, uint32_t domid, const libxl_asyncop_how *how)
{
	(void)ctx;
	(void)how;
	note("destroy %u", domid);
	return 0;
}

int libxl_domain_create_new(libxl_ctx *ctx, libxl_domain_config *config, uint32_t *domid, const libxl_asyncop_how *how,
			    const libxl_asyncprogress_how *console)
{
	(void)ctx;
	(void)how;
	(void)console;
	ck_assert_int_eq(config->on_reboot, on_reboot);
	note("create");
	made_domid = domid;
	return create_rc;
}

int libxl_domain_unpause(libxl_ctx *ctx, uint32_t domid, const libxl_asyncop_how *how)
{
	(void)ctx;
	(void)how;
	note("unpause %u", domid);
	return 0;
}

/*----- the tests -----*/

/* What is under way ends. libxl writes a new domain's number when it has made it. */
static void answer(int rc)
{
	ck_assert_msg(op.running, "nothing is under way");
	op.running = false;
	if (made_domid && !op.rc && !rc)
		*made_domid = next_domid;
	made_domid = NULL;
	op.cb(op.arg, op.rc ? op.rc : rc);
}

static void ends(bool shutdown, int reason)
{
	ck_assert_msg(watch.cb != NULL, "nobody looks at it");
	watch.cb(watch.arg, shutdown, reason);
}

static bool written(void)
{
	fg_autofree char *text = NULL;

	if (fg_file_read(file, 100, &text, NULL, NULL) < 0)
		return false;
	ck_assert_str_eq(text, CONFIG);
	return true;
}

static void expect(bool owned, const char *what)
{
	ck_assert_str_eq(asked, what);
	ck_assert(xl_owns(&ts, WEB1) == owned);
	ck_assert(written() == owned);
	ck_assert(owned || !watch.cb);
	ck_assert(owned || op.running || LIST_EMPTY(&ts.owned));
}

static void setup(void)
{
	test_folder_make(dir);
	file = fg_asprintf("%s/xl-owned/" WEB1 ".json", dir);
	memset(&ts, 0, sizeof(ts));
	memset(&op, 0, sizeof(op));
	memset(&watch, 0, sizeof(watch));
	memset(asked, 0, sizeof(asked));
	ts.cfg.state_dir = dir;
	on_reboot = LIBXL_ACTION_ON_SHUTDOWN_RESTART;
	on_poweroff = LIBXL_ACTION_ON_SHUTDOWN_DESTROY;
	next_domid = 9;
	there = 4;
	create_rc = find_rc = 0;
	daemon_rc = -FG_ENOTFOUND;
	made_domid = NULL;
	xl_own(&ts, WEB1, 4, CONFIG);
	ck_assert_uint_eq(watch.domid, 4);
}

static void teardown(void)
{
	xl_owned_free(&ts);
	free(file);
	test_folder_remove(dir);
}

START_TEST(a_reboot)
{
	for (int i = 0; i < 2; i++, next_domid++) {
		asked[0] = '\0';
		ends(true, LIBXL_SHUTDOWN_REASON_REBOOT);
		answer(0);
		answer(0);
		ck_assert_uint_eq(watch.domid, next_domid);
		answer(0);
		expect(true, i == 0 ? "destroy 4, create, unpause 9" : "destroy 9, create, unpause 10");
	}
}
END_TEST

/* _i: an end that is one. */
START_TEST(an_end)
{
	if (_i == 0) {
		ends(true, LIBXL_SHUTDOWN_REASON_POWEROFF);
		answer(0);
		expect(false, "destroy 4");
	} else if (_i == 1) { /* of no reason that libxl knows: as a power-off */
		ends(true, 77);
		answer(0);
		expect(false, "destroy 4");
	} else if (_i == 2) { /* destroyed by somebody */
		ends(false, 0);
		expect(false, "");
	} else {
		on_reboot = LIBXL_ACTION_ON_SHUTDOWN_DESTROY;
		ends(true, LIBXL_SHUTDOWN_REASON_REBOOT);
		answer(0);
		expect(false, "destroy 4");
	}
}
END_TEST

START_TEST(one_that_is_to_be_looked_at_stays)
{
	on_poweroff = LIBXL_ACTION_ON_SHUTDOWN_PRESERVE;
	ends(true, LIBXL_SHUTDOWN_REASON_POWEROFF);
	expect(true, "");
	ends(false, 0); /* and a person destroys it */
	expect(false, "");
}
END_TEST

/* _i: what fails. Nobody makes it again then, as xl would not. */
START_TEST(a_reboot_that_fails)
{
	ends(true, LIBXL_SHUTDOWN_REASON_REBOOT);
	if (_i == 0) {
		answer(ERROR_FAIL);
		expect(false, "destroy 4");
		return;
	}
	create_rc = _i == 1 ? ERROR_FAIL : 0;
	answer(0);
	answer(_i == 1 ? 0 : ERROR_FAIL);
	expect(false, "destroy 4, create");
}
END_TEST

START_TEST(disowned_before_it_is_destroyed)
{
	ends(true, LIBXL_SHUTDOWN_REASON_REBOOT);
	ck_assert(xl_disown(&ts, WEB1));
	ck_assert(!op.running);
	expect(false, "destroy 4");
	ck_assert(xl_disown(&ts, WEB1));
}
END_TEST

/* It cannot be called off. What comes of it is let run by nobody, and who asks again is told when it is there. */
START_TEST(disowned_while_it_is_made)
{
	ends(true, LIBXL_SHUTDOWN_REASON_REBOOT);
	answer(0);
	ck_assert(!xl_disown(&ts, WEB1));
	ck_assert(!xl_disown(&ts, WEB1));
	expect(false, "destroy 4, create");
	answer(_i == 0 ? 0 : ERROR_FAIL);
	expect(false, "destroy 4, create");
	ck_assert(!op.running);
	ck_assert(xl_disown(&ts, WEB1));
}
END_TEST

/* _i: the agent was started again; what it finds. */
static const struct {
	uint32_t there;
	int find_rc, daemon_rc;
	bool mine, kept;
} restarts[] = {
	{ 7, 0, -FG_ENOTFOUND, true, true },
	{ 0, 0, -FG_ENOTFOUND, false, false }, /* it may run on another host by now */
	{ 7, 0, 0, false, false }, /* somebody has started it, with an xl process */
	{ 7, -FG_EUNREACHABLE, -FG_ENOTFOUND, false, true }, /* not known: the next start asks again */
	{ 7, 0, -FG_EUNREACHABLE, true, true }, /* an xl process that may be another's */
};

START_TEST(after_a_restart)
{
	xl_owned_free(&ts);
	watch.cb = NULL;
	there = restarts[_i].there;
	find_rc = restarts[_i].find_rc;
	daemon_rc = restarts[_i].daemon_rc;
	xl_owned_load(&ts);
	ck_assert(xl_owns(&ts, WEB1) == restarts[_i].mine);
	ck_assert(written() == restarts[_i].kept);
	ck_assert((watch.cb != NULL) == restarts[_i].mine);
	ck_assert(!restarts[_i].mine || watch.domid == 7);
	ck_assert_str_eq(asked, "");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("xl_owner");
	TCase *tc = tcase_create("all");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_reboot);
	tcase_add_loop_test(tc, an_end, 0, 4);
	tcase_add_test(tc, one_that_is_to_be_looked_at_stays);
	tcase_add_loop_test(tc, a_reboot_that_fails, 0, 3);
	tcase_add_test(tc, disowned_before_it_is_destroyed);
	tcase_add_loop_test(tc, disowned_while_it_is_made, 0, 2);
	tcase_add_loop_test(tc, after_a_restart, 0, (int)FG_COUNT(restarts));
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
