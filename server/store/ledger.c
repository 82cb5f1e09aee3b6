/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ledger.h"

#include <lib/util.h>
#include <string.h>

static const char *const status_names[FG_STATUS_COUNT] = {
#define STATUS_NAME(name, str) [FG_STATUS_##name] = str,
	FG_STATUS_LIST(STATUS_NAME)
#undef STATUS_NAME
};

const char *fg_status_name(enum fg_status status)
{
	return (unsigned)status < FG_STATUS_COUNT ? status_names[status] : NULL;
}

enum fg_status fg_status_from_name(const char *name)
{
	for (unsigned i = 0; name && i < FG_STATUS_COUNT; i++)
		if (!strcmp(name, status_names[i]))
			return (enum fg_status)i;
	return FG_STATUS_UNKNOWN;
}

static enum fg_status status_of(enum fg_state state)
{
	switch (state) {
	case FG_STATE_OFFERED:
	case FG_STATE_QUEUED:
	case FG_STATE_ISOLATED:
	case FG_STATE_STOPPED:
	case FG_STATE_FIXING:
	case FG_STATE_FIXED:
	case FG_STATE_RELEASED:
	case FG_STATE_REBOOTING:
		return FG_STATUS_IN_PROGRESS;
	case FG_STATE_DONE:
		return FG_STATUS_FIXED;
	case FG_STATE_NOT_NEEDED:
		return FG_STATUS_NOT_NEEDED;
	case FG_STATE_REJECTED:
		return FG_STATUS_REJECTED;
	case FG_STATE_FAILED:
		return FG_STATUS_FAILED;
	case FG_STATE_ROLLED_BACK:
		return FG_STATUS_ROLLED_BACK;
	case FG_STATE_HELD:
		return FG_STATUS_HELD;
	case FG_STATE_COUNT:
		break;
	}
	return FG_STATUS_UNKNOWN;
}

/* Does the state say that the guest's disk is what it was before the job? */
static bool disk_unchanged(enum fg_state state)
{
	return state == FG_STATE_OFFERED || state == FG_STATE_QUEUED || state == FG_STATE_NOT_NEEDED ||
	       state == FG_STATE_REJECTED || state == FG_STATE_FAILED || state == FG_STATE_ROLLED_BACK;
}

static bool is_over(enum fg_status status)
{
	return status != FG_STATUS_OFFERED && status != FG_STATUS_IN_PROGRESS && status != FG_STATUS_UNKNOWN &&
	       status != FG_STATUS_NEEDED && status != FG_STATUS_HELD;
}

bool fg_ledger_reported(const struct fg_ledger *old, const char *job, int64_t version, enum fg_state state,
			struct fg_ledger *new)
{
	bool same_job = old->job[0] && !strcmp(old->job, job);

	*new = *old;
	if (state == FG_STATE_DONE && version > new->fixed_version)
		new->fixed_version = version;
	if (version < old->version)
		return false;
	if (same_job && is_over(old->status) && !fg_state_is_end(state))
		return false;
	bool stays_fixed = disk_unchanged(state) && new->fixed_version >= version;
	if (stays_fixed && !fg_state_is_end(state))
		return false;
	new->version = version;
	snprintf(new->job, sizeof(new->job), "%s", job);
	new->status = stays_fixed ? FG_STATUS_FIXED : status_of(state);
	return true;
}

void fg_ledger_not_applicable(struct fg_ledger *row)
{
	if (row->status == FG_STATUS_NOT_NEEDED)
		row->status = FG_STATUS_NOT_APPLICABLE;
}

const char *fg_ledger_no_offer(const struct fg_ledger *old, int64_t version, int force)
{
	if (old->version > version && (old->status == FG_STATUS_OFFERED || old->status == FG_STATUS_IN_PROGRESS))
		return "a newer version is offered";
	if (old->version == version && old->status == FG_STATUS_OFFERED)
		return "offered already";
	if (force)
		return NULL;
	if (old->status == FG_STATUS_IN_PROGRESS)
		return "a job is in progress";
	if (old->fixed_version >= version)
		return "fixed already";
	if (old->status == FG_STATUS_HELD)
		return "held: a person decides";
	return NULL;
}

struct fg_ledger fg_ledger_offered(const struct fg_ledger *old, int64_t version)
{
	struct fg_ledger new = *old;

	new.version = version;
	new.status = new.fixed_version >= version ? FG_STATUS_FIXED : FG_STATUS_OFFERED;
	return new;
}

const char *fg_isolator_assurance(const char *isolator)
{
	static const struct {
		const char *isolator, *assurance;
	} table[] = {
		{ "service-processor", "hardware" },
		{ "vmm", "hypervisor" },
		{ "secondary-os", "boot" },
		{ "primary-os", "guest" },
	};

	for (size_t i = 0; isolator && i < FG_COUNT(table); i++)
		if (!strcmp(isolator, table[i].isolator))
			return table[i].assurance;
	return NULL;
}
