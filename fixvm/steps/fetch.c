/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * fixvm-fetch: one HTTPS request for a range of bytes.  Runs as nobody.  Request as JSON on standard input (see
 * download.h), the bytes on standard output, the reason of a failure on standard error.
 */
#include "fixvm/steps/download.h"

#include "lib/util.h"

#include <curl/curl.h>
#include <string.h>
#include <unistd.h>

#define REQUEST_BYTES_MAX (2u << 20)
#define CONNECT_TIMEOUT_S 20L
#define LOW_SPEED_BYTES 1L /* a second, over the next */
#define LOW_SPEED_S 30L

static size_t on_body(char *data, size_t size, size_t n, void *curl)
{
	long status = 0;
	size_t len = size * n;

	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	if (status != 206)
		return 0;
	return fg_fd_write_all(STDOUT_FILENO, data, len) < 0 ? 0 : len;
}

/* The server must send the very range that was asked for. */
struct range {
	char want[64]; /* "bytes START-END/" */
	bool right;
};

static size_t on_header(char *data, size_t size, size_t n, void *arg)
{
	static const char name[] = "content-range:";
	struct range *r = arg;
	size_t len = size * n, skip = sizeof(name) - 1;

	if (len > skip && !strncasecmp(data, name, skip)) {
		while (skip < len && (data[skip] == ' ' || data[skip] == '\t'))
			skip++;
		r->right = len - skip > strlen(r->want) && !memcmp(data + skip, r->want, strlen(r->want));
		return r->right ? len : 0;
	}
	return len;
}

static int verdict(CURL *curl, CURLcode code, const struct range *r, const char *text)
{
	long status = 0;

	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	if (code == CURLE_OK && status == 206 && r->right)
		return 0;
	if (status && status != 206) {
		fprintf(stderr, "the server answers %ld", status);
		return status >= 500 || status == 429 || status == 408 ? FG_FETCH_AGAIN : 1;
	}
	fprintf(stderr, "%s", *text ? text : curl_easy_strerror(code));
	/* A wrong certificate does not change by asking again. */
	bool lasting = code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE ||
		       code == CURLE_URL_MALFORMAT || code == CURLE_OK || (status == 206 && !r->right);
	return lasting ? 1 : FG_FETCH_AGAIN;
}

static int perform(const char *url, const char *token, const char *ca, int64_t start, int64_t end)
{
	char text[CURL_ERROR_SIZE] = "", range[64];
	struct range want = { .right = false };
	struct curl_blob blob = { .data = (void *)(uintptr_t)ca, .len = strlen(ca), .flags = CURL_BLOB_COPY };
	fg_autofree char *authorization = fg_asprintf("Authorization: Bearer %s", token);
	struct curl_slist *headers = curl_slist_append(NULL, authorization);
	CURL *curl = curl_easy_init();

	if (!curl || !headers)
		return 1;
	snprintf(range, sizeof(range), "%lld-%lld", (long long)start, (long long)end);
	snprintf(want.want, sizeof(want.want), "bytes %s/", range);
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https");
	curl_easy_setopt(curl, CURLOPT_PROXY, "");
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(curl, CURLOPT_RANGE, range);
	curl_easy_setopt(curl, CURLOPT_CAINFO_BLOB, &blob);
	curl_easy_setopt(curl, CURLOPT_CAPATH, NULL);
	curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 1L);
	curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 2L);
	curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_3);
	curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, CONNECT_TIMEOUT_S);
	curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, LOW_SPEED_BYTES);
	curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, LOW_SPEED_S);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, text);
	curl_easy_setopt(curl, CURLOPT_USERAGENT, "fixvm/" FG_VERSION);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, curl);
	curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(curl, CURLOPT_HEADERDATA, &want);
	int rc = verdict(curl, curl_easy_perform(curl), &want, text);
	curl_easy_cleanup(curl);
	curl_slist_free_all(headers);
	return rc;
}

int main(void)
{
	struct fg_error err = FG_ERROR_INIT;
	fg_autofree char *request = NULL;
	fg_autojson json_t *json = NULL;
	const char *url, *token, *ca;
	int64_t start, end;
	size_t len;

	if (fg_fd_read_all(STDIN_FILENO, REQUEST_BYTES_MAX, &request, &len, &err) ||
	    fg_json_parse(request, len, &json, &err) || fg_json_string(json, "url", &url, &err) ||
	    fg_json_string(json, "token", &token, &err) || fg_json_string(json, "ca", &ca, &err) ||
	    fg_json_int(json, "start", 0, INT64_MAX, &start, &err) ||
	    fg_json_int(json, "end", start, INT64_MAX, &end, &err)) {
		fprintf(stderr, "%s", err.text);
		return 2;
	}
	if (curl_global_init(CURL_GLOBAL_SSL) != CURLE_OK)
		return 1;
	return perform(url, token, ca, start, end);
}
