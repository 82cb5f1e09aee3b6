/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "test/fakes/xl.h"

#include "dom0-agent/toolstack/child.h"
#include "dom0-agent/toolstack/gone.h"
#include "dom0-agent/toolstack/image_files.h"
#include "dom0-agent/toolstack/xl_daemon.h"
#include "lib/util.h"

#include <check.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct fake_xl fake_xl;

const struct fg_toolstack_ops fg_toolstack_xl = { .name = "xl" };

void fake_xl_begin(void)
{
	memset(&fake_xl, 0, sizeof(fake_xl));
	fake_xl.base = event_base_new();
	fake_xl.ts.cfg.base = fake_xl.base;
}

void fake_xl_end(void)
{
	struct xl_file *file;

	ck_assert_msg(LIST_EMPTY(&fake_xl.ts.ops), "an operation was left behind");
	while ((file = LIST_FIRST(&fake_xl.ts.files))) {
		LIST_REMOVE(file, link);
		json_decref(file->config);
		free(file->path);
		free(file->name);
		free(file);
	}
	event_base_free(fake_xl.base);
	if (fake_xl.process) {
		kill(fake_xl.process, SIGKILL);
		waitpid(fake_xl.process, NULL, 0);
	}
}

pid_t fake_xl_process(void)
{
	ck_assert_msg(!fake_xl.process, "two processes");
	fake_xl.process = fork();
	ck_assert_int_ge(fake_xl.process, 0);
	if (fake_xl.process == 0)
		for (;;)
			pause();
	return fake_xl.process;
}

void fake_xl_loop(void)
{
	event_base_dispatch(fake_xl.base);
}

/*----- toolstack_xl.c -----*/

void *xl_op_new(struct xl_ts *ts, size_t size, event_callback_fn timer, void (*release)(struct xl_op *))
{
	struct xl_op *op = fg_calloc(1, size);

	op->ts = ts;
	op->release = release;
	op->timer = evtimer_new(fake_xl.base, timer, op);
	LIST_INSERT_HEAD(&ts->ops, op, link);
	return op;
}

void xl_op_free(struct xl_op *op)
{
	LIST_REMOVE(op, link);
	event_free(op->timer);
	if (op->release)
		op->release(op);
	free(op);
}

void xl_op_soon(struct xl_op *op)
{
	event_active(op->timer, EV_TIMEOUT, 0);
}

/* Long waits are short. */
void xl_op_in(struct xl_op *op, uint32_t ms)
{
	uint32_t short_ms = ms > 10000 ? 100 : ms >= 1000 ? ms / 100 : ms;
	const struct timeval in = { 0, short_ms * 1000 };

	evtimer_add(op->timer, &in);
}

/*----- event_libxl.c -----*/

struct later {
	fg_xl_ao_cb *cb;
	void *arg;
	int rc;
};

static void later_fired(evutil_socket_t fd, short what, void *arg)
{
	struct later *later = arg;

	(void)fd;
	(void)what;
	later->cb(later->arg, later->rc);
	free(later);
}

libxl_asyncop_how fg_xl_how(struct fg_xl *xl, fg_xl_ao_cb *cb, void *arg)
{
	struct later *later = fg_calloc(1, sizeof(*later));

	(void)xl;
	later->cb = cb;
	later->arg = arg;
	return (libxl_asyncop_how){ .u.for_event = (uint64_t)(uintptr_t)later };
}

/* The fakes of libxl answer at once; the callback comes from the loop all the same. */
void fg_xl_started(struct fg_xl *xl, const libxl_asyncop_how *how, int rc)
{
	struct later *later = (struct later *)(uintptr_t)how->u.for_event;
	const struct timeval soon = { 0, 0 };

	(void)xl;
	later->rc = rc;
	event_base_once(fake_xl.base, -1, EV_TIMEOUT, later_fired, later, &soon);
}

libxl_ctx *fg_xl_ctx(struct fg_xl *xl)
{
	(void)xl;
	return NULL;
}

int fg_xl_error_set(struct fg_error *err, int rc, const char *fmt, ...)
{
	(void)fmt;
	return fg_error_set(err, rc == ERROR_DOMAIN_NOTFOUND ? FG_ENOTFOUND : FG_EFAILED, "libxl says %d", rc);
}

void fg_xl_uuid_format(const libxl_uuid *uuid, char out[37])
{
	snprintf(out, 37, LIBXL_UUID_FMT, LIBXL_UUID_BYTES(*uuid));
}

/*----- libxl -----*/

static struct fake_xl_domain *domain(uint32_t domid)
{
	for (size_t i = 0; i < FAKE_XL_DOMAINS; i++)
		if (domid && fake_xl.domains[i].domid == domid)
			return &fake_xl.domains[i];
	return NULL;
}

static void info_of(const struct fake_xl_domain *d, libxl_dominfo *out)
{
	libxl_dominfo_init(out);
	ck_assert_int_eq(libxl_uuid_from_string(&out->uuid, d->uuid), 0);
	out->domid = d->domid;
	out->paused = d->paused;
	out->shutdown = d->shutdown;
	out->dying = d->dying;
	out->domain_type = d->hvm ? LIBXL_DOMAIN_TYPE_HVM : LIBXL_DOMAIN_TYPE_PV;
}

libxl_dominfo *libxl_list_domain(libxl_ctx *ctx, int *n)
{
	libxl_dominfo *infos = fg_calloc(FAKE_XL_DOMAINS, sizeof(*infos));

	(void)ctx;
	*n = 0;
	for (size_t i = 0; i < FAKE_XL_DOMAINS; i++)
		if (fake_xl.domains[i].domid)
			info_of(&fake_xl.domains[i], &infos[(*n)++]);
	return infos;
}

int libxl_domain_info(libxl_ctx *ctx, libxl_dominfo *out, uint32_t domid)
{
	const struct fake_xl_domain *d = domain(domid);

	(void)ctx;
	if (!d || d->listed_only)
		return ERROR_DOMAIN_NOTFOUND;
	info_of(d, out);
	return 0;
}

char *libxl_domid_to_name(libxl_ctx *ctx, uint32_t domid)
{
	const struct fake_xl_domain *d = domain(domid);

	(void)ctx;
	return d && !d->listed_only && d->name ? strdup(d->name) : NULL;
}

int libxl_userdata_retrieve(libxl_ctx *ctx, uint32_t domid, const char *id, uint8_t **data, int *len)
{
	const struct fake_xl_domain *d = domain(domid);

	(void)ctx;
	*data = NULL;
	*len = 0;
	if (!d || d->listed_only)
		return ERROR_FAIL;
	if (!strcmp(id, "libxl-json")) {
		if (!d->json)
			return ERROR_FAIL;
		*data = (uint8_t *)strdup(d->json);
		*len = (int)strlen(d->json) + 1;
		return 0;
	}
	ck_assert_str_eq(id, "libvirt-xml");
	if (d->libvirt && d->name) { /* libxl forgets it with the home */
		*data = (uint8_t *)strdup("<domain/>");
		*len = 9;
	}
	return 0;
}

int libxl_retrieve_domain_configuration(libxl_ctx *ctx, uint32_t domid, libxl_domain_config *config,
					const libxl_asyncop_how *how)
{
	const struct fake_xl_domain *d = domain(domid);

	(void)ctx;
	(void)how;
	config->c_info.domid = domid;
	int rc = d && !d->listed_only && d->json ? 0 : ERROR_FAIL;
	void (*then)(void) = fake_xl.definition_read;
	fake_xl.definition_read = NULL;
	if (then)
		then();
	return rc;
}

char *libxl_domain_config_to_json(libxl_ctx *ctx, libxl_domain_config *config)
{
	(void)ctx;
	return strdup(domain(config->c_info.domid)->json);
}

/*----- xenstore.c -----*/

int fg_xs_children(struct fg_xs *xs, unsigned *n, struct fg_error *err, const char *fmt, ...)
{
	char path[128];
	static const char home[] = "/local/domain/";
	va_list ap;

	(void)xs;
	(void)err;
	va_start(ap, fmt);
	vsnprintf(path, sizeof(path), fmt, ap);
	va_end(ap);
	ck_assert_msg(!strncmp(path, home, strlen(home)), "%s", path);
	const struct fake_xl_domain *d = domain((uint32_t)strtoul(path + strlen(home), NULL, 10));
	*n = d && d->name && !d->listed_only ? 5 : 0;
	return 0;
}

int64_t fg_xs_created_s(struct fg_xs *xs, uint32_t domid)
{
	(void)xs;
	return 1700000000 + domid;
}

/*----- xl_files.c -----*/

void fake_xl_file(const char *path, const char *uuid, const char *name)
{
	struct xl_file *file = fg_calloc(1, sizeof(*file));

	file->path = fg_strdup(path);
	file->name = fg_strdup(name);
	snprintf(file->uuid, sizeof(file->uuid), "%s", uuid);
	LIST_INSERT_HEAD(&fake_xl.ts.files, file, link);
}

void xl_files_refresh(struct xl_ts *ts)
{
	(void)ts;
}

struct xl_file *xl_file_by_uuid(struct xl_ts *ts, const char *uuid)
{
	struct xl_file *file;

	LIST_FOREACH (file, &ts->files, link)
		if (!strcmp(file->uuid, uuid))
			return file;
	return NULL;
}

struct dryrun {
	xl_dryrun_cb *cb;
	void *arg;
};

static void dryrun_ended(evutil_socket_t fd, short what, void *arg)
{
	struct dryrun *run = arg;
	struct fg_error err = FG_ERROR_INIT;
	fg_autojson json_t *config = NULL;

	(void)fd;
	(void)what;
	if (fake_xl.dryrun_rc)
		(void)fg_error_set(&err, -fake_xl.dryrun_rc, "dry run failed");
	else
		ck_assert_int_eq(fg_json_parse(fake_xl.dryrun_json, strlen(fake_xl.dryrun_json), &config, &err), 0);
	run->cb(run->arg, fake_xl.dryrun_rc, config, &err);
	free(run);
}

int xl_dryrun(struct xl_ts *ts, const char *file, char *const *settings, const char *uuid, xl_dryrun_cb *cb, void *arg,
	      struct fg_error *err)
{
	struct dryrun *run = fg_calloc(1, sizeof(*run));
	const struct timeval soon = { 0, 0 };

	(void)ts;
	(void)file;
	(void)settings;
	(void)uuid;
	(void)err;
	run->cb = cb;
	run->arg = arg;
	fake_xl.dryruns++;
	event_base_once(fake_xl.base, -1, EV_TIMEOUT, dryrun_ended, run, &soon);
	return 0;
}

/*----- xl_start.c and xl_stop.c: libxl -----*/

static void asked(const char *fmt, ...)
{
	size_t len = strlen(fake_xl.asked);
	va_list ap;

	if (len)
		len += (size_t)snprintf(fake_xl.asked + len, sizeof(fake_xl.asked) - len, ", ");
	va_start(ap, fmt);
	vsnprintf(fake_xl.asked + len, sizeof(fake_xl.asked) - len, fmt, ap);
	va_end(ap);
}

int fg_xl_find(struct fg_xl *xl, const char *uuid, uint32_t *domid, libxl_dominfo *info, struct fg_error *err)
{
	(void)xl;
	if (fake_xl.find_rc)
		return fg_error_set(err, -fake_xl.find_rc, "domains cannot be listed");
	for (size_t i = 0; i < FAKE_XL_DOMAINS; i++)
		if (fake_xl.domains[i].domid && !strcmp(fake_xl.domains[i].uuid, uuid)) {
			*domid = fake_xl.domains[i].domid;
			info_of(&fake_xl.domains[i], info);
			return 0;
		}
	return fg_error_set(err, FG_ENOTFOUND, "no such domain");
}

int libxl_domain_destroy(libxl_ctx *ctx, uint32_t domid, const libxl_asyncop_how *how)
{
	struct fake_xl_domain *d = domain(domid);

	(void)ctx;
	(void)how;
	ck_assert_ptr_nonnull(d);
	asked("destroy %u", domid);
	fake_xl.destroyed++;
	if (!fake_xl.destroy_rc)
		memset(d, 0, sizeof(*d));
	return fake_xl.destroy_rc;
}

struct fg_xl_death {
	fg_xl_death_cb *cb;
	void *arg;
	uint32_t domid;
};

static void death_told(evutil_socket_t fd, short what, void *arg)
{
	enum fake_xl_end how = (enum fake_xl_end)(uintptr_t)arg;

	(void)fd;
	(void)what;
	if (fake_xl.death)
		fake_xl.death->cb(fake_xl.death->arg, how != FAKE_XL_VANISHES,
				  how == FAKE_XL_REBOOTS ? LIBXL_SHUTDOWN_REASON_REBOOT
							 : LIBXL_SHUTDOWN_REASON_POWEROFF);
}

void fake_xl_ends(uint32_t domid, enum fake_xl_end how)
{
	const struct timeval soon = { 0, 0 };
	struct fake_xl_domain *d = domain(domid);

	if (how == FAKE_XL_STAYS)
		return;
	ck_assert_ptr_nonnull(d);
	ck_assert_msg(fake_xl.death && fake_xl.death->domid == domid, "nobody looks at domain %u", domid);
	d->shutdown = how != FAKE_XL_VANISHES;
	d->dying = how == FAKE_XL_VANISHES;
	event_base_once(fake_xl.base, -1, EV_TIMEOUT, death_told, (void *)(uintptr_t)how, &soon);
}

int fg_xl_death_watch(struct fg_xl *xl, uint32_t domid, fg_xl_death_cb *cb, void *arg, struct fg_xl_death **out,
		      struct fg_error *err)
{
	(void)xl;
	ck_assert_msg(!fake_xl.death, "two look at the end of a domain");
	if (fake_xl.watch_rc)
		return fg_error_set(err, -fake_xl.watch_rc, "its end cannot be watched");
	*out = fake_xl.death = fg_calloc(1, sizeof(**out));
	**out = (struct fg_xl_death){ cb, arg, domid };
	return 0;
}

void fg_xl_death_unwatch(struct fg_xl_death *watch)
{
	ck_assert_ptr_eq(watch, fake_xl.death);
	free(FG_TAKE(fake_xl.death));
}

int libxl_domain_shutdown(libxl_ctx *ctx, uint32_t domid, const libxl_asyncop_how *how)
{
	(void)ctx;
	(void)how;
	asked("shutdown %u", domid);
	fake_xl_ends(domid, fake_xl.on_shutdown);
	return fake_xl.shutdown_rc;
}

int libxl_send_trigger(libxl_ctx *ctx, uint32_t domid, libxl_trigger trigger, uint32_t vcpu,
		       const libxl_asyncop_how *how)
{
	(void)ctx;
	(void)vcpu;
	(void)how;
	ck_assert_int_eq(trigger, LIBXL_TRIGGER_POWER);
	asked("button %u", domid);
	fake_xl_ends(domid, fake_xl.on_button);
	return fake_xl.button_rc;
}

int libxl_domain_config_from_json(libxl_ctx *ctx, libxl_domain_config *config, const char *json)
{
	(void)ctx;
	(void)config;
	(void)json;
	return 0;
}

void fake_xl_make(void)
{
	for (size_t i = 0; i < FAKE_XL_DOMAINS; i++)
		ck_assert_msg(!fake_xl.domains[i].domid, "made while another is there");
	fake_xl.domains[2] = (struct fake_xl_domain){ 9, FAKE_XL_WEB1, "web1", fake_xl.dryrun_json, .paused = true };
	fake_xl.made++;
}

int libxl_domain_create_new(libxl_ctx *ctx, libxl_domain_config *config, uint32_t *domid, const libxl_asyncop_how *how,
			    const libxl_asyncprogress_how *console)
{
	(void)ctx;
	(void)config;
	(void)how;
	(void)console;
	fake_xl_make();
	*domid = 9;
	return 0;
}

/*----- xl_owner.c, gone.c -----*/

void xl_own(struct xl_ts *ts, const char *uuid, uint32_t domid, const char *config)
{
	(void)ts;
	ck_assert_str_eq(uuid, FAKE_XL_WEB1);
	ck_assert(domid != 0 && config != NULL);
	fake_xl.owned++;
}

bool xl_owns(const struct xl_ts *ts, const char *uuid)
{
	(void)ts;
	(void)uuid;
	return false;
}

bool xl_disown(struct xl_ts *ts, const char *uuid)
{
	void (*then)(void) = fake_xl.disowned++ ? FG_TAKE(fake_xl.last_moment) : NULL;

	(void)ts;
	ck_assert_str_eq(uuid, FAKE_XL_WEB1);
	if (then)
		then();
	return fake_xl.disowned > fake_xl.makes;
}

struct fg_gone {
	fg_gone_cb *cb;
	void *arg;
};

static void gone(evutil_socket_t fd, short what, void *arg)
{
	struct fg_gone *g = arg;
	struct fg_error err = { .code = (enum fg_error_code) - fake_xl.gone_rc };

	(void)fd;
	(void)what;
	g->cb(g->arg, fake_xl.gone_rc, &err);
	free(g);
}

int fg_gone_wait(struct fg_xs *xs, uint32_t domid, const struct fg_image_files *files, uint32_t deadline_ms,
		 fg_gone_cb *cb, void *arg, struct fg_gone **out, struct fg_error *err)
{
	const struct timeval soon = { 0, 0 };

	(void)xs;
	(void)err;
	ck_assert(domid != 0 || files);
	ck_assert(deadline_ms != 0);
	asked("gone %u +%zu", domid, files ? files->n : 0);
	fake_xl.gone_waits++;
	*out = fg_calloc(1, sizeof(**out));
	(*out)->cb = cb;
	(*out)->arg = arg;
	if (!fake_xl.gone_rc && domain(domid))
		memset(domain(domid), 0, sizeof(struct fake_xl_domain));
	event_base_once(fake_xl.base, -1, EV_TIMEOUT, gone, *out, &soon);
	return 0;
}

void fg_gone_cancel(struct fg_gone *g)
{
	ck_assert_ptr_null(g);
}

/*----- xl_daemon.c -----*/

int fg_xl_daemon_find(const char *proc, uint32_t domid, const char *uuid, struct fg_xl_daemon *out,
		      struct fg_error *err)
{
	(void)proc;
	(void)domid;
	(void)uuid;
	(void)out;
	return fake_xl.daemon_known ? 0 : fg_error_set(err, FG_ENOTFOUND, "no daemon");
}

int fg_xl_maker_find(const char *proc, const char *uuid, struct fg_xl_daemon *out, struct fg_error *err)
{
	(void)proc;
	ck_assert_str_eq(uuid, FAKE_XL_WEB1);
	if (fake_xl.maker_rc)
		return fg_error_set(err, -fake_xl.maker_rc, "processes cannot be listed");
	/* One that has ended has no program any more, though nobody has waited for it yet. */
	siginfo_t si = { 0 };
	bool dead = fake_xl.maker && waitid(P_PID, (id_t)fake_xl.maker, &si, WEXITED | WNOHANG | WNOWAIT) == 0 &&
		    si.si_pid == fake_xl.maker;
	if (!fake_xl.maker || dead)
		return fg_error_set(err, FG_ENOTFOUND, "no maker");
	*out = (struct fg_xl_daemon){ .pid = fake_xl.maker, .start_ticks = 1, .domid = fake_xl.maker_domid };
	return 0;
}

int fg_xl_daemon_open(const char *proc, const struct fg_xl_daemon *daemon, struct fg_error *err)
{
	int fd = (int)syscall(SYS_pidfd_open, daemon->pid, 0);

	(void)proc;
	return fd < 0 ? fg_error_set(err, FG_ENOTFOUND, "it has ended") : fd;
}

/*----- xl_reboot.c -----*/

int xl_daemon_of(struct xl_ts *ts, const struct fg_guest *last, struct fg_xl_daemon *out, struct fg_error *err)
{
	siginfo_t si = { 0 };

	(void)ts;
	(void)last;
	if (fake_xl.daemon && waitid(P_PID, (id_t)fake_xl.daemon, &si, WEXITED | WNOHANG | WNOWAIT) == 0 &&
	    !si.si_pid) {
		*out = (struct fg_xl_daemon){ .pid = fake_xl.daemon };
		asked("end xl");
		return 0;
	}
	if (!fake_xl.reboot_rc)
		return fg_error_set(err, FG_ENOTFOUND, "no daemon");
	if (fake_xl.reboot_rc < 0)
		return fg_error_set(err, -fake_xl.reboot_rc, "processes cannot be listed");
	*out = (struct fg_xl_daemon){ .pid = 1 };
	return 0;
}

int xl_domid_is(struct xl_ts *ts, uint32_t domid, const char *uuid, struct fg_error *err)
{
	(void)ts;
	(void)domid;
	ck_assert_str_eq(uuid, FAKE_XL_WEB1);
	return fake_xl.domid_rc ? fg_error_set(err, -fake_xl.domid_rc, "whose domain it is") : 0;
}

void fg_xl_daemon_release(struct fg_xl_daemon *daemon)
{
	memset(daemon, 0, sizeof(*daemon));
}

/*----- child.c -----*/

struct fg_child {
	fg_child_cb *cb;
	void *arg;
};

static void child_ended(evutil_socket_t fd, short what, void *arg)
{
	struct fg_child *child = arg;
	struct fg_child_result result = { .status = fake_xl.child_fails ? 256 : 0, .out = "", .err = "" };

	(void)fd;
	(void)what;
	fake_xl_make();
	if (fake_xl.child_fails)
		fake_xl.domains[2].json = NULL;
	child->cb(child->arg, &result, NULL);
	free(child);
}

int fg_child_start(struct event_base *base, const char *const *argv, uint32_t deadline_ms, fg_child_cb *cb, void *arg,
		   struct fg_child **out, struct fg_error *err)
{
	const struct timeval soon = { 0, 0 };

	(void)argv;
	(void)deadline_ms;
	(void)err;
	*out = fg_calloc(1, sizeof(**out));
	(*out)->cb = cb;
	(*out)->arg = arg;
	event_base_once(base, -1, EV_TIMEOUT, child_ended, *out, &soon);
	return 0;
}

void fg_child_cancel(struct fg_child *child)
{
	ck_assert_ptr_null(child);
}

bool fg_child_succeeded(const struct fg_child_result *result)
{
	return result->status == 0;
}

void fg_child_last_line(const struct fg_child_result *result, char *out, size_t size)
{
	(void)result;
	snprintf(out, size, "xl failed");
}
