/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The agent dies just before and just after each write of the journal, at every one of them, and is started again.  The
 * world lives on.  However often it died, the promises hold and the job ends as if nothing had been.
 */
#include <check.h>
#include <lib/log.h>
#include <test/fakes/world.h>
#include <test/folder.h>

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define DIED 77
#define POINTS_MAX 400 /* no job has so many writes */
#ifdef __SANITIZE_ADDRESS__
/* Every point is for the plain build: here each life costs five times as much, and other faults are looked for. */
#define STEP 4
#else
#define STEP 1
#endif

struct scenario {
	const char *name;
	enum fake_script script;
	enum fake_look look;
	bool after_health;
	bool off; /* the guest is, and is known all the same */
	const char *end;
	int disk;
	bool isolated; /* at the end */
	enum fake_happening happens;
	const char *at;
	unsigned nth;
};

static const struct scenario scenarios[] = {
	{ "verified", FAKE_VERIFIED, FAKE_LOOK_NEEDED, false, false, "done", 1100, false, FAKE_NOTHING, NULL, 0 },
	{ "after-health", FAKE_VERIFIED, FAKE_LOOK_NEEDED, true, false, "done", 1100, false, FAKE_NOTHING, NULL, 0 },
	{ "was off", FAKE_VERIFIED, FAKE_LOOK_NEEDED, false, true, "done", 1100, false, FAKE_NOTHING, NULL, 0 },
	{ "not needed", FAKE_NOT_NEEDED, FAKE_LOOK_FAILS, false, false, "not-needed", 100, false, FAKE_NOTHING, NULL,
	  0 },
	{ "inspected", FAKE_VERIFIED, FAKE_LOOK_NOT_NEEDED, false, false, "not-needed", 100, false, FAKE_NOTHING, NULL,
	  0 },
	{ "failed", FAKE_FAILS, FAKE_LOOK_NEEDED, false, false, "failed", 100, true, FAKE_NOTHING, NULL, 0 },
	{ "hung", FAKE_HANGS_AT_FIX, FAKE_LOOK_NEEDED, false, false, "rolled-back", 100, true, FAKE_NOTHING, NULL, 0 },
	{ "reboots", FAKE_VERIFIED, FAKE_LOOK_NEEDED, false, false, "done", 1100, false, FAKE_REBOOTS, "stop", 1 },
	{ "reboots before", FAKE_VERIFIED, FAKE_LOOK_NEEDED, false, false, "done", 1100, false, FAKE_REBOOTS, "save",
	  2 },
	/* The agent that was there rolls back; one that comes to it stops the guest and tries again. */
	{ "started", FAKE_VERIFIED, FAKE_LOOK_NEEDED, false, false, "done", 1100, false, FAKE_STARTED, "fixvm send",
	  1 },
};

static unsigned writes, die_at;
static const char *die_in; /* writes in this state are counted; NULL: in any */

static void hook(void *arg)
{
	if (die_in && strcmp(fake_last_state(arg, FAKE_WEB1), die_in) != 0)
		return;
	if (++writes == die_at)
		_exit(DIED);
}

/* In a process of its own: true if it died at the point. */
static bool life(struct fake_world *w, const char *dir, const struct scenario *s, unsigned at)
{
	pid_t pid = fork();
	int status = 0;

	if (pid == 0) {
		static struct fake f;
		memset(&f, 0, sizeof(f));
		writes = 0;
		die_at = at;
		fake_configure(&f, dir);
		f.config.release_after_health = s->after_health;
		fake_start(&f, w, dir, hook, w);
		fake_pump(&f, NULL);
		fake_end(&f);
		exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == DIED),
		      "%s, died at %u: status %x", s->name, at, status);
	ck_assert_msg(!w->violation[0], "%s, died at %u: %s", s->name, at, w->violation);
	ck_assert_msg(!w->fatal[0], "%s, died at %u: %s", s->name, at, w->fatal);
	return WEXITSTATUS(status) == DIED;
}

/* While nobody is there: the guest is not let out, and its disk is whole or has its layer. */
static void check_between(const struct fake_world *w, const struct scenario *s, unsigned at)
{
	const struct fake_guest *g = &w->guests[0];
	const char *state = fake_last_state(w, FAKE_WEB1);

	if (strcmp(state, "isolated") == 0 || strcmp(state, "stopped") == 0 || strcmp(state, "fixing") == 0)
		ck_assert_msg(g->marked || s->end[0] == 'n', "%s, died at %u: %s and no mark", s->name, at, state);
	ck_assert_msg(g->disk == 100 || g->disk == 1100, "%s, died at %u: disk is %d", s->name, at, g->disk);
}

static void check_end(const struct fake_world *w, const struct scenario *s, unsigned at, bool may_give_up)
{
	const struct fake_guest *g = &w->guests[0];
	const char *last = fake_last_state(w, FAKE_WEB1);

	/* Twice interrupted while the fix ran it may be given up: then the disk is as before. */
	may_give_up |= s->happens == FAKE_STARTED;
	bool given_up = may_give_up && strcmp(last, "rolled-back") == 0 && strcmp(s->end, "rolled-back") != 0;
	ck_assert_msg(given_up || strcmp(last, s->end) == 0, "%s, died at %u: ended as %s", s->name, at, last);
	ck_assert_msg(fake_count(w, FAKE_WEB1, last) == 1, "%s, died at %u: %u times %s", s->name, at,
		      fake_count(w, FAKE_WEB1, last), last);
	ck_assert_msg(g->disk == (given_up ? 100 : s->disk), "%s, died at %u: disk is %d", s->name, at, g->disk);
	ck_assert_msg(g->state == (s->off ? FG_GUEST_OFF : FG_GUEST_RUNNING), "%s, died at %u: guest is %d", s->name,
		      at, (int)g->state);
	ck_assert_msg(g->marked == (given_up || s->isolated), "%s, died at %u: marked %d", s->name, at, g->marked);
	ck_assert_msg(!g->marked || s->off || g->armed, "%s, died at %u: not armed", s->name, at);
	for (size_t i = 0; i < FG_COUNT(w->vms); i++)
		ck_assert_msg(!w->vms[i].exists && !w->vms[i].marked, "%s, died at %u: a fix VM is left", s->name, at);
	ck_assert_msg(!w->layers[0][0].exists, "%s, died at %u: a layer is left", s->name, at);
}

static struct fake_world *prepare(const struct scenario *s, char *dir)
{
	struct fake_world *w = fake_world_new();

	test_folder_make(dir);
	w->script = s->script;
	w->look = s->look;
	if (s->off) {
		w->guests[0].state = FG_GUEST_OFF;
		w->guests[0].off_known = true;
	}
	fake_happens(w, s->happens, s->at, s->nth);
	fake_offer(w, FAKE_WEB1, 3);
	return w;
}

static void clean(struct fake_world *w, const char *dir)
{
	test_folder_remove(dir);
	fake_world_free(w);
}

START_TEST(dies_once)
{
	const struct scenario *s = &scenarios[_i];
	bool died = true;

	for (unsigned at = 1; died; at += STEP) {
		char dir[] = "/dev/shm/fg-crash-XXXXXX";
		struct fake_world *w = prepare(s, dir);
		died = life(w, dir, s, at);
		if (died) {
			check_between(w, s, at);
			ck_assert(!life(w, dir, s, 0));
		}
		check_end(w, s, at, false);
		clean(w, dir);
		ck_assert_uint_lt(at, POINTS_MAX);
	}
}
END_TEST

/* Every life ends at its n-th write, the next one at its n-th …; five times, then it may live. */
START_TEST(dies_again_and_again)
{
	const struct scenario *s = &scenarios[_i];
	bool died = true;

	for (unsigned at = 1; died; at += 7 * STEP) {
		char dir[] = "/dev/shm/fg-crash-XXXXXX";
		struct fake_world *w = prepare(s, dir);
		died = false;
		for (int n = 0; n < 5; n++) {
			if (!life(w, dir, s, at))
				break;
			died = true;
			check_between(w, s, at);
		}
		ck_assert(!life(w, dir, s, 0));
		check_end(w, s, at, true);
		clean(w, dir);
	}
}
END_TEST

/* Only a fix VM that was let run was an attempt: dying before that and once while it runs is one, and there are two. */
START_TEST(dies_before_the_fix_and_in_it)
{
	bool died = true;

	for (unsigned at = 1; died; at++) {
		char dir[] = "/dev/shm/fg-crash-XXXXXX";
		struct fake_world *w = prepare(&scenarios[0], dir);
		die_in = "stopped";
		died = life(w, dir, &scenarios[0], at);
		die_in = "fixing";
		if (died)
			life(w, dir, &scenarios[0], 1);
		die_in = NULL;
		if (died)
			ck_assert(!life(w, dir, &scenarios[0], 0));
		check_end(w, &scenarios[0], at, false);
		clean(w, dir);
	}
}
END_TEST

int main(void)
{
	fg_log_init("sweep", FG_LOG_NONE);
	Suite *s = suite_create("agent");
	TCase *t = tcase_create("crash");

	tcase_set_timeout(t, 400);
	tcase_add_loop_test(t, dies_once, 0, FG_COUNT(scenarios));
	tcase_add_test(t, dies_before_the_fix_and_in_it);
	tcase_add_loop_test(t, dies_again_and_again, 0, FG_COUNT(scenarios));
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
