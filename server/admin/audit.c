/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The audit log: printed, verified. */
#include "print.h"
#include "verbs.h"

#include <inttypes.h>
#include <lib/util.h>
#include <server/store/store.h>
#include <string.h>

#define ENTRY_KEYS "n,at_ms,who,what,detail,hash"

struct listing {
	const struct fg_admin_options *options;
	json_t *all;
};

static int on_entries(const json_t *list, void *arg, struct fg_error *err)
{
	const struct listing *l = arg;
	json_t *entry;
	size_t i;

	(void)err;
	json_array_foreach (list, i, entry) {
		if (l->options->json) {
			json_array_append(l->all, entry);
		} else if (l->options->csv) {
			fg_print_csv(ENTRY_KEYS, entry);
		} else {
			printf("%" JSON_INTEGER_FORMAT "  ", fg_print_int(entry, "n"));
			fg_print_time(entry, "at_ms");
			printf("  %s  %s  %s\n", fg_print_text(entry, "who"), fg_print_text(entry, "what"),
			       fg_print_text(entry, "detail"));
		}
	}
	return 0;
}

int fg_admin_audit(struct fg_admin *a, const struct fg_admin_options *o, struct fg_error *err)
{
	fg_autojson json_t *all = json_array();
	struct listing l = { o, all };

	if (o->csv && !o->json)
		fg_print_csv_head(ENTRY_KEYS);
	int rc = fg_admin_each_page(a, "/v1/audit", "entries", NULL, on_entries, &l, err);
	if (rc == 0 && o->json)
		fg_print_list("entries", all);
	return rc;
}

/* ---- verify ---- */

struct verify {
	struct fg_audit_chain chain;
	int64_t noted; /* 0: none */
	const char *noted_hash;
	bool seen;
	int64_t newest; /* as the last page says */
};

/* The exact bytes of a text: those that are no UTF-8 come in hex.  malloc'd. */
static int exact(const json_t *entry, const char *key, const char *hex_key, char **out, struct fg_error *err)
{
	const char *hex = json_string_value(json_object_get(entry, hex_key));
	size_t len = hex ? strlen(hex) / 2 : 0;

	if (!hex) {
		*out = fg_strdup(fg_print_text(entry, key));
		return 0;
	}
	fg_autofree char *text = fg_calloc(len + 1, 1);
	int rc = fg_hex_decode(hex, text, len, err);
	if (rc == 0)
		*out = FG_TAKE(text);
	return rc;
}

static int chain_next(struct fg_audit_chain *chain, const json_t *item, struct fg_error *err)
{
	fg_autofree char *who = NULL, *what = NULL, *detail = NULL;
	int rc = exact(item, "who", "who_hex", &who, err);

	if (rc == 0)
		rc = exact(item, "what", "what_hex", &what, err);
	if (rc == 0)
		rc = exact(item, "detail", "detail_hex", &detail, err);
	if (rc < 0)
		return rc;
	struct fg_store_audit entry = { .n = fg_print_int(item, "n"),
					.at_ms = fg_print_int(item, "at_ms"),
					.who = who,
					.what = what,
					.detail = detail,
					.hash = fg_print_text(item, "hash") };
	return fg_audit_chain_next(chain, &entry, err);
}

static int on_chain(const json_t *answer, void *arg, struct fg_error *err)
{
	struct verify *v = arg;
	json_t *item, *list = NULL;
	size_t i;
	int rc = fg_json_array(answer, "entries", SIZE_MAX, &list, err);

	if (rc == 0)
		rc = fg_json_int(answer, "newest", 0, INT64_MAX, &v->newest, err);
	if (rc < 0)
		return rc;
	json_array_foreach (list, i, item) {
		rc = chain_next(&v->chain, item, err);
		if (rc < 0)
			return rc;
		if (v->chain.n != v->noted)
			continue;
		if (strcmp(v->noted_hash, v->chain.hash) != 0)
			return fg_error_set(err, FG_EDIFFERS,
					    "the audit log was changed: entry %" PRId64
					    " had the hash %s, now it has %s",
					    v->chain.n, v->noted_hash, v->chain.hash);
		v->seen = true;
	}
	return 0;
}

int fg_admin_audit_verify(struct fg_admin *a, const struct fg_admin_options *o, struct fg_error *err)
{
	struct verify v = { .noted = 0 };
	char *end = NULL;

	fg_audit_chain_init(&v.chain);
	if (o->noted) {
		v.noted = strtoll(o->noted, &end, 10);
		if (v.noted < 1 || *end != ':' || strlen(end + 1) != 64)
			return fg_error_set(err, FG_EUSAGE, "--noted N:HASH, as verify printed it");
		v.noted_hash = end + 1;
	}
	int rc = fg_admin_each_page(a, "/v1/audit", NULL, NULL, on_chain, &v, err);
	if (rc == 0)
		rc = fg_audit_chain_end(&v.chain, v.newest, err);
	if (rc < 0)
		return rc;
	if (v.noted && !v.seen)
		return fg_error_set(err, FG_EDIFFERS, "the log was cut off: entry %" PRId64 " is missing", v.noted);
	if (o->json)
		printf("{\"entries\":%" PRId64 ",\"hash\":\"%s\"}\n", v.chain.n, v.chain.hash);
	else
		printf("%" PRId64 " entries, the last hash is %s\n", v.chain.n, v.chain.hash);
	return 0;
}
