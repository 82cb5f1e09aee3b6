/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * curl_multi_socket_action(3) with libevent.  In the order of a request's life:
 *	start_call -> [curl: on_socket, on_timer <-> libevent: on_ready, on_timeout] -> on_header, on_body
 *	-> reap -> finish -> done
 */
#include "http.h"
#include "check.h"

#include <lib/util.h>

#include <arpa/inet.h>
#include <curl/curl.h>
#include <errno.h>
#include <event2/event.h>
#include <openssl/ssl.h>
#include <string.h>

#define BODY_START 4096

struct fg_http {
	struct event_base *base;
	const struct fg_identity *identity;
	struct fg_ip address;
	char *origin; /* https://address:port */
	CURLM *multi;
	struct event *timer;
	struct fg_http_call *calls; /* under way */
};

struct fg_http_call {
	struct fg_http *http;
	struct fg_http_call *next, **link;
	CURL *easy;
	struct curl_slist *headers;
	fg_http_done_cb *done;
	void *arg;
	char *request_body;
	uint64_t range_from, range_bytes;
	uint8_t *body;
	size_t len, capacity, max_bytes, header_bytes;
	const char *violation; /* what of the answer was not allowed; NULL: nothing so far */
	char error[CURL_ERROR_SIZE];
};

struct watch { /* one socket of curl's */
	struct event *event;
};

static void on_ready(evutil_socket_t fd, short what, void *arg);
static void on_timeout(evutil_socket_t fd, short what, void *arg);
static void reap(struct fg_http *http);

/* CURLMOPT_SOCKETFUNCTION: curl wants to know of reading or writing on fd, or no more. */
static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *watch_arg)
{
	struct fg_http *http = arg;
	struct watch *w = watch_arg;
	short events = EV_PERSIST;

	(void)easy;
	if (w)
		event_free(w->event);
	if (what == CURL_POLL_REMOVE) {
		free(w);
		curl_multi_assign(http->multi, fd, NULL);
		return 0;
	}
	if (!w) {
		w = fg_calloc(1, sizeof(*w));
		curl_multi_assign(http->multi, fd, w);
	}
	if (what & CURL_POLL_IN)
		events |= EV_READ;
	if (what & CURL_POLL_OUT)
		events |= EV_WRITE;
	w->event = event_new(http->base, fd, events, on_ready, http);
	if (!w->event || event_add(w->event, NULL) < 0)
		abort();
	return 0;
}

/* CURLMOPT_TIMERFUNCTION: -1 = no timer. */
static int on_timer(CURLM *multi, long ms, void *arg)
{
	struct fg_http *http = arg;
	struct timeval tv = { ms / 1000, (ms % 1000) * 1000 };

	(void)multi;
	if (ms < 0)
		evtimer_del(http->timer);
	else if (evtimer_add(http->timer, &tv) < 0)
		abort();
	return 0;
}

static void on_ready(evutil_socket_t fd, short what, void *arg)
{
	struct fg_http *http = arg;
	int mask = ((what & EV_READ) ? CURL_CSELECT_IN : 0) | ((what & EV_WRITE) ? CURL_CSELECT_OUT : 0), running;

	curl_multi_socket_action(http->multi, fd, mask, &running);
	reap(http);
}

static void on_timeout(evutil_socket_t fd, short what, void *arg)
{
	struct fg_http *http = arg;
	int running;

	(void)fd, (void)what;
	curl_multi_socket_action(http->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	reap(http);
}

/* CURLOPT_HEADERFUNCTION: every line, those of 1xx answers and trailers too. */
static size_t on_header(char *line, size_t size, size_t n, void *arg)
{
	struct fg_http_call *call = arg;

	(void)line;
	call->header_bytes += size * n;
	if (call->header_bytes > FG_HTTP_HEADERS_MAX) {
		call->violation = "its header lines are too long";
		return 0;
	}
	return size * n;
}

static long status_of(const struct fg_http_call *call)
{
	long status = 0;

	curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
	return status;
}

/* CURLOPT_WRITEFUNCTION */
static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
	struct fg_http_call *call = arg;
	size_t add = size * n, max = call->max_bytes, capacity = call->capacity ? call->capacity : BODY_START;
	long status = status_of(call);

	if (status >= 400 || status < 200)
		max = FG_HTTP_ERROR_BODY_MAX;
	else if (call->range_bytes && status != 206)
		call->violation = "it sent the whole where a range was asked for";
	if (add > max || call->len > max - add)
		call->violation = "its body is longer than allowed";
	if (call->violation)
		return 0;
	while (capacity < call->len + add + 1)
		capacity *= 2;
	if (capacity != call->capacity) {
		uint8_t *body = realloc(call->body, capacity);
		if (!body) {
			call->violation = "there is no memory for its body";
			return 0;
		}
		call->body = body;
		call->capacity = capacity;
	}
	memcpy(call->body + call->len, data, add);
	call->len += add;
	call->body[call->len] = '\0';
	return add;
}

static struct curl_blob blob_of(const struct fg_pem *pem)
{
	return (struct curl_blob){ .data = pem->text, .len = pem->len, .flags = CURL_BLOB_NOCOPY };
}

#define SET(option, value) (ok = ok && curl_easy_setopt(easy, CURLOPT_##option, value) == CURLE_OK)

/*
 * CURLOPT_SSL_CTX_FUNCTION.  curl takes the common name where there is no subjectAltName, and the common names of our CA
 * are those of hosts and persons: OpenSSL is told the address too, and looks at subjectAltName only.
 */
static CURLcode on_ssl_ctx(CURL *easy, void *ctx, void *arg)
{
	const struct fg_http *http = arg;
	X509_VERIFY_PARAM *param = SSL_CTX_get0_param(ctx);
	size_t len = http->address.family == AF_INET6 ? sizeof(http->address.v6) : sizeof(http->address.v4);

	(void)easy;
	if (X509_VERIFY_PARAM_set1_ip(param, (const unsigned char *)&http->address.v4, len) != 1)
		return CURLE_SSL_CONNECT_ERROR;
	return CURLE_OK;
}

static bool set_tls(CURL *easy, const struct fg_http *http)
{
	const struct fg_identity *id = http->identity;
	struct curl_blob ca = blob_of(&id->ca), cert = blob_of(&id->cert), key = blob_of(&id->key);
	bool ok = true;

	SET(SSLVERSION, (long)(CURL_SSLVERSION_TLSv1_3 | CURL_SSLVERSION_MAX_TLSv1_3));
	SET(CAINFO_BLOB, &ca);
	SET(CAPATH, NULL); /* the distribution's CAs are not ours */
	SET(SSLCERT_BLOB, &cert);
	SET(SSLCERTTYPE, "PEM");
	SET(SSLKEY_BLOB, &key);
	SET(SSLKEYTYPE, "PEM");
	SET(SSL_VERIFYPEER, 1L);
	SET(SSL_VERIFYHOST, 2L);
	SET(SSL_CTX_FUNCTION, on_ssl_ctx);
	SET(SSL_CTX_DATA, http);
	return ok;
}

static bool set_transport(CURL *easy)
{
	bool ok = true;

	SET(PROTOCOLS_STR, "https");
	SET(HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	SET(PROXY, "");
	SET(NOPROXY, "*");
	SET(FOLLOWLOCATION, 0L);
	SET(NOSIGNAL, 1L);
	SET(CONNECTTIMEOUT_MS, (long)FG_HTTP_CONNECT_MS);
	SET(TCP_KEEPALIVE, 1L);
	SET(USERAGENT, "fixgate-net/" FG_VERSION);
	SET(BUFFERSIZE, 65536L);
	return ok;
}

static bool set_request(struct fg_http_call *call, const struct fg_http_request *req)
{
	fg_autofree char *url = fg_asprintf("%s%s", call->http->origin, req->path);
	CURL *easy = call->easy;
	bool ok = true;

	SET(URL, url);
	SET(PRIVATE, call);
	SET(ERRORBUFFER, call->error);
	SET(HEADERFUNCTION, on_header);
	SET(HEADERDATA, call);
	SET(WRITEFUNCTION, on_body);
	SET(WRITEDATA, call);
	SET(TIMEOUT_MS, (long)req->timeout_ms);
	if (req->body) {
		call->headers = curl_slist_append(call->headers, "Content-Type: application/json");
		call->headers = curl_slist_append(call->headers, "Expect:"); /* no wait for "100 Continue" */
		SET(HTTPHEADER, call->headers);
		SET(POSTFIELDSIZE_LARGE, (curl_off_t)strlen(call->request_body));
		SET(POSTFIELDS, call->request_body);
	}
	if (strcmp(req->method, "GET") != 0)
		SET(CUSTOMREQUEST, req->method);
	if (req->range_bytes) {
		fg_autofree char *range = fg_asprintf("%llu-%llu", (unsigned long long)req->range_from,
						      (unsigned long long)(req->range_from + req->range_bytes - 1));
		SET(RANGE, range);
		SET(LOW_SPEED_LIMIT, FG_HTTP_SLOW_BYTES);
		SET(LOW_SPEED_TIME, FG_HTTP_SLOW_S);
	}
	return ok;
}

struct fg_http_call *fg_http_start(struct fg_http *http, const struct fg_http_request *req, fg_http_done_cb *done,
				   void *arg)
{
	struct fg_http_call *call = fg_calloc(1, sizeof(*call));

	call->http = http;
	call->done = done;
	call->arg = arg;
	call->request_body = req->body;
	call->range_from = req->range_from;
	call->range_bytes = req->range_bytes;
	call->max_bytes = req->max_bytes;
	call->next = http->calls;
	call->link = &http->calls;
	if (call->next)
		call->next->link = &call->next;
	http->calls = call;

	call->easy = curl_easy_init();
	/* Every option was tried in fg_http_open: what fails here is memory. */
	if (!call->easy || !set_tls(call->easy, http) || !set_transport(call->easy) || !set_request(call, req) ||
	    curl_multi_add_handle(http->multi, call->easy) != CURLM_OK)
		abort();
	return call;
}

static void call_free(struct fg_http_call *call)
{
	*call->link = call->next;
	if (call->next)
		call->next->link = call->link;
	curl_multi_remove_handle(call->http->multi, call->easy);
	curl_easy_cleanup(call->easy);
	curl_slist_free_all(call->headers);
	free(call->request_body);
	free(call->body);
	free(call);
}

/* The server's own words about a 4xx or 5xx, if it is JSON as protocol.h has it. */
static void add_words(const struct fg_http_call *call, struct fg_error *err)
{
	fg_autojson json_t *json = NULL;
	json_t *object = NULL;
	const char *text = NULL;

	if (call->len && fg_check_json((char *)call->body, call->len, &json, NULL) == 0 &&
	    fg_json_object(json, "error", &object, NULL) == 0 && fg_json_string(object, "text", &text, NULL) == 0) {
		size_t used = strlen(err->text);
		snprintf(err->text + used, sizeof(err->text) - used, ": %.200s", text);
	}
}

static int judge_status(const struct fg_http_call *call, struct fg_error *err)
{
	long status = status_of(call);
	enum fg_error_code code = FG_EREFUSED;

	if (status >= 200 && status < 300)
		return 0;
	if (status == 401 || status == 403)
		code = FG_ENOTALLOWED;
	else if (status == 404)
		code = FG_ENOTFOUND;
	else if (status >= 500 || status < 400 || status == 408 || status == 429)
		code = FG_EUNREACHABLE;
	fg_error_set(err, code, "the server answered %ld", status);
	add_words(call, err);
	return -(int)code;
}

/* A number and the character after it; false if there is none. */
static bool take_number(const char **text, char after, uint64_t *out)
{
	char *end = NULL;

	if (**text < '0' || **text > '9')
		return false;
	errno = 0;
	*out = strtoull(*text, &end, 10);
	if (errno || *end != after)
		return false;
	*text = after ? end + 1 : end;
	return true;
}

/* "bytes 0-79/70000" (RFC 9110, 14.4), exactly what was asked for. */
static int judge_range(const struct fg_http_call *call, uint64_t *total, struct fg_error *err)
{
	struct curl_header *header = NULL;
	uint64_t from = 0, to = 0, all = 0;
	const char *text;

	if (!call->range_bytes)
		return 0;
	if (status_of(call) != 206 ||
	    curl_easy_header(call->easy, "Content-Range", 0, CURLH_HEADER, -1, &header) != CURLHE_OK ||
	    strncmp(header->value, "bytes ", 6) != 0)
		return fg_error_set(err, FG_EUNREACHABLE, "the server gave no range where one was asked for");
	text = header->value + 6;
	if (!take_number(&text, '-', &from) || !take_number(&text, '/', &to) || !take_number(&text, '\0', &all) ||
	    from != call->range_from || to != call->range_from + call->range_bytes - 1 || all <= to ||
	    call->len != call->range_bytes)
		return fg_error_set(err, FG_EUNREACHABLE, "the server gave another range (%.60s)", header->value);
	*total = all;
	return 0;
}

static int judge(const struct fg_http_call *call, CURLcode code, uint64_t *total, struct fg_error *err)
{
	if (call->violation)
		return fg_error_set(err, FG_EUNREACHABLE, "the server's answer was cut off: %s", call->violation);
	if (code == CURLE_OPERATION_TIMEDOUT)
		return fg_error_set(err, FG_ETIMEOUT, "%s", call->error[0] ? call->error : curl_easy_strerror(code));
	if (code != CURLE_OK)
		return fg_error_set(err, FG_EUNREACHABLE, "%s",
				    call->error[0] ? call->error : curl_easy_strerror(code));
	int rc = judge_status(call, err);
	return rc < 0 ? rc : judge_range(call, total, err);
}

static void finish(struct fg_http_call *call, CURLcode code)
{
	struct fg_error err = FG_ERROR_INIT;
	struct fg_http_answer answer = { 0 };
	int rc = judge(call, code, &answer.total, &err);

	if (rc == 0) {
		answer.body = call->body ? FG_TAKE(call->body) : fg_calloc(1, 1);
		answer.len = call->len;
	}
	fg_http_done_cb *done = call->done;
	void *arg = call->arg;
	call_free(call);
	done(arg, rc, rc < 0 ? NULL : &answer, &err);
	free(answer.body);
}

static void reap(struct fg_http *http)
{
	CURLMsg *msg;
	int left;

	while ((msg = curl_multi_info_read(http->multi, &left))) {
		struct fg_http_call *call = NULL;

		if (msg->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &call);
		finish(call, msg->data.result);
	}
}

static char *origin_of(const struct fg_http_config *config)
{
	char text[INET6_ADDRSTRLEN];

	inet_ntop(config->address.family, &config->address.v4, text, sizeof(text));
	return fg_asprintf(config->address.family == AF_INET6 ? "https://[%s]:%u" : "https://%s:%u", text,
			   config->port);
}

/* Every option once, so that a curl without one of them is found at start. */
static bool try_options(struct fg_http *http)
{
	static const struct fg_http_request any = { .method = "POST", .path = "/", .range_bytes = 1, .timeout_ms = 1 };
	struct fg_http_call call = { .http = http, .easy = curl_easy_init(), .request_body = (char *)"{}" };
	struct fg_http_request req = any;

	req.body = call.request_body;
	bool ok = call.easy && set_tls(call.easy, http) && set_transport(call.easy) && set_request(&call, &req);
	curl_easy_cleanup(call.easy);
	curl_slist_free_all(call.headers);
	return ok;
}

int fg_http_open(const struct fg_http_config *config, struct fg_http **out, struct fg_error *err)
{
	struct fg_http *http = fg_calloc(1, sizeof(*http));

	http->base = config->base;
	http->identity = config->identity;
	http->address = config->address;
	http->origin = origin_of(config);
	http->timer = evtimer_new(config->base, on_timeout, http);
	if (curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK)
		http->multi = curl_multi_init();
	if (!http->timer || !http->multi || !try_options(http)) {
		fg_http_close(http);
		return fg_error_set(err, FG_EFAILED, "libcurl (%s) lacks what is needed", curl_version());
	}
	curl_multi_setopt(http->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(http->multi, CURLMOPT_SOCKETDATA, http);
	curl_multi_setopt(http->multi, CURLMOPT_TIMERFUNCTION, on_timer);
	curl_multi_setopt(http->multi, CURLMOPT_TIMERDATA, http);
	curl_multi_setopt(http->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)FG_HTTP_CONNECTIONS_MAX);
	*out = http;
	return 0;
}

void fg_http_close(struct fg_http *http)
{
	if (!http)
		return;
	for (struct fg_http_call *call = http->calls, *next; call; call = next) {
		next = call->next;
		call_free(call);
	}
	if (http->multi)
		curl_multi_cleanup(http->multi);
	if (http->timer)
		event_free(http->timer);
	free(http->origin);
	free(http);
	curl_global_cleanup();
}
