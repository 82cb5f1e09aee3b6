/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fix.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define EXPIRES_DAYS 90
#define DAY_S 86400

/* A program of the payload: regular, executable, not by a symlink that may lead elsewhere in the guest. */
static int check_program(const char *dir, const char *key, const char *path, struct fg_error *err)
{
	fg_autofree char *full = fg_asprintf("%s/%s", dir, path);
	struct stat st;

	if (lstat(full, &st) < 0)
		return fg_error_errno(err, FG_ENOTFOUND, errno, "'%s': %s", key, full);
	if (!S_ISREG(st.st_mode) || !(st.st_mode & S_IXUSR))
		return fg_error_set(err, FG_EREFUSED, "'%s': %s is no executable file", key, full);
	return 0;
}

static int set_default(json_t *m, const char *key, json_t *value, struct fg_error *err)
{
	int failed = json_object_get(m, key) ? (json_decref(value), 0) : json_object_set_new(m, key, value);

	return failed ? fg_error_set(err, FG_EFORMAT, "manifest is no object") : 0;
}

static json_t *time_json(int64_t epoch_s)
{
	char text[21];

	fg_time_format(epoch_s, text);
	return json_string(text);
}

/* reproducible-builds.org/specs/source-date-epoch, else the clock */
static int64_t build_time(void)
{
	const char *text = getenv("SOURCE_DATE_EPOCH");
	char *end = NULL;
	long long t = text && *text ? strtoll(text, &end, 10) : -1;

	return t >= 0 && end && !*end ? t : fg_now_ms() / 1000;
}

static int fill_defaults(json_t *m, struct fg_error *err)
{
	const char *published = NULL;
	int64_t from = build_time();
	int rc;

	if ((rc = set_default(m, "format", json_integer(1), err)) < 0 ||
	    (rc = set_default(m, "published", time_json(from), err)) < 0 ||
	    (rc = fg_json_string(m, "published", &published, err)) < 0 ||
	    (rc = fg_time_parse(published, &from, err)) < 0 ||
	    (rc = set_default(m, "expires", time_json(from + EXPIRES_DAYS * DAY_S), err)) < 0 ||
	    (rc = set_default(m, "severity", json_string("moderate"), err)) < 0 ||
	    (rc = set_default(m, "context", json_string("chroot"), err)) < 0)
		return rc;
	return set_default(m, "timeout_s", json_integer(600), err);
}

static int fill_payload(json_t *m, const struct fix_payload *p, struct fg_error *err)
{
	uint8_t hashes_digest[FG_DIGEST_BYTES];
	char digest[FG_DIGEST_HEX], hashes[FG_DIGEST_HEX];
	size_t blocks = (size_t)((p->bytes + FG_BUNDLE_BLOCK_BYTES - 1) / FG_BUNDLE_BLOCK_BYTES);

	if (EVP_Digest(p->hashes, blocks * FG_DIGEST_BYTES, hashes_digest, NULL, EVP_sha256(), NULL) != 1)
		return fg_error_set(err, FG_ENOMEM, "SHA-256 failed");
	fg_hex_encode(p->digest, FG_DIGEST_BYTES, digest);
	fg_hex_encode(hashes_digest, FG_DIGEST_BYTES, hashes);
	json_t *payload =
		json_pack("{s:I,s:s,s:s}", "bytes", (json_int_t)p->bytes, "sha256", digest, "hashes_sha256", hashes);
	if (!payload || json_object_set_new(m, "payload", payload) < 0)
		return fg_error_set(err, FG_ENOMEM, "out of memory");
	return 0;
}

/* The text that will be signed, parsed by the same parser as everywhere. */
static int make_manifest(const struct fix_options *o, const struct fix_payload *p, char **out, struct fg_error *err)
{
	fg_autofree char *text = NULL, *filled = NULL;
	fg_autojson json_t *m = NULL;
	struct fg_manifest *parsed = NULL;
	size_t len = 0;
	int rc;

	if ((rc = fg_file_read(o->manifest, FG_BUNDLE_MANIFEST_MAX, &text, &len, err)) < 0)
		return rc;
	if ((rc = fg_json_parse(text, len, &m, err)) == 0 && json_object_get(m, "payload"))
		rc = fg_error_set(err, FG_EFORMAT, "'payload' is filled in, not given");
	if (rc == 0 && (rc = fill_defaults(m, err)) == 0 && (rc = fill_payload(m, p, err)) == 0) {
		filled = fg_json_dump(m);
		rc = fg_manifest_parse(filled, strlen(filled), &parsed, err);
	}
	if (rc == 0)
		rc = check_program(o->arg, "entry", parsed->entry, err);
	if (rc == 0 && parsed->post_check)
		rc = check_program(o->arg, "post_check", parsed->post_check, err);
	fg_manifest_free(parsed);
	if (rc < 0) {
		fg_error_wrap(err, "%s", o->manifest);
		return rc;
	}
	*out = FG_TAKE(filled);
	return 0;
}

static int assemble(const struct fix_options *o, const struct fix_payload *p, struct fg_error *err)
{
	fg_autofree char *manifest = NULL;
	CMS_ContentInfo *cms = NULL;
	int rc;

	if ((rc = make_manifest(o, p, &manifest, err)) < 0 || (rc = fix_cms_new(manifest, &cms, err)) < 0)
		return rc;
	if (o->key)
		rc = fix_cms_add_signer(cms, o->key, o->cert, err);
	if (rc == 0)
		rc = fix_bundle_write(o->out, cms, p->hashes, p->bytes, p->fd, 0, err);
	CMS_ContentInfo_free(cms);
	return rc;
}

int fix_build(const struct fix_options *o, struct fg_error *err)
{
	struct fix_payload p = { .fd = -1 };
	int rc;

	if (!o->key != !o->cert)
		return fg_error_set(err, FG_EUSAGE, "build takes --key and --cert together");
	rc = fix_payload_make(o->arg, &p, err);
	if (rc == 0)
		rc = assemble(o, &p, err);
	fix_payload_release(&p);
	return rc < 0 ? rc
		      : fix_print_summary(o->out, o->json, o->key ? "built and signed" : "built, not signed yet", err);
}
