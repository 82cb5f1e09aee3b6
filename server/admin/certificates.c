/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One-time codes, revocation, the list of certificates. */
#include "print.h"
#include "verbs.h"

#include <fixgate/protocol.h>
#include <lib/util.h>
#include <stdio.h>
#include <string.h>

#define CERTIFICATE_KEYS "role,name,serial,issued_ms,expires_ms,revoked_ms"

static void print_json(const json_t *value)
{
	fg_autofree char *text = fg_json_dump(value);

	puts(text);
}

static const char *text_of(const json_t *obj, const char *key)
{
	const char *text = json_string_value(json_object_get(obj, key));

	return text ? text : "";
}

static void time_of(const json_t *obj, const char *key, char out[21])
{
	fg_time_format(json_integer_value(json_object_get(obj, key)) / 1000, out);
}

int fg_admin_enrol(struct fg_admin *a, const struct fg_admin_options *o, const char *host, struct fg_error *err)
{
	fg_autojson json_t *body = json_pack("{s:s}", "host", host);
	fg_autojson json_t *answer = NULL;
	char until[21];

	if (!body)
		return fg_error_set(err, FG_EUSAGE, "the host's name is no UTF-8");
	int rc = fg_admin_call(a, "POST", "/v1/codes", body, &answer, err);
	if (rc < 0)
		return rc;
	if (o->json) {
		print_json(answer);
		return 0;
	}
	time_of(answer, "expires_ms", until);
	puts(text_of(answer, "code"));
	fprintf(stderr, "For host %s, once, until %s.  There: fixgatectl enrol --server ADDRESS:PORT --code CODE\n",
		host, until);
	return 0;
}

int fg_admin_revoke(struct fg_admin *a, const struct fg_admin_options *o, const char *name, struct fg_error *err)
{
	const char *role = o->n_words == 3 ? o->words[1] : FG_ROLE_AGENT;
	fg_autojson json_t *body = json_pack("{s:s, s:s}", "role", role, "name", name);
	fg_autojson json_t *answer = NULL;

	if (!body)
		return fg_error_set(err, FG_EUSAGE, "the name is no UTF-8");
	int rc = fg_admin_call(a, "POST", "/v1/revocations", body, &answer, err);
	if (rc < 0)
		return rc;
	if (o->json)
		print_json(answer);
	else
		printf("revoked %" JSON_INTEGER_FORMAT " certificates of %s %s\n",
		       json_integer_value(json_object_get(answer, "revoked")), role, name);
	return 0;
}

int fg_admin_certificates(struct fg_admin *a, const struct fg_admin_options *o, struct fg_error *err)
{
	fg_autojson json_t *answer = NULL;
	const json_t *c;
	char issued[21], expires[21], revoked[21];
	size_t i;
	int rc = fg_admin_call(a, "GET", "/v1/certificates", NULL, &answer, err);

	if (rc < 0)
		return rc;
	if (o->json) {
		print_json(answer);
		return 0;
	}
	if (o->csv)
		fg_print_csv_head(CERTIFICATE_KEYS);
	json_array_foreach (json_object_get(answer, "certificates"), i, c) {
		if (o->csv) {
			fg_print_csv(CERTIFICATE_KEYS, c);
			continue;
		}
		bool gone = json_object_get(c, "revoked_ms");
		time_of(c, "issued_ms", issued);
		time_of(c, "expires_ms", expires);
		time_of(c, "revoked_ms", revoked);
		printf("%-8s  %s  %s  %s to %s%s%s\n", text_of(c, "role"), text_of(c, "name"), text_of(c, "serial"),
		       issued, expires, gone ? "  revoked " : "", gone ? revoked : "");
	}
	return 0;
}
