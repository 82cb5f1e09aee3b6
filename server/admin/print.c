/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "print.h"

#include <lib/util.h>
#include <string.h>

const char *fg_print_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "-";
}

json_int_t fg_print_int(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

void fg_print_time(const json_t *object, const char *key)
{
	char text[21];

	fg_time_format(fg_print_int(object, key) / 1000, text);
	printf("%s", text);
}

void fg_print_json(const json_t *value)
{
	fg_autofree char *text = fg_json_dump(value);

	puts(text);
}

void fg_print_list(const char *key, json_t *list)
{
	fg_autojson json_t *whole = json_pack("{s:O}", key, list);

	fg_print_json(whole);
}

void fg_print_counts(const char *head, const json_t *counts)
{
	const char *name, *between = "";
	json_t *n;

	if (json_object_size(counts) == 0)
		return;
	printf("%s", head);
	json_object_foreach ((json_t *)(uintptr_t)counts, name, n) {
		printf("%s %s %" JSON_INTEGER_FORMAT, between, name, json_integer_value(n));
		between = ",";
	}
	putchar('\n');
}

static void csv_text(const char *text)
{
	bool formula = text[0] && strchr("=+-@\t\r", text[0]), quote = strpbrk(text, ",\"\r\n") != NULL;

	if (quote)
		putchar('"');
	if (formula)
		putchar('\'');
	for (; *text; text++) {
		if (*text == '"')
			putchar('"');
		putchar(*text);
	}
	if (quote)
		putchar('"');
}

static void csv_value(const char *key, const json_t *value)
{
	size_t len = strlen(key);
	char time[21];

	if (json_is_integer(value) && len > 3 && !strcmp(key + len - 3, "_ms")) {
		fg_time_format(json_integer_value(value) / 1000, time);
		printf("%s", time);
	} else if (json_is_integer(value)) {
		printf("%" JSON_INTEGER_FORMAT, json_integer_value(value));
	} else if (json_is_string(value)) {
		csv_text(json_string_value(value));
	} else if (json_is_boolean(value)) {
		printf("%s", json_is_true(value) ? "yes" : "no");
	}
}

void fg_print_csv_head(const char *keys)
{
	fg_autofree char *copy = fg_strdup(keys);
	const char *between = "";

	for (char *p = copy, *key = NULL; (key = strsep(&p, ","));) {
		size_t len = strlen(key);
		printf("%s%.*s", between, (int)(len > 3 && !strcmp(key + len - 3, "_ms") ? len - 3 : len), key);
		between = ",";
	}
	printf("\r\n");
}

void fg_print_csv(const char *keys, const json_t *object)
{
	fg_autofree char *copy = fg_strdup(keys);
	const char *between = "";

	for (char *p = copy, *key = NULL; (key = strsep(&p, ","));) {
		printf("%s", between);
		csv_value(key, json_object_get(object, key));
		between = ",";
	}
	printf("\r\n");
}
