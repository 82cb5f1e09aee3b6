/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The CMS alone: its lengths are not held against a header. */
#include <lib/bundle/cms.h>
#include <lib/util.h>

#include <string.h>

#include "target.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct fg_trust *trust;
	CMS_ContentInfo *cms = NULL;
	char **signers = NULL;
	const uint8_t *bytes = NULL;
	size_t n = 0, len = 0;

	if (!trust && fg_trust_load(FUZZ_TRUST, &trust, NULL) < 0)
		abort();
	if (size > FG_BUNDLE_CMS_MAX || fg_cms_parse(data, size, &cms, NULL) < 0)
		return 0;
	fg_cms_content(cms, &bytes, &len);
	if (!bytes || len == 0 || len > FG_BUNDLE_MANIFEST_MAX)
		abort();
	if (fg_cms_verify(cms, trust, FUZZ_NOW, &signers, &n, NULL) == 0 && n < 1)
		abort();
	for (size_t i = 0; i < n; i++)
		free(signers[i]);
	free(signers);
	CMS_ContentInfo_free(cms);
	return 0;
}
