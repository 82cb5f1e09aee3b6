/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The hash chain of the audit log: computed by the store, checked by fixgate-admin. */
#include "store.h"

#include <inttypes.h>
#include <lib/util.h>
#include <openssl/sha.h>
#include <string.h>

void fg_audit_hash(const char *previous, const struct fg_store_audit *entry, char hash[65])
{
	fg_autofree char *text = fg_asprintf("%s\n%" PRId64 "\n%" PRId64 "\n%s\n%s\n%s", previous, entry->n,
					     entry->at_ms, entry->who, entry->what, entry->detail);
	uint8_t digest[SHA256_DIGEST_LENGTH];

	SHA256((const unsigned char *)text, strlen(text), digest);
	fg_hex_encode(digest, sizeof(digest), hash);
}

void fg_audit_chain_init(struct fg_audit_chain *chain)
{
	memset(chain, 0, sizeof(*chain));
	memset(chain->hash, '0', 64);
}

int fg_audit_chain_next(struct fg_audit_chain *chain, const struct fg_store_audit *entry, struct fg_error *err)
{
	char hash[65];

	if (entry->n != chain->n + 1)
		return fg_error_set(err, FG_EDIFFERS, "entry %" PRId64 " is missing: after %" PRId64 " comes %" PRId64,
				    chain->n + 1, chain->n, entry->n);
	fg_audit_hash(chain->hash, entry, hash);
	if (strcmp(hash, entry->hash) != 0)
		return fg_error_set(err, FG_EDIFFERS, "entry %" PRId64 " was changed", entry->n);
	chain->n = entry->n;
	memcpy(chain->hash, hash, sizeof(hash));
	return 0;
}

int fg_audit_chain_end(const struct fg_audit_chain *chain, int64_t newest, struct fg_error *err)
{
	if (chain->n >= newest)
		return 0;
	return fg_error_set(err, FG_EDIFFERS, "the log was cut off: entries %" PRId64 " to %" PRId64 " are missing",
			    chain->n + 1, newest);
}
