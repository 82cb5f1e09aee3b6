/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "simulate_cmd.h"

#include "pcap.h"

#include <lib/util.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *const directions[] = {
	[FG_FILTER_BY_SOURCE] = "", [FG_FILTER_FROM_GUEST] = "from-guest", [FG_FILTER_TO_GUEST] = "to-guest"
};
static const char *const outcomes[] = {
	[FG_FILTER_PASS] = "pass", [FG_FILTER_DROP] = "drop", [FG_FILTER_CUT] = "unknown"
};

static void sim_freep(struct fg_filter_sim **s)
{
	fg_filter_sim_free(*s);
}

static void print_json(json_t *value)
{
	fg_autofree char *text = fg_json_dump(value);

	puts(text);
	json_decref(value);
}

static void print_frame_json(uint64_t n, const struct fg_filter_frame *f, const struct fg_filter_verdict *v)
{
	json_t *o = json_pack("{s:I,s:s,s:s,s:s,s:I}", "frame", (json_int_t)n, "direction", directions[v->direction],
			      "verdict", outcomes[v->outcome], "reason", v->reason, "length", (json_int_t)f->length);
	char mac[18];

	if (v->rewritten) {
		fg_mac_format(v->dmac, mac);
		json_object_set_new(o, "rewritten_to", json_string(mac));
	}
	print_json(o);
}

static void print_frame_text(uint64_t n, const struct fg_filter_frame *f, const struct fg_filter_verdict *v)
{
	char source[18], target[18];

	printf("%" PRIu64 " %s %s %s", n, directions[v->direction], outcomes[v->outcome], v->reason);
	if (f->captured >= 14) {
		fg_mac_format(f->bytes + 6, source);
		fg_mac_format(f->bytes, target);
		printf(" (%s > %s, type %02x%02x, %zu bytes)", source, target, f->bytes[12], f->bytes[13], f->length);
	}
	if (v->rewritten) {
		fg_mac_format(v->dmac, target);
		printf(" -> %s", target);
	}
	putchar('\n');
}

static int simulate(struct fg_filter_sim *sim, const struct fg_args *a, FILE *file, struct fg_error *err)
{
	uint64_t totals[FG_COUNT(outcomes)] = { 0 };
	struct fg_filter_verdict v;
	struct fg_filter_frame frame;
	struct fg_pcap pcap;
	int rc = fg_pcap_open(&pcap, file, err);

	if (rc < 0)
		return rc;
	while ((rc = fg_pcap_next(&pcap, &frame, err)) > 0) {
		fg_filter_sim_frame(sim, a->direction, &frame, &v);
		totals[v.outcome]++;
		if (a->json)
			print_frame_json(pcap.n, &frame, &v);
		else
			print_frame_text(pcap.n, &frame, &v);
	}
	if (rc == 0 && a->json)
		print_json(json_pack("{s:b,s:I,s:I,s:I,s:I}", "ok", 1, "frames", (json_int_t)pcap.n, "passed",
				     (json_int_t)totals[FG_FILTER_PASS], "dropped", (json_int_t)totals[FG_FILTER_DROP],
				     "unknown", (json_int_t)totals[FG_FILTER_CUT]));
	else if (rc == 0)
		printf("%" PRIu64 " frames: %" PRIu64 " pass, %" PRIu64 " dropped, %" PRIu64 " unknown\n", pcap.n,
		       totals[FG_FILTER_PASS], totals[FG_FILTER_DROP], totals[FG_FILTER_CUT]);
	fg_pcap_close(&pcap);
	return rc;
}

int fg_simulate_print(const struct fg_args *a, struct fg_error *err)
{
	fg_cleanup(sim_freep) struct fg_filter_sim *sim = NULL;
	fg_autofclose FILE *opened = NULL;
	FILE *file = stdin;
	int rc = fg_filter_sim_new(&a->guest, &sim, err);

	if (rc < 0)
		return rc;
	if (strcmp(a->file, "-") != 0) {
		file = opened = fopen(a->file, "rbe");
		if (!opened)
			return fg_error_errno(err, errno == ENOENT ? FG_ENOTFOUND : FG_EIO, errno, "%s", a->file);
	}
	rc = simulate(sim, a, file, err);
	if (rc < 0)
		fg_error_wrap(err, "%s", a->file);
	return rc;
}
