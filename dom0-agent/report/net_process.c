/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "net_process.h"
#include "dom0-agent/net/message.h"

#include <lib/frame.h>
#include <lib/log.h>
#include <lib/util.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define BACKOFF_FIRST_MS 500
#define BACKOFF_MAX_MS 30000
#define STABLE_MS 60000 /* it ran this long: the next failure is a first one */

struct fg_net_process {
	struct event_base *base;
	struct fg_agent *agent;
	char *config_path;
	bool verbose;
	pid_t pid; /* 0: none */
	struct fg_frame *frame;
	struct fg_timer *timer;
	int64_t backoff_ms, started_ms;
};

static void start(void *arg);

static bool send_message(void *ctx, const json_t *message)
{
	struct fg_net_process *np = ctx;
	struct fg_error err = FG_ERROR_INIT;

	if (!np->frame)
		return false;
	if (fg_frame_send(np->frame, message, &err) == 0)
		return true;
	fg_log_warn("fixgate-net: %s", err.text);
	return false;
}

/* It closed its end: it is going, or it is of no use. */
static void reap(struct fg_net_process *np)
{
	int status = 0;

	if (np->pid <= 0)
		return;
	kill(np->pid, SIGKILL);
	while (waitpid(np->pid, &status, 0) < 0 && errno == EINTR)
		;
	np->pid = 0;
}

static void start_later(struct fg_net_process *np)
{
	if (fg_monotonic_ms() - np->started_ms > STABLE_MS)
		np->backoff_ms = BACKOFF_FIRST_MS;
	np->timer = np->agent->clock->after(np->agent->clock, np->backoff_ms, start, np);
	np->backoff_ms = np->backoff_ms * 2 > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : np->backoff_ms * 2;
}

static void on_closed(void *arg, struct fg_frame *frame, const struct fg_error *err)
{
	struct fg_net_process *np = arg;

	fg_log_warn("fixgate-net ended%s%s; again in %lld ms", err && err->code ? ": " : "",
		    err && err->code ? err->text : "", (long long)np->backoff_ms);
	fg_frame_free(frame);
	np->frame = NULL;
	reap(np);
	fg_agent_net_down(np->agent);
	start_later(np);
}

static void on_message(void *arg, struct fg_frame *frame, const json_t *message)
{
	struct fg_net_process *np = arg;

	(void)frame;
	fg_agent_net_message(np->agent, message);
}

/* Async-signal-safe only: other threads may hold locks. */
static void __attribute__((noreturn)) child(int fd, char *const argv[])
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* it never outlives the agent */
	if (fd == FG_NET_FD ? fcntl(fd, F_SETFD, 0) < 0 : dup2(fd, FG_NET_FD) < 0)
		_exit(126);
	execv(argv[0], argv);
	_exit(127);
}

static int spawn(struct fg_net_process *np, struct fg_error *err)
{
	const struct fg_frame_events events = { on_message, on_closed, np };
	char *argv[] = { np->agent->config->net_program, (char *)"--config", np->config_path,
			 np->verbose ? (char *)"--verbose" : NULL, NULL };
	int fds[2], rc;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		return fg_error_errno(err, FG_EIO, errno, "socketpair");
	fg_autoclose int theirs = fds[1];
	np->pid = fork();
	if (np->pid == 0)
		child(theirs, argv);
	if (np->pid < 0) {
		np->pid = 0;
		close(fds[0]);
		return fg_error_errno(err, FG_EIO, errno, "fork");
	}
	rc = fg_frame_new(np->base, fds[0], &events, &np->frame, err);
	if (rc < 0) /* which has closed the descriptor */
		reap(np);
	return rc;
}

static void start(void *arg)
{
	struct fg_net_process *np = arg;
	struct fg_error err = FG_ERROR_INIT;

	np->timer = NULL;
	np->started_ms = fg_monotonic_ms();
	if (spawn(np, &err) < 0) {
		fg_log_err("cannot start %s: %s", np->agent->config->net_program, err.text);
		start_later(np);
		return;
	}
	fg_agent_net_up(np->agent);
}

int fg_net_process_start(struct event_base *base, struct fg_agent *agent, const char *config_path, bool verbose,
			 struct fg_net_process **out, struct fg_error *err)
{
	struct fg_net_process *np = fg_calloc(1, sizeof(*np));

	if (access(agent->config->net_program, X_OK) < 0) {
		free(np);
		return fg_error_errno(err, FG_EUSAGE, errno, "[agent] net: %s", agent->config->net_program);
	}
	np->base = base;
	np->agent = agent;
	np->config_path = fg_strdup(config_path);
	np->verbose = verbose;
	np->backoff_ms = BACKOFF_FIRST_MS;
	agent->net_send = send_message;
	agent->net_ctx = np;
	np->timer = agent->clock->after(agent->clock, 0, start, np);
	*out = np;
	return 0;
}

void fg_net_process_stop(struct fg_net_process *np)
{
	if (!np)
		return;
	if (np->timer)
		np->agent->clock->cancel(np->agent->clock, np->timer);
	if (np->frame)
		fg_frame_free(np->frame);
	reap(np);
	free(np->config_path);
	free(np);
}
