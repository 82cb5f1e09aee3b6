/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "sockets.h"

#include <lib/util.h>
#include <server/http/listen.h>
#include <string.h>
#include <systemd/sd-daemon.h>

static void tell(int fd)
{
	char text[FG_LISTEN_TEXT];

	fg_listen_text(fd, text);
	printf("listening on %s\n", text);
}

int fg_sockets_take(struct fg_sockets *sockets, bool *any, struct fg_error *err)
{
	int n = sd_listen_fds(1);

	*any = n > 0;
	if (n > FG_SOCKETS_MAX)
		return fg_error_set(err, FG_ELIMIT, "systemd hands over more than %d sockets", FG_SOCKETS_MAX);
	for (int i = 0; i < n; i++) {
		int rc = fg_listen_adopt(SD_LISTEN_FDS_START + i, err);
		if (rc < 0)
			return rc;
		sockets->fd[sockets->n++] = SD_LISTEN_FDS_START + i;
		tell(SD_LISTEN_FDS_START + i);
	}
	return 0;
}

static int find(const struct fg_sockets *sockets, const char *address)
{
	for (size_t i = 0; i < sockets->n; i++)
		if (sockets->address[i] && !strcmp(sockets->address[i], address))
			return (int)i;
	return -1;
}

int fg_sockets_set(struct fg_sockets *sockets, char *const *list, size_t n, struct fg_error *err)
{
	struct fg_sockets next = { .n = 0 };
	int rc = n == 0 ? fg_error_set(err, FG_EUSAGE, "no address to listen on")
		 : n > FG_SOCKETS_MAX
			 ? fg_error_set(err, FG_ELIMIT, "more than %d addresses to listen on", FG_SOCKETS_MAX)
			 : 0;

	for (size_t i = 0; i < n && rc == 0; i++) {
		int at = find(sockets, list[i]);
		int fd = at < 0 ? fg_listen_open(list[i], err) : sockets->fd[at];
		if (fd < 0) {
			rc = fd;
			break;
		}
		next.fd[next.n] = fd;
		next.address[next.n++] = fg_strdup(list[i]);
	}
	/* Close what only one of the two has: the old on success, the new on failure. */
	struct fg_sockets *drop = rc == 0 ? sockets : &next, *keep = rc == 0 ? &next : sockets;
	for (size_t i = 0; i < drop->n; i++) {
		if (find(keep, drop->address[i]) < 0)
			fg_closep(&drop->fd[i]);
		else if (rc == 0)
			drop->fd[i] = -1;
	}
	for (size_t i = 0; i < next.n && rc == 0; i++)
		if (find(sockets, next.address[i]) < 0)
			tell(next.fd[i]);
	for (size_t i = 0; i < drop->n; i++)
		free(drop->address[i]);
	if (rc == 0)
		*sockets = next;
	return rc;
}

void fg_sockets_close(struct fg_sockets *sockets)
{
	for (size_t i = 0; i < sockets->n; i++) {
		fg_closep(&sockets->fd[i]);
		free(sockets->address[i]);
	}
	sockets->n = 0;
}
