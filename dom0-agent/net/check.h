/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What may come from the network, checked field by field.  fixgate-net uses these on what the server says; fixgated uses
 * the same ones again on what fixgate-net says, because fixgate-net may be in an attacker's hands.  Grammar only: whether
 * an offer is wanted, new or for a guest of this host is fixgated's decision.
 *
 * All fail with FORMAT or LIMIT and leave their output untouched.  Unknown keys are ignored (a newer server), known ones
 * are of the right type or the whole object is refused.
 */
#ifndef FG_NET_CHECK_H
#define FG_NET_CHECK_H

#include <fixgate/bundle.h>
#include <fixgate/catalogue.h>

#include <jansson.h>
#include <stdbool.h>

#define FG_FIX_ID_TEXT 129 /* [a-z0-9][a-z0-9.+-]{0,127} */
#define FG_OFFERS_MAX 4096 /* offers of one answer */
#define FG_TOKEN_TEXT 257 /* 32 … 256 lower-case hex digits */
#define FG_NET_JSON_DEPTH 16 /* nesting of any JSON from the server */
#define FG_TITLE_TEXT 801 /* bytes; 200 characters at most */

struct fg_offer_terms {
	int64_t seq;
	char guest[37];
	char fix[FG_FIX_ID_TEXT];
	uint64_t version; /* 1 … INT64_MAX: JSON integers here are signed */
	char digest[FG_DIGEST_HEX]; /* of the whole bundle */
	uint64_t bytes; /* of the whole bundle */
};
int fg_offer_parse(const json_t *json, struct fg_offer_terms *out, struct fg_error *err) FG_MUST_CHECK;
/* The offer without "seq" and "guest", as the message "head" has it. */
int fg_offer_parse_bundle(const json_t *json, struct fg_offer_terms *out, struct fg_error *err) FG_MUST_CHECK;
/* A new object with the keys of protocol.h. */
json_t *fg_offer_json(const struct fg_offer_terms *offer);

/* An offer that is no more: "seq", "guest", "fix". */
struct fg_offer_cancelled {
	int64_t seq;
	char guest[37];
	char fix[FG_FIX_ID_TEXT];
};
int fg_offer_cancelled_parse(const json_t *json, struct fg_offer_cancelled *out, struct fg_error *err) FG_MUST_CHECK;
/* Is it this offer, or one of this guest and fix that was made before it? */
bool fg_offer_is_cancelled(const struct fg_offer_terms *offer, const struct fg_offer_cancelled *cancelled);

/* The message "head-verified" (message.h). */
struct fg_head_verified {
	uint8_t head_digest[FG_DIGEST_BYTES];
	char fix[FG_FIX_ID_TEXT];
	uint64_t version;
	uint32_t timeout_s;
	enum fg_context context;
	uint64_t payload_bytes;
	char title[FG_TITLE_TEXT]; /* no control characters */
	char severity[16];
	int64_t expires_s;
	struct fg_catalogue_mark catalogue; /* by which it is valid */
	char file[FG_DIGEST_HEX + 8]; /* last part of "path", "<digest>.head": open it below FG_NET_DIR/heads */
};
int fg_head_verified_parse(const json_t *message, struct fg_head_verified *out, struct fg_error *err) FG_MUST_CHECK;
/* {"generation","version"}: absent (NULL) is {0, 0}. */
int fg_mark_parse(const json_t *json, struct fg_catalogue_mark *out, struct fg_error *err) FG_MUST_CHECK;
json_t *fg_mark_json(const struct fg_catalogue_mark *mark);
json_t *fg_head_summary_json(const struct fg_manifest *manifest); /* its "manifest" */

/* Single strings.  UUIDs and digests must be in the one canonical form, lower case. */
int fg_check_uuid(const char *text, struct fg_error *err) FG_MUST_CHECK;
int fg_check_fix_id(const char *text, struct fg_error *err) FG_MUST_CHECK;
int fg_check_digest(const char *text, struct fg_error *err) FG_MUST_CHECK;
int fg_check_token(const char *text, struct fg_error *err) FG_MUST_CHECK;

/* One JSON object; nesting is counted before the parser, which recurses, sees the text. */
int fg_check_json(const char *text, size_t len, json_t **out, struct fg_error *err) FG_MUST_CHECK;

#endif
