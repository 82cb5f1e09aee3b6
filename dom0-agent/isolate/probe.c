/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * fixgate-guard-probe DIR: the guard and the isolator as in fixgated, on a xenstore of files (DIR/xs/…) and a toolstack that
 * knows what DIR/guests/<uuid> says: lines "netdev mac [address]".  Prints one JSON object a line; commands on stdin:
 *	isolate UUID | release UUID | evidence UUID
 */
#include "guard.h"
#include "vmm.h"

#include <lib/log.h>
#include <lib/util.h>

#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <string.h>
#include <unistd.h>

struct probe {
	const char *dir;
	struct event_base *base;
	struct fg_agent_config config;
	struct fg_isolator *iso;
	struct fg_guard *guard;
	struct event *lines;
};

static void say(json_t *value)
{
	fg_autofree char *text = fg_json_dump(value);

	puts(text);
	fflush(stdout);
	json_decref(value);
}

static void say_error(const char *what, const char *uuid, const struct fg_error *err)
{
	say(json_pack("{ss ss ss}", "error", what, "uuid", uuid, "text", err->text));
}

static int xenstore(void *arg, const char *node, char **out, struct fg_error *err)
{
	const struct probe *p = arg;
	fg_autofree char *path = fg_asprintf("%s/xs%s", p->dir, node), *broken = fg_asprintf("%s/xs/broken", p->dir);

	if (access(broken, F_OK) == 0)
		return fg_error_set(err, FG_EUNREACHABLE, "xenstore does not answer");
	return fg_file_read(path, 4096, out, NULL, err);
}

/* The guest as a toolstack would describe it. */
static int find(const struct probe *p, const char *uuid, struct fg_guest *g, struct fg_error *err)
{
	fg_autofree char *path = fg_asprintf("%s/guests/%s", p->dir, uuid), *text = NULL;
	char *rest = NULL, dev[IFNAMSIZ], mac[18], address[16];
	int rc = fg_file_read(path, 65536, &text, NULL, err);

	if (rc < 0)
		return rc;
	memset(g, 0, sizeof(*g));
	snprintf(g->uuid, sizeof(g->uuid), "%s", uuid);
	g->name = fg_strdup("probe");
	g->nics = fg_calloc(FG_GUEST_NICS_MAX, sizeof(*g->nics));
	for (char *line = strtok_r(text, "\n", &rest); line && rc == 0; line = strtok_r(NULL, "\n", &rest)) {
		int words = sscanf(line, "%15s %17s %15s", dev, mac, address);
		if (g->n_nics == FG_GUEST_NICS_MAX || words < 2)
			break;
		struct fg_nic *nic = &g->nics[g->n_nics++];
		rc = fg_mac_parse(mac, nic->mac, err);
		nic->addresses[0].family = AF_INET;
		nic->n_addresses = words == 3 && inet_pton(AF_INET, address, &nic->addresses[0].v4) == 1;
		if (if_nametoindex(dev))
			snprintf(nic->netdevs[nic->n_netdevs++], IFNAMSIZ, "%s", dev);
	}
	if (rc < 0)
		fg_guest_release(g);
	return rc;
}

static void isolate(struct probe *p, const char *uuid)
{
	struct fg_error err = FG_ERROR_INIT;
	struct fg_guest g;
	int rc = find(p, uuid, &g, &err);

	if (rc == 0) {
		rc = fg_isolator_vmm.isolate(p->iso, &g, false, &err);
		fg_guest_release(&g);
	}
	if (rc < 0)
		say_error("isolate", uuid, &err);
	else
		say(json_pack("{ss}", "isolated", uuid));
}

static void look(void *arg, const char *uuid)
{
	struct probe *p = arg;
	struct fg_error err = FG_ERROR_INIT;
	fg_autofree char(*uuids)[37] = NULL;
	size_t n = 0;

	say(json_pack("{ss}", "look", uuid));
	if (fg_isolator_vmm.list(p->iso, &uuids, &n, &err) < 0)
		say_error("list", uuid, &err);
	for (size_t i = 0; i < n; i++)
		if (!uuid[0] || strcmp(uuid, uuids[i]) == 0)
			isolate(p, uuids[i]);
}

static void window(void *arg, const struct fg_window *w)
{
	json_t *j = fg_window_json(w);

	(void)arg;
	json_object_set_new(j, "window", json_string(w->uuid));
	say(j);
}

static void command(struct probe *p, const char *line)
{
	struct fg_error err = FG_ERROR_INIT;
	char verb[16], uuid[37];

	if (sscanf(line, "%15s %36s", verb, uuid) != 2)
		return;
	if (strcmp(verb, "isolate") == 0) {
		isolate(p, uuid);
	} else if (strcmp(verb, "release") == 0) {
		if (fg_isolator_vmm.release(p->iso, uuid, &err) < 0)
			say_error("release", uuid, &err);
		else
			say(json_pack("{ss}", "released", uuid));
	} else if (strcmp(verb, "evidence") == 0) {
		json_t *e = fg_isolator_vmm.evidence(p->iso, uuid);
		say(json_pack("{so}", "evidence", e ? e : json_null()));
	}
}

static void on_line(struct bufferevent *bev, void *arg)
{
	struct probe *p = arg;
	char *line;

	while ((line = evbuffer_readln(bufferevent_get_input(bev), NULL, EVBUFFER_EOL_LF)) != NULL) {
		command(p, line);
		free(line);
	}
}

static void on_end(struct bufferevent *bev, short what, void *arg)
{
	const struct probe *p = arg;

	(void)bev;
	(void)what;
	event_base_loopbreak(p->base);
}

int main(int argc, char **argv)
{
	struct probe p = { .dir = argv[1] };
	struct fg_error err = FG_ERROR_INIT;

	if (argc != 2)
		return FG_EUSAGE;
	fg_log_init("fixgate-guard-probe", FG_LOG_DEBUG);
	p.config.server_address.family = AF_INET;
	inet_pton(AF_INET, "10.99.0.2", &p.config.server_address.v4);
	p.config.server_port = 8443;
	p.base = event_base_new();
	fg_autofree char *marks = fg_asprintf("%s/marks", p.dir);
	const struct fg_guard_config config = {
		.base = p.base, .xenstore = xenstore, .look = look, .window = window, .arg = &p
	};
	struct fg_guard_config c = config;
	if (fg_vmm_open(&p.config, marks, &p.iso, &err) == 0) {
		c.isolator = p.iso;
		if (fg_guard_open(&c, &p.guard, &err) == 0)
			say(json_pack("{sb}", "ready", 1));
	}
	if (err.code) {
		say_error("start", "", &err);
		return 1;
	}
	struct bufferevent *in = bufferevent_socket_new(p.base, STDIN_FILENO, 0);
	bufferevent_setcb(in, on_line, NULL, on_end, &p);
	bufferevent_enable(in, EV_READ);
	event_base_dispatch(p.base);
	bufferevent_free(in);
	fg_guard_close(p.guard);
	fg_isolator_vmm.close(p.iso);
	event_base_free(p.base);
	return 0;
}
