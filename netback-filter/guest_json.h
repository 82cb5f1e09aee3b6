/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A guest as JSON: marks on disk, batch files; and addresses as text. */
#ifndef FG_FILTER_GUEST_JSON_H
#define FG_FILTER_GUEST_JSON_H

#include <fixgate/filter.h>
#include <jansson.h>

/* names: with the devices' names (batch) or with their MACs only (mark). */
json_t *fg_guest_to_json(const struct fg_filter_guest *guest, bool names);
/* FORMAT or LIMIT; unknown keys are refused. Free with fg_filter_guest_free. */
int fg_guest_from_json(const json_t *value, bool names, struct fg_filter_guest **out,
		       struct fg_error *err) FG_MUST_CHECK;

/* "192.0.2.1", "2001:db8::1"; FORMAT otherwise. */
int fg_ip_parse(const char *text, struct fg_ip *out, struct fg_error *err) FG_MUST_CHECK;
#define FG_IP_TEXT 46
void fg_ip_format(const struct fg_ip *ip, char out[FG_IP_TEXT]);
/* "192.0.2.1:443", "[2001:db8::1]:443". */
int fg_server_parse(const char *text, struct fg_filter_server *out, struct fg_error *err) FG_MUST_CHECK;

#endif
