/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Inside of fixgate-net.  Five channels share one event loop, one HTTPS client and one socket to fixgated:
 *
 *	poll       long poll for offers; its success or failure is what "online" means
 *	inventory  the guests of this host, sent when they change and on reconnect
 *	reports    outcomes, in order, until the server has them
 *	catalogue  the server's signed list of valid fixes, when a head is asked for and the one here is old
 *	ask        head, token, request: one answer each to fixgated
 *
 * None waits for another.  A channel that fails tries again after its own back-off (ask does not: fixgated decides).
 */
#ifndef FG_NET_NET_H
#define FG_NET_NET_H

#include "check.h"
#include "http.h"

#include <fixgate/bundle.h>
#include <fixgate/protocol.h>
#include <lib/frame.h>

#include <stdbool.h>

#define FG_NET_TIMEOUT_MS 30000 /* of a request, except: */
#define FG_NET_HEAD_TIMEOUT_MS 600000
#define FG_NET_POLL_WAIT_S 50 /* the server answers by then … */
#define FG_NET_POLL_GRACE_MS 15000 /* … or the poll has failed after that much more */
#define FG_NET_POLL_PACE_MS 1000 /* polls begin at least so far apart, whatever the server does */
#define FG_NET_ASKS_MAX 256 /* of fixgated, under way at a time */

struct fg_net;
struct fg_poll;
struct fg_inventory;
struct fg_reports;
struct fg_asks;
struct fg_heads;
struct fg_catalogues;

struct fg_net_config {
	struct event_base *base;
	int fd; /* to fixgated; taken */
	struct fg_http_config http;
	struct fg_trust *trust; /* borrowed; signers that the catalogue revokes are taken out of it */
	const struct fg_trust *catalogue_trust; /* borrowed: the server's CA */
	char *state_dir; /* absolute, for "path" in messages; the process stands in <state_dir>/net */
};
int fg_net_open(const struct fg_net_config *config, struct fg_net **out, struct fg_error *err) FG_MUST_CHECK;
/* Runs until fixgated hangs up (0) or breaks the contract. */
int fg_net_run(struct fg_net *net, struct fg_error *err) FG_MUST_CHECK;
void fg_net_close(struct fg_net *net);

/* For the channels. */
struct event_base *fg_net_base(const struct fg_net *net);
struct fg_http *fg_net_http(const struct fg_net *net);
struct fg_trust *fg_net_trust(const struct fg_net *net);
const struct fg_trust *fg_net_catalogue_trust(const struct fg_net *net);
struct fg_catalogues *fg_net_catalogues(const struct fg_net *net);
const char *fg_net_state_dir(const struct fg_net *net);
/* To fixgated; the message is taken.  A fixgated that does not read ends the program. */
void fg_net_send(struct fg_net *net, json_t *message);
void fg_net_failed(struct fg_net *net, int64_t id, const struct fg_error *err);
/* Text of any origin as JSON: bytes that are no UTF-8 become '?'. */
json_t *fg_net_text(const char *text);
/* Ends the loop; why->code 0: in order. */
void fg_net_stop(struct fg_net *net, const struct fg_error *why);
/* From poll: the server answers again; inventory and reports are sent at once. */
void fg_net_reconnected(struct fg_net *net);

struct fg_poll *fg_poll_new(struct fg_net *net);
void fg_poll_start(struct fg_poll *poll, int64_t cursor);
void fg_poll_free(struct fg_poll *poll);

struct fg_inventory *fg_inventory_new(struct fg_net *net);
void fg_inventory_set(struct fg_inventory *inventory, json_t *guests); /* taken */
void fg_inventory_reconnected(struct fg_inventory *inventory);
void fg_inventory_free(struct fg_inventory *inventory);

struct fg_reports *fg_reports_new(struct fg_net *net);
void fg_reports_start(struct fg_reports *reports, const char *journal, int64_t acked); /* journal: NULL or "" = none */
int fg_reports_add(struct fg_reports *reports, json_t *report, struct fg_error *err) FG_MUST_CHECK; /* taken */
void fg_reports_reconnected(struct fg_reports *reports);
void fg_reports_free(struct fg_reports *reports);

/* token and request.  A failure is of the message itself: then no answer under id comes from here. */
struct fg_asks *fg_asks_new(struct fg_net *net);
int fg_asks_token(struct fg_asks *asks, int64_t id, const json_t *message, struct fg_error *err) FG_MUST_CHECK;
int fg_asks_request(struct fg_asks *asks, int64_t id, const json_t *message, struct fg_error *err) FG_MUST_CHECK;
void fg_asks_free(struct fg_asks *asks);

/*
 * catalogue.  want: done is called once, perhaps before want returns: rc 0 when there is a valid catalogue that was asked for
 * at most max_age_ms ago; otherwise UNREACHABLE with the reason, whatever it is: that there is no good catalogue says
 * nothing about a fix.
 */
struct fg_catalogues *fg_catalogues_new(struct fg_net *net);
void fg_catalogues_start(struct fg_catalogues *catalogues, const struct fg_catalogue_mark *oldest);
typedef void (*fg_catalogue_cb)(void *arg, int rc, const struct fg_error *err);
void fg_catalogues_want(struct fg_catalogues *catalogues, int64_t max_age_ms, fg_catalogue_cb done, void *arg);
/* NULL before the first; asked_ms (monotonic): when the server was asked for it. */
const struct fg_catalogue *fg_catalogues_now(const struct fg_catalogues *catalogues, int64_t *asked_ms);
void fg_catalogues_free(struct fg_catalogues *catalogues);

/* head */
int fg_heads_new(struct fg_net *net, struct fg_heads **out, struct fg_error *err) FG_MUST_CHECK;
int fg_heads_ask(struct fg_heads *heads, int64_t id, const json_t *message, struct fg_error *err) FG_MUST_CHECK;
void fg_heads_free(struct fg_heads *heads);

#endif
