/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "serve.h"
#include "sockets.h"
#include "worker.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <lib/log.h>
#include <lib/util.h>
#include <server/setup/setup.h>
#include <server/setup/signer.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#define LOCK_WAIT_S 5
#define STABLE_MS 2000 /* a child that lived shorter is replaced after … */
#define RESPAWN_MS 1000

enum kind { NONE, SIGNER, WORKER, OLD_WORKER, TRIAL, FINISH };

struct child {
	enum kind kind;
	pid_t pid;
	bool leader, due; /* due: to be started again */
	int64_t started_ms;
};

struct parent {
	const struct fg_serve *serve;
	struct fg_server_config config;
	struct fg_sockets sockets;
	struct fg_signer *signer; /* NULL: no CA key here */
	struct fg_bus *bus;
	struct fg_metrics *metrics;
	struct child child[FG_BUS_WORKERS_MAX + 1]; /* by mailbox */
	sigset_t signals;
	int lock;
	bool activated; /* by systemd's sockets */
	bool checked; /* the database, once: it takes as long as the database is large */
	int ending; /* signals that said so */
};

/* ---- children ---- */

static struct fg_worker worker_of(const struct parent *p, unsigned box)
{
	return (struct fg_worker){ .dir = p->serve->dir,
				   .config = &p->config,
				   .user = p->serve->user ? p->serve->user : p->config.user,
				   .listeners = p->sockets.fd,
				   .n_listeners = p->sockets.n,
				   .bus = p->bus,
				   .metrics = p->metrics,
				   .box = box,
				   .leader = p->child[box].leader,
				   .signer = p->signer != NULL,
				   .check = !p->checked };
}

static int signer_main(struct parent *p, struct fg_error *err)
{
	fg_autofree char *db = fg_asprintf("%s/%s", p->serve->dir, FG_SERVER_DB);
	struct fg_worker w = worker_of(p, FG_BUS_SIGNER);
	struct fg_store *store = NULL;
	int rc = fg_worker_drop(w.user, err);

	/* The workers have the same user: none may look into the memory that holds the key. */
	if (rc == 0 && prctl(PR_SET_DUMPABLE, 0) < 0)
		rc = fg_error_errno(err, FG_EFAILED, errno, "prctl");
	if (rc == 0)
		rc = fg_store_open(db, &store, err);
	fg_bus_join(p->bus, FG_BUS_SIGNER);
	if (rc == 0)
		rc = fg_signer_run(p->signer, store, p->bus, err);
	fg_store_close(store);
	return rc;
}

static void parent_free(struct parent *p)
{
	fg_bus_free(p->bus);
	fg_metrics_free(p->metrics);
	fg_signer_free(p->signer);
	fg_sockets_close(&p->sockets);
	fg_server_config_release(&p->config);
	fg_closep(&p->lock);
}

/* kind TRIAL: only try whether a worker could run. Does not return. */
static void child_main(struct parent *p, enum kind kind, unsigned box, pid_t parent)
{
	struct fg_error err = FG_ERROR_INIT;
	struct fg_worker w = worker_of(p, box);
	sigset_t none;
	int rc;

	sigemptyset(&none);
	signal(SIGHUP, SIG_IGN); /* those of the terminal are the parent's */
	signal(SIGINT, SIG_IGN);
	if (kind != WORKER) /* a worker opens them when it is ready for them */
		sigprocmask(SIG_SETMASK, &none, NULL);
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
		_exit(1);
	if (kind != SIGNER) {
		fg_signer_free(p->signer); /* OpenSSL clears the key */
		p->signer = NULL;
	}
	rc = kind == TRIAL    ? fg_worker_prepare(&w, &err)
	     : kind == FINISH ? fg_worker_finish(&w, &err)
	     : kind == SIGNER ? signer_main(p, &err)
			      : fg_worker_run(&w, &err);
	if (rc < 0)
		fg_log_err("%s", err.text);
	/* The worker has closed its copies of the sockets. */
	for (size_t i = 0; kind == WORKER && rc == 0 && i < p->sockets.n; i++)
		p->sockets.fd[i] = -1;
	parent_free(p);
	exit(rc < 0 ? fg_error_exit_status(&err) : 0);
}

static pid_t child_fork(struct parent *p, enum kind kind, unsigned box)
{
	pid_t parent = getpid(), pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0)
		child_main(p, kind, box, parent);
	return pid;
}

static void child_start(struct parent *p, unsigned box)
{
	struct child *c = &p->child[box];

	c->due = false;
	c->started_ms = fg_monotonic_ms();
	c->pid = child_fork(p, c->kind, box);
	if (c->pid < 0) {
		fg_log_err("cannot start a process: %s", strerror(errno));
		c->pid = 0;
		c->due = true;
	}
}

/* Starts as many workers as configured, in mailboxes that are free. */
static void workers_start(struct parent *p)
{
	int64_t n = 0;

	for (unsigned box = FG_BUS_SIGNER + 1; box <= FG_BUS_WORKERS_MAX && n < p->config.workers; box++) {
		if (p->child[box].kind != NONE)
			continue;
		p->child[box] = (struct child){ .kind = WORKER, .leader = n == 0 };
		child_start(p, box);
		n++;
	}
	p->metrics->workers = (uint64_t)n;
}

static void tell_children(const struct parent *p, int signo, bool workers_only)
{
	for (unsigned box = 0; box <= FG_BUS_WORKERS_MAX; box++)
		if (p->child[box].pid > 0 && !(workers_only && p->child[box].kind == SIGNER))
			kill(p->child[box].pid, signo);
}

static size_t children_left(const struct parent *p)
{
	size_t n = 0;

	for (unsigned box = 0; box <= FG_BUS_WORKERS_MAX; box++)
		n += p->child[box].pid > 0;
	return n;
}

static void how_it_ended(const struct child *c, int status)
{
	const char *what = c->kind == SIGNER ? "signer" : "worker";

	if (WIFSIGNALED(status))
		fg_log_err("%s[%ld] died of signal %d", what, (long)c->pid, WTERMSIG(status));
	else
		fg_log_err("%s[%ld] ended with status %d", what, (long)c->pid, WEXITSTATUS(status));
}

static void child_ended(struct parent *p, unsigned box, int status)
{
	struct child *c = &p->child[box];

	fg_bus_leave(p->bus, box);
	fg_metrics_take_over(&p->metrics->slot[box]);
	if (p->ending || c->kind == OLD_WORKER) {
		if (WIFSIGNALED(status) && c->kind != SIGNER)
			how_it_ended(c, status);
		*c = (struct child){ .kind = NONE };
		return;
	}
	how_it_ended(c, status);
	p->metrics->worker_restarts++;
	c->pid = 0;
	c->due = true;
	if (fg_monotonic_ms() - c->started_ms >= STABLE_MS)
		child_start(p, box);
}

static void reap(struct parent *p)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (unsigned box = 0; box <= FG_BUS_WORKERS_MAX; box++)
			if (p->child[box].pid == pid) {
				child_ended(p, box, status);
				break;
			}
}

/* ---- start and reload ---- */

static void on_alarm(int signo)
{
	(void)signo; /* it interrupts flock */
}

static int lock_take(struct parent *p, struct fg_error *err)
{
	fg_autofree char *path = fg_asprintf("%s/%s", p->serve->dir, FG_SERVER_LOCK);
	const struct sigaction action = { .sa_handler = on_alarm };
	char text[16];

	p->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (p->lock < 0)
		return fg_error_errno(err, FG_EIO, errno, "%s", path);
	/* The processes of a server that was killed may still be going. */
	sigaction(SIGALRM, &action, NULL);
	alarm(LOCK_WAIT_S);
	int locked = flock(p->lock, LOCK_EX), saved = errno;
	alarm(0);
	if (locked < 0)
		return saved == EINTR ? fg_error_set(err, FG_EEXISTS, "another server runs on %s", p->serve->dir)
				      : fg_error_errno(err, FG_EIO, saved, "%s", path);
	int n = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
	if (ftruncate(p->lock, 0) < 0 || pwrite(p->lock, text, (size_t)n, 0) != n)
		return fg_error_errno(err, FG_EIO, errno, "%s", path);
	return 0;
}

bool fg_serve_notify(const char *dir)
{
	fg_autofree char *path = fg_asprintf("%s/%s", dir, FG_SERVER_LOCK);
	fg_autoclose int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	char text[16] = "";
	long pid = 0;

	/* Held by somebody: then the number in it is that of a process that lives. */
	if (fd < 0 || flock(fd, LOCK_SH | LOCK_NB) == 0 || read(fd, text, sizeof(text) - 1) <= 0)
		return false;
	pid = strtol(text, NULL, 10);
	return pid > 1 && kill((pid_t)pid, SIGUSR1) == 0;
}

static int config_read(const struct parent *p, struct fg_server_config *out, struct fg_error *err)
{
	int rc = fg_server_config_read(p->serve->dir, out, err);
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	if (rc == 0 && out->workers == 0)
		out->workers = cpus < 1				      ? 1
			       : cpus > FG_SERVER_WORKERS_DEFAULT_MAX ? FG_SERVER_WORKERS_DEFAULT_MAX
								      : cpus;
	return rc;
}

static int sockets_set(struct parent *p, const struct fg_server_config *config, struct fg_error *err)
{
	bool own = p->serve->n_listen > 0;

	if (p->activated)
		return 0;
	return fg_sockets_set(&p->sockets, own ? p->serve->listen : config->listen,
			      own ? p->serve->n_listen : config->n_listen, err);
}

/* A child that is waited for, with the user's rights. */
static int child_run(struct parent *p, enum kind kind, const char *failed, struct fg_error *err)
{
	int status = 0;
	pid_t pid = child_fork(p, kind, 0);

	if (pid < 0)
		return fg_error_errno(err, FG_EFAILED, errno, "fork");
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	/* Exit statuses are the codes (fixgate/error.h). */
	return fg_error_set(err, WIFEXITED(status) ? (enum fg_error_code)WEXITSTATUS(status) : FG_EFAILED, "%s",
			    failed);
}

/* Certificates, database. */
static int try_worker(struct parent *p, struct fg_error *err)
{
	return child_run(p, TRIAL, "the server cannot run", err);
}

static void finish(struct parent *p)
{
	struct fg_error err = FG_ERROR_INIT;

	if (child_run(p, FINISH, "the database's log was not taken into its file", &err) < 0)
		fg_log_warn("%s, ignoring: the next start does it", err.text);
}

static int signer_load(struct parent *p, struct fg_error *err)
{
	struct fg_error why = FG_ERROR_INIT;
	int rc = fg_signer_load(p->serve->dir, &p->signer, &why);

	(void)err;
	if (rc < 0)
		fg_log_warn("hosts cannot enrol or renew over the network: %s", why.text);
	return 0;
}

static int start(struct parent *p, struct fg_error *err)
{
	int rc = lock_take(p, err);

	if (rc == 0)
		rc = config_read(p, &p->config, err);
	if (rc == 0)
		rc = fg_bus_new(&p->bus, err);
	if (rc == 0)
		rc = fg_sockets_take(&p->sockets, &p->activated, err);
	if (rc == 0)
		rc = signer_load(p, err);
	if (rc == 0)
		rc = try_worker(p, err);
	if (rc == 0)
		rc = sockets_set(p, &p->config, err);
	if (rc < 0)
		return rc;
	p->checked = true;
	if (p->signer) {
		p->child[FG_BUS_SIGNER].kind = SIGNER;
		child_start(p, FG_BUS_SIGNER);
	}
	workers_start(p);
	return 0;
}

static void notify_reloading(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRId64, (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000);
}

/* Those of the reload before may still be at it. */
static int room_check(const struct parent *p, int64_t workers, struct fg_error *err)
{
	int64_t room = 0;

	for (unsigned box = FG_BUS_SIGNER + 1; box <= FG_BUS_WORKERS_MAX; box++)
		room += p->child[box].kind == NONE;
	if (room >= workers)
		return 0;
	for (unsigned box = FG_BUS_SIGNER + 1; box <= FG_BUS_WORKERS_MAX; box++)
		if (p->child[box].kind == OLD_WORKER && p->child[box].pid > 0)
			kill(p->child[box].pid, SIGTERM); /* seconds instead of minutes */
	return fg_error_set(err, FG_EREFUSED, "processes of the reload before are still ending: try again");
}

/* Nothing changes if the new configuration is not in order. */
static void reload(struct parent *p)
{
	struct fg_error err = FG_ERROR_INIT;
	struct fg_server_config config = { .url = NULL }, old = p->config;
	int rc = config_read(p, &config, &err);

	notify_reloading();
	if (rc == 0)
		rc = room_check(p, config.workers, &err);
	if (rc == 0) {
		p->config = config;
		rc = try_worker(p, &err);
	}
	if (rc == 0)
		rc = sockets_set(p, &config, &err);
	if (rc < 0) {
		p->config = old;
		fg_server_config_release(&config);
		fg_log_err("reload: %s; all stays as it was", err.text);
		sd_notify(0, "READY=1");
		return;
	}
	fg_server_config_release(&old);
	for (unsigned box = FG_BUS_SIGNER + 1; box <= FG_BUS_WORKERS_MAX; box++) {
		struct child *c = &p->child[box];
		/* Those of the reload before go on to their deadline: what they have accepted is answered. */
		if (c->kind == WORKER && c->pid == 0)
			c->kind = NONE;
		else if (c->kind == WORKER)
			c->kind = OLD_WORKER;
	}
	workers_start(p);
	for (unsigned box = FG_BUS_SIGNER + 1; box <= FG_BUS_WORKERS_MAX; box++)
		if (p->child[box].kind == OLD_WORKER && p->child[box].pid > 0)
			kill(p->child[box].pid, SIGQUIT);
	p->metrics->reloads++;
	p->metrics->certificate_ends_s = (uint64_t)fg_setup_ends_s(p->serve->dir);
	fg_log_info("reloaded: %" PRId64 " workers", p->config.workers);
	fflush(stdout);
	sd_notify(0, "READY=1");
}

/* ---- loop ---- */

static void on_signal(struct parent *p, int signo)
{
	switch (signo) {
	case SIGCHLD:
		reap(p);
		break;
	case SIGHUP:
		if (!p->ending)
			reload(p);
		break;
	case SIGUSR1:
		tell_children(p, SIGUSR1, true);
		break;
	default: /* SIGTERM, SIGINT, SIGQUIT */
		fg_log_info("signal %d: ending", signo);
		sd_notify(0, "STOPPING=1");
		p->ending++;
		tell_children(p, SIGTERM, false);
		break;
	}
}

static bool any_due(const struct parent *p)
{
	for (unsigned box = 0; box <= FG_BUS_WORKERS_MAX; box++)
		if (p->child[box].due)
			return true;
	return false;
}

static void run(struct parent *p)
{
	const struct timespec later = { RESPAWN_MS / 1000, 0 };

	while (!p->ending || children_left(p) > 0) {
		bool due = !p->ending && any_due(p);
		int signo = due ? sigtimedwait(&p->signals, NULL, &later) : sigwaitinfo(&p->signals, NULL);

		if (signo > 0)
			on_signal(p, signo);
		for (unsigned box = 0; due && signo < 0 && errno == EAGAIN && box <= FG_BUS_WORKERS_MAX; box++)
			if (p->child[box].due)
				child_start(p, box);
	}
}

int fg_serve(const struct fg_serve *serve, struct fg_error *err)
{
	static const int signals[] = { SIGCHLD, SIGHUP, SIGTERM, SIGINT, SIGQUIT, SIGUSR1 };
	struct parent p = { .serve = serve, .lock = -1 };

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&p.signals);
	for (size_t i = 0; i < FG_COUNT(signals); i++)
		sigaddset(&p.signals, signals[i]);
	sigprocmask(SIG_BLOCK, &p.signals, NULL);
	p.metrics = fg_metrics_new();
	int rc = start(&p, err);
	if (rc == 0) {
		p.metrics->certificate_ends_s = (uint64_t)fg_setup_ends_s(serve->dir);
		fflush(stdout);
		sd_notify(0, "READY=1");
		run(&p);
		finish(&p);
	}
	parent_free(&p);
	return rc;
}
