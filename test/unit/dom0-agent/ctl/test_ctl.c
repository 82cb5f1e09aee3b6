/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The control socket, asked by the real fixgatectl (argv[1] or beside the build), with an agent on the fakes. */
#include <check.h>
#include <dom0-agent/ctl/ctl.h>
#include <lib/util.h>
#include <test/fakes/world.h>
#include <test/folder.h>

#include <event2/event.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *fixgatectl;
static struct fake_world *w;
static struct fake f;
static char dir[40];
static struct event_base *base;
static struct fg_ctl *ctl;
static char output[65536];

static void setup(void)
{
	memset(&f, 0, sizeof(f));
	w = fake_world_new();
	snprintf(dir, sizeof(dir), "%s", "/dev/shm/fg-ctl-XXXXXX");
	test_folder_make(dir);
	signal(SIGPIPE, SIG_IGN);
	base = event_base_new();
	fake_start(&f, w, dir, NULL, NULL);
	fake_pump(&f, NULL);
	ck_assert_int_eq(fg_ctl_start(base, &f.agent, &ctl, NULL), 0);
}

static void teardown(void)
{
	ck_assert_msg(!w->violation[0], "%s", w->violation);
	fg_ctl_stop(ctl);
	f.agent.event = NULL;
	fake_end(&f);
	event_base_free(base);
	test_folder_remove(dir);
	fake_world_free(w);
}

static pid_t start(const char *const *args, int *out)
{
	fg_autofree char *socket = fg_asprintf("%s/ctl.sock", dir);
	const char *argv[16] = { fixgatectl, "--socket", socket };
	int fds[2];

	for (size_t i = 0; args[i]; i++)
		argv[3 + i] = args[i];
	ck_assert_int_eq(pipe(fds), 0);
	pid_t pid = fork();
	if (pid == 0) {
		dup2(fds[1], 1);
		dup2(fds[1], 2);
		close(fds[0]);
		execv(fixgatectl, (char *const *)(uintptr_t)argv);
		_exit(126);
	}
	close(fds[1]);
	*out = fds[0];
	return pid;
}

/* Turn both loops, the real one and that of the fakes, until the pipe says so. */
static void turn(int fd, const char *until)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	size_t used = strlen(output);

	for (;;) {
		event_base_loop(base, EVLOOP_NONBLOCK);
		fake_pump(&f, NULL);
		if (poll(&p, 1, 5) <= 0)
			continue;
		ssize_t n = read(fd, output + used, sizeof(output) - used - 1);
		if (n <= 0)
			return;
		used += (size_t)n;
		output[used] = '\0';
		if (until && strstr(output, until))
			return;
	}
}

static int run(const char *const *args)
{
	int fd, status = 0;
	pid_t pid = start(args, &fd);

	output[0] = '\0';
	turn(fd, NULL);
	close(fd);
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
#define RUN(...) run((const char *const[]){ __VA_ARGS__, NULL })

static json_t *json(void)
{
	json_t *j = json_loads(output, 0, NULL);

	ck_assert_msg(j != NULL, "%s", output);
	return j;
}

START_TEST(status_and_guests)
{
	ck_assert_int_eq(RUN("status", "--json"), 0);
	fg_autojson json_t *status = json();
	ck_assert_int_eq(json_integer_value(json_object_get(status, "jobs")), 0);
	ck_assert_int_eq(RUN("guests", "--json"), 0);
	fg_autojson json_t *guests = json();
	ck_assert_str_eq(json_string_value(json_object_get(json_array_get(guests, 0), "name")), "web1");
	ck_assert(json_is_false(json_object_get(json_array_get(guests, 0), "isolated")));
	ck_assert_int_eq(RUN("status"), 0);
	ck_assert_int_eq(RUN("guests"), 0);
	ck_assert_ptr_nonnull(strstr(output, FAKE_WEB1));
}
END_TEST

START_TEST(by_hand_survives_a_job)
{
	ck_assert_int_eq(RUN("isolate", "web1"), 0);
	ck_assert(w->guests[0].marked && w->guests[0].armed);
	fake_offer(w, FAKE_WEB1, 1);
	fake_offers_send(&f, 0);
	fake_pump(&f, NULL);
	ck_assert_str_eq(fake_last_state(w, FAKE_WEB1), "done");
	ck_assert(w->guests[0].marked && w->guests[0].armed); /* still */
	ck_assert_int_eq(RUN("release", FAKE_WEB1), 0);
	ck_assert(!w->guests[0].marked);
	fake_offer(w, FAKE_WEB1, 2);
	fake_offers_send(&f, 1);
	fake_pump(&f, NULL);
	ck_assert_uint_eq(fake_count(w, FAKE_WEB1, "done"), 2);
	ck_assert(!w->guests[0].marked);
}
END_TEST

START_TEST(remediate_waits_for_the_end)
{
	const char *const args[] = { "--json", "remediate", "web1", "--fix", FAKE_FIX, "--wait", NULL };
	int fd, status = 0;

	w->script = _i ? FAKE_FAILS : FAKE_VERIFIED;
	pid_t pid = start(args, &fd);
	output[0] = '\0';
	while (!LIST_FIRST(&ctl->clients) || !LIST_FIRST(&ctl->clients)->wait_fix) {
		event_base_loop(base, EVLOOP_NONBLOCK);
		fake_pump(&f, NULL);
	}
	fake_offer(w, FAKE_WEB1, 1); /* the server's answer to the request */
	fake_offers_send(&f, 0);
	turn(fd, NULL);
	close(fd);
	waitpid(pid, &status, 0);
	ck_assert_int_eq(WEXITSTATUS(status), _i ? 1 : 0);
	fg_autojson json_t *end = json();
	ck_assert_str_eq(json_string_value(json_object_get(end, "state")), _i ? "failed" : "done");
	ck_assert_str_eq(json_string_value(json_object_get(end, "guest")), "web1");
}
END_TEST

START_TEST(events_come_line_by_line)
{
	const char *const args[] = { "events", "--follow", "--json", NULL };
	int fd, status = 0;
	pid_t pid = start(args, &fd);

	output[0] = '\0';
	while (!LIST_FIRST(&ctl->clients) || !LIST_FIRST(&ctl->clients)->follow)
		event_base_loop(base, EVLOOP_NONBLOCK);
	fake_offer(w, FAKE_WEB1, 1);
	fake_offers_send(&f, 0);
	turn(fd, "\"done\"");
	kill(pid, SIGTERM);
	waitpid(pid, &status, 0);
	close(fd);
	char *line = strtok_r(output, "\n", &(char *){ NULL });
	fg_autojson json_t *first = json_loads(line, 0, NULL);
	ck_assert_str_eq(json_string_value(json_object_get(first, "state")), "offered");
	ck_assert_str_eq(json_string_value(json_object_get(first, "guest")), "web1");
	ck_assert(json_is_integer(json_object_get(first, "at_ms")));
	while (LIST_FIRST(&ctl->clients))
		event_base_loop(base, EVLOOP_ONCE);
	ck_assert_int_eq(RUN("events", "--json"), 0);
	fg_autojson json_t *all = json();
	ck_assert_uint_eq(json_array_size(all), 9);
	ck_assert(json_equal(json_array_get(all, 0), first));
}
END_TEST

START_TEST(job_and_its_steps)
{
	fake_offer(w, FAKE_WEB1, 1);
	fake_offers_send(&f, 0);
	fake_pump(&f, NULL);
	ck_assert_int_eq(RUN("jobs", "--json"), 0);
	fg_autojson json_t *jobs = json();
	const char *id = json_string_value(json_object_get(json_array_get(jobs, 0), "job"));
	ck_assert_int_eq(RUN("job", id, "--json"), 0);
	fg_autojson json_t *job = json();
	bool closed = false;
	size_t i;
	json_t *step;
	json_array_foreach (json_object_get(job, "steps"), i, step) {
		closed |= strcmp(json_string_value(json_object_get(step, "what")), "closed") == 0;
	}
	ck_assert(closed);
	ck_assert_int_eq(RUN("job", id), 0);
	ck_assert_int_eq(RUN("jobs"), 0);
	ck_assert_int_eq(RUN("job", "none"), 3);
}
END_TEST

START_TEST(held_is_resolved)
{
	w->unhealthy = true;
	fake_offer(w, FAKE_WEB1, 1);
	fake_offers_send(&f, 0);
	fake_pump(&f, NULL);
	ck_assert_str_eq(fake_last_state(w, FAKE_WEB1), "held");
	fg_autofree char *id = fg_strdup(TAILQ_FIRST(&f.agent.jobs)->r.id);
	ck_assert_int_eq(RUN("release", "web1"), 4);
	ck_assert_int_eq(RUN("resolve", id), 2);
	w->unhealthy = false;
	ck_assert_int_eq(RUN("resolve", id, _i ? "--give-up" : "--go-on"), 0);
	fake_pump(&f, NULL);
	ck_assert_str_eq(fake_last_state(w, FAKE_WEB1), "done"); /* it was merged */
	ck_assert_int_eq(w->guests[0].marked, _i); /* given up: nothing is touched */
	ck_assert_int_eq(RUN("resolve", id, "--go-on"), 3);
}
END_TEST

START_TEST(what_is_refused)
{
	ck_assert_int_eq(RUN("isolate", "nobody"), 3);
	ck_assert_int_eq(RUN("nonsense"), 2);
	ck_assert_int_eq(RUN("remediate", "web1"), 2);
	w->guests[0].refused = true;
	ck_assert_int_eq(RUN("--json", "isolate", "web1"), 4);
	fg_autojson json_t *error = json();
	ck_assert_str_eq(json_string_value(json_object_get(json_object_get(error, "error"), "code")), "refused");
	ck_assert(!w->guests[0].marked);
	w->server_down = true;
	ck_assert_int_eq(RUN("remediate", "web1", "--fix", FAKE_FIX), 10);
	ck_assert_int_eq(RUN("doctor", "--json"), 1);
}
END_TEST

int main(int argc, char **argv)
{
	fg_autofree char *beside =
		fg_asprintf("%.*s../../../../bin/fixgatectl", (int)(strrchr(argv[0], '/') + 1 - argv[0]), argv[0]);
	Suite *s = suite_create("ctl");
	TCase *t = tcase_create("ctl");

	fixgatectl = argc > 1 ? argv[1] : beside;
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 30);
	tcase_add_test(t, status_and_guests);
	tcase_add_test(t, by_hand_survives_a_job);
	tcase_add_loop_test(t, remediate_waits_for_the_end, 0, 2);
	tcase_add_test(t, events_come_line_by_line);
	tcase_add_test(t, job_and_its_steps);
	tcase_add_loop_test(t, held_is_resolved, 0, 2);
	tcase_add_test(t, what_is_refused);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
