/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What is valid: the catalogue, withdrawn fixes, revoked signers. */
#include "verbs.h"

#include <fixgate/catalogue.h>
#include <lib/util.h>
#include <stdio.h>
#include <string.h>

#define PEM_MAX 65536

static void print_json(const json_t *value)
{
	fg_autofree char *text = fg_json_dump(value);

	puts(text);
}

static void print_mark(const json_t *answer)
{
	const json_t *mark = json_object_get(answer, "catalogue");

	if (json_is_object(mark))
		printf("the catalogue is now %" JSON_INTEGER_FORMAT ".%" JSON_INTEGER_FORMAT "\n",
		       json_integer_value(json_object_get(mark, "generation")),
		       json_integer_value(json_object_get(mark, "version")));
}

/* What was asked for is done, but hosts do not hear of it. */
static int made(const json_t *answer, struct fg_error *err)
{
	const char *why = json_string_value(json_object_get(answer, "catalogue_error"));

	if (!why)
		return 0;
	return fg_error_set(
		err, FG_EHELD,
		"it is written down, but no catalogue can be made; until then hosts get none and take no fix: %s", why);
}

static const char *text_of(const json_t *obj, const char *key)
{
	const char *text = json_string_value(json_object_get(obj, key));

	return text ? text : "";
}

int fg_admin_catalogue(struct fg_admin *a, const struct fg_admin_options *o, struct fg_error *err)
{
	fg_autojson json_t *answer = NULL;
	const json_t *item;
	json_t *c = NULL;
	size_t i;
	int rc = fg_admin_call(a, "GET", "/v1/catalogue", NULL, &answer, err);

	if (rc == 0)
		rc = fg_json_object(answer, "catalogue", &c, err);
	if (rc < 0)
		return rc;
	if (o->json) {
		print_json(answer);
		return 0;
	}
	printf("catalogue %" JSON_INTEGER_FORMAT ".%" JSON_INTEGER_FORMAT
	       ", published %s, expires %s; the online key ends %s\n",
	       json_integer_value(json_object_get(answer, "generation")),
	       json_integer_value(json_object_get(c, "version")), text_of(c, "published"), text_of(c, "expires"),
	       text_of(answer, "key_expires"));
	json_array_foreach (json_object_get(c, "fixes"), i, item) {
		printf("valid      %s version %" JSON_INTEGER_FORMAT "\n", text_of(item, "id"),
		       json_integer_value(json_object_get(item, "version")));
	}
	json_array_foreach (json_object_get(c, "withdrawn"), i, item) {
		printf("withdrawn  %s up to version %" JSON_INTEGER_FORMAT "\n", text_of(item, "id"),
		       json_integer_value(json_object_get(item, "version")));
	}
	json_array_foreach (json_object_get(c, "revoked"), i, item) {
		printf("revoked    %s %s\n", text_of(item, "key"), text_of(item, "name"));
	}
	return 0;
}

int fg_admin_withdraw(struct fg_admin *a, const struct fg_admin_options *o, const char *fix, struct fg_error *err)
{
	fg_autojson json_t *body = json_pack("{s:s, s:s*}", "fix", fix, "reason", o->reason);
	fg_autojson json_t *answer = NULL;

	if (!body)
		return fg_error_set(err, FG_EUSAGE, "fix or reason is no UTF-8");
	if (o->version)
		json_object_set_new(body, "version", json_integer(o->version));
	int rc = fg_admin_call(a, "POST", "/v1/withdrawals", body, &answer, err);
	if (rc < 0)
		return rc;
	if (o->json) {
		print_json(answer);
		return made(answer, err);
	}
	printf("withdrawn %s up to version %" JSON_INTEGER_FORMAT ", %" JSON_INTEGER_FORMAT " offers closed\n", fix,
	       json_integer_value(json_object_get(answer, "version")),
	       json_integer_value(json_object_get(answer, "closed")));
	print_mark(answer);
	return made(answer, err);
}

int fg_admin_revoke_signer(struct fg_admin *a, const struct fg_admin_options *o, const char *signer,
			   struct fg_error *err)
{
	fg_autofree char *pem = NULL, *name = NULL;
	fg_autojson json_t *answer = NULL;
	uint8_t key[FG_DIGEST_BYTES];
	char hex[FG_DIGEST_HEX];
	size_t len = 0;
	int rc = 0;

	if (fg_hex_decode(signer, key, sizeof(key), NULL) == 0) {
		name = fg_strdup("named by its key");
	} else {
		rc = fg_file_read(signer, PEM_MAX, &pem, &len, err);
		if (rc == 0 && (rc = fg_catalogue_key_of(pem, len, key, &name, err)) < 0)
			fg_error_wrap(err, "%s", signer);
	}
	if (rc < 0)
		return rc;
	fg_hex_encode(key, sizeof(key), hex);
	fg_autojson json_t *body = json_pack("{s:s, s:s, s:s*}", "key", hex, "name", name, "reason", o->reason);
	if (!body)
		return fg_error_set(err, FG_EUSAGE, "name or reason is no UTF-8");
	rc = fg_admin_call(a, "POST", "/v1/signers/revoked", body, &answer, err);
	if (rc < 0)
		return rc;
	if (o->json) {
		print_json(answer);
		return made(answer, err);
	}
	printf("revoked %s, key %s\n", name, hex);
	print_mark(answer);
	return made(answer, err);
}
