/* SPDX-License-Identifier: GPL-3.0-or-later */
/* fixgatectl(1): one request to fixgated, its answer, and for some the events after it. */
#include "dom0-agent/config.h"
#include "print.h"

#include <fixgate/state.h>
#include <lib/frame.h>
#include <lib/util.h>

#include <errno.h>
#include <event2/event.h>
#include <getopt.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct command {
	const char *name, *argument; /* key of the one argument; NULL: none */
};

struct options {
	const char *config, *socket, *fix, *how;
	bool json, follow, wait;
	long timeout_s;
	const char *cmd, *argument;
};

struct session {
	struct event_base *base;
	struct fg_frame *frame;
	const struct options *o;
	int status;
	bool answered;
};

static const struct command commands[] = {
	{ "status", NULL },   { "guests", NULL },	{ "jobs", NULL },	{ "job", "job" },
	{ "events", NULL },   { "remediate", "guest" }, { "isolate", "guest" }, { "release", "guest" },
	{ "resolve", "job" }, { "doctor", NULL },
};

static const char usage[] = "usage: fixgatectl [--json] status | guests | jobs | job ID | events [--follow] | doctor\n"
			    "       fixgatectl [--json] remediate GUEST --fix ID [--wait] [--timeout SECONDS]\n"
			    "       fixgatectl [--json] isolate GUEST | release GUEST\n"
			    "       fixgatectl [--json] resolve JOB --go-on | --give-up\n"
			    "       fixgatectl enrol --server ADDRESS:PORT --code CODE | renew\n"
			    "See fixgatectl(1).\n";

static int code_of(const char *name)
{
#define X(code, exit_status, text) { FG_E##code, exit_status },
	static const struct {
		int code, status;
	} codes[] = { FG_ERROR_LIST(X) };
#undef X
	for (size_t i = 0; i < FG_COUNT(codes); i++)
		if (strcmp(fg_error_name(codes[i].code), name) == 0)
			return codes[i].status;
	return 1;
}

/* What a waited-for job came to. */
static int outcome_status(const char *state)
{
	switch (fg_state_from_name(state)) {
	case FG_STATE_DONE:
	case FG_STATE_NOT_NEEDED:
		return 0;
	case FG_STATE_REJECTED:
		return 4;
	case FG_STATE_HELD:
		return 12;
	case FG_STATE_OFFERED:
	case FG_STATE_QUEUED:
	case FG_STATE_ISOLATED:
	case FG_STATE_STOPPED:
	case FG_STATE_FIXING:
	case FG_STATE_FIXED:
	case FG_STATE_RELEASED:
	case FG_STATE_REBOOTING:
	case FG_STATE_FAILED:
	case FG_STATE_ROLLED_BACK:
	case FG_STATE_COUNT:
		return 1;
	}
	return 1;
}

static void end(struct session *s, int status)
{
	s->status = status;
	event_base_loopbreak(s->base);
}

static void print_json(const json_t *value)
{
	fg_autofree char *text = fg_json_dump(value);

	puts(text);
}

/* One line, at once: somebody may read the pipe. */
static void show_event(const struct session *s, const json_t *event)
{
	if (s->o->json)
		print_json(event);
	else
		fg_print_event(event);
	fflush(stdout);
}

static void show_result(const struct session *s, const json_t *result)
{
	size_t i;
	const json_t *event;

	if (s->o->follow) {
		json_array_foreach (result, i, event) {
			show_event(s, event);
		}
	} else if (s->o->json) {
		print_json(result);
	} else {
		fg_print_result(s->o->cmd, result);
	}
	fflush(stdout);
}

static int doctor_status(const json_t *result)
{
	size_t i;
	const json_t *row;

	json_array_foreach (result, i, row) {
		if (!json_is_true(json_object_get(row, "ok")))
			return 1;
	}
	return 0;
}

static void on_message(void *arg, struct fg_frame *frame, const json_t *message)
{
	struct session *s = arg;
	const json_t *event = json_object_get(message, "event"), *result = json_object_get(message, "result");

	(void)frame;
	if (event) {
		/* While remediate waits its progress is for people only: --json prints one value. */
		if (s->o->follow || !s->o->json)
			show_event(s, event);
		return;
	}
	if (!json_is_true(json_object_get(message, "ok"))) {
		const json_t *error = json_object_get(message, "error");
		const char *code = json_string_value(json_object_get(error, "code"));
		const char *text = json_string_value(json_object_get(error, "text"));
		if (s->o->json)
			print_json(message);
		else
			fprintf(stderr, "fixgatectl: %s\n", text ? text : "failed");
		fflush(stdout);
		end(s, code ? code_of(code) : 1);
		return;
	}
	s->answered = true;
	show_result(s, result);
	if (s->o->follow)
		return;
	const char *state = json_string_value(json_object_get(result, "state"));
	if (s->o->wait && state)
		end(s, outcome_status(state));
	else
		end(s, strcmp(s->o->cmd, "doctor") == 0 ? doctor_status(result) : 0);
}

static void on_closed(void *arg, struct fg_frame *frame, const struct fg_error *err)
{
	struct session *s = arg;

	fprintf(stderr, "fixgatectl: fixgated hung up%s%s\n", err && err->code ? ": " : "",
		err && err->code ? err->text : "");
	fg_frame_free(frame);
	s->frame = NULL;
	end(s, FG_EUNREACHABLE);
}

static void on_timeout(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	fprintf(stderr, "fixgatectl: no end within the time; the job goes on\n");
	end(arg, FG_ETIMEOUT);
}

static int parse_number(const char *text, long *out)
{
	char *rest = NULL;

	errno = 0;
	*out = strtol(text, &rest, 10);
	return errno || *rest || rest == text || *out < 1 || *out > 1000000 ? -1 : 0;
}

/* 0: go on; otherwise *status is the exit status. */
static int parse_options(int argc, char **argv, struct options *o, int *status)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' },  { "socket", required_argument, NULL, 's' },
		{ "json", no_argument, NULL, 'j' },	     { "follow", no_argument, NULL, 'f' },
		{ "wait", no_argument, NULL, 'w' },	     { "fix", required_argument, NULL, 'x' },
		{ "timeout", required_argument, NULL, 't' }, { "go-on", no_argument, NULL, 'g' },
		{ "give-up", no_argument, NULL, 'u' },	     { "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },	     { NULL, 0, NULL, 0 }
	};
	bool bad = false;
	int c;

	*status = 0;
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'c')
			o->config = optarg;
		else if (c == 's')
			o->socket = optarg;
		else if (c == 'j')
			o->json = true;
		else if (c == 'f')
			o->follow = true;
		else if (c == 'w')
			o->wait = true;
		else if (c == 'x')
			o->fix = optarg;
		else if (c == 't')
			bad |= parse_number(optarg, &o->timeout_s) < 0;
		else if (c == 'g')
			o->how = "go-on";
		else if (c == 'u')
			o->how = "give-up";
		else if (c == 'h')
			return fputs(usage, stdout), -1;
		else if (c == 'V')
			return puts("fixgatectl " FG_VERSION), -1;
		else
			bad = true;
	}
	const struct command *command = NULL;
	for (size_t i = 0; optind < argc && i < FG_COUNT(commands); i++)
		if (strcmp(commands[i].name, argv[optind]) == 0)
			command = &commands[i];
	bad |= !command || argc - optind != (command->argument ? 2 : 1);
	if (!bad) {
		o->cmd = command->name;
		o->argument = command->argument ? argv[optind + 1] : NULL;
		bad = (strcmp(o->cmd, "remediate") == 0) != (o->fix != NULL) ||
		      (strcmp(o->cmd, "resolve") == 0) != (o->how != NULL) ||
		      (o->follow && strcmp(o->cmd, "events") != 0) || (o->wait && strcmp(o->cmd, "remediate") != 0);
	}
	if (bad) {
		fputs(usage, stderr);
		*status = FG_EUSAGE;
		return -1;
	}
	return 0;
}

static int find_socket(const struct options *o, char **out, struct fg_error *err)
{
	struct fg_agent_config *config = NULL;

	if (o->socket) {
		*out = fg_strdup(o->socket);
		return 0;
	}
	/* Only root may read the configuration; the usual place serves the others. */
	if (access(o->config, R_OK) == 0) {
		int rc = fg_agent_config_load(o->config, &config, err);
		if (rc < 0)
			return rc;
		*out = fg_asprintf("%s/ctl.sock", config->run_dir);
		fg_agent_config_free(config);
		return 0;
	}
	*out = fg_strdup("/run/fixgate/ctl.sock");
	return 0;
}

static int connect_to(const char *path, int *out, struct fg_error *err)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	fg_autoclose int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof(addr.sun_path))
		return fg_error_set(err, FG_EUSAGE, "%s is too long for a socket", path);
	memcpy(addr.sun_path, path, strlen(path));
	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return fg_error_errno(err, errno == EACCES ? FG_ENOTALLOWED : FG_EUNREACHABLE, errno,
				      "fixgated does not answer at %s", path);
	*out = FG_TAKE_FD(fd);
	return 0;
}

static json_t *make_request(const struct options *o)
{
	json_t *request = json_pack("{ss}", "cmd", o->cmd);

	for (size_t i = 0; o->argument && i < FG_COUNT(commands); i++)
		if (strcmp(commands[i].name, o->cmd) == 0)
			json_object_set_new(request, commands[i].argument, json_string(o->argument));
	if (o->fix)
		json_object_set_new(request, "fix", json_string(o->fix));
	if (o->how)
		json_object_set_new(request, "how", json_string(o->how));
	json_object_set_new(request, "wait", json_boolean(o->wait));
	json_object_set_new(request, "follow", json_boolean(o->follow));
	return request;
}

static int run(const struct options *o, int *status, struct fg_error *err)
{
	struct session s = { .o = o, .status = 1 };
	const struct fg_frame_events events = { on_message, on_closed, &s };
	fg_autofree char *path = NULL;
	fg_autojson json_t *request = make_request(o);
	int fd = -1, rc = find_socket(o, &path, err);

	if (rc == 0)
		rc = connect_to(path, &fd, err);
	if (rc < 0)
		return rc;
	s.base = event_base_new();
	struct event *timeout = evtimer_new(s.base, on_timeout, &s);
	const struct timeval tv = { .tv_sec = o->timeout_s };
	if (o->timeout_s)
		evtimer_add(timeout, &tv);
	rc = fg_frame_new(s.base, fd, &events, &s.frame, err);
	if (rc < 0)
		close(fd);
	if (rc == 0)
		rc = fg_frame_send(s.frame, request, err);
	if (rc == 0)
		event_base_dispatch(s.base);
	if (s.frame)
		fg_frame_free(s.frame);
	event_free(timeout);
	event_base_free(s.base);
	*status = s.status;
	return rc;
}

/* enrol and renew work without fixgated and need TLS: they are another program, beside this one or in its place. */
static void exec_enrol(char **argv)
{
	static const char installed[] = "/usr/libexec/fixgate/fixgate-enrol";
	char self[4096];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash = n > 0 ? memrchr(self, '/', (size_t)n) : NULL;

	if (slash) {
		*slash = '\0';
		fg_autofree char *path = fg_asprintf("%s/fixgate-enrol", self);
		execv(path, argv);
	}
	execv(installed, argv);
	fprintf(stderr, "fixgatectl: %s: %s\n", installed, strerror(errno));
}

int main(int argc, char **argv)
{
	if (argc > 1 && (!strcmp(argv[1], "enrol") || !strcmp(argv[1], "renew"))) {
		exec_enrol(argv);
		return 1;
	}
	struct options o = { .config = FG_AGENT_CONFIG };
	struct fg_error err = FG_ERROR_INIT;
	int status = 1;

	if (parse_options(argc, argv, &o, &status) < 0)
		return status;
	if (run(&o, &status, &err) < 0) {
		fprintf(stderr, "fixgatectl: %s\n", err.text);
		return fg_error_exit_status(&err);
	}
	return status;
}
