/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "print.h"
#include "verbs.h"

#include <inttypes.h>
#include <lib/util.h>
#include <server/store/ledger.h>
#include <string.h>

/* The clients in each status are columns of their own. */
#define STATUS_KEY(name, str) "," str
#define FIX_KEYS                                                                                                       \
	"fix,version,title,severity,digest,bytes,published,expires,added_ms,open_offers" FG_STATUS_LIST(STATUS_KEY)
#define OFFER_KEYS "seq,at_ms,fix,version,guest,name,host,by,force"

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
		printf("offered to %" JSON_INTEGER_FORMAT "\n", fg_print_int(answer, "offered"));
	json_array_foreach (json_object_get(answer, "skipped"), i, item) {
		if (!json)
			printf("skipped %s: %s\n", fg_print_text(item, "guest"), fg_print_text(item, "reason"));
		if (rc == 0 && !strcmp(fg_print_text(item, "code"), fg_error_name(FG_ENOTFOUND)))
			rc = fg_error_set(err, FG_ENOTFOUND, "%s: %s", fg_print_text(item, "guest"),
					  fg_print_text(item, "reason"));
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

static void csv_fixes(const json_t *list)
{
	json_t *fix;
	size_t i;

	fg_print_csv_head(FIX_KEYS);
	json_array_foreach (list, i, fix) {
		fg_autojson json_t *row = json_copy(fix);
		json_object_set(row, "open_offers", json_object_get(fix, "offered"));
		for (unsigned status = 0; status < FG_STATUS_COUNT; status++)
			json_object_set_new(row, fg_status_name((enum fg_status)status), json_integer(0));
		json_object_update(row, json_object_get(fix, "clients"));
		fg_print_csv(FIX_KEYS, row);
	}
}

static void csv_offers(const json_t *list)
{
	const json_t *offer;
	size_t i;

	fg_print_csv_head(OFFER_KEYS);
	json_array_foreach (list, i, offer) {
		fg_print_csv(OFFER_KEYS, offer);
	}
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
		fg_print_list("fixes", list);
		return 0;
	}
	if (o->csv) {
		csv_fixes(list);
		return 0;
	}
	json_array_foreach (list, i, fix) {
		printf("%s version %" JSON_INTEGER_FORMAT "  %s  expires %s  open offers %" JSON_INTEGER_FORMAT
		       "  %s\n",
		       fg_print_text(fix, "fix"), fg_print_int(fix, "version"), fg_print_text(fix, "severity"),
		       fg_print_text(fix, "expires"), fg_print_int(fix, "offered"), fg_print_text(fix, "title"));
		fg_print_counts("    clients:", json_object_get(fix, "clients"));
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
		fg_print_list("offers", list);
		return 0;
	}
	if (o->csv) {
		csv_offers(list);
		return 0;
	}
	json_array_foreach (list, i, offer) {
		printf("%" JSON_INTEGER_FORMAT "  ", fg_print_int(offer, "seq"));
		fg_print_time(offer, "at_ms");
		printf("  %s version %" JSON_INTEGER_FORMAT "  %s  %s  host %s  by %s%s\n", fg_print_text(offer, "fix"),
		       fg_print_int(offer, "version"), fg_print_text(offer, "guest"), fg_print_text(offer, "name"),
		       fg_print_text(offer, "host"), fg_print_text(offer, "by"),
		       json_is_true(json_object_get(offer, "force")) ? "  forced" : "");
	}
	return 0;
}
