/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "api.h"

static int healthz(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err)
{
	(void)req, (void)ctx, (void)err;
	*answer = json_pack("{s:b}", "ok", 1);
	return 200;
}

/* One path, two roles: an agent waits for its own, an administrator sees all. */
static int offers(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err)
{
	struct fg_api *api = ctx;

	if (req->peer.role == FG_ROLE_IS_ADMIN)
		return fg_api_offers_all(req, ctx, answer, err);
	return fg_poll_request(api->poll, req, answer, err);
}

#define AGENT FG_ROLE_IS_AGENT
#define ADMIN FG_ROLE_IS_ADMIN
#define ANYBODY (FG_ROLE_NOBODY | FG_ROLE_IS_AGENT | FG_ROLE_IS_ADMIN)
#define TOKEN FG_ROLE_NOBODY /* the handler checks the token */

const struct fg_route fg_api_routes[] = {
	{ EVHTTP_REQ_PUT, "/v1/guests", AGENT, fg_api_guests },
	{ EVHTTP_REQ_GET, "/v1/offers", AGENT | ADMIN, offers },
	{ EVHTTP_REQ_POST, "/v1/offers", ADMIN, fg_api_offer },
	{ EVHTTP_REQ_POST, "/v1/reports", AGENT, fg_api_reports },
	{ EVHTTP_REQ_POST, "/v1/tokens", AGENT, fg_api_tokens },
	{ EVHTTP_REQ_POST, "/v1/requests", AGENT, fg_api_request },
	{ EVHTTP_REQ_GET | EVHTTP_REQ_HEAD, "/v1/blobs/*", AGENT | TOKEN, fg_api_blob },
	{ EVHTTP_REQ_PUT, "/v1/fixes/*", ADMIN, fg_api_publish },
	{ EVHTTP_REQ_GET, "/v1/fixes", ADMIN, fg_api_fixes },
	{ EVHTTP_REQ_GET, "/v1/clients", ADMIN, fg_api_clients },
	{ EVHTTP_REQ_GET, "/v1/audit", ADMIN, fg_api_audit },
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
