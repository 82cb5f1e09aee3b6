/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ctl.h"

#include <lib/frame.h>
#include <lib/log.h>
#include <lib/util.h>

#include <errno.h>
#include <event2/event.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static void client_free(struct fg_ctl_client *c)
{
	if (c->frame)
		fg_frame_free(c->frame);
	LIST_REMOVE(c, link);
	c->ctl->n_clients--;
	json_decref(c->request);
	free(c->wait_fix);
	free(c);
}

static void send_or_close(struct fg_ctl_client *c, const json_t *message)
{
	struct fg_error err = FG_ERROR_INIT;

	if (!c->frame || fg_frame_send(c->frame, message, &err) == 0)
		return;
	fg_log_warn("control socket: %s, hanging up", err.text);
	fg_frame_free(c->frame);
	c->frame = NULL;
	if (c->pending == 0)
		client_free(c);
}

static void done(struct fg_ctl_client *c)
{
	json_decref(c->request);
	c->request = NULL;
}

void fg_ctl_answer(struct fg_ctl_client *c, json_t *result)
{
	fg_autojson json_t *message = json_pack("{sb so}", "ok", 1, "result", result);

	done(c);
	send_or_close(c, message);
}

void fg_ctl_fail(struct fg_ctl_client *c, const struct fg_error *err)
{
	fg_autojson json_t *message =
		json_pack("{sb s{ss ss}}", "ok", 0, "error", "code", fg_error_name(err->code), "text", err->text);

	done(c);
	send_or_close(c, message);
}

bool fg_ctl_resume(struct fg_ctl_client *c)
{
	c->pending--;
	if (c->frame)
		return true;
	if (c->pending == 0)
		client_free(c);
	return false;
}

static bool in_group(unsigned uid, unsigned gid)
{
	const struct group *group = getgrnam(FG_CTL_GROUP);

	if (!group)
		return false;
	if (group->gr_gid == gid)
		return true;
	const struct passwd *user = getpwuid(uid);
	for (char **m = group->gr_mem; user && *m; m++)
		if (strcmp(*m, user->pw_name) == 0)
			return true;
	return false;
}

static void on_message(void *arg, struct fg_frame *frame, const json_t *message)
{
	struct fg_ctl_client *c = arg;
	struct fg_error err = FG_ERROR_INIT;
	unsigned uid = 0, gid = 0;
	int pid = 0;

	if (c->request) {
		fg_error_set(&err, FG_EUSAGE, "one request at a time");
	} else if (fg_frame_peer(frame, &uid, &gid, &pid, &err) == 0 && uid != 0 && !in_group(uid, gid)) {
		fg_error_set(&err, FG_ENOTALLOWED, "only root and the members of group %s may do this", FG_CTL_GROUP);
	} else if (err.code == 0) {
		c->request = json_deep_copy(message);
		fg_ctl_run(c, c->request);
		return;
	}
	fg_ctl_fail(c, &err);
}

static void on_closed(void *arg, struct fg_frame *frame, const struct fg_error *err)
{
	struct fg_ctl_client *c = arg;

	(void)err;
	fg_frame_free(frame);
	c->frame = NULL;
	if (c->pending == 0)
		client_free(c);
}

static void on_accept(evutil_socket_t fd, short what, void *arg)
{
	struct fg_ctl *ctl = arg;
	struct fg_error err = FG_ERROR_INIT;
	fg_autoclose int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)what;
	if (peer < 0)
		return;
	if (ctl->n_clients >= FG_CTL_CLIENTS_MAX) {
		fg_log_warn("control socket: more than %d clients, hanging up", FG_CTL_CLIENTS_MAX);
		return;
	}
	struct fg_ctl_client *c = fg_calloc(1, sizeof(*c));
	const struct fg_frame_events events = { on_message, on_closed, c };
	if (fg_frame_new(ctl->base, peer, &events, &c->frame, &err) < 0) {
		fg_log_warn("control socket: %s", err.text);
		free(c);
		return;
	}
	peer = -1;
	c->ctl = ctl;
	LIST_INSERT_HEAD(&ctl->clients, c, link);
	ctl->n_clients++;
}

void fg_ctl_event(void *ctx, const json_t *event)
{
	struct fg_ctl *ctl = ctx;
	struct fg_ctl_client *c, *next;
	fg_autojson json_t *message = json_pack("{sO}", "event", event);
	const char *uuid = json_string_value(json_object_get(event, "uuid"));
	const char *fix = json_string_value(json_object_get(event, "fix"));
	const char *state = json_string_value(json_object_get(event, "state"));

	for (c = LIST_FIRST(&ctl->clients); c; c = next) {
		next = LIST_NEXT(c, link);
		bool waits = c->wait_fix && strcmp(c->wait_guest, uuid) == 0 && strcmp(c->wait_fix, fix) == 0;
		if (waits && fg_state_is_end(fg_state_from_name(state))) {
			free(FG_TAKE(c->wait_fix));
			fg_ctl_answer(c, json_deep_copy(event));
		} else if (c->follow || waits) {
			send_or_close(c, message);
		}
	}
}

static int listen_at(const char *path, int *out, struct fg_error *err)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	fg_autoclose int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	const struct group *group = getgrnam(FG_CTL_GROUP);

	if (strlen(path) >= sizeof(addr.sun_path))
		return fg_error_set(err, FG_EUSAGE, "%s is too long for a socket", path);
	memcpy(addr.sun_path, path, strlen(path));
	unlink(path);
	mode_t old = umask(0177);
	bool ok = fd >= 0 && bind(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0 && listen(fd, 16) == 0;
	int saved = errno;
	umask(old);
	if (ok && group)
		ok = chown(path, 0, group->gr_gid) == 0 && chmod(path, 0660) == 0;
	if (!ok)
		return fg_error_errno(err, FG_EIO, saved, "control socket %s", path);
	*out = FG_TAKE_FD(fd);
	return 0;
}

int fg_ctl_start(struct event_base *base, struct fg_agent *agent, struct fg_ctl **out, struct fg_error *err)
{
	fg_autofree struct fg_ctl *ctl = fg_calloc(1, sizeof(*ctl));
	fg_autofree char *path = fg_asprintf("%s/%s", agent->config->run_dir, FG_CTL_SOCKET);
	int rc = listen_at(path, &ctl->fd, err);

	if (rc < 0)
		return rc;
	ctl->base = base;
	ctl->agent = agent;
	ctl->accept = event_new(base, ctl->fd, EV_READ | EV_PERSIST, on_accept, ctl);
	if (!ctl->accept || event_add(ctl->accept, NULL) < 0)
		abort();
	ctl->path = FG_TAKE(path);
	agent->event = fg_ctl_event;
	agent->event_ctx = ctl;
	*out = FG_TAKE(ctl);
	return 0;
}

void fg_ctl_stop(struct fg_ctl *ctl)
{
	if (!ctl)
		return;
	while (!LIST_EMPTY(&ctl->clients))
		client_free(LIST_FIRST(&ctl->clients));
	event_free(ctl->accept);
	close(ctl->fd);
	unlink(ctl->path);
	free(ctl->path);
	free(ctl);
}
