/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Errors as HTTP. */
#ifndef FG_SERVER_REQUEST_H
#define FG_SERVER_REQUEST_H

#include <fixgate/error.h>

/* Status for an error; authenticated: a peer that has shown who it is gets 403 where another gets 401. */
int fg_http_status(int code, int authenticated);

#endif
