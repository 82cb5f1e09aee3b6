/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The isolator of the virtual machine manager: filters on the backend netdevs, marks for those that are to come. */
#include "counters.h"
#include "kept.h"
#include "plan.h"
#include "routed.h"
#include "vmm.h"

#include <lib/log.h>
#include <lib/util.h>
#include <netback-filter/awake.h>
#include <netback-filter/filter.h>
#include <netback-filter/own.h>
#include <netback-filter/status.h>

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

struct fg_isolator {
	const struct fg_agent_config *config;
	struct fg_filter *filter;
	char *marks;
	struct fg_counters *counters;
	struct fg_vmm_hooks hooks;
	json_t *begun; /* set of guests that were marked, but never yet isolated to the end */
	struct fg_kept_list kept;
};

static void vmm_close(struct fg_isolator *iso)
{
	if (!iso)
		return;
	while (!LIST_EMPTY(&iso->kept))
		fg_kept_free(LIST_FIRST(&iso->kept));
	fg_counters_free(iso->counters);
	json_decref(iso->begun);
	fg_filter_close(iso->filter);
	free(iso->marks);
	free(iso);
}

int fg_vmm_open(const struct fg_agent_config *config, const char *marks, struct fg_isolator **out, struct fg_error *err)
{
	struct fg_isolator *iso = fg_calloc(1, sizeof(*iso));
	int rc;

	iso->config = config;
	iso->marks = fg_strdup(marks);
	iso->counters = fg_counters_new();
	iso->begun = json_object();
	LIST_INIT(&iso->kept);
	rc = fg_mkdir_p(iso->marks, 0700, err);
	if (rc == 0)
		rc = fg_filter_open(&iso->filter, err);
	if (rc < 0) {
		vmm_close(iso);
		return rc;
	}
	*out = iso;
	return 0;
}

static int vmm_open(const struct fg_agent_config *config, struct fg_isolator **out, struct fg_error *err)
{
	return fg_vmm_open(config, FG_FILTER_MARK_DIR, out, err);
}

void fg_vmm_set_hooks(struct fg_isolator *iso, const struct fg_vmm_hooks *hooks)
{
	iso->hooks = *hooks;
}

bool fg_vmm_is_own(const struct fg_isolator *iso, uint32_t portid)
{
	return fg_filter_is_own(iso->filter, portid);
}

static bool has_dev(const struct fg_filter_status *s, const char *dev)
{
	for (size_t i = 0; s && i < s->n_devs; i++)
		if (strcmp(s->devs[i].dev, dev) == 0)
			return true;
	return false;
}

/* Reads the guest's counters and, on the way, which of its netdevs have a filter. */
static int sample(struct fg_isolator *iso, const char *uuid, const struct fg_filter_guest *devs, bool *filtered,
		  struct fg_error *err)
{
	struct fg_filter_status *mine = NULL;
	int rc = fg_filter_status_of(iso->filter, uuid, &mine, err);

	if (rc < 0)
		return rc;
	fg_counters_sample(iso->counters, uuid, mine);
	for (size_t i = 0; filtered && i < devs->n_devs; i++)
		filtered[i] = has_dev(mine, devs->devs[i].name);
	fg_filter_status_free(mine, mine ? 1 : 0);
	return 0;
}

void fg_vmm_sample(struct fg_isolator *iso, const char *uuid)
{
	struct fg_error err = FG_ERROR_INIT;

	if (sample(iso, uuid, NULL, NULL, &err) < 0)
		fg_log_warn("guest=%s counters of the filter: %s, ignoring", uuid, err.text);
}

bool fg_vmm_bare(struct fg_isolator *iso, const char *uuid)
{
	struct fg_kept *k = fg_kept_of(&iso->kept, uuid);
	bool filtered[FG_FILTER_DEVS_MAX] = { false };

	if (!k)
		return false;
	fg_kept_refresh(k);
	if (sample(iso, uuid, &k->plan->guest, filtered, NULL) < 0)
		return true;
	for (size_t i = 0; i < k->plan->guest.n_devs; i++)
		if (!filtered[i])
			return true;
	return false;
}

/* The kernel holds what it should, and it is at work. */
static int stands(struct fg_isolator *iso, const struct fg_filter_guest *guest, struct fg_error *err)
{
	int rc = fg_filter_awake(iso->filter, err);

	return rc < 0 ? rc : fg_filter_verify(iso->filter, guest, err);
}

#define READ_BACK_TRIES 3

static int install(struct fg_isolator *iso, const struct fg_filter_guest *guest, struct fg_error *err)
{
	struct fg_error differs = FG_ERROR_INIT;
	int rc = fg_filter_wake(iso->filter, err);

	if (rc == 0)
		rc = fg_filter_isolate(iso->filter, guest, 1, err);
	if (rc < 0)
		return rc;
	/* vif-fixgate may have replaced it while it was read back: then it is read again. */
	for (int tries = 0; tries < READ_BACK_TRIES; tries++) {
		rc = stands(iso, guest, &differs);
		if (rc != -FG_EDIFFERS)
			break;
		if (tries < READ_BACK_TRIES - 1)
			differs = (struct fg_error)FG_ERROR_INIT;
	}
	if (rc < 0 && err)
		*err = differs;
	return rc;
}

static void tell(struct fg_isolator *iso, const struct fg_filter_guest *guest, const bool *filtered, bool was_marked,
		 int rc, const struct fg_error *why)
{
	for (size_t i = 0; i < guest->n_devs; i++) {
		const char *dev = guest->devs[i].name;
		if (rc == 0 && iso->hooks.armed)
			iso->hooks.armed(iso->hooks.arg, guest->uuid, dev, was_marked && !filtered[i]);
		else if (rc < 0 && was_marked && !filtered[i] && iso->hooks.failed)
			iso->hooks.failed(iso->hooks.arg, guest->uuid, dev, why);
	}
}

static int vmm_marked(struct fg_isolator *iso, const char *uuid, bool *out, struct fg_error *err);

/*
 * A guest without a NIC says nothing about how its network reaches the server: what an earlier mark knows stays.
 */
static int mark(struct fg_isolator *iso, const struct fg_filter_guest *guest, bool *was, struct fg_error *err)
{
	struct fg_filter_guest *old = NULL;
	int rc = vmm_marked(iso, guest->uuid, was, err);

	if (rc < 0)
		return rc;
	if (!*was) {
		fg_counters_forget(iso->counters, guest->uuid);
		json_object_set_new(iso->begun, guest->uuid, json_true());
	}
	if (*was && guest->n_devs == 0 && fg_filter_mark_read(iso->marks, guest->uuid, &old, NULL) == 0) {
		bool same = old->closed == guest->closed;

		fg_filter_guest_free(old);
		if (same)
			return 0;
	}
	return fg_filter_mark_write(iso->marks, guest, err);
}

/* As fg_isolate_plan, and whether dom0 routes for the guest. */
static int make_plan(struct fg_isolator *iso, const struct fg_guest *guest, bool closed, bool for_mark,
		     struct fg_isolate_plan *plan, struct fg_error *err)
{
	struct fg_filter_guest *old = NULL;
	int rc = fg_isolate_plan(iso->config, guest, closed, for_mark, fg_reach_find, plan, err);

	if (rc < 0)
		return rc;
	if (fg_filter_mark_read(iso->marks, guest->uuid, &old, NULL) < 0)
		old = NULL; /* not marked; or as if it said nothing */
	rc = fg_routed_plan(&iso->filter->route, guest, old, plan, err);
	fg_filter_guest_free(old);
	return rc;
}

static int vmm_isolate(struct fg_isolator *iso, const struct fg_guest *guest, bool closed, struct fg_error *err)
{
	fg_autofree struct fg_isolate_plan *plan = fg_calloc(1, sizeof(*plan));
	bool filtered[FG_FILTER_DEVS_MAX] = { false }, was_marked = false;
	struct fg_error why = FG_ERROR_INIT;
	int rc = make_plan(iso, guest, closed, true, plan, err);

	if (rc == 0)
		rc = mark(iso, &plan->guest, &was_marked, err);
	if (rc == 0)
		rc = make_plan(iso, guest, closed, false, plan, err);
	if (rc == 0 && plan->guest.n_devs == 0)
		json_object_del(iso->begun, guest->uuid);
	if (rc < 0 || plan->guest.n_devs == 0)
		return rc;
	was_marked = was_marked && !json_object_get(iso->begun, guest->uuid);
	rc = sample(iso, guest->uuid, &plan->guest, filtered, &why);
	/* What stands already is left alone: replacing it would set its counters back. */
	if (rc == 0 && stands(iso, &plan->guest, NULL) < 0)
		rc = install(iso, &plan->guest, &why);
	tell(iso, &plan->guest, filtered, was_marked, rc, &why);
	if (rc == 0) {
		fg_keep(&iso->kept, FG_TAKE(plan), was_marked);
		json_object_del(iso->begun, guest->uuid);
		fg_vmm_sample(iso, guest->uuid);
	} else if (err && !err->code) {
		*err = why;
	}
	return rc;
}

int fg_vmm_mark(struct fg_isolator *iso, const char *uuid, struct fg_filter_guest **out, struct fg_error *err)
{
	return fg_filter_mark_read(iso->marks, uuid, out, err);
}

/* A plan made of the mark, without netdevs. */
static int plan_of_mark(struct fg_isolator *iso, const char *uuid, struct fg_isolate_plan *plan, struct fg_error *err)
{
	struct fg_filter_guest *m = NULL;
	int rc = fg_filter_mark_read(iso->marks, uuid, &m, err);

	if (rc < 0)
		return rc;
	plan->guest = *m;
	plan->guest.devs = plan->devs;
	plan->guest.n_devs = 0;
	plan->guest.addresses = plan->addresses;
	plan->guest.servers = &plan->server;
	plan->guest.gateways = plan->gateways;
	if (m->n_servers > 1 || m->n_gateways > FG_COUNT(plan->gateways))
		rc = fg_error_set(err, FG_ELIMIT, "the mark of %s names more than one server", uuid);
	for (size_t i = 0; rc == 0 && i < m->n_addresses; i++)
		plan->addresses[i] = m->addresses[i];
	for (size_t i = 0; rc == 0 && i < m->n_servers; i++)
		plan->server = m->servers[i];
	for (size_t i = 0; rc == 0 && i < m->n_gateways; i++)
		plan->gateways[i] = m->gateways[i];
	fg_filter_guest_free(m);
	return rc;
}

/* Only the new netdev is named: those the guest is isolated on already stay targets of the filter. */
int fg_vmm_arm(struct fg_isolator *iso, const char *uuid, const char *dev_name, const uint8_t mac[6], bool *was,
	       bool *had, struct fg_error *err)
{
	struct fg_kept *k = fg_kept_of(&iso->kept, uuid);
	struct fg_filter_dev dev = { 0 };

	if (!k) {
		fg_autofree struct fg_isolate_plan *plan = fg_calloc(1, sizeof(*plan));
		int rc = plan_of_mark(iso, uuid, plan, err);
		if (rc < 0)
			return rc;
		k = fg_keep(&iso->kept, FG_TAKE(plan), true);
	}
	fg_kept_refresh(k);
	snprintf(dev.name, sizeof(dev.name), "%s", dev_name);
	if (!mac)
		mac = fg_kept_mac(k, if_nametoindex(dev_name));
	if (!mac)
		return fg_error_set(err, FG_EBUG, "%s: its MAC is not known", dev_name);
	memcpy(dev.mac, mac, 6);
	struct fg_filter_guest one = k->plan->guest;
	one.devs = &dev;
	one.n_devs = 1;
	*was = stands(iso, &one, NULL) == 0;
	if (!*was) {
		int rc = sample(iso, uuid, &one, had, err);
		if (rc == 0)
			rc = install(iso, &one, err);
		if (rc < 0)
			return rc;
	}
	fg_kept_add(k, &dev);
	return 0;
}

int64_t fg_vmm_since(const struct fg_isolator *iso, const char *uuid)
{
	const struct fg_kept *k = fg_kept_of(&iso->kept, uuid);

	return k ? k->since_ms : 0;
}

int fg_vmm_check(struct fg_isolator *iso, const char *uuid, struct fg_error *err)
{
	struct fg_kept *k = fg_kept_of(&iso->kept, uuid);

	if (!k)
		return 0; /* nothing was installed since the start: the sweep of the start does it */
	fg_kept_refresh(k);
	return k->plan->guest.n_devs ? stands(iso, &k->plan->guest, err) : 0;
}

int fg_vmm_rearm(struct fg_isolator *iso, const char *uuid, struct fg_error *err)
{
	struct fg_kept *k = fg_kept_of(&iso->kept, uuid);
	struct fg_error differs = FG_ERROR_INIT;

	if (!k)
		return 0;
	fg_kept_refresh(k);
	if (k->plan->guest.n_devs == 0)
		return 0;
	int rc = fg_filter_wake(iso->filter, err);
	if (rc == 0)
		rc = fg_filter_isolate(iso->filter, &k->plan->guest, 1, err);
	/* Our chains are in place then.  What else is in the table can only drop more. */
	if (rc == 0 && stands(iso, &k->plan->guest, &differs) < 0)
		fg_log_warn("guest=%s filter installed again, but: %s", uuid, differs.text);
	return rc;
}

bool fg_vmm_has_devs(struct fg_isolator *iso, const char *uuid)
{
	struct fg_kept *k = fg_kept_of(&iso->kept, uuid);

	if (k)
		fg_kept_refresh(k);
	return k && k->plan->guest.n_devs > 0;
}

int fg_vmm_rearm_all(struct fg_isolator *iso, char (*uuids)[37], size_t n, struct fg_error *err)
{
	fg_autofree struct fg_filter_guest *all = fg_calloc(n, sizeof(*all));
	size_t count = 0;

	for (size_t i = 0; i < n; i++)
		if (fg_vmm_has_devs(iso, uuids[i]))
			all[count++] = fg_kept_of(&iso->kept, uuids[i])->plan->guest;
	int rc = fg_filter_wake(iso->filter, err);
	return rc < 0 || count == 0 ? rc : fg_filter_isolate(iso->filter, all, count, err);
}

static int nothing_left(struct fg_isolator *iso, const char *uuid, struct fg_error *err)
{
	struct fg_filter_status *mine = NULL;
	int rc = fg_filter_status_of(iso->filter, uuid, &mine, err);

	if (rc == 0 && mine && mine->n_devs > 0)
		rc = fg_error_set(err, FG_EDIFFERS, "the filter is still on %s", mine->devs[0].dev);
	fg_filter_status_free(mine, mine ? 1 : 0);
	return rc;
}

/* The mark goes first: a vif that comes in between must not be armed and then forgotten. */
static int vmm_release(struct fg_isolator *iso, const char *uuid, struct fg_error *err)
{
	const char *const uuids[] = { uuid };
	int rc = fg_filter_mark_remove(iso->marks, uuid, err);

	if (rc < 0)
		return rc;
	fg_kept_free(fg_kept_of(&iso->kept, uuid));
	json_object_del(iso->begun, uuid);
	fg_vmm_sample(iso, uuid);
	rc = fg_filter_release(iso->filter, uuids, 1, err);
	return rc < 0 ? rc : nothing_left(iso, uuid, err);
}

static int vmm_marked(struct fg_isolator *iso, const char *uuid, bool *out, struct fg_error *err)
{
	fg_autofree char *path = fg_asprintf("%s/%s.json", iso->marks, uuid);

	if (access(path, F_OK) == 0)
		*out = true;
	else if (errno == ENOENT)
		*out = false;
	else
		return fg_error_errno(err, FG_EIO, errno, "%s", path);
	return 0;
}

static int vmm_list(struct fg_isolator *iso, char (**out)[37], size_t *n, struct fg_error *err)
{
	char(*uuids)[37] = NULL, uuid[37], text[37];
	size_t count = 0;
	DIR *d = opendir(iso->marks);
	const struct dirent *e;

	if (!d)
		return fg_error_errno(err, FG_EIO, errno, "%s", iso->marks);
	while ((e = readdir(d)) != NULL) {
		if (strlen(e->d_name) != 36 + strlen(".json") || strcmp(e->d_name + 36, ".json") != 0)
			continue;
		snprintf(text, sizeof(text), "%.36s", e->d_name);
		if (fg_uuid_parse(text, uuid, NULL) < 0)
			continue;
		char(*more)[37] = realloc(uuids, (count + 1) * sizeof(*more));
		if (!more)
			abort();
		uuids = more;
		memcpy(uuids[count++], uuid, sizeof(uuid));
	}
	closedir(d);
	*out = uuids;
	*n = count;
	return 0;
}

/* After a release: what was counted until then. */
static json_t *vmm_evidence(struct fg_isolator *iso, const char *uuid)
{
	bool marked = false;

	if (vmm_marked(iso, uuid, &marked, NULL) == 0 && marked)
		fg_vmm_sample(iso, uuid);
	return fg_counters_json(iso->counters, uuid);
}

const struct fg_isolator_ops fg_isolator_vmm = {
	.name = "vmm",
	.assurance = "hypervisor",
	.open = vmm_open,
	.close = vmm_close,
	.isolate = vmm_isolate,
	.release = vmm_release,
	.marked = vmm_marked,
	.list = vmm_list,
	.evidence = vmm_evidence,
};
