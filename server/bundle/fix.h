/* SPDX-License-Identifier: GPL-3.0-or-later */
/* fixgate-fix: what its verbs share. */
#ifndef FG_FIX_H
#define FG_FIX_H

#include <fixgate/bundle.h>
#include <lib/util.h>

#include <openssl/cms.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

/* options.c: the options of all verbs; each verb names those it takes. */
struct fix_options {
	const char *out, *manifest, *name, *trust, *ca;
	const char *key, *cert; /* file or pkcs11: URI */
	unsigned threshold; /* 0 = as the trust folder says */
	int64_t now_s;
	unsigned days; /* 0 = the verb's default */
	bool json;
	const char *arg; /* the one operand, or NULL */
};
struct fix_verb {
	const char *name, *options; /* space-separated, without "--"; a trailing '!' marks one that must be given */
	const char *operand; /* its name in the help, or NULL */
	const char *help;
	int (*run)(const struct fix_options *o, struct fg_error *err);
};
/* 0, 1 (help was printed) or -FG_EUSAGE. */
int fix_options_parse(const struct fix_verb *verb, int argc, char **argv, struct fix_options *out,
		      struct fg_error *err) FG_MUST_CHECK;

int fix_keygen(const struct fix_options *o, struct fg_error *err) FG_MUST_CHECK;
int fix_build(const struct fix_options *o, struct fg_error *err) FG_MUST_CHECK;
int fix_sign(const struct fix_options *o, struct fg_error *err) FG_MUST_CHECK;
int fix_verify(const struct fix_options *o, struct fg_error *err) FG_MUST_CHECK;
int fix_show(const struct fix_options *o, struct fg_error *err) FG_MUST_CHECK;
int fix_extract(const struct fix_options *o, struct fg_error *err) FG_MUST_CHECK;

/* run.c: fork, exec, wait.  FAILED if the program is not there, is killed or exits other than 0. */
int fix_run(const char *const argv[], struct fg_error *err) FG_MUST_CHECK;
/* The same, with its standard output in *out (malloc'd, at most max bytes). */
int fix_run_output(const char *const argv[], size_t max, char **out, struct fg_error *err) FG_MUST_CHECK;
/* An open, unlinked temporary file in $TMPDIR or /var/tmp, kept open over exec; path: its name under /proc/self/fd. */
int fix_temp(int *fd, char path[32], struct fg_error *err) FG_MUST_CHECK;

/* payload.c */
struct fix_payload {
	int fd;
	uint64_t bytes;
	uint8_t digest[FG_DIGEST_BYTES];
	uint8_t *hashes; /* SHA-256 of each block */
};
/* Refuses what a payload must not hold: device nodes, sockets, FIFOs, setuid and setgid files, symlinks that leave it. */
int fix_payload_make(const char *dir, struct fix_payload *out, struct fg_error *err) FG_MUST_CHECK;
void fix_payload_release(struct fix_payload *p);
/* Does a symlink so many folders below the payload's root stay in the payload, whatever other links it leads over? */
bool fix_link_stays(unsigned depth, const char *target);

/* key.c */
int fix_key_load(const char *uri, EVP_PKEY **out, struct fg_error *err) FG_MUST_CHECK;
/* First certificate is the signer's, the others belong to its chain. */
int fix_certs_load(const char *uri, STACK_OF(X509) * *out, struct fg_error *err) FG_MUST_CHECK;

/* cert.c: makes certificates.  issuer NULL: self-signed CA. */
int fix_key_new(EVP_PKEY **out, struct fg_error *err) FG_MUST_CHECK;
int fix_cert_new(const char *cn, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key, unsigned days, X509 **out,
		 struct fg_error *err) FG_MUST_CHECK;

/* sign.c: one more signer, whose certificates are the first and the rest of certs. EXISTS if its key has signed. */
int fix_cms_new(const char *manifest, CMS_ContentInfo **out, struct fg_error *err) FG_MUST_CHECK;
int fix_cms_add_signer(CMS_ContentInfo *cms, const char *key, const char *cert, struct fg_error *err) FG_MUST_CHECK;

/* writer.c: path becomes head + payload (payload_bytes at offset of payload_fd), whole or not at all. */
int fix_bundle_write(const char *path, CMS_ContentInfo *cms, const uint8_t *hashes, uint64_t payload_bytes,
		     int payload_fd, uint64_t offset, struct fg_error *err) FG_MUST_CHECK;
/* SHA-256 over the whole file, by which servers name it. */
int fix_file_digest(int fd, char out[FG_DIGEST_HEX], struct fg_error *err) FG_MUST_CHECK;

/* show.c: fix, version, digest, bytes, signers of a bundle on stdout. */
int fix_print_summary(const char *path, bool json, const char *verb, struct fg_error *err) FG_MUST_CHECK;

#endif
