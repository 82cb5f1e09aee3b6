/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Any bytes as a capture, its frames judged both ways: what passes is what no rule may ever let pass otherwise. */
#include <lib/util.h>
#include <netback-filter/args.h>
#include <netback-filter/pcap.h>

#include <string.h>

#include "target.h"

static struct fg_filter_sim *make(void)
{
	static const char *const words[] = { "netback-filter",
					     "simulate",
					     "--guest",
					     "11111111-1111-4111-8111-111111111111",
					     "--dev",
					     "vif1.0",
					     "--mac",
					     "02:00:00:00:00:01",
					     "--ip",
					     "10.0.0.2",
					     "--ip",
					     "2001:db8::2",
					     "--server",
					     "10.0.0.1:443",
					     "--server",
					     "[2001:db8::1]:443",
					     "--server-mac",
					     "02:00:00:00:00:09",
					     "--gateway",
					     "10.0.0.254",
					     "--dhcp",
					     "10.0.0.1",
					     "x" };
	char *argv[FG_COUNT(words) + 1] = { NULL };
	struct fg_filter_sim *sim;
	struct fg_args a;

	for (size_t i = 0; i < FG_COUNT(words); i++)
		argv[i] = (char *)(uintptr_t)words[i];
	if (fg_args_parse((int)FG_COUNT(words), argv, &a, NULL) < 0 || fg_filter_sim_new(&a.guest, &sim, NULL) < 0)
		abort();
	fg_args_free(&a);
	return sim;
}

static void check(const struct fg_filter_frame *f, const struct fg_filter_verdict *v)
{
	static const uint8_t mac[6] = { 2, 0, 0, 0, 0, 1 };

	if (!v->reason || !v->reason[0])
		abort();
	if (v->outcome != FG_FILTER_PASS)
		return;
	if (f->captured < 34 || f->length < 42)
		abort();
	if (v->direction == FG_FILTER_FROM_GUEST && memcmp(f->bytes + 6, mac, 6) != 0)
		abort();
	int type = f->bytes[12] << 8 | f->bytes[13];
	if (type != 0x0800 && type != 0x0806 && type != 0x86dd)
		abort();
	if (type == 0x0800 && ((f->bytes[14] & 0x0f) != 5 || (f->bytes[23] != 6 && f->bytes[23] != 17)))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct fg_filter_sim *sim;
	struct fg_filter_verdict v;
	struct fg_filter_frame frame;
	struct fg_pcap pcap;
	fg_autofclose FILE *file = size ? fmemopen((void *)(uintptr_t)data, size, "rb") : NULL;

	if (!sim)
		sim = make();
	if (!file || fg_pcap_open(&pcap, file, NULL) < 0)
		return 0;
	while (fg_pcap_next(&pcap, &frame, NULL) > 0)
		for (int d = FG_FILTER_BY_SOURCE; d <= FG_FILTER_TO_GUEST; d++) {
			fg_filter_sim_frame(sim, (enum fg_filter_direction)d, &frame, &v);
			check(&frame, &v);
		}
	fg_pcap_close(&pcap);
	return 0;
}
