/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "batch.h"

#include "guest_json.h"

#include <lib/util.h>

#include <string.h>

static int parse_list(const json_t *array, struct fg_guests *g, struct fg_error *err)
{
	g->list = fg_calloc(json_array_size(array), sizeof(g->list[0]));
	for (size_t i = 0; i < json_array_size(array); i++) {
		struct fg_filter_guest *one;
		int rc = fg_guest_from_json(json_array_get(array, i), true, &one, err);
		if (rc < 0) {
			fg_error_wrap(err, "guest %zu of the batch", i + 1);
			return rc;
		}
		g->list[g->n++] = *one; /* its lists go with it */
		free(one);
	}
	return 0;
}

int fg_guests_parse(const char *text, size_t len, struct fg_guests *out, struct fg_error *err)
{
	fg_autojson json_t *value = NULL;
	struct fg_guests g = { 0 };
	json_t *array = NULL;
	int rc = fg_json_parse(text, len, &value, err);

	if (rc == 0)
		rc = fg_json_array(value, "guests", FG_FILTER_GUESTS_MAX, &array, err);
	if (rc == 0 && json_object_size(value) != 1)
		rc = fg_error_set(err, FG_EFORMAT, "the batch has other keys than 'guests'");
	if (rc == 0)
		rc = parse_list(array, &g, err);
	if (rc < 0) {
		fg_guests_clear(&g);
		return rc;
	}
	*out = g;
	return 0;
}

int fg_guests_read(const char *path, struct fg_guests *out, struct fg_error *err)
{
	fg_autofree char *text = NULL;
	size_t len = 0;
	int rc = strcmp(path, "-") == 0 ? fg_fd_read_all(0, FG_BATCH_FILE_MAX, &text, &len, err)
					: fg_file_read(path, FG_BATCH_FILE_MAX, &text, &len, err);

	return rc < 0 ? rc : fg_guests_parse(text, len, out, err);
}

void fg_guests_clear(struct fg_guests *g)
{
	for (size_t i = 0; i < g->n; i++) {
		free(g->list[i].devs);
		free(g->list[i].addresses);
		free(g->list[i].servers);
		free(g->list[i].gateways);
	}
	free(g->list);
	memset(g, 0, sizeof(*g));
}
