/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "pki.h"
#include "setup.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <fixgate/protocol.h>
#include <lib/util.h>
#include <pwd.h>
#include <server/config.h>
#include <server/store/store.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define TRUST_FILE_MAX (1u << 20)

static int is_ip(const char *address, int *family)
{
	uint8_t ip[16];

	*family = strchr(address, ':') ? AF_INET6 : AF_INET;
	return inet_pton(*family, address, ip) == 1;
}

/* DIR/name */
static char *in(const char *dir, const char *name)
{
	return fg_asprintf("%s/%s", dir, name);
}

static int trust_copy(const char *from, const char *dir, struct fg_error *err)
{
	static const char *const names[] = { "publisher-ca.pem", "crl.pem", "threshold" };

	for (size_t i = 0; from && i < FG_COUNT(names); i++) {
		fg_autofree char *source = in(from, names[i]);
		fg_autofree char *target = fg_asprintf("%s/%s/%s", dir, FG_SERVER_TRUST, names[i]);
		fg_autofree char *data = NULL;
		size_t len = 0;
		if (i > 0 && access(source, F_OK) < 0) /* optional ones */
			continue;
		int rc = fg_file_read(source, TRUST_FILE_MAX, &data, &len, err);
		if (rc == 0)
			rc = fg_file_write_durable(target, data, len, 0644, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int certificates(const struct fg_setup_init *init, struct fg_error *err)
{
	fg_autofree char *ca = in(init->dir, FG_SERVER_CA_PEM), *ca_key = in(init->dir, FG_SERVER_CA_KEY);
	fg_autofree char *cert = in(init->dir, FG_SERVER_PEM), *key = in(init->dir, FG_SERVER_KEY);
	fg_autofree char *admin = in(init->dir, FG_SERVER_ADMIN_PEM), *admin_key = in(init->dir, FG_SERVER_ADMIN_KEY);
	struct fg_pki_request server = { .cn = "fixgate-server",
					 .use = FG_PKI_SERVER,
					 .addresses = (const char *const *)init->addresses,
					 .n_addresses = init->n_addresses };
	struct fg_pki_request person = { .cn = "admin", .ou = FG_ROLE_ADMIN, .use = FG_PKI_CLIENT };
	int rc = fg_pki_ca_make(ca, ca_key, err);

	if (rc == 0)
		rc = fg_pki_issue(ca, ca_key, &server, cert, key, err);
	if (rc == 0)
		rc = fg_pki_issue(ca, ca_key, &person, admin, admin_key, err);
	return rc < 0 ? rc : fg_setup_online_key(init->dir, init->user, err);
}

static int config_write(const struct fg_setup_init *init, const char *path, struct fg_error *err)
{
	fg_autofree char *text = NULL;
	const char *first = init->addresses[0];
	int family;
	bool v6 = is_ip(first, &family) && family == AF_INET6;

	text = fg_asprintf("# fixgate-server(8)\n[server]\nurl = https://%s%s%s:%u\n", v6 ? "[" : "", first,
			   v6 ? "]" : "", init->port);
	if (init->user) {
		char *more = fg_asprintf("%suser = %s\n", text, init->user);
		free(text);
		text = more;
	}
	bool any = false;
	for (size_t i = 0; i < init->n_addresses; i++) {
		const char *a = init->addresses[i];
		if (!is_ip(a, &family))
			continue;
		char *more = fg_asprintf(family == AF_INET6 ? "%slisten = [%s]:%u\n" : "%slisten = %s:%u\n", text, a,
					 init->port);
		free(text);
		text = more;
		any = true;
	}
	if (!any) {
		char *more = fg_asprintf("%slisten = 0.0.0.0:%u\nlisten = [::]:%u\n", text, init->port, init->port);
		free(text);
		text = more;
	}
	return fg_file_write_durable(path, text, strlen(text), 0644, err);
}

static int database(const char *dir, struct fg_error *err)
{
	fg_autofree char *path = in(dir, FG_SERVER_DB), *admin = in(dir, FG_SERVER_ADMIN_PEM);
	struct fg_store *store = NULL;
	int rc = fg_store_create(path, &store, err);

	if (rc == 0)
		rc = fg_store_audit_add(store, fg_now_ms(), "fixgate-server", "init", "database made", err);
	if (rc == 0)
		rc = fg_setup_remember(store, admin, FG_ROLE_ADMIN, "admin", err);
	fg_store_close(store);
	return rc;
}

/* All that serve needs to read or write; the CA's key stays the caller's. */
static int hand_over(const char *dir, const char *user, struct fg_error *err)
{
	static const char *const names[] = { "",
					     FG_SERVER_KEY,
					     FG_SERVER_DB,
					     FG_SERVER_DB "-wal",
					     FG_SERVER_DB "-shm",
					     FG_SERVER_BLOBS,
					     FG_SERVER_UPLOADS,
					     FG_SERVER_TRUST };
	const struct passwd *pw = user ? getpwnam(user) : NULL;

	if (user && !pw)
		return fg_error_set(err, FG_EUSAGE, "no user '%s'", user);
	for (size_t i = 0; pw && i < FG_COUNT(names); i++) {
		fg_autofree char *path = in(dir, names[i]);
		if (lchown(path, pw->pw_uid, pw->pw_gid) < 0 && errno != ENOENT)
			return fg_error_errno(err, FG_EIO, errno, "cannot give %s to %s", path, user);
	}
	return 0;
}

static int folders(const char *dir, struct fg_error *err)
{
	static const char *const names[] = { FG_SERVER_BLOBS, FG_SERVER_UPLOADS, FG_SERVER_TRUST };
	int rc = 0;

	for (size_t i = 0; i < FG_COUNT(names) && rc == 0; i++) {
		fg_autofree char *path = in(dir, names[i]);
		rc = fg_mkdir_p(path, 0700, err);
	}
	return rc;
}

/* Against a second init of the same folder, which would take what the first one makes for the rest of one that was killed. */
static int lock_folder(const char *dir, struct fg_error *err)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return fg_error_errno(err, FG_EIO, errno, "cannot open %s", dir);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		int rc = errno == EWOULDBLOCK ? fg_error_set(err, FG_EEXISTS, "another init is at work in %s", dir)
					      : fg_error_errno(err, FG_EIO, errno, "cannot lock %s", dir);
		close(fd);
		return rc;
	}
	return fd;
}

/* What an init that did not come to its end made; nobody was given any of it. */
static int unfinished_remove(const char *dir, struct fg_error *err)
{
	static const char *const names[] = { FG_SERVER_CA_PEM,
					     FG_SERVER_CA_KEY,
					     FG_SERVER_PEM,
					     FG_SERVER_KEY,
					     FG_SERVER_ADMIN_PEM,
					     FG_SERVER_ADMIN_KEY,
					     FG_SERVER_ONLINE_PEM,
					     FG_SERVER_DB,
					     FG_SERVER_DB "-wal",
					     FG_SERVER_DB "-shm",
					     FG_SERVER_TRUST "/publisher-ca.pem",
					     FG_SERVER_TRUST "/crl.pem",
					     FG_SERVER_TRUST "/threshold" };
	int rc = 0;

	for (size_t i = 0; i < FG_COUNT(names) && rc == 0; i++) {
		fg_autofree char *path = in(dir, names[i]);
		rc = fg_file_remove_durable(path, err);
	}
	return rc;
}

/* The configuration is there under its name once all else is; before, under the name of what is unfinished. */
static int finish(const char *unfinished, const char *conf, struct fg_error *err)
{
	if (rename(unfinished, conf) < 0)
		return fg_error_errno(err, FG_EIO, errno, "cannot rename %s", unfinished);
	return fg_file_remove_durable(unfinished, err); /* for its fsync of the folder */
}

int fg_setup_init(const struct fg_setup_init *init, struct fg_error *err)
{
	fg_autofree char *conf = in(init->dir, FG_SERVER_CONF), *ca = in(init->dir, FG_SERVER_CA_PEM);
	fg_autofree char *unfinished = in(init->dir, FG_SERVER_CONF ".init");
	int rc = fg_mkdir_p(init->dir, 0700, err);
	fg_autoclose int lock = rc == 0 ? lock_folder(init->dir, err) : -1;
	if (lock < 0)
		return rc < 0 ? rc : lock;
	/* Only now is it sure that what is there is nobody's who is still at work, or has come to an end meanwhile. */
	bool again = access(unfinished, F_OK) == 0;
	if (access(conf, F_OK) == 0 || (!again && access(ca, F_OK) == 0))
		return fg_error_set(err, FG_EEXISTS, "%s is the folder of a server already", init->dir);
	rc = folders(init->dir, err);
	if (rc == 0)
		rc = config_write(init, unfinished, err);
	if (rc == 0 && again)
		rc = unfinished_remove(init->dir, err);
	if (rc == 0)
		rc = trust_copy(init->trust_dir, init->dir, err);
	if (rc == 0)
		rc = certificates(init, err);
	if (rc == 0)
		rc = database(init->dir, err);
	if (rc == 0)
		rc = hand_over(init->dir, init->user, err);
	return rc < 0 ? rc : finish(unfinished, conf, err);
}
