/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The catalogue: the fix server's signed word which of the publishers' bundles are valid now.  A fix that is not in it,
 * was withdrawn, or was signed by a revoked key only, is not given to a guest.  It takes nothing from the publishers'
 * signatures: the server can only choose among what they signed.
 *
 * CMS SignedData in the profile of docs/bundle.md, the content is JSON (UTF-8, at most FG_CATALOGUE_MAX):
 *	{"format":1, "version":N, "published":"RFC 3339", "expires":"RFC 3339",
 *	 "fixes":[{"id","version","head":<head digest>,"bundle":<digest of the file>} …],   ascending by id, version
 *	 "withdrawn":[{"id","version"} …],          this version and all before; ascending by id
 *	 "revoked":[{"key":<SHA-256 of the SubjectPublicKeyInfo>,"name":text} …]}          ascending by key
 * Unknown keys are refused.
 *
 * The signer is the server's online key: one certificate of the server's CA whose extended key usage is
 * FG_CATALOGUE_EKU alone, and whose subject has a serialNumber, the generation of the key in decimal.
 *
 * Catalogues are ordered by (generation, version), the "mark".  Readers keep the highest mark of a catalogue by which
 * something was verified, and take none that is older.  A new generation may begin its versions anew: so an online key
 * that was stolen, and used to sign a version near 2^63, is overcome by the next generation, and no longer counts.
 *
 *	fg_trust_load_catalogue -> fg_catalogue_verify -> fg_catalogue_admits … -> fg_catalogue_free
 */
#ifndef FIXGATE_CATALOGUE_H
#define FIXGATE_CATALOGUE_H

#include <fixgate/bundle.h>

/* ITU-T X.667: an arc made of a UUID needs no registration. */
#define FG_CATALOGUE_EKU "2.25.339170148893489558699657159158703192831"
#define FG_CATALOGUE_MAX (4u << 20) /* of the CMS */
#define FG_CATALOGUE_FIXES_MAX 8192
#define FG_CATALOGUE_WITHDRAWN_MAX 8192
#define FG_CATALOGUE_REVOKED_MAX 1024
#define FG_CATALOGUE_LIFETIME_S (3 * 86400) /* unless the server is configured otherwise */
#define FG_CATALOGUE_SKEW_S 86400 /* a clock that is further behind the server's is wrong */

struct fg_catalogue_mark {
	uint64_t generation, version; /* each at most 2^63 - 1 */
};

struct fg_catalogue_fix {
	char *id;
	uint64_t version;
	uint8_t head[FG_DIGEST_BYTES]; /* not of a withdrawn one */
	uint8_t bundle[FG_DIGEST_BYTES];
};

struct fg_catalogue_revoked {
	uint8_t key[FG_DIGEST_BYTES];
	char *name;
};

struct fg_catalogue {
	struct fg_catalogue_mark mark; /* generation 0: parsed, not verified */
	int64_t published_s, expires_s;
	struct fg_catalogue_fix *fixes, *withdrawn;
	size_t n_fixes, n_withdrawn;
	struct fg_catalogue_revoked *revoked;
	size_t n_revoked;
};

/* The JSON alone.  FORMAT or LIMIT. */
int fg_catalogue_parse(const void *bytes, size_t len, struct fg_catalogue **out, struct fg_error *err) FG_MUST_CHECK;
/* The JSON of it; malloc'd.  The lists must be sorted as above. */
char *fg_catalogue_text(const struct fg_catalogue *c);
void fg_catalogue_free(struct fg_catalogue *c);

/* <0, 0, >0 */
int fg_catalogue_mark_cmp(const struct fg_catalogue_mark *a, const struct fg_catalogue_mark *b);

/* CA certificates in PEM (server-ca.pem) as the trust for catalogues; fg_trust_free. */
int fg_trust_load_catalogue(const char *pem, size_t len, struct fg_trust **out, struct fg_error *err) FG_MUST_CHECK;
/*
 * Signature, chain, usage of the signer's certificate; then the content.  UNTRUSTED, FORMAT or LIMIT; then
 * (UNTRUSTED) not older than *oldest, not expired at now_s, not published more than FG_CATALOGUE_SKEW_S after now_s.
 */
int fg_catalogue_verify(const uint8_t *der, size_t len, const struct fg_trust *trust,
			const struct fg_catalogue_mark *oldest, int64_t now_s, struct fg_catalogue **out,
			struct fg_error *err) FG_MUST_CHECK;
/* Is this head valid by the catalogue?  UNTRUSTED says why not.  bundle: digest of the whole file, hex. */
int fg_catalogue_admits(const struct fg_catalogue *c, const char *id, uint64_t version, const char *bundle,
			const uint8_t head[FG_DIGEST_BYTES], struct fg_error *err) FG_MUST_CHECK;

/*
 * For the server.  online_pem: text of a file with the private key and its certificate.
 * generation: of a certificate of an online key, UNTRUSTED if it is none.  sign: *der is malloc'd; REFUSED if the
 * certificate is not valid at c->published_s.
 */
int fg_catalogue_generation(const char *online_pem, size_t len, uint64_t *out, int64_t *not_after_s,
			    struct fg_error *err) FG_MUST_CHECK;
int fg_catalogue_sign(const struct fg_catalogue *c, const char *online_pem, size_t len, uint8_t **der, size_t *der_len,
		      struct fg_error *err) FG_MUST_CHECK;
/* SHA-256 of the SubjectPublicKeyInfo of the first certificate in a PEM text, and its subject (malloc'd). */
int fg_catalogue_key_of(const char *pem, size_t len, uint8_t key[FG_DIGEST_BYTES], char **subject,
			struct fg_error *err) FG_MUST_CHECK;

#endif
