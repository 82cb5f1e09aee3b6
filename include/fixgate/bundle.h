/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The fix bundle, format 1.  One file; all integers big-endian; nothing may follow the payload.
 *
 *	offset size
 *	     0    8  magic 0x89 'F' 'I' 'X' 'G' 'A' 'T' 'E'
 *	     8    4  format version, 1
 *	    12    4  header length, 80
 *	    16    8  length of the CMS SignedData
 *	    24    8  length of the hash list (32 bytes a block)
 *	    32    8  length of the payload
 *	    40    8  reserved, 0
 *	    48   32  SHA-256 over bytes 0..47, the CMS and the hash list ("head digest")
 *	    80       CMS SignedData, DER (RFC 5652), the manifest is its eContent
 *	             hash list: SHA-256 of each 64 KiB block of the payload, the last one shorter
 *	             payload: squashfs, zstd
 *
 * "Head" = everything before the payload.  It is small, is fetched and verified before a guest is
 * touched, and travels to the fix VM inside the job; the payload is fetched by the fix VM only.
 * The head digest is no signature: it makes each flipped bit of the head visible, also in the
 * parts of a CMS that its signatures do not cover.
 *
 * Calling sequence of a reader:
 *	fg_bundle_head_parse -> fg_bundle_head_verify -> manifest is trusted -> fg_bundle_block_verify
 */
#ifndef FIXGATE_BUNDLE_H
#define FIXGATE_BUNDLE_H

#include <fixgate/error.h>

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define FG_BUNDLE_MAGIC                                                                                                \
	"\x89"                                                                                                         \
	"FIXGATE"
#define FG_BUNDLE_HEADER_BYTES 80u
#define FG_BUNDLE_BLOCK_BYTES 65536u
#define FG_DIGEST_BYTES 32u
#define FG_DIGEST_HEX (2 * FG_DIGEST_BYTES + 1)

/* Limits: what a peer can make us allocate or loop over. */
#define FG_BUNDLE_CMS_MAX (1u << 20) /* 1 MiB */
#define FG_BUNDLE_MANIFEST_MAX (256u << 10) /* 256 KiB */
#define FG_BUNDLE_PAYLOAD_MAX (64ull << 30) /* 64 GiB: hash list of 32 MiB */
#define FG_BUNDLE_HASHES_MAX (32u << 20)
#define FG_BUNDLE_HEAD_MAX (FG_BUNDLE_HEADER_BYTES + FG_BUNDLE_CMS_MAX + FG_BUNDLE_HASHES_MAX)
#define FG_MANIFEST_LIST_MAX 256 /* entries of any list in a manifest */

enum fg_context {
	FG_CONTEXT_CHROOT, /* entry runs with the guest's root as / */
	FG_CONTEXT_OUTSIDE, /* entry runs in the fix VM, the guest's root at $FIXGATE_ROOT */
};

struct fg_rule_os {
	char *id, *version;
}; /* os-release ID, VERSION_ID; version may be NULL */
struct fg_rule_package {
	char *type, *name, *less_than;
}; /* type: "dpkg" or "rpm" */
struct fg_rule_file {
	char *path, *sha256;
}; /* path absolute in the guest; applies if the digest matches */

/*
 * The signed manifest.  Strings are NUL-terminated UTF-8 without control characters; lists are
 * `n_x` long.  Applies when every *kind* of rule that is present has a match: any os, any arch,
 * any package that is installed and older, any file.  not_fix: does not apply when a receipt of one
 * of these fixes is on the guest.
 */
struct fg_manifest {
	char *id; /* [a-z0-9][a-z0-9.+-]{0,127} */
	uint64_t version; /* counter, only grows for an id */
	char *title;
	char *severity; /* low moderate important critical */
	char *published; /* RFC 3339, UTC, "Z" */
	int64_t published_s, expires_s; /* seconds since the epoch */
	char **cves;
	size_t n_cves;
	char **supersedes;
	size_t n_supersedes;
	struct fg_rule_os *os;
	size_t n_os;
	char **arch;
	size_t n_arch; /* Debian names: amd64, arm64 … */
	struct fg_rule_package *packages;
	size_t n_packages;
	struct fg_rule_file *files;
	size_t n_files;
	char **not_fix;
	size_t n_not_fix;
	char *entry; /* path inside the payload, relative, no ".." */
	enum fg_context context;
	uint32_t timeout_s; /* 1 … 86400, for entry and post-check each */
	char *post_check; /* path inside the payload, or NULL */
	char **tools;
	size_t n_tools; /* programs that must exist where the entry runs */
	uint64_t payload_bytes;
	uint8_t payload_digest[FG_DIGEST_BYTES];
	uint8_t hashes_digest[FG_DIGEST_BYTES];
};

/* bytes need not be NUL-terminated. Rejects duplicate keys, unknown keys of "format" 1, NULs, depth > 16. */
int fg_manifest_parse(const void *bytes, size_t len, struct fg_manifest **out, struct fg_error *err) FG_MUST_CHECK;
void fg_manifest_free(struct fg_manifest *m);

/*
 * Trust: a folder.
 *	publisher-ca.pem   one or more CA certificates that publishers' certificates chain to
 *	crl.pem            optional: CRLs; when present a revoked signer is refused
 *	threshold          optional: number k of distinct signers needed (default 1)
 */
struct fg_trust;
int fg_trust_load(const char *dir, struct fg_trust **out, struct fg_error *err) FG_MUST_CHECK;
void fg_trust_free(struct fg_trust *t);
unsigned fg_trust_threshold(const struct fg_trust *t);
void fg_trust_set_threshold(struct fg_trust *t, unsigned k);
/* Signers with these keys, or below a CA with one, do not count; replaces an earlier list.  A key is named by the SHA-256 of
 * its SubjectPublicKeyInfo. */
void fg_trust_set_revoked(struct fg_trust *t, const uint8_t (*keys)[FG_DIGEST_BYTES], size_t n);

struct fg_bundle_head {
	uint64_t cms_bytes, hashes_bytes, payload_bytes;
	uint64_t head_bytes; /* offset of the payload */
	uint8_t head_digest[FG_DIGEST_BYTES];
	const uint8_t *cms, *hashes; /* into the caller's buffer */
	struct fg_manifest *manifest; /* NULL until verified; owned by the head */
	char **signers;
	size_t n_signers; /* subject of each valid distinct signer; set by verify */
};

/* Only the 80 bytes: lengths, to know how much to fetch. Fails with FORMAT or LIMIT. */
int fg_bundle_header_parse(const uint8_t header[FG_BUNDLE_HEADER_BYTES], struct fg_bundle_head *out,
			   struct fg_error *err) FG_MUST_CHECK;
/* The whole head; buf must outlive out. Checks lengths and head digest, not signatures. */
int fg_bundle_head_parse(const uint8_t *buf, size_t len, struct fg_bundle_head *out,
			 struct fg_error *err) FG_MUST_CHECK;
/*
 * Signatures (chain to the CA, code-signing EKU, CRL, k distinct signers), expiry against now_s, manifest,
 * hash-list digest and lengths.  Fails with UNTRUSTED or FORMAT.  On success head->manifest is set.
 */
int fg_bundle_head_verify(struct fg_bundle_head *head, const struct fg_trust *trust, int64_t now_s,
			  struct fg_error *err) FG_MUST_CHECK;
void fg_bundle_head_release(struct fg_bundle_head *head);
/* Block number index of the payload; len must be the length that block has. */
int fg_bundle_block_verify(const struct fg_bundle_head *head, uint64_t index, const void *block, size_t len,
			   struct fg_error *err) FG_MUST_CHECK;
/* A whole file by descriptor: head, each block, payload digest, nothing after it. The head is returned in *buf (free) and out. */
int fg_bundle_file_verify(int fd, const struct fg_trust *trust, int64_t now_s, uint8_t **buf,
			  struct fg_bundle_head *out, struct fg_error *err) FG_MUST_CHECK;

/*
 * Version order.  <0, 0, >0 like strcmp.  dpkg: Debian Policy 5.6.12; rpm: rpmvercmp of
 * epoch:version-release.  Strings that are no versions sort like dpkg/rpm sort them.
 */
int fg_version_cmp_dpkg(const char *a, const char *b);
int fg_version_cmp_rpm(const char *a, const char *b);

/*
 * Does the fix apply to the guest's root mounted at root_fd?  Symlinks are resolved inside the root
 * (openat2 RESOLVE_IN_ROOT).  *reason is a sentence, malloc'd, always set on success.
 */
enum fg_applies { FG_APPLIES_NEEDED, FG_APPLIES_NOT_APPLICABLE, FG_APPLIES_ALREADY };
int fg_applies_evaluate(const struct fg_manifest *m, int root_fd, enum fg_applies *out, char **reason,
			struct fg_error *err) FG_MUST_CHECK;

#endif
