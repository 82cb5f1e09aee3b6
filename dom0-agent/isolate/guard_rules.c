/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Somebody else changed the filter's table: what is not as it was is put back. */
#include "guard_private.h"

#include <lib/log.h>
#include <lib/util.h>

#include <string.h>

static void shut_all(struct fg_guard *g, const char *uuid, const struct fg_error *why)
{
	struct nic *nic = NULL;

	LIST_FOREACH (nic, &g->nics, link) {
		if (strcmp(nic->uuid, uuid) == 0) {
			nic->filtered = false;
			nic->cause = "rules-changed";
			nic->since_ms = fg_monotonic_ms();
			fg_guard_shut(g, nic, why);
		}
	}
}

/* by: who it was, NULL if that was not heard. */
static void put_back(struct fg_guard *g, const char *uuid, const struct fg_ruleset_event *by, int64_t since_ms)
{
	struct fg_window w = { .cause = "rules-changed", .frames = FG_WINDOW_UNKNOWN, .at_most = !by };
	struct fg_error err = FG_ERROR_INIT, why = FG_ERROR_INIT;
	int rc = fg_vmm_check(g->c.isolator, uuid, &err);

	if (rc == 0)
		return;
	/* Our own command (vif-fixgate) replaces whole: as long as no NIC is bare there was no gap. */
	bool gap = !by || strncmp(by->process, "netback-filter", sizeof("netback-filter") - 1) != 0 ||
		   fg_vmm_bare(g->c.isolator, uuid);
	if (fg_vmm_rearm(g->c.isolator, uuid, &why) < 0) {
		shut_all(g, uuid, &why);
	} else if (gap) {
		snprintf(w.uuid, sizeof(w.uuid), "%s", uuid);
		w.ms = fg_monotonic_ms() - since_ms;
		snprintf(w.detail, sizeof(w.detail), "%s%s%.20s%.100s", by ? "by " : "", by ? by->process : "",
			 by ? ": " : "", err.text);
		g->c.window(g->c.arg, &w);
	}
	g->c.look(g->c.arg, uuid);
}

/* The chains of a netdev are named after it and its ifindex: one of the numbers between '-' in a name. */
static bool names_nic(const char *chain, uint32_t ifindex)
{
	while ((chain = strchr(chain, '-')) != NULL) {
		char *end;
		chain++;
		if (*chain >= '0' && *chain <= '9' && strtoul(chain, &end, 10) == ifindex && (*end == '-' || !*end))
			return true;
	}
	return false;
}

static bool touches(struct fg_guard *g, const struct fg_ruleset_event *e, const char *uuid)
{
	struct nic *nic = NULL;

	LIST_FOREACH (nic, &g->nics, link) {
		if (strcmp(nic->uuid, uuid) != 0)
			continue;
		for (size_t i = 0; i < e->n_chains; i++)
			if (names_nic(e->chains[i], nic->now.ifindex))
				return true;
	}
	return false;
}

/* The whole table was changed: not one guest after the other, each with a look at all chains. */
static bool put_table_back(struct fg_guard *g, const struct fg_ruleset_event *by)
{
	struct fg_error err = FG_ERROR_INIT;

	if (fg_vmm_rearm_all(g->c.isolator, g->uuids, g->n_uuids, &err) < 0) {
		fg_log_err("filter of all guests: %s; one by one", err.text);
		return false;
	}
	int64_t ms = fg_monotonic_ms() - by->at_ms;
	for (size_t i = 0; i < g->n_uuids; i++) {
		struct fg_window w = { .cause = "rules-changed", .frames = FG_WINDOW_UNKNOWN, .ms = ms };
		if (!fg_vmm_has_devs(g->c.isolator, g->uuids[i]))
			continue;
		memcpy(w.uuid, g->uuids[i], sizeof(w.uuid));
		snprintf(w.detail, sizeof(w.detail), "by %s: the table was changed", by->process);
		g->c.window(g->c.arg, &w);
	}
	return true;
}

void fg_guard_on_ruleset(void *arg, const struct fg_ruleset_event *e)
{
	struct fg_guard *g = arg;

	if (fg_vmm_is_own(g->c.isolator, e->portid))
		return;
	fg_guard_marks_load(g);
	/* Our own command changes the table as a whole only where that takes nothing away from a marked guest. */
	bool whole = e->all && strncmp(e->process, "netback-filter", sizeof("netback-filter") - 1) != 0;
	if (!whole || !put_table_back(g, e))
		for (size_t i = 0; i < g->n_uuids; i++)
			if (e->all || touches(g, e, g->uuids[i]))
				put_back(g, g->uuids[i], e, e->at_ms);
	fg_guard_marks_forget(g);
}

void fg_guard_put_all_back(struct fg_guard *g, int64_t since_ms)
{
	fg_guard_marks_load(g);
	for (size_t i = 0; i < g->n_uuids; i++)
		put_back(g, g->uuids[i], NULL, since_ms);
	fg_guard_marks_forget(g);
}
