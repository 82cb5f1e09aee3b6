/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "rpmhdr.h"

#include <lib/util.h>

#include <inttypes.h>
#include <string.h>

#define INTRO_BYTES 8u
#define ENTRY_BYTES 16u

/* rpm/rpmtag.h */
enum { TAG_NAME = 1000, TAG_VERSION = 1001, TAG_RELEASE = 1002, TAG_EPOCH = 1003 };
enum { TYPE_INT32 = 4, TYPE_STRING = 6 };

struct entry {
	uint32_t tag, type, offset, count;
};

/* The entries that are looked at; tag 0: not there. */
struct wanted {
	struct entry name, version, release, epoch;
};

struct header {
	const struct fg_rpmhdr_source *source;
	uint64_t data; /* offset of the data */
	uint32_t il, dl;
};

static uint32_t be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static int read_at(const struct header *h, uint64_t offset, void *out, size_t len, struct fg_error *err)
{
	if (offset > h->source->bytes || len > h->source->bytes - offset)
		return fg_error_set(err, FG_EFORMAT, "it is too short");
	return h->source->read(h->source->arg, offset, out, len, err);
}

static int read_intro(struct header *h, struct fg_error *err)
{
	uint8_t intro[INTRO_BYTES];
	int rc = read_at(h, 0, intro, sizeof(intro), err);

	if (rc < 0)
		return rc;
	h->il = be32(intro);
	h->dl = be32(intro + 4);
	if (h->il < 1)
		return fg_error_set(err, FG_EFORMAT, "it has no tags");
	if (h->il > FG_RPMHDR_TAGS_MAX)
		return fg_error_set(err, FG_ELIMIT, "it has %" PRIu32 " tags", h->il);
	if (h->dl > FG_RPMHDR_DATA_MAX)
		return fg_error_set(err, FG_ELIMIT, "it has %" PRIu32 " bytes of data", h->dl);
	h->data = INTRO_BYTES + (uint64_t)h->il * ENTRY_BYTES;
	if (h->data + h->dl != h->source->bytes)
		return fg_error_set(err, FG_EFORMAT, "its lengths contradict each other");
	return 0;
}

static struct entry *slot(struct wanted *w, uint32_t tag)
{
	switch (tag) {
	case TAG_NAME:
		return &w->name;
	case TAG_VERSION:
		return &w->version;
	case TAG_RELEASE:
		return &w->release;
	case TAG_EPOCH:
		return &w->epoch;
	default:
		return NULL;
	}
}

/* Of a tag that were there twice nobody could say which one rpm believes. */
static int find_entries(const struct header *h, struct wanted *w, struct fg_error *err)
{
	size_t len = (size_t)h->il * ENTRY_BYTES;
	fg_autofree uint8_t *index = fg_calloc(len, 1);
	int rc = read_at(h, INTRO_BYTES, index, len, err);

	if (rc < 0)
		return rc;
	for (const uint8_t *p = index; p < index + len; p += ENTRY_BYTES) {
		struct entry *e = slot(w, be32(p));
		if (!e)
			continue;
		if (e->tag)
			return fg_error_set(err, FG_EFORMAT, "tag %" PRIu32 " is there twice", e->tag);
		*e = (struct entry){ be32(p), be32(p + 4), be32(p + 8), be32(p + 12) };
		if (e->type != (e->tag == TAG_EPOCH ? TYPE_INT32 : TYPE_STRING) || e->count != 1)
			return fg_error_set(err, FG_EFORMAT, "tag %" PRIu32 " has another type", e->tag);
		if (e->offset >= h->dl)
			return fg_error_set(err, FG_EFORMAT, "tag %" PRIu32 " is outside the data", e->tag);
	}
	return 0;
}

/* forbidden: characters that would make the joined version mean something else; rpm has none of them in these tags. */
static int read_text(const struct header *h, const struct entry *e, const char *forbidden, char **out,
		     struct fg_error *err)
{
	char text[FG_RPMHDR_TEXT_MAX + 1];
	size_t len = h->dl - e->offset < sizeof(text) ? h->dl - e->offset : sizeof(text);

	if (!e->tag)
		return fg_error_set(err, FG_EFORMAT, "name, version or release is missing");
	int rc = read_at(h, h->data + e->offset, text, len, err);
	if (rc < 0)
		return rc;
	if (!memchr(text, '\0', len))
		return fg_error_set(err, len < sizeof(text) ? FG_EFORMAT : FG_ELIMIT, "tag %" PRIu32 " does not end",
				    e->tag);
	if (!*text || strpbrk(text, forbidden))
		return fg_error_set(err, FG_EFORMAT, "tag %" PRIu32 " is none that rpm makes", e->tag);
	*out = fg_strdup(text);
	return 0;
}

static int read_epoch(const struct header *h, const struct entry *e, char out[12], struct fg_error *err)
{
	uint8_t number[4];

	out[0] = '\0';
	if (!e->tag)
		return 0;
	int rc = read_at(h, h->data + e->offset, number, sizeof(number), err);
	if (rc == 0)
		snprintf(out, 12, "%" PRIu32 ":", be32(number));
	return rc;
}

int fg_rpmhdr_read(const struct fg_rpmhdr_source *source, struct fg_rpm_package *out, struct fg_error *err)
{
	struct header h = { .source = source };
	struct wanted w = { 0 };
	fg_autofree char *name = NULL, *version = NULL, *release = NULL;
	char epoch[12];
	int rc;

	if ((rc = read_intro(&h, err)) < 0 || (rc = find_entries(&h, &w, err)) < 0 ||
	    (rc = read_text(&h, &w.name, "", &name, err)) < 0 ||
	    (rc = read_text(&h, &w.version, "-:", &version, err)) < 0 ||
	    (rc = read_text(&h, &w.release, "-:", &release, err)) < 0 ||
	    (rc = read_epoch(&h, &w.epoch, epoch, err)) < 0)
		return rc;
	out->evr = fg_asprintf("%s%s-%s", epoch, version, release);
	out->name = FG_TAKE(name);
	return 0;
}

void fg_rpm_package_release(struct fg_rpm_package *p)
{
	free(p->name);
	free(p->evr);
	*p = (struct fg_rpm_package){ NULL, NULL };
}
