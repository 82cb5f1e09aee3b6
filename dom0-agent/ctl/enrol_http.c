/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One HTTPS request, for enrolment and renewal. */
#include "enrol.h"

#include <curl/curl.h>
#include <lib/util.h>
#include <string.h>

struct answer {
	char *text;
	size_t len;
};

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
	struct answer *a = arg;

	if (size * n > FG_ENROL_ANSWER_MAX - a->len)
		return 0;
	memcpy(a->text + a->len, data, size * n);
	a->len += size * n;
	a->text[a->len] = '\0';
	return size * n;
}

static bool options(CURL *easy, const struct fg_enrol_server *server, struct answer *answer, char *error)
{
	struct curl_blob ca = { .data = (void *)(uintptr_t)server->ca,
				.len = server->ca ? strlen(server->ca) : 0,
				.flags = CURL_BLOB_COPY };
	long check = server->ca ? 1 : 0;

#define SET(option, value) curl_easy_setopt(easy, option, value) == CURLE_OK
	return SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_3) && SET(CURLOPT_SSL_VERIFYPEER, check) &&
	       SET(CURLOPT_SSL_VERIFYHOST, 2 * check) && SET(CURLOPT_CAPATH, NULL) && SET(CURLOPT_CAINFO, NULL) &&
	       (!server->ca || SET(CURLOPT_CAINFO_BLOB, &ca)) &&
	       (!server->cert || SET(CURLOPT_SSLCERT, server->cert)) &&
	       (!server->key || SET(CURLOPT_SSLKEY, server->key)) && SET(CURLOPT_PROXY, "") &&
	       SET(CURLOPT_NOSIGNAL, 1L) && SET(CURLOPT_PROTOCOLS_STR, "https") && SET(CURLOPT_FOLLOWLOCATION, 0L) &&
	       SET(CURLOPT_TIMEOUT, (long)FG_ENROL_TIMEOUT_S) && SET(CURLOPT_ERRORBUFFER, error) &&
	       SET(CURLOPT_WRITEFUNCTION, on_body) && SET(CURLOPT_WRITEDATA, answer);
#undef SET
}

static enum fg_error_code code_of(const char *name)
{
#define X(code, status, text) FG_E##code,
	static const enum fg_error_code codes[] = { FG_ERROR_LIST(X) };
#undef X
	for (size_t i = 0; name && i < FG_COUNT(codes); i++)
		if (!strcmp(fg_error_name((int)codes[i]), name))
			return codes[i];
	return FG_EUNREACHABLE;
}

/* {"error":{"code","text"}} */
static int refused(long status, const char *text, size_t len, struct fg_error *err)
{
	fg_autojson json_t *body = NULL;
	const json_t *error = fg_json_parse(text, len, &body, NULL) == 0 ? json_object_get(body, "error") : NULL;
	const char *why = json_string_value(json_object_get(error, "text"));

	return fg_error_set(err, code_of(json_string_value(json_object_get(error, "code"))), "the server says %ld%s%s",
			    status, why ? ": " : "", why ? why : "");
}

int fg_enrol_ask(const struct fg_enrol_server *server, const char *path, const char *body, char **out,
		 struct fg_error *err)
{
	fg_autofree char *url = fg_asprintf("%s%s", server->origin, path);
	fg_autofree char *text = fg_calloc(1, FG_ENROL_ANSWER_MAX + 1);
	struct answer answer = { .text = text };
	char error[CURL_ERROR_SIZE] = "";
	struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
	CURL *easy = curl_easy_init();
	long status = 0;
	int rc;

	if (!easy || !headers || !options(easy, server, &answer, error) ||
	    curl_easy_setopt(easy, CURLOPT_URL, url) != CURLE_OK ||
	    (body && (curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body) != CURLE_OK ||
		      curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers) != CURLE_OK))) {
		rc = fg_error_set(err, FG_EFAILED, "libcurl (%s) lacks what is needed", curl_version());
	} else {
		CURLcode code = curl_easy_perform(easy);
		curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
		rc = code == CURLE_PEER_FAILED_VERIFICATION ? fg_error_set(err, FG_EUNTRUSTED, "%s: %s", url, error)
		     : code != CURLE_OK			    ? fg_error_set(err, FG_EUNREACHABLE, "%s: %s", url,
							   error[0] ? error : curl_easy_strerror(code))
					 : status != 200 ? refused(status, text, answer.len, err)
							    : 0;
	}
	curl_easy_cleanup(easy);
	curl_slist_free_all(headers);
	if (rc == 0)
		*out = FG_TAKE(text);
	return rc;
}
