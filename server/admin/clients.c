/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Clients x fixes, the history of a client, labels. */
#include "print.h"
#include "verbs.h"

#include <inttypes.h>
#include <lib/util.h>
#include <string.h>

#define CLIENT_KEYS                                                                                                    \
	"uuid,name,host,os,labels,state,present,fix,version,status,job_state,job,reason,isolator,assurance,at_ms"
#define EVENT_KEYS "at_ms,event,host,fix,version,by,job,state,reason,refused"

struct listing {
	const struct fg_admin_options *options;
	json_t *all; /* with --json */
	int64_t left; /* -1: no limit */
};

/* "a=1;b=2" */
static json_t *labels_text(const json_t *labels)
{
	char *text = fg_strdup("");
	const char *name;
	json_t *value;

	json_object_foreach ((json_t *)(uintptr_t)labels, name, value) {
		char *more = fg_asprintf("%s%s%s=%s", text, text[0] ? ";" : "", name, json_string_value(value));
		free(text);
		text = more;
	}
	json_t *out = json_string(text);
	free(text);
	return out;
}

static void print_client(const json_t *client)
{
	const char *id;
	json_t *fix, *fixes = json_object_get(client, "fixes"), *labels = json_object_get(client, "labels");

	printf("%s  %s  host %s  %s%s", fg_print_text(client, "uuid"), fg_print_text(client, "name"),
	       fg_print_text(client, "host"), fg_print_text(client, "state"),
	       json_is_false(json_object_get(client, "present")) ? "  (gone)" : "");
	if (json_is_string(json_object_get(client, "os")))
		printf("  %s", fg_print_text(client, "os"));
	if (json_object_size(labels)) {
		fg_autojson json_t *text = labels_text(labels);
		printf("  %s", json_string_value(text));
	}
	putchar('\n');
	json_object_foreach (fixes, id, fix) {
		const char *state = json_string_value(json_object_get(fix, "state"));
		const char *reason = json_string_value(json_object_get(fix, "reason"));
		printf("    %s version %" JSON_INTEGER_FORMAT "  %s", id, fg_print_int(fix, "version"),
		       fg_print_text(fix, "status"));
		if (state && strcmp(state, fg_print_text(fix, "status")) != 0)
			printf(" (%s)", state);
		printf("  ");
		fg_print_time(fix, "at_ms");
		printf("%s%s\n", reason ? "  " : "", reason ? reason : "");
	}
}

/* A line for each fix, or one for a client without any. */
static void csv_client(const json_t *client)
{
	json_t *fixes = json_object_get(client, "fixes"), *fix;
	const char *id;
	fg_autojson json_t *row = json_copy((json_t *)(uintptr_t)client);

	json_object_set_new(row, "labels", labels_text(json_object_get(client, "labels")));
	if (json_object_size(fixes) == 0)
		fg_print_csv(CLIENT_KEYS, row);
	json_object_foreach (fixes, id, fix) {
		fg_autojson json_t *line = json_copy(row);
		json_object_set(line, "job_state", json_object_get(fix, "state"));
		json_object_del(fix, "state");
		json_object_update(line, fix);
		json_object_set_new(line, "fix", json_string(id));
		fg_print_csv(CLIENT_KEYS, line);
	}
}

static int on_clients(const json_t *list, void *arg, struct fg_error *err)
{
	struct listing *l = arg;
	json_t *client;
	size_t i;

	(void)err;
	json_array_foreach (list, i, client) {
		if (l->left == 0)
			return 1;
		if (l->left > 0)
			l->left--;
		if (l->options->json)
			json_array_append(l->all, client);
		else if (l->options->csv)
			csv_client(client);
		else
			print_client(client);
	}
	return l->left == 0;
}

static void add_query(char **path, const char *key, const char *value)
{
	if (!value)
		return;
	fg_autofree char *escaped = fg_admin_escape(value);
	char *more = fg_asprintf("%s%c%s=%s", *path, strchr(*path, '?') ? '&' : '?', key, escaped);
	free(*path);
	*path = more;
}

int fg_admin_clients(struct fg_admin *a, const struct fg_admin_options *o, struct fg_error *err)
{
	fg_autofree char *path = fg_strdup("/v1/clients");
	fg_autofree char *limit = o->limit && o->limit < 500 ? fg_asprintf("%" PRId64, o->limit) : NULL;
	fg_autojson json_t *all = json_array();
	struct listing l = { o, all, o->limit ? o->limit : -1 };

	add_query(&path, "status", o->status);
	add_query(&path, "fix", o->fix);
	add_query(&path, "host", o->host);
	add_query(&path, "name", o->name);
	add_query(&path, "os", o->os);
	add_query(&path, "label", o->label);
	add_query(&path, "present", o->present ? "1" : NULL);
	add_query(&path, "limit", limit);
	if (o->csv && !o->json)
		fg_print_csv_head(CLIENT_KEYS);
	int rc = fg_admin_each_page(a, path, "clients", o->after, on_clients, &l, err);
	if (rc == 0 && o->json)
		fg_print_list("clients", all);
	return rc;
}

/* ---- history ---- */

static void print_event(const json_t *e)
{
	const char *reason = json_string_value(json_object_get(e, "reason"));
	const char *refused = json_string_value(json_object_get(e, "refused"));
	bool report = !strcmp(fg_print_text(e, "event"), "report");

	fg_print_time(e, "at_ms");
	printf("  %-7s %s version %" JSON_INTEGER_FORMAT "  host %s  %s%s%s%s%s\n", fg_print_text(e, "event"),
	       fg_print_text(e, "fix"), fg_print_int(e, "version"), fg_print_text(e, "host"),
	       report ? fg_print_text(e, "state") : fg_print_text(e, "by"), reason ? ": " : "", reason ? reason : "",
	       refused ? "  refused: " : "", refused ? refused : "");
}

static int on_events(const json_t *list, void *arg, struct fg_error *err)
{
	struct listing *l = arg;
	json_t *event;
	size_t i;

	(void)err;
	json_array_foreach (list, i, event) {
		if (l->left == 0)
			return 1;
		if (l->left > 0)
			l->left--;
		if (l->options->json)
			json_array_append(l->all, event);
		else if (l->options->csv)
			fg_print_csv(EVENT_KEYS, event);
		else
			print_event(event);
	}
	return l->left == 0;
}

int fg_admin_history(struct fg_admin *a, const struct fg_admin_options *o, const char *guest, struct fg_error *err)
{
	fg_autofree char *escaped = fg_admin_escape(guest);
	fg_autofree char *path = fg_asprintf("/v1/history/%s", escaped);
	fg_autojson json_t *all = json_array();
	struct listing l = { o, all, o->limit ? o->limit : -1 };

	if (o->csv && !o->json)
		fg_print_csv_head(EVENT_KEYS);
	int rc = fg_admin_each_page(a, path, "events", NULL, on_events, &l, err);
	if (rc == 0 && o->json)
		fg_print_list("events", all);
	return rc;
}

/* ---- labels ---- */

int fg_admin_label(struct fg_admin *a, const struct fg_admin_options *o, struct fg_error *err)
{
	json_t *labels = json_object(), *guests = json_array();
	fg_autojson json_t *body = json_pack("{s:o, s:o}", "labels", labels, "guests", guests);
	fg_autojson json_t *answer = NULL;

	if (o->n_guests == 0)
		return fg_error_set(err, FG_EUSAGE, "label needs --guest");
	for (size_t i = 0; i < o->n_guests; i++)
		json_array_append_new(guests, json_string(o->guests[i]));
	for (size_t i = 1; i < o->n_words; i++) {
		fg_autofree char *name = fg_strdup(o->words[i]);
		char *value = strchr(name, '=');
		if (!value)
			return fg_error_set(err, FG_EUSAGE, "'%s': NAME=VALUE, or NAME= to remove it", name);
		*value++ = '\0';
		json_object_set_new(labels, name, *value ? json_string(value) : json_null());
	}
	int rc = fg_admin_call(a, "POST", "/v1/labels", body, &answer, err);
	if (rc < 0)
		return rc;
	if (o->json)
		fg_print_json(answer);
	else
		printf("labelled %" JSON_INTEGER_FORMAT "\n", fg_print_int(answer, "labelled"));
	return 0;
}
