/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <fixgate/bundle.h>

#include <stdlib.h>
#include <string.h>

#include "target.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fg_manifest *m = NULL;
	struct fg_error err = FG_ERROR_INIT;
	int rc = fg_manifest_parse(data, size, &m, &err);

	if (rc == 0) { /* what was accepted keeps its promises */
		if (strstr(m->entry, "..") == m->entry || m->entry[0] == '/' || m->timeout_s < 1 || m->version < 1)
			abort();
		if (m->expires_s <= m->published_s || m->payload_bytes < 1 || m->n_tools > FG_MANIFEST_LIST_MAX)
			abort();
	} else if (m || !err.code) {
		abort();
	}
	fg_manifest_free(m);
	return 0;
}
