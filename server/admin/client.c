/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "client.h"

#include <curl/curl.h>
#include <inttypes.h>
#include <lib/util.h>
#include <string.h>

#define CONNECT_S 15L
#define STALL_S 120L /* a bundle of many gigabytes is verified before the server answers */

struct fg_admin {
	CURL *curl;
	char *url;
	char *answer;
	size_t len;
	char text[CURL_ERROR_SIZE];
};

static size_t on_data(char *data, size_t size, size_t n, void *arg)
{
	struct fg_admin *a = arg;
	size_t len = size * n;

	if (len > FG_ADMIN_ANSWER_MAX - a->len)
		return 0;
	char *more = realloc(a->answer, a->len + len + 1);
	if (!more)
		return 0;
	memcpy(more + a->len, data, len);
	a->answer = more;
	a->len += len;
	return len;
}

int fg_admin_open(const struct fg_admin_files *files, struct fg_admin **out, struct fg_error *err)
{
	struct fg_admin *a = fg_calloc(1, sizeof(*a));
	size_t len = strlen(files->url);

	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK || !(a->curl = curl_easy_init())) {
		free(a);
		return fg_error_set(err, FG_EFAILED, "cannot start libcurl");
	}
	a->url = fg_strdup(files->url);
	while (len > 0 && a->url[len - 1] == '/')
		a->url[--len] = '\0';
	curl_easy_setopt(a->curl, CURLOPT_PROTOCOLS_STR, "https");
	curl_easy_setopt(a->curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_3);
	curl_easy_setopt(a->curl, CURLOPT_CAINFO, files->ca);
	curl_easy_setopt(a->curl, CURLOPT_CAPATH, NULL);
	curl_easy_setopt(a->curl, CURLOPT_SSLCERT, files->cert);
	curl_easy_setopt(a->curl, CURLOPT_SSLKEY, files->key);
	curl_easy_setopt(a->curl, CURLOPT_PROXY, "");
	curl_easy_setopt(a->curl, CURLOPT_CONNECTTIMEOUT, CONNECT_S);
	curl_easy_setopt(a->curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
	curl_easy_setopt(a->curl, CURLOPT_LOW_SPEED_TIME, STALL_S);
	curl_easy_setopt(a->curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(a->curl, CURLOPT_ERRORBUFFER, a->text);
	curl_easy_setopt(a->curl, CURLOPT_WRITEFUNCTION, on_data);
	curl_easy_setopt(a->curl, CURLOPT_WRITEDATA, a);
	*out = a;
	return 0;
}

void fg_admin_close(struct fg_admin *a)
{
	if (!a)
		return;
	curl_easy_cleanup(a->curl);
	curl_global_cleanup();
	free(a->url);
	free(a->answer);
	free(a);
}

static enum fg_error_code code_from_name(const char *name)
{
	for (int code = FG_EFAILED; name && code <= FG_EBUG; code++)
		if (!strcmp(fg_error_name(code), name))
			return (enum fg_error_code)code;
	return FG_EFAILED;
}

static int error_answer(long status, const json_t *answer, struct fg_error *err)
{
	const json_t *e = json_object_get(answer, "error");
	const char *text = json_string_value(json_object_get(e, "text"));

	if (!text)
		return fg_error_set(err, FG_EFAILED, "the server answered with status %ld", status);
	return fg_error_set(err, code_from_name(json_string_value(json_object_get(e, "code"))), "%s", text);
}

static int transfer(struct fg_admin *a, const char *method, const char *path, const char *header, const void *body,
		    size_t len, json_t **answer, struct fg_error *err)
{
	fg_autofree char *url = fg_asprintf("%s%s", a->url, path);
	fg_autojson json_t *json = NULL;
	struct curl_slist *headers = curl_slist_append(NULL, "Expect:");
	long status = 0;

	if (header)
		headers = curl_slist_append(headers, header);
	a->len = 0;
	a->text[0] = '\0';
	curl_easy_setopt(a->curl, CURLOPT_URL, url);
	curl_easy_setopt(a->curl, CURLOPT_HTTPHEADER, headers);
	if (body) {
		curl_easy_setopt(a->curl, CURLOPT_POSTFIELDS, body);
		curl_easy_setopt(a->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)len);
	} else {
		curl_easy_setopt(a->curl, CURLOPT_HTTPGET, 1L);
	}
	curl_easy_setopt(a->curl, CURLOPT_CUSTOMREQUEST, method);
	CURLcode rc = curl_easy_perform(a->curl);
	curl_slist_free_all(headers);
	if (rc != CURLE_OK)
		return fg_error_set(err, FG_EUNREACHABLE, "%s: %s", a->url,
				    a->text[0] ? a->text : curl_easy_strerror(rc));
	curl_easy_getinfo(a->curl, CURLINFO_RESPONSE_CODE, &status);
	if (fg_json_parse(a->answer ? a->answer : "", a->len, &json, NULL) < 0)
		json = NULL;
	if (status >= 300)
		return error_answer(status, json, err);
	if (!json)
		return fg_error_set(err, FG_EFORMAT, "%s: the answer is no JSON", a->url);
	*answer = FG_TAKE(json);
	return 0;
}

int fg_admin_call(struct fg_admin *a, const char *method, const char *path, const json_t *body, json_t **answer,
		  struct fg_error *err)
{
	fg_autofree char *text = body ? fg_json_dump(body) : NULL;

	return transfer(a, method, path, text ? "Content-Type: application/json" : NULL, text, text ? strlen(text) : 0,
			answer, err);
}

int fg_admin_put_part(struct fg_admin *a, const char *path, const void *bytes, size_t len, uint64_t offset,
		      uint64_t total, json_t **answer, struct fg_error *err)
{
	fg_autofree char *range =
		fg_asprintf("Content-Range: bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, offset, offset + len - 1, total);

	return transfer(a, "PUT", path, range, bytes, len, answer, err);
}

/* "next" of an answer as text, or NULL: a number or a UUID. */
static char *next_of(const json_t *answer)
{
	const json_t *next = json_object_get(answer, "next");

	if (json_is_integer(next))
		return fg_asprintf("%" JSON_INTEGER_FORMAT, json_integer_value(next));
	return fg_strdup(json_string_value(next));
}

int fg_admin_each_page(struct fg_admin *a, const char *path, const char *key, const char *after, fg_admin_page_fn fn,
		       void *arg, struct fg_error *err)
{
	fg_autofree char *next = after ? fg_admin_escape(after) : NULL;
	int rc = 0;

	do {
		fg_autofree char *page =
			next ? fg_asprintf("%s%cafter=%s", path, strchr(path, '?') ? '&' : '?', next) : fg_strdup(path);
		fg_autojson json_t *answer = NULL;
		rc = fg_admin_call(a, "GET", page, NULL, &answer, err);
		if (rc == 0)
			rc = fn(key ? json_object_get(answer, key) : answer, arg, err);
		free(next);
		next = rc == 0 ? next_of(answer) : NULL;
	} while (next);
	return rc < 0 ? rc : 0;
}

static int extend(const json_t *list, void *arg, struct fg_error *err)
{
	(void)err;
	json_array_extend(arg, (json_t *)(uintptr_t)list);
	return 0;
}

int fg_admin_pages(struct fg_admin *a, const char *path, const char *key, json_t **list, struct fg_error *err)
{
	fg_autojson json_t *all = json_array();
	int rc = fg_admin_each_page(a, path, key, NULL, extend, all, err);

	if (rc == 0)
		*list = FG_TAKE(all);
	return rc;
}

char *fg_admin_escape(const char *text)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~";
	char *out = fg_calloc(3 * strlen(text) + 1, 1), *p = out;

	for (; *text; text++) {
		if (strchr(plain, *text)) {
			*p++ = *text;
		} else {
			*p++ = '%';
			fg_hex_encode(text, 1, p);
			p += 2;
		}
	}
	return out;
}
