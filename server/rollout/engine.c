/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "engine.h"

#include <errno.h>
#include <inttypes.h>
#include <lib/log.h>
#include <lib/util.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define AT_ONCE_MAX 1000 /* rollouts at work */
#define AGAIN_MS 5000 /* after a failure of the database */
#define SLEEP_MAX_MS (24ll * 3600 * 1000)
#define FAR_S (10ll * 365 * 86400)

struct fg_rollouts {
	struct fg_store *store;
	struct event *event; /* a kick, and the time of the next look */
	struct event *clock; /* somebody set the clock: windows and waits are by it */
	int clock_fd;
	void (*wake)(const char *host, void *arg);
	void *arg;
	int64_t ids[AT_ONCE_MAX];
	size_t n;
};

static void on_id(int64_t id, void *arg)
{
	struct fg_rollouts *r = arg;

	if (r->n < AT_ONCE_MAX)
		r->ids[r->n++] = id;
}

static int collect(struct fg_rollouts *r, struct fg_error *err)
{
	static const enum fg_rollout_state at_work[] = { FG_ROLLOUT_CANCELLING, FG_ROLLOUT_STOPPING,
							 FG_ROLLOUT_RUNNING };
	int rc = 0;

	r->n = 0;
	for (size_t i = 0; i < FG_COUNT(at_work) && rc == 0; i++)
		rc = fg_store_rollout_ids(r->store, at_work[i], 0, AT_ONCE_MAX, on_id, r, err);
	return rc;
}

static void arm(struct fg_rollouts *r, int64_t wait_ms)
{
	struct timeval tv = { wait_ms / 1000, (wait_ms % 1000) * 1000 };

	if (evtimer_add(r->event, &tv) < 0)
		abort();
}

static void on_event(evutil_socket_t fd, short what, void *arg)
{
	struct fg_rollouts *r = arg;
	struct fg_error err = FG_ERROR_INIT;
	int64_t now_ms = fg_now_ms(), next_ms = now_ms + SLEEP_MAX_MS;

	(void)fd, (void)what;
	if (collect(r, &err) < 0) {
		fg_log_err("rollouts: %s; again in %d s", err.text, AGAIN_MS / 1000);
		next_ms = now_ms + AGAIN_MS;
	}
	for (size_t i = 0; i < r->n; i++) {
		int64_t at_ms = INT64_MAX;
		fg_error_clear(&err);
		if (fg_rollout_step(r->store, r->ids[i], now_ms, r->wake, r->arg, &at_ms, &err) < 0) {
			fg_log_err("rollout %" PRId64 ": %s; again in %d s", r->ids[i], err.text, AGAIN_MS / 1000);
			at_ms = now_ms + AGAIN_MS;
		}
		if (at_ms < next_ms)
			next_ms = at_ms;
	}
	arm(r, next_ms > now_ms ? next_ms - now_ms : 0);
}

/* Never by time, only when the clock is set: timerfd_create(2), TFD_TIMER_CANCEL_ON_SET. */
static void clock_arm(const struct fg_rollouts *r)
{
	const struct itimerspec never = { .it_value.tv_sec = fg_now_ms() / 1000 + FAR_S };

	if (timerfd_settime(r->clock_fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL) < 0)
		fg_log_warn("timerfd: %s: a clock that is set is noticed late", strerror(errno));
}

static void on_clock(evutil_socket_t fd, short what, void *arg)
{
	struct fg_rollouts *r = arg;
	uint64_t times = 0;

	(void)what;
	if (read(fd, &times, sizeof(times)) < 0 && errno == ECANCELED)
		fg_log_info("the clock was set");
	clock_arm(r);
	fg_rollouts_kick(r);
}

struct fg_rollouts *fg_rollouts_new(struct event_base *base, struct fg_store *store,
				    void (*wake)(const char *host, void *arg), void *arg)
{
	struct fg_rollouts *r = fg_calloc(1, sizeof(*r));

	r->store = store;
	r->wake = wake;
	r->arg = arg;
	r->event = evtimer_new(base, on_event, r);
	r->clock_fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	r->clock = event_new(base, r->clock_fd, EV_READ | EV_PERSIST, on_clock, r);
	if (!r->event || r->clock_fd < 0 || !r->clock || event_add(r->clock, NULL) < 0)
		abort();
	clock_arm(r);
	arm(r, 0);
	return r;
}

void fg_rollouts_kick(struct fg_rollouts *r)
{
	if (r)
		arm(r, 0);
}

void fg_rollouts_free(struct fg_rollouts *r)
{
	if (!r)
		return;
	event_free(r->event);
	event_free(r->clock);
	close(r->clock_fd);
	free(r);
}
