/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fixvm/steps/download.h"

#include "fixvm/init/fixvm.h"
#include "lib/util.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOBODY 65534
#define CA_BYTES_MAX (1u << 20)
#define PROGRESS_EVERY_MS 250

extern char **environ;

struct download {
	struct fg_fixvm *vm;
	struct fg_sink sink;
	char *ca;
	int64_t deadline_ms, progress_ms, stall_ms; /* stall: the last time a block was kept */
	char why[256]; /* last line of fixvm-fetch's stderr */
	size_t why_len;
};

struct fetch {
	pid_t pid;
	int in, out, errors; /* our ends */
};

static void close_fetch(struct fetch *f)
{
	fg_closep(&f->in);
	fg_closep(&f->out);
	fg_closep(&f->errors);
}

static void __attribute__((noreturn)) become_fetch(int in, int out, int errors)
{
	const char *const argv[] = { FG_FETCH_PROGRAM, NULL };
	struct rlimit none = { 0, 0 }, files = { 64, 64 };

	if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(errors, 2) < 0 || setgroups(0, NULL) < 0 ||
	    setresgid(NOBODY, NOBODY, NOBODY) < 0 || setresuid(NOBODY, NOBODY, NOBODY) < 0 ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || setrlimit(RLIMIT_CORE, &none) < 0 ||
	    setrlimit(RLIMIT_FSIZE, &none) < 0 || setrlimit(RLIMIT_NOFILE, &files) < 0)
		_exit(126);
	execve(argv[0], (char *const *)(uintptr_t)argv, environ);
	_exit(127);
}

static int start_fetch(struct fetch *f, struct fg_error *err)
{
	int in[2] = { -1, -1 }, out[2] = { -1, -1 }, errors[2] = { -1, -1 };
	int rc = 0;

	if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0 || pipe2(errors, O_CLOEXEC) < 0)
		rc = fg_error_errno(err, FG_EIO, errno, "pipe");
	if (!rc) {
		f->pid = fork();
		if (f->pid == 0)
			become_fetch(in[0], out[1], errors[1]);
		if (f->pid < 0)
			rc = fg_error_errno(err, FG_EIO, errno, "fork");
	}
	fg_closep(&in[0]);
	fg_closep(&out[1]);
	fg_closep(&errors[1]);
	f->in = in[1];
	f->out = out[0];
	f->errors = errors[0];
	if (rc)
		close_fetch(f);
	return rc;
}

static int send_request(struct download *d, struct fetch *f, struct fg_error *err)
{
	const struct fg_job *job = &d->vm->job;
	bool ipv6 = job->server.family == AF_INET6;
	fg_autofree char *url = fg_asprintf("https://%s%s%s:%u/v1/blobs/%s", ipv6 ? "[" : "", job->server.text,
					    ipv6 ? "]" : "", job->port, job->digest);
	uint64_t head = d->sink.head->head_bytes;

	fg_autojson json_t *request = json_pack("{s:s,s:s,s:s,s:I,s:I}", "url", url, "token", job->token, "ca", d->ca,
						"start", (json_int_t)(head + fg_sink_done(&d->sink)), "end",
						(json_int_t)(head + d->sink.head->payload_bytes - 1));
	fg_autofree char *text = request ? fg_json_dump(request) : NULL;
	if (!text)
		return fg_error_set(err, FG_EBUG, "request for fixvm-fetch is no JSON");
	if (fg_fd_write_all(f->in, text, strlen(text)) < 0)
		return fg_error_errno(err, FG_EIO, errno, "write to fixvm-fetch");
	fg_closep(&f->in);
	return 0;
}

static void report_progress(struct download *d, bool always)
{
	int64_t now = fg_monotonic_ms();

	if (!always && now - d->progress_ms < PROGRESS_EVERY_MS)
		return;
	d->progress_ms = now;
	fg_console_say(&d->vm->console, FG_FIXVM_PROGRESS, "{s:I,s:I}", "done_bytes",
		       (json_int_t)fg_sink_done(&d->sink), "total_bytes", (json_int_t)d->sink.head->payload_bytes);
}

/* The last line counts: older ones are shifted out. */
static void keep_why(struct download *d, const char *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (bytes[i] == '\n' || d->why_len == sizeof(d->why) - 1)
			continue;
		d->why[d->why_len++] = bytes[i];
		d->why[d->why_len] = 0;
	}
}

/* Both pipes until they end: 0, or the error of a bad block, a passed deadline. */
static int pump(struct download *d, struct fetch *f, struct fg_error *err)
{
	char buf[65536];

	while (f->out >= 0 || f->errors >= 0) {
		struct pollfd p[2] = { { .fd = f->out, .events = POLLIN }, { .fd = f->errors, .events = POLLIN } };
		int64_t left = d->deadline_ms - fg_monotonic_ms();

		if (left <= 0)
			return fg_error_set(err, FG_ETIMEOUT, "download not complete within %d s",
					    FG_DOWNLOAD_DEADLINE_S);
		if (poll(p, 2, (int)left) < 0 && errno != EINTR)
			return fg_error_errno(err, FG_EIO, errno, "poll");
		if (p[1].revents) {
			ssize_t n = read(f->errors, buf, sizeof(buf));
			if (n <= 0)
				fg_closep(&f->errors);
			else
				keep_why(d, buf, (size_t)n);
		}
		if (p[0].revents) {
			uint64_t before = d->sink.block;
			ssize_t n = read(f->out, buf, sizeof(buf));
			int rc = n > 0 ? fg_sink_feed(&d->sink, buf, (size_t)n, err) : 0;
			if (rc)
				return rc;
			if (n <= 0)
				fg_closep(&f->out);
			if (d->sink.block != before)
				d->stall_ms = fg_monotonic_ms();
			report_progress(d, false);
		}
	}
	return 0;
}

/* One request. *again: it broke in a way that may pass. */
static int fetch_once(struct download *d, bool *again, struct fg_error *err)
{
	struct fetch f = { .in = -1, .out = -1, .errors = -1 };
	int status = 0;
	int rc = start_fetch(&f, err);

	*again = false;
	if (rc)
		return rc;
	d->why_len = 0;
	d->why[0] = 0;
	rc = send_request(d, &f, err);
	if (!rc)
		rc = pump(d, &f, err);
	if (rc)
		kill(f.pid, SIGKILL);
	close_fetch(&f);
	while (waitpid(f.pid, &status, 0) < 0 && errno == EINTR)
		;
	fg_sink_rewind(&d->sink);
	if (rc || (WIFEXITED(status) && WEXITSTATUS(status) == 0))
		return rc;
	*again = !WIFEXITED(status) || WEXITSTATUS(status) == FG_FETCH_AGAIN;
	fg_autofree char *why = fg_console_text(d->why, d->why_len, sizeof(d->why));
	return fg_error_set(err, FG_EUNREACHABLE, "%s", *why ? why : "fixvm-fetch died");
}

static int fetch_all(struct download *d, struct fg_error *err)
{
	int64_t wait_ms = FG_DOWNLOAD_BACKOFF_MS;

	for (;;) {
		uint64_t before = fg_sink_done(&d->sink);
		struct fg_error why = FG_ERROR_INIT;
		bool again;
		int rc = fetch_once(d, &again, &why);
		bool complete = fg_sink_done(&d->sink) == d->sink.head->payload_bytes;

		if (!rc && complete)
			return fg_sink_finish(&d->sink, err);
		if (!rc)
			fg_error_set(&why, FG_EUNREACHABLE, "the server closed early");
		if (fg_sink_done(&d->sink) != before)
			wait_ms = FG_DOWNLOAD_BACKOFF_MS;
		int64_t now = fg_monotonic_ms();
		if ((rc && !again) || now + wait_ms > d->deadline_ms ||
		    now + wait_ms > d->stall_ms + FG_DOWNLOAD_STALL_S * 1000ll)
			return fg_error_set(err, (enum fg_error_code)why.code, "%s (after %llu of %llu bytes)",
					    why.text, (unsigned long long)fg_sink_done(&d->sink),
					    (unsigned long long)d->sink.head->payload_bytes);
		poll(NULL, 0, (int)wait_ms); /* back-off: the server may have many fix VMs to serve */
		wait_ms = wait_ms * 2 < FG_DOWNLOAD_BACKOFF_MAX_MS ? wait_ms * 2 : FG_DOWNLOAD_BACKOFF_MAX_MS;
	}
}

int fg_download(struct fg_fixvm *vm, struct fg_error *err)
{
	struct download d = { .vm = vm };
	fg_autoclose int fd = open(FG_FIXVM_PAYLOAD, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0)
		return fg_error_errno(err, FG_EIO, errno, "open %s", FG_FIXVM_PAYLOAD);
	signal(SIGPIPE, SIG_IGN);
	int rc = fg_file_read(FG_FIXVM_CA_PATH, CA_BYTES_MAX, &d.ca, NULL, err);
	if (!rc)
		rc = fg_sink_init(&d.sink, &vm->head, fd, err);
	if (!rc) {
		d.stall_ms = fg_monotonic_ms();
		d.deadline_ms = d.stall_ms + FG_DOWNLOAD_DEADLINE_S * 1000ll;
		rc = fetch_all(&d, err);
		if (!rc)
			report_progress(&d, true);
		fg_sink_release(&d.sink);
	}
	free(d.ca);
	signal(SIGPIPE, SIG_DFL);
	return rc;
}
