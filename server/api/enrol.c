/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Certificates: one-time codes, enrolment, renewal, revocation.  Certificates are made by the signer, another process
 * (server/setup/signer.h); the request waits for its answer.
 */
#include "api.h"
#include "check.h"

#include <fixgate/protocol.h>
#include <inttypes.h>
#include <lib/log.h>
#include <server/metrics.h>
#include <server/setup/code.h>
#include <server/setup/pki.h>
#include <server/store/certs.h>
#include <string.h>
#include <sys/queue.h>

#define SIGN_MS 10000
#define WAITING_MAX 256
#define CA_MAX (64u << 10)

struct signing {
	TAILQ_ENTRY(signing) entry;
	struct fg_enroller *enroller;
	struct fg_request *req;
	struct event *timer;
	int64_t id;
};

struct fg_enroller {
	struct event_base *base;
	struct fg_api *api;
	bool signer;
	TAILQ_HEAD(signings, signing) waiting;
	size_t n;
	int64_t next_id;
};

/* ---- waiting for the signer ---- */

static struct fg_request *signing_end(struct signing *s)
{
	struct fg_request *req = s->req;

	TAILQ_REMOVE(&s->enroller->waiting, s, entry);
	s->enroller->n--;
	event_free(s->timer);
	free(s);
	return req;
}

static void on_no_answer(evutil_socket_t fd, short what, void *arg)
{
	struct fg_error err = FG_ERROR_INIT;

	(void)fd, (void)what;
	fg_error_set(&err, FG_EUNREACHABLE, "no certificate could be made: try again");
	fg_request_fail(signing_end(arg), &err);
}

static int ask_signer(struct fg_enroller *e, struct fg_request *req, json_t *what, struct fg_error *err)
{
	fg_autojson json_t *message = what;
	struct timeval tv = { SIGN_MS / 1000, 0 };

	if (!e->signer)
		return fg_error_set(err, FG_EREFUSED,
				    "this server runs without its CA's key: see fixgate-server(8), enrol");
	json_object_set_new(message, "id", json_integer(++e->next_id));
	fg_autofree char *text = fg_json_dump(message);
	if (e->n >= WAITING_MAX || !fg_bus_send(e->api->bus, FG_BUS_SIGNER, FG_BUS_SIGN, text, strlen(text)))
		return fg_error_set(err, FG_EUNREACHABLE, "no certificate can be made now: try again");
	struct signing *s = fg_calloc(1, sizeof(*s));
	*s = (struct signing){ .enroller = e, .req = req, .id = e->next_id };
	s->timer = evtimer_new(e->base, on_no_answer, s);
	if (!s->timer || event_add(s->timer, &tv) < 0)
		abort();
	TAILQ_INSERT_TAIL(&e->waiting, s, entry);
	e->n++;
	return FG_HTTP_LATER;
}

void fg_enroller_signed(struct fg_enroller *e, const char *text, size_t len)
{
	struct fg_error err = FG_ERROR_INIT;
	fg_autojson json_t *message = NULL;
	struct signing *s;
	int64_t id = 0, code = 0;
	const char *pem = NULL, *why = NULL;
	int rc = fg_json_parse(text, len, &message, &err);

	if (rc == 0)
		rc = fg_json_int(message, "id", 0, INT64_MAX, &id, &err);
	TAILQ_FOREACH (s, &e->waiting, entry)
		if (s->id == id)
			break;
	if (rc < 0 || !s)
		return; /* it gave up */
	if (fg_json_string(message, "certificate", &pem, NULL) == 0) {
		e->api->slot->certificates++;
		fg_log_info("peer=%s enrolment=%s certificate given", s->req->peer.name,
			    s->req->peer.role == FG_ROLE_NOBODY ? "new" : "renewal");
		fg_request_reply(signing_end(s), 200, json_pack("{s:s}", "certificate", pem));
		return;
	}
	if (fg_json_int(message, "code", 1, FG_EBUG, &code, NULL) < 0 ||
	    fg_json_string(message, "text", &why, NULL) < 0) {
		code = FG_EFAILED;
		why = "the signer failed";
	}
	fg_error_set(&err, (enum fg_error_code)code, "%s", why);
	fg_request_fail(signing_end(s), &err);
}

struct fg_enroller *fg_enroller_new(struct event_base *base, struct fg_api *api, bool signer)
{
	struct fg_enroller *e = fg_calloc(1, sizeof(*e));

	e->base = base;
	e->api = api;
	e->signer = signer;
	/* An answer for whoever had this mailbox before is no answer for us. */
	fg_random_bytes(&e->next_id, sizeof(e->next_id));
	e->next_id = (int64_t)((uint64_t)e->next_id >> 12);
	TAILQ_INIT(&e->waiting);
	return e;
}

void fg_enroller_free(struct fg_enroller *e)
{
	if (!e)
		return;
	for (struct signing *s = TAILQ_FIRST(&e->waiting), *next; s; s = next) {
		next = TAILQ_NEXT(s, entry);
		on_no_answer(-1, 0, s);
	}
	free(e);
}

/* ---- for hosts ---- */

int fg_api_ca(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err)
{
	struct fg_api *api = ctx;
	fg_autofree char *path = fg_asprintf("%s/%s", api->dir, FG_SERVER_CA_PEM);
	fg_autofree char *pem = NULL;
	int rc = fg_file_read(path, CA_MAX, &pem, NULL, err);

	(void)answer;
	if (rc < 0)
		return rc;
	fg_request_text(req, 200, "application/x-pem-file", pem);
	return FG_HTTP_LATER;
}

static int csr_of(const json_t *body, const char **csr, struct fg_error *err)
{
	int rc = fg_json_string(body, "csr", csr, err);

	if (rc == 0 && strlen(*csr) > FG_PKI_CSR_MAX)
		rc = fg_error_set(err, FG_EFORMAT, "\"csr\" has more than %d bytes", FG_PKI_CSR_MAX);
	return rc;
}

int fg_api_enrol(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err)
{
	struct fg_api *api = ctx;
	fg_autojson json_t *body = NULL;
	const char *code = NULL, *csr = NULL;
	char hash[FG_CODE_HASH];
	int rc = fg_api_body(req, &body, err);

	(void)answer;
	if (rc == 0)
		rc = fg_json_string(body, "code", &code, err);
	if (rc == 0)
		rc = csr_of(body, &csr, err);
	if (rc == 0)
		rc = fg_code_hash(code, hash, err);
	/* Strangers do not get as far as the signer. */
	if (rc == 0)
		rc = fg_store_code_check(api->store, hash, fg_now_ms(), err);
	if (rc < 0)
		return rc;
	return ask_signer(api->enroller, req, json_pack("{s:s, s:s}", "code", hash, "csr", csr), err);
}

int fg_api_renew(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err)
{
	struct fg_api *api = ctx;
	fg_autojson json_t *body = NULL;
	const char *csr = NULL;
	int rc = fg_api_body(req, &body, err);

	(void)answer;
	if (rc == 0)
		rc = csr_of(body, &csr, err);
	if (rc < 0)
		return rc;
	return ask_signer(api->enroller, req,
			  json_pack("{s:s, s:s, s:s}", "host", req->peer.name, "serial", req->peer.serial, "csr", csr),
			  err);
}

/* ---- for administrators ---- */

int fg_api_code(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err)
{
	struct fg_api *api = ctx;
	fg_autojson json_t *body = NULL;
	const char *host = NULL;
	int64_t minutes = 0, expires_ms = 0;
	char code[FG_CODE_TEXT];
	int rc = fg_api_body(req, &body, err);

	if (rc == 0)
		rc = fg_json_string(body, "host", &host, err);
	if (rc == 0 && fg_pki_name_check(host, NULL) < 0)
		rc = fg_error_set(err, FG_EFORMAT, "\"host\" is no host name");
	if (rc == 0)
		rc = fg_json_int_opt(body, "minutes", 1, FG_CODE_MINUTES_MAX, FG_CODE_MINUTES, &minutes, err);
	if (rc == 0)
		rc = fg_code_make(api->store, api->dir, host, req->peer.name, minutes, code, &expires_ms, err);
	if (rc < 0)
		return rc;
	*answer = json_pack("{s:s, s:s, s:I}", "host", host, "code", code, "expires_ms", (json_int_t)expires_ms);
	return 201;
}

int fg_api_revoke(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err)
{
	static const char *const roles[] = { FG_ROLE_AGENT, FG_ROLE_VIEWER, FG_ROLE_OPERATOR, FG_ROLE_ADMIN, NULL };
	struct fg_api *api = ctx;
	fg_autojson json_t *body = NULL;
	const char *role = NULL, *name = NULL;
	int64_t n = 0;
	int rc = fg_api_body(req, &body, err);

	if (rc == 0)
		rc = fg_json_string_opt(body, "role", &role, err);
	if (!role)
		role = FG_ROLE_AGENT;
	if (rc == 0)
		rc = fg_check_word("role", role, roles, err);
	if (rc == 0)
		rc = fg_json_string(body, "name", &name, err);
	if (rc == 0 && fg_pki_name_check(name, NULL) < 0)
		rc = fg_error_set(err, FG_EFORMAT, "\"name\" is no name of a host or person");
	if (rc == 0)
		rc = fg_store_revoke(api->store, role, name, req->peer.name, fg_now_ms(), &n, err);
	if (rc < 0)
		return rc;
	fg_log_warn("peer=%s revoked role=%s name=%s certificates=%" PRId64, req->peer.name, role, name, n);
	fg_bus_broadcast(api->bus, FG_BUS_RECHECK, "", 0);
	fg_http_recheck(req->http);
	*answer = json_pack("{s:I}", "revoked", (json_int_t)n);
	return 200;
}

static void add_cert(const struct fg_store_cert *c, void *arg)
{
	json_t *cert =
		json_pack("{s:s, s:s, s:s, s:I, s:I}", "serial", c->serial, "role", c->role, "name", c->name,
			  "issued_ms", (json_int_t)c->issued_ms, "expires_ms", (json_int_t)c->not_after_s * 1000);

	if (c->revoked_ms)
		json_object_set_new(cert, "revoked_ms", json_integer(c->revoked_ms));
	json_array_append_new(arg, cert);
}

int fg_api_certificates(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err)
{
	struct fg_api *api = ctx;
	fg_autojson json_t *list = json_array();
	int rc = fg_store_certs(api->store, add_cert, list, err);

	(void)req;
	if (rc < 0)
		return rc;
	*answer = json_pack("{s:O}", "certificates", list);
	return 200;
}
