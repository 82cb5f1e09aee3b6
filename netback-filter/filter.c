/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "filter.h"

#include "index.h"
#include "link.h"

#include <lib/util.h>

#include <errno.h>
#include <linux/netlink.h>
#include <string.h>

#define TRANSACTION_TRIES 1000 /* as READ_TRIES in held.c */
#define GONE_TRIES 3

int fg_filter_open(struct fg_filter **out, struct fg_error *err)
{
	struct fg_filter *f = fg_calloc(1, sizeof(*f));
	int rc = fg_netlink_open(&f->nft, NETLINK_NETFILTER, err);

	if (rc == 0)
		rc = fg_netlink_open(&f->route, NETLINK_ROUTE, err);
	if (rc < 0) {
		fg_filter_close(f);
		return rc;
	}
	*out = f;
	return 0;
}

void fg_filter_close(struct fg_filter *f)
{
	if (!f)
		return;
	fg_netlink_close(&f->nft);
	fg_netlink_close(&f->route);
	free(f);
}

typedef int (*plan_fn)(struct fg_filter *f, struct fg_held *held, struct fg_batch *b, const void *request,
		       struct fg_error *err);

#define PLAN_AGAIN 1 /* of a plan_fn: this is but a step, commit it and plan again */

/* Read what there is of these guests (sorted), plan, commit; again if another program changed nf_tables in between. */
static int transact(struct fg_filter *f, plan_fn plan, const void *request, const char *const *uuids, size_t n,
		    struct fg_error *err)
{
	bool all = false;

	for (int i = 0; i < TRANSACTION_TRIES; i++) {
		struct fg_error failed = FG_ERROR_INIT;
		struct fg_held held;
		struct fg_batch b;
		uint32_t generation;
		bool stale = false;
		int rc = fg_held_read(&f->nft, all ? NULL : uuids, n, &held, &generation, err);
		if (rc < 0)
			return rc;
		fg_batch_init(&b, generation);
		rc = plan(f, &held, &b, request, &failed);
		bool again = rc == PLAN_AGAIN, refused = false;
		if (rc >= 0 && b.changes && !held.doubtful) {
			rc = fg_netlink_commit(&f->nft, &b, &stale, &failed);
			refused = rc < 0;
		}
		if (held.doubtful || (refused && held.nft)) { /* the index may be the fault: decide by all there is */
			all = again = true;
			rc = 0;
		}
		fg_batch_free(&b);
		fg_held_free(&held);
		if (rc < 0 && err && !err->code)
			*err = failed;
		if (rc < 0 || (!stale && !again))
			return rc;
	}
	return fg_error_set(err, FG_EUNREACHABLE, "other programs keep changing nf_tables");
}

struct isolate_request {
	const struct fg_filter_guest *guests;
	size_t n;
	const char *const *uuids; /* theirs, sorted */
	const char *also; /* a name the first device of the first guest is about to get, or NULL */
};

static int compare_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int refuse_twice(const char **texts, size_t n, const char *what, struct fg_error *err)
{
	qsort(texts, n, sizeof(texts[0]), compare_text);
	for (size_t i = 1; i < n; i++)
		if (strcmp(texts[i - 1], texts[i]) == 0)
			return fg_error_set(err, FG_EUSAGE, "%s %s is named twice", what, texts[i]);
	return 0;
}

/* Also fills in the UUIDs. */
static int check_request(struct isolate_request *r, const char **uuids, struct fg_error *err)
{
	size_t n_devs = 0, k = 0;

	if (r->n > FG_FILTER_GUESTS_MAX)
		return fg_error_set(err, FG_ELIMIT, "%zu guests in one request, at most %d are taken", r->n,
				    FG_FILTER_GUESTS_MAX);
	for (size_t i = 0; i < r->n; i++) {
		int rc = fg_filter_guest_check(&r->guests[i], err);
		if (rc < 0) {
			fg_error_wrap(err, "guest %.36s", r->guests[i].uuid);
			return rc;
		}
		n_devs += r->guests[i].n_devs;
	}
	fg_autofree const char **devs = fg_calloc(n_devs, sizeof(*devs));
	for (size_t i = 0; i < r->n; i++) {
		uuids[i] = r->guests[i].uuid;
		for (size_t d = 0; d < r->guests[i].n_devs; d++)
			devs[k++] = r->guests[i].devs[d].name;
	}
	r->uuids = uuids;
	int rc = refuse_twice(uuids, r->n, "guest", err);
	return rc < 0 ? rc : refuse_twice(devs, n_devs, "device", err);
}

static int plan_guests(struct fg_filter *f, struct fg_held *held, struct fg_batch *b, const struct isolate_request *r,
		       struct fg_index *index, struct fg_error *err)
{
	for (size_t i = 0; i < r->n; i++) {
		fg_autofree struct fg_target *targets = NULL;
		size_t n;
		int rc = fg_plan_targets(&f->route, held, &r->guests[i], i == 0 ? r->also : NULL, &targets, &n, err);
		if (rc < 0) {
			fg_error_wrap(err, "guest %s", r->guests[i].uuid);
			return rc;
		}
		if (held->dormant && fg_plan_hooks_go(held, &r->guests[i], targets, n)) {
			fg_batch_clear(b);
			fg_plan_wake(b);
			return PLAN_AGAIN;
		}
		fg_plan_isolate(b, held, &r->guests[i], targets, n);
		fg_index_targets(index, r->guests[i].uuid, targets, n);
		if (b->len > FG_BATCH_BYTES_MAX)
			return fg_error_set(err, FG_ELIMIT, "%zu guests make a transaction of over %d bytes", r->n,
					    FG_BATCH_BYTES_MAX);
	}
	return 0;
}

static int plan_isolate(struct fg_filter *f, struct fg_held *held, struct fg_batch *b, const void *request,
			struct fg_error *err)
{
	const struct isolate_request *r = request;
	struct fg_index index = { 0 };

	if (r->n == 0)
		return 0;
	if (!held->table)
		fg_plan_table(b);
	int rc = plan_guests(f, held, b, r, &index, err);
	if (rc == 0) {
		fg_index_plan(b, held, &index, r->uuids, r->n);
		if (held->dormant)
			fg_plan_wake(b);
	}
	fg_index_free(&index);
	return rc;
}

static bool one_is_gone(struct fg_filter *f, const struct isolate_request *r)
{
	struct fg_link link;

	for (size_t i = 0; i < r->n; i++)
		for (size_t d = 0; d < r->guests[i].n_devs; d++)
			if (fg_link_get(&f->route, r->guests[i].devs[d].name, &link, NULL) == -FG_ENOTFOUND)
				return true;
	return false;
}

/*
 * nf_tables says ENOENT of a device that is gone, and of an expression or a type of chain that it has no module for: the
 * first is no harm, the second leaves the guest open.  A device that is held but not named may have gone as well, or one
 * was renamed: hence more than one try.
 */
static int isolate(struct fg_filter *f, const struct isolate_request *r, struct fg_error *err)
{
	struct fg_error failed = FG_ERROR_INIT;
	int rc = 0;

	for (int i = 0; i < GONE_TRIES; i++) {
		failed = (struct fg_error)FG_ERROR_INIT;
		rc = transact(f, plan_isolate, r, r->uuids, r->n, &failed);
		if (rc != -FG_ENOTFOUND || one_is_gone(f, r))
			break;
		failed = (struct fg_error)FG_ERROR_INIT;
		rc = fg_error_errno(
			&failed, FG_EFAILED, ENOENT,
			"nf_tables transaction: the devices are there, so the kernel lacks a part of nf_tables");
	}
	if (rc < 0 && err && !err->code)
		*err = failed;
	return rc;
}

int fg_filter_isolate(struct fg_filter *f, const struct fg_filter_guest *guests, size_t n, struct fg_error *err)
{
	fg_autofree const char **uuids = fg_calloc(n, sizeof(*uuids));
	struct isolate_request r = { .guests = guests, .n = n };
	int rc = check_request(&r, uuids, err);

	return rc < 0 ? rc : isolate(f, &r, err);
}

int fg_filter_arm(struct fg_filter *f, const struct fg_filter_guest *guest, const char *also, struct fg_error *err)
{
	struct isolate_request r = { .guests = guest, .n = 1, .also = also };
	struct fg_error first = FG_ERROR_INIT;
	const char *uuid;
	int rc = check_request(&r, &uuid, err);

	if (rc < 0)
		return rc;
	rc = also ? transact(f, plan_isolate, &r, &uuid, 1, &first) : isolate(f, &r, &first);
	if (rc == -FG_ENOTFOUND && also) {
		/* Kernels before 6.16 know no hook for a device that is not there yet, and need none: the hook stays with
		 * the device over a rename. */
		r.also = NULL;
		return isolate(f, &r, err);
	}
	if (rc < 0 && err && !err->code)
		*err = first;
	return rc;
}

struct release_request {
	const char *const *uuids;
	size_t n;
};

static int plan_release(struct fg_filter *f, struct fg_held *held, struct fg_batch *b, const void *request,
			struct fg_error *err)
{
	const struct release_request *r = request;

	(void)f;
	(void)err;
	struct fg_index index = { 0 };
	size_t theirs, others;

	fg_index_count(held, r->uuids, r->n, &theirs, &others);
	if (theirs == 0)
		return 0;
	if (others == 0 && !held->foreign[0]) {
		fg_plan_delete_table(b);
		return 0;
	}
	fg_plan_release(b, held, r->uuids, r->n);
	fg_index_plan(b, held, &index, r->uuids, r->n);
	fg_index_free(&index);
	return 0;
}

int fg_filter_release(struct fg_filter *f, const char *const *uuids, size_t n, struct fg_error *err)
{
	fg_autofree char(*lower)[FG_UUID_TEXT] = fg_calloc(n, sizeof(*lower));
	fg_autofree const char **texts = fg_calloc(n, sizeof(*texts));
	struct release_request r = { texts, 0 };

	for (size_t i = 0; i < n; i++) {
		int rc = fg_uuid_parse(uuids[i], lower[i], err);
		if (rc < 0)
			return rc;
		texts[i] = lower[i];
	}
	qsort(texts, n, sizeof(texts[0]), compare_text);
	for (size_t i = 0; i < n; i++) /* each one once */
		if (r.n == 0 || strcmp(texts[r.n - 1], texts[i]) != 0)
			texts[r.n++] = texts[i];
	return transact(f, plan_release, &r, r.uuids, r.n, err);
}
