/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the files of this folder share. */
#ifndef FG_SERVER_REQUEST_H
#define FG_SERVER_REQUEST_H

#include "http.h"

/* Status for an error; authenticated: a peer that has shown who it is gets 403 where another gets 401. */
int fg_http_status(int code, int authenticated);

bool fg_http_is_draining(const struct fg_http *http);

#endif
