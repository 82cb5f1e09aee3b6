/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Rollouts, and offers that are cancelled. */
#include "print.h"
#include "verbs.h"

#include <lib/util.h>
#include <string.h>

#define ROLLOUT_KEYS "id,fix,version,state,wave,created_by,created_ms,changed_ms,reason"
#define TARGET_KEYS "uuid,name,host,wave,state,tries,at_ms,status,job_state,reason"

/* ---- cancel ---- */

int fg_admin_cancel(struct fg_admin *a, const struct fg_admin_options *o, struct fg_error *err)
{
	fg_autojson json_t *all = json_array();

	if (!o->fix || o->n_guests == 0)
		return fg_error_set(err, FG_EUSAGE, "cancel needs --fix and --guest");
	for (size_t i = 0; i < o->n_guests; i++) {
		fg_autojson json_t *body = json_pack("{s:s, s:s}", "fix", o->fix, "guest", o->guests[i]);
		fg_autojson json_t *answer = NULL;
		int rc = fg_admin_call(a, "POST", "/v1/cancellations", body, &answer, err);
		if (rc < 0)
			return rc;
		if (!o->json)
			printf("%s: %s\n", fg_print_text(answer, "guest"), fg_print_text(answer, "result"));
		json_array_append(all, answer);
	}
	if (o->json)
		fg_print_list("cancelled", all);
	return 0;
}

/* ---- one ---- */

static void print_rollout(const json_t *r)
{
	const json_t *waves = json_object_get(r, "waves"), *plan = json_object_get(r, "plan");
	size_t n = json_array_size(waves);

	printf("rollout %" JSON_INTEGER_FORMAT "  %s version %" JSON_INTEGER_FORMAT "  %s  wave %" JSON_INTEGER_FORMAT
	       " of %zu  to %s  by %s  ",
	       fg_print_int(r, "id"), fg_print_text(r, "fix"), fg_print_int(r, "version"), fg_print_text(r, "state"),
	       fg_print_int(r, "wave"), n, fg_print_text(plan, "select"), fg_print_text(r, "created_by"));
	fg_print_time(r, "created_ms");
	if (json_object_get(r, "approved_by"))
		printf("  approved by %s", fg_print_text(r, "approved_by"));
	if (json_object_get(r, "reason"))
		printf("  (%s)", fg_print_text(r, "reason"));
	putchar('\n');
	for (size_t i = 0; i < n; i++) {
		char head[32];
		snprintf(head, sizeof(head), "    wave %zu:", i + 1);
		fg_print_counts(head, json_array_get(waves, i));
	}
}

static void print_target(const json_t *t)
{
	const char *reason = json_string_value(json_object_get(t, "reason"));
	const char *job = json_string_value(json_object_get(t, "job_state"));

	printf("    wave %" JSON_INTEGER_FORMAT "  %s  %s  host %s  %s", fg_print_int(t, "wave"),
	       fg_print_text(t, "uuid"), fg_print_text(t, "name"), fg_print_text(t, "host"), fg_print_text(t, "state"));
	if (job && !strcmp(fg_print_text(t, "state"), "offered"))
		printf(" (%s)", job);
	printf("%s%s\n", reason ? "  " : "", reason ? reason : "");
}

static void print_one(const json_t *rollout, const struct fg_admin_options *o)
{
	if (o->json)
		fg_print_json(rollout);
	else
		print_rollout(rollout);
}

static int on_targets(const json_t *list, void *arg, struct fg_error *err)
{
	const struct fg_admin_options *o = arg;
	json_t *target;
	size_t i;

	(void)err;
	json_array_foreach (list, i, target) {
		if (o->csv)
			fg_print_csv(TARGET_KEYS, target);
		else
			print_target(target);
	}
	return 0;
}

int fg_admin_rollout_show(struct fg_admin *a, const struct fg_admin_options *o, const char *id, struct fg_error *err)
{
	fg_autofree char *escaped = fg_admin_escape(id);
	fg_autofree char *state = o->state ? fg_admin_escape(o->state) : NULL;
	fg_autofree char *path = fg_asprintf("/v1/rollouts/%s", escaped);
	fg_autofree char *targets = fg_asprintf("%s?targets=1%s%s", path, state ? "&state=" : "", state ? state : "");
	fg_autojson json_t *rollout = NULL;
	fg_autojson json_t *list = NULL;
	bool all = o->targets || o->state || o->csv;
	int rc = fg_admin_call(a, "GET", path, NULL, &rollout, err);

	if (rc == 0 && all && o->json)
		rc = fg_admin_pages(a, targets, "targets", &list, err);
	if (rc < 0)
		return rc;
	if (list)
		json_object_set(rollout, "targets", list);
	if (o->csv && !o->json)
		fg_print_csv_head(TARGET_KEYS);
	else
		print_one(rollout, o);
	if (!all || o->json)
		return 0;
	return fg_admin_each_page(a, targets, "targets", NULL, on_targets, (void *)(uintptr_t)o, err);
}

int fg_admin_rollout_list(struct fg_admin *a, const struct fg_admin_options *o, struct fg_error *err)
{
	fg_autojson json_t *list = NULL;
	const json_t *rollout;
	size_t i;
	int rc = fg_admin_pages(a, "/v1/rollouts", "rollouts", &list, err);

	if (rc < 0)
		return rc;
	if (o->json) {
		fg_print_list("rollouts", list);
		return 0;
	}
	if (o->csv)
		fg_print_csv_head(ROLLOUT_KEYS);
	json_array_foreach (list, i, rollout) {
		if (o->csv)
			fg_print_csv(ROLLOUT_KEYS, rollout);
		else
			print_rollout(rollout);
	}
	return 0;
}

int fg_admin_rollout_control(struct fg_admin *a, const struct fg_admin_options *o, const char *id, struct fg_error *err)
{
	fg_autofree char *escaped = fg_admin_escape(id);
	fg_autofree char *path = fg_asprintf("/v1/rollouts/%s", escaped);
	fg_autojson json_t *body = json_pack("{s:s}", "action", o->words[1]);
	fg_autojson json_t *answer = NULL;
	int rc = fg_admin_call(a, "POST", path, body, &answer, err);

	if (rc == 0)
		print_one(answer, o);
	return rc;
}

/* ---- a new one ---- */

static json_t *words_json(const char *text)
{
	fg_autofree char *copy = fg_strdup(text);
	json_t *list = json_array();

	for (char *p = copy, *word = NULL; (word = strsep(&p, ","));)
		json_array_append_new(list, json_string(word));
	return list;
}

int fg_admin_rollout_create(struct fg_admin *a, const struct fg_admin_options *o, const char *fix, struct fg_error *err)
{
	fg_autojson json_t *body = json_pack("{s:s}", "fix", fix);
	fg_autojson json_t *answer = NULL;
	json_t *windows = NULL;

	if (!o->select)
		return fg_error_set(err, FG_EUSAGE, "rollout create needs --select (\"all\" for every guest)");
	json_object_set_new(body, "select", json_string(o->select));
	if (o->version)
		json_object_set_new(body, "version", json_integer(o->version));
	if (o->waves)
		json_object_set_new(body, "waves", words_json(o->waves));
	json_object_set_new(body, "success_pct", json_integer(o->success_pct));
	json_object_set_new(body, "max_failures", json_integer(o->max_failures));
	if (o->wait_s)
		json_object_set_new(body, "wait_s", json_integer(o->wait_s));
	if (o->timeout_s)
		json_object_set_new(body, "timeout_s", json_integer(o->timeout_s));
	if (o->n_windows)
		json_object_set_new(body, "windows", windows = json_array());
	for (size_t i = 0; i < o->n_windows; i++)
		json_array_append_new(windows, json_string(o->windows[i]));
	if (o->approval)
		json_object_set_new(body, "approval", json_true());
	int rc = fg_admin_call(a, "POST", "/v1/rollouts", body, &answer, err);
	if (rc == 0)
		print_one(answer, o);
	return rc;
}
