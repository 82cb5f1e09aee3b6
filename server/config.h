/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The server's folder and its configuration, DIR/server.conf:
 *
 *	[server]
 *	listen = 10.99.0.2:8443          may be repeated; [ADDRESS]:PORT for IPv6
 *	url = https://10.99.0.2:8443     where fixgate-admin --dir finds the server
 *	bundle_max_bytes = 1073741824    the largest bundle that may be published
 *	connections_max = 20000
 *	connections_per_client = 256     of one certificate's name, or of one address without certificate, in a worker
 *	requests_per_s = 300             of such a client, in a worker; 0: any number
 *	requests_burst = 3000            so many at once after a pause
 *	handshakes_per_s = 200           TLS handshakes of one address, in a worker; 0: any number
 *	handshakes_burst = 2000
 *	first_request_s = 30             for the TLS handshake and the first request
 *	next_request_s = 120             for each further one, from the end of the reply before
 *	stall_s = 75                     a reply or a poll without progress; polls last up to 60 s
 *	catalogue_lifetime_s = 259200    how long a catalogue is valid; a new one is made when a sixth of it is over
 *	workers = 2                      processes that serve; as many as processors, at most 8, when it is not given
 *	user = fixgate-server            whose they become when started as root
 */
#ifndef FG_SERVER_CONFIG_H
#define FG_SERVER_CONFIG_H

#include <fixgate/error.h>
#include <stddef.h>
#include <server/http/client.h>
#include <stdint.h>

/* Names in the folder. */
#define FG_SERVER_CONF "server.conf"
#define FG_SERVER_CA_PEM "server-ca.pem"
#define FG_SERVER_CA_KEY "server-ca.key"
#define FG_SERVER_PEM "server.pem"
#define FG_SERVER_KEY "server.key"
#define FG_SERVER_ADMIN_PEM "admin.pem"
#define FG_SERVER_ADMIN_KEY "admin.key"
#define FG_SERVER_ONLINE_PEM "online.pem" /* key and certificate of the catalogue */
#define FG_SERVER_DB "fixgate.db"
#define FG_SERVER_LOCK "serve.lock"
#define FG_SERVER_BLOBS "blobs"
#define FG_SERVER_UPLOADS "uploads"
#define FG_SERVER_TRUST "trust"

#define FG_SERVER_LISTEN_MAX 16
#define FG_SERVER_BUNDLE_MAX_DEFAULT (1ull << 30)
#define FG_SERVER_CONNECTIONS_DEFAULT 20000
#define FG_SERVER_PER_CLIENT_DEFAULT 256
#define FG_SERVER_REQUESTS_PER_S 300
#define FG_SERVER_REQUESTS_BURST 3000 /* a bundle of bundle_max_bytes is some 1000 parts */
#define FG_SERVER_HANDSHAKES_PER_S 200
#define FG_SERVER_HANDSHAKES_BURST 2000
#define FG_SERVER_FIRST_S 30
#define FG_SERVER_NEXT_S 120
#define FG_SERVER_STALL_S 75 /* longer than the longest poll */
#define FG_SERVER_DEADLINE_MAX_S 3600
#define FG_SERVER_RATE_MAX 1000000 /* tokens have whole microseconds */
#define FG_SERVER_CATALOGUE_MIN_S 3600
#define FG_SERVER_CATALOGUE_MAX_S (30 * 86400) /* so long may a host be kept from knowing of a withdrawal */
#define FG_SERVER_WORKERS_MAX 16
#define FG_SERVER_WORKERS_DEFAULT_MAX 8

struct fg_server_config {
	char *listen[FG_SERVER_LISTEN_MAX];
	size_t n_listen;
	char *url, *user;
	int64_t bundle_max_bytes, connections_max, connections_per_client, workers; /* workers 0: not given */
	int64_t catalogue_lifetime_s, first_request_s, next_request_s, stall_s;
	struct fg_rate requests, handshakes;
};

/* USAGE names the line that is wrong; unknown keys are wrong. */
int fg_server_config_read(const char *dir, struct fg_server_config *out, struct fg_error *err) FG_MUST_CHECK;
void fg_server_config_release(struct fg_server_config *config);

#endif
