/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "print.h"

#include <lib/util.h>
#include <string.h>

/* Text of a key; control characters of foreign text never reach the terminal. */
static const char *text(const json_t *row, const char *key)
{
	static char buffers[8][600];
	static unsigned turn;
	char *out = buffers[turn++ % FG_COUNT(buffers)];
	const json_t *value = json_object_get(row, key);
	size_t n = 0;

	if (json_is_string(value)) {
		for (const char *p = json_string_value(value); *p && n + 1 < sizeof(buffers[0]); p++)
			out[n++] = (unsigned char)*p < 0x20 || *p == 0x7f ? '?' : *p;
		out[n] = '\0';
	} else if (json_is_integer(value)) {
		snprintf(out, sizeof(buffers[0]), "%lld", (long long)json_integer_value(value));
	} else if (json_is_boolean(value)) {
		snprintf(out, sizeof(buffers[0]), "%s", json_is_true(value) ? "yes" : "no");
	} else {
		snprintf(out, sizeof(buffers[0]), "-");
	}
	return out;
}

static const char *time_of(const json_t *row, const char *key)
{
	static char out[2][21];
	static unsigned turn;
	char *buf = out[turn++ % 2];

	fg_time_format(json_integer_value(json_object_get(row, key)) / 1000, buf);
	return buf;
}

void fg_print_event(const json_t *event)
{
	const char *guest = text(event, "guest");

	printf("%s  %-20s %-12s %s", time_of(event, "at_ms"), guest[0] ? guest : text(event, "uuid"),
	       text(event, "state"), text(event, "fix"));
	if (json_is_string(json_object_get(event, "reason")))
		printf("  (%s)", text(event, "reason"));
	printf("\n");
}

static void print_jobs(const json_t *list)
{
	size_t i;
	const json_t *row;

	json_array_foreach (list, i, row) {
		printf("%s  %-16s %-24s %-12s %s\n", text(row, "job"), text(row, "guest"), text(row, "fix"),
		       text(row, "state"), json_object_get(row, "reason") ? text(row, "reason") : "");
	}
}

static void print_guests(const json_t *list)
{
	size_t i;
	const json_t *row;

	json_array_foreach (list, i, row) {
		const char *mode = json_is_true(json_object_get(row, "by_hand"))    ? "isolated by hand"
				   : json_is_true(json_object_get(row, "isolated")) ? "isolated"
										    : "";
		printf("%s  %-16s %-8s %-8s %s%s%s\n", text(row, "uuid"), text(row, "name"), text(row, "toolstack"),
		       text(row, "state"), mode, json_is_string(json_object_get(row, "refusal")) ? " refused: " : "",
		       json_is_string(json_object_get(row, "refusal")) ? text(row, "refusal") : "");
	}
}

static void print_job(const json_t *job)
{
	size_t i;
	const json_t *step;

	printf("job %s\nguest %s (%s)\nfix %s version %s\nstate %s\n", text(job, "job"), text(job, "guest"),
	       text(job, "uuid"), text(job, "fix"), text(job, "version"), text(job, "state"));
	if (json_object_get(job, "reason"))
		printf("reason %s\n", text(job, "reason"));
	if (json_object_get(job, "waits_for"))
		printf("waits for %s\n", text(job, "waits_for"));
	json_array_foreach (json_object_get(job, "steps"), i, step) {
		printf("  %s  %-6s %s%s%s\n", time_of(step, "at_ms"), text(step, "kind"), text(step, "what"),
		       json_is_string(json_object_get(step, "reason")) ? ": " : "",
		       json_is_string(json_object_get(step, "reason")) ? text(step, "reason") : "");
	}
}

static void print_status(const json_t *status)
{
	size_t i;
	const json_t *t;

	printf("fixgated %s\nserver %s\njobs %s, held %s\nisolator %s (%s)\n", text(status, "version"),
	       json_is_true(json_object_get(status, "online")) ? "online" : "offline", text(status, "jobs"),
	       text(status, "held"), text(status, "isolator"), text(status, "assurance"));
	json_array_foreach (json_object_get(status, "toolstacks"), i, t) {
		printf("toolstack %s %s\n", text(t, "name"),
		       json_is_true(json_object_get(t, "connected")) ? "connected" : "not connected");
	}
}

static void print_doctor(const json_t *list)
{
	size_t i;
	const json_t *row;

	json_array_foreach (list, i, row) {
		printf("%-4s %-20s %s\n", json_is_true(json_object_get(row, "ok")) ? "ok" : "BAD", text(row, "check"),
		       text(row, "text"));
	}
}

static void print_events(const json_t *list)
{
	size_t i;
	const json_t *row;

	json_array_foreach (list, i, row) {
		fg_print_event(row);
	}
}

void fg_print_result(const char *cmd, const json_t *result)
{
	static const struct {
		const char *name;
		void (*print)(const json_t *result);
	} printers[] = {
		{ "status", print_status }, { "jobs", print_jobs },	{ "job", print_job },
		{ "guests", print_guests }, { "doctor", print_doctor }, { "events", print_events },
	};

	for (size_t i = 0; i < FG_COUNT(printers); i++) {
		if (strcmp(printers[i].name, cmd) == 0) {
			printers[i].print(result);
			return;
		}
	}
	if (json_object_get(result, "state"))
		fg_print_event(result);
	else if (json_object_get(result, "isolated"))
		printf("%s is %s\n", text(result, "guest"),
		       json_is_true(json_object_get(result, "isolated")) ? "isolated" : "released");
	else
		printf("done\n");
}
