/* SPDX-License-Identifier: GPL-3.0-or-later */
/* JSON from the server and from fixgate-net, through everything that check.h has. */
#include <dom0-agent/net/check.h>
#include <lib/util.h>

#include <string.h>

#include "target.h"

static void need(bool truth)
{
	if (!truth)
		abort();
}

/* What was accepted keeps its promises, and is written as it is read. */
static void check_offer(const json_t *json)
{
	struct fg_offer_terms offer = { 0 }, again = { 0 };

	if (fg_offer_parse(json, &offer, NULL) < 0)
		return;
	need(offer.seq >= 1 && offer.version >= 1 && offer.version <= INT64_MAX);
	need(strlen(offer.guest) == 36 && strlen(offer.digest) == 64 && strlen(offer.fix) >= 1);
	need(offer.bytes >= FG_BUNDLE_HEADER_BYTES && offer.bytes <= FG_BUNDLE_HEAD_MAX + FG_BUNDLE_PAYLOAD_MAX);
	need(!strpbrk(offer.fix, "/ \n\"") && offer.fix[0] != '.' && offer.fix[0] != '-');
	fg_autojson json_t *written = fg_offer_json(&offer);
	need(fg_offer_parse(written, &again, NULL) == 0 && again.bytes == offer.bytes &&
	     strcmp(again.fix, offer.fix) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fg_autojson json_t *json = NULL;
	struct fg_head_verified head = { 0 };
	json_t *offers = NULL;

	if (fg_check_json((const char *)data, size, &json, NULL) < 0) {
		need(!json);
		return 0;
	}
	need(json_is_object(json));
	check_offer(json);
	if (fg_json_array(json, "offers", FG_OFFERS_MAX, &offers, NULL) == 0)
		for (size_t i = 0; i < json_array_size(offers); i++)
			check_offer(json_array_get(offers, i));
	if (fg_head_verified_parse(json, &head, NULL) == 0)
		need(strlen(head.file) == 69 && !strchr(head.file, '/') && head.timeout_s <= 86400);
	return 0;
}
