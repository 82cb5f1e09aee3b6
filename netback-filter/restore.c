/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "restore.h"

#include "awake.h"
#include "filter.h"
#include "link.h"

#include <lib/util.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define VALUE_BYTES_MAX 4096 /* of xenstore: XENSTORE_PAYLOAD_MAX */
#define DUMP_TRIES 100

struct marked {
	struct fg_filter_guest *mark;
	struct fg_filter_dev devs[FG_FILTER_DEVS_MAX]; /* that are there */
	size_t n_devs;
};

struct state {
	struct fg_filter *f;
	struct fg_restore *r;
	struct marked *guests;
	size_t n;
	struct fg_owner_link *links;
	size_t n_links;
	struct fg_error first; /* of the problems */
};

static void problem(struct state *s, const struct fg_error *err)
{
	if (!s->first.code)
		s->first = *err;
	if (s->r->problem)
		s->r->problem(s->r->arg, err->text);
}

/* It belongs to a marked guest and cannot be filtered: no frame may pass. */
static void shut(struct state *s, const char *dev, const struct fg_error *why)
{
	struct fg_error err = *why, down = FG_ERROR_INIT;
	struct fg_link link;
	int rc = fg_link_get(&s->f->route, dev, &link, &down);

	if (rc == 0)
		rc = fg_link_is_guests(&link, &down);
	if (rc == 0)
		rc = fg_link_set_down(&s->f->route, link.ifindex, &down);
	if (rc == -FG_ENOTFOUND)
		return; /* gone: nothing is open */
	if (rc < 0)
		fg_error_wrap(&err, "%s is open, it could not be set down (%.100s)", dev, down.text);
	else
		fg_error_wrap(&err, "%s was set down", dev);
	problem(s, &err);
}

/*----- marks -----*/

/* Says nothing of what the guest may reach: nothing, then. */
static struct fg_filter_guest *closed(const char *uuid)
{
	struct fg_filter_guest *guest = fg_calloc(1, sizeof(*guest));

	memcpy(guest->uuid, uuid, sizeof(guest->uuid));
	guest->closed = true;
	return guest;
}

static void add(struct state *s, struct fg_filter_guest *mark)
{
	s->guests = reallocarray(s->guests, s->n + 1, sizeof(*s->guests));
	if (!s->guests)
		abort();
	memset(&s->guests[s->n], 0, sizeof(s->guests[0]));
	s->guests[s->n++].mark = mark;
}

/* Whatever is in the file, its name says who is marked. */
static void read_mark(struct state *s, const char *uuid)
{
	struct fg_error err = FG_ERROR_INIT;
	struct fg_filter_guest *mark = NULL;
	int rc = fg_filter_mark_read(s->r->mark_dir, uuid, &mark, &err);
	if (rc == -FG_ENOTFOUND)
		return; /* released just now */
	if (rc < 0) {
		fg_error_wrap(&err, "guest %s is closed: its mark cannot be read", uuid);
		problem(s, &err);
		mark = closed(uuid);
	}
	s->r->n_marks++;
	add(s, mark);
}

static struct marked *guest_of(struct state *s, const char *uuid)
{
	for (size_t i = 0; i < s->n; i++)
		if (strcmp(s->guests[i].mark->uuid, uuid) == 0)
			return &s->guests[i];
	return NULL;
}

/* Nobody knows it.  If it is isolated its mark says more. */
static void add_stranger(struct state *s, const char *uuid)
{
	if (!guest_of(s, uuid))
		add(s, closed(uuid));
}

/* No folder: nobody was ever isolated. */
static int read_folder(struct state *s, const char *dir, void (*take)(struct state *s, const char *uuid),
		       struct fg_error *err)
{
	struct fg_error some = FG_ERROR_INIT;
	char text[FG_UUID_TEXT], uuid[FG_UUID_TEXT];
	DIR *d = opendir(dir);
	const struct dirent *e;

	if (!d && errno == ENOENT && faccessat(AT_FDCWD, dir, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
		return 0;
	if (!d)
		return fg_error_errno(err, FG_EIO, errno, "%s", dir);
	for (errno = 0; (e = readdir(d)) != NULL; errno = 0) {
		if (strlen(e->d_name) != 36 + strlen(".json") || strcmp(e->d_name + 36, ".json") != 0)
			continue;
		snprintf(text, sizeof(text), "%.36s", e->d_name);
		if (fg_uuid_parse(text, uuid, NULL) == 0)
			take(s, uuid);
	}
	if (errno) { /* those that were read are marked all the same */
		fg_error_errno(&some, FG_EIO, errno, "%s", dir);
		problem(s, &some);
	}
	closedir(d);
	return 0;
}

static const struct fg_filter_guest *marked_at(void *arg, size_t at)
{
	const struct state *s = arg;

	return at < s->n ? s->guests[at].mark : NULL;
}

/*----- devices -----*/

static void read_attr(const struct nlattr *a, struct fg_owner_link *l)
{
	const struct nlattr *info;

	if (mnl_attr_get_type(a) == IFLA_IFNAME) {
		snprintf(l->name, sizeof(l->name), "%.*s", (int)mnl_attr_get_payload_len(a), mnl_attr_get_str(a));
	} else if (mnl_attr_get_type(a) == IFLA_ADDRESS && mnl_attr_get_payload_len(a) == sizeof(l->mac)) {
		memcpy(l->mac, mnl_attr_get_payload(a), sizeof(l->mac));
	} else if (mnl_attr_get_type(a) == IFLA_LINKINFO) {
		mnl_attr_for_each_nested(info, a)
		{
			if (mnl_attr_get_type(info) == IFLA_INFO_KIND)
				snprintf(l->kind, sizeof(l->kind), "%.*s", (int)mnl_attr_get_payload_len(info),
					 mnl_attr_get_str(info));
		}
	}
}

static int on_link(const struct nlmsghdr *nlh, void *arg)
{
	struct state *s = arg;
	struct fg_owner_link l = { .name = "" };
	const struct nlattr *a;

	if (nlh->nlmsg_type != RTM_NEWLINK || mnl_nlmsg_get_payload_len(nlh) < sizeof(struct ifinfomsg))
		return MNL_CB_OK;
	const struct ifinfomsg *info = mnl_nlmsg_get_payload(nlh);
	l.type = info->ifi_type;
	mnl_attr_for_each(a, nlh, sizeof(*info))
	{
		read_attr(a, &l);
	}
	s->links = reallocarray(s->links, s->n_links + 1, sizeof(l));
	if (!s->links)
		abort();
	s->links[s->n_links++] = l;
	return MNL_CB_OK;
}

static int read_links(struct state *s, struct fg_error *err)
{
	int rc = -EINTR;

	for (int i = 0; i < DUMP_TRIES && rc == -EINTR; i++) {
		char buf[256] = { 0 };
		struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
		s->n_links = 0;
		nlh->nlmsg_type = RTM_GETLINK;
		nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
		struct ifinfomsg *info = mnl_nlmsg_put_extra_header(nlh, sizeof(*info));
		info->ifi_family = AF_UNSPEC;
		rc = fg_netlink_ask(&s->f->route, nlh, on_link, s);
	}
	return rc < 0 ? fg_error_errno(err, FG_EUNREACHABLE, -rc, "cannot list the network devices") : 0;
}

/* A vif whose guest nobody can name may be an isolated guest's. */
static void find_owner(struct state *s, const struct fg_owner_link *l)
{
	const struct fg_owner_source source = { .xenstore = s->r->xenstore, .marked = marked_at, .arg = s };
	struct fg_error err = FG_ERROR_INIT;
	struct fg_owner owner;
	int rc = fg_owner_find(&source, l, &owner, &err);

	if (rc == -FG_EREFUSED || rc == -FG_ENOTFOUND)
		return;
	if (rc < 0) {
		fg_error_wrap(&err, "whose is %s", l->name);
		problem(s, &err);
		return;
	}
	struct marked *m = guest_of(s, owner.uuid);
	if (!m)
		return;
	if (m->n_devs == FG_FILTER_DEVS_MAX) {
		fg_error_set(&err, FG_ELIMIT, "guest %s has more than %d devices", owner.uuid, FG_FILTER_DEVS_MAX);
		shut(s, l->name, &err);
		return;
	}
	struct fg_filter_dev *d = &m->devs[m->n_devs++];
	memcpy(d->name, l->name, sizeof(d->name));
	memcpy(d->mac, owner.mac, 6);
}

/*----- filter -----*/

static struct fg_filter_guest described(struct marked *m)
{
	struct fg_filter_guest g = *m->mark;

	g.devs = m->devs;
	g.n_devs = m->n_devs;
	return g;
}

/* One that is in the way (a device that went just now, or that is no guest's) must not keep the others open. */
static void one_by_one(struct state *s)
{
	for (size_t i = 0; i < s->n; i++) {
		for (size_t d = 0; d < s->guests[i].n_devs; d++) {
			struct fg_error err = FG_ERROR_INIT;
			struct fg_filter_guest g = described(&s->guests[i]);
			g.devs = &s->guests[i].devs[d];
			g.n_devs = 1;
			int rc = fg_filter_isolate(s->f, &g, 1, &err);
			if (rc == 0)
				s->r->n_devs++;
			else if (rc != -FG_ENOTFOUND)
				shut(s, g.devs->name, &err);
		}
	}
}

static void filter_all(struct state *s)
{
	fg_autofree struct fg_filter_guest *all = fg_calloc(s->n, sizeof(*all));
	struct fg_error err = FG_ERROR_INIT;
	size_t n = 0, devs = 0;

	for (size_t i = 0; i < s->n; i++) {
		if (s->guests[i].n_devs == 0)
			continue;
		all[n++] = described(&s->guests[i]);
		devs += s->guests[i].n_devs;
	}
	if (n == 0)
		return;
	if (n <= FG_FILTER_GUESTS_MAX && fg_filter_isolate(s->f, all, n, &err) == 0)
		s->r->n_devs = devs;
	else
		one_by_one(s);
}

int fg_filter_restore(struct fg_filter *f, struct fg_restore *r, struct fg_error *err)
{
	struct state s = { .f = f, .r = r };
	struct fg_error strict = FG_ERROR_INIT;
	struct fg_filter_status *status = NULL;
	size_t n = 0;

	r->n_marks = r->n_devs = 0;
	int rc = read_folder(&s, r->mark_dir, read_mark, err);
	if (rc == 0 && r->strict_dir && read_folder(&s, r->strict_dir, add_stranger, &strict) < 0)
		problem(&s, &strict); /* those that are marked are filtered all the same */
	if (rc == 0 && s.n > 0)
		rc = read_links(&s, err);
	if (rc == 0) {
		for (size_t i = 0; i < s.n_links; i++)
			find_owner(&s, &s.links[i]);
		rc = fg_filter_wake(f, err);
		filter_all(&s); /* even so: what cannot be filtered is set down */
	}
	if (rc == 0) {
		rc = fg_filter_list(f, &status, &n, err); /* nf_tables answers */
		fg_filter_status_free(status, n);
	}
	for (size_t i = 0; i < s.n; i++)
		fg_filter_guest_free(s.guests[i].mark);
	free(s.guests);
	free(s.links);
	if (rc == 0 && s.first.code) {
		rc = -s.first.code;
		if (err && !err->code)
			*err = s.first;
	}
	return rc;
}

static void print_problem(void *arg, const char *text)
{
	(void)arg;
	fprintf(stderr, "netback-filter: %s\n", text);
}

int fg_restore_command(struct fg_filter *f, const struct fg_args *args, struct fg_error *err)
{
	struct fg_restore r = { .mark_dir = args->mark_dir ? args->mark_dir : FG_FILTER_MARK_DIR,
				.strict_dir = args->strict_dir ? args->strict_dir : FG_FILTER_STRICT_DIR,
				.xenstore = fg_xenstore_read,
				.problem = print_problem };
	int rc = fg_filter_restore(f, &r, err);

	if (!args->json)
		printf("%zu guests are marked, %zu devices filtered\n", r.n_marks, r.n_devs);
	return rc;
}

/*----- xenstore -----*/

static void child(const char *path, int out)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null >= 0 && dup2(null, STDIN_FILENO) >= 0 && dup2(out, STDOUT_FILENO) >= 0 &&
	    dup2(null, STDERR_FILENO) >= 0)
		execlp("xenstore-read", "xenstore-read", path, (char *)NULL);
	_exit(127);
}

int fg_xenstore_read(void *arg, const char *path, char **out, struct fg_error *err)
{
	fg_autoclose int reader = -1;
	int ends[2], status = 0;
	fg_autofree char *text = NULL;
	size_t len = 0;

	(void)arg;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return fg_error_errno(err, FG_EFAILED, errno, "xenstore-read");
	reader = ends[0];
	pid_t pid = fork();
	if (pid == 0)
		child(path, ends[1]);
	close(ends[1]);
	if (pid < 0)
		return fg_error_errno(err, FG_EFAILED, errno, "xenstore-read");
	int rc = fg_fd_read_all(reader, VALUE_BYTES_MAX, &text, &len, err);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (rc < 0)
		return rc;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 1)
		return fg_error_set(err, FG_ENOTFOUND, "xenstore: there is no %s", path);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return fg_error_set(err, FG_EUNREACHABLE, "xenstore-read cannot be run");
	text[strcspn(text, "\n")] = '\0';
	*out = FG_TAKE(text);
	return 0;
}
