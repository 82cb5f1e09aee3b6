/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Listening sockets: opened by the parent process, shared by those that serve. */
#ifndef FG_SERVER_LISTEN_H
#define FG_SERVER_LISTEN_H

#include <fixgate/error.h>

#define FG_LISTEN_TEXT 64

/* "1.2.3.4:8443", "[::1]:8443"; port 0 = any.  Returns the descriptor (non-blocking, close-on-exec). */
int fg_listen_open(const char *address, struct fg_error *err) FG_MUST_CHECK;
/* The address that a socket has, in the same form. */
void fg_listen_text(int fd, char text[FG_LISTEN_TEXT]);
/* For a socket that was handed over: REFUSED if it is no listening TCP socket. */
int fg_listen_adopt(int fd, struct fg_error *err) FG_MUST_CHECK;

#endif
