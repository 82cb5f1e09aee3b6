/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Header and head: as they come, and with the head digest set right, so that what lies behind it is reached. */
#include <fixgate/bundle.h>
#include <lib/util.h>

#include <openssl/evp.h>
#include <string.h>

#include "target.h"

static void try_head(const uint8_t *data, size_t size)
{
	static struct fg_trust *trust;
	struct fg_bundle_head head = { 0 };

	if (!trust && fg_trust_load(FUZZ_TRUST, &trust, NULL) < 0)
		abort();
	if (fg_bundle_head_parse(data, size, &head, NULL) < 0)
		return;
	if (fg_bundle_head_verify(&head, trust, FUZZ_NOW, NULL) == 0 &&
	    (!head.manifest || head.n_signers < 1 || strcmp(head.manifest->id, "fuzz-seed") != 0))
		abort(); /* something was trusted that nobody signed */
	if (fg_bundle_block_verify(&head, 0, data, size, NULL) == 0 && size == 0)
		abort();
	fg_bundle_head_release(&head);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fg_autofree uint8_t *copy = fg_calloc(size, 1);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();

	try_head(data, size);
	if (size >= FG_BUNDLE_HEADER_BYTES && ctx) {
		memcpy(copy, data, size);
		EVP_DigestInit_ex(ctx, EVP_sha256(), NULL);
		EVP_DigestUpdate(ctx, copy, 48);
		EVP_DigestUpdate(ctx, copy + FG_BUNDLE_HEADER_BYTES, size - FG_BUNDLE_HEADER_BYTES);
		EVP_DigestFinal_ex(ctx, copy + 48, NULL);
		try_head(copy, size);
	}
	EVP_MD_CTX_free(ctx);
	return 0;
}
