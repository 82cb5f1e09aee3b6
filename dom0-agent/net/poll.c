/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The long poll.  One request at a time:
 *	arm -> on_due -> [request] -> on_answer -> arm …
 * The first poll after a failure asks the server to answer at once, so that "online" is known early.
 */
#include "backoff.h"
#include "net.h"

#include <lib/log.h>
#include <lib/util.h>

#include <event2/event.h>
#include <string.h>

struct fg_poll {
	struct fg_net *net;
	struct event *due;
	struct fg_backoff backoff;
	int64_t cursor;
	int64_t began_ms; /* of the last request, monotonic */
	bool known, online; /* online means something only once known */
	char last_text[sizeof(((struct fg_error *)0)->text)]; /* of the last failure, so that each is logged once */
};

static void on_due(evutil_socket_t fd, short what, void *arg);
static void on_answer(void *arg, int rc, struct fg_http_answer *answer, const struct fg_error *err);

static void arm(struct fg_poll *poll, int64_t wait_ms)
{
	struct timeval tv = { wait_ms / 1000, (wait_ms % 1000) * 1000 };

	if (evtimer_add(poll->due, &tv) < 0)
		abort();
}

static void on_due(evutil_socket_t fd, short what, void *arg)
{
	struct fg_poll *poll = arg;
	unsigned wait_s = poll->known && poll->online ? FG_NET_POLL_WAIT_S : 0;
	fg_autofree char *path = fg_asprintf("/v1/offers?cursor=%lld&wait_s=%u", (long long)poll->cursor, wait_s);
	struct fg_http_request req = { .method = "GET",
				       .path = path,
				       .max_bytes = FG_PROTOCOL_BODY_MAX,
				       .timeout_ms = wait_s * 1000 + FG_NET_POLL_GRACE_MS };

	(void)fd, (void)what;
	poll->began_ms = fg_monotonic_ms();
	fg_http_start(fg_net_http(poll->net), &req, on_answer, poll);
}

static void set_online(struct fg_poll *poll, bool online, const char *text)
{
	bool was = poll->known && poll->online, change = !poll->known || poll->online != online;

	poll->known = true;
	poll->online = online;
	if (online ? change : strcmp(poll->last_text, text) != 0)
		fg_log(online ? FG_LOG_INFO : FG_LOG_WARN, "server %s: %s", online ? "online" : "offline", text);
	snprintf(poll->last_text, sizeof(poll->last_text), "%s", text);
	if (change)
		fg_net_send(poll->net, json_pack("{s:s, s:b, s:o}", "type", "online", "online", online, "text",
						 fg_net_text(text)));
	if (online && !was)
		fg_net_reconnected(poll->net);
}

/* One offer that is malformed must not keep the others from their guests: it is dropped, and logged. */
static json_t *checked_offers(const json_t *offers)
{
	json_t *out = json_array(), *json;
	size_t i;

	json_array_foreach (offers, i, json) {
		struct fg_offer_terms offer;
		struct fg_error err = FG_ERROR_INIT;

		if (fg_offer_parse(json, &offer, &err) < 0)
			fg_log_warn("offer %zu of the server is malformed: %s, ignoring", i, err.text);
		else
			json_array_append_new(out, fg_offer_json(&offer));
	}
	return out;
}

static json_t *checked_cancelled(const json_t *list)
{
	json_t *out = json_array(), *json;
	size_t i;

	if (json_array_size(list) > FG_OFFERS_MAX)
		return out;
	json_array_foreach ((json_t *)(uintptr_t)list, i, json) {
		struct fg_offer_cancelled c;
		struct fg_error err = FG_ERROR_INIT;

		if (fg_offer_cancelled_parse(json, &c, &err) < 0)
			fg_log_warn("cancelled offer %zu of the server is malformed: %s, ignoring", i, err.text);
		else
			json_array_append_new(out, json_pack("{s:I, s:s, s:s}", "seq", (json_int_t)c.seq, "guest",
							     c.guest, "fix", c.fix));
	}
	return out;
}

static int take_offers(struct fg_poll *poll, const struct fg_http_answer *answer, struct fg_error *err)
{
	fg_autojson json_t *json = NULL;
	json_t *offers = NULL;
	int64_t cursor = 0;
	int rc;

	if ((rc = fg_check_json((char *)answer->body, answer->len, &json, err)) < 0 ||
	    (rc = fg_json_int(json, "cursor", 0, INT64_MAX, &cursor, err)) < 0 ||
	    (rc = fg_json_array(json, "offers", FG_OFFERS_MAX, &offers, err)) < 0)
		return rc;
	if (cursor < poll->cursor)
		return fg_error_set(err, FG_EFORMAT, "the cursor went back from %lld to %lld", (long long)poll->cursor,
				    (long long)cursor);
	if (cursor == poll->cursor && json_array_size(offers))
		return fg_error_set(err, FG_EFORMAT, "%zu offers, but the cursor stayed at %lld",
				    json_array_size(offers), (long long)cursor);
	if (cursor == poll->cursor)
		return 0;
	poll->cursor = cursor;
	json_t *message = json_pack("{s:s, s:I, s:o}", "type", "offers", "cursor", (json_int_t)cursor, "offers",
				    checked_offers(offers));
	if (json_object_get(json, "cancelled"))
		json_object_set_new(message, "cancelled", checked_cancelled(json_object_get(json, "cancelled")));
	fg_net_send(poll->net, message);
	return 0;
}

static void on_answer(void *arg, int rc, struct fg_http_answer *answer, const struct fg_error *cause)
{
	struct fg_poll *poll = arg;
	struct fg_error err = *cause;
	int64_t pace_ms = poll->began_ms + FG_NET_POLL_PACE_MS - fg_monotonic_ms();
	uint32_t random;

	if (rc == 0)
		rc = take_offers(poll, answer, &err);
	if (rc == 0) {
		fg_backoff_reset(&poll->backoff);
		set_online(poll, true, "offers are polled");
		arm(poll, pace_ms > 0 ? pace_ms : 0);
		return;
	}
	fg_error_wrap(&err, "offers");
	set_online(poll, false, err.text);
	fg_random_bytes(&random, sizeof(random));
	arm(poll, fg_backoff_next_ms(&poll->backoff, random));
}

struct fg_poll *fg_poll_new(struct fg_net *net)
{
	struct fg_poll *poll = fg_calloc(1, sizeof(*poll));

	poll->net = net;
	poll->due = evtimer_new(fg_net_base(net), on_due, poll);
	if (!poll->due)
		abort();
	return poll;
}

void fg_poll_start(struct fg_poll *poll, int64_t cursor)
{
	poll->cursor = cursor;
	arm(poll, 0);
}

void fg_poll_free(struct fg_poll *poll)
{
	if (!poll)
		return;
	event_free(poll->due);
	free(poll);
}
