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
