/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * fixgate-net: started by fixgated as root with a socketpair on descriptor 3.  Reads what needs root, gives root up,
 * closes the sandbox, and only then sees the first byte from the network.
 */
#include "message.h"
#include "net.h"
#include "sandbox.h"

#include <dom0-agent/config.h>
#include <lib/log.h>
#include <lib/util.h>

#include <errno.h>
#include <event2/event.h>
#include <getopt.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct options {
	const char *config;
	bool no_sandbox;
	bool verbose;
};

struct world { /* what is read before root is given up */
	struct fg_agent_config *config;
	struct fg_identity *identity;
	struct fg_trust *trust, *catalogue_trust;
	struct fg_sandbox_user user;
	struct event_base *base;
	struct fg_net *net;
};

static const char usage[] = "usage: fixgate-net [--config FILE] [--verbose] [--no-sandbox]\n"
			    "Started by fixgated, with a socket to it on descriptor 3.  See fixgate-net(8).\n";

/* 0: go on; otherwise *status is the exit status. */
static int parse_options(int argc, char **argv, struct options *o, int *status)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' }, { "no-sandbox", no_argument, NULL, 'n' },
		{ "verbose", no_argument, NULL, 'v' },	    { "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },	    { NULL, 0, NULL, 0 }
	};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'c') {
			o->config = optarg;
		} else if (c == 'n') {
			o->no_sandbox = true;
		} else if (c == 'v') {
			o->verbose = true;
		} else {
			fputs(c == 'V' ? "fixgate-net " FG_VERSION "\n" : usage, c == '?' ? stderr : stdout);
			*status = c == '?' ? FG_EUSAGE : 0;
			return -1;
		}
	}
	if (optind != argc) {
		fputs(usage, stderr);
		*status = FG_EUSAGE;
		return -1;
	}
	return 0;
}

static int check_socket(struct fg_error *err)
{
	int type = 0;
	socklen_t len = sizeof(type);

	if (getsockopt(FG_NET_FD, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_STREAM)
		return fg_error_set(err, FG_EUSAGE,
				    "descriptor %d is no stream socket: fixgate-net is started by fixgated", FG_NET_FD);
	return 0;
}

/* With root's rights, before the network: no byte of a peer is seen here. */
static int prepare(const struct options *o, struct world *w, struct fg_error *err)
{
	int rc;

	if (o->no_sandbox && (getuid() == 0 || geteuid() == 0)) {
		fg_error_set(err, FG_EUSAGE, "--no-sandbox is for tests and is refused to root");
		return -FG_EUSAGE;
	}
	if ((rc = check_socket(err)) < 0 || (rc = fg_agent_config_load(o->config, &w->config, err)) < 0)
		return rc;
	/* Without root there is no user to become. */
	if (geteuid() == 0 && (rc = fg_sandbox_user_find(w->config->user, &w->user, err)) < 0)
		return rc;
	if ((rc = fg_identity_load(w->config->server_ca, w->config->server_cert, w->config->server_key, &w->identity,
				   err)) < 0 ||
	    (rc = fg_trust_load(w->config->trust_dir, &w->trust, err)) < 0 ||
	    (rc = fg_trust_load_catalogue(w->identity->ca.text, w->identity->ca.len, &w->catalogue_trust, err)) < 0)
		return rc;
	return fg_sandbox_enter_folder(w->config->state_dir, &w->user, err);
}

static int open_net(struct world *w, struct fg_error *err)
{
	struct fg_net_config config = { .fd = FG_NET_FD,
					.trust = w->trust,
					.catalogue_trust = w->catalogue_trust,
					.state_dir = w->config->state_dir };

	w->base = event_base_new();
	if (!w->base)
		return fg_error_set(err, FG_EFAILED, "event loop");
	config.base = config.http.base = w->base;
	config.http.address = w->config->server_address;
	config.http.port = w->config->server_port;
	config.http.identity = w->identity;
	return fg_net_open(&config, &w->net, err);
}

static int run(const struct options *o, struct world *w, struct fg_error *err)
{
	bool landlock = false;
	int rc;

	/* These would read /dev/urandom and /etc/localtime at their first use, when there are no files any more. */
	json_object_seed(0);
	tzset();
	if ((rc = prepare(o, w, err)) < 0 || (rc = fg_sandbox_drop_user(&w->user, err)) < 0 ||
	    (rc = open_net(w, err)) < 0)
		return rc;
	if (!o->no_sandbox && ((rc = fg_sandbox_limit(err)) < 0 || (rc = fg_sandbox_close(&landlock, err)) < 0))
		return rc;
	fg_log_info("runs as user %u%s%s", (unsigned)getuid(), o->no_sandbox ? ", WITHOUT sandbox" : ", sandboxed",
		    landlock ? " (with Landlock)" : "");
	return fg_net_run(w->net, err);
}

int main(int argc, char **argv)
{
	struct options o = { .config = FG_AGENT_CONFIG };
	struct world w = { 0 };
	struct fg_error err = FG_ERROR_INIT;
	int status = 0;

	if (parse_options(argc, argv, &o, &status) < 0)
		return status;
	fg_log_init("fixgate-net", o.verbose ? FG_LOG_DEBUG : FG_LOG_INFO);
	/* SSLKEYLOGFILE, OPENSSL_CONF, proxies …: nobody's environment decides here. */
	clearenv();
	close_range(FG_NET_FD + 1, ~0u, 0);
	umask(0077);
	signal(SIGPIPE, SIG_IGN);

	if (run(&o, &w, &err) < 0) {
		fg_log_err("%s", err.text);
		status = fg_error_exit_status(&err);
	} else {
		fg_log_info("fixgated has closed the connection: end");
	}
	fg_net_close(w.net);
	if (w.base)
		event_base_free(w.base);
	fg_trust_free(w.trust);
	fg_trust_free(w.catalogue_trust);
	fg_identity_free(w.identity);
	fg_agent_config_free(w.config);
	return status;
}
