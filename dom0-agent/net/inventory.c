/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The inventory of this host's guests: the last one said by fixgated is what counts.
 *	set | reconnected -> send -> on_answer -> (newer meanwhile: send) | (failed: back-off -> send)
 * Nothing is sent before the first poll was answered: that is the first "reconnected".
 */
#include "backoff.h"
#include "net.h"

#include <fixgate/protocol.h>
#include <lib/log.h>
#include <lib/util.h>

#include <event2/event.h>
#include <string.h>

struct fg_inventory {
	struct fg_net *net;
	struct event *retry;
	struct fg_backoff backoff;
	json_t *guests; /* NULL: not said yet */
	bool ready; /* the server has answered once */
	bool dirty; /* the server does not have guests */
	bool busy; /* a request is under way */
	bool said; /* the failure is in the log */
};

static void on_answer(void *arg, int rc, struct fg_http_answer *answer, const struct fg_error *err);

static void send_now(struct fg_inventory *inv)
{
	if (!inv->ready || inv->busy || !inv->dirty || !inv->guests)
		return;
	evtimer_del(inv->retry);

	fg_autojson json_t *body = json_pack("{s:O}", "guests", inv->guests);
	struct fg_http_request req = { .method = "PUT",
				       .path = "/v1/guests",
				       .body = fg_json_dump(body),
				       .max_bytes = FG_PROTOCOL_BODY_MAX,
				       .timeout_ms = FG_NET_TIMEOUT_MS };
	inv->busy = true;
	inv->dirty = false;
	fg_http_start(fg_net_http(inv->net), &req, on_answer, inv);
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	send_now(arg);
}

static void on_answer(void *arg, int rc, struct fg_http_answer *answer, const struct fg_error *err)
{
	struct fg_inventory *inv = arg;
	uint32_t random;

	(void)answer; /* how many guests the server counted changes nothing here */
	inv->busy = false;
	if (rc == 0) {
		fg_backoff_reset(&inv->backoff);
		inv->said = false;
		send_now(inv);
		return;
	}
	if (!inv->said)
		fg_log_warn("inventory: %s; it is sent again", err->text);
	inv->said = true;
	inv->dirty = true;
	fg_random_bytes(&random, sizeof(random));
	uint32_t ms = fg_backoff_next_ms(&inv->backoff, random);
	struct timeval tv = { ms / 1000, (ms % 1000) * 1000 };
	evtimer_add(inv->retry, &tv);
}

struct fg_inventory *fg_inventory_new(struct fg_net *net)
{
	struct fg_inventory *inv = fg_calloc(1, sizeof(*inv));

	inv->net = net;
	inv->retry = evtimer_new(fg_net_base(net), on_retry, inv);
	if (!inv->retry)
		abort();
	return inv;
}

void fg_inventory_set(struct fg_inventory *inv, json_t *guests)
{
	if (inv->guests && json_equal(inv->guests, guests)) {
		json_decref(guests);
		return;
	}
	json_decref(inv->guests);
	inv->guests = guests;
	inv->dirty = true;
	if (!evtimer_pending(inv->retry, NULL))
		send_now(inv);
}

void fg_inventory_reconnected(struct fg_inventory *inv)
{
	inv->ready = true;
	inv->dirty = true;
	send_now(inv);
}

void fg_inventory_free(struct fg_inventory *inv)
{
	if (!inv)
		return;
	event_free(inv->retry);
	json_decref(inv->guests);
	free(inv);
}
