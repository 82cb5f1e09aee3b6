/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "api.h"

#include <lib/log.h>

static int healthz(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err)
{
	const struct fg_api *api = ctx;
	struct fg_error why = FG_ERROR_INIT;

	(void)req;
	if (fg_store_ping(api->store, &why) < 0) {
		fg_log_err("%s", why.text);
		return fg_error_set(err, FG_EUNREACHABLE, "the database cannot be read");
	}
	*answer = json_pack("{s:b}", "ok", 1);
	return 200;
}

/* One path, two roles: an agent waits for its own, an administrator sees all. */
static int offers(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err)
{
	struct fg_api *api = ctx;

	if (req->peer.role != FG_ROLE_IS_AGENT)
		return fg_api_offers_all(req, ctx, answer, err);
	return fg_poll_request(api->poll, req, answer, err);
}

#define AGENT FG_ROLE_IS_AGENT
/* What an administrator may: who reads, who offers and rolls out, who publishes, enrols and revokes. */
#define ADMIN FG_ROLE_IS_ADMIN
#define OPERATOR (FG_ROLE_IS_OPERATOR | ADMIN)
#define VIEWER (FG_ROLE_IS_VIEWER | OPERATOR)
#define ANYBODY (FG_ROLE_NOBODY | AGENT | VIEWER)
#define TOKEN FG_ROLE_NOBODY /* the handler checks the token */

const struct fg_route fg_api_routes[] = {
	{ EVHTTP_REQ_PUT, "/v1/guests", AGENT, fg_api_guests },
	{ EVHTTP_REQ_GET, "/v1/offers", AGENT | VIEWER, offers },
	{ EVHTTP_REQ_POST, "/v1/offers", OPERATOR, fg_api_offer },
	{ EVHTTP_REQ_POST, "/v1/reports", AGENT, fg_api_reports },
	{ EVHTTP_REQ_POST, "/v1/tokens", AGENT, fg_api_tokens },
	{ EVHTTP_REQ_POST, "/v1/requests", AGENT, fg_api_request },
	{ EVHTTP_REQ_GET | EVHTTP_REQ_HEAD, "/v1/blobs/*", AGENT | TOKEN, fg_api_blob },
	{ EVHTTP_REQ_PUT, "/v1/fixes/*", ADMIN, fg_api_publish },
	{ EVHTTP_REQ_GET, "/v1/fixes", VIEWER, fg_api_fixes },
	{ EVHTTP_REQ_GET, "/v1/catalogue", AGENT | VIEWER, fg_api_catalogue },
	{ EVHTTP_REQ_POST, "/v1/withdrawals", ADMIN, fg_api_withdraw },
	{ EVHTTP_REQ_POST, "/v1/signers/revoked", ADMIN, fg_api_revoke_signer },
	{ EVHTTP_REQ_GET, "/v1/clients", VIEWER, fg_api_clients },
	{ EVHTTP_REQ_GET, "/v1/audit", VIEWER, fg_api_audit },
	{ EVHTTP_REQ_GET, "/v1/history/*", VIEWER, fg_api_history },
	{ EVHTTP_REQ_POST, "/v1/labels", OPERATOR, fg_api_labels },
	{ EVHTTP_REQ_POST, "/v1/cancellations", OPERATOR, fg_api_cancel },
	{ EVHTTP_REQ_GET, "/v1/rollouts", VIEWER, fg_api_rollouts },
	{ EVHTTP_REQ_POST, "/v1/rollouts", OPERATOR, fg_api_rollout_create },
	{ EVHTTP_REQ_GET, "/v1/rollouts/*", VIEWER, fg_api_rollout },
	{ EVHTTP_REQ_POST, "/v1/rollouts/*", OPERATOR, fg_api_rollout_control },
	{ EVHTTP_REQ_GET, "/v1/ca", ANYBODY, fg_api_ca },
	{ EVHTTP_REQ_POST, "/v1/enrol", FG_ROLE_NOBODY, fg_api_enrol },
	{ EVHTTP_REQ_POST, "/v1/renew", AGENT, fg_api_renew },
	{ EVHTTP_REQ_POST, "/v1/codes", ADMIN, fg_api_code },
	{ EVHTTP_REQ_POST, "/v1/revocations", ADMIN, fg_api_revoke },
	{ EVHTTP_REQ_GET, "/v1/certificates", VIEWER, fg_api_certificates },
	{ EVHTTP_REQ_GET, "/metrics", VIEWER, fg_api_metrics },
	{ EVHTTP_REQ_GET | EVHTTP_REQ_HEAD, "/healthz", ANYBODY, healthz },
	{ 0, NULL, 0, NULL },
};

int fg_api_body(const struct fg_request *req, json_t **out, struct fg_error *err)
{
	json_t *body = NULL;
	int rc = fg_json_parse(req->body, req->body_len, &body, err);

	if (rc < 0)
		return rc;
	if (!json_is_object(body)) {
		json_decref(body);
		return fg_error_set(err, FG_EFORMAT, "the body must be a JSON object");
	}
	*out = body;
	return 0;
}
