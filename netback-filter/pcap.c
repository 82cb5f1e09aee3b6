/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "pcap.h"

#include <lib/util.h>

#include <byteswap.h>
#include <errno.h>
#include <string.h>

enum { MAGIC_MICRO = 0xa1b2c3d4U, MAGIC_NANO = 0xa1b23c4dU, MAGIC_NG = 0x0a0d0d0aU };
enum { FILE_HEAD = 24, FRAME_HEAD = 16, LINK_ETHERNET = 1 };

static uint32_t get32(const struct fg_pcap *p, const uint8_t *b)
{
	uint32_t v;

	memcpy(&v, b, sizeof(v));
	return p->swapped ? bswap_32(v) : v;
}

/* 1 = all of it, 0 = end of file before the first byte. */
static int read_all(struct fg_pcap *p, void *out, size_t len, const char *what, struct fg_error *err)
{
	size_t n = fread(out, 1, len, p->file);

	if (n == len)
		return 1;
	if (ferror(p->file))
		return fg_error_errno(err, FG_EIO, errno, "cannot read the capture");
	return n == 0 ? 0 : fg_error_set(err, FG_EFORMAT, "the capture ends inside %s", what);
}

/* Magic, version 2.4, and what is captured. */
static int check_head(struct fg_pcap *p, const uint8_t h[FILE_HEAD], struct fg_error *err)
{
	uint32_t magic;

	memcpy(&magic, h, sizeof(magic));
	p->swapped = magic == bswap_32(MAGIC_MICRO) || magic == bswap_32(MAGIC_NANO);
	if (p->swapped)
		magic = bswap_32(magic);
	p->nanoseconds = magic == MAGIC_NANO;
	if (magic == MAGIC_NG)
		return fg_error_set(err, FG_EFORMAT, "this is pcapng; convert it: tcpdump -r IN -w OUT");
	if (magic != MAGIC_MICRO && magic != MAGIC_NANO)
		return fg_error_set(err, FG_EFORMAT, "this is no pcap file");
	uint16_t major, minor;
	memcpy(&major, h + 4, sizeof(major));
	memcpy(&minor, h + 6, sizeof(minor));
	if (p->swapped) {
		major = bswap_16(major);
		minor = bswap_16(minor);
	}
	if (major != 2 || minor != 4)
		return fg_error_set(err, FG_EFORMAT, "pcap version %u.%u, not 2.4", major, minor);
	uint32_t link = get32(p, h + 20); /* upper bits: a frame check sequence is part of the frames */
	if (link != LINK_ETHERNET)
		return fg_error_set(err, FG_EFORMAT, "link type %#x, not Ethernet (1)", link);
	return 0;
}

int fg_pcap_open(struct fg_pcap *out, FILE *file, struct fg_error *err)
{
	struct fg_pcap p = { .file = file };
	uint8_t head[FILE_HEAD];
	int rc = read_all(&p, head, sizeof(head), "the file header", err);

	if (rc == 0)
		return fg_error_set(err, FG_EFORMAT, "the capture is empty");
	if (rc > 0)
		rc = check_head(&p, head, err);
	if (rc == 0)
		*out = p;
	return rc;
}

static void make_room(struct fg_pcap *p, size_t len)
{
	if (len <= p->cap)
		return;
	p->cap = len < 4096 ? 4096 : len;
	p->buf = realloc(p->buf, p->cap);
	if (!p->buf)
		abort();
}

static int next_frame(struct fg_pcap *p, struct fg_filter_frame *out, struct fg_error *err)
{
	uint8_t h[FRAME_HEAD];
	int rc = read_all(p, h, sizeof(h), "the header of a frame", err);

	if (rc <= 0)
		return rc;
	uint32_t fraction = get32(p, h + 4), captured = get32(p, h + 8), length = get32(p, h + 12);
	if (fraction >= (p->nanoseconds ? 1000000000U : 1000000U))
		return fg_error_set(err, FG_EFORMAT, "a time of %u parts of a second", fraction);
	if (captured > length)
		return fg_error_set(err, FG_EFORMAT, "%u bytes captured of %u", captured, length);
	if (captured > FG_PCAP_FRAME_MAX)
		return fg_error_set(err, FG_ELIMIT, "%u bytes, at most %d are taken", captured, FG_PCAP_FRAME_MAX);
	make_room(p, captured);
	if (captured) {
		rc = read_all(p, p->buf, captured, "a frame", err);
		if (rc == 0)
			rc = fg_error_set(err, FG_EFORMAT, "the capture ends inside a frame");
		if (rc < 0)
			return rc;
	}
	out->bytes = p->buf;
	out->captured = captured;
	out->length = length;
	out->time_ns = (int64_t)get32(p, h) * 1000000000 + (int64_t)fraction * (p->nanoseconds ? 1 : 1000);
	return 1;
}

int fg_pcap_next(struct fg_pcap *p, struct fg_filter_frame *out, struct fg_error *err)
{
	struct fg_filter_frame frame;
	int rc = next_frame(p, &frame, err);

	if (rc < 0)
		fg_error_wrap(err, "frame %llu", (unsigned long long)p->n + 1);
	if (rc > 0) {
		p->n++;
		*out = frame;
	}
	return rc;
}

void fg_pcap_close(struct fg_pcap *p)
{
	free(p->buf);
	memset(p, 0, sizeof(*p));
}
