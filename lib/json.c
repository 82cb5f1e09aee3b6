/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "util.h"

#include <string.h>

int fg_json_parse(const char *text, size_t len, json_t **out, struct fg_error *err)
{
	json_error_t jerr;
	json_t *value = json_loadb(text, len, JSON_REJECT_DUPLICATES, &jerr);

	if (!value)
		return fg_error_set(err, FG_EFORMAT, "JSON: line %d column %d: %s", jerr.line, jerr.column, jerr.text);
	*out = value;
	return 0;
}

static int get(const json_t *obj, const char *key, json_t **out, struct fg_error *err)
{
	json_t *value = json_object_get(obj, key);

	if (!json_is_object(obj))
		return fg_error_set(err, FG_EFORMAT, "'%s' is asked of what is no object", key);
	*out = value && !json_is_null(value) ? value : NULL;
	return 0;
}

static int need(const json_t *obj, const char *key, json_t **out, struct fg_error *err)
{
	json_t *value = NULL;
	int rc = get(obj, key, &value, err);

	if (rc < 0)
		return rc;
	if (!value)
		return fg_error_set(err, FG_EFORMAT, "'%s' is missing", key);
	*out = value;
	return 0;
}

int fg_json_string_opt(const json_t *obj, const char *key, const char **out, struct fg_error *err)
{
	json_t *value = NULL;
	int rc = get(obj, key, &value, err);

	if (rc < 0)
		return rc;
	if (value && !json_is_string(value))
		return fg_error_set(err, FG_EFORMAT, "'%s' is no string", key);
	*out = value ? json_string_value(value) : NULL;
	return 0;
}

int fg_json_string(const json_t *obj, const char *key, const char **out, struct fg_error *err)
{
	json_t *value = NULL;
	int rc = need(obj, key, &value, err);

	return rc < 0 ? rc : fg_json_string_opt(obj, key, out, err);
}

int fg_json_int_opt(const json_t *obj, const char *key, int64_t min, int64_t max, int64_t fallback, int64_t *out,
		    struct fg_error *err)
{
	json_t *value = NULL;
	int rc = get(obj, key, &value, err);

	if (rc < 0)
		return rc;
	if (!value) {
		*out = fallback;
		return 0;
	}
	if (!json_is_integer(value))
		return fg_error_set(err, FG_EFORMAT, "'%s' is no integer", key);
	int64_t n = json_integer_value(value);
	if (n < min || n > max)
		return fg_error_set(err, FG_EFORMAT, "'%s' is %lld, not between %lld and %lld", key, (long long)n,
				    (long long)min, (long long)max);
	*out = n;
	return 0;
}

int fg_json_bool_opt(const json_t *obj, const char *key, bool fallback, bool *out, struct fg_error *err)
{
	json_t *value = NULL;
	int rc = get(obj, key, &value, err);

	if (rc < 0)
		return rc;
	if (value && !json_is_boolean(value))
		return fg_error_set(err, FG_EFORMAT, "'%s' is neither true nor false", key);
	*out = value ? json_is_true(value) : fallback;
	return 0;
}

int fg_json_int(const json_t *obj, const char *key, int64_t min, int64_t max, int64_t *out, struct fg_error *err)
{
	json_t *value = NULL;
	int rc = need(obj, key, &value, err);

	return rc < 0 ? rc : fg_json_int_opt(obj, key, min, max, 0, out, err);
}

int fg_json_array(const json_t *obj, const char *key, size_t max, json_t **out, struct fg_error *err)
{
	json_t *value = NULL;
	int rc = need(obj, key, &value, err);

	if (rc < 0)
		return rc;
	if (!json_is_array(value))
		return fg_error_set(err, FG_EFORMAT, "'%s' is no array", key);
	if (json_array_size(value) > max)
		return fg_error_set(err, FG_ELIMIT, "'%s' has %zu entries, at most %zu are taken", key,
				    json_array_size(value), max);
	*out = value;
	return 0;
}

int fg_json_object(const json_t *obj, const char *key, json_t **out, struct fg_error *err)
{
	json_t *value = NULL;
	int rc = need(obj, key, &value, err);

	if (rc < 0)
		return rc;
	if (!json_is_object(value))
		return fg_error_set(err, FG_EFORMAT, "'%s' is no object", key);
	*out = value;
	return 0;
}

char *fg_json_dump(const json_t *value)
{
	char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);

	if (!text)
		abort();
	return text;
}
