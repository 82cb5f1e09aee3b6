/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The isolator of the virtual machine manager: filters on the backend netdevs, marks for those that are to come. */
#include "isolator.h"
#include "plan.h"

#include <lib/log.h>
#include <lib/util.h>

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

struct fg_isolator {
	const struct fg_agent_config *config;
	struct fg_filter *filter;
	char *marks;
};

static void vmm_close(struct fg_isolator *iso)
{
	if (!iso)
		return;
	fg_filter_close(iso->filter);
	free(iso->marks);
	free(iso);
}

static int vmm_open(const struct fg_agent_config *config, struct fg_isolator **out, struct fg_error *err)
{
	struct fg_isolator *iso = fg_calloc(1, sizeof(*iso));
	int rc;

	iso->config = config;
	iso->marks = fg_strdup(FG_FILTER_MARK_DIR);
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

static int vmm_isolate(struct fg_isolator *iso, const struct fg_guest *guest, bool closed, struct fg_error *err)
{
	fg_autofree struct fg_isolate_plan *plan = fg_calloc(1, sizeof(*plan));
	int rc = fg_isolate_plan(iso->config, guest, closed, true, fg_reach_find, plan, err);

	if (rc == 0)
		rc = fg_filter_mark_write(iso->marks, &plan->guest, err);
	if (rc == 0)
		rc = fg_isolate_plan(iso->config, guest, closed, false, fg_reach_find, plan, err);
	if (rc < 0 || plan->guest.n_devs == 0)
		return rc;
	rc = fg_filter_isolate(iso->filter, &plan->guest, 1, err);
	return rc < 0 ? rc : fg_filter_verify(iso->filter, &plan->guest, err);
}

static int nothing_left(struct fg_isolator *iso, const char *uuid, struct fg_error *err)
{
	struct fg_filter_status *status = NULL;
	size_t n = 0;
	int rc = fg_filter_list(iso->filter, &status, &n, err);

	if (rc < 0)
		return rc;
	for (size_t i = 0; rc == 0 && i < n; i++)
		if (strcmp(status[i].uuid, uuid) == 0 && status[i].n_devs > 0)
			rc = fg_error_set(err, FG_EDIFFERS, "the filter is still on %s", status[i].devs[0].dev);
	fg_filter_status_free(status, n);
	return rc;
}

/* The mark goes first: a vif that comes in between must not be armed and then forgotten. */
static int vmm_release(struct fg_isolator *iso, const char *uuid, struct fg_error *err)
{
	const char *const uuids[] = { uuid };
	int rc = fg_filter_mark_remove(iso->marks, uuid, err);

	if (rc == 0)
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

const struct fg_isolator_ops fg_isolator_vmm = {
	.name = "vmm",
	.assurance = "hypervisor",
	.open = vmm_open,
	.close = vmm_close,
	.isolate = vmm_isolate,
	.release = vmm_release,
	.marked = vmm_marked,
	.list = vmm_list,
};
