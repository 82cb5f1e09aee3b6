/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The payload, from the server into memory.  fixvm-fetch (an unprivileged process, so that a hole in a TLS or HTTP parser
 * is not root) makes one HTTPS request and writes what comes to a pipe; here each block is checked against the
 * hash list before it is kept, and a broken transfer goes on after the last good block.
 */
#ifndef FG_FIXVM_DOWNLOAD_H
#define FG_FIXVM_DOWNLOAD_H

#include <fixgate/bundle.h>

#include <stdint.h>

/* What goes to fixvm-fetch on its standard input, in JSON; its exit status says whether to try again. */
#define FG_FETCH_PROGRAM "/bin/fixvm-fetch"
#define FG_FETCH_AGAIN 75 /* EX_TEMPFAIL of sysexits.h; the last line on stderr says why, for any status but 0 */

#define FG_DOWNLOAD_DEADLINE_S 3600 /* the life of the token */
#define FG_DOWNLOAD_STALL_S 300 /* without one new block */
#define FG_DOWNLOAD_BACKOFF_MS 500
#define FG_DOWNLOAD_BACKOFF_MAX_MS 30000

/* Takes the bytes of the payload in order, whatever their portions. */
struct fg_sink {
	const struct fg_bundle_head *head;
	int fd; /* where verified blocks go */
	uint64_t block; /* number of the one being filled */
	size_t fill;
	uint8_t *buf; /* FG_BUNDLE_BLOCK_BYTES */
	void *digest; /* EVP_MD_CTX over all verified blocks */
};
int fg_sink_init(struct fg_sink *s, const struct fg_bundle_head *head, int fd, struct fg_error *err) FG_MUST_CHECK;
void fg_sink_release(struct fg_sink *s);
/* UNTRUSTED if a block is wrong (nothing of it was written), LIMIT if there is more than the payload. */
int fg_sink_feed(struct fg_sink *s, const void *bytes, size_t len, struct fg_error *err) FG_MUST_CHECK;
/* Forget the half block: the next byte fed is the first one after the last verified block. */
void fg_sink_rewind(struct fg_sink *s);
uint64_t fg_sink_done(const struct fg_sink *s); /* verified bytes */
/* Complete, and the digest of the whole is the manifest's. */
int fg_sink_finish(struct fg_sink *s, struct fg_error *err) FG_MUST_CHECK;

struct fg_fixvm;
int fg_download(struct fg_fixvm *vm, struct fg_error *err) FG_MUST_CHECK;

#endif
