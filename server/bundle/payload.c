/* SPDX-License-Identifier: GPL-3.0-or-later */
/* DIR -> squashfs, the same bytes for the same input. */
#include "fix.h"

#include <lib/bundle/head.h>

#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SCAN_FDS 32

/* ".." at the beginning only: "link/.." is wherever the link leads. */
bool fix_link_stays(unsigned depth, const char *target)
{
	bool down = false;

	if (!target[0] || target[0] == '/')
		return false;
	for (const char *part = target; *part;) {
		size_t n = strcspn(part, "/");
		bool up = n == 2 && part[0] == '.' && part[1] == '.';
		if (up && (down || depth == 0))
			return false;
		if (up)
			depth--;
		else if (n > 0 && !(n == 1 && part[0] == '.'))
			down = true;
		part += n + (part[n] == '/');
	}
	return true;
}

/* nftw(3) hands no context on. */
static struct fg_error *scan_err;
static int scan_rc;

static int scan_link(const char *path, int level)
{
	char target[PATH_MAX];
	ssize_t n = readlink(path, target, sizeof(target) - 1);

	if (n < 0)
		return fg_error_errno(scan_err, FG_EIO, errno, "%s", path);
	target[n] = '\0';
	if (!fix_link_stays(level > 0 ? (unsigned)level - 1 : 0, target))
		return fg_error_set(scan_err, FG_EREFUSED, "%s: a symlink that leaves the payload", path);
	return 0;
}

static int scan_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
	if (type == FTW_NS || type == FTW_DNR)
		scan_rc = fg_error_set(scan_err, FG_EIO, "cannot read %s", path);
	else if (!S_ISREG(st->st_mode) && !S_ISDIR(st->st_mode) && !S_ISLNK(st->st_mode))
		scan_rc = fg_error_set(scan_err, FG_EREFUSED, "%s is neither file nor folder nor symlink", path);
	else if (!S_ISLNK(st->st_mode) && (st->st_mode & (S_ISUID | S_ISGID)))
		scan_rc = fg_error_set(scan_err, FG_EREFUSED, "%s is setuid or setgid", path);
	else if (S_ISLNK(st->st_mode))
		scan_rc = scan_link(path, where->level);
	return scan_rc;
}

static int scan(const char *dir, struct fg_error *err)
{
	scan_err = err;
	scan_rc = 0;
	if (nftw(dir, scan_one, SCAN_FDS, FTW_PHYS) < 0)
		return fg_error_errno(err, errno == ENOENT ? FG_ENOTFOUND : FG_EIO, errno, "%s", dir);
	return scan_rc;
}

static int pack(const char *dir, const char *out, struct fg_error *err)
{
	/* absolute: a name that starts with '-' would be an option */
	fg_autofree char *from = realpath(dir, NULL);
	/* holes and hard links are of the copy, not of the content */
	const char *const argv[] = { "mksquashfs", from,	 "",	       "-noappend",	"-comp",      "zstd",
				     "-all-root",  "-no-xattrs", "-no-sparse", "-no-hardlinks", "-mkfs-time", "0",
				     "-all-time",  "0",		 "-quiet",     "-no-progress",	NULL };
	const char *filled[FG_COUNT(argv)];

	if (!from)
		return fg_error_errno(err, FG_EIO, errno, "%s", dir);
	memcpy(filled, argv, sizeof(argv));
	filled[2] = out;
	return fix_run(filled, err);
}

static int hash(struct fix_payload *p, struct fg_error *err)
{
	fg_autofree uint8_t *block = fg_calloc(FG_BUNDLE_BLOCK_BYTES, 1);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	int rc = 0, ok = ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1;

	for (uint64_t at = 0; ok && rc == 0 && at < p->bytes; at += FG_BUNDLE_BLOCK_BYTES) {
		uint64_t left = p->bytes - at;
		size_t len = left < FG_BUNDLE_BLOCK_BYTES ? (size_t)left : FG_BUNDLE_BLOCK_BYTES;
		if (pread(p->fd, block, len, (off_t)at) != (ssize_t)len)
			rc = fg_error_errno(err, FG_EIO, errno, "cannot read the payload");
		else
			rc = fg_sha256(block, len, p->hashes + at / FG_BUNDLE_BLOCK_BYTES * FG_DIGEST_BYTES, err);
		ok = EVP_DigestUpdate(ctx, block, len) == 1;
	}
	ok = ok && EVP_DigestFinal_ex(ctx, p->digest, NULL) == 1;
	EVP_MD_CTX_free(ctx);
	if (rc == 0 && !ok)
		rc = fg_error_set(err, FG_ENOMEM, "SHA-256 failed");
	return rc;
}

int fix_payload_make(const char *dir, struct fix_payload *out, struct fg_error *err)
{
	struct fix_payload p = { .fd = -1 };
	struct stat st;
	char path[32];
	int rc;

	if ((rc = scan(dir, err)) < 0 || (rc = fix_temp(&p.fd, path, err)) < 0)
		return rc;
	rc = pack(dir, path, err);
	if (rc == 0 && fstat(p.fd, &st) < 0)
		rc = fg_error_errno(err, FG_EIO, errno, "cannot read the payload");
	if (rc == 0 && ((uint64_t)st.st_size == 0 || (uint64_t)st.st_size > FG_BUNDLE_PAYLOAD_MAX))
		rc = fg_error_set(err, FG_ELIMIT, "payload has %jd bytes, at most %" PRIu64 " are taken",
				  (intmax_t)st.st_size, (uint64_t)FG_BUNDLE_PAYLOAD_MAX);
	if (rc == 0) {
		p.bytes = (uint64_t)st.st_size;
		p.hashes = fg_calloc(fg_bundle_block_count(p.bytes), FG_DIGEST_BYTES);
		rc = hash(&p, err);
	}
	if (rc < 0) {
		fix_payload_release(&p);
		return rc;
	}
	*out = p;
	return 0;
}

void fix_payload_release(struct fix_payload *p)
{
	fg_closep(&p->fd);
	free(p->hashes);
	*p = (struct fix_payload){ .fd = -1 };
}
