/* SPDX-License-Identifier: GPL-3.0-or-later */
/* An offer, checked; the head of its bundle. */
#ifndef FG_OFFER_H
#define FG_OFFER_H

#include <fixgate/error.h>
#include <jansson.h>
#include <stdint.h>

struct fg_offer_terms {
	int64_t seq;
	char guest[37];
	char fix[129];
	uint64_t version, bytes;
	char digest[65];
};

/* Of the server's JSON (protocol.h); everything is checked again here. */
int fg_offer_parse(const json_t *offer, struct fg_offer_terms *out, struct fg_error *err) FG_MUST_CHECK;

#define FG_FIX_ID_MAX 128
int fg_fix_id_check(const char *id, struct fg_error *err) FG_MUST_CHECK; /* [a-z0-9][a-z0-9.+-]{0,127} */

/*
 * Copy the head that fixgate-net fetched: name is below its own folder dir.  Only a regular file is opened, never
 * through a link or out of the folder; the copy is durable only if it is a head with this digest.
 */
int fg_head_take(const char *dir, const char *name, const char *to, const char *head_digest,
		 struct fg_error *err) FG_MUST_CHECK;

#endif
