/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Reports to the server: in the order of their numbers, in batches, again and again until it has acknowledged them.
 *	add -> send_now -> on_answer -> (progress: send_now) | (failed or no progress: back-off -> send_now)
 * What is not acknowledged when this process ends is in fixgated's journal and comes again after "start".
 */
#include "backoff.h"
#include "net.h"

#include <fixgate/protocol.h>
#include <lib/log.h>
#include <lib/util.h>

#include <event2/event.h>
#include <string.h>
#include <sys/queue.h>

#define QUEUE_MAX 16384 /* reports */
#define QUEUE_BYTES_MAX (64u << 20)
#define REPORT_BYTES_MAX (FG_PROTOCOL_BODY_MAX / 4) /* without evidence if it is longer */
#define BATCH_BYTES_MAX (FG_PROTOCOL_BODY_MAX - 4096)

struct report {
	STAILQ_ENTRY(report) next;
	int64_t seq;
	size_t bytes;
	json_t *json;
};

struct fg_reports {
	struct fg_net *net;
	struct event *retry;
	struct fg_backoff backoff;
	STAILQ_HEAD(report_list, report) queue;
	size_t count, bytes;
	size_t batch_max; /* halved when the server refuses a batch: one bad report holds up as few as possible */
	int64_t acked, last, sent; /* by the server; in the queue; in the request under way */
	bool busy, said, overflow;
	char *journal; /* NULL: it has no name */
};

static void on_answer(void *arg, int rc, struct fg_http_answer *answer, const struct fg_error *err);

static void drop_first(struct fg_reports *r)
{
	struct report *first = STAILQ_FIRST(&r->queue);

	STAILQ_REMOVE_HEAD(&r->queue, next);
	r->count--;
	r->bytes -= first->bytes;
	json_decref(first->json);
	free(first);
}

static json_t *batch(struct fg_reports *r)
{
	json_t *list = json_array();
	size_t bytes = 0;

	for (const struct report *report = STAILQ_FIRST(&r->queue); report; report = STAILQ_NEXT(report, next)) {
		bytes += report->bytes + 1;
		if (json_array_size(list) == r->batch_max || (json_array_size(list) && bytes > BATCH_BYTES_MAX))
			break;
		json_array_append(list, report->json);
		r->sent = report->seq;
	}
	return json_pack("{s:s*, s:o}", "journal", r->journal, "reports", list);
}

static void send_now(struct fg_reports *r)
{
	if (r->busy || STAILQ_EMPTY(&r->queue))
		return;
	evtimer_del(r->retry);

	fg_autojson json_t *body = batch(r);
	struct fg_http_request req = { .method = "POST",
				       .path = "/v1/reports",
				       .body = fg_json_dump(body),
				       .max_bytes = FG_PROTOCOL_BODY_MAX,
				       .timeout_ms = FG_NET_TIMEOUT_MS };
	r->busy = true;
	fg_http_start(fg_net_http(r->net), &req, on_answer, r);
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	send_now(arg);
}

/* 0 only if the server took at least one report. */
static int take_acked(struct fg_reports *r, const struct fg_http_answer *answer, struct fg_error *err)
{
	fg_autojson json_t *json = NULL;
	int64_t acked = 0;
	int rc;

	if ((rc = fg_check_json((char *)answer->body, answer->len, &json, err)) < 0 ||
	    (rc = fg_json_int(json, "acked", 0, r->sent, &acked, err)) < 0)
		return rc;
	if (acked <= r->acked)
		return fg_error_set(err, FG_EFAILED, "the server took none of the reports after %lld",
				    (long long)r->acked);
	r->acked = acked;
	while (!STAILQ_EMPTY(&r->queue) && STAILQ_FIRST(&r->queue)->seq <= acked)
		drop_first(r);
	fg_net_send(r->net, json_pack("{s:s, s:I}", "type", "acked", "seq", (json_int_t)acked));
	return 0;
}

static void on_answer(void *arg, int rc, struct fg_http_answer *answer, const struct fg_error *cause)
{
	struct fg_reports *r = arg;
	struct fg_error err = *cause;
	uint32_t random;

	r->busy = false;
	if (rc == 0)
		rc = take_acked(r, answer, &err);
	if (rc == 0) {
		fg_backoff_reset(&r->backoff);
		r->said = false;
		r->batch_max = FG_PROTOCOL_REPORTS_MAX;
		if (r->overflow && STAILQ_EMPTY(&r->queue)) {
			fg_error_set(&err, FG_EFAILED,
				     "reports were turned away while the queue was full: start again");
			fg_net_stop(r->net, &err);
			return;
		}
		send_now(r);
		return;
	}
	if (rc == -FG_EREFUSED && r->batch_max > 1)
		r->batch_max /= 2;
	if (!r->said)
		fg_log_warn("reports: %s; %zu wait and are sent again", err.text, r->count);
	r->said = true;
	fg_random_bytes(&random, sizeof(random));
	uint32_t ms = fg_backoff_next_ms(&r->backoff, random);
	struct timeval tv = { ms / 1000, (ms % 1000) * 1000 };
	evtimer_add(r->retry, &tv);
}

struct fg_reports *fg_reports_new(struct fg_net *net)
{
	struct fg_reports *r = fg_calloc(1, sizeof(*r));

	r->net = net;
	r->batch_max = FG_PROTOCOL_REPORTS_MAX;
	STAILQ_INIT(&r->queue);
	r->retry = evtimer_new(fg_net_base(net), on_retry, r);
	if (!r->retry)
		abort();
	return r;
}

void fg_reports_start(struct fg_reports *r, const char *journal, int64_t acked)
{
	r->journal = journal && *journal ? fg_strdup(journal) : NULL;
	r->acked = r->last = acked;
}

static size_t length_of(const json_t *json)
{
	return json_dumpb(json, NULL, 0, JSON_COMPACT);
}

int fg_reports_add(struct fg_reports *r, json_t *json, struct fg_error *err)
{
	fg_autojson json_t *owned = json;
	struct report *report;
	int64_t seq = 0;
	int rc = fg_json_int(json, "seq", 1, INT64_MAX, &seq, err);

	if (rc < 0)
		return rc;
	if (seq <= r->last)
		return 0; /* said twice */
	size_t bytes = length_of(json);
	if (bytes > REPORT_BYTES_MAX && json_object_del(json, "evidence") == 0) {
		fg_log_warn("report %lld: evidence of %zu bytes is too long for the server, left out", (long long)seq,
			    bytes);
		bytes = length_of(json);
	}
	if (bytes > REPORT_BYTES_MAX)
		return fg_error_set(err, FG_ELIMIT, "report %lld has %zu bytes", (long long)seq, bytes);
	if (r->overflow || r->count == QUEUE_MAX || r->bytes + bytes > QUEUE_BYTES_MAX) {
		if (!r->overflow)
			fg_log_err("%zu reports wait for the server: no more are taken until they are gone", r->count);
		r->overflow = true;
		return 0;
	}
	report = fg_calloc(1, sizeof(*report));
	report->seq = r->last = seq;
	report->bytes = bytes;
	report->json = FG_TAKE(owned);
	STAILQ_INSERT_TAIL(&r->queue, report, next);
	r->count++;
	r->bytes += bytes;
	if (!evtimer_pending(r->retry, NULL))
		send_now(r);
	return 0;
}

void fg_reports_reconnected(struct fg_reports *r)
{
	send_now(r);
}

void fg_reports_free(struct fg_reports *r)
{
	if (!r)
		return;
	event_free(r->retry);
	while (!STAILQ_EMPTY(&r->queue))
		drop_first(r);
	free(r->journal);
	free(r);
}
