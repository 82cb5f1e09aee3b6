/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "load_work.h"

#include <fixgate/state.h>
#include <inttypes.h>
#include <lib/util.h>
#include <stdarg.h>
#include <string.h>

#define ROOM (256u << 10)

/* A job's reports, as a host makes them when all goes well. */
static const enum fg_state way[] = { FG_STATE_QUEUED, FG_STATE_ISOLATED, FG_STATE_STOPPED,   FG_STATE_FIXING,
				     FG_STATE_FIXED,  FG_STATE_RELEASED, FG_STATE_REBOOTING, FG_STATE_DONE };

static void add(char *text, size_t *len, const char *fmt, ...) FG_PRINTF(3, 4);

static void add(char *text, size_t *len, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(text + *len, ROOM - *len, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= ROOM - *len)
		abort();
	*len += (size_t)n;
}

static void request(struct fg_load_host *h, const char *line, const char *body, size_t body_len)
{
	if (!h->text)
		h->text = fg_calloc(1, ROOM);
	h->len = 0;
	add(h->text, &h->len, "%s HTTP/1.1\r\nHost: server\r\n", line);
	if (body)
		add(h->text, &h->len, "Content-Type: application/json\r\nContent-Length: %zu\r\n", body_len);
	add(h->text, &h->len, "\r\n%s", body ? body : "");
}

static void guest_uuid(const struct fg_load_host *h, unsigned guest, char out[FG_UUID_TEXT])
{
	snprintf(out, FG_UUID_TEXT, "%08x-0000-4000-8000-%012x", h->number, guest);
}

void fg_load_inventory(struct fg_load_host *h)
{
	fg_autofree char *body = fg_calloc(1, ROOM);
	char uuid[FG_UUID_TEXT];
	size_t len = 0;

	add(body, &len, "{\"guests\":[");
	for (unsigned g = 0; g < FG_LOAD_GUESTS; g++) {
		guest_uuid(h, g, uuid);
		add(body, &len,
		    "%s{\"uuid\":\"%s\",\"name\":\"guest-%u-%u\",\"toolstack\":\"xl\",\"state\":\"running\","
		    "\"identity\":\"config\",\"nics\":[{\"mac\":\"00:16:3e:00:00:01\",\"addresses\":[\"10.99.0.11\"]}]"
		    "}",
		    g ? "," : "", uuid, h->number, g);
	}
	add(body, &len, "]}");
	request(h, "PUT /v1/guests", body, len);
}

/* The guests take turns; each turn is a newer version of the fix. */
static void report(struct fg_load_host *h, char *body, size_t *len)
{
	int64_t job = h->seq / (int64_t)FG_COUNT(way);
	char uuid[FG_UUID_TEXT];

	guest_uuid(h, (unsigned)(job % FG_LOAD_GUESTS), uuid);
	enum fg_state state = way[h->seq % (int64_t)FG_COUNT(way)];
	h->seq++;
	add(body, len,
	    "{\"seq\":%" PRId64 ",\"job\":\"job-%u-%" PRId64
	    "\",\"guest\":\"%s\",\"fix\":\"fix-load\",\"version\":%" PRId64 ",\"state\":\"%s\",\"at_ms\":%" PRId64
	    ",\"isolator\":\"vmm\"}",
	    h->seq, h->number, job, uuid, job / FG_LOAD_GUESTS + 1, fg_state_name(state), fg_now_ms());
}

void fg_load_next(const struct fg_load_work *w, struct fg_load_host *h)
{
	size_t len = 0;

	if (w->get) {
		if (h->len == 0 || strncmp(h->text, "GET ", 4) != 0) {
			fg_autofree char *line = fg_asprintf("GET %s", w->get);
			request(h, line, NULL, 0);
		}
		return;
	}
	fg_autofree char *body = fg_calloc(1, ROOM);
	add(body, &len, "{\"journal\":\"%s\",\"reports\":[", w->journal);
	for (unsigned i = 0; i < w->batch; i++) {
		if (i > 0)
			body[len++] = ',';
		report(h, body, &len);
	}
	add(body, &len, "]}");
	request(h, "POST /v1/reports", body, len);
}

bool fg_load_right(const struct fg_load_work *w, const struct fg_load_host *h, const struct fg_load_reply *reply)
{
	char want[48];

	if (reply->status != 200)
		return false;
	if (w->get || !w->check || h->seq == 0)
		return true;
	snprintf(want, sizeof(want), "{\"acked\":%" PRId64 "}", h->seq);
	return !strcmp(reply->body, want);
}
