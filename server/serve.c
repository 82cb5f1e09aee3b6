/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "serve.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <lib/log.h>
#include <pwd.h>
#include <server/api/catalogue.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#define UPLOAD_STALE_S 86400
#define FDS_SPARE 64

struct server {
	const struct fg_serve *serve;
	struct fg_server_config config;
	struct event_base *base;
	struct event *term, *interrupt;
	struct fg_http *http;
	struct fg_api api;
	bool ending;
};

static char *in(const struct server *s, const char *name)
{
	return fg_asprintf("%s/%s", s->serve->dir, name);
}

static void on_drained(void *arg)
{
	struct server *s = arg;

	event_base_loopexit(s->base, NULL);
}

static void on_signal(evutil_socket_t signo, short what, void *arg)
{
	struct server *s = arg;

	(void)what;
	fg_log_info("signal %d: ending", (int)signo);
	sd_notify(0, "STOPPING=1");
	if (!s->http || s->ending) { /* a second signal: at once */
		event_base_loopexit(s->base, NULL);
		return;
	}
	s->ending = true;
	fg_http_drain(s->http, on_drained, s);
	fg_poll_end(s->api.poll);
}

/* Two descriptors a connection (it may be fetching a blob), and some; fewer connections where the system gives fewer. */
static void limits(struct server *s)
{
	struct rlimit rl;
	rlim_t want = 2 * (rlim_t)s->config.connections_max + FDS_SPARE;

	if (getrlimit(RLIMIT_NOFILE, &rl) < 0)
		return;
	if (rl.rlim_cur < want) {
		rl.rlim_cur = rl.rlim_max < want && rl.rlim_max != RLIM_INFINITY ? rl.rlim_max : want;
		if (setrlimit(RLIMIT_NOFILE, &rl) < 0)
			getrlimit(RLIMIT_NOFILE, &rl);
	}
	if (rl.rlim_cur < want && rl.rlim_cur > 2 * FDS_SPARE) {
		s->config.connections_max = (int64_t)(rl.rlim_cur - FDS_SPARE) / 2;
		fg_log_warn("only %lld connections: the limit of open files is %llu",
			    (long long)s->config.connections_max, (unsigned long long)rl.rlim_cur);
	}
}

static int tls(struct server *s, SSL_CTX **out, struct fg_error *err)
{
	fg_autofree char *cert = in(s, FG_SERVER_PEM), *key = in(s, FG_SERVER_KEY), *ca = in(s, FG_SERVER_CA_PEM);

	return fg_tls_context(cert, key, ca, out, err);
}

static int listen_all(struct server *s, struct fg_error *err)
{
	char *const *list = s->serve->n_listen ? s->serve->listen : s->config.listen;
	size_t n = s->serve->n_listen ? s->serve->n_listen : s->config.n_listen;
	char bound[FG_HTTP_ADDRESS_TEXT];

	if (n == 0)
		return fg_error_set(err, FG_EUSAGE, "no address to listen on");
	for (size_t i = 0; i < n; i++) {
		int rc = fg_http_listen(s->http, list[i], bound, err);
		if (rc < 0)
			return rc;
		printf("listening on %s\n", bound);
	}
	return 0;
}

static int drop_to(const char *user, struct fg_error *err)
{
	const struct passwd *pw = user ? getpwnam(user) : NULL;

	if (!user)
		return 0;
	if (!pw)
		return fg_error_set(err, FG_EUSAGE, "no user '%s'", user);
	if (geteuid() == pw->pw_uid && getuid() == pw->pw_uid)
		return 0;
	if (setgroups(0, NULL) < 0 || setresgid(pw->pw_gid, pw->pw_gid, pw->pw_gid) < 0 ||
	    setresuid(pw->pw_uid, pw->pw_uid, pw->pw_uid) < 0)
		return fg_error_errno(err, FG_ENOTALLOWED, errno, "cannot become %s", user);
	return 0;
}

/* Uploads that nobody went on with. */
static void uploads_clean(const struct server *s)
{
	fg_autofree char *path = in(s, FG_SERVER_UPLOADS);
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

static int start(struct server *s, struct fg_error *err)
{
	fg_autofree char *db = in(s, FG_SERVER_DB);
	SSL_CTX *ctx = NULL;
	int rc = fg_server_config_read(s->serve->dir, &s->config, err);

	if (rc < 0)
		return rc;
	limits(s);
	rc = tls(s, &ctx, err);
	if (rc < 0)
		return rc;
	s->http = fg_http_new(s->base, ctx, fg_api_routes, (size_t)s->config.connections_max, &s->api);
	rc = listen_all(s, err);
	if (rc == 0)
		rc = drop_to(s->serve->user, err);
	if (rc == 0)
		rc = fg_store_open(db, &s->api.store, err);
	if (rc < 0)
		return rc;
	uploads_clean(s);
	s->api.dir = s->serve->dir;
	s->api.config = &s->config;
	s->api.poll = fg_poll_new(s->base, s->api.store);
	s->api.publisher = fg_publisher_new(s->base, &s->api);
	s->api.catalogues = fg_catalogues_new(&s->api);
	return 0;
}

static void stop(struct server *s)
{
	fg_publisher_free(s->api.publisher);
	fg_catalogues_free(s->api.catalogues);
	fg_poll_free(s->api.poll);
	fg_http_free(s->http);
	fg_store_close(s->api.store);
	fg_server_config_release(&s->config);
	if (s->term)
		event_free(s->term);
	if (s->interrupt)
		event_free(s->interrupt);
	event_base_free(s->base);
}

int fg_serve(const struct fg_serve *serve, struct fg_error *err)
{
	struct server s = { .serve = serve };

	signal(SIGPIPE, SIG_IGN);
	s.base = event_base_new();
	if (!s.base)
		return fg_error_set(err, FG_ENOMEM, "no event loop");
	s.term = evsignal_new(s.base, SIGTERM, on_signal, &s);
	s.interrupt = evsignal_new(s.base, SIGINT, on_signal, &s);
	if (!s.term || !s.interrupt || event_add(s.term, NULL) < 0 || event_add(s.interrupt, NULL) < 0)
		abort();
	int rc = start(&s, err);
	if (rc == 0) {
		/* Only now: who waits for this line may connect and be served. */
		fflush(stdout);
		sd_notify(0, "READY=1");
		if (event_base_dispatch(s.base) < 0)
			rc = fg_error_set(err, FG_EFAILED, "the event loop failed");
	}
	stop(&s);
	return rc;
}
