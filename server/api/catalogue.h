/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The catalogue on the server's side: made when a fix is published or withdrawn, a key revoked, the online key changed, and
 * when a sixth of the last one's time is over and somebody asks.  There is no timer: a catalogue that nobody asks for need
 * not be new.  That the last one is wrong stands in the database: no process gives it out then.
 */
#ifndef FG_SERVER_API_CATALOGUE_H
#define FG_SERVER_API_CATALOGUE_H

#include "api.h"

#include <fixgate/catalogue.h>

/* Never fails: a server without an online key serves all but the catalogue, and says so in its log. */
struct fg_catalogues *fg_catalogues_new(struct fg_api *api);
void fg_catalogues_free(struct fg_catalogues *c);
/*
 * What it is made of has changed: makes the next one.  Into answer: "catalogue", its mark, or null and "catalogue_error", why
 * none could be made; it is tried again when somebody asks.
 */
void fg_catalogues_changed(struct fg_api *api, json_t *answer);

#endif
