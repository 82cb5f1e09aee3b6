/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "dom0-agent/toolstack/connected.h"

#include "dom0-agent/toolstack/xenstore.h"
#include "lib/util.h"

#include <event2/event.h>
#include <inttypes.h>
#include <string.h>

struct fg_connected {
	struct fg_xs *xs;
	uint32_t domid;
	size_t n_vifs;
	struct fg_xs_watch *vifs, *release;
	struct event *look, *deadline;
	struct fg_error missing;
	fg_connected_cb *cb;
	void *arg;
};

static void finish(struct fg_connected *wait, int rc)
{
	fg_connected_cb *cb = wait->cb;
	void *arg = wait->arg;
	struct fg_error err = wait->missing;

	fg_connected_cancel(wait);
	cb(arg, rc, &err);
}

static int look_at_vifs(struct fg_connected *wait, struct fg_error *err)
{
	fg_autofree char **names = NULL;
	unsigned n = 0, domain = 0;

	int rc = fg_xs_children(wait->xs, &domain, err, "/local/domain/%" PRIu32, wait->domid);
	if (rc == 0 && !domain)
		rc = fg_error_set(err, FG_EFAILED, "domain %" PRIu32 " ended", wait->domid);
	if (rc == 0)
		rc = fg_xs_list(wait->xs, &names, &n, err, "/local/domain/0/backend/vif/%" PRIu32, wait->domid);
	if (rc == 0 && n < wait->n_vifs)
		rc = fg_error_set(err, FG_ETIMEOUT, "domain %" PRIu32 " has %u of %zu vifs", wait->domid, n,
				  wait->n_vifs);
	for (unsigned i = 0; rc == 0 && i < n; i++) {
		fg_autofree char *state = NULL;
		rc = fg_xs_read(wait->xs, &state, err, "/local/domain/0/backend/vif/%" PRIu32 "/%s/state", wait->domid,
				names[i]);
		if (rc == 0 && strcmp(state, "4") != 0)
			rc = fg_error_set(err, FG_ETIMEOUT, "vif%" PRIu32 ".%s is not connected (xenbus state %s)",
					  wait->domid, names[i], state);
		else if (rc == -FG_ENOTFOUND)
			rc = -FG_ETIMEOUT; /* it is being set up */
	}
	return rc;
}

static void look(evutil_socket_t fd, short what, void *arg)
{
	struct fg_connected *wait = arg;
	struct fg_error missing = FG_ERROR_INIT;

	(void)fd;
	(void)what;
	int rc = look_at_vifs(wait, &missing);
	wait->missing = missing;
	if (rc != -FG_ETIMEOUT)
		finish(wait, rc);
}

static void look_again(void *arg)
{
	struct fg_connected *wait = arg;
	event_active(wait->look, EV_TIMEOUT, 0);
}

/* On a machine that was busy the deadline may come before a change that was there first: only a look tells. */
static void too_late(evutil_socket_t fd, short what, void *arg)
{
	struct fg_connected *wait = arg;
	struct fg_error missing = FG_ERROR_INIT;

	(void)fd;
	(void)what;
	int rc = look_at_vifs(wait, &missing);
	if (rc == -FG_ETIMEOUT)
		missing.code = FG_ETIMEOUT;
	wait->missing = missing;
	finish(wait, rc);
}

int fg_connected_wait(struct fg_xs *xs, uint32_t domid, size_t n_vifs, uint32_t deadline_ms, fg_connected_cb *cb,
		      void *arg, struct fg_connected **out, struct fg_error *err)
{
	const struct timeval in = { deadline_ms / 1000, (deadline_ms % 1000) * 1000 };
	struct fg_connected *wait = fg_calloc(1, sizeof(*wait));
	char path[64];

	wait->xs = xs;
	wait->domid = domid;
	wait->n_vifs = n_vifs;
	wait->cb = cb;
	wait->arg = arg;
	wait->look = evtimer_new(fg_xs_base(xs), look, wait);
	wait->deadline = evtimer_new(fg_xs_base(xs), too_late, wait);
	evtimer_add(wait->deadline, &in);
	snprintf(path, sizeof(path), "/local/domain/0/backend/vif/%" PRIu32, domid);
	int rc = fg_xs_watch(xs, path, look_again, wait, &wait->vifs, err);
	if (rc == 0)
		rc = fg_xs_watch(xs, "@releaseDomain", look_again, wait, &wait->release, err);
	if (rc < 0) {
		fg_connected_cancel(wait);
		return rc;
	}
	look_again(wait);
	*out = wait;
	return 0;
}

void fg_connected_cancel(struct fg_connected *wait)
{
	if (!wait)
		return;
	fg_xs_unwatch(wait->vifs);
	fg_xs_unwatch(wait->release);
	event_free(wait->look);
	event_free(wait->deadline);
	free(wait);
}
