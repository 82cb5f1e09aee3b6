/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The head of an offered bundle.  What an offer is: dom0-agent/net/check.h. */
#ifndef FG_OFFER_H
#define FG_OFFER_H

#include <dom0-agent/net/check.h>

/*
 * Copy the head that fixgate-net fetched: name is below its own folder dir.  Only a regular file is opened, never
 * through a link or out of the folder; the copy is durable only if it is a head with this digest.
 */
int fg_head_take(const char *dir, const char *name, const char *to, const char *head_digest,
		 struct fg_error *err) FG_MUST_CHECK;

#endif
