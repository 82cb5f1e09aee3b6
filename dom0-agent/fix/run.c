/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * In this order: fg_run_start -> next_layer… (on_layer, on_old_dropped) -> ask_token -> on_token -> (still gone?) make ->
 * on_created -> (still gone?) let_run -> on_running -> started; then on_output… and on_gone.
 */
#include "run.h"
#include "jobfile.h"

#include <lib/log.h>
#include <lib/util.h>

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define CONSOLE_LOG_MAX (256u << 10)

static void next_layer(struct fg_job *job);
static void on_layer_path(void *arg, int rc, const char *path, const struct fg_error *err);
static void on_layer(struct fg_job *job, int rc, const struct fg_error *err);
static void on_old_dropped(struct fg_job *job, int rc, const struct fg_error *err);
static void ask_token(struct fg_job *job);
static void on_token(struct fg_job *job, int rc, const struct fg_error *err);
static void make_if_gone(struct fg_job *job, int rc, const struct fg_error *err);
static void make(struct fg_job *job);
static void on_created(struct fg_job *job, int rc, const struct fg_error *err);
static void let_run_if_gone(struct fg_job *job, int rc, const struct fg_error *err);
static void let_run(struct fg_job *job);
static void on_running(struct fg_job *job, int rc, const struct fg_error *err);
static void on_output(void *arg, const void *bytes, size_t len);
static void on_gone(void *arg, const char *why);
static void on_console_message(void *arg, enum fg_fixvm_message type, const json_t *body);
static void on_console_noise(void *arg, const char *line);

void fg_run_free(struct fg_job *job)
{
	struct fg_run *run = FG_TAKE(job->run);

	if (!run)
		return;
	run->console.stopped = true;
	if (run->vm)
		job->agent->fixvm_ops->forget(run->vm);
	for (size_t i = 0; i < run->n_disks; i++)
		free(run->disks[i].path);
	if (run->has_alias)
		fg_guest_release(&run->alias);
	if (run->log_fd >= 0)
		close(run->log_fd);
	json_decref(run->result);
	free(run->why_gone);
	free(run);
}

void fg_run_start(struct fg_job *job, bool inspect, const struct fg_run_events *events)
{
	const struct fg_console_events console = { on_console_message, on_console_noise, job };
	struct fg_run *run = fg_calloc(1, sizeof(*run));
	fg_autofree char *log = fg_job_path(job, "console.log");
	uint8_t nonce[FG_FIXVM_NONCE_HEX / 2];

	fg_random_bytes(nonce, sizeof(nonce)); /* a new one each time: nothing of an earlier run counts */
	fg_hex_encode(nonce, sizeof(nonce), job->r.nonce);
	run->inspect = inspect;
	run->events = events;
	run->log_fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	fg_console_init(&run->console, job->r.nonce, inspect, &console);
	job->run = run;
	job->at = 0;
	next_layer(job);
}

static bool layer_request(const struct fg_job *job, struct fg_layer_request *req)
{
	const struct fg_disk *d = &job->guest.disks[job->at];

	memcpy(req->job, job->r.id, sizeof(req->job));
	memcpy(req->vdev, d->vdev, sizeof(req->vdev));
	req->target = d->target;
	req->readonly = d->readonly || (job->run && job->run->inspect);
	return !d->cdrom;
}

static void next_layer(struct fg_job *job)
{
	struct fg_layer_request req;

	for (; job->at < job->guest.n_disks; job->at++) {
		if (!layer_request(job, &req))
			continue;
		struct fg_call *call = fg_job_wait(job, "a layer over a disk", FG_ACT_MS, on_layer);
		job->agent->layer_ops->create(job->agent->layers, &req, on_layer_path, call);
		return;
	}
	if (job->run->inspect)
		make(job);
	else
		ask_token(job);
}

static void on_layer_path(void *arg, int rc, const char *path, const struct fg_error *err)
{
	fg_call_text(arg, rc, path, err);
}

static void on_layer(struct fg_job *job, int rc, const struct fg_error *err)
{
	struct fg_run *run = job->run;
	struct fg_layer_request req;

	if (rc == -FG_EEXISTS && job->tries++ == 0 && layer_request(job, &req)) {
		struct fg_call *call = fg_job_wait(job, "an old layer to be dropped", FG_ACT_MS, on_old_dropped);
		job->agent->layer_ops->drop(job->agent->layers, &req, fg_call_done, call);
		return;
	}
	job->tries = 0;
	if (rc < 0) {
		run->events->started(job, rc, err);
		return;
	}
	if (run->n_disks == FG_FIXVM_DISKS_MAX || !layer_request(job, &req)) {
		struct fg_error bug = FG_ERROR_INIT;
		run->events->started(job, fg_error_set(&bug, FG_EBUG, "too many disks"), &bug);
		return;
	}
	struct fg_fixvm_disk *disk = &run->disks[run->n_disks++];
	memcpy(disk->vdev, req.vdev, sizeof(disk->vdev));
	disk->path = FG_TAKE(job->text);
	disk->readonly = req.readonly;
	job->at++;
	next_layer(job);
}

static void on_old_dropped(struct fg_job *job, int rc, const struct fg_error *err)
{
	if (rc < 0)
		job->run->events->started(job, rc, err);
	else
		next_layer(job);
}

static void ask_token(struct fg_job *job)
{
	json_t *message = json_pack("{ss ss ss ss}", "type", "token", "job", job->r.id, "guest", job->r.guest, "digest",
				    job->r.digest);
	struct fg_call *call = fg_job_wait(job, "a token for the download", FG_ASK_MS, on_token);

	fg_agent_request(job->agent, message, fg_call_reply, call);
}

static void on_token(struct fg_job *job, int rc, const struct fg_error *cause)
{
	struct fg_error err = cause ? *cause : (struct fg_error)FG_ERROR_INIT;
	const char *token = NULL;

	if (rc == 0)
		rc = fg_json_string(job->reply, "token", &token, &err);
	if (rc == 0) {
		free(job->token);
		job->token = fg_strdup(token);
		job->tries = 0;
		fg_job_still_gone(job, make_if_gone);
		return;
	}
	/* The guest is down meanwhile: some patience, not for ever. */
	if (!fg_code_unknown(rc) || !fg_job_retry(job, &err, ask_token)) {
		fg_error_wrap(&err, "token for the download");
		job->run->events->started(job, rc, &err);
	}
}

/* The fix VM as the isolator sees it: a guest with one NIC, the guest's. */
static void make_alias(struct fg_job *job, const struct fg_nic *nic)
{
	struct fg_guest *alias = &job->run->alias;

	memcpy(alias->uuid, job->r.id, sizeof(alias->uuid));
	alias->name = fg_strdup("fix VM");
	alias->state = FG_GUEST_PAUSED;
	alias->nics = fg_calloc(1, sizeof(*alias->nics));
	alias->n_nics = 1;
	alias->nics[0] = *nic;
	alias->nics[0].n_netdevs = 0;
	job->run->has_alias = true;
}

/* Initramfs and mark; plan is NULL for an inspection. */
static int prepare(struct fg_job *job, const struct fg_network_plan *plan, const char *initrd, struct fg_error *err)
{
	const struct fg_agent *agent = job->agent;
	fg_autofree char *head = fg_job_path(job, "bundle.head");
	fg_autojson json_t *json = fg_jobfile(job, plan, job->token);
	const struct fg_initrd_request req = { .image = agent->config->fixvm_initrd,
					       .job = json,
					       .head = head,
					       .server_ca = agent->config->server_ca,
					       .trust_dir = agent->config->trust_dir };
	int rc = agent->make_initrd(&req, initrd, err);

	if (rc < 0 || !plan)
		return rc;
	make_alias(job, plan->nic);
	/* The mark first: its NIC is armed from the first frame, by whoever sees it first. */
	return agent->isolator_ops->isolate(agent->isolator, &job->run->alias, false, err);
}

static void not_known(struct fg_job *job)
{
	struct fg_error err = FG_ERROR_INIT;

	fg_error_set(&err, FG_EUNREACHABLE, "%s", job->r.reason);
	fg_job_hold(job, "is the guest still gone", &err);
}

/* With the guest there, or perhaps there, no fix VM: nothing of it is worth keeping yet. */
static bool gone(struct fg_job *job, int rc, const struct fg_error *err)
{
	if (rc == -FG_EEXISTS) {
		job->run->events->started(job, rc, err);
	} else if (rc < 0) {
		fg_job_reason(job, "%s", err->text);
		fg_job_clear_fixvm(job, not_known);
	}
	return rc == 0;
}

static void make_if_gone(struct fg_job *job, int rc, const struct fg_error *err)
{
	if (gone(job, rc, err))
		make(job);
}

static void make(struct fg_job *job)
{
	struct fg_agent *agent = job->agent;
	struct fg_run *run = job->run;
	const struct fg_fixvm_events events = { on_output, on_gone, job };
	struct fg_network_plan plan;
	struct fg_error err = FG_ERROR_INIT;
	fg_autofree char *initrd = fg_job_path(job, "initrd");
	fg_autofree char *name = fg_asprintf("%s%.8s%s", FG_FIXVM_NAME_PREFIX, job->r.id, run->inspect ? "-i" : "");
	struct fg_fixvm_spec spec = { .name = name,
				      .kernel = agent->config->fixvm_kernel,
				      .initrd = initrd,
				      .pv = agent->config->fixvm_pv,
				      .memory_mb = agent->config->fixvm_memory_mb,
				      .vcpus = agent->config->fixvm_vcpus,
				      .has_nic = !run->inspect,
				      .disks = run->disks,
				      .n_disks = run->n_disks };
	int rc = run->inspect ? 0 : fg_network_plan(agent, &job->guest, &plan, &err);

	/* The kernel is asking for it since the guest was isolated; without it the filter lets nothing of the fix VM pass. */
	if (rc == 0 && !run->inspect && !fg_reach_mac_known(plan.reach.mac)) {
		rc = fg_error_set(&err, FG_EUNREACHABLE,
				  "%s: the link address of the server or its gateway is not known", plan.nic->bridge);
		if (fg_job_retry(job, &err, make))
			return;
	}
	if (rc == 0)
		rc = prepare(job, run->inspect ? NULL : &plan, initrd, &err);
	if (rc < 0) {
		run->events->started(job, rc, &err);
		return;
	}
	memcpy(spec.uuid, job->r.id, sizeof(spec.uuid));
	if (spec.has_nic) {
		memcpy(spec.mac, plan.nic->mac, sizeof(spec.mac));
		memcpy(spec.bridge, plan.nic->bridge, sizeof(spec.bridge));
	}
	if (fg_job_intent(job, "create the fix VM %s", name) < 0)
		return;
	struct fg_call *call = fg_job_wait(job, "the fix VM to be made", FG_ACT_MS, on_created);
	run->vm = agent->fixvm_ops->create(agent->fixvms, &spec, &events, fg_call_created, call);
}

static void on_created(struct fg_job *job, int rc, const struct fg_error *cause)
{
	struct fg_agent *agent = job->agent;
	struct fg_run *run = job->run;
	struct fg_error err = cause ? *cause : (struct fg_error)FG_ERROR_INIT;

	if (rc == 0 && !run->inspect) {
		struct fg_nic *nic = &run->alias.nics[0];
		nic->n_netdevs = job->created.n_netdevs;
		memcpy(nic->netdevs, job->created.netdevs, sizeof(nic->netdevs));
		run->alias.domid = job->created.domid;
		if (nic->n_netdevs == 0)
			rc = fg_error_set(&err, FG_EDIFFERS, "the fix VM has no network device in dom0");
		else
			rc = agent->isolator_ops->isolate(agent->isolator, &run->alias, false, &err);
	}
	if (rc < 0) {
		run->events->started(job, rc, &err);
		return;
	}
	if (run->inspect)
		let_run(job);
	else
		fg_job_still_gone(job, let_run_if_gone);
}

static void let_run_if_gone(struct fg_job *job, int rc, const struct fg_error *err)
{
	if (gone(job, rc, err))
		let_run(job);
}

static void let_run(struct fg_job *job)
{
	struct fg_call *call = fg_job_wait(job, "the fix VM to run", FG_ASK_MS, on_running);

	job->agent->fixvm_ops->run(job->run->vm, fg_call_done, call);
}

static void on_running(struct fg_job *job, int rc, const struct fg_error *err)
{
	job->run->events->started(job, rc, err);
}

int fg_run_close(struct fg_job *job, struct fg_error *err)
{
	struct fg_run *run = job->run;
	struct fg_agent *agent = job->agent;
	fg_autofree char *line = fg_asprintf("%s%s closed {}\n", FG_FIXVM_PREFIX, job->r.nonce);
	int rc = agent->isolator_ops->isolate(agent->isolator, &run->alias, true, err);

	if (rc < 0)
		return rc;
	run->closed = true;
	run->console.closed_sent = true;
	return agent->fixvm_ops->send(run->vm, line, strlen(line), err);
}

/* For whoever has to find out why; bounded, and never read by us. */
static void keep(struct fg_run *run, const void *bytes, size_t len)
{
	if (run->log_fd < 0 || run->logged >= CONSOLE_LOG_MAX)
		return;
	if (len > CONSOLE_LOG_MAX - run->logged)
		len = CONSOLE_LOG_MAX - run->logged;
	ssize_t n = write(run->log_fd, bytes, len);
	run->logged += n > 0 ? (size_t)n : len;
}

static void on_output(void *arg, const void *bytes, size_t len)
{
	struct fg_job *job = arg;

	if (!job->run || job->agent->dead)
		return;
	keep(job->run, bytes, len);
	fg_console_feed(&job->run->console, bytes, len);
}

static void on_gone(void *arg, const char *why)
{
	struct fg_job *job = arg;

	if (!job->run || job->agent->dead || job->run->why_gone)
		return;
	if (job->run->console.last_noise[0] && !job->run->has_result)
		job->run->why_gone = fg_asprintf("%s; last line: %s", why, job->run->console.last_noise);
	else
		job->run->why_gone = fg_strdup(why);
	/* While it is being started that call answers first. */
	if (!job->call || strcmp(fg_job_waits_for(job), "the fix VM to run") != 0)
		job->run->events->gone(job, job->run->why_gone);
}

static void on_console_message(void *arg, enum fg_fixvm_message type, const json_t *body)
{
	struct fg_job *job = arg;

	if (type == FG_FIXVM_MOUNTED)
		fg_report_os(job, body);
	if (type == FG_FIXVM_APPLIES)
		fg_report_applies(job, body);
	if (type == FG_FIXVM_RESULT) {
		job->run->has_result = true;
		job->run->result = json_deep_copy(body);
	}
	job->run->events->message(job, type, body);
}

static void on_console_noise(void *arg, const char *line)
{
	const struct fg_job *job = arg;

	fg_log_debug("job=%s fix VM: %s", job->r.id, line);
}
