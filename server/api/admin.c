/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What administrators ask: fixes, offers, the audit log. */
#include "api.h"
#include "check.h"

#include <string.h>

#define OFFER_GUESTS_MAX 10000
#define PAGE_MAX 1000

/* One page of an answer. */
struct page {
	json_t *list;
	int64_t last;
	size_t n; /* rows read */
	bool broken; /* one of them could not be given out: better no answer than one without it */
};

static void page_add(struct page *page, int64_t number, json_t *item)
{
	page->last = number;
	page->n++;
	if (!item || json_array_append_new(page->list, item) < 0)
		page->broken = true;
}

static int page_end(const struct page *page, struct fg_error *err)
{
	return page->broken ? fg_error_set(err, FG_EBUG, "a row near %" PRId64 " is no JSON", page->last) : 0;
}

/* ---- GET /v1/fixes ---- */

static void add_fix(const struct fg_store_fix *f, void *arg)
{
	char published[21], expires[21];
	json_t *clients = json_object();

	for (unsigned i = 0; i < FG_STATUS_COUNT; i++)
		if (f->clients[i])
			json_object_set_new(clients, fg_status_name((enum fg_status)i), json_integer(f->clients[i]));

	fg_time_format(f->published_s, published);
	fg_time_format(f->expires_s, expires);
	page_add(arg, 0,
		 json_pack("{s:s, s:I, s:s, s:s, s:s, s:I, s:s, s:s, s:I, s:I, s:o}", "fix", f->id, "version",
			   (json_int_t)f->version, "title", f->title, "severity", f->severity, "digest", f->digest,
			   "bytes", (json_int_t)f->bytes, "published", published, "expires", expires, "added_ms",
			   (json_int_t)f->added_ms, "offered", (json_int_t)f->offered, "clients", clients));
}

int fg_api_fixes(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err)
{
	struct fg_api *api = ctx;
	fg_autojson json_t *list = json_array();
	struct page page = { .list = list };
	int rc = fg_store_fixes(api->store, add_fix, &page, err);

	(void)req;
	if (rc == 0)
		rc = page_end(&page, err);
	if (rc < 0)
		return rc;
	*answer = json_pack("{s:O}", "fixes", list);
	return 200;
}

/* ---- POST /v1/offers ---- */

struct offering {
	json_int_t offered;
	json_t *skipped;
	json_t *hosts; /* object: its keys are those to wake */
};

static void on_skipped(const char *guest, const char *reason, enum fg_error_code code, void *arg)
{
	struct offering *o = arg;

	json_array_append_new(o->skipped, json_pack("{s:s, s:s, s:s}", "guest", guest, "code", fg_error_name(code),
						    "reason", reason));
}

static void on_offered(const char *guest, const char *host, void *arg)
{
	struct offering *o = arg;

	(void)guest;
	o->offered++;
	json_object_set_new(o->hosts, host, json_true());
}

/* guests: malloc'd array of borrowed strings, NULL for "all". */
static int offer_read(const json_t *body, struct fg_store_offer_request *r, const char ***guests, struct fg_error *err)
{
	bool all = false;
	json_t *list = NULL, *item;
	size_t i;
	int rc = fg_json_string(body, "fix", &r->fix, err);

	if (rc == 0)
		rc = fg_check_fix_id(r->fix, err);
	if (rc == 0)
		rc = fg_json_int_opt(body, "version", 0, INT64_MAX, 0, &r->version, err);
	if (rc == 0)
		rc = fg_json_bool_opt(body, "all", false, &all, err);
	if (rc == 0)
		rc = fg_json_bool_opt(body, "force", false, &r->force, err);
	if (rc == 0 && all == !!json_object_get(body, "guests"))
		rc = fg_error_set(err, FG_EFORMAT, "either \"guests\" or \"all\":true");
	if (rc < 0 || all)
		return rc;
	rc = fg_json_array(body, "guests", OFFER_GUESTS_MAX, &list, err);
	if (rc < 0)
		return rc;
	json_array_foreach (list, i, item) {
		const char *name = json_string_value(item);
		rc = name ? fg_check_text("guest", name, FG_NAME_MAX, err)
			  : fg_error_set(err, FG_EFORMAT, "\"guests\" is a list of UUIDs or names");
		if (rc < 0)
			return rc;
	}
	const char **names = fg_calloc(json_array_size(list) + 1, sizeof(*names));
	json_array_foreach (list, i, item) {
		names[i] = json_string_value(item);
	}
	r->n_guests = json_array_size(list);
	r->guests = *guests = names;
	return 0;
}

int fg_api_offer(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err)
{
	struct fg_api *api = ctx;
	fg_autojson json_t *body = NULL;
	fg_autojson json_t *skipped = json_array();
	fg_autojson json_t *hosts = json_object();
	struct offering o = { 0, skipped, hosts };
	struct fg_store_offer_request r = {
		.who = req->peer.name, .now_ms = fg_now_ms(), .skipped = on_skipped, .offered = on_offered, .arg = &o
	};
	const char **guests = NULL;
	const char *host;
	json_t *unused;
	int rc = fg_api_body(req, &body, err);

	if (rc == 0)
		rc = offer_read(body, &r, &guests, err);
	if (rc == 0)
		rc = fg_store_offer(api->store, &r, err);
	free(guests);
	if (rc < 0)
		return rc;
	json_object_foreach (hosts, host, unused) {
		fg_poll_wake(api->poll, host);
	}
	*answer = json_pack("{s:I, s:O}", "offered", o.offered, "skipped", skipped);
	return 200;
}

/* ---- GET /v1/offers as administrator ---- */

static void add_offer(const struct fg_store_offer *o, void *arg)
{
	page_add(arg, o->seq,
		 json_pack("{s:I, s:s, s:s, s:s, s:s, s:I, s:s, s:s, s:I, s:b}", "seq", (json_int_t)o->seq, "guest",
			   o->guest, "name", o->name, "host", o->host, "fix", o->fix, "version", (json_int_t)o->version,
			   "digest", o->digest, "by", o->who, "at_ms", (json_int_t)o->at_ms, "force", (int)o->force));
}

int fg_api_offers_all(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err)
{
	struct fg_api *api = ctx;
	fg_autojson json_t *list = json_array();
	struct page page = { .list = list };
	int64_t after = 0;
	int rc = fg_request_query_int(req, "after", 0, INT64_MAX, 0, &after, err);

	if (rc == 0)
		rc = fg_store_offers(api->store, after, PAGE_MAX, add_offer, &page, err);
	if (rc == 0)
		rc = page_end(&page, err);
	if (rc < 0)
		return rc;
	*answer = json_pack("{s:O}", "offers", list);
	if (page.n == PAGE_MAX)
		json_object_set_new(*answer, "next", json_integer(page.last));
	return 200;
}

/* ---- GET /v1/audit ---- */

/* What is no UTF-8 comes readable, and exactly in hex beside it: the hash was made of these bytes. */
static void set_text(json_t *entry, const char *key, const char *hex_key, const char *text)
{
	json_t *value = json_string(text);

	if (!value) {
		fg_autofree char *clean = fg_strdup(text);
		fg_autofree char *hex = fg_calloc(2 * strlen(text) + 1, 1);
		fg_utf8_clean(clean);
		fg_hex_encode(text, strlen(text), hex);
		value = json_string(clean);
		json_object_set_new(entry, hex_key, json_string(hex));
	}
	json_object_set_new(entry, key, value);
}

static void add_entry(const struct fg_store_audit *e, void *arg)
{
	json_t *entry = json_pack("{s:I, s:I}", "n", (json_int_t)e->n, "at_ms", (json_int_t)e->at_ms);

	set_text(entry, "who", "who_hex", e->who);
	set_text(entry, "what", "what_hex", e->what);
	set_text(entry, "detail", "detail_hex", e->detail);
	set_text(entry, "hash", "hash_hex", e->hash);
	page_add(arg, e->n, entry);
}

int fg_api_audit(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err)
{
	struct fg_api *api = ctx;
	fg_autojson json_t *list = json_array();
	struct page page = { .list = list };
	int64_t after = 0, newest = 0;
	int rc = fg_request_query_int(req, "after", 0, INT64_MAX, 0, &after, err);

	/* Before the entries: others may add some meanwhile. */
	if (rc == 0)
		rc = fg_store_audit_newest(api->store, &newest, err);
	if (rc == 0)
		rc = fg_store_audit_after(api->store, after, PAGE_MAX / 2, add_entry, &page, err);
	if (rc == 0)
		rc = page_end(&page, err);
	if (rc < 0)
		return rc;
	*answer = json_pack("{s:O, s:I}", "entries", list, "newest", (json_int_t)newest);
	if (page.n == PAGE_MAX / 2)
		json_object_set_new(*answer, "next", json_integer(page.last));
	return 200;
}
