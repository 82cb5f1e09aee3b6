/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "worker.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <lib/log.h>
#include <pwd.h>
#include <server/api/catalogue.h>
#include <server/api/writer.h>
#include <server/http/tls.h>
#include <server/rollout/engine.h>
#include <server/store/certs.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define UPLOAD_STALE_S 86400
#define FDS_SPARE 192

struct running {
	const struct fg_worker *worker;
	struct event_base *base;
	struct event *signals[3], *mail;
	struct fg_http *http;
	struct fg_api api;
	struct fg_bus_message *message;
	size_t connections_max;
	int ending; /* the signal that said so */
};

static char *in(const struct fg_worker *w, const char *name)
{
	return fg_asprintf("%s/%s", w->dir, name);
}

/* ---- end ---- */

static void on_drained(void *arg)
{
	struct running *r = arg;

	event_base_loopexit(r->base, NULL);
}

static void on_end(evutil_socket_t signo, short what, void *arg)
{
	struct running *r = arg;

	(void)what;
	if (r->ending && signo == SIGQUIT) /* the reload after ours */
		return;
	if (r->ending == SIGTERM) { /* a second one: at once */
		event_base_loopexit(r->base, NULL);
		return;
	}
	r->ending = (int)signo;
	fg_http_drain(r->http, signo == SIGQUIT ? FG_WORKER_RELOAD_DRAIN_MS : FG_WORKER_DRAIN_MS, signo == SIGQUIT,
		      on_drained, r);
	fg_poll_end(r->api.poll);
}

/* ---- what other processes say ---- */

static void on_recheck(evutil_socket_t signo, short what, void *arg)
{
	struct running *r = arg;

	(void)signo, (void)what;
	fg_http_recheck(r->http);
}

static void on_mail(evutil_socket_t fd, short what, void *arg)
{
	struct running *r = arg;
	struct fg_bus_message *m = r->message;
	bool missed;

	(void)fd, (void)what;
	while (fg_bus_receive(r->worker->bus, m, &missed)) {
		switch (m->kind) {
		case FG_BUS_WAKE:
			fg_poll_wake_here(r->api.poll, m->data);
			break;
		case FG_BUS_RECHECK:
			fg_http_recheck(r->http);
			break;
		case FG_BUS_SIGNED:
			fg_enroller_signed(r->api.enroller, m->data, m->len);
			break;
		case FG_BUS_SIGN:
			break; /* for the signer */
		}
	}
	if (missed) {
		fg_poll_wake_here(r->api.poll, NULL);
		fg_http_recheck(r->http);
	}
}

static void tell_wake(const char *host, void *arg)
{
	struct running *r = arg;

	r->api.slot->wakes_sent++;
	fg_bus_broadcast(r->worker->bus, FG_BUS_WAKE, host, strlen(host));
}

static int gate(const struct fg_peer *peer, void *ctx, struct fg_error *err)
{
	struct fg_api *api = ctx;

	return fg_store_cert_check(api->store, peer->serial, fg_tls_role_name(peer->role), peer->name, err);
}

/* ---- start ---- */

int fg_worker_drop(const char *user, struct fg_error *err)
{
	const struct passwd *pw = user ? getpwnam(user) : NULL;

	if (user && !pw)
		return fg_error_set(err, FG_EUSAGE, "no user '%s'", user);
	if (pw && (geteuid() != pw->pw_uid || getuid() != pw->pw_uid)) {
		if (setgroups(0, NULL) < 0 || setresgid(pw->pw_gid, pw->pw_gid, pw->pw_gid) < 0 ||
		    setresuid(pw->pw_uid, pw->pw_uid, pw->pw_uid) < 0)
			return fg_error_errno(err, FG_ENOTALLOWED, errno, "cannot become %s", user);
	}
	/* After the change of user, which clears both. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return fg_error_errno(err, FG_EFAILED, errno, "prctl");
	return 0;
}

/* Two descriptors a connection (it may be fetching a blob), and some; fewer connections where the system gives fewer. */
static size_t connections_limit(const struct fg_worker *w)
{
	struct rlimit rl;
	size_t workers = (size_t)w->config->workers;
	size_t max = ((size_t)w->config->connections_max + workers - 1) / workers;
	rlim_t want = 2 * (rlim_t)max + FDS_SPARE;

	if (getrlimit(RLIMIT_NOFILE, &rl) < 0)
		return max;
	if (rl.rlim_cur < want) {
		rl.rlim_cur = rl.rlim_max < want && rl.rlim_max != RLIM_INFINITY ? rl.rlim_max : want;
		if (setrlimit(RLIMIT_NOFILE, &rl) < 0)
			getrlimit(RLIMIT_NOFILE, &rl);
	}
	if (rl.rlim_cur < want && rl.rlim_cur > 2 * FDS_SPARE) {
		max = (size_t)(rl.rlim_cur - FDS_SPARE) / 2;
		if (w->leader)
			fg_log_warn("only %zu connections in each process: the limit of open files is %llu", max,
				    (unsigned long long)rl.rlim_cur);
	}
	return max;
}

/* Uploads that nobody went on with. */
static void uploads_clean(const struct fg_worker *w)
{
	fg_autofree char *path = in(w, FG_SERVER_UPLOADS);
	DIR *dir = opendir(path);
	const struct dirent *entry;
	struct stat st;

	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] != '.' && fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    S_ISREG(st.st_mode) && st.st_mtime + UPLOAD_STALE_S < fg_now_ms() / 1000)
			unlinkat(dirfd(dir), entry->d_name, 0);
	}
	if (dir)
		closedir(dir);
}

/* TLS with the rights that we were started with, the rest as the user. */
static int open_all(const struct fg_worker *w, SSL_CTX **ctx, struct fg_store **store, struct fg_error *err)
{
	fg_autofree char *cert = in(w, FG_SERVER_PEM), *key = in(w, FG_SERVER_KEY), *ca = in(w, FG_SERVER_CA_PEM);
	fg_autofree char *db = in(w, FG_SERVER_DB);
	int rc = fg_tls_context(cert, key, ca, ctx, err);

	if (rc == 0)
		rc = fg_worker_drop(w->user, err);
	return rc < 0 ? rc : fg_store_open(db, store, err);
}

int fg_worker_prepare(const struct fg_worker *w, struct fg_error *err)
{
	SSL_CTX *ctx = NULL;
	struct fg_store *store = NULL;
	int rc = open_all(w, &ctx, &store, err);

	if (rc == 0 && w->check)
		rc = fg_store_check(store, err);
	if (rc == 0)
		uploads_clean(w);
	fg_store_close(store);
	SSL_CTX_free(ctx);
	return rc;
}

int fg_worker_finish(const struct fg_worker *w, struct fg_error *err)
{
	fg_autofree char *db = in(w, FG_SERVER_DB);
	struct fg_store *store = NULL;
	int rc = fg_worker_drop(w->user, err);

	if (rc == 0)
		rc = fg_store_open(db, &store, err);
	fg_store_close(store);
	return rc;
}

static void signals_set(struct running *r)
{
	static const struct {
		int number;
		void (*fn)(evutil_socket_t, short, void *);
	} table[] = { { SIGTERM, on_end }, { SIGQUIT, on_end }, { SIGUSR1, on_recheck } };

	for (size_t i = 0; i < FG_COUNT(table); i++) {
		r->signals[i] = evsignal_new(r->base, table[i].number, table[i].fn, r);
		if (!r->signals[i] || event_add(r->signals[i], NULL) < 0)
			abort();
	}
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	r->mail = event_new(r->base, fg_bus_fd(r->worker->bus), EV_READ | EV_PERSIST, on_mail, r);
	if (!r->mail || event_add(r->mail, NULL) < 0)
		abort();
}

static void rollout_wake(const char *host, void *poll)
{
	fg_poll_wake(poll, host);
}

static int start(struct running *r, struct fg_error *err)
{
	const struct fg_worker *w = r->worker;
	struct fg_api *api = &r->api;
	struct fg_http_setup setup = { .base = r->base,
				       .routes = fg_api_routes,
				       .ctx = api,
				       .connections_max = connections_limit(w),
				       .per_client_max = (size_t)w->config->connections_per_client,
				       .first_s = (int)w->config->first_request_s,
				       .next_s = (int)w->config->next_request_s,
				       .stall_s = (int)w->config->stall_s,
				       .requests = w->config->requests,
				       .handshakes = w->config->handshakes,
				       .gate = gate,
				       .metrics = &w->metrics->slot[w->box] };
	int rc = open_all(w, &setup.tls, &api->store, err);

	if (rc < 0) {
		SSL_CTX_free(setup.tls);
		return rc;
	}
	fg_metrics_take_over(setup.metrics);
	r->http = fg_http_new(&setup);
	api->dir = w->dir;
	api->config = w->config;
	api->bus = w->bus;
	api->metrics = w->metrics;
	api->slot = setup.metrics;
	api->leader = w->leader;
	api->poll = fg_poll_new(r->base, api->store);
	fg_poll_on_wake(api->poll, tell_wake, r);
	api->writer = fg_writer_new(r->base, api->store);
	api->rollouts = fg_rollouts_new(r->base, api->store, rollout_wake, api->poll);
	api->publisher = fg_publisher_new(r->base, api);
	api->catalogues = fg_catalogues_new(api);
	api->enroller = fg_enroller_new(r->base, api, w->signer);
	for (size_t i = 0; i < w->n_listeners && rc == 0; i++)
		rc = fg_http_accept(r->http, w->listeners[i], err);
	return rc;
}

static void stop(struct running *r)
{
	fg_publisher_free(r->api.publisher);
	fg_catalogues_free(r->api.catalogues);
	fg_enroller_free(r->api.enroller);
	fg_writer_free(r->api.writer);
	fg_rollouts_free(r->api.rollouts);
	fg_poll_free(r->api.poll);
	fg_http_free(r->http);
	fg_store_close(r->api.store);
	for (size_t i = 0; i < FG_COUNT(r->signals); i++)
		if (r->signals[i])
			event_free(r->signals[i]);
	if (r->mail)
		event_free(r->mail);
	event_base_free(r->base);
	free(r->message);
}

/* What is asked of epoll in a turn of the loop is put together: two calls a request, not four. */
static struct event_base *base_new(void)
{
	struct event_config *config = event_config_new();
	struct event_base *base = NULL;

	if (config && event_config_set_flag(config, EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST) == 0)
		base = event_base_new_with_config(config);
	if (config)
		event_config_free(config);
	return base;
}

int fg_worker_run(const struct fg_worker *worker, struct fg_error *err)
{
	struct running r = { .worker = worker };

	fg_bus_join(worker->bus, worker->box);
	r.message = fg_calloc(1, sizeof(*r.message));
	r.base = base_new();
	if (!r.base)
		return fg_error_set(err, FG_ENOMEM, "no event loop");
	signals_set(&r);
	int rc = start(&r, err);
	if (rc == 0 && event_base_dispatch(r.base) < 0)
		rc = fg_error_set(err, FG_EFAILED, "the event loop failed");
	stop(&r);
	return rc;
}
