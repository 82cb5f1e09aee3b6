/* SPDX-License-Identifier: GPL-3.0-or-later */
/* fixgated(8): opens what the agent works with, runs the loop, leaves everything as it is when told to end. */
#include "ctl/ctl.h"
#include "isolate/guard_agent.h"
#include "job/job.h"
#include "offer/offer.h"
#include "report/net_process.h"

#include <lib/log.h>
#include <lib/util.h>

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#define REOPEN_FIRST_MS 1000
#define REOPEN_MAX_MS 30000

struct options {
	const char *config;
	bool check, verbose;
};

struct daemon;

/* A toolstack that did not open (libvirtd is not up yet) is tried again. */
struct reopen {
	struct daemon *d;
	size_t index;
	int64_t wait_ms;
	struct fg_timer *timer;
};

struct daemon {
	const struct options *o;
	struct fg_agent_config *config;
	struct event_base *base;
	struct fg_agent agent;
	struct fg_net_process *net;
	struct fg_ctl *ctl;
	struct fg_guard_agent *guard;
	struct event *signals[2];
	struct reopen reopen[FG_AGENT_TOOLSTACKS_MAX];
	int lock_fd, status;
	bool started;
};

static const char usage[] = "usage: fixgated [--config FILE] [--check-config] [--verbose]\n"
			    "Runs in the foreground.  See fixgated(8).\n";

static int parse_options(int argc, char **argv, struct options *o, int *status)
{
	static const struct option options[] = { { "config", required_argument, NULL, 'c' },
						 { "check-config", no_argument, NULL, 'k' },
						 { "foreground", no_argument, NULL, 'f' },
						 { "verbose", no_argument, NULL, 'v' },
						 { "help", no_argument, NULL, 'h' },
						 { "version", no_argument, NULL, 'V' },
						 { NULL, 0, NULL, 0 } };
	int c;

	*status = 0;
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'c')
			o->config = optarg;
		else if (c == 'k')
			o->check = true;
		else if (c == 'v')
			o->verbose = true;
		else if (c == 'h')
			return fputs(usage, stdout), -1;
		else if (c == 'V')
			return puts("fixgated " FG_VERSION), -1;
		else if (c != 'f')
			*status = FG_EUSAGE;
	}
	if (optind < argc || *status) {
		fputs(usage, stderr);
		*status = FG_EUSAGE;
		return -1;
	}
	return 0;
}

static void on_fatal(void *ctx, const struct fg_error *err)
{
	struct daemon *d = ctx;

	d->status = fg_error_exit_status(err);
	event_base_loopbreak(d->base);
}

static void on_signal(evutil_socket_t number, short what, void *arg)
{
	struct daemon *d = arg;

	(void)what;
	fg_log_info("signal %d: ending, everything stays as it is", (int)number);
	event_base_loopbreak(d->base);
}

static int make_folders(const struct fg_agent_config *c, struct fg_error *err)
{
	fg_autofree char *jobs = fg_asprintf("%s/jobs", c->state_dir);
	int rc = fg_mkdir_p(c->state_dir, 0755, err); /* fixgate-net's own folder is in it */

	if (rc == 0)
		rc = fg_mkdir_p(jobs, 0700, err);
	if (rc == 0)
		rc = fg_mkdir_p(c->layer_dir, 0700, err);
	if (rc == 0)
		rc = fg_mkdir_p(c->run_dir, 0755, err);
	return rc;
}

static int take_lock(struct daemon *d, struct fg_error *err)
{
	fg_autofree char *path = fg_asprintf("%s/fixgated.lock", d->config->run_dir);

	d->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (d->lock_fd < 0)
		return fg_error_errno(err, FG_EIO, errno, "%s", path);
	if (flock(d->lock_fd, LOCK_EX | LOCK_NB) < 0)
		return fg_error_errno(err, FG_EEXISTS, errno, "another fixgated runs (%s)", path);
	return 0;
}

static void open_toolstack(void *arg)
{
	struct reopen *r = arg;
	struct daemon *d = r->d;
	struct fg_agent_toolstack *t = &d->agent.toolstacks[r->index];
	const struct fg_toolstack_config config = { .base = d->base,
						    .uri = t->ops == &fg_toolstack_xl ? NULL : d->config->libvirt_uri,
						    .state_dir = d->config->state_dir,
						    .on_event = fg_agent_toolstack_event,
						    .event_arg = &d->agent };
	struct fg_error err = FG_ERROR_INIT;

	r->timer = NULL;
	if (t->ops->open(&config, &t->ts, &err) == 0) {
		fg_log_info("toolstack %s is connected", t->ops->name);
		if (d->started)
			fg_agent_toolstack_event(&d->agent, t->ts, NULL);
		return;
	}
	fg_log_warn("toolstack %s: %s; again in %lld s", t->ops->name, err.text, (long long)r->wait_ms / 1000);
	t->ts = NULL;
	r->timer = d->agent.clock->after(d->agent.clock, r->wait_ms, open_toolstack, r);
	r->wait_ms = r->wait_ms * 2 > REOPEN_MAX_MS ? REOPEN_MAX_MS : r->wait_ms * 2;
}

static void open_toolstacks(struct daemon *d)
{
	const struct fg_toolstack_ops *wanted[] = { d->config->xl ? &fg_toolstack_xl : NULL,
						    d->config->libvirt_uri ? &fg_toolstack_libvirt : NULL };

	for (size_t i = 0; i < FG_COUNT(wanted); i++) {
		if (!wanted[i])
			continue;
		size_t n = d->agent.n_toolstacks++;
		d->agent.toolstacks[n].ops = wanted[i];
		d->reopen[n] = (struct reopen){ .d = d, .index = n, .wait_ms = REOPEN_FIRST_MS };
		open_toolstack(&d->reopen[n]);
	}
}

static int open_journal(struct daemon *d, struct fg_error *err)
{
	fg_autofree char *path = fg_asprintf("%s/journal.db", d->config->state_dir);
	mode_t old = umask(077);
	int rc = fg_journal_open(path, &d->agent.journal, err);

	umask(old);
	return rc;
}

static int open_all(struct daemon *d, struct fg_error *err)
{
	struct fg_agent *a = &d->agent;
	int rc = open_journal(d, err);

	a->config = d->config;
	a->clock = fg_clock_event_new(d->base);
	a->fixvm_ops = &fg_fixvm_xl;
	a->layer_ops = &fg_layer_dm;
	a->isolator_ops = &fg_isolator_vmm;
	a->make_initrd = fg_initrd_make;
	a->reach = fg_reach_find;
	a->take_head = fg_head_take;
	a->fatal = on_fatal;
	a->fatal_ctx = d;
	if (rc == 0)
		rc = a->isolator_ops->open(d->config, &a->isolator, err);
	if (rc == 0)
		rc = a->layer_ops->open(d->base, d->config->layer_dir, &a->layers, err);
	if (rc == 0)
		rc = a->fixvm_ops->open(d->base, &a->fixvms, err);
	if (rc == 0)
		rc = fg_net_process_start(d->base, a, d->o->config, d->o->verbose, &d->net, err);
	if (rc == 0)
		rc = fg_ctl_start(d->base, a, &d->ctl, err);
	return rc;
}

static void close_all(struct daemon *d)
{
	struct fg_agent *a = &d->agent;

	for (size_t i = 0; i < FG_COUNT(d->signals); i++)
		if (d->signals[i])
			event_free(d->signals[i]);
	fg_ctl_stop(d->ctl);
	fg_guard_agent_stop(d->guard);
	for (size_t i = 0; i < a->n_toolstacks; i++) {
		if (d->reopen[i].timer)
			a->clock->cancel(a->clock, d->reopen[i].timer);
		if (a->toolstacks[i].ts)
			a->toolstacks[i].ops->close(a->toolstacks[i].ts);
	}
	if (d->started)
		fg_agent_stop(a);
	fg_net_process_stop(d->net);
	if (a->fixvms)
		a->fixvm_ops->close(a->fixvms);
	if (a->layers)
		a->layer_ops->close(a->layers);
	if (a->isolator)
		a->isolator_ops->close(a->isolator);
	fg_journal_close(a->journal);
	fg_clock_event_free(a->clock);
	event_base_free(d->base);
	if (d->lock_fd >= 0)
		close(d->lock_fd);
}

static int run(struct daemon *d, struct fg_error *err)
{
	static const int numbers[] = { SIGTERM, SIGINT };
	int rc;

	signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < FG_COUNT(numbers); i++) {
		d->signals[i] = evsignal_new(d->base, numbers[i], on_signal, d);
		if (!d->signals[i] || evsignal_add(d->signals[i], NULL) < 0)
			return fg_error_set(err, FG_EFAILED, "cannot wait for signals");
	}
	rc = make_folders(d->config, err);
	if (rc == 0)
		rc = take_lock(d, err);
	if (rc == 0)
		rc = open_all(d, err);
	if (rc < 0)
		return rc;
	open_toolstacks(d);
	d->started = true;
	rc = fg_agent_start(&d->agent, err);
	if (rc == 0)
		rc = fg_guard_agent_start(d->base, &d->agent, &d->guard, err);
	if (rc < 0)
		return rc;
	sd_notify(0, "READY=1");
	if (!d->agent.dead)
		event_base_dispatch(d->base);
	sd_notify(0, "STOPPING=1");
	return 0;
}

int main(int argc, char **argv)
{
	struct options o = { .config = FG_AGENT_CONFIG };
	struct daemon d = { .o = &o, .lock_fd = -1 };
	struct fg_error err = FG_ERROR_INIT;
	int status = 1;

	if (parse_options(argc, argv, &o, &status) < 0)
		return status;
	fg_log_init("fixgated", o.verbose ? FG_LOG_DEBUG : FG_LOG_INFO);
	if (fg_agent_config_load(o.config, &d.config, &err) < 0) {
		fg_log_err("%s", err.text);
		return fg_error_exit_status(&err);
	}
	if (o.check) {
		printf("%s is in order\n", o.config);
		fg_agent_config_free(d.config);
		return 0;
	}
	d.base = event_base_new();
	if (!d.base)
		abort();
	if (run(&d, &err) < 0) {
		fg_log_err("%s", err.text);
		d.status = fg_error_exit_status(&err);
	}
	close_all(&d);
	fg_agent_config_free(d.config);
	return d.status;
}
