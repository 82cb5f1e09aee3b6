/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The listening sockets of a server: its own, or those that systemd hands over. */
#ifndef FG_SERVER_SOCKETS_H
#define FG_SERVER_SOCKETS_H

#include <fixgate/error.h>
#include <stdbool.h>
#include <stddef.h>

#define FG_SOCKETS_MAX 16

struct fg_sockets {
	int fd[FG_SOCKETS_MAX];
	char *address[FG_SOCKETS_MAX]; /* as configured; NULL for one of systemd's */
	size_t n;
};

/* Takes what systemd hands over (sd_listen_fds(3)); *any: there was something. */
int fg_sockets_take(struct fg_sockets *sockets, bool *any, struct fg_error *err) FG_MUST_CHECK;
/*
 * Opens what of the list is not open and closes what is not in it any more; on failure all stays as it was.  Prints
 * "listening on ADDRESS:PORT" for each that it opened.
 */
int fg_sockets_set(struct fg_sockets *sockets, char *const *list, size_t n, struct fg_error *err) FG_MUST_CHECK;
void fg_sockets_close(struct fg_sockets *sockets);

#endif
