/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A package's header in rpm's database. */
#include <lib/bundle/rpmhdr.h>
#include <lib/util.h>

#include <string.h>

#include "target.h"

struct bytes {
	const uint8_t *p;
	size_t len;
};

static int read_bytes(void *arg, uint64_t offset, void *out, size_t len, struct fg_error *err)
{
	const struct bytes *b = arg;

	(void)err;
	if (offset > b->len || len > b->len - offset)
		abort(); /* asked for what is not there */
	memcpy(out, b->p + offset, len);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes bytes = { data, size };
	struct fg_rpmhdr_source source = { read_bytes, &bytes, size };
	struct fg_rpm_package p = { NULL, NULL };

	if (fg_rpmhdr_read(&source, &p, NULL) == 0) {
		const char *dash = strrchr(p.evr, '-');
		if (!*p.name || strlen(p.name) > FG_RPMHDR_TEXT_MAX || !dash || dash == p.evr || !dash[1])
			abort(); /* no [epoch:]version-release */
	}
	fg_rpm_package_release(&p);
	return 0;
}
