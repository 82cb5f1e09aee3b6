/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * In this order: on_link -> (appeared, renamed, changed) -> look_at -> arm -> ended; on_gone;
 * on_lost.  guard_rules.c: on_ruleset -> put_back.  on_armed and on_failed come from the isolator, when a job or a sweep isolates a guest.
 */
#include "guard_private.h"

#include <lib/log.h>
#include <lib/util.h>
#include <netback-filter/owner.h>

#include <string.h>

static void arm(struct fg_guard *g, struct nic *nic, const char *uuid, const uint8_t *mac);

static struct nic *nic_of(struct fg_guard *g, uint32_t ifindex)
{
	struct nic *nic = NULL;

	LIST_FOREACH (nic, &g->nics, link) {
		if (nic->now.ifindex == ifindex)
			return nic;
	}
	return NULL;
}

static struct nic *nic_named(struct fg_guard *g, const char *name)
{
	struct nic *nic = NULL;

	LIST_FOREACH (nic, &g->nics, link) {
		if (strcmp(nic->now.name, name) == 0)
			return nic;
	}
	return NULL;
}

static void nic_free(struct nic *nic)
{
	LIST_REMOVE(nic, link);
	free(nic);
}

/*----- marks -----*/

void fg_guard_marks_forget(struct fg_guard *g)
{
	for (size_t i = 0; g->marks && i < g->n_uuids; i++)
		fg_filter_guest_free(g->marks[i]);
	free(FG_TAKE(g->marks));
	free(FG_TAKE(g->uuids));
	g->n_uuids = 0;
}

bool fg_guard_marks_load(struct fg_guard *g)
{
	struct fg_error err = FG_ERROR_INIT;

	fg_guard_marks_forget(g);
	if (fg_isolator_vmm.list(g->c.isolator, &g->uuids, &g->n_uuids, &err) < 0) {
		fg_log_err("marks of isolated guests: %s", err.text);
		if (!g->unknown_since_ms)
			g->unknown_since_ms = fg_monotonic_ms();
		return false;
	}
	g->marks = fg_calloc(g->n_uuids, sizeof(*g->marks));
	if (g->n_uuids == 0)
		g->unknown_since_ms = 0; /* nothing can have been missed */
	return g->n_uuids > 0;
}

static bool is_marked(const struct fg_guard *g, const char *uuid)
{
	for (size_t i = 0; i < g->n_uuids; i++)
		if (strcmp(g->uuids[i], uuid) == 0)
			return true;
	return false;
}

/* For the owner: one that cannot be read has no MACs here. */
static const struct fg_filter_guest *marked_at(void *arg, size_t at)
{
	static const struct fg_filter_guest unreadable;
	struct fg_guard *g = arg;

	if (at >= g->n_uuids)
		return NULL;
	if (!g->marks[at] && fg_vmm_mark(g->c.isolator, g->uuids[at], &g->marks[at], NULL) < 0)
		return &unreadable;
	return g->marks[at];
}

static int read_xenstore(void *arg, const char *path, char **out, struct fg_error *err)
{
	struct fg_guard *g = arg;

	return g->c.xenstore(g->c.arg, path, out, err);
}

/*----- windows -----*/

static void tell(struct fg_guard *g, const struct nic *nic, struct fg_window *w)
{
	memcpy(w->uuid, nic->uuid, sizeof(w->uuid));
	snprintf(w->dev, sizeof(w->dev), "%s", nic->now.name);
	w->cause = nic->cause;
	w->at_most = nic->at_most;
	w->ms = nic->since_ms == FG_WINDOW_UNKNOWN ? FG_WINDOW_UNKNOWN : fg_monotonic_ms() - nic->since_ms;
	g->c.window(g->c.arg, w);
}

/* Before the guest was isolated there was nothing to filter. */
static void clamp(struct fg_guard *g, struct nic *nic)
{
	int64_t isolated_ms = fg_vmm_since(g->c.isolator, nic->uuid);

	if (isolated_ms > 0 && nic->since_ms < isolated_ms) {
		nic->since_ms = isolated_ms;
		nic->frames = FG_WINDOW_UNKNOWN;
	}
}

/*
 * The NIC is filtered now, and was not before.  Was it up in between?  That it is up now does not say so: vif-fixgate may have
 * armed it and brought it up while we did the same.  Frames that passed do.
 */
static void ended(struct fg_guard *g, struct nic *nic)
{
	struct fg_window w = { .frames = FG_WINDOW_UNKNOWN };
	struct fg_link_event now = nic->now;
	struct fg_error err = FG_ERROR_INIT;

	clamp(g, nic);
	if (fg_linkwatch_get(g->watch, nic->now.ifindex, &now, &err) < 0)
		fg_log_debug("%s: %s", nic->now.name, err.text);
	if (nic->frames != FG_WINDOW_UNKNOWN)
		w.frames = (int64_t)now.frames - nic->frames;
	if (nic->was_up || nic->now.up || w.frames > 0 || (w.frames == FG_WINDOW_UNKNOWN && now.up))
		tell(g, nic, &w);
	else
		fg_log_info("guest=%s %s was filtered before a frame could pass (%s)", nic->uuid, nic->now.name,
			    nic->cause);
	if (nic->shut && fg_linkwatch_set_up(g->watch, nic->now.ifindex, true, &err) < 0)
		fg_log_err("guest=%s %s was set down and stays so: %s", nic->uuid, nic->now.name, err.text);
	nic->filtered = true;
	nic->shut = nic->was_up = nic->at_most = false;
}

/* It cannot be filtered: no frame may pass. */
void fg_guard_shut(struct fg_guard *g, struct nic *nic, const struct fg_error *why)
{
	struct fg_window w = { .frames = FG_WINDOW_UNKNOWN, .shut = true };
	struct fg_error err = FG_ERROR_INIT;

	snprintf(w.detail, sizeof(w.detail), "%.199s", why->text);
	if (fg_linkwatch_set_up(g->watch, nic->now.ifindex, false, &err) < 0) {
		if (err.code == FG_ENOTFOUND)
			return; /* gone: its end is told by itself */
		fg_log_err("guest=%s %s can be neither filtered nor set down: %s", nic->uuid, nic->now.name, err.text);
		w.shut = false;
		w.open = true;
	}
	bool again = nic->shut && !nic->now.up;
	nic->shut = w.shut;
	if (!again) /* a further attempt that failed is no news */
		tell(g, nic, &w);
}

/*----- devices -----*/

/* What the device itself says counts first; a device whose name says nothing any more is whose it was. */
static void look_at(struct fg_guard *g, struct nic *nic)
{
	const struct fg_owner_source source = { .xenstore = read_xenstore, .marked = marked_at, .arg = g };
	struct fg_owner_link link = { .type = nic->now.type };
	struct fg_owner owner = { .uuid = "" };
	struct fg_error err = FG_ERROR_INIT;

	memcpy(link.name, nic->now.name, sizeof(link.name));
	memcpy(link.kind, nic->now.kind, sizeof(link.kind));
	memcpy(link.mac, nic->now.mac, sizeof(link.mac));
	int rc = fg_owner_find(&source, &link, &owner, &err);

	if (rc == -FG_EREFUSED)
		return;
	if (rc == 0 && is_marked(g, owner.uuid)) {
		arm(g, nic, owner.uuid, owner.mac);
		return;
	}
	if (rc < 0 && nic->uuid[0] && is_marked(g, nic->uuid)) {
		arm(g, nic, nic->uuid, NULL);
		return;
	}
	nic->uuid[0] = '\0';
	nic->cause = "appeared";
	nic->filtered = nic->was_up = false;
	if (rc == 0)
		return; /* another guest's */
	fg_log_debug("whose is %s: %s; the toolstacks are asked", nic->now.name, err.text);
	if (!g->starting && !g->rescan) /* every guest is asked for then */
		g->c.look(g->c.arg, "");
}

/* mac NULL: that with which the device was filtered before. */
static void arm(struct fg_guard *g, struct nic *nic, const char *uuid, const uint8_t *mac)
{
	struct fg_error err = FG_ERROR_INIT;
	bool was = false, had = false;

	if (uuid != nic->uuid)
		snprintf(nic->uuid, sizeof(nic->uuid), "%s", uuid);
	if (fg_vmm_arm(g->c.isolator, nic->uuid, nic->now.name, mac, &was, &had, &err) < 0) {
		if (nic_of(g, nic->now.ifindex) == nic && err.code != FG_ENOTFOUND)
			fg_guard_shut(g, nic, &err);
	} else if (was || (had && strcmp(nic->cause, "appeared") == 0)) { /* vif-fixgate did it */
		nic->filtered = true;
		nic->was_up = false;
	} else {
		ended(g, nic);
	}
	if (!g->starting)
		g->c.look(g->c.arg, nic->uuid);
}

/* Gone from here.  In another namespace it is out of the filter's reach. */
static void on_gone(struct fg_guard *g, struct nic *nic, const struct fg_link_event *e)
{
	struct fg_window w = { .frames = FG_WINDOW_UNKNOWN };
	struct fg_error err = FG_ERROR_INIT;

	if (e->to_nsid >= 0 && nic->uuid[0] && is_marked(g, nic->uuid)) {
		snprintf(w.detail, sizeof(w.detail), "it is in network namespace %d now, as device %u", e->to_nsid,
			 e->to_ifindex);
		nic->cause = "moved";
		nic->since_ms = e->at_ms;
		w.shut = fg_linkwatch_set_down_in(g->watch, e->to_nsid, e->to_ifindex, &err) == 0;
		w.open = !w.shut;
		if (w.open)
			fg_log_err("guest=%s %s cannot be set down where it went: %s", nic->uuid, nic->now.name,
				   err.text);
		tell(g, nic, &w);
		g->c.look(g->c.arg, nic->uuid);
	}
	nic_free(nic);
}

static struct nic *appeared(struct fg_guard *g, const struct fg_link_event *e)
{
	struct nic *nic = fg_calloc(1, sizeof(*nic));

	nic->cause = "appeared";
	nic->since_ms = g->starting ? FG_WINDOW_UNKNOWN : g->rescan ? g->lost_since_ms : e->at_ms;
	nic->frames = g->starting ? FG_WINDOW_UNKNOWN : g->rescan ? 0 : (int64_t)e->frames;
	nic->at_most = g->rescan;
	LIST_INSERT_HEAD(&g->nics, nic, link);
	return nic;
}

/* Kernels from 6.16 on take the hooks off a device that gets a name they were not made for. */
static void renamed(struct nic *nic, const struct fg_link_event *e, bool rescan, int64_t since_ms)
{
	if (!nic->filtered)
		return;
	nic->filtered = false;
	nic->cause = "renamed";
	nic->since_ms = rescan ? since_ms : e->at_ms;
	nic->frames = (int64_t)(rescan ? nic->now.frames : e->frames);
	nic->at_most = rescan;
	nic->was_up = false;
}

static void on_lost(void *arg, int64_t since_ms);

/* The marks could not be read for a while: what happened meanwhile was looked at without them. */
static void catch_up(struct fg_guard *g)
{
	int64_t since_ms = g->unknown_since_ms;

	if (!since_ms || g->rescan || !g->uuids)
		return;
	g->unknown_since_ms = 0;
	on_lost(g, since_ms);
}

static void on_link(void *arg, const struct fg_link_event *e)
{
	struct fg_guard *g = arg;
	struct nic *nic = nic_of(g, e->ifindex);
	bool any = fg_guard_marks_load(g), look = !nic;

	if (e->gone) {
		if (nic)
			on_gone(g, nic, e);
		fg_guard_marks_forget(g);
		return;
	}
	if (!nic)
		nic = appeared(g, e);
	else if (strcmp(nic->now.name, e->name) != 0)
		look = true, renamed(nic, e, g->rescan, g->lost_since_ms);
	else if (nic->now.master != e->master || (e->up && !nic->now.up))
		look = true;
	bool down = nic->now.up && !e->up && nic->filtered;
	nic->now = *e;
	nic->seen = true;
	look = look || (g->rescan && !nic->filtered);
	if (!any && !g->unknown_since_ms) {
		nic->filtered = nic->was_up = false;
		nic->uuid[0] = '\0';
		if (nic->since_ms != FG_WINDOW_UNKNOWN) {
			nic->since_ms = e->at_ms;
			nic->frames = (int64_t)e->frames;
		}
	} else if (any && look) {
		nic->was_up = !nic->filtered && e->up;
		look_at(g, nic);
	} else if (any && down && is_marked(g, nic->uuid)) {
		fg_vmm_sample(g->c.isolator, nic->uuid); /* its counters go with it */
	}
	catch_up(g);
	fg_guard_marks_forget(g);
}

/*----- what the isolator says -----*/

static void on_armed(void *arg, const char *uuid, const char *dev, bool late)
{
	struct fg_guard *g = arg;
	struct nic *nic = nic_named(g, dev);

	if (!nic)
		return; /* its notification is still to be read; it finds the filter there */
	snprintf(nic->uuid, sizeof(nic->uuid), "%s", uuid);
	if (!nic->filtered && (late || strcmp(nic->cause, "renamed") == 0))
		ended(g, nic);
	nic->filtered = true;
	nic->was_up = false;
}

static void on_failed(void *arg, const char *uuid, const char *dev, const struct fg_error *why)
{
	struct fg_guard *g = arg;
	struct nic *nic = nic_named(g, dev);

	if (!nic || nic->filtered)
		return;
	snprintf(nic->uuid, sizeof(nic->uuid), "%s", uuid);
	fg_guard_shut(g, nic, why);
}

/*----- everything -----*/

static int scan(struct fg_guard *g, struct fg_error *err)
{
	struct nic *nic, *next;

	LIST_FOREACH (nic, &g->nics, link)
		nic->seen = false;
	int rc = fg_linkwatch_scan(g->watch, err);
	for (nic = LIST_FIRST(&g->nics); rc == 0 && nic; nic = next) {
		next = LIST_NEXT(nic, link);
		if (!nic->seen)
			nic_free(nic);
	}
	return rc;
}

static void on_lost(void *arg, int64_t since_ms)
{
	struct fg_guard *g = arg;
	struct fg_error err = FG_ERROR_INIT;

	fg_log_warn("something may have been missed: every device and all rules are looked at");
	g->rescan = true;
	g->lost_since_ms = since_ms;
	if (scan(g, &err) < 0)
		fg_log_err("%s", err.text);
	g->rescan = false;
	fg_guard_put_all_back(g, since_ms);
	g->c.look(g->c.arg, "");
}

int fg_guard_open(const struct fg_guard_config *config, struct fg_guard **out, struct fg_error *err)
{
	struct fg_guard *g = fg_calloc(1, sizeof(*g));
	const struct fg_linkwatch_cbs cbs = {
		.link = on_link, .ruleset = fg_guard_on_ruleset, .lost = on_lost, .arg = g
	};
	const struct fg_vmm_hooks hooks = { .armed = on_armed, .failed = on_failed, .arg = g };

	g->c = *config;
	LIST_INIT(&g->nics);
	int rc = fg_linkwatch_open(config->base, &cbs, &g->watch, err);
	if (rc == 0) {
		g->starting = true;
		rc = scan(g, err);
		g->starting = false;
	}
	if (rc < 0) {
		fg_guard_close(g);
		return rc;
	}
	fg_vmm_set_hooks(config->isolator, &hooks);
	*out = g;
	return 0;
}

void fg_guard_close(struct fg_guard *g)
{
	const struct fg_vmm_hooks none = { 0 };

	if (!g)
		return;
	fg_vmm_set_hooks(g->c.isolator, &none);
	while (!LIST_EMPTY(&g->nics))
		nic_free(LIST_FIRST(&g->nics));
	fg_guard_marks_forget(g);
	fg_linkwatch_close(g->watch);
	free(g);
}
