/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Questions of fixgated that are one request to the server: a token for a download, an offer for a guest.
 * Tried once; the answer, or why there is none, goes back under the question's id.
 */
#include "net.h"

#include <lib/util.h>

#include <string.h>

struct fg_asks {
	struct fg_net *net;
	struct ask *list; /* under way */
	unsigned count;
};

struct ask {
	struct fg_asks *asks;
	struct ask *next, **link;
	int64_t id;
	/* Makes the message for fixgated from the server's answer. */
	int (*answer)(const struct ask *ask, const json_t *json, json_t **out, struct fg_error *err);
};

static void ask_free(struct ask *ask)
{
	*ask->link = ask->next;
	if (ask->next)
		ask->next->link = ask->link;
	ask->asks->count--;
	free(ask);
}

static int token_answer(const struct ask *ask, const json_t *json, json_t **out, struct fg_error *err)
{
	const char *token = NULL;
	int64_t expires = 0;
	int rc;

	if ((rc = fg_json_string(json, "token", &token, err)) < 0 || (rc = fg_check_token(token, err)) < 0 ||
	    (rc = fg_json_int(json, "expires_ms", 0, INT64_MAX, &expires, err)) < 0)
		return rc;
	*out = json_pack("{s:s, s:I, s:s, s:I}", "type", "token", "id", (json_int_t)ask->id, "token", token,
			 "expires_ms", (json_int_t)expires);
	return 0;
}

static int request_answer(const struct ask *ask, const json_t *json, json_t **out, struct fg_error *err)
{
	int64_t seq = 0;
	int rc = fg_json_int(json, "seq", 0, INT64_MAX, &seq, err);

	if (rc < 0)
		return rc;
	*out = json_pack("{s:s, s:I}", "type", "requested", "id", (json_int_t)ask->id);
	return 0;
}

static void on_answer(void *arg, int rc, struct fg_http_answer *answer, const struct fg_error *cause)
{
	struct ask *ask = arg;
	struct fg_error err = *cause, why = FG_ERROR_INIT;
	fg_autojson json_t *json = NULL;
	json_t *message = NULL;

	if (rc == 0 && (fg_check_json((char *)answer->body, answer->len, &json, &why) < 0 ||
			ask->answer(ask, json, &message, &why) < 0))
		/* What the server garbles says nothing about the fix: see http.h. */
		rc = fg_error_set(&err, FG_EUNREACHABLE, "the server's answer: %s", why.text);
	if (rc < 0)
		fg_net_failed(ask->asks->net, ask->id, &err);
	else
		fg_net_send(ask->asks->net, message);
	ask_free(ask);
}

static void begin(struct fg_asks *asks, const struct ask *like, const char *path, json_t *body)
{
	struct ask *ask;
	struct fg_error err = FG_ERROR_INIT;
	struct fg_http_request req = {
		.method = "POST", .path = path, .max_bytes = FG_PROTOCOL_BODY_MAX, .timeout_ms = FG_NET_TIMEOUT_MS
	};

	if (asks->count == FG_NET_ASKS_MAX) {
		fg_error_set(&err, FG_EUNREACHABLE, "%u questions wait for the server already", asks->count);
		fg_net_failed(asks->net, like->id, &err);
		json_decref(body);
		return;
	}
	ask = fg_calloc(1, sizeof(*ask));
	*ask = *like;
	ask->asks = asks;
	ask->next = asks->list;
	ask->link = &asks->list;
	if (ask->next)
		ask->next->link = &ask->next;
	asks->list = ask;
	asks->count++;
	req.body = fg_json_dump(body);
	json_decref(body);
	fg_http_start(fg_net_http(asks->net), &req, on_answer, ask);
}

int fg_asks_token(struct fg_asks *asks, int64_t id, const json_t *message, struct fg_error *err)
{
	struct ask ask = { .id = id, .answer = token_answer };
	const char *job = NULL, *guest = NULL, *digest = NULL;
	int rc;

	if ((rc = fg_json_string(message, "job", &job, err)) < 0 || (rc = fg_check_uuid(job, err)) < 0 ||
	    (rc = fg_json_string(message, "guest", &guest, err)) < 0 || (rc = fg_check_uuid(guest, err)) < 0 ||
	    (rc = fg_json_string(message, "digest", &digest, err)) < 0 || (rc = fg_check_digest(digest, err)) < 0)
		return rc;
	begin(asks, &ask, "/v1/tokens", json_pack("{s:s, s:s, s:s}", "job", job, "guest", guest, "digest", digest));
	return 0;
}

int fg_asks_request(struct fg_asks *asks, int64_t id, const json_t *message, struct fg_error *err)
{
	struct ask ask = { .id = id, .answer = request_answer };
	const char *guest = NULL, *fix = NULL;
	int rc;

	if ((rc = fg_json_string(message, "guest", &guest, err)) < 0 || (rc = fg_check_uuid(guest, err)) < 0 ||
	    (rc = fg_json_string(message, "fix", &fix, err)) < 0 || (rc = fg_check_fix_id(fix, err)) < 0)
		return rc;
	begin(asks, &ask, "/v1/requests", json_pack("{s:s, s:s}", "guest", guest, "fix", fix));
	return 0;
}

struct fg_asks *fg_asks_new(struct fg_net *net)
{
	struct fg_asks *asks = fg_calloc(1, sizeof(*asks));

	asks->net = net;
	return asks;
}

void fg_asks_free(struct fg_asks *asks)
{
	if (!asks)
		return;
	for (struct ask *ask = asks->list, *next; ask; ask = next) {
		next = ask->next;
		ask_free(ask);
	}
	free(asks);
}
