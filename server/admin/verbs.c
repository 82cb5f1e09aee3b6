/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "verbs.h"

#include <inttypes.h>
#include <lib/util.h>
#include <server/store/store.h>
#include <string.h>

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "-";
}

static json_int_t int_of(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

/* {"key":[…]} */
static void print_list(const char *key, json_t *list)
{
	fg_autojson json_t *whole = json_pack("{s:O}", key, list);
	fg_autofree char *text = fg_json_dump(whole);

	puts(text);
}

static void print_time(const json_t *object, const char *key)
{
	char text[21];

	fg_time_format(int_of(object, key) / 1000, text);
	printf("%s", text);
}

/* ---- offer ---- */

static int offer_answer(const json_t *answer, bool json, struct fg_error *err)
{
	fg_autofree char *text = json ? fg_json_dump(answer) : NULL;
	const json_t *item;
	size_t i;
	int rc = 0;

	if (json)
		puts(text);
	else
		printf("offered to %" JSON_INTEGER_FORMAT "\n", int_of(answer, "offered"));
	json_array_foreach (json_object_get(answer, "skipped"), i, item) {
		if (!json)
			printf("skipped %s: %s\n", text_of(item, "guest"), text_of(item, "reason"));
		if (rc == 0 && !strcmp(text_of(item, "code"), fg_error_name(FG_ENOTFOUND)))
			rc = fg_error_set(err, FG_ENOTFOUND, "%s: %s", text_of(item, "guest"), text_of(item, "reason"));
	}
	return rc;
}

int fg_admin_offer(struct fg_admin *a, const struct fg_admin_options *o, struct fg_error *err)
{
	fg_autojson json_t *body = json_pack("{s:s}", "fix", o->fix), *answer = NULL;
	json_t *guests = json_array();

	for (size_t i = 0; i < o->n_guests; i++)
		json_array_append_new(guests, json_string(o->guests[i]));
	if (o->all) {
		json_object_set_new(body, "all", json_true());
		json_decref(guests);
	} else {
		json_object_set_new(body, "guests", guests);
	}
	if (o->version)
		json_object_set_new(body, "version", json_integer(o->version));
	if (o->force)
		json_object_set_new(body, "force", json_true());
	int rc = fg_admin_call(a, "POST", "/v1/offers", body, &answer, err);
	return rc < 0 ? rc : offer_answer(answer, o->json, err);
}

/* ---- lists ---- */

static void print_client(const json_t *client)
{
	const char *id;
	json_t *fix, *fixes = json_object_get(client, "fixes");

	printf("%s  %s  host %s  %s%s\n", text_of(client, "uuid"), text_of(client, "name"), text_of(client, "host"),
	       text_of(client, "state"), json_is_false(json_object_get(client, "present")) ? "  (gone)" : "");
	json_object_foreach (fixes, id, fix) {
		const char *state = json_string_value(json_object_get(fix, "state"));
		const char *reason = json_string_value(json_object_get(fix, "reason"));
		printf("    %s version %" JSON_INTEGER_FORMAT "  %s", id, int_of(fix, "version"),
		       text_of(fix, "status"));
		if (state && strcmp(state, text_of(fix, "status")) != 0)
			printf(" (%s)", state);
		printf("  ");
		print_time(fix, "at_ms");
		printf("%s%s\n", reason ? "  " : "", reason ? reason : "");
	}
}

int fg_admin_clients(struct fg_admin *a, const struct fg_admin_options *o, struct fg_error *err)
{
	fg_autojson json_t *list = NULL;
	const json_t *client;
	size_t i;
	int rc = fg_admin_pages(a, "/v1/clients", "clients", &list, err);

	if (rc < 0)
		return rc;
	if (o->json) {
		print_list("clients", list);
		return 0;
	}
	json_array_foreach (list, i, client) {
		print_client(client);
	}
	return 0;
}

int fg_admin_fixes(struct fg_admin *a, const struct fg_admin_options *o, struct fg_error *err)
{
	fg_autojson json_t *list = NULL;
	const json_t *fix;
	size_t i;
	int rc = fg_admin_pages(a, "/v1/fixes", "fixes", &list, err);

	if (rc < 0)
		return rc;
	if (o->json) {
		print_list("fixes", list);
		return 0;
	}
	json_array_foreach (list, i, fix) {
		printf("%s version %" JSON_INTEGER_FORMAT "  %s  expires %s  open offers %" JSON_INTEGER_FORMAT
		       "  %s\n",
		       text_of(fix, "fix"), int_of(fix, "version"), text_of(fix, "severity"), text_of(fix, "expires"),
		       int_of(fix, "offered"), text_of(fix, "title"));
	}
	return 0;
}

int fg_admin_offers(struct fg_admin *a, const struct fg_admin_options *o, struct fg_error *err)
{
	fg_autojson json_t *list = NULL;
	const json_t *offer;
	size_t i;
	int rc = fg_admin_pages(a, "/v1/offers", "offers", &list, err);

	if (rc < 0)
		return rc;
	if (o->json) {
		print_list("offers", list);
		return 0;
	}
	json_array_foreach (list, i, offer) {
		printf("%" JSON_INTEGER_FORMAT "  ", int_of(offer, "seq"));
		print_time(offer, "at_ms");
		printf("  %s version %" JSON_INTEGER_FORMAT "  %s  %s  host %s  by %s%s\n", text_of(offer, "fix"),
		       int_of(offer, "version"), text_of(offer, "guest"), text_of(offer, "name"),
		       text_of(offer, "host"), text_of(offer, "by"),
		       json_is_true(json_object_get(offer, "force")) ? "  forced" : "");
	}
	return 0;
}

/* ---- audit ---- */

int fg_admin_audit(struct fg_admin *a, const struct fg_admin_options *o, struct fg_error *err)
{
	fg_autojson json_t *list = NULL;
	const json_t *entry;
	size_t i;
	int rc = fg_admin_pages(a, "/v1/audit", "entries", &list, err);

	if (rc < 0)
		return rc;
	if (o->json) {
		print_list("entries", list);
		return 0;
	}
	json_array_foreach (list, i, entry) {
		printf("%" JSON_INTEGER_FORMAT "  ", int_of(entry, "n"));
		print_time(entry, "at_ms");
		printf("  %s  %s  %s\n", text_of(entry, "who"), text_of(entry, "what"), text_of(entry, "detail"));
	}
	return 0;
}

int fg_admin_audit_verify(struct fg_admin *a, const struct fg_admin_options *o, struct fg_error *err)
{
	char previous[65] = "0000000000000000000000000000000000000000000000000000000000000000", hash[65];
	fg_autojson json_t *list = NULL;
	const json_t *item;
	size_t i;
	int rc = fg_admin_pages(a, "/v1/audit", "entries", &list, err);

	if (rc < 0)
		return rc;
	json_array_foreach (list, i, item) {
		struct fg_store_audit entry = { .n = int_of(item, "n"),
						.at_ms = int_of(item, "at_ms"),
						.who = text_of(item, "who"),
						.what = text_of(item, "what"),
						.detail = text_of(item, "detail") };
		if (entry.n != (int64_t)i + 1)
			return fg_error_set(err, FG_EDIFFERS, "entry %zu is missing", i + 1);
		fg_audit_hash(previous, &entry, hash);
		if (strcmp(hash, text_of(item, "hash")) != 0)
			return fg_error_set(err, FG_EDIFFERS, "entry %" PRId64 " was changed", entry.n);
		memcpy(previous, hash, sizeof(previous));
	}
	if (o->json)
		printf("{\"entries\":%zu,\"hash\":\"%s\"}\n", json_array_size(list), previous);
	else
		printf("%zu entries, the last hash is %s\n", json_array_size(list), previous);
	return 0;
}
