/* SPDX-License-Identifier: GPL-3.0-or-later */
/* GET /v1/clients?after=<uuid>&limit=N: clients × fixes, a page at a time. */
#include "api.h"

#include <fixgate/protocol.h>
#include <string.h>

#define CLIENTS_DEFAULT 500
#define CLIENTS_MAX 1000
#define ROW_BYTES 320 /* of JSON around the strings of a row, at most */

struct page {
	json_t *list, *client, *fixes; /* the last client of the list; borrowed */
	char uuid[FG_UUID_TEXT];
	size_t limit, bytes;
	bool more;
};

static void set_text(json_t *object, const char *key, const char *value)
{
	json_object_set_new(object, key, value ? json_string(value) : json_null());
}

static void client_begin(struct page *page, const struct fg_store_client *row)
{
	json_t *nics = json_loads(row->nics, 0, NULL), *macs = json_array(), *nic;
	size_t i;

	json_array_foreach (nics, i, nic) {
		json_array_append(macs, json_object_get(nic, "mac"));
	}
	page->fixes = json_object();
	page->client = json_pack("{s:s, s:s, s:O?, s:o, s:s, s:s, s:s, s:b, s:I, s:I, s:o}", "uuid", row->uuid, "name",
				 row->name, "mac", json_array_get(macs, 0), "macs", macs, "host", row->host,
				 "toolstack", row->toolstack, "state", row->state, "present", (int)row->present,
				 "first_seen_ms", (json_int_t)row->first_seen_ms, "last_seen_ms",
				 (json_int_t)row->last_seen_ms, "fixes", page->fixes);
	if (!page->client)
		abort();
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

int fg_api_clients(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err)
{
	struct fg_api *api = ctx;
	const char *after = fg_request_query(req, "after");
	fg_autojson json_t *list = json_array();
	struct page page = { .list = list };
	int64_t limit = 0;
	int rc = fg_request_query_int(req, "limit", 1, CLIENTS_MAX, CLIENTS_DEFAULT, &limit, err);

	if (rc < 0)
		return rc;
	page.limit = (size_t)limit;
	rc = fg_store_clients(api->store, after ? after : "", on_row, &page, err);
	if (rc < 0)
		return rc;
	*answer = json_pack("{s:O}", "clients", list);
	if (page.more)
		json_object_set_new(*answer, "next", json_string(page.uuid));
	return 200;
}
