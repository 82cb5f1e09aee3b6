/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "dom0-agent/toolstack/child.h"

#include "lib/util.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct stream {
	int fd;
	struct event *ev;
	char *text;
	size_t len;
};

struct fg_child {
	pid_t pid;
	int pidfd;
	struct event *ended, *deadline;
	struct stream streams[2]; /* stdout, stderr */
	bool truncated, late;
	fg_child_cb *cb;
	void *arg;
};

static void stream_close(struct stream *s)
{
	if (s->ev)
		event_free(s->ev);
	s->ev = NULL;
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}

static void child_free(struct fg_child *child)
{
	for (int i = 0; i < 2; i++) {
		stream_close(&child->streams[i]);
		free(child->streams[i].text);
	}
	if (child->ended)
		event_free(child->ended);
	if (child->deadline)
		event_free(child->deadline);
	if (child->pidfd >= 0)
		close(child->pidfd);
	free(child);
}

/* Reads what is there; false at the end of the stream. */
static bool stream_read(struct fg_child *child, struct stream *s)
{
	char buf[8192];

	for (;;) {
		ssize_t n = read(s->fd, buf, sizeof(buf));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return true;
		if (n <= 0)
			return false;
		size_t room = FG_CHILD_OUTPUT_MAX - s->len, keep = (size_t)n < room ? (size_t)n : room;
		if (keep < (size_t)n)
			child->truncated = true;
		char *grown = realloc(s->text, s->len + keep + 1);
		if (!grown)
			abort();
		memcpy(grown + s->len, buf, keep);
		s->text = grown;
		s->len += keep;
		s->text[s->len] = '\0';
	}
}

static void stream_ready(evutil_socket_t fd, short what, void *arg)
{
	struct fg_child *child = arg;

	(void)what;
	for (int i = 0; i < 2; i++)
		if (child->streams[i].fd == fd && !stream_read(child, &child->streams[i]))
			stream_close(&child->streams[i]);
}

/* The end of the process is the end of the run: a daemon it left behind may keep the pipes open. */
static void child_ended(evutil_socket_t fd, short what, void *arg)
{
	struct fg_child *child = arg;
	struct fg_error error = FG_ERROR_INIT;
	int status = 0;

	(void)fd;
	(void)what;
	while (waitpid(child->pid, &status, 0) < 0 && errno == EINTR)
		;
	for (int i = 0; i < 2; i++)
		if (child->streams[i].fd >= 0)
			(void)stream_read(child, &child->streams[i]);
	struct fg_child_result result = {
		.status = status,
		.out = child->streams[0].text ? child->streams[0].text : "",
		.out_len = child->streams[0].len,
		.err = child->streams[1].text ? child->streams[1].text : "",
		.truncated = child->truncated,
	};
	event_free(FG_TAKE(child->ended));
	/* One that ended just before it was to be killed was not too late. */
	bool killed = child->late && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
	if (killed)
		(void)fg_error_set(&error, FG_ETIMEOUT, "no end within its deadline, killed");
	child->cb(child->arg, &result, killed ? &error : NULL);
	child_free(child);
}

static void child_late(evutil_socket_t fd, short what, void *arg)
{
	struct fg_child *child = arg;

	(void)fd;
	(void)what;
	child->late = true;
	syscall(SYS_pidfd_send_signal, child->pidfd, SIGKILL, NULL, 0);
}

static int spawn(const char *const *argv, int out, int err_fd, pid_t *pid)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t all, none;
	char *const env[] = { (char *)"PATH=/usr/sbin:/usr/bin:/sbin:/bin", (char *)"LC_ALL=C", NULL };

	sigfillset(&all);
	sigemptyset(&none);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, out, 1);
	posix_spawn_file_actions_adddup2(&actions, err_fd, 2);
	posix_spawn_file_actions_addclosefrom_np(&actions, 3);
	posix_spawn_file_actions_addchdir_np(&actions, "/");
	posix_spawnattr_init(&attr);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSID);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setsigmask(&attr, &none);
	int sys = posix_spawnp(pid, argv[0], &actions, &attr, (char *const *)argv, env);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	return sys;
}

int fg_child_start(struct event_base *base, const char *const *argv, uint32_t deadline_ms, fg_child_cb *cb, void *arg,
		   struct fg_child **out, struct fg_error *err)
{
	int pipes[2][2] = { { -1, -1 }, { -1, -1 } };
	const struct timeval in = { deadline_ms / 1000, (deadline_ms % 1000) * 1000 };

	for (int i = 0; i < 2; i++)
		if (pipe2(pipes[i], O_CLOEXEC) < 0) {
			int sys = errno;
			if (i) {
				close(pipes[0][0]);
				close(pipes[0][1]);
			}
			return fg_error_errno(err, FG_EFAILED, sys, "%s: pipe", argv[0]);
		}
	struct fg_child *child = fg_calloc(1, sizeof(*child));
	child->pidfd = -1;
	child->cb = cb;
	child->arg = arg;
	int sys = spawn(argv, pipes[0][1], pipes[1][1], &child->pid);
	for (int i = 0; i < 2; i++) {
		close(pipes[i][1]);
		child->streams[i].fd = pipes[i][0];
		fcntl(pipes[i][0], F_SETFL, O_NONBLOCK);
	}
	if (sys) {
		child_free(child);
		return fg_error_errno(err, FG_EFAILED, sys, "%s: cannot run", argv[0]);
	}
	child->pidfd = (int)syscall(SYS_pidfd_open, child->pid, 0);
	if (child->pidfd >= 0)
		child->ended = event_new(base, child->pidfd, EV_READ, child_ended, child);
	if (!child->ended) {
		int saved = errno;
		kill(child->pid, SIGKILL);
		waitpid(child->pid, NULL, 0);
		child_free(child);
		return fg_error_errno(err, FG_EFAILED, saved, "%s: pidfd", argv[0]);
	}
	event_add(child->ended, NULL);
	child->deadline = evtimer_new(base, child_late, child);
	evtimer_add(child->deadline, &in);
	for (int i = 0; i < 2; i++) {
		struct stream *s = &child->streams[i];
		s->ev = event_new(base, s->fd, EV_READ | EV_PERSIST, stream_ready, child);
		event_add(s->ev, NULL);
	}
	*out = child;
	return 0;
}

void fg_child_cancel(struct fg_child *child)
{
	if (!child)
		return;
	kill(child->pid, SIGKILL); /* not reaped yet: the pid is still its own */
	while (waitpid(child->pid, NULL, 0) < 0 && errno == EINTR)
		;
	child_free(child);
}

bool fg_child_succeeded(const struct fg_child_result *result)
{
	return WIFEXITED(result->status) && WEXITSTATUS(result->status) == 0;
}

void fg_child_last_line(const struct fg_child_result *result, char *out, size_t size)
{
	const char *text = *result->err ? result->err : result->out;
	size_t end = strlen(text);

	while (end && (text[end - 1] == '\n' || text[end - 1] == ' '))
		end--;
	size_t start = end;
	while (start && text[start - 1] != '\n')
		start--;
	snprintf(out, size, "%.*s", (int)(end - start), text + start);
}
