/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Commands that name a guest: the toolstacks are asked who it is. */
#include "ctl.h"
#include "xl_conf.h"

#include <lib/log.h>
#include <lib/util.h>

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef void guest_fn(struct fg_ctl_client *c, const struct fg_guest *guest, struct fg_error *err);

static void fail(struct fg_ctl_client *c, const struct fg_error *err)
{
	fg_ctl_fail(c, err);
}

/* By UUID, or by a name that only one guest has. */
static const struct fg_guest *pick(const struct fg_guest *guests, size_t n, const char *which, struct fg_error *err)
{
	const struct fg_guest *found = NULL;
	char uuid[FG_UUID_TEXT] = "";

	if (fg_uuid_parse(which, uuid, NULL) < 0)
		uuid[0] = '\0';
	for (size_t i = 0; i < n; i++) {
		bool same = uuid[0] ? strcmp(guests[i].uuid, uuid) == 0 : strcmp(guests[i].name, which) == 0;
		if (same && found) {
			fg_error_set(err, FG_EUSAGE, "more than one guest is named %.100s: name it by its UUID", which);
			return NULL;
		}
		if (same)
			found = &guests[i];
	}
	if (!found)
		fg_error_set(err, FG_ENOTFOUND, "there is no guest %.100s", which);
	return found;
}

/* The open job of a guest that its toolstack does not list while it is down. */
static const struct fg_job *job_of(const struct fg_agent *agent, const char *which)
{
	const struct fg_job *job = NULL;

	TAILQ_FOREACH (job, &agent->jobs, link) {
		if (strcmp(job->r.guest, which) == 0 || (job->r.name && strcmp(job->r.name, which) == 0))
			return job;
	}
	return NULL;
}

static void with_guest(struct fg_ctl_client *c, int rc, const struct fg_guest *guests, size_t n,
		       const struct fg_error *cause, guest_fn *fn)
{
	struct fg_error err = FG_ERROR_INIT;
	const struct fg_guest *guest = NULL;
	const char *which = NULL;

	if (!fg_ctl_resume(c))
		return;
	if (rc < 0)
		err = *cause;
	else if (fg_json_string(c->request, "guest", &which, &err) == 0)
		guest = pick(guests, n, which, &err);
	const struct fg_job *job = !guest && which && err.code == FG_ENOTFOUND ? job_of(c->ctl->agent, which) : NULL;
	if (job && job->has_guest)
		guest = &job->guest;
	if (!guest) {
		fail(c, &err);
		return;
	}
	fg_error_clear(&err);
	fn(c, guest, &err);
}

static void ask(struct fg_ctl_client *c, fg_list_cb *cb)
{
	c->pending++;
	fg_agent_list(c->ctl->agent, cb, c);
}

/* guests */

static json_t *guest_row(struct fg_agent *agent, const struct fg_guest *g)
{
	json_t *row = fg_guest_public_json(g);
	bool marked = false, by_hand = false;
	const struct fg_job *job = fg_agent_guest_job(agent, g->uuid, NULL);

	if (agent->isolator_ops->marked(agent->isolator, g->uuid, &marked, NULL) == 0)
		json_object_set_new(row, "isolated", json_boolean(marked));
	else
		json_object_set_new(row, "isolated", json_null());
	if (fg_journal_operator(agent->journal, g->uuid, &by_hand, NULL) == 0)
		json_object_set_new(row, "by_hand", json_boolean(by_hand));
	json_object_set_new(row, "domid", json_integer(g->domid));
	json_object_set_new(row, "job", job ? json_string(job->r.id) : json_null());
	json_object_set_new(row, "refusal", g->refusal ? json_string(g->refusal) : json_null());
	return row;
}

static void on_guests(void *arg, int rc, const struct fg_guest *guests, size_t n, const struct fg_error *err)
{
	struct fg_ctl_client *c = arg;

	if (!fg_ctl_resume(c))
		return;
	if (rc < 0) {
		fail(c, err);
		return;
	}
	json_t *list = json_array();
	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, guest_row(c->ctl->agent, &guests[i]));
	fg_ctl_answer(c, list);
}

void fg_ctl_guests(struct fg_ctl_client *c)
{
	ask(c, on_guests);
}

/* remediate */

static void on_requested(void *arg, int rc, const json_t *reply, const struct fg_error *err)
{
	struct fg_ctl_client *c = arg;

	(void)reply;
	if (!fg_ctl_resume(c))
		return;
	if (rc < 0) {
		free(FG_TAKE(c->wait_fix));
		fail(c, err);
	} else if (!json_is_true(json_object_get(c->request, "wait"))) {
		fg_ctl_answer(c, json_pack("{sb}", "requested", 1));
	}
	/* else: the event of the end answers, and may have */
}

static void remediate(struct fg_ctl_client *c, const struct fg_guest *guest, struct fg_error *err)
{
	const char *fix = NULL;

	/* The server's fix ids are checked where an offer comes; here only that it can be one. */
	if (fg_json_string(c->request, "fix", &fix, err) < 0) {
		fail(c, err);
		return;
	}
	if (json_is_true(json_object_get(c->request, "wait"))) {
		memcpy(c->wait_guest, guest->uuid, sizeof(c->wait_guest));
		free(c->wait_fix);
		c->wait_fix = fg_strdup(fix);
	}
	c->pending++;
	fg_agent_request(c->ctl->agent, json_pack("{ss ss ss}", "type", "request", "guest", guest->uuid, "fix", fix),
			 on_requested, c);
}

static void on_remediate(void *arg, int rc, const struct fg_guest *guests, size_t n, const struct fg_error *err)
{
	with_guest(arg, rc, guests, n, err, remediate);
}

void fg_ctl_remediate(struct fg_ctl_client *c)
{
	ask(c, on_remediate);
}

/* isolate, release */

static json_t *isolation_row(const struct fg_guest *guest, bool isolated)
{
	return json_pack("{ss ss sb}", "guest", guest->name ? guest->name : "", "uuid", guest->uuid, "isolated",
			 isolated);
}

static void isolate(struct fg_ctl_client *c, const struct fg_guest *guest, struct fg_error *err)
{
	struct fg_agent *agent = c->ctl->agent;
	const struct fg_journal_entry entry = { .operator_guest = guest->uuid,
						.operator_set = true,
						.at_ms = agent->clock->now_ms(agent->clock) };
	bool was_marked = false;

	if (guest->refusal)
		fg_error_set(err, FG_EREFUSED, "%s", guest->refusal);
	else if (agent->isolator_ops->marked(agent->isolator, guest->uuid, &was_marked, err) == 0 &&
		 fg_agent_write(agent, &entry) < 0)
		fg_error_set(err, FG_EIO, "the journal cannot be written");
	if (err->code) {
		fail(c, err);
		return;
	}
	if (agent->isolator_ops->isolate(agent->isolator, guest, false, err) < 0) {
		const struct fg_journal_entry back = { .operator_guest = guest->uuid };
		if (!was_marked && agent->isolator_ops->release(agent->isolator, guest->uuid, NULL) == 0 &&
		    fg_agent_write(agent, &back) < 0)
			fg_log_err("guest=%s isolation by hand stays in the journal, ignoring", guest->uuid);
		fail(c, err);
		return;
	}
	fg_log_info("guest=%s isolated by hand", guest->name);
	fg_marks_changed(agent, guest->uuid); /* a NIC that came meanwhile */
	fg_ctl_answer(c, isolation_row(guest, true));
}

static void on_isolate(void *arg, int rc, const struct fg_guest *guests, size_t n, const struct fg_error *err)
{
	with_guest(arg, rc, guests, n, err, isolate);
}

void fg_ctl_isolate(struct fg_ctl_client *c)
{
	ask(c, on_isolate);
}

static void release(struct fg_ctl_client *c, const struct fg_guest *guest, struct fg_error *err)
{
	struct fg_agent *agent = c->ctl->agent;
	const struct fg_job *job = fg_agent_guest_job(agent, guest->uuid, NULL);
	const struct fg_journal_entry entry = { .operator_guest = guest->uuid };

	/* Not by hand any more first: dying in between leaves it isolated, not half free. */
	if (job && job->r.state == FG_STATE_HELD)
		fg_error_set(err, FG_EREFUSED, "held by job %s: resolve that first", job->r.id);
	else if (job)
		fg_error_set(err, FG_EREFUSED, "job %s works on it (%s)", job->r.id, fg_state_name(job->r.state));
	else if (fg_agent_write(agent, &entry) < 0)
		fg_error_set(err, FG_EIO, "the journal cannot be written");
	if (err->code || agent->isolator_ops->release(agent->isolator, guest->uuid, err) < 0) {
		fail(c, err);
		return;
	}
	fg_log_info("guest=%s released by hand", guest->name);
	fg_ctl_answer(c, isolation_row(guest, false));
}

static void on_release(void *arg, int rc, const struct fg_guest *guests, size_t n, const struct fg_error *err)
{
	with_guest(arg, rc, guests, n, err, release);
}

void fg_ctl_release(struct fg_ctl_client *c)
{
	ask(c, on_release);
}

/* doctor */

static void check(json_t *list, const char *what, bool ok, const char *text)
{
	json_array_append_new(list, json_pack("{ss sb ss}", "check", what, "ok", ok, "text", text));
}

static void check_file(json_t *list, const char *what, const char *path)
{
	check(list, what, access(path, R_OK) == 0, path);
}

static void check_private(json_t *list, const char *path)
{
	struct stat st;
	bool ok = stat(path, &st) == 0 && (st.st_mode & 077) == 0;

	check(list, "key is private", ok, path);
}

/* libvirt does not read xl's configuration. */
static void check_vif_script(json_t *list)
{
	fg_autofree char *text = NULL;
	bool ok = fg_xl_conf_check(FG_XL_CONF, FG_XL_SCRIPTS, &text);

	check(list, "vif script", ok, text);
}

static void on_doctor(void *arg, int rc, const struct fg_guest *guests, size_t n, const struct fg_error *err)
{
	struct fg_ctl_client *c = arg;
	struct fg_agent *agent = c->ctl->agent;
	const struct fg_agent_config *config = agent->config;

	if (!fg_ctl_resume(c))
		return;
	json_t *list = json_array();
	fg_autofree char *count = fg_asprintf("%zu guests", n);
	check(list, "server", agent->online, agent->online ? "answers" : "does not answer");
	for (size_t i = 0; i < agent->n_toolstacks; i++)
		check(list, agent->toolstacks[i].ops->name, agent->toolstacks[i].ts != NULL,
		      agent->toolstacks[i].ts ? "connected" : "not connected");
	check(list, "guests", rc == 0, rc == 0 ? count : err->text);
	check_file(list, "fix VM kernel", config->fixvm_kernel);
	check_file(list, "fix VM initramfs", config->fixvm_initrd);
	check_file(list, "server CA", config->server_ca);
	check_file(list, "publisher CA", config->trust_dir);
	check_private(list, config->server_key);
	check(list, "layers", access(config->layer_dir, W_OK) == 0, config->layer_dir);
	check(list, "device mapper", access("/dev/mapper/control", R_OK | W_OK) == 0, "/dev/mapper/control");
	if (config->xl)
		check_vif_script(list);
	for (size_t i = 0; rc == 0 && i < n; i++)
		if (guests[i].refusal)
			check(list, guests[i].name, false, guests[i].refusal);
	fg_ctl_answer(c, list);
}

void fg_ctl_doctor(struct fg_ctl_client *c)
{
	ask(c, on_doctor);
}
