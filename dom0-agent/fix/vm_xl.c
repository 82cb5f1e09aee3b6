/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The fix VM on libxl.
 * A life, in this order: create_begin -> made -> tty_ready -> created -> [run] -> unpaused -> console_ready … ->
 * vm_ended -> settled -> gone.  destroy is separate, by UUID: destroy_begin -> destroyed -> all_gone.
 */
#include "dom0-agent/fix/fixvm.h"

#include "dom0-agent/fix/vm_xl_config.h"
#include "dom0-agent/toolstack/event_libxl.h"
#include "dom0-agent/toolstack/gone.h"
#include "dom0-agent/toolstack/guest.h"
#include "dom0-agent/toolstack/xenstore.h"
#include "lib/log.h"
#include "lib/util.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/queue.h>
#include <termios.h>
#include <unistd.h>

#define TTY_MS 30000 /* until xenconsoled has made the console */
#define DESTROY_MS 60000
/*
 * xenconsoled gives no sign that it has passed on the last of a domain's output, and it reads a busy domain at most every
 * 200 ms (RATE_LIMIT_PERIOD, tools/console/daemon/io.c).  So the end is: no byte for SETTLE_MS after the shutdown.
 */
#define SETTLE_MS 500
#define SETTLE_MAX_MS 5000

struct fg_fixvms {
	struct event_base *base;
	struct fg_xl *xl;
	struct fg_xs *xs;
	LIST_HEAD(fg_fixvm_list, fg_fixvm) vms;
	LIST_HEAD(destroy_list, destroy) destroys;
};

struct fg_fixvm {
	LIST_ENTRY(fg_fixvm) link;
	struct fg_fixvms *vms;
	char *name;
	char uuid[37];
	struct fg_vm_xl_config *config;
	uint32_t domid;
	bool making; /* libxl writes to config and domid */
	bool forgotten; /* free it when that is over */
	struct fg_fixvm_events events;
	fg_fixvm_created_cb *created_cb;
	fg_ts_done_cb *run_cb;
	void *cb_arg;
	struct fg_error error;
	struct fg_xl_death *death;
	struct fg_xs_watch *tty_watch;
	struct event *timer, *soon;
	struct event *console;
	int fd;
	char why[64];
	bool ended;
	int64_t settle_until_ms;
};

struct destroy {
	LIST_ENTRY(destroy) link;
	struct fg_fixvms *vms;
	char uuid[37];
	uint32_t domid;
	struct fg_gone *gone;
	struct event *timer;
	bool asked;
	int64_t until_ms;
	fg_ts_done_cb *cb;
	void *arg;
};

static void create_begin(struct fg_fixvm *vm);
static void made(void *arg, int rc);
static void vm_destroy(struct fg_fixvms *vms, const char *uuid, fg_ts_done_cb *cb, void *arg);
static void tty_ready(void *arg);
static void created(struct fg_fixvm *vm, int rc);
static void console_ready(evutil_socket_t fd, short what, void *arg);
static void vm_ended(void *arg, bool shutdown, int reason);
static void settled(struct fg_fixvm *vm);

static void arm(struct event *timer, uint32_t ms)
{
	const struct timeval in = { ms / 1000, (ms % 1000) * 1000 };
	evtimer_add(timer, &in);
}

/*----- connection -----*/

static void vms_close(struct fg_fixvms *vms);

static int vms_open(struct event_base *base, struct fg_fixvms **out, struct fg_error *err)
{
	struct fg_fixvms *vms = fg_calloc(1, sizeof(*vms));

	vms->base = base;
	int rc = fg_xl_open(base, &vms->xl, err);
	if (rc == 0)
		rc = fg_xs_open(base, &vms->xs, err);
	if (rc < 0) {
		vms_close(vms);
		return rc;
	}
	*out = vms;
	return 0;
}

static void vm_free(struct fg_fixvm *vm)
{
	struct fg_xl *xl = vm->vms->xl;

	LIST_REMOVE(vm, link);
	if (xl) {
		fg_xl_death_unwatch(vm->death);
		fg_xl_forget(xl, vm);
	}
	fg_xs_unwatch(vm->tty_watch);
	event_free(vm->timer);
	event_free(vm->soon);
	if (vm->console)
		event_free(vm->console);
	if (vm->fd >= 0)
		close(vm->fd);
	fg_vm_xl_config_free(vm->config);
	free(vm->name);
	free(vm);
}

static void destroy_free(struct destroy *d)
{
	LIST_REMOVE(d, link);
	fg_xl_forget(d->vms->xl, d);
	fg_gone_cancel(d->gone);
	event_free(d->timer);
	free(d);
}

static void vms_close(struct fg_fixvms *vms)
{
	struct fg_fixvm *vm, *next_vm;
	struct destroy *d, *next_d;

	if (!vms)
		return;
	fg_xl_close(vms->xl);
	vms->xl = NULL;
	for (vm = LIST_FIRST(&vms->vms); vm; vm = next_vm) {
		next_vm = LIST_NEXT(vm, link);
		vm_free(vm);
	}
	for (d = LIST_FIRST(&vms->destroys); d; d = next_d) {
		next_d = LIST_NEXT(d, link);
		destroy_free(d);
	}
	fg_xs_close(vms->xs);
	free(vms);
}

/*----- create -----*/

static void soon_fired(evutil_socket_t fd, short what, void *arg)
{
	struct fg_fixvm *vm = arg;

	(void)fd;
	(void)what;
	if (vm->run_cb) {
		fg_ts_done_cb *cb = vm->run_cb;
		vm->run_cb = NULL;
		cb(vm->cb_arg, -vm->error.code, &vm->error);
	} else if (vm->error.code) {
		created(vm, -vm->error.code);
	} else {
		create_begin(vm);
	}
}

static void timer_fired(evutil_socket_t fd, short what, void *arg)
{
	struct fg_fixvm *vm = arg;

	(void)fd;
	(void)what;
	if (vm->ended) {
		settled(vm);
		return;
	}
	(void)fg_error_set(&vm->error, FG_ETIMEOUT, "waited %d ms for the console of fix VM %s", TTY_MS, vm->name);
	created(vm, -FG_ETIMEOUT);
}

static struct fg_fixvm *vm_create(struct fg_fixvms *vms, const struct fg_fixvm_spec *spec,
				  const struct fg_fixvm_events *events, fg_fixvm_created_cb *cb, void *arg)
{
	struct fg_fixvm *vm = fg_calloc(1, sizeof(*vm));

	vm->vms = vms;
	vm->fd = -1;
	vm->events = *events;
	vm->created_cb = cb;
	vm->cb_arg = arg;
	vm->name = fg_strdup(spec->name);
	memcpy(vm->uuid, spec->uuid, sizeof(vm->uuid));
	vm->timer = evtimer_new(vms->base, timer_fired, vm);
	vm->soon = evtimer_new(vms->base, soon_fired, vm);
	LIST_INSERT_HEAD(&vms->vms, vm, link);
	if (fg_vm_xl_config_new(fg_xl_ctx(vms->xl), spec, &vm->config, &vm->error) < 0)
		vm->config = NULL; /* error says why */
	event_active(vm->soon, EV_TIMEOUT, 0);
	return vm;
}

static void create_begin(struct fg_fixvm *vm)
{
	struct fg_xl *xl = vm->vms->xl;

	vm->domid = INVALID_DOMID;
	vm->making = true;
	libxl_asyncop_how how = fg_xl_how(xl, made, vm);
	fg_xl_started(xl, &how,
		      libxl_domain_create_new(fg_xl_ctx(xl), fg_vm_xl_config_of(vm->config), &vm->domid, &how, NULL));
}

static void late_one_gone(void *arg, int rc, const struct fg_error *err)
{
	(void)arg;
	if (rc < 0)
		fg_log_err("a fix VM that nobody waits for any more cannot be destroyed: %s", err->text);
}

static void made(void *arg, int rc)
{
	struct fg_fixvm *vm = arg;
	char path[64];

	vm->making = false;
	if (vm->forgotten) {
		/* Made after its job gave it up: it is paused, has run nothing, and must not keep the disks. */
		if (rc == 0)
			vm_destroy(vm->vms, vm->uuid, late_one_gone, NULL);
		vm_free(vm);
		return;
	}
	int frc = rc ? fg_xl_error_set(&vm->error, rc, "fix VM %s cannot be made", vm->name) : 0;
	if (rc)
		vm->domid = 0;
	if (frc == 0)
		frc = fg_xl_death_watch(vm->vms->xl, vm->domid, vm_ended, vm, &vm->death, &vm->error);
	snprintf(path, sizeof(path), "/local/domain/%" PRIu32 "/console", vm->domid);
	if (frc == 0)
		frc = fg_xs_watch(vm->vms->xs, path, tty_ready, vm, &vm->tty_watch, &vm->error);
	if (frc < 0)
		created(vm, frc);
	else
		arm(vm->timer, TTY_MS);
}

static int console_open(struct fg_fixvm *vm, const char *tty)
{
	struct termios raw;
	fg_autoclose int fd = open(tty, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0 || tcgetattr(fd, &raw) < 0)
		return fg_error_errno(&vm->error, FG_EFAILED, errno, "console %s of fix VM %s", tty, vm->name);
	cfmakeraw(&raw);
	if (tcsetattr(fd, TCSANOW, &raw) < 0)
		return fg_error_errno(&vm->error, FG_EFAILED, errno, "console %s of fix VM %s", tty, vm->name);
	vm->fd = FG_TAKE_FD(fd);
	vm->console = event_new(vm->vms->base, vm->fd, EV_READ | EV_PERSIST, console_ready, vm);
	event_add(vm->console, NULL);
	return 0;
}

/* xenconsoled, told of the new domain, makes a pty and writes its name; the domain is still paused, so no byte is lost. */
static void tty_ready(void *arg)
{
	struct fg_fixvm *vm = arg;
	char *tty = NULL;

	if (vm->fd >= 0)
		return;
	int rc = libxl_primary_console_get_tty(fg_xl_ctx(vm->vms->xl), vm->domid, &tty);
	if (rc || !tty || !*tty) {
		free(tty);
		return; /* not yet */
	}
	evtimer_del(vm->timer);
	fg_xs_unwatch(vm->tty_watch);
	vm->tty_watch = NULL;
	rc = console_open(vm, tty);
	free(tty);
	created(vm, rc);
}

static void created(struct fg_fixvm *vm, int rc)
{
	fg_fixvm_created_cb *cb = vm->created_cb;
	void *arg = vm->cb_arg;
	struct fg_fixvm_created result = { .domid = vm->domid };
	struct fg_nic nic = { 0 };

	vm->created_cb = NULL;
	if (rc == 0) {
		fg_nic_add_xen_netdevs(&nic, vm->domid, NULL);
		memcpy(result.netdevs, nic.netdevs, sizeof(result.netdevs));
		result.n_netdevs = nic.n_netdevs;
		cb(arg, 0, &result, NULL);
		return;
	}
	struct fg_error err = vm->error;
	if (vm->domid && vm->domid != (uint32_t)INVALID_DOMID) {
		/* Nothing is left behind: end what was made, then nobody has to know of it. */
		fg_log_debug("fix VM %s: destroying domain %u, which is of no use", vm->name, vm->domid);
		libxl_asyncop_how how = fg_xl_how(vm->vms->xl, NULL, NULL);
		fg_xl_started(vm->vms->xl, &how, libxl_domain_destroy(fg_xl_ctx(vm->vms->xl), vm->domid, &how));
	}
	/* The handle stays the caller's until forget(). */
	cb(arg, rc, NULL, &err);
}

/*----- run, console, end -----*/

static void unpaused(void *arg, int rc)
{
	struct fg_fixvm *vm = arg;
	fg_ts_done_cb *cb = vm->run_cb;
	struct fg_error err = FG_ERROR_INIT;

	vm->run_cb = NULL;
	int frc = rc ? fg_xl_error_set(&err, rc, "fix VM %s cannot be let run", vm->name) : 0;
	cb(vm->cb_arg, frc, frc ? &err : NULL);
}

static void vm_run(struct fg_fixvm *vm, fg_ts_done_cb *cb, void *arg)
{
	struct fg_xl *xl = vm->vms->xl;

	vm->run_cb = cb;
	vm->cb_arg = arg;
	libxl_asyncop_how how = fg_xl_how(xl, unpaused, vm);
	fg_xl_started(xl, &how, libxl_domain_unpause(fg_xl_ctx(xl), vm->domid, &how));
}

static int vm_send(struct fg_fixvm *vm, const void *bytes, size_t len, struct fg_error *err)
{
	if (vm->fd < 0)
		return fg_error_set(err, FG_EFAILED, "fix VM %s has no console", vm->name);
	if (fg_fd_write_all(vm->fd, bytes, len) < 0) /* a full console is one that nobody reads */
		return fg_error_errno(err, FG_EIO, errno, "console of fix VM %s", vm->name);
	return 0;
}

static void console_ready(evutil_socket_t fd, short what, void *arg)
{
	struct fg_fixvm *vm = arg;
	char buf[8192];

	(void)what;
	/* One chunk a turn: output may forget the VM. */
	ssize_t n = read(fd, buf, sizeof(buf));
	if (n > 0) {
		if (vm->ended && fg_monotonic_ms() < vm->settle_until_ms)
			arm(vm->timer, SETTLE_MS);
		vm->events.output(vm->events.arg, buf, (size_t)n);
	} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		event_del(vm->console); /* xenconsoled closed its side: the domain is gone */
		if (vm->ended)
			arm(vm->timer, 0);
	}
}

static void vm_ended(void *arg, bool shutdown, int reason)
{
	struct fg_fixvm *vm = arg;
	const char *name = libxl_shutdown_reason_to_string((libxl_shutdown_reason)reason);

	if (vm->ended) /* it shut down before, and is being destroyed now */
		return;
	vm->ended = true;
	if (shutdown)
		snprintf(vm->why, sizeof(vm->why), "%s", name ? name : "unknown");
	else
		snprintf(vm->why, sizeof(vm->why), "destroyed");
	vm->settle_until_ms = fg_monotonic_ms() + SETTLE_MAX_MS;
	arm(vm->timer, SETTLE_MS);
}

static void settled(struct fg_fixvm *vm)
{
	fg_xl_death_unwatch(vm->death);
	vm->death = NULL;
	if (vm->console)
		event_del(vm->console);
	vm->events.gone(vm->events.arg, vm->why); /* may forget the VM */
}

static void vm_forget(struct fg_fixvm *vm)
{
	if (!vm)
		return;
	if (vm->making)
		vm->forgotten = true;
	else
		vm_free(vm);
}

/*----- destroy -----*/

static void destroy_end(struct destroy *d, int rc, const struct fg_error *err)
{
	fg_ts_done_cb *cb = d->cb;
	void *arg = d->arg;
	struct fg_error copy = err ? *err : (struct fg_error)FG_ERROR_INIT;

	destroy_free(d);
	cb(arg, rc, rc ? &copy : NULL);
}

static void all_gone(void *arg, int rc, const struct fg_error *err)
{
	struct destroy *d = arg;

	d->gone = NULL;
	destroy_end(d, rc, err);
}

static void destroyed(void *arg, int rc)
{
	struct destroy *d = arg;
	struct fg_error err = FG_ERROR_INIT;
	int64_t left = d->until_ms - fg_monotonic_ms();
	int frc = 0;

	evtimer_del(d->timer);
	if (rc && rc != ERROR_DOMAIN_NOTFOUND)
		frc = fg_xl_error_set(&err, rc, "fix VM %s cannot be destroyed", d->uuid);
	if (frc == 0)
		frc = fg_gone_wait(d->vms->xs, d->domid, NULL, left > 1000 ? (uint32_t)left : 1000, all_gone, d,
				   &d->gone, &err);
	if (frc < 0)
		destroy_end(d, frc, &err);
}

static void destroy_begin(evutil_socket_t fd, short what, void *arg)
{
	struct destroy *d = arg;
	struct fg_error err = FG_ERROR_INIT;

	(void)fd;
	(void)what;
	if (d->asked) {
		(void)fg_error_set(&err, FG_ETIMEOUT, "waited %d ms for fix VM %s to be destroyed", DESTROY_MS,
				   d->uuid);
		destroy_end(d, -FG_ETIMEOUT, &err);
		return;
	}
	int rc = fg_xl_find(d->vms->xl, d->uuid, &d->domid, NULL, &err);
	if (rc < 0) {
		destroy_end(d, rc == -FG_ENOTFOUND ? 0 : rc, &err);
		return;
	}
	char *name = libxl_domid_to_name(fg_xl_ctx(d->vms->xl), d->domid);
	bool mine = !name || !strncmp(name, FG_FIXVM_NAME_PREFIX, strlen(FG_FIXVM_NAME_PREFIX));
	free(name);
	if (!mine) {
		(void)fg_error_set(&err, FG_EREFUSED, "domain %u has the UUID of a job and is no fix VM", d->domid);
		destroy_end(d, -FG_EREFUSED, &err);
		return;
	}
	d->asked = true;
	d->until_ms = fg_monotonic_ms() + DESTROY_MS;
	arm(d->timer, DESTROY_MS);
	libxl_asyncop_how how = fg_xl_how(d->vms->xl, destroyed, d);
	fg_xl_started(d->vms->xl, &how, libxl_domain_destroy(fg_xl_ctx(d->vms->xl), d->domid, &how));
}

static void vm_destroy(struct fg_fixvms *vms, const char *uuid, fg_ts_done_cb *cb, void *arg)
{
	struct destroy *d = fg_calloc(1, sizeof(*d));

	d->vms = vms;
	snprintf(d->uuid, sizeof(d->uuid), "%s", uuid);
	d->cb = cb;
	d->arg = arg;
	d->timer = evtimer_new(vms->base, destroy_begin, d);
	LIST_INSERT_HEAD(&vms->destroys, d, link);
	event_active(d->timer, EV_TIMEOUT, 0);
}

const struct fg_fixvm_ops fg_fixvm_xl = {
	.name = "xl",
	.open = vms_open,
	.close = vms_close,
	.create = vm_create,
	.run = vm_run,
	.send = vm_send,
	.forget = vm_forget,
	.destroy = vm_destroy,
};
