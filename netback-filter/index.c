/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "index.h"

#include <lib/util.h>

#include <string.h>

void fg_index_guest_name(char out[FG_CHAIN_NAME_MAX], const char *uuid, unsigned place)
{
	if (place)
		snprintf(out, FG_CHAIN_NAME_MAX, "guest-%.36s-%u", uuid, place);
	else
		snprintf(out, FG_CHAIN_NAME_MAX, "guest-%.36s", uuid);
}

void fg_index_dev_name(char out[FG_CHAIN_NAME_MAX], uint32_t ifindex)
{
	snprintf(out, FG_CHAIN_NAME_MAX, "dev-%u", ifindex);
}

bool fg_index_devices(const char *comment, struct fg_index_device out[FG_INDEX_ROOM], size_t *n, bool *more)
{
	const char *at = comment + strlen("devices");
	char number[11];
	int used = 0;

	*n = 0;
	*more = false;
	if (strncmp(comment, "devices ", strlen("devices ")) != 0)
		return false;
	while (*n < FG_INDEX_ROOM && sscanf(at, " %10[0-9] %15s%n", number, out[*n].label, &used) == 2) {
		out[(*n)++].ifindex = (uint32_t)strtoul(number, NULL, 10);
		at += used;
	}
	*more = strcmp(at, " more") == 0;
	return *n > 0 && (*more || *at == '\0');
}

/* Whom it is about: by the name where it names a guest, else by the comment. */
static void parse_uuid(struct fg_index_entry *e)
{
	char text[37];

	if (sscanf(e->name, "guest-%36s", text) != 1 && sscanf(e->comment, "guest %36s", text) != 1)
		return;
	if (fg_uuid_parse(text, e->uuid, NULL) < 0)
		e->uuid[0] = '\0';
}

bool fg_index_parse(const char *name, const char *comment, struct fg_index_entry *out)
{
	char again[FG_CHAIN_COMMENT_MAX];

	if (strcmp(name, FG_INDEX_COUNT) != 0 && strncmp(name, "guest-", 6) != 0 && strncmp(name, "dev-", 4) != 0)
		return false;
	memset(out, 0, sizeof(*out));
	snprintf(out->name, sizeof(out->name), "%s", name);
	snprintf(out->comment, sizeof(out->comment), "%s", comment);
	if (strcmp(name, FG_INDEX_COUNT) != 0) {
		parse_uuid(out);
	} else {
		out->chains = (uint32_t)strtoul(comment, NULL, 10);
		snprintf(again, sizeof(again), "%u chains", out->chains);
		if (strcmp(again, comment) != 0)
			out->chains = 0;
	}
	return true;
}

static struct fg_index_entry *want(struct fg_index *ix, const char *uuid)
{
	if (ix->n == ix->cap) {
		ix->cap = ix->cap ? 2 * ix->cap : 16;
		ix->wanted = reallocarray(ix->wanted, ix->cap, sizeof(*ix->wanted));
		if (!ix->wanted)
			abort();
	}
	struct fg_index_entry *e = &ix->wanted[ix->n++];
	memset(e, 0, sizeof(*e));
	snprintf(e->uuid, sizeof(e->uuid), "%s", uuid);
	return e;
}

/* The devices of one guest, one after the other. */
struct naming {
	struct fg_index *ix;
	const char *uuid;
	struct fg_index_device last;
	size_t n; /* of all comments */
	size_t entry; /* the one that is being written */
};

static void name_device(struct naming *s, uint32_t ifindex, const char *label, bool hooked)
{
	struct fg_index_entry *e;

	if (hooked) {
		e = want(s->ix, s->uuid);
		fg_index_dev_name(e->name, ifindex);
		snprintf(e->comment, sizeof(e->comment), "guest %s", s->uuid);
	}
	if (s->n && s->last.ifindex == ifindex && strcmp(s->last.label, label) == 0)
		return;
	if (s->n % FG_INDEX_ROOM == 0) {
		if (s->n) {
			e = &s->ix->wanted[s->entry];
			size_t len = strlen(e->comment);
			snprintf(e->comment + len, sizeof(e->comment) - len, " more");
		}
		e = want(s->ix, s->uuid);
		fg_index_guest_name(e->name, s->uuid, (unsigned)(s->n / FG_INDEX_ROOM));
		snprintf(e->comment, sizeof(e->comment), "devices");
		s->entry = s->ix->n - 1;
	}
	e = &s->ix->wanted[s->entry];
	size_t len = strlen(e->comment);
	snprintf(e->comment + len, sizeof(e->comment) - len, " %u %s", ifindex, label);
	s->last.ifindex = ifindex;
	snprintf(s->last.label, sizeof(s->last.label), "%s", label);
	s->n++;
}

void fg_index_targets(struct fg_index *ix, const char *uuid, const struct fg_target *targets, size_t n)
{
	struct naming s = { .ix = ix, .uuid = uuid };

	for (size_t i = 0; i < n; i++)
		for (int dir = 0; dir < FG_DIR_COUNT; dir++)
			name_device(&s, targets[i].ifindex, targets[i].label[dir], true);
}

static int compare_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool among(const char *uuid, const char *const *uuids, size_t n)
{
	return n && bsearch(&uuid, uuids, n, sizeof(*uuids), compare_text);
}

/* What the chains of the guests say that the transaction leaves alone. */
static void want_others(struct fg_index *ix, const struct fg_held *held, const char *const *uuids, size_t n)
{
	struct naming s = { .ix = ix };

	for (size_t i = 0; i < held->n; i++) {
		const struct fg_held_chain *c = &held->chains[i];
		if (i == 0 || strcmp(c->uuid, c[-1].uuid) != 0)
			s = (struct naming){ .ix = ix, .uuid = c->uuid };
		if (!among(c->uuid, uuids, n))
			name_device(&s, c->ifindex, c->label, c->id == FG_CHAIN_BASE);
	}
}

static int compare_names(const void *a, const void *b)
{
	const struct fg_index_entry *x = a, *y = b;

	return strcmp(x->name, y->name);
}

static void make(struct fg_batch *b, const struct fg_index_entry *e)
{
	fg_plan_make_plain_chain(b, e->name, e->comment);
}

/* Both sorted by name: what is not wanted goes, what is not there or says something else is made. */
static void apply(struct fg_batch *b, const struct fg_held *held, struct fg_index *ix, const char *const *uuids,
		  size_t n)
{
	size_t i = 0;

	if (ix->n)
		qsort(ix->wanted, ix->n, sizeof(*ix->wanted), compare_names);
	for (size_t k = 0; k < ix->n || i < held->n_entries;) {
		const struct fg_index_entry *w = k < ix->n ? &ix->wanted[k] : NULL;
		const struct fg_index_entry *e = i < held->n_entries ? &held->entries[i] : NULL;
		int d = !w ? -1 : !e ? 1 : strcmp(e->name, w->name);
		bool ours = e && (!held->nft || among(e->uuid, uuids, n));
		if (w && k && strcmp(w->name, w[-1].name) == 0) { /* a device's two directions */
			k++;
			continue;
		}
		if ((d < 0 && ours) || (d == 0 && strcmp(e->comment, w->comment) != 0))
			fg_plan_delete_chain(b, e->name);
		if (d > 0 || (d == 0 && strcmp(e->comment, w->comment) != 0))
			make(b, w);
		i += d <= 0;
		k += d >= 0;
	}
}

void fg_index_plan(struct fg_batch *b, const struct fg_held *held, struct fg_index *ix, const char *const *uuids,
		   size_t n)
{
	struct fg_index_entry index = { .name = FG_INDEX_COUNT };

	if (!held->nft)
		want_others(ix, held, uuids, n);
	apply(b, held, ix, uuids, n);
	/* Only ours are counted: while anything else is in the table the count is never the kernel's. */
	size_t now = held->nft ? held->use : held->n + held->n_entries + held->counted;
	index.chains = (uint32_t)((long)now + b->chains + !held->counted);
	if (held->counted && held->count == index.chains)
		return;
	snprintf(index.comment, sizeof(index.comment), "%u chains", index.chains);
	if (held->counted)
		fg_plan_delete_chain(b, FG_INDEX_COUNT);
	make(b, &index);
}

void fg_index_free(struct fg_index *ix)
{
	free(ix->wanted);
	memset(ix, 0, sizeof(*ix));
}

void fg_index_count(const struct fg_held *held, const char *const *uuids, size_t n, size_t *theirs, size_t *others)
{
	size_t n_held, entries = 0, ours = held->counted;

	*theirs = 0;
	for (size_t i = 0; i < n; i++) {
		fg_held_guest(held, uuids[i], &n_held);
		*theirs += n_held;
	}
	for (size_t i = 0; i < held->n_entries; i++)
		entries += among(held->entries[i].uuid, uuids, n);
	ours += *theirs + (held->nft ? entries : held->n_entries);
	*theirs += entries;
	*others = held->use > ours ? held->use - ours : 0;
}
