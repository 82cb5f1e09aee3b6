/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The online key, which signs the catalogue; one file with key and certificate, so that both change at once. */
#include "pki.h"
#include "setup.h"

#include <errno.h>
#include <fixgate/catalogue.h>
#include <inttypes.h>
#include <lib/util.h>
#include <pwd.h>
#include <server/config.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX 65536

/* 0 where there is none yet. */
static int last_generation(const char *path, uint64_t *out, struct fg_error *err)
{
	struct fg_error none = FG_ERROR_INIT;
	fg_autofree char *text = NULL;
	int64_t not_after_s = 0;
	size_t len = 0;
	int rc = fg_file_read(path, FILE_MAX, &text, &len, &none);

	*out = 0;
	if (rc == -FG_ENOTFOUND)
		return 0;
	if (rc < 0)
		return fg_error_set(err, (enum fg_error_code)none.code, "%s", none.text);
	rc = fg_catalogue_generation(text, len, out, &not_after_s, err);
	if (rc < 0)
		fg_error_wrap(err, "%s", path);
	return rc;
}

/* Both files into one, with one rename. */
static int join(const char *cert, const char *key, const char *path, const char *user, struct fg_error *err)
{
	fg_autofree char *a = NULL, *b = NULL, *both = NULL;
	fg_autofree char *next = fg_asprintf("%s.next", path);
	const struct passwd *pw = user ? getpwnam(user) : NULL;
	struct stat before;
	bool was = stat(path, &before) == 0; /* then whose it was */
	uid_t uid = pw ? pw->pw_uid : was ? before.st_uid : geteuid();
	gid_t gid = pw ? pw->pw_gid : was ? before.st_gid : getegid();
	int rc;

	if (user && !pw)
		return fg_error_set(err, FG_EUSAGE, "no user '%s'", user);
	if ((rc = fg_file_read(cert, FILE_MAX, &a, NULL, err)) < 0 ||
	    (rc = fg_file_read(key, FILE_MAX, &b, NULL, err)) < 0)
		return rc;
	both = fg_asprintf("%s%s", a, b);
	rc = fg_file_write_durable(next, both, strlen(both), 0600, err);
	explicit_bzero(both, strlen(both));
	explicit_bzero(b, strlen(b));
	if (rc < 0)
		return rc;
	if (((uid != geteuid() || gid != getegid()) && lchown(next, uid, gid) < 0) || rename(next, path) < 0)
		return fg_error_errno(err, FG_EIO, errno, "%s", path);
	return 0;
}

int fg_setup_online_key(const char *dir, const char *user, struct fg_error *err)
{
	fg_autofree char *ca = fg_asprintf("%s/%s", dir, FG_SERVER_CA_PEM);
	fg_autofree char *ca_key = fg_asprintf("%s/%s", dir, FG_SERVER_CA_KEY);
	fg_autofree char *path = fg_asprintf("%s/%s", dir, FG_SERVER_ONLINE_PEM);
	fg_autofree char *cert = fg_asprintf("%s.cert", path), *key = fg_asprintf("%s.key", path);
	fg_autofree char *text = NULL;
	uint64_t generation = 0;
	int rc = last_generation(path, &generation, err);

	if (rc < 0)
		return rc;
	text = fg_asprintf("%" PRIu64, generation + 1);
	const struct fg_pki_request request = { .cn = "Fixgate catalogue",
						.generation = text,
						.use = FG_PKI_CATALOGUE };
	rc = fg_pki_issue(ca, ca_key, &request, cert, key, err);
	if (rc == 0)
		rc = join(cert, key, path, user, err);
	/* Which also makes the rename durable. */
	struct fg_error none = FG_ERROR_INIT;
	int gone = fg_file_remove_durable(cert, &none);
	if (fg_file_remove_durable(key, &none) < 0 || gone < 0)
		rc = rc < 0 ? rc : fg_error_set(err, FG_EIO, "%s", none.text);
	return rc;
}
