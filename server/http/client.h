/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Who uses a process of the server: one entry for each certificate's name, and each address without certificate.  It counts
 * connections, and holds the token bucket of the client's requests.
 *
 *	fg_clients_get -> fg_rate_take … -> fg_clients_put
 *
 * An entry whose bucket is not full outlives its connections, so that a client that comes back gets no new bucket; of those at
 * most FG_CLIENTS_IDLE_MAX are kept, the oldest goes first.
 */
#ifndef FG_SERVER_HTTP_CLIENT_H
#define FG_SERVER_HTTP_CLIENT_H

#include <fixgate/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/socket.h>

#define FG_CLIENTS_IDLE_MAX 8192

/* A token bucket that holds burst tokens and gets per_s in a second; per_s 0: no limit. */
struct fg_rate {
	int64_t per_s, burst;
};
/*
 * Takes a token.  *full_us is when the bucket will be full again, on the monotonic clock, 0 at first; nothing else of the
 * bucket need be kept (the "generic cell rate algorithm", ITU-T I.371).  Returns 0, or the microseconds until there is a token.
 */
int64_t fg_rate_take(const struct fg_rate *rate, int64_t *full_us, int64_t now_us);

/*
 * Who an address counts as: an IPv4 address is itself ("10.0.0.1"), also inside an IPv6 one; of IPv6 the first 64 bits count
 * ("fd00:0:0:1::/64"), of the others a machine has as many as it likes (RFC 4291, 2.5.1; RFC 8981); "?" for anything else.
 */
#define FG_CLIENT_ADDRESS 50
void fg_client_address(const struct sockaddr_storage *ss, char out[FG_CLIENT_ADDRESS]);

struct fg_client {
	char key[96];
	size_t n; /* connections */
	bool told_many, told_fast; /* the log was told that it has too many, or asks too often */
	int64_t full_us;
	TAILQ_ENTRY(fg_client) idle; /* while n is 0 */
};

struct fg_clients {
	void *tree; /* tsearch(3) */
	TAILQ_HEAD(fg_clients_idle, fg_client) idle; /* the oldest first */
	size_t n_idle;
};

void fg_clients_init(struct fg_clients *clients);
/* No client may be in use. */
void fg_clients_release(struct fg_clients *clients);
/* One connection more. */
struct fg_client *fg_clients_get(struct fg_clients *clients, const char *key);
/* One less; client may be gone then, and may be NULL. */
void fg_clients_put(struct fg_clients *clients, struct fg_client *client, int64_t now_us);

#endif
