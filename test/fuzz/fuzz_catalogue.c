/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The catalogue: as signed bytes, and its JSON alone, which is where a bug behind a good signature would be. */
#include <fixgate/catalogue.h>
#include <lib/util.h>

#include <string.h>

#include "target.h"

#define SEED_GENERATION 7
#define SEED_VERSION 41

static void try_signed(const uint8_t *data, size_t size)
{
	static const struct fg_catalogue_mark none;
	static struct fg_trust *trust;
	struct fg_catalogue *c = NULL;

	if (!trust) {
		fg_autofree char *pem = NULL;
		size_t len = 0;
		if (fg_file_read(FUZZ_TRUST "/server-ca.pem", 65536, &pem, &len, NULL) < 0 ||
		    fg_trust_load_catalogue(pem, len, &trust, NULL) < 0)
			abort();
	}
	if (fg_catalogue_verify(data, size, trust, &none, FUZZ_NOW, &c, NULL) == 0 &&
	    (c->mark.generation != SEED_GENERATION || c->mark.version != SEED_VERSION || c->n_fixes != 2))
		abort(); /* something was trusted that nobody signed */
	fg_catalogue_free(c);
}

static void try_text(const uint8_t *data, size_t size)
{
	struct fg_catalogue *c = NULL, *again = NULL;

	if (fg_catalogue_parse(data, size, &c, NULL) < 0)
		return;
	fg_autofree char *text = fg_catalogue_text(c);
	if (fg_catalogue_parse(text, strlen(text), &again, NULL) < 0)
		abort();
	fg_autofree char *twice = fg_catalogue_text(again);
	if (strcmp(text, twice) != 0)
		abort();
	for (size_t i = 0; i < c->n_fixes; i++) {
		char bundle[FG_DIGEST_HEX];
		bool gone = false;
		fg_hex_encode(c->fixes[i].bundle, FG_DIGEST_BYTES, bundle);
		for (size_t k = 0; k < c->n_withdrawn; k++)
			gone |= strcmp(c->withdrawn[k].id, c->fixes[i].id) == 0 &&
				c->withdrawn[k].version >= c->fixes[i].version;
		int rc = fg_catalogue_admits(c, c->fixes[i].id, c->fixes[i].version, bundle, c->fixes[i].head, NULL);
		if (rc != (gone ? -FG_EUNTRUSTED : 0))
			abort();
	}
	fg_catalogue_free(again);
	fg_catalogue_free(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	try_signed(data, size);
	try_text(data, size);
	return 0;
}
