/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What hosts say: inventory, reports; and their asking for tokens. */
#include "api.h"
#include "check.h"
#include "writer.h"

#include <arpa/inet.h>
#include <fixgate/protocol.h>
#include <openssl/sha.h>
#include <server/rollout/engine.h>
#include <string.h>

#define NICS_MAX 64
#define ADDRESSES_MAX 64
#define REASON_MAX 2000 /* longer ones are cut */
#define EVIDENCE_MAX 16384 /* longer ones are left out */
#define TOKEN_BYTES 32
#define OS_MAX 64

/* ---- PUT /v1/guests ---- */

static int nic_check(const json_t *nic, struct fg_error *err)
{
	json_t *addresses = NULL, *address;
	const char *mac = NULL;
	uint8_t raw[16];
	size_t i;
	int rc = fg_json_string(nic, "mac", &mac, err);

	if (rc == 0)
		rc = fg_mac_parse(mac, raw, err);
	if (rc == 0 && json_object_get(nic, "addresses"))
		rc = fg_json_array(nic, "addresses", ADDRESSES_MAX, &addresses, err);
	if (rc < 0)
		return rc;
	json_array_foreach (addresses, i, address) {
		const char *text = json_string_value(address);
		if (!text || (inet_pton(AF_INET, text, raw) != 1 && inet_pton(AF_INET6, text, raw) != 1))
			return fg_error_set(err, FG_EFORMAT, "addresses must be a list of IP addresses");
	}
	return 0;
}

/* nics as text, checked and in normal form; malloc'd. */
static int nics_text(const json_t *guest, char **out, struct fg_error *err)
{
	json_t *nics = NULL, *nic;
	size_t i;
	int rc = fg_json_array(guest, "nics", NICS_MAX, &nics, err);

	if (rc < 0)
		return rc;
	json_array_foreach (nics, i, nic) {
		char mac[18];
		uint8_t raw[6];
		rc = nic_check(nic, err);
		if (rc == 0)
			rc = fg_mac_parse(json_string_value(json_object_get(nic, "mac")), raw, err);
		if (rc < 0)
			return rc;
		fg_mac_format(raw, mac);
		json_object_set_new(nic, "mac", json_string(mac));
	}
	*out = fg_json_dump(nics);
	return 0;
}

/* "os":{"id","version"?} as in os-release, where the host knows it; both NULL where it does not. Borrowed of item. */
static int os_read(const json_t *item, const char **id, const char **version, struct fg_error *err)
{
	json_t *os = json_object_get(item, "os");
	int rc = 0;

	*id = *version = NULL;
	if (!os || json_is_null(os))
		return 0;
	rc = fg_json_object(item, "os", &os, err);
	if (rc == 0)
		rc = fg_json_string(os, "id", id, err);
	if (rc == 0)
		rc = fg_check_text("os id", *id, OS_MAX, err);
	if (rc == 0 && strpbrk(*id, ":,*"))
		rc = fg_error_set(err, FG_EFORMAT, "an os id has no ':', ',' or '*'");
	if (rc == 0)
		rc = fg_json_string_opt(os, "version", version, err);
	if (rc == 0 && *version)
		rc = fg_check_text("os version", *version, OS_MAX, err);
	return rc;
}

/* g->uuid and g->nics are malloc'd, the rest borrowed of the body. */
static int guest_read(const json_t *item, struct fg_store_guest *g, struct fg_error *err)
{
	static const char *const toolstacks[] = { "xl", "libvirt", NULL };
	static const char *const states[] = { "running", "off", "paused", NULL };
	static const char *const identities[] = { "config", "client-id", NULL };
	char uuid[FG_UUID_TEXT];
	const char *text = NULL;
	char *nics = NULL;
	int rc = fg_json_string(item, "uuid", &text, err);

	if (rc == 0)
		rc = fg_uuid_parse(text, uuid, err);
	if (rc == 0)
		rc = fg_json_string(item, "name", &g->name, err);
	if (rc == 0)
		rc = fg_check_text("name", g->name, FG_NAME_MAX, err);
	if (rc == 0)
		rc = fg_json_string(item, "toolstack", &g->toolstack, err);
	if (rc == 0)
		rc = fg_check_word("toolstack", g->toolstack, toolstacks, err);
	if (rc == 0)
		rc = fg_json_string(item, "state", &g->state, err);
	if (rc == 0)
		rc = fg_check_word("state", g->state, states, err);
	if (rc == 0)
		rc = fg_json_string_opt(item, "identity", &g->identity, err);
	if (rc == 0 && !g->identity)
		g->identity = identities[0];
	if (rc == 0)
		rc = fg_check_word("identity", g->identity, identities, err);
	if (rc == 0)
		rc = os_read(item, &g->os_id, &g->os_version, err);
	if (rc == 0)
		rc = nics_text(item, &nics, err);
	if (rc < 0)
		return rc;
	g->uuid = fg_strdup(uuid);
	g->nics = nics;
	return 0;
}

static int guests_read(const json_t *list, struct fg_store_guest *guests, struct fg_error *err)
{
	fg_autojson json_t *seen = json_object();
	json_t *item;
	size_t i;

	json_array_foreach (list, i, item) {
		int rc = guest_read(item, &guests[i], err);
		if (rc == 0 && json_object_get(seen, guests[i].uuid))
			rc = fg_error_set(err, FG_EFORMAT, "the UUID is there twice");
		if (rc < 0) {
			fg_error_wrap(err, "guest %zu", i);
			return rc;
		}
		json_object_set_new(seen, guests[i].uuid, json_true());
	}
	return 0;
}

int fg_api_guests(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err)
{
	struct fg_api *api = ctx;
	fg_autojson json_t *body = NULL;
	json_t *list = NULL;
	size_t taken = 0;
	int rc = fg_api_body(req, &body, err);

	if (rc == 0)
		rc = fg_json_array(body, "guests", FG_PROTOCOL_GUESTS_MAX, &list, err);
	if (rc < 0)
		return rc;
	size_t n = json_array_size(list);
	struct fg_store_guest *guests = fg_calloc(n + 1, sizeof(*guests));
	rc = guests_read(list, guests, err);
	if (rc == 0)
		rc = fg_store_inventory(api->store, req->peer.name, guests, n, fg_now_ms(), &taken, err);
	for (size_t i = 0; i < n; i++) {
		free((void *)(uintptr_t)guests[i].uuid);
		free((void *)(uintptr_t)guests[i].nics);
	}
	free(guests);
	if (rc < 0)
		return rc;
	fg_poll_wake(api->poll, req->peer.name); /* a guest that moved here brings its offers */
	*answer = json_pack("{s:I}", "guests", (json_int_t)taken);
	return 200;
}

/* ---- POST /v1/reports ---- */

/* Cut to at most max bytes, not within a UTF-8 sequence; control characters become blanks. malloc'd. */
static char *clean(const char *text, size_t max)
{
	char *out = fg_strdup(text);
	size_t len = out ? strlen(out) : 0;

	if (len > max) {
		for (len = max; len > 0 && ((unsigned char)out[len] & 0xc0) == 0x80;)
			len--;
		out[len] = '\0';
	}
	for (char *p = out; p && *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = ' ';
	return out;
}

static int report_fields(const json_t *item, struct fg_store_report *r, struct fg_error *err)
{
	static const char *const isolators[] = { "vmm", "service-processor", "secondary-os", "primary-os", NULL };
	const char *state = NULL, *guest = NULL;
	char uuid[FG_UUID_TEXT];
	int rc = fg_json_string(item, "job", &r->job, err);

	if (rc == 0)
		rc = fg_check_text("job", r->job, FG_JOB_ID_MAX, err);
	if (rc == 0)
		rc = fg_json_string(item, "guest", &guest, err);
	if (rc == 0)
		rc = fg_uuid_parse(guest, uuid, err);
	if (rc == 0)
		rc = fg_json_string(item, "fix", &r->fix, err);
	if (rc == 0)
		rc = fg_check_fix_id(r->fix, err);
	if (rc == 0)
		rc = fg_json_int(item, "version", 0, INT64_MAX, &r->version, err);
	if (rc == 0)
		rc = fg_json_int(item, "at_ms", 0, INT64_MAX, &r->at_ms, err);
	if (rc == 0)
		rc = fg_json_string(item, "state", &state, err);
	if (rc == 0 && (r->state = fg_state_from_name(state)) == FG_STATE_COUNT)
		rc = fg_error_set(err, FG_EFORMAT, "there is no such state");
	if (rc == 0)
		rc = fg_json_string_opt(item, "isolator", &r->isolator, err);
	if (rc == 0 && r->isolator)
		rc = fg_check_word("isolator", r->isolator, isolators, err);
	if (rc == 0)
		r->guest = fg_strdup(uuid);
	return rc;
}

/*
 * A report that is malformed but numbered is taken as refused: turned away for ever it would stop the host's outbox.
 * guest, reason, evidence and refused are malloc'd, the rest borrowed.
 */
static void report_read(const json_t *item, struct fg_store_report *r)
{
	struct fg_error err = FG_ERROR_INIT, none = FG_ERROR_INIT;
	int64_t seq = r->seq;

	if (report_fields(item, r, &err) < 0) {
		*r = (struct fg_store_report){ .seq = seq, .job = "", .fix = "", .state = FG_STATE_COUNT };
		r->guest = fg_strdup("");
		r->refused = fg_strdup(err.text);
	}
	json_t *evidence = json_object_get(item, "evidence");
	r->reason = clean(json_string_value(json_object_get(item, "reason")), REASON_MAX);
	if (json_is_object(evidence)) {
		char *text = fg_json_dump(evidence);
		if (strlen(text) > EVIDENCE_MAX) {
			free(text);
			text = fg_strdup("{\"truncated\":true}");
		}
		r->evidence = text;
		const char *applies = json_string_value(json_object_get(evidence, "applies"));
		r->not_applicable = applies && !strcmp(applies, fg_status_name(FG_STATUS_NOT_APPLICABLE));
		/* Evidence is not a reason to refuse the report. */
		if (os_read(evidence, &r->os_id, &r->os_version, &none) < 0)
			r->os_id = r->os_version = NULL;
	}
}

static int reports_read(const json_t *list, struct fg_store_report *reports, struct fg_error *err)
{
	int64_t last = 0;
	json_t *item;
	size_t i;

	json_array_foreach (list, i, item) {
		int rc = fg_json_int(item, "seq", last + 1, INT64_MAX, &reports[i].seq, err);
		if (rc < 0) {
			fg_error_wrap(err, "report %zu", i);
			return rc;
		}
		last = reports[i].seq;
	}
	json_array_foreach (list, i, item) {
		report_read(item, &reports[i]);
	}
	return 0;
}

static void reports_free(struct fg_store_report *reports, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free((void *)(uintptr_t)reports[i].guest);
		free((void *)(uintptr_t)reports[i].reason);
		free((void *)(uintptr_t)reports[i].evidence);
		free((void *)(uintptr_t)reports[i].refused);
	}
	free(reports);
}

static void add_refused(int64_t seq, const char *why, void *arg)
{
	json_array_append_new(arg, json_pack("{s:I, s:s}", "seq", (json_int_t)seq, "text", why));
}

/* A request from when it came until it is answered. */
struct batch {
	struct fg_api *api;
	struct fg_request *req;
	json_t *body, *refused;
	const char *journal; /* borrowed of body */
	struct fg_store_report *reports;
	size_t n;
	int64_t acked;
};

static void batch_free(struct batch *b)
{
	reports_free(b->reports, b->n);
	json_decref(b->refused);
	json_decref(b->body);
	free(b);
}

static int batch_write(struct fg_store *store, void *arg, struct fg_error *err)
{
	struct batch *b = arg;

	return fg_store_reports(store, b->req->peer.name, b->journal ? b->journal : "", b->reports, b->n, fg_now_ms(),
				add_refused, b->refused, &b->acked, err);
}

static void batch_done(int rc, const struct fg_error *err, void *arg)
{
	struct batch *b = arg;
	json_t *answer;

	if (rc < 0) {
		fg_request_fail(b->req, err);
		batch_free(b);
		return;
	}
	if (fg_store_rollouts_touched(b->api->store))
		fg_rollouts_kick(b->api->rollouts);
	answer = json_pack("{s:I}", "acked", (json_int_t)b->acked);
	if (json_array_size(b->refused) > 0)
		json_object_set(answer, "refused", b->refused);
	fg_request_reply(b->req, 200, answer);
	batch_free(b);
}

static int batch_read(struct batch *b, struct fg_error *err)
{
	json_t *list = NULL;
	int rc = fg_api_body(b->req, &b->body, err);

	if (rc == 0)
		rc = fg_json_array(b->body, "reports", FG_PROTOCOL_REPORTS_MAX, &list, err);
	if (rc == 0)
		rc = fg_json_string_opt(b->body, "journal", &b->journal, err);
	if (rc == 0 && b->journal)
		rc = fg_check_text("journal", b->journal, FG_JOB_ID_MAX, err);
	if (rc < 0)
		return rc;
	b->n = json_array_size(list);
	b->reports = fg_calloc(b->n + 1, sizeof(*b->reports));
	return reports_read(list, b->reports, err);
}

/* Answered when the reports are on disk, together with those of others that came meanwhile. */
int fg_api_reports(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err)
{
	struct batch *b = fg_calloc(1, sizeof(*b));
	struct fg_write w = { batch_write, batch_done, b };

	(void)answer;
	b->api = ctx;
	b->req = req;
	b->refused = json_array();
	int rc = batch_read(b, err);
	if (rc < 0) {
		batch_free(b);
		return rc;
	}
	fg_writer_add(b->api->writer, &w);
	return FG_HTTP_LATER;
}

/* ---- POST /v1/tokens ---- */

int fg_api_tokens(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err)
{
	struct fg_api *api = ctx;
	fg_autojson json_t *body = NULL;
	const char *job = NULL, *guest = NULL, *digest = NULL;
	char uuid[FG_UUID_TEXT], token[2 * TOKEN_BYTES + 1], hash[2 * SHA256_DIGEST_LENGTH + 1];
	uint8_t raw[TOKEN_BYTES], sum[SHA256_DIGEST_LENGTH];
	int64_t now_ms = fg_now_ms(), expires_ms = now_ms + FG_TOKEN_LIFETIME_S * 1000ll;
	int rc = fg_api_body(req, &body, err);

	if (rc == 0)
		rc = fg_json_string(body, "job", &job, err);
	if (rc == 0)
		rc = fg_check_text("job", job, FG_JOB_ID_MAX, err);
	if (rc == 0)
		rc = fg_json_string(body, "guest", &guest, err);
	if (rc == 0)
		rc = fg_uuid_parse(guest, uuid, err);
	if (rc == 0)
		rc = fg_json_string(body, "digest", &digest, err);
	if (rc == 0)
		rc = fg_check_digest(digest, err);
	if (rc < 0)
		return rc;
	fg_random_bytes(raw, sizeof(raw));
	fg_hex_encode(raw, sizeof(raw), token);
	SHA256((const unsigned char *)token, strlen(token), sum);
	fg_hex_encode(sum, sizeof(sum), hash);
	rc = fg_store_token_add(api->store, hash, req->peer.name, job, uuid, digest, now_ms, expires_ms, err);
	if (rc < 0)
		return rc;
	*answer = json_pack("{s:s, s:I}", "token", token, "expires_ms", (json_int_t)expires_ms);
	return 200;
}

/* ---- POST /v1/requests ---- */

int fg_api_request(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err)
{
	struct fg_api *api = ctx;
	fg_autojson json_t *body = NULL;
	const char *guest = NULL, *fix = NULL;
	char uuid[FG_UUID_TEXT];
	int64_t seq = 0;
	int rc = fg_api_body(req, &body, err);

	if (rc == 0)
		rc = fg_json_string(body, "guest", &guest, err);
	if (rc == 0)
		rc = fg_uuid_parse(guest, uuid, err);
	if (rc == 0)
		rc = fg_json_string(body, "fix", &fix, err);
	if (rc == 0)
		rc = fg_check_fix_id(fix, err);
	if (rc == 0)
		rc = fg_store_request(api->store, req->peer.name, uuid, fix, fg_now_ms(), &seq, err);
	if (rc < 0)
		return rc;
	*answer = json_pack("{s:I}", "seq", (json_int_t)seq);
	fg_poll_wake(api->poll, req->peer.name);
	return 200;
}
