/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "metrics.h"

#include <inttypes.h>
#include <lib/util.h>
#include <server/http/http.h>
#include <stddef.h>
#include <sys/mman.h>

/* Milliseconds; the long polls end in the last one. */
static const unsigned bucket_ms[FG_METRICS_BUCKETS] = { 1, 5, 10, 50, 100, 500, 1000, 5000, 65000 };

struct fg_metrics *fg_metrics_new(void)
{
	struct fg_metrics *m = mmap(NULL, sizeof(*m), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (m == MAP_FAILED)
		abort();
	m->started_ms = (uint64_t)fg_now_ms();
	return m;
}

void fg_metrics_free(struct fg_metrics *metrics)
{
	if (metrics)
		munmap(metrics, sizeof(*metrics));
}

void fg_metrics_take_over(struct fg_metrics_slot *slot)
{
	slot->connections = 0;
	slot->half_open = 0;
	slot->polls = 0;
}

void fg_metrics_request(struct fg_metrics_route *route, int status, int64_t us)
{
	if (status >= 100 && status < 600)
		route->status[status / 100]++;
	route->count++;
	route->sum_us += us > 0 ? (uint64_t)us : 0;
	for (size_t i = 0; i < FG_METRICS_BUCKETS; i++) {
		if (us <= bucket_ms[i] * 1000ll) {
			route->bucket[i]++;
			return;
		}
	}
}

/* ---- text ---- */

static uint64_t sum(const struct fg_metrics *m, size_t offset)
{
	uint64_t n = 0;

	for (size_t i = 0; i <= FG_BUS_WORKERS_MAX; i++)
		n += *(const fg_count *)(const void *)((const char *)&m->slot[i] + offset);
	return n;
}

static void head(FILE *out, const char *name, const char *type, const char *help)
{
	fprintf(out, "# TYPE %s %s\n# HELP %s %s\n", name, type, name, help);
}

static void gauge(FILE *out, const char *name, uint64_t value, const char *help)
{
	head(out, name, "gauge", help);
	fprintf(out, "%s %" PRIu64 "\n", name, value);
}

static void counter(FILE *out, const char *name, uint64_t value, const char *help)
{
	head(out, name, "counter", help);
	fprintf(out, "%s_total %" PRIu64 "\n", name, value);
}

static size_t route_offset(size_t i, const struct fg_route *routes)
{
	return routes[i].path ? offsetof(struct fg_metrics_slot, route) + i * sizeof(struct fg_metrics_route)
			      : offsetof(struct fg_metrics_slot, none);
}

static const char *method_name(unsigned methods)
{
	return methods & EVHTTP_REQ_GET	    ? "GET"
	       : methods & EVHTTP_REQ_PUT   ? "PUT"
	       : methods & EVHTTP_REQ_POST  ? "POST"
	       : methods & EVHTTP_REQ_PATCH ? "PATCH"
					    : "DELETE";
}

/* Routes that nobody used are left out. */
static void requests(FILE *out, const struct fg_metrics *m, const struct fg_route *routes)
{
	head(out, "fixgate_http_requests", "counter", "Requests answered, by route and hundred of the status.");
	for (size_t i = 0;; i++) {
		size_t at = route_offset(i, routes) + offsetof(struct fg_metrics_route, status);
		for (size_t s = 1; s < 6; s++) {
			uint64_t n = sum(m, at + s * sizeof(fg_count));
			if (n)
				fprintf(out,
					"fixgate_http_requests_total{method=\"%s\",path=\"%s\",status=\"%zuxx\"} "
					"%" PRIu64 "\n",
					routes[i].path ? method_name(routes[i].methods) : "",
					routes[i].path ? routes[i].path : "", s, n);
		}
		if (!routes[i].path)
			return;
	}
}

static void durations(FILE *out, const struct fg_metrics *m, const struct fg_route *routes)
{
	static const char name[] = "fixgate_http_request_duration_seconds";

	head(out, name, "histogram", "From the last byte of a request to the last byte of its reply.");
	for (size_t i = 0; routes[i].path; i++) {
		size_t at = route_offset(i, routes);
		uint64_t n = sum(m, at + offsetof(struct fg_metrics_route, count)), up = 0;
		const char *method = method_name(routes[i].methods), *path = routes[i].path;
		if (!n)
			continue;
		for (size_t b = 0; b < FG_METRICS_BUCKETS; b++) {
			up += sum(m, at + offsetof(struct fg_metrics_route, bucket) + b * sizeof(fg_count));
			fprintf(out, "%s_bucket{method=\"%s\",path=\"%s\",le=\"%u.%03u\"} %" PRIu64 "\n", name, method,
				path, bucket_ms[b] / 1000, bucket_ms[b] % 1000, up < n ? up : n);
		}
		uint64_t us = sum(m, at + offsetof(struct fg_metrics_route, sum_us));
		fprintf(out,
			"%s_bucket{method=\"%s\",path=\"%s\",le=\"+Inf\"} %" PRIu64 "\n"
			"%s_sum{method=\"%s\",path=\"%s\"} %" PRIu64 ".%06" PRIu64 "\n"
			"%s_count{method=\"%s\",path=\"%s\"} %" PRIu64 "\n",
			name, method, path, n, name, method, path, us / 1000000, us % 1000000, name, method, path, n);
	}
}

#define SUM(field) sum(m, offsetof(struct fg_metrics_slot, field))

char *fg_metrics_text(const struct fg_metrics *m, const struct fg_route *routes)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		abort();
	head(out, "fixgate_server", "info", "The program.");
	fprintf(out, "fixgate_server_info{version=\"" FG_VERSION "\"} 1\n");
	gauge(out, "fixgate_start_time_seconds", m->started_ms / 1000, "When the server was started.");
	gauge(out, "fixgate_workers", m->workers, "Processes that serve.");
	counter(out, "fixgate_worker_restarts", m->worker_restarts, "Processes that died and were replaced.");
	counter(out, "fixgate_reloads", m->reloads, "Configurations and certificates read again.");
	gauge(out, "fixgate_server_certificate_end_seconds", m->certificate_ends_s,
	      "When the server's certificate ends; 0: it could not be read.");
	gauge(out, "fixgate_connections", SUM(connections), "Open connections.");
	gauge(out, "fixgate_connections_half_open", SUM(half_open), "Connections without a first request.");
	gauge(out, "fixgate_polls", SUM(polls), "Hosts' polls that wait.");
	counter(out, "fixgate_connections_accepted", SUM(accepted), "Connections taken.");
	counter(out, "fixgate_connections_without_request", SUM(no_request),
		"Connections that ended before a request.");
	counter(out, "fixgate_connections_gave_way", SUM(gave_way), "Half-open connections closed to make room.");
	counter(out, "fixgate_connections_over_limit", SUM(over_limit), "Connections closed: too many of one client.");
	counter(out, "fixgate_requests_limited", SUM(rate_limited), "Requests refused: too many of one client.");
	counter(out, "fixgate_handshakes_limited", SUM(handshakes_limited),
		"TLS handshakes refused: too many of one address.");
	counter(out, "fixgate_connections_revoked", SUM(revoked_closed), "Connections closed: certificate revoked.");
	counter(out, "fixgate_certificates_issued", SUM(certificates),
		"Certificates given out by enrolment and renewal.");
	requests(out, m, routes);
	durations(out, m, routes);
	if (fclose(out) != 0)
		abort();
	return text;
}
