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
};

static int on_chain(const json_t *list, void *arg, struct fg_error *err)
{
	struct verify *v = arg;
	json_t *item;
	size_t i;

	json_array_foreach (list, i, item) {
		struct fg_store_audit entry = { .n = fg_print_int(item, "n"),
						.at_ms = fg_print_int(item, "at_ms"),
						.who = fg_print_text(item, "who"),
						.what = fg_print_text(item, "what"),
						.detail = fg_print_text(item, "detail"),
						.hash = fg_print_text(item, "hash") };
		int rc = fg_audit_chain_next(&v->chain, &entry, err);
		if (rc < 0)
			return rc;
		if (entry.n != v->noted)
			continue;
		if (strcmp(v->noted_hash, v->chain.hash) != 0)
			return fg_error_set(err, FG_EDIFFERS,
					    "the audit log was changed: entry %" PRId64
					    " had the hash %s, now it has %s",
					    entry.n, v->noted_hash, v->chain.hash);
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
	int rc = fg_admin_each_page(a, "/v1/audit", "entries", NULL, on_chain, &v, err);
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
