/* SPDX-License-Identifier: GPL-3.0-or-later */
/* GET /v1/catalogue, POST /v1/withdrawals, POST /v1/signers/revoked. */
#include "catalogue.h"
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <lib/log.h>
#include <server/store/catalogue.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <server/rollout/engine.h>

#define RENEW_PART 6 /* of the time that a catalogue is good */
#define PEM_MAX 65536
#define REASON_MAX 500
#define EXPIRY_WARN_S (30 * 86400)
#define HEAD_DIGEST_AT 48

struct fg_catalogues {
	char *key_path;
	struct timespec key_time; /* of the file that was read */
	ino_t key_inode;
	char *key; /* NULL: none */
	size_t key_len;
	uint64_t generation;
	int64_t key_not_after_s;
	struct fg_trust *trust; /* the server's CA: what hosts check against */
	bool unsure; /* none was made in this run: none is given out before */
	char said[sizeof(((struct fg_error *)0)->text)]; /* why none could be made; logged once */
	struct fg_catalogue_mark mark; /* of der */
	uint8_t *der;
	size_t len;
};

/* ---- the key ---- */

static int key_read(struct fg_catalogues *c, struct fg_error *err)
{
	fg_autofree char *text = NULL;
	uint64_t generation = 0;
	int64_t not_after_s = 0;
	size_t len = 0;
	int rc = fg_file_read(c->key_path, PEM_MAX, &text, &len, err);

	if (rc == 0)
		rc = fg_catalogue_generation(text, len, &generation, &not_after_s, err);
	if (rc < 0)
		return rc;
	if (c->key)
		explicit_bzero(c->key, c->key_len);
	free(c->key);
	c->key = FG_TAKE(text);
	c->key_len = len;
	c->generation = generation;
	c->key_not_after_s = not_after_s;
	if (not_after_s < fg_now_ms() / 1000 + EXPIRY_WARN_S) {
		char when[21];
		fg_time_format(not_after_s, when);
		fg_log_warn("the online key's certificate ends at %s: run fixgate-server online-key", when);
	}
	return 0;
}

/* Reads it when it has changed: `fixgate-server online-key` needs no restart. */
static int key_current(struct fg_catalogues *c, struct fg_error *err)
{
	struct stat st;
	int rc = 0;

	if (!c->trust)
		return fg_error_set(err, FG_EIO, "the server's CA could not be read");
	if (stat(c->key_path, &st) < 0)
		return fg_error_set(err, FG_ENOTFOUND,
				    "this server has no online key: run fixgate-server online-key (%s)",
				    strerror(errno));
	if (c->key && st.st_ino == c->key_inode && st.st_mtim.tv_sec == c->key_time.tv_sec &&
	    st.st_mtim.tv_nsec == c->key_time.tv_nsec)
		return 0;
	rc = key_read(c, err);
	if (rc == 0) {
		c->key_inode = st.st_ino;
		c->key_time = st.st_mtim;
	}
	return rc;
}

/* ---- making ---- */

/* The head digest stands in the bundle's header; the bundle was verified when it was published. */
static int head_of(const char *bundle, char digest[FG_DIGEST_HEX], void *arg, struct fg_error *err)
{
	struct fg_api *api = arg;
	fg_autofree char *path = fg_asprintf("%s/%s/%s", api->dir, FG_SERVER_BLOBS, bundle);
	fg_autoclose int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	uint8_t header[FG_BUNDLE_HEADER_BYTES];

	if (fd < 0 || pread(fd, header, sizeof(header), 0) != (ssize_t)sizeof(header))
		return fg_error_errno(err, FG_EIO, errno, "%s", path);
	fg_hex_encode(header + HEAD_DIGEST_AT, FG_DIGEST_BYTES, digest);
	return 0;
}

/* Nothing is given out that hosts would refuse. */
static int sign(const struct fg_catalogue *content, char **cms, void *arg, struct fg_error *err)
{
	const struct fg_api *api = arg;
	const struct fg_catalogues *c = api->catalogues;
	const struct fg_catalogue_mark none = { 0, 0 };
	struct fg_catalogue *check = NULL;
	fg_autofree uint8_t *der = NULL;
	size_t len = 0;
	int rc = fg_catalogue_sign(content, c->key, c->key_len, &der, &len, err);

	if (rc == 0)
		rc = fg_catalogue_verify(der, len, c->trust, &none, content->published_s, &check, err);
	fg_catalogue_free(check);
	if (rc < 0)
		return rc;
	*cms = fg_calloc(2 * len + 1, 1);
	fg_hex_encode(der, len, *cms);
	return 0;
}

static int renew(struct fg_api *api, struct fg_error *err)
{
	const struct fg_store_catalogue_maker maker = {
		.head = head_of, .sign = sign, .arg = api, .lifetime_s = api->config->catalogue_lifetime_s
	};
	struct fg_catalogues *c = api->catalogues;
	int rc = key_current(c, err);

	if (rc == 0)
		rc = fg_store_catalogue_make(api->store, c->generation, fg_now_ms() / 1000, &maker, err);
	if (rc == 0)
		c->unsure = false;
	return rc;
}

void fg_catalogues_changed(struct fg_api *api, json_t *answer)
{
	struct fg_store_catalogue last = { .published_s = 0 };
	struct fg_error err = FG_ERROR_INIT;
	int rc = renew(api, &err);

	if (rc == 0)
		rc = fg_store_catalogue(api->store, &last, NULL, &err);
	if (rc == 0) {
		json_object_set_new(answer, "catalogue",
				    json_pack("{s:I, s:I}", "generation", (json_int_t)last.mark.generation, "version",
					      (json_int_t)last.mark.version));
		return;
	}
	fg_log_err("catalogue: %s", err.text);
	json_object_set_new(answer, "catalogue", json_null());
	json_object_set_new(answer, "catalogue_error", json_string(err.text));
}

/* Also when it is from the future (the clock went back), or good for longer than the configuration has it now. */
static bool is_due(const struct fg_api *api, const struct fg_store_catalogue *last, int64_t now_s)
{
	const struct fg_catalogues *c = api->catalogues;
	int64_t lifetime_s = api->config->catalogue_lifetime_s;

	return c->unsure || last->incomplete || last->mark.generation != c->generation ||
	       now_s >= last->published_s + lifetime_s / RENEW_PART ||
	       last->published_s > now_s + FG_CATALOGUE_SKEW_S || last->expires_s - last->published_s > lifetime_s;
}

/* The newest of the store, made anew where it is due.  One that is only old is given out to its end if that fails. */
static int newest(struct fg_api *api, struct fg_store_catalogue *last, struct fg_error *err)
{
	struct fg_catalogues *c = api->catalogues;
	struct fg_error none = FG_ERROR_INIT, why = FG_ERROR_INIT;
	int64_t now_s = fg_now_ms() / 1000;
	int there = fg_store_catalogue(api->store, last, NULL, &none), rc;

	if (there < 0 && there != -FG_ENOTFOUND)
		return fg_error_set(err, (enum fg_error_code)none.code, "%s", none.text);
	rc = key_current(c, &why);
	if (rc == 0 && there == 0 && !is_due(api, last, now_s))
		return 0;
	if (rc == 0)
		rc = renew(api, &why);
	if (rc == 0)
		return fg_store_catalogue(api->store, last, NULL, err);
	if (c->unsure || there < 0 || last->wrong || last->expires_s <= now_s)
		return fg_error_set(err, (enum fg_error_code)why.code, "%s", why.text);
	if (strcmp(c->said, why.text) != 0)
		fg_log_err("catalogue: %s; the last one is good for %lld hours", why.text,
			   (long long)(last->expires_s - now_s) / 3600);
	snprintf(c->said, sizeof(c->said), "%s", why.text);
	return 0;
}

/* c->der is that one. */
static int current(struct fg_api *api, struct fg_error *err)
{
	struct fg_catalogues *c = api->catalogues;
	struct fg_store_catalogue last = { .published_s = 0 };
	fg_autofree char *hex = NULL;
	int rc = newest(api, &last, err);

	if (rc < 0 || (c->der && fg_catalogue_mark_cmp(&last.mark, &c->mark) == 0))
		return rc;
	rc = fg_store_catalogue(api->store, &last, &hex, err);
	if (rc < 0)
		return rc;
	size_t len = strlen(hex) / 2;
	fg_autofree uint8_t *der = fg_calloc(len + 1, 1);
	rc = fg_hex_decode(hex, der, len, err);
	if (rc < 0)
		return rc;
	free(c->der);
	c->der = FG_TAKE(der);
	c->len = len;
	c->mark = last.mark;
	return 0;
}

/* ---- answers ---- */

static int send_der(struct fg_request *req, const struct fg_catalogues *c, struct fg_error *err)
{
	int fd = memfd_create("catalogue", MFD_CLOEXEC);

	if (fd < 0 || pwrite(fd, c->der, c->len, 0) != (ssize_t)c->len) {
		int sys = errno;
		if (fd >= 0)
			close(fd);
		return fg_error_errno(err, FG_EIO, sys, "catalogue");
	}
	fg_request_header(req, "ETag", "\"%" PRIu64 ".%" PRIu64 "\"", c->mark.generation, c->mark.version);
	fg_request_header(req, "Cache-Control", "private, no-cache");
	fg_request_file(req, 200, fd, 0, c->len);
	return FG_HTTP_LATER;
}

/* For people: its content, and until when the online key is good. */
static int send_json(const struct fg_catalogues *c, json_t **answer, struct fg_error *err)
{
	const struct fg_catalogue_mark none = { 0, 0 };
	struct fg_catalogue *content = NULL;
	char when[21];
	int rc = fg_catalogue_verify(c->der, c->len, c->trust, &none, fg_now_ms() / 1000, &content, err);

	if (rc < 0)
		return rc;
	fg_autofree char *text = fg_catalogue_text(content);
	fg_time_format(c->key_not_after_s, when);
	*answer = json_pack("{s:I, s:s, s:o}", "generation", (json_int_t)content->mark.generation, "key_expires", when,
			    "catalogue", json_loads(text, 0, NULL));
	fg_catalogue_free(content);
	return 200;
}

int fg_api_catalogue(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err)
{
	struct fg_api *api = ctx;
	int rc = current(api, err);

	if (rc < 0)
		return rc;
	return req->peer.role == FG_ROLE_IS_AGENT ? send_der(req, api->catalogues, err)
						  : send_json(api->catalogues, answer, err);
}

static int read_reason(const json_t *body, const char **reason, struct fg_error *err)
{
	int rc = fg_json_string_opt(body, "reason", reason, err);

	if (rc == 0 && *reason)
		rc = fg_check_text("reason", *reason, REASON_MAX, err);
	if (!*reason)
		*reason = "no reason given";
	return rc;
}

int fg_api_withdraw(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err)
{
	struct fg_api *api = ctx;
	fg_autojson json_t *body = NULL;
	struct fg_store_withdrawal w = { .who = req->peer.name, .now_ms = fg_now_ms() };
	int64_t version = 0, closed = 0;
	int rc;

	if ((rc = fg_api_body(req, &body, err)) < 0 || (rc = fg_json_string(body, "fix", &w.fix, err)) < 0 ||
	    (rc = fg_check_fix_id(w.fix, err)) < 0 ||
	    (rc = fg_json_int_opt(body, "version", 1, INT64_MAX, 0, &w.version, err)) < 0 ||
	    (rc = read_reason(body, &w.reason, err)) < 0 ||
	    (rc = fg_store_withdraw(api->store, &w, &version, &closed, err)) < 0)
		return rc;
	fg_log_info("fix=%s withdrawn up to version %" PRId64 " by=%s: %s", w.fix, version, w.who, w.reason);
	*answer = json_pack("{s:s, s:I, s:I}", "fix", w.fix, "version", (json_int_t)version, "closed",
			    (json_int_t)closed);
	fg_catalogues_changed(api, *answer);
	if (fg_store_rollouts_touched(api->store))
		fg_rollouts_kick(api->rollouts);
	return 200;
}

int fg_api_revoke_signer(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err)
{
	struct fg_api *api = ctx;
	fg_autojson json_t *body = NULL;
	struct fg_store_revocation r = { .who = req->peer.name, .now_ms = fg_now_ms() };
	int rc;

	if ((rc = fg_api_body(req, &body, err)) < 0 || (rc = fg_json_string(body, "key", &r.key, err)) < 0 ||
	    (rc = fg_check_digest(r.key, err)) < 0 || (rc = fg_json_string(body, "name", &r.name, err)) < 0 ||
	    (rc = fg_check_text("name", r.name, FG_NAME_MAX, err)) < 0 ||
	    (rc = read_reason(body, &r.reason, err)) < 0 || (rc = fg_store_revoke_key(api->store, &r, err)) < 0)
		return rc;
	fg_log_info("signer's key=%s (%s) revoked by=%s: %s", r.key, r.name, r.who, r.reason);
	*answer = json_pack("{s:s}", "key", r.key);
	fg_catalogues_changed(api, *answer);
	return 201;
}

/* ---- life ---- */

struct fg_catalogues *fg_catalogues_new(struct fg_api *api)
{
	struct fg_catalogues *c = fg_calloc(1, sizeof(*c));
	fg_autofree char *ca = fg_asprintf("%s/%s", api->dir, FG_SERVER_CA_PEM);
	fg_autofree char *pem = NULL;
	struct fg_error err = FG_ERROR_INIT;
	size_t len = 0;

	c->key_path = fg_asprintf("%s/%s", api->dir, FG_SERVER_ONLINE_PEM);
	c->unsure = true; /* whatever happened since the last one */
	api->catalogues = c;
	if (fg_file_read(ca, PEM_MAX, &pem, &len, &err) < 0 || fg_trust_load_catalogue(pem, len, &c->trust, &err) < 0 ||
	    current(api, &err) < 0)
		fg_log_warn("no catalogue: %s; hosts take no fix without one", err.text);
	return c;
}

void fg_catalogues_free(struct fg_catalogues *c)
{
	if (!c)
		return;
	if (c->key)
		explicit_bzero(c->key, c->key_len);
	fg_trust_free(c->trust);
	free(c->key);
	free(c->key_path);
	free(c->der);
	free(c);
}
