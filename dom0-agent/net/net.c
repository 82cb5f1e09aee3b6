/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "net.h"

#include <lib/log.h>
#include <lib/util.h>

#include <event2/event.h>
#include <string.h>

struct fg_net {
	struct event_base *base;
	struct fg_frame *frame; /* NULL: fixgated is gone */
	struct fg_http *http;
	struct fg_trust *trust;
	const struct fg_trust *catalogue_trust;
	char *state_dir;
	struct fg_poll *poll;
	struct fg_inventory *inventory;
	struct fg_reports *reports;
	struct fg_asks *asks;
	struct fg_heads *heads;
	struct fg_catalogues *catalogues;
	bool started, stopped;
	struct fg_error why; /* of the stop */
};

static int on_start(struct fg_net *net, const json_t *message, struct fg_error *err)
{
	struct fg_catalogue_mark oldest = { 0, 0 };
	const char *journal = NULL;
	int64_t cursor = 0, acked = 0;
	int rc;

	if (net->started)
		return fg_error_set(err, FG_EBUG, "a second start");
	if ((rc = fg_json_int(message, "cursor", 0, INT64_MAX, &cursor, err)) < 0 ||
	    (rc = fg_json_int(message, "acked", 0, INT64_MAX, &acked, err)) < 0 ||
	    (rc = fg_json_string_opt(message, "journal", &journal, err)) < 0 ||
	    (rc = fg_mark_parse(json_object_get(message, "catalogue"), &oldest, err)) < 0)
		return rc;
	net->started = true;
	fg_catalogues_start(net->catalogues, &oldest);
	fg_reports_start(net->reports, journal, acked);
	fg_poll_start(net->poll, cursor);
	return 0;
}

static int on_guests(struct fg_net *net, const json_t *message, struct fg_error *err)
{
	json_t *guests = NULL;
	int rc = fg_json_array(message, "guests", FG_PROTOCOL_GUESTS_MAX, &guests, err);

	if (rc == 0)
		fg_inventory_set(net->inventory, json_incref(guests));
	return rc;
}

static int on_report(struct fg_net *net, const json_t *message, struct fg_error *err)
{
	json_t *report = NULL;
	int rc = fg_json_object(message, "report", &report, err);

	return rc < 0 ? rc : fg_reports_add(net->reports, json_incref(report), err);
}

/* What a question has wrong is its answer; without an id there is nobody to answer. */
static int on_question(struct fg_net *net, const char *type, const json_t *message, struct fg_error *err)
{
	struct fg_error why = FG_ERROR_INIT;
	bool head = strcmp(type, "head") == 0, token = strcmp(type, "token") == 0;
	int64_t id = 0;
	int rc;

	if (!head && !token && strcmp(type, "request") != 0)
		return fg_error_set(err, FG_EBUG, "'%.32s' is no message", type);
	if ((rc = fg_json_int(message, "id", 0, INT64_MAX, &id, err)) < 0)
		return rc;
	if (head)
		rc = fg_heads_ask(net->heads, id, message, &why);
	else
		rc = token ? fg_asks_token(net->asks, id, message, &why)
			   : fg_asks_request(net->asks, id, message, &why);
	if (rc < 0)
		fg_net_failed(net, id, &why);
	return 0;
}

static int dispatch(struct fg_net *net, const json_t *message, struct fg_error *err)
{
	const char *type = NULL;
	int rc = fg_json_string(message, "type", &type, err);

	if (rc < 0)
		return rc;
	if (strcmp(type, "start") == 0)
		return on_start(net, message, err);
	if (!net->started)
		return fg_error_set(err, FG_EBUG, "'%.32s' before start", type);
	if (strcmp(type, "guests") == 0)
		return on_guests(net, message, err);
	if (strcmp(type, "report") == 0)
		return on_report(net, message, err);
	return on_question(net, type, message, err);
}

static void on_message(void *arg, struct fg_frame *frame, const json_t *message)
{
	struct fg_net *net = arg;
	struct fg_error err = FG_ERROR_INIT;

	(void)frame;
	if (!net->stopped && dispatch(net, message, &err) < 0) {
		fg_error_wrap(&err, "message of fixgated");
		fg_net_stop(net, &err);
	}
}

static void on_closed(void *arg, struct fg_frame *frame, const struct fg_error *err)
{
	struct fg_net *net = arg;

	fg_frame_free(frame);
	net->frame = NULL;
	fg_net_stop(net, err);
}

int fg_net_open(const struct fg_net_config *config, struct fg_net **out, struct fg_error *err)
{
	struct fg_net *net = fg_calloc(1, sizeof(*net));
	struct fg_frame_events events = { .message = on_message, .closed = on_closed, .arg = net };
	int rc;

	net->base = config->base;
	net->trust = config->trust;
	net->catalogue_trust = config->catalogue_trust;
	net->state_dir = fg_strdup(config->state_dir);
	if ((rc = fg_http_open(&config->http, &net->http, err)) < 0 ||
	    (rc = fg_frame_new(config->base, config->fd, &events, &net->frame, err)) < 0 ||
	    (rc = fg_heads_new(net, &net->heads, err)) < 0) {
		fg_net_close(net);
		return rc;
	}
	net->poll = fg_poll_new(net);
	net->inventory = fg_inventory_new(net);
	net->reports = fg_reports_new(net);
	net->asks = fg_asks_new(net);
	net->catalogues = fg_catalogues_new(net);
	*out = net;
	return 0;
}

int fg_net_run(struct fg_net *net, struct fg_error *err)
{
	if (!net->stopped && event_base_dispatch(net->base) < 0)
		return fg_error_set(err, FG_EFAILED, "event loop failed");
	if (net->why.code)
		return fg_error_set(err, (enum fg_error_code)net->why.code, "%s", net->why.text);
	return 0;
}

void fg_net_close(struct fg_net *net)
{
	if (!net)
		return;
	fg_http_close(net->http); /* first: no callback into the channels after this */
	fg_poll_free(net->poll);
	fg_inventory_free(net->inventory);
	fg_reports_free(net->reports);
	fg_asks_free(net->asks);
	fg_catalogues_free(net->catalogues); /* before those that wait for one */
	fg_heads_free(net->heads);
	fg_frame_free(net->frame);
	free(net->state_dir);
	free(net);
}

struct event_base *fg_net_base(const struct fg_net *net)
{
	return net->base;
}

struct fg_http *fg_net_http(const struct fg_net *net)
{
	return net->http;
}

struct fg_trust *fg_net_trust(const struct fg_net *net)
{
	return net->trust;
}

const struct fg_trust *fg_net_catalogue_trust(const struct fg_net *net)
{
	return net->catalogue_trust;
}

struct fg_catalogues *fg_net_catalogues(const struct fg_net *net)
{
	return net->catalogues;
}

const char *fg_net_state_dir(const struct fg_net *net)
{
	return net->state_dir;
}

void fg_net_send(struct fg_net *net, json_t *message)
{
	struct fg_error err = FG_ERROR_INIT;

	/* IO: fixgated is gone, on_closed comes; until then there is what it said before. */
	if (net->frame && fg_frame_send(net->frame, message, &err) < 0 && err.code != FG_EIO) {
		fg_error_wrap(&err, "to fixgated");
		fg_net_stop(net, &err);
	}
	json_decref(message);
}

json_t *fg_net_text(const char *text)
{
	json_t *json = json_string(text);

	if (json)
		return json;
	fg_autofree char *copy = fg_strdup(text);
	for (char *p = copy; *p; p++)
		if ((unsigned char)*p >= 0x80)
			*p = '?';
	json = json_string(copy);
	if (!json)
		abort();
	return json;
}

void fg_net_failed(struct fg_net *net, int64_t id, const struct fg_error *err)
{
	fg_net_send(net, json_pack("{s:s, s:I, s:s, s:o}", "type", "failed", "id", (json_int_t)id, "code",
				   fg_error_name(err->code), "text", fg_net_text(err->text)));
}

void fg_net_stop(struct fg_net *net, const struct fg_error *why)
{
	if (net->stopped)
		return;
	net->stopped = true;
	net->why = *why;
	event_base_loopbreak(net->base);
}

void fg_net_reconnected(struct fg_net *net)
{
	fg_inventory_reconnected(net->inventory);
	fg_reports_reconnected(net->reports);
}
