/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "world.h"

#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>

#define EVENTS_MAX 200000 /* a test that needs more runs in a circle */

struct fake_world *fake_the_world;
struct fake *fake_the_fake;

struct fake_event {
	TAILQ_ENTRY(fake_event) link;
	int64_t due_ms;
	uint64_t n;
	void (*fn)(void *arg);
	void *arg;
};

struct fake_world *fake_world_new(void)
{
	static const char *const uuids[] = { FAKE_WEB1, FAKE_WEB2, FAKE_DB1 }, *const names[] = { "web1", "web2",
												  "db1" };
	struct fake_world *w = mmap(NULL, sizeof(*w), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (w == MAP_FAILED)
		abort();
	w->now_ms = 1800000000000;
	w->next_domid = 10;
	for (int i = 0; i < FAKE_GUESTS; i++) {
		struct fake_guest *g = &w->guests[i];
		memcpy(g->uuid, uuids[i], sizeof(g->uuid));
		snprintf(g->name, sizeof(g->name), "%s", names[i]);
		g->state = FG_GUEST_RUNNING;
		g->domid = w->next_domid++;
		g->n_nics = 1;
		g->disk = 100 + i;
	}
	return w;
}

void fake_world_free(struct fake_world *w)
{
	munmap(w, sizeof(*w));
}

void fake_violation(struct fake_world *w, const char *fmt, ...)
{
	va_list ap;

	if (w->violation[0])
		return; /* the first one explains the others */
	va_start(ap, fmt);
	vsnprintf(w->violation, sizeof(w->violation), fmt, ap);
	va_end(ap);
}

struct fake_guest *fake_guest(struct fake_world *w, const char *uuid)
{
	for (int i = 0; i < FAKE_GUESTS; i++)
		if (strcmp(w->guests[i].uuid, uuid) == 0)
			return &w->guests[i];
	return NULL;
}

void fake_happens(struct fake_world *w, enum fake_happening what, const char *at, unsigned nth)
{
	w->happens = what;
	w->happens_at = at;
	w->happens_nth = nth;
	w->happens_seen = 0;
}

void fake_guest_comes_up(struct fake_world *w, struct fake_guest *g)
{
	g->state = FG_GUEST_RUNNING;
	g->domid = w->next_domid++;
	g->armed = g->marked; /* vif-fixgate is there before the first frame */
	g->back_ms = 0;
}

static void happen(struct fake_world *w, const char *name)
{
	struct fake_guest *g = &w->guests[0];

	if (w->happens == FAKE_NOTHING || strcmp(name, w->happens_at) != 0 || ++w->happens_seen < w->happens_nth)
		return;
	if (w->happens == FAKE_REBOOTS && g->state == FG_GUEST_RUNNING) {
		g->state = FG_GUEST_OFF;
		g->armed = false;
		g->back_ms = w->now_ms + 2000;
	} else if (w->happens == FAKE_STARTED && g->state == FG_GUEST_OFF && !g->back_ms) {
		fake_guest_comes_up(w, g);
		g->by_somebody = true;
	}
	if (w->happens == FAKE_STARTED_AS_ANOTHER)
		w->other_has_disk = true;
	w->happens = FAKE_NOTHING;
}

int fake_outside(struct fake *f, const char *name, bool *effect, struct fg_error *err)
{
	struct fake_world *w = f->w;
	bool hit;

	happen(w, name);
	if (w->unknown_from && strcmp(name, w->unknown_from) == 0) {
		w->unknown_until_ms = w->now_ms + 600000;
		w->unknown_from = NULL;
	}
	*effect = false;
	if (w->now_ms < w->unknown_until_ms && strcmp(name, "find") == 0)
		return fg_error_set(err, FG_EUNREACHABLE, "the toolstack does not answer");
	w->calls++;
	hit = w->fail_at && (w->calls == w->fail_at || (w->fail_for_ever && w->calls > w->fail_at));
	*effect = true;
	if (!hit)
		return 0;
	if (!w->failed)
		snprintf(w->failed_name, sizeof(w->failed_name), "%s", name);
	w->failed = true;
	*effect = w->fail_after;
	return fg_error_set(err, (enum fg_error_code)w->fail_code, "injected into %s", name);
}

struct fake_event *fake_later(struct fake *f, int64_t ms, void (*fn)(void *), void *arg)
{
	struct fake_event *e = fg_calloc(1, sizeof(*e)), *other = NULL;

	e->due_ms = f->w->now_ms + ms;
	e->n = f->next_event++;
	e->fn = fn;
	e->arg = arg;
	TAILQ_FOREACH (other, &f->queue, link) {
		if (other->due_ms > e->due_ms) {
			TAILQ_INSERT_BEFORE(other, e, link);
			return e;
		}
	}
	TAILQ_INSERT_TAIL(&f->queue, e, link);
	return e;
}

static int64_t clock_now(struct fg_clock *clock)
{
	return ((struct fake *)clock)->w->now_ms;
}

static struct fg_timer *clock_after(struct fg_clock *clock, int64_t ms, void (*fn)(void *), void *arg)
{
	return (struct fg_timer *)fake_later((struct fake *)clock, ms, fn, arg);
}

static void clock_cancel(struct fg_clock *clock, struct fg_timer *timer)
{
	struct fake *f = (struct fake *)clock;
	struct fake_event *e = NULL;

	TAILQ_FOREACH (e, &f->queue, link) {
		if (e == (struct fake_event *)timer) {
			TAILQ_REMOVE(&f->queue, e, link);
			free(e);
			return;
		}
	}
	fake_violation(f->w, "a timer was canceled that does not run");
}

/* What must be true at each moment, whoever is at work. */
static void check_world(struct fake_world *w)
{
	for (int i = 0; i < FAKE_GUESTS; i++)
		if (w->guests[i].back_ms && w->now_ms >= w->guests[i].back_ms)
			fake_guest_comes_up(w, &w->guests[i]);
	for (int i = 0; i < FAKE_GUESTS; i++) {
		const struct fake_guest *g = &w->guests[i];
		const struct fake_layer *l = &w->layers[i][0];
		if (g->state == FG_GUEST_RUNNING && g->marked && g->armed_once && !g->armed)
			fake_violation(w, "%s runs with a mark and no filter", g->name);
		/* What somebody does behind the agent's back it learns when it asks: before the fix VM, before the merge. */
		if (g->state != FG_GUEST_OFF && l->exists && !l->readonly && !g->by_somebody)
			fake_violation(w, "%s has its disk while a layer over it is written", g->name);
		for (size_t k = 0; k < FG_COUNT(w->vms); k++)
			if (w->vms[k].exists && !w->vms[k].inspect && g->state != FG_GUEST_OFF && !g->by_somebody &&
			    strcmp(w->layer_job[i], w->vms[k].uuid) == 0)
				fake_violation(w, "two writers: %s and its fix VM", g->name);
	}
	for (size_t i = 0; i < FG_COUNT(w->vms); i++)
		if (w->vms[i].exists && !w->vms[i].paused && w->vms[i].has_nic && !w->vms[i].armed)
			fake_violation(w, "the fix VM runs without a filter");
}

void fake_pump(struct fake *f, bool (*until)(struct fake *))
{
	struct fake_event *e;
	unsigned n = 0;

	while (!f->agent.dead && (e = TAILQ_FIRST(&f->queue)) != NULL && !(until && until(f))) {
		void (*fn)(void *) = e->fn;
		void *arg = e->arg;
		TAILQ_REMOVE(&f->queue, e, link);
		if (e->due_ms > f->w->now_ms)
			f->w->now_ms = e->due_ms;
		free(e);
		fn(arg);
		check_world(f->w);
		if (++n > EVENTS_MAX) {
			fake_violation(f->w, "the agent runs in a circle");
			return;
		}
	}
}

static void on_fatal(void *ctx, const struct fg_error *err)
{
	struct fake *f = ctx;

	snprintf(f->w->fatal, sizeof(f->w->fatal), "%s", err->text);
}

static int reach(const struct fg_agent_config *config, const char *bridge, struct fg_reach *out, struct fg_error *err)
{
	(void)config;
	(void)bridge;
	(void)err;
	*out = (struct fg_reach){ .on_link = true, .mac = { 2, 0, 0, 0, 0, 2 }, .prefix = 24 };
	if (fake_the_world->link_unknown > 0) {
		fake_the_world->link_unknown--;
		memset(out->mac, 0, sizeof(out->mac));
	}
	return 0;
}

static int take_head(const char *dir, const char *name, const char *to, const char *digest, struct fg_error *err)
{
	bool effect;

	(void)dir;
	(void)name;
	(void)digest;
	int rc = fake_outside(fake_the_fake, "take_head", &effect, err);
	if (rc == 0 && fake_the_fake->w->copy_differs)
		return fg_error_set(err, FG_EUNTRUSTED, "the head has another digest");
	return rc < 0 ? rc : fg_file_write_durable(to, "head", 4, 0600, err);
}

void fake_configure(struct fake *f, const char *dir)
{
	struct fg_agent_config *c = &f->config;

	*c = (struct fg_agent_config){
		.server_address = { .family = AF_INET, .v4 = { 0x0200630a } }, /* 10.99.0.2 */
		.server_port = 8443,
		.server_ca = (char *)"/ca",
		.server_cert = (char *)"/cert",
		.server_key = (char *)"/key",
		.trust_dir = (char *)"/trust",
		.state_dir = (char *)dir,
		.run_dir = (char *)dir,
		.fixvm_kernel = (char *)"/kernel",
		.fixvm_initrd = (char *)"/initrd",
		.layer_dir = (char *)dir,
		.fixvm_memory_mb = 512,
		.fixvm_vcpus = 1,
		.parallel = 1,
		.inspect = true,
		.shutdown_s = 60,
		.acpi_s = 30,
		.destroy_s = 60,
		.fixvm_boot_s = 180,
		.download_s = 3600,
		.health_s = 300,
	};
}

void fake_start(struct fake *f, struct fake_world *w, const char *dir, void (*hook)(void *), void *arg)
{
	struct fg_agent_config before = f->config;
	struct fg_error err = FG_ERROR_INIT;
	fg_autofree char *path = fg_asprintf("%s/journal.db", dir);

	memset(f, 0, sizeof(*f));
	f->w = w;
	f->dir = dir;
	f->clock = (struct fg_clock){ .now_ms = clock_now, .after = clock_after, .cancel = clock_cancel };
	TAILQ_INIT(&f->queue);
	if (before.parallel) /* configured already */
		f->config = before;
	else
		fake_configure(f, dir);
	fake_the_world = w;
	fake_the_fake = f;
	struct fg_agent *a = &f->agent;
	a->config = &f->config;
	a->clock = &f->clock;
	a->toolstacks[0].ops = &fake_toolstack;
	a->toolstacks[0].ts = (struct fg_toolstack *)f;
	a->n_toolstacks = 1;
	a->fixvm_ops = &fake_fixvm;
	a->fixvms = (struct fg_fixvms *)f;
	a->layer_ops = &fake_layers;
	a->layers = (struct fg_layers *)f;
	a->isolator_ops = &fake_isolator;
	a->isolator = (struct fg_isolator *)f;
	a->make_initrd = fake_make_initrd;
	a->reach = reach;
	a->take_head = take_head;
	a->net_send = fake_send;
	a->net_ctx = f;
	a->fatal = on_fatal;
	a->fatal_ctx = f;
	if (fg_journal_open(path, &a->journal, &err) < 0) {
		fake_violation(w, "%s", err.text);
		abort();
	}
	fg_journal_set_hook(a->journal, hook, arg);
	if (fg_agent_start(a, &err) < 0) {
		fake_violation(w, "start: %s", err.text);
		return;
	}
	if (!a->dead)
		fg_agent_net_up(a);
}

void fake_end(struct fake *f)
{
	struct fake_event *e;

	f->ended = true;
	fg_agent_stop(&f->agent);
	while ((e = TAILQ_FIRST(&f->queue)) != NULL) {
		TAILQ_REMOVE(&f->queue, e, link);
		e->fn(e->arg); /* frees what it carries; every callback is refused after the end */
		free(e);
	}
	fg_journal_close(f->agent.journal);
}
