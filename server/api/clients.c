/* SPDX-License-Identifier: GPL-3.0-or-later */
/* GET /v1/clients: clients × fixes, a page at a time; GET /v1/history/<client>; POST /v1/labels. */
#include "api.h"
#include "check.h"

#include <fixgate/protocol.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define CLIENTS_DEFAULT 500
#define CLIENTS_MAX 1000
#define HISTORY_MAX 500
#define LABELS_MAX 32 /* of one request */
#define GUESTS_MAX 10000
#define LABEL_NAME_MAX 63
#define LABEL_VALUE_MAX 255
#define ROW_BYTES 320 /* of JSON around the strings of a row, at most */

struct page {
	struct fg_store *store;
	json_t *list, *client, *fixes; /* the last client of the list; borrowed */
	char uuid[FG_UUID_TEXT];
	size_t limit, bytes;
	bool more;
};

static void set_text(json_t *object, const char *key, const char *value)
{
	json_object_set_new(object, key, value ? json_string(value) : json_null());
}

static void add_label(const char *name, const char *value, void *arg)
{
	json_object_set_new(arg, name, json_string(value));
}

static void client_begin(struct page *page, const struct fg_store_client *row)
{
	json_t *nics = json_loads(row->nics, 0, NULL), *macs = json_array(), *nic;
	size_t i;

	json_array_foreach (nics, i, nic) {
		json_array_append(macs, json_object_get(nic, "mac"));
	}
	page->fixes = json_object();
	page->client = json_pack("{s:s, s:s, s:O?, s:o, s:s, s:s, s:s, s:b, s:I, s:I, s:o, s:o}", "uuid", row->uuid,
				 "name", row->name, "mac", json_array_get(macs, 0), "macs", macs, "host", row->host,
				 "toolstack", row->toolstack, "state", row->state, "present", (int)row->present,
				 "first_seen_ms", (json_int_t)row->first_seen_ms, "last_seen_ms",
				 (json_int_t)row->last_seen_ms, "fixes", page->fixes, "labels", json_object());
	if (!page->client)
		abort();
	set_text(page->client, "os", row->os[0] ? row->os : NULL);
	json_array_append_new(page->list, page->client);
	json_decref(nics);
	snprintf(page->uuid, sizeof(page->uuid), "%s", row->uuid);
	page->bytes += ROW_BYTES + strlen(row->name) + 2 * strlen(row->nics);
}

static bool on_row(const struct fg_store_client *row, void *arg)
{
	struct page *page = arg;

	if (strcmp(page->uuid, row->uuid) != 0) {
		page->more = json_array_size(page->list) == page->limit || page->bytes > FG_PROTOCOL_BODY_MAX / 2;
		if (page->more)
			return false;
		client_begin(page, row);
	}
	if (!row->fix)
		return true;
	json_t *fix = json_pack("{s:s, s:I, s:I}", "status", row->status, "version", (json_int_t)row->version, "at_ms",
				(json_int_t)row->at_ms);
	set_text(fix, "state", row->job_state);
	set_text(fix, "job", row->job && row->job[0] ? row->job : NULL);
	set_text(fix, "reason", row->reason);
	set_text(fix, "isolator", row->isolator);
	set_text(fix, "assurance", fg_isolator_assurance(row->isolator));
	if (row->fixed_version)
		json_object_set_new(fix, "fixed_version", json_integer(row->fixed_version));
	json_object_set_new(page->fixes, row->fix, fix);
	page->bytes += ROW_BYTES + (row->reason ? strlen(row->reason) : 0);
	return true;
}

/* An empty value is none. */
static const char *word(const struct fg_request *req, const char *key)
{
	const char *text = fg_request_query(req, key);

	return text && text[0] ? text : NULL;
}

/* label=NAME or NAME=VALUE; *name is malloc'd. */
static int filter_read(const struct fg_request *req, struct fg_store_filter *f, char **name, struct fg_error *err)
{
	const char *label = word(req, "label"), *equals = label ? strchr(label, '=') : NULL;

	f->status = word(req, "status");
	f->fix = word(req, "fix");
	f->host = word(req, "host");
	f->name = word(req, "name");
	f->os = word(req, "os");
	f->present = word(req, "present") != NULL;
	if (f->status && strcmp(f->status, fg_status_name(FG_STATUS_UNKNOWN)) != 0 &&
	    fg_status_from_name(f->status) == FG_STATUS_UNKNOWN)
		return fg_error_set(err, FG_EFORMAT, "there is no status '%.40s'", f->status);
	if (label) {
		*name = equals ? strndup(label, (size_t)(equals - label)) : fg_strdup(label);
		f->label = *name;
		f->value = equals ? equals + 1 : NULL;
	}
	return 0;
}

static int labels_of_page(struct page *page, struct fg_error *err)
{
	json_t *client;
	size_t i;

	json_array_foreach (page->list, i, client) {
		const char *uuid = json_string_value(json_object_get(client, "uuid"));
		int rc = fg_store_labels(page->store, uuid, add_label, json_object_get(client, "labels"), err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

int fg_api_clients(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err)
{
	struct fg_api *api = ctx;
	const char *after = fg_request_query(req, "after");
	fg_autofree char *label = NULL;
	fg_autojson json_t *list = json_array();
	struct page page = { .store = api->store, .list = list };
	struct fg_store_filter filter = { .status = NULL };
	int64_t limit = 0;
	int rc = fg_request_query_int(req, "limit", 1, CLIENTS_MAX, CLIENTS_DEFAULT, &limit, err);

	if (rc == 0)
		rc = filter_read(req, &filter, &label, err);
	if (rc < 0)
		return rc;
	page.limit = (size_t)limit;
	rc = fg_store_clients(api->store, &filter, after ? after : "", on_row, &page, err);
	if (rc == 0)
		rc = labels_of_page(&page, err);
	if (rc < 0)
		return rc;
	*answer = json_pack("{s:O}", "clients", list);
	if (page.more)
		json_object_set_new(*answer, "next", json_string(page.uuid));
	return 200;
}

/* ---- GET /v1/history/<uuid or name> ---- */

struct history {
	json_t *list;
	char next[64]; /* of the last event */
	size_t bytes;
	bool full;
};

static void add_event(const struct fg_store_event *e, void *arg)
{
	struct history *h = arg;

	h->full = h->full || h->bytes > FG_PROTOCOL_BODY_MAX / 2;
	if (h->full)
		return;
	json_t *event = json_pack("{s:s, s:I, s:s, s:s, s:I}", "event", e->kind, "at_ms", (json_int_t)e->at_ms, "host",
				  e->host, "fix", e->fix, "version", (json_int_t)e->version);
	if (e->who)
		set_text(event, "by", e->who);
	if (e->job)
		set_text(event, "job", e->job);
	if (e->state)
		set_text(event, "state", e->state);
	if (e->reason)
		set_text(event, "reason", e->reason);
	if (e->refused)
		set_text(event, "refused", e->refused);
	if (e->evidence)
		json_object_set_new(event, "evidence", json_loads(e->evidence, 0, NULL));
	json_array_append_new(h->list, event);
	snprintf(h->next, sizeof(h->next), "%" PRId64 ".%s.%" PRId64, e->at_ms, e->kind, e->n);
	h->bytes += ROW_BYTES + (e->reason ? strlen(e->reason) : 0) + (e->evidence ? strlen(e->evidence) : 0);
}

/* TIME.KIND.NUMBER */
static int cursor_read(const char *text, struct fg_store_history_cursor *out, struct fg_error *err)
{
	char *kind = NULL, *end = NULL;

	errno = 0;
	out->at_ms = strtoll(text, &kind, 10);
	size_t n = *kind == '.' ? strspn(kind + 1, "abcdefghijklmnopqrstuvwxyz") : 0;
	if (errno || kind == text || n == 0 || n >= sizeof(out->kind) || kind[n + 1] != '.')
		return fg_error_set(err, FG_EFORMAT, "'after' is not what was given as 'next'");
	snprintf(out->kind, sizeof(out->kind), "%.*s", (int)n, kind + 1);
	const char *number = kind + n + 2;
	out->n = strtoll(number, &end, 10);
	if (errno || end == number || *end)
		return fg_error_set(err, FG_EFORMAT, "'after' is not what was given as 'next'");
	return 0;
}

int fg_api_history(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err)
{
	struct fg_api *api = ctx;
	const char *after = word(req, "after");
	fg_autojson json_t *list = json_array();
	struct history h = { .list = list };
	struct fg_store_history_cursor cursor = { .at_ms = 0 };
	char uuid[FG_UUID_TEXT];
	int64_t limit = 0;
	int rc = fg_request_query_int(req, "limit", 1, HISTORY_MAX, HISTORY_MAX, &limit, err);

	if (rc == 0 && after)
		rc = cursor_read(after, &cursor, err);
	if (rc == 0)
		rc = fg_store_client_find(api->store, req->tail, uuid, err);
	if (rc == 0)
		rc = fg_store_history(api->store, uuid, &cursor, (size_t)limit, add_event, &h, err);
	if (rc < 0)
		return rc;
	*answer = json_pack("{s:s, s:O}", "uuid", uuid, "events", list);
	if (h.full || json_array_size(list) == (size_t)limit)
		json_object_set_new(*answer, "next", json_string(h.next));
	return 200;
}

/* ---- POST /v1/labels ---- */

static int label_check(const char *name, const json_t *value, struct fg_error *err)
{
	size_t len = strlen(name);

	if (len == 0 || len > LABEL_NAME_MAX ||
	    strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/-") != len)
		return fg_error_set(err, FG_EFORMAT, "a label's name is [A-Za-z0-9._/-]{1,%d}", LABEL_NAME_MAX);
	if (json_is_null(value))
		return 0;
	if (!json_is_string(value))
		return fg_error_set(err, FG_EFORMAT, "a label's value is a string, or null to remove it");
	if (strpbrk(json_string_value(value), ",*"))
		return fg_error_set(err, FG_EFORMAT, "a label's value has no ',' and no '*'");
	return fg_check_text("a label's value", json_string_value(value), LABEL_VALUE_MAX, err);
}

static int labels_check(json_t *labels, struct fg_error *err)
{
	const char *name;
	json_t *value;

	if (json_object_size(labels) < 1 || json_object_size(labels) > LABELS_MAX)
		return fg_error_set(err, FG_EFORMAT, "1 to %d labels at a time", LABELS_MAX);
	json_object_foreach (labels, name, value) {
		int rc = label_check(name, value, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int label_guest(struct fg_api *api, const char *key, json_t *labels, const char *who, struct fg_error *err)
{
	char uuid[FG_UUID_TEXT];
	const char *name;
	json_t *value;
	int rc = key ? fg_store_client_find(api->store, key, uuid, err)
		     : fg_error_set(err, FG_EFORMAT, "\"guests\" is a list of UUIDs or names");

	if (rc < 0)
		return rc;
	json_object_foreach (labels, name, value) {
		struct fg_store_label l = { uuid, name, json_string_value(value), who, fg_now_ms() };
		rc = fg_store_label(api->store, &l, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

int fg_api_labels(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err)
{
	struct fg_api *api = ctx;
	fg_autojson json_t *body = NULL;
	json_t *guests = NULL, *labels = NULL, *guest;
	size_t i;
	int rc = fg_api_body(req, &body, err);

	if (rc == 0)
		rc = fg_json_array(body, "guests", GUESTS_MAX, &guests, err);
	if (rc == 0)
		rc = fg_json_object(body, "labels", &labels, err);
	if (rc == 0)
		rc = labels_check(labels, err);
	if (rc == 0)
		rc = fg_store_begin(api->store, err);
	if (rc < 0)
		return rc;
	json_array_foreach (guests, i, guest) {
		rc = label_guest(api, json_string_value(guest), labels, req->peer.name, err);
		if (rc < 0)
			break;
	}
	rc = fg_store_end(api->store, rc, err);
	if (rc < 0)
		return rc;
	*answer = json_pack("{s:I}", "labelled", (json_int_t)json_array_size(guests));
	return 200;
}
