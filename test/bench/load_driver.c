/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Hosts at work on a fix server, or on another HTTPS server that is asked the same: real TLS, a certificate a host.
 *
 *	load_driver --to ADDR:PORT --ca CA.pem --hosts LIST [OPTION…]
 *
 * LIST: a line a host, "CERT.pem KEY.pem".  Connection i is host i's, or i modulo the hosts'.
 *	--connections N   at a time (1)
 *	--seconds S       for so long, from when each connection has had its first reply (1)
 *	--get PATH        what is asked; without it, reports are made
 *	--batch N         reports in a request (1); --journal NAME: a new one each time; --check: replies must acknowledge them
 *	--new             each request on a new connection
 *	--hold            long polls: says "held N" when all wait, and goes on until its input ends
 *	--pids P,P,…      whose CPU time is counted beside its own
 *
 * Prints "requests bytes seconds CPU-seconds-of-the-pids own-CPU-seconds errors slowest-ms".
 */
#include "load_work.h"

#include <event2/util.h>
#include <getopt.h>
#include <inttypes.h>
#include <lib/util.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define OPENING_MAX 64 /* connections that come up at a time: no listen queue is to overflow */
#define HOSTS_MAX 20000
#define ERRORS_MAX 10

struct credential {
	X509 *cert;
	EVP_PKEY *key;
};

struct client {
	struct fg_load_conn conn;
	struct fg_load_host host;
	const struct credential *credential;
	double asked;
	bool prepared, ready; /* ready: had a reply to what is measured */
};

struct clocks {
	double wall, servers, own;
};

static struct driver {
	struct event_base *base;
	SSL_CTX *tls;
	struct sockaddr_storage to;
	int to_len;
	struct credential *credentials;
	size_t n_credentials;
	struct client *clients;
	unsigned n, opened, opening, ready;
	struct fg_load_work work;
	const char *pids;
	double seconds, slowest;
	bool again, hold, measuring;
	uint64_t requests, bytes, errors;
	struct clocks began;
} d = { .n = 1, .seconds = 1, .work = { .journal = "load", .batch = 1 } };

static void die(const char *what)
{
	fprintf(stderr, "load_driver: %s\n", what);
	ERR_print_errors_fp(stderr);
	exit(2);
}

/* ---- clocks ---- */

static double now(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* The processes have one thread that works; the clock of the process counts all, also those that have ended. */
static struct clocks clocks_now(void)
{
	struct clocks c = { now(CLOCK_MONOTONIC), 0, now(CLOCK_PROCESS_CPUTIME_ID) };
	const char *p = d.pids;
	clockid_t clock;

	while (p && *p) {
		char *end;
		long pid = strtol(p, &end, 10);
		if (clock_getcpuclockid((pid_t)pid, &clock) == 0)
			c.servers += now(clock);
		p = *end ? end + 1 : end;
	}
	return c;
}

/* ---- connections, in this order: open, prepare, ask, take the reply, ask again or open again ---- */

static void on_reply(struct fg_load_conn *conn, const struct fg_load_reply *reply);
static void on_failed(struct fg_load_conn *conn, const char *why);
static void on_bytes(struct fg_load_conn *conn, size_t n);
static const struct fg_load_calls calls = { on_reply, on_failed, on_bytes };

static void client_open(struct client *c)
{
	fg_load_conn_open(&c->conn, d.tls, c->credential->cert, c->credential->key, (struct sockaddr *)&d.to,
			  (socklen_t)d.to_len);
}

static void open_more(void)
{
	while (d.opening < OPENING_MAX && d.opened < d.n) {
		d.opening++;
		client_open(&d.clients[d.opened++]);
	}
}

static void ask(struct client *c)
{
	if (!d.again)
		c->asked = now(CLOCK_MONOTONIC);
	if (!c->prepared && !d.work.get)
		fg_load_inventory(&c->host);
	else
		fg_load_next(&d.work, &c->host);
	fg_load_conn_send(&c->conn, c->host.text, c->host.len);
}

static void measure(void)
{
	struct timeval tv = { (time_t)d.seconds, (suseconds_t)((d.seconds - (double)(time_t)d.seconds) * 1e6) };

	d.measuring = true;
	d.began = clocks_now();
	event_base_loopexit(d.base, &tv);
}

/* One more has had its first reply, or waits in its poll. */
static void came_up(struct client *c)
{
	c->ready = true;
	d.opening--;
	d.ready++;
	open_more();
	if (d.ready < d.n)
		return;
	if (d.hold) {
		printf("held %u\n", d.n);
		fflush(stdout);
		return;
	}
	measure();
	for (unsigned i = 0; i < d.n; i++)
		ask(&d.clients[i]);
}

static void open_again(struct client *c)
{
	fg_load_conn_close(&c->conn);
	c->asked = now(CLOCK_MONOTONIC);
	client_open(c);
}

static void counted(struct client *c)
{
	double took = now(CLOCK_MONOTONIC) - c->asked;

	d.requests++;
	if (took > d.slowest)
		d.slowest = took;
	if (d.again)
		open_again(c);
	else
		ask(c);
}

static void on_reply(struct fg_load_conn *conn, const struct fg_load_reply *reply)
{
	struct client *c = conn->arg;
	bool first = !c->prepared;

	if (!reply) { /* TLS is up */
		ask(c);
		if (d.hold && !c->ready)
			came_up(c);
		return;
	}
	if (!fg_load_right(&d.work, &c->host, reply)) {
		fprintf(stderr, "load_driver: status %d: %.200s\n", reply->status, reply->body);
		if (++d.errors > ERRORS_MAX || !d.measuring)
			die("wrong replies");
	}
	c->prepared = true;
	if (d.measuring)
		counted(c);
	else if (d.hold || (first && !d.work.get)) /* a poll ran out; the inventory was taken */
		ask(c);
	else
		came_up(c);
}

static void on_bytes(struct fg_load_conn *conn, size_t n)
{
	(void)conn;
	if (d.measuring)
		d.bytes += n;
}

static void on_failed(struct fg_load_conn *conn, const char *why)
{
	struct client *c = conn->arg;

	fprintf(stderr, "load_driver: connection %u: %s\n", c->host.number, why);
	if (++d.errors > ERRORS_MAX || !d.measuring)
		die("connections fail");
	open_again(c);
}

/* ---- start ---- */

static void credential_add(const char *cert, const char *key)
{
	struct credential *c = &d.credentials[d.n_credentials++];
	fg_autofclose FILE *cf = fopen(cert, "re"), *kf = fopen(key, "re");

	c->cert = cf ? PEM_read_X509(cf, NULL, NULL, NULL) : NULL;
	c->key = kf ? PEM_read_PrivateKey(kf, NULL, NULL, NULL) : NULL;
	if (!c->cert || !c->key)
		die(cert);
}

static void hosts_read(const char *path)
{
	fg_autofclose FILE *f = fopen(path, "re");
	char cert[512], key[512];

	d.credentials = fg_calloc(HOSTS_MAX, sizeof(*d.credentials));
	while (f && d.n_credentials < HOSTS_MAX && fscanf(f, "%511s %511s", cert, key) == 2)
		credential_add(cert, key);
	if (d.n_credentials == 0)
		die(path);
}

static void tls_set(const char *ca)
{
	d.tls = SSL_CTX_new(TLS_client_method());
	if (!d.tls || SSL_CTX_set_min_proto_version(d.tls, TLS1_3_VERSION) != 1 ||
	    SSL_CTX_load_verify_file(d.tls, ca) != 1)
		die(ca);
	SSL_CTX_set_verify(d.tls, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_read_ahead(d.tls, 1);
	SSL_CTX_set_session_cache_mode(d.tls, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_mode(d.tls, SSL_MODE_RELEASE_BUFFERS);
}

static void on_input(evutil_socket_t fd, short what, void *arg)
{
	char c;

	(void)what, (void)arg;
	if (read(fd, &c, 1) <= 0)
		event_base_loopbreak(d.base);
}

static void options_read(int argc, char **argv)
{
	static const struct option table[] = { { "to", 1, NULL, 't' },	    { "ca", 1, NULL, 'a' },
					       { "hosts", 1, NULL, 'H' },   { "connections", 1, NULL, 'c' },
					       { "seconds", 1, NULL, 's' }, { "get", 1, NULL, 'g' },
					       { "batch", 1, NULL, 'b' },   { "journal", 1, NULL, 'j' },
					       { "check", 0, NULL, 'k' },   { "new", 0, NULL, 'n' },
					       { "hold", 0, NULL, 'h' },    { "pids", 1, NULL, 'p' },
					       { NULL, 0, NULL, 0 } };
	const char *ca = NULL, *hosts = NULL;
	int opt;

	d.to_len = sizeof(d.to);
	while ((opt = getopt_long(argc, argv, "", table, NULL)) >= 0) {
		if (opt == 't' && evutil_parse_sockaddr_port(optarg, (struct sockaddr *)&d.to, &d.to_len) < 0)
			die(optarg);
		ca = opt == 'a' ? optarg : ca;
		hosts = opt == 'H' ? optarg : hosts;
		d.n = opt == 'c' ? (unsigned)strtoul(optarg, NULL, 10) : d.n;
		d.seconds = opt == 's' ? strtod(optarg, NULL) : d.seconds;
		d.work.get = opt == 'g' ? optarg : d.work.get;
		d.work.batch = opt == 'b' ? (unsigned)strtoul(optarg, NULL, 10) : d.work.batch;
		d.work.journal = opt == 'j' ? optarg : d.work.journal;
		d.pids = opt == 'p' ? optarg : d.pids;
		d.work.check = d.work.check || opt == 'k';
		d.again = d.again || opt == 'n';
		d.hold = d.hold || opt == 'h';
		if (opt == '?')
			exit(2);
	}
	if (!ca || !hosts || d.n == 0 || d.work.batch == 0 || d.work.batch > FG_LOAD_BATCH_MAX ||
	    (!d.work.get && (d.again || d.hold)))
		die("see the head of load_driver.c for its options");
	tls_set(ca);
	hosts_read(hosts);
}

int main(int argc, char **argv)
{
	struct rlimit files = { 65536, 65536 };

	setrlimit(RLIMIT_NOFILE, &files);
	options_read(argc, argv);
	d.base = event_base_new();
	d.clients = fg_calloc(d.n, sizeof(*d.clients));
	if (!d.base)
		abort();
	for (unsigned i = 0; i < d.n; i++) {
		struct client *c = &d.clients[i];
		c->host.number = i;
		c->credential = &d.credentials[i % d.n_credentials];
		c->conn.base = d.base;
		c->conn.calls = &calls;
		c->conn.arg = c;
		c->asked = now(CLOCK_MONOTONIC);
	}
	struct event *input = event_new(d.base, 0, EV_READ | EV_PERSIST, on_input, NULL);
	if (d.hold)
		event_add(input, NULL);
	if (d.again)
		measure();
	open_more();
	event_base_dispatch(d.base);
	struct clocks end = clocks_now();
	printf("%" PRIu64 " %" PRIu64 " %.6f %.6f %.6f %" PRIu64 " %.3f\n", d.requests, d.bytes,
	       end.wall - d.began.wall, end.servers - d.began.servers, end.own - d.began.own, d.errors,
	       d.slowest * 1000);
	event_free(input);
	return 0;
}
