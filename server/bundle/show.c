/* SPDX-License-Identifier: GPL-3.0-or-later */
/* verify and show. */
#include "fix.h"

#include <lib/bundle/cms.h>
#include <lib/bundle/head.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

static int open_bundle(const char *path, int *fd, struct fg_error *err)
{
	int f = open(path, O_RDONLY | O_CLOEXEC);

	if (f < 0)
		return fg_error_errno(err, errno == ENOENT ? FG_ENOTFOUND : FG_EIO, errno, "%s", path);
	*fd = f;
	return 0;
}

/* What a bundle says, with nobody asked whether it is true. *text: the manifest's JSON. */
static int read_unverified(int fd, uint8_t **buf, struct fg_bundle_head *head, char **text, struct fg_error *err)
{
	CMS_ContentInfo *cms = NULL;
	const uint8_t *bytes = NULL;
	size_t len = 0;
	int rc = fg_bundle_head_read(fd, buf, head, err);

	if (rc < 0)
		return rc;
	rc = fg_cms_parse(head->cms, head->cms_bytes, &cms, err);
	if (rc < 0)
		return rc;
	fg_cms_content(cms, &bytes, &len);
	rc = fg_manifest_parse(bytes, len, &head->manifest, err);
	if (rc == 0)
		*text = fg_asprintf("%.*s", (int)len, (const char *)bytes);
	CMS_ContentInfo_free(cms);
	return rc;
}

static json_t *string_array(char *const *list, size_t n)
{
	json_t *array = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(array, json_string(list[i]));
	return array;
}

static json_t *summary(const struct fg_bundle_head *head, const char *digest)
{
	char head_digest[FG_DIGEST_HEX];

	fg_hex_encode(head->head_digest, FG_DIGEST_BYTES, head_digest);
	return json_pack("{s:s,s:I,s:s,s:s,s:I,s:I}", "fix", head->manifest->id, "version",
			 (json_int_t)head->manifest->version, "digest", digest, "head_digest", head_digest, "bytes",
			 (json_int_t)(head->head_bytes + head->payload_bytes), "payload_bytes",
			 (json_int_t)head->payload_bytes);
}

static void print_json(json_t *value)
{
	fg_autofree char *text = fg_json_dump(value);

	puts(text);
}

int fix_print_summary(const char *path, bool json, const char *verb, struct fg_error *err)
{
	fg_autofree uint8_t *buf = NULL;
	fg_autofree char *text = NULL;
	struct fg_bundle_head head = { 0 };
	char digest[FG_DIGEST_HEX];
	fg_autoclose int fd = -1;
	int rc = open_bundle(path, &fd, err);

	if (rc == 0)
		rc = fix_file_digest(fd, digest, err);
	if (rc == 0)
		rc = read_unverified(fd, &buf, &head, &text, err);
	if (rc == 0 && json) {
		fg_autojson json_t *out = summary(&head, digest);
		print_json(out);
	} else if (rc == 0) {
		printf("%s: fix %s version %" PRIu64 ", %s\nsha256 %s\n", path, head.manifest->id,
		       head.manifest->version, verb, digest);
	}
	fg_bundle_head_release(&head);
	return rc;
}

/* Trust as the options have it; the whole file verified. */
static int verify_file(const struct fix_options *o, int fd, uint8_t **buf, struct fg_bundle_head *head,
		       struct fg_error *err)
{
	struct fg_trust *trust = NULL;
	int rc = fg_trust_load(o->trust, &trust, err);

	if (rc < 0)
		return rc;
	if (o->threshold)
		fg_trust_set_threshold(trust, o->threshold);
	rc = fg_bundle_file_verify(fd, trust, o->now_s, buf, head, err);
	fg_trust_free(trust);
	if (rc < 0)
		fg_error_wrap(err, "%s", o->arg);
	return rc;
}

int fix_verify(const struct fix_options *o, struct fg_error *err)
{
	fg_autofree uint8_t *buf = NULL;
	struct fg_bundle_head head = { 0 };
	char digest[FG_DIGEST_HEX];
	fg_autoclose int fd = -1;
	int rc = open_bundle(o->arg, &fd, err);

	if (rc == 0)
		rc = verify_file(o, fd, &buf, &head, err);
	if (rc == 0)
		rc = fix_file_digest(fd, digest, err);
	if (rc == 0 && o->json) {
		fg_autojson json_t *out = summary(&head, digest);
		json_object_set_new(out, "verified", json_true());
		json_object_set_new(out, "signers", string_array(head.signers, head.n_signers));
		print_json(out);
	} else if (rc == 0) {
		printf("%s: fix %s version %" PRIu64 " verified\n", o->arg, head.manifest->id, head.manifest->version);
		for (size_t i = 0; i < head.n_signers; i++)
			printf("signed by %s\n", head.signers[i]);
	}
	fg_bundle_head_release(&head);
	return rc;
}

/* CMS content of a head that was verified, as text. */
static int signed_text(const struct fg_bundle_head *head, char **text, struct fg_error *err)
{
	CMS_ContentInfo *cms = NULL;
	const uint8_t *bytes = NULL;
	size_t len = 0;
	int rc = fg_cms_parse(head->cms, head->cms_bytes, &cms, err);

	if (rc < 0)
		return rc;
	fg_cms_content(cms, &bytes, &len);
	*text = fg_asprintf("%.*s", (int)len, (const char *)bytes);
	CMS_ContentInfo_free(cms);
	return 0;
}

/* Each certificate in the CMS with the digest of its key, by which `fixgate-admin revoke-signer` names it. */
static json_t *certificates(const struct fg_bundle_head *head)
{
	json_t *list = json_array();
	CMS_ContentInfo *cms = NULL;
	uint8_t key[FG_DIGEST_BYTES];
	char hex[FG_DIGEST_HEX];

	if (fg_cms_parse(head->cms, head->cms_bytes, &cms, NULL) < 0)
		return list;
	STACK_OF(X509) *certs = CMS_get1_certs(cms);
	for (int i = 0; i < sk_X509_num(certs); i++) {
		X509 *cert = sk_X509_value(certs, i);
		fg_autofree char *subject = fg_cms_subject(cert);
		if (fg_cms_key_digest(cert, key, NULL) < 0)
			continue;
		fg_hex_encode(key, sizeof(key), hex);
		json_array_append_new(list, json_pack("{s:s*, s:s}", "subject", subject, "key", hex));
	}
	sk_X509_pop_free(certs, X509_free);
	CMS_ContentInfo_free(cms);
	return list;
}

static void print_shown(const struct fix_options *o, const struct fg_bundle_head *head, json_t *manifest)
{
	fg_autofree char *pretty = json_dumps(manifest, JSON_INDENT(2));

	if (o->trust)
		printf("VERIFIED with %s\n", o->trust);
	else
		printf("NOT VERIFIED: nobody has checked who wrote this (give --trust)\n");
	for (size_t i = 0; i < head->n_signers; i++)
		printf("signed by %s\n", head->signers[i]);
	fg_autojson json_t *certs = certificates(head);
	const json_t *cert;
	size_t n;
	json_array_foreach (certs, n, cert) {
		const char *subject = json_string_value(json_object_get(cert, "subject"));
		printf("certificate of %s, key %s\n", subject ? subject : "?",
		       json_string_value(json_object_get(cert, "key")));
	}
	printf("payload of %" PRIu64 " bytes at offset %" PRIu64 "\n%s\n", head->payload_bytes, head->head_bytes,
	       pretty ? pretty : "");
}

static int show_head(const struct fix_options *o, const struct fg_bundle_head *head, const char *text,
		     struct fg_error *err)
{
	fg_autojson json_t *manifest = NULL;
	int rc = fg_json_parse(text, strlen(text), &manifest, err);

	if (rc < 0)
		return rc;
	if (o->json) {
		fg_autojson json_t *out = json_pack("{s:b,s:o,s:o,s:O}", "verified", o->trust != NULL, "signers",
						    string_array(head->signers, head->n_signers), "certificates",
						    certificates(head), "manifest", manifest);
		print_json(out);
		return 0;
	}
	print_shown(o, head, manifest);
	return 0;
}

int fix_show(const struct fix_options *o, struct fg_error *err)
{
	fg_autofree uint8_t *buf = NULL;
	fg_autofree char *text = NULL;
	struct fg_bundle_head head = { 0 };
	fg_autoclose int fd = -1;
	int rc = open_bundle(o->arg, &fd, err);

	if (rc < 0)
		return rc;
	if (o->trust) {
		rc = verify_file(o, fd, &buf, &head, err);
		if (rc == 0)
			rc = signed_text(&head, &text, err);
	} else {
		rc = read_unverified(fd, &buf, &head, &text, err);
	}
	if (rc == 0)
		rc = show_head(o, &head, text, err);
	fg_bundle_head_release(&head);
	return rc;
}
