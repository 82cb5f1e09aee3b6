/* SPDX-License-Identifier: GPL-3.0-or-later */
/* netback-filter(8): the library's verbs as a command. */
#include "args.h"
#include "batch.h"
#include "filter.h"
#include "restore.h"
#include "simulate_cmd.h"

#include <lib/util.h>

#include <stdio.h>
#include <string.h>

static void filter_closep(struct fg_filter **f)
{
	fg_filter_close(*f);
}
static void guest_freep(struct fg_filter_guest **g)
{
	fg_filter_guest_free(*g);
}

static json_t *counters_json(const struct fg_filter_counter *c, size_t n)
{
	json_t *o = json_object();

	for (size_t i = 0; i < n; i++)
		json_object_set_new(
			o, c[i].reason,
			json_pack("{s:I,s:I}", "frames", (json_int_t)c[i].frames, "bytes", (json_int_t)c[i].bytes));
	return o;
}

static json_t *status_json(const struct fg_filter_status *s, size_t n)
{
	json_t *guests = json_array();

	for (size_t i = 0; i < n; i++) {
		json_t *devs = json_array();
		for (size_t d = 0; d < s[i].n_devs; d++) {
			const struct fg_filter_dev_status *v = &s[i].devs[d];
			json_array_append_new(devs,
					      json_pack("{s:s,s:b,s:o,s:o}", "dev", v->dev, "closed", v->closed,
							"from_guest", counters_json(v->from_guest, v->n_from_guest),
							"to_guest", counters_json(v->to_guest, v->n_to_guest)));
		}
		json_array_append_new(guests, json_pack("{s:s,s:o}", "uuid", s[i].uuid, "devs", devs));
	}
	return json_pack("{s:o}", "guests", guests);
}

static void print_counters(const char *title, const struct fg_filter_counter *c, size_t n)
{
	printf("    %s:", title);
	for (size_t i = 0; i < n; i++)
		if (c[i].frames)
			printf(" %s=%llu", c[i].reason, (unsigned long long)c[i].frames);
	printf("\n");
}

static void print_status(const struct fg_filter_status *s, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		printf("guest %s\n", s[i].uuid);
		for (size_t d = 0; d < s[i].n_devs; d++) {
			const struct fg_filter_dev_status *v = &s[i].devs[d];
			printf("  %s%s\n", v->dev, v->closed ? " (closed)" : "");
			print_counters("from guest", v->from_guest, v->n_from_guest);
			print_counters("to guest", v->to_guest, v->n_to_guest);
		}
	}
}

static int do_list(struct fg_filter *f, bool json, struct fg_error *err)
{
	struct fg_filter_status *s;
	size_t n;
	int rc = fg_filter_list(f, &s, &n, err);

	if (rc < 0)
		return rc;
	if (json) {
		fg_autojson json_t *value = status_json(s, n);
		fg_autofree char *text = fg_json_dump(value);
		puts(text);
	} else {
		print_status(s, n);
	}
	fg_filter_status_free(s, n);
	return 0;
}

/* One transaction for all. */
static int do_batch(struct fg_filter *f, const char *path, struct fg_error *err)
{
	struct fg_guests guests;
	int rc = fg_guests_read(path, &guests, err);

	if (rc < 0)
		return rc;
	rc = fg_filter_isolate(f, guests.list, guests.n, err);
	fg_guests_clear(&guests);
	return rc;
}

/* One more device of a guest that has a mark. */
static int do_arm(struct fg_filter *f, const struct fg_args *a, struct fg_error *err)
{
	static const uint8_t unknown[6];
	fg_cleanup(guest_freep) struct fg_filter_guest *marked = NULL;
	const char *dir = a->mark_dir ? a->mark_dir : FG_FILTER_MARK_DIR;
	int rc = fg_filter_mark_read(dir, a->guest.uuid, &marked, err);

	if (rc < 0)
		return rc;
	struct fg_filter_guest guest = *marked;
	struct fg_filter_dev dev = a->guest.devs[0];
	if (memcmp(dev.mac, unknown, 6) == 0) {
		if (marked->n_devs != 1)
			return fg_error_set(err, FG_EUSAGE, "the mark names %zu devices: give --mac", marked->n_devs);
		memcpy(dev.mac, marked->devs[0].mac, 6);
	}
	guest.devs = &dev;
	guest.n_devs = 1;
	return fg_filter_arm(f, &guest, a->rename_to, err);
}

static int run(const struct fg_args *a, struct fg_error *err)
{
	fg_cleanup(filter_closep) struct fg_filter *f = NULL;
	const char *uuid = a->guest.uuid;

	if (a->verb == FG_VERB_SIMULATE) /* asks nothing of the kernel, needs no privileges */
		return fg_simulate_print(a, err);
	int rc = fg_filter_open(&f, err);

	if (rc < 0)
		return rc;
	switch (a->verb) {
	case FG_VERB_ISOLATE:
		return a->batch ? do_batch(f, a->batch, err) : fg_filter_isolate(f, &a->guest, 1, err);
	case FG_VERB_RELEASE:
		return fg_filter_release(f, &uuid, 1, err);
	case FG_VERB_LIST:
		return do_list(f, a->json, err);
	case FG_VERB_VERIFY:
		return fg_filter_verify(f, &a->guest, err);
	case FG_VERB_ARM:
		return do_arm(f, a, err);
	case FG_VERB_RESTORE:
		return fg_restore_command(f, a, err);
	case FG_VERB_SIMULATE:
	case FG_VERB_HELP:
	case FG_VERB_VERSION:
		break;
	}
	return fg_error_set(err, FG_EBUG, "no such verb");
}

static int report(const struct fg_error *err, bool json, bool usage)
{
	if (json) {
		fg_autojson json_t *value =
			json_pack("{s:{s:s,s:s}}", "error", "code", fg_error_name(err->code), "text", err->text);
		fg_autofree char *text = value ? fg_json_dump(value) : NULL;
		puts(text ? text : "{\"error\":{\"code\":\"failed\",\"text\":\"\"}}");
	} else {
		fprintf(stderr, "netback-filter: %s\n%s", err->text, usage ? fg_args_usage : "");
	}
	return fg_error_exit_status(err);
}

int main(int argc, char **argv)
{
	struct fg_error err = FG_ERROR_INIT;
	struct fg_args args;
	int status = 0, rc = fg_args_parse(argc, argv, &args, &err);

	if (rc < 0)
		status = report(&err, args.json, true);
	else if (args.verb == FG_VERB_HELP)
		fputs(fg_args_usage, stdout);
	else if (args.verb == FG_VERB_VERSION)
		puts("netback-filter " FG_VERSION);
	else if (run(&args, &err) < 0)
		status = report(&err, args.json, false);
	else if (args.json && args.verb != FG_VERB_LIST && args.verb != FG_VERB_SIMULATE)
		puts("{\"ok\":true}");
	fg_args_free(&args);
	if ((fflush(stdout) != 0 || ferror(stdout)) && status == 0) {
		fg_error_set(&err, FG_EIO, "cannot write to standard output");
		fprintf(stderr, "netback-filter: %s\n", err.text);
		status = fg_error_exit_status(&err);
	}
	return status;
}
