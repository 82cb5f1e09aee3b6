/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A window reaches the server, whatever the guest's job is at; what was held back goes with the reports. */
#include <check.h>
#include <dom0-agent/isolate/window.h>
#include <test/fakes/world.h>
#include <test/folder.h>

#include <string.h>
#include <unistd.h>

static struct fake_world *w;
static struct fake f;
static char dir[32];

static void setup(void)
{
	memset(&f, 0, sizeof(f));
	w = fake_world_new();
	snprintf(dir, sizeof(dir), "%s", "/dev/shm/fg-window-XXXXXX");
	test_folder_make(dir);
}

static void teardown(void)
{
	test_folder_remove(dir);
	fake_world_free(w);
}

static struct fg_window window(const char *uuid)
{
	struct fg_window win = { .dev = "vif3.0", .cause = "appeared", .ms = 12, .frames = 4 };

	snprintf(win.uuid, sizeof(win.uuid), "%s", uuid);
	return win;
}

static bool job_is_isolated(struct fake *fake)
{
	const struct fg_job *job = TAILQ_FIRST(&fake->agent.jobs);

	return job && job->r.state == FG_STATE_ISOLATED;
}

static void start(bool (*until)(struct fake *))
{
	fake_start(&f, w, dir, NULL, NULL);
	fake_pump(&f, until);
	ck_assert_msg(!w->violation[0], "%s", w->violation);
}

static void end(void)
{
	fake_pump(&f, NULL);
	fake_end(&f);
	ck_assert_msg(!w->violation[0], "%s", w->violation);
	ck_assert_msg(!w->fatal[0], "%s", w->fatal);
}

static const struct fake_report *last(void)
{
	ck_assert_uint_gt(w->n_reports, 0);
	return &w->reports[w->n_reports - 1];
}

START_TEST(of_a_job_at_work)
{
	struct fg_window win = window(FAKE_WEB1);

	fake_offer(w, FAKE_WEB1, 1);
	start(job_is_isolated);
	fg_window_report(&f.agent, &win);
	ck_assert_uint_eq(fake_count(w, FAKE_WEB1, "isolated"), 2);
	ck_assert_str_eq(last()->state, "isolated");
	ck_assert_ptr_nonnull(strstr(last()->evidence, "\"window\":{\"dev\":\"vif3.0\",\"cause\":\"appeared\","
						       "\"ended\":\"filtered\",\"ms\":12,\"frames\":4}"));
	end(); /* it goes on all the same */
	ck_assert_str_eq(fake_last_state(w, FAKE_WEB1), "done");
}
END_TEST

START_TEST(that_was_not_filtered_holds_the_job)
{
	struct fg_window win = window(FAKE_WEB1);

	fake_offer(w, FAKE_WEB1, 1);
	start(job_is_isolated);
	win.shut = _i == 0;
	win.open = _i == 1;
	fg_window_report(&f.agent, &win);
	end();
	ck_assert_str_eq(fake_last_state(w, FAKE_WEB1), "held");
	ck_assert_ptr_nonnull(strstr(last()->reason, _i == 0 ? "was set down" : "still is not"));
	ck_assert(fake_guest(w, FAKE_WEB1)->marked);
}
END_TEST

START_TEST(after_the_job)
{
	struct fg_window win = window(FAKE_WEB1);

	w->script = FAKE_FAILS; /* on_failure = isolate */
	fake_offer(w, FAKE_WEB1, 1);
	start(NULL);
	ck_assert_str_eq(fake_last_state(w, FAKE_WEB1), "failed");
	ck_assert_ptr_null(TAILQ_FIRST(&f.agent.jobs));
	win.shut = true;
	fg_window_report(&f.agent, &win);
	ck_assert_uint_eq(fake_count(w, FAKE_WEB1, "failed"), 2);
	ck_assert_ptr_nonnull(strstr(last()->evidence, "\"ended\":\"set-down\""));
	ck_assert_ptr_nonnull(strstr(last()->reason, "exit status 1")); /* why it failed is still said */
	end();
	ck_assert_str_eq(fake_last_state(w, FAKE_WEB1), "failed");
}
END_TEST

START_TEST(of_a_guest_without_a_job)
{
	struct fg_window win = window(FAKE_WEB2);

	start(NULL);
	fg_window_report(&f.agent, &win);
	ck_assert_uint_eq(w->n_reports, 0);
	end();
}
END_TEST

START_TEST(is_in_the_journal_before_it_is_sent)
{
	struct fg_window win = window(FAKE_WEB1);
	fg_autojson json_t *steps = NULL;
	char id[37];

	fake_offer(w, FAKE_WEB1, 1);
	start(job_is_isolated);
	memcpy(id, TAILQ_FIRST(&f.agent.jobs)->r.id, sizeof(id));
	fg_window_report(&f.agent, &win);
	ck_assert_int_eq(fg_journal_steps(f.agent.journal, id, &steps, NULL), 0);
	const json_t *step = json_array_get(steps, json_array_size(steps) - 1);
	while (strcmp(json_string_value(json_object_get(step, "kind")), "note") != 0)
		step = json_array_get(steps, json_array_size(steps) - 2);
	ck_assert_ptr_nonnull(
		strstr(json_string_value(json_object_get(step, "what")), "vif3.0 was not filtered for 12 ms"));
	end();
}
END_TEST

/* Lengths that are not known are not said. */
START_TEST(as_text_and_as_evidence)
{
	struct fg_window win = window(FAKE_WEB1);

	win.ms = win.frames = FG_WINDOW_UNKNOWN;
	fg_autofree char *text = fg_window_text(&win);
	fg_autojson json_t *j = fg_window_json(&win);
	ck_assert_ptr_nonnull(strstr(text, "a time that is not known"));
	ck_assert_ptr_null(json_object_get(j, "ms"));
	ck_assert_ptr_null(json_object_get(j, "frames"));
	win.ms = 3;
	win.at_most = true;
	fg_autofree char *bound = fg_window_text(&win);
	fg_autojson json_t *k = fg_window_json(&win);
	ck_assert_ptr_nonnull(strstr(bound, "at most 3 ms"));
	ck_assert(json_is_true(json_object_get(k, "at_most")));
}
END_TEST

START_TEST(counters_go_with_the_reports)
{
	static const char *const with[] = { "isolated", "stopped", "released" }, *const without[] = {
		"offered", "queued", "fixing", "done"
	};

	fake_offer(w, FAKE_WEB1, 1);
	start(NULL);
	end();
	for (size_t i = 0; i < FG_COUNT(with); i++)
		ck_assert_msg(strstr(fake_report_of(w, FAKE_WEB1, with[i])->evidence, "{\"filter\":{\"isolations\":"),
			      "%s", with[i]);
	for (size_t i = 0; i < FG_COUNT(without); i++)
		ck_assert_msg(!fake_report_of(w, FAKE_WEB1, without[i])->evidence[0], "%s", without[i]);
}
END_TEST

static bool nic_comes(struct fake *fake)
{
	struct fake_guest *g = fake_guest(fake->w, FAKE_WEB1);

	if (job_is_isolated(fake) && g->n_nics == 0) {
		ck_assert(g->marked);
		g->n_nics = 1;
		g->armed = g->armed_once = false;
		fg_marks_changed(&fake->agent, FAKE_WEB1); /* as the guard does */
	}
	return false;
}

static const char *const refusals[] = { NULL, "its definition cannot be read: its devices are not in xenstore",
					"disk xvdb has format qcow2; only raw disks can be worked on" };
static int which;

static unsigned told(void)
{
	unsigned n = 0;

	for (size_t i = 0; i < w->n_reports; i++)
		n += strstr(w->reports[i].evidence, "\"window\"") != NULL;
	return n;
}

/* Twice, as each change of a link of the guest asks for it again. */
static bool card_comes(struct fake *fake)
{
	struct fake_guest *g = fake_guest(fake->w, FAKE_WEB1);

	if (job_is_isolated(fake) && !g->refused) {
		g->refused = true;
		g->refusal = refusals[which];
		fg_marks_changed(&fake->agent, FAKE_WEB1);
		fg_marks_changed(&fake->agent, FAKE_WEB1);
	}
	return false;
}

/* _i == 0: of a passed-through card; else of what is no way to the network. */
START_TEST(that_the_filter_cannot_end_holds_the_job)
{
	which = _i;
	fake_offer(w, FAKE_WEB1, 1);
	start(card_comes);
	end();
	ck_assert_str_eq(fake_last_state(w, FAKE_WEB1), _i ? "done" : "held");
	ck_assert_uint_eq(told(), _i ? 0 : 1);
	if (_i)
		return;
	ck_assert_ptr_nonnull(strstr(fake_report_of(w, FAKE_WEB1, "held")->reason, "its NIC is passed through"));
	ck_assert_ptr_nonnull(strstr(fake_report_of(w, FAKE_WEB1, "isolated")->evidence, "\"cause\":\"out-of-reach\","
											 "\"ended\":\"open\""));
	ck_assert(fake_guest(w, FAKE_WEB1)->marked);
}
END_TEST

/* After a failed job its guest stays isolated.  Each guest's is told, once, and again when it was away in between. */
START_TEST(that_the_filter_cannot_end_is_told_once)
{
	static const char *const guests[] = { FAKE_WEB1, FAKE_WEB2 };

	w->script = FAKE_FAILS;
	for (size_t i = 0; i < FG_COUNT(guests); i++)
		fake_offer(w, guests[i], (unsigned)i + 1);
	start(NULL);
	for (int round = 0; round < 6; round++) {
		for (size_t i = 0; i < FG_COUNT(guests); i++) {
			ck_assert(fake_guest(w, guests[i])->marked);
			fake_guest(w, guests[i])->refused = round != 3;
			fg_marks_changed(&f.agent, guests[i]);
			fake_pump(&f, NULL);
		}
		ck_assert_uint_eq(told(), round < 4 ? 2 : 4);
	}
	ck_assert_str_eq(fake_last_state(w, FAKE_WEB1), "failed");
	end();
}
END_TEST

/* Nothing to filter, but a mark; the fix VM has a NIC of its own.  _i == 1: a NIC is attached to the isolated guest. */
START_TEST(a_guest_without_a_nic_is_fixed)
{
	fake_configure(&f, dir);
	f.config.n_networks = 1;
	f.config.networks[0] =
		(struct fg_network){ .bridge = "xenbr0", .dhcp = { .family = AF_INET, .v4 = { 0x0100630a } } };
	fake_guest(w, FAKE_WEB1)->n_nics = 0;
	fake_offer(w, FAKE_WEB1, 1);
	start(_i ? nic_comes : NULL);
	end();
	ck_assert_str_eq(fake_last_state(w, FAKE_WEB1), "done");
	ck_assert_ptr_nonnull(fake_report_of(w, FAKE_WEB1, "isolated"));
	ck_assert(!fake_guest(w, FAKE_WEB1)->marked);
}
END_TEST

START_TEST(a_guest_without_a_nic_needs_a_network_for_its_fix_vm)
{
	fake_guest(w, FAKE_WEB1)->n_nics = 0;
	fake_offer(w, FAKE_WEB1, 1);
	start(NULL);
	end();
	ck_assert_str_eq(fake_last_state(w, FAKE_WEB1), "rejected");
	ck_assert_ptr_nonnull(strstr(last()->reason, "no [network] names a DHCP server"));
	ck_assert(!fake_guest(w, FAKE_WEB1)->marked);
}
END_TEST

/* What a fix VM read of os-release, once; nothing that is not a word of os-release gets through. */
START_TEST(the_system_goes_with_a_report)
{
	static const struct {
		const char *said, *told;
	} table[] = { { "debian 12", "\"os\":{\"id\":\"debian\",\"version\":\"12\"}" },
		      { "arch", "\"os\":{\"id\":\"arch\"}" },
		      { "opensuse-leap 15.5", "\"os\":{\"id\":\"opensuse-leap\",\"version\":\"15.5\"}" },
		      { "debian ../x", "\"os\":{\"id\":\"debian\"}" },
		      { "debian 12 13", "\"os\":{\"id\":\"debian\"}" },
		      { "Debian:12", NULL },
		      { "unknown", NULL },
		      { "unknown 12", NULL },
		      { " 12", NULL },
		      { "", NULL },
		      { "d\\u00e9bian", NULL },
		      { "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", NULL } };

	w->os = table[_i].said;
	fake_offer(w, FAKE_WEB1, 1);
	start(NULL);
	end();
	const char *evidence = fake_report_of(w, FAKE_WEB1, "fixed")->evidence;
	if (table[_i].told)
		ck_assert_msg(strstr(evidence, table[_i].told), "%s: %s", table[_i].said, evidence);
	else
		ck_assert_msg(!strstr(evidence, "\"os\""), "%s: %s", table[_i].said, evidence);
	ck_assert_ptr_null(strstr(fake_report_of(w, FAKE_WEB1, "done")->evidence, "\"os\""));
	ck_assert_ptr_null(strstr(fake_report_of(w, FAKE_WEB1, "isolated")->evidence, "\"os\""));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("window");
	TCase *t = tcase_create("window");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, of_a_job_at_work);
	tcase_add_loop_test(t, that_was_not_filtered_holds_the_job, 0, 2);
	tcase_add_loop_test(t, that_the_filter_cannot_end_holds_the_job, 0, 3);
	tcase_add_test(t, that_the_filter_cannot_end_is_told_once);
	tcase_add_test(t, after_the_job);
	tcase_add_test(t, of_a_guest_without_a_job);
	tcase_add_test(t, is_in_the_journal_before_it_is_sent);
	tcase_add_test(t, as_text_and_as_evidence);
	tcase_add_test(t, counters_go_with_the_reports);
	tcase_add_loop_test(t, the_system_goes_with_a_report, 0, 12);
	tcase_add_loop_test(t, a_guest_without_a_nic_is_fixed, 0, 2);
	tcase_add_test(t, a_guest_without_a_nic_needs_a_network_for_its_fix_vm);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
