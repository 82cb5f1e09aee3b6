/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "code.h"
#include "pki.h"
#include "setup.h"

#include <fixgate/protocol.h>
#include <inttypes.h>
#include <lib/util.h>
#include <server/config.h>
#include <server/serve.h>
#include <server/store/certs.h>
#include <string.h>
#include <unistd.h>

#define CA_FILE_MAX (1u << 20)

static int none_there(const char *const *paths, size_t n, struct fg_error *err)
{
	for (size_t i = 0; i < n; i++)
		if (access(paths[i], F_OK) == 0)
			return fg_error_set(err, FG_EEXISTS, "%s is there already", paths[i]);
	return 0;
}

static int store_open(const char *dir, struct fg_store **store, struct fg_error *err)
{
	fg_autofree char *path = fg_asprintf("%s/%s", dir, FG_SERVER_DB);

	return fg_store_open(path, store, err);
}

int fg_setup_remember(struct fg_store *store, const char *cert_file, const char *role, const char *name,
		      struct fg_error *err)
{
	struct fg_pki_issued issued = { .not_after_s = 0 };
	int rc = fg_pki_describe(cert_file, &issued, err);
	const struct fg_store_cert cert = { .serial = issued.serial,
					    .role = role,
					    .name = name,
					    .not_after_s = issued.not_after_s,
					    .issued_ms = fg_now_ms() };

	return rc < 0 ? rc : fg_store_cert_add(store, &cert, "fixgate-server", "enrol", err);
}

/* Key and certificate of a client, stem.key and stem.pem, and the CA's certificate, in the folder out. */
static int issue(const char *dir, const char *role, const char *name, const char *stem, const char *out,
		 struct fg_error *err)
{
	fg_autofree char *ca = fg_asprintf("%s/%s", dir, FG_SERVER_CA_PEM);
	fg_autofree char *ca_key = fg_asprintf("%s/%s", dir, FG_SERVER_CA_KEY);
	fg_autofree char *cert = fg_asprintf("%s/%s.pem", out, stem), *key = fg_asprintf("%s/%s.key", out, stem);
	fg_autofree char *ca_copy = fg_asprintf("%s/%s", out, FG_SERVER_CA_PEM);
	fg_autofree char *text = NULL;
	const char *const made[] = { cert, key, ca_copy };
	struct fg_pki_request request = { .cn = name, .ou = role, .use = FG_PKI_CLIENT };
	struct fg_store *store = NULL;
	size_t len = 0;
	int rc = fg_pki_name_check(name, err);

	if (rc == 0)
		rc = none_there(made, FG_COUNT(made), err);
	if (rc == 0)
		rc = fg_mkdir_p(out, 0700, err);
	if (rc == 0)
		rc = fg_file_read(ca, CA_FILE_MAX, &text, &len, err);
	if (rc == 0)
		rc = store_open(dir, &store, err);
	if (rc == 0)
		rc = fg_pki_issue(ca, ca_key, &request, cert, key, err);
	if (rc == 0)
		rc = fg_setup_remember(store, cert, role, name, err);
	fg_store_close(store);
	return rc < 0 ? rc : fg_file_write_durable(ca_copy, text, len, 0644, err);
}

int fg_setup_enrol(const char *dir, const char *host, const char *out, struct fg_error *err)
{
	return issue(dir, FG_ROLE_AGENT, host, "agent", out, err);
}

static int role_check(const char *role, bool agents, struct fg_error *err)
{
	static const char *const roles[] = { FG_ROLE_VIEWER, FG_ROLE_OPERATOR, FG_ROLE_ADMIN, FG_ROLE_AGENT };

	for (size_t i = 0; i < FG_COUNT(roles) - (agents ? 0 : 1); i++)
		if (!strcmp(role, roles[i]))
			return 0;
	return fg_error_set(err, FG_EUSAGE, "the role must be viewer, operator or admin%s", agents ? ", or agent" : "");
}

int fg_setup_admin(const char *dir, const char *name, const char *role, const char *out, struct fg_error *err)
{
	int rc = role_check(role, false, err);

	return rc < 0 ? rc : issue(dir, role, name, "admin", out, err);
}

int fg_setup_code(const char *dir, const char *host, int64_t minutes, struct fg_error *err)
{
	struct fg_store *store = NULL;
	char code[FG_CODE_TEXT], until[21];
	int64_t expires_ms = 0;
	int rc = fg_pki_name_check(host, err);

	if (rc == 0)
		rc = store_open(dir, &store, err);
	if (rc == 0)
		rc = fg_code_make(store, dir, host, "fixgate-server", minutes, code, &expires_ms, err);
	fg_store_close(store);
	if (rc < 0)
		return rc;
	fg_time_format(expires_ms / 1000, until);
	printf("%s\n", code);
	fprintf(stderr, "For host %s, once, until %s.  There: fixgatectl enrol --server ADDRESS:PORT --code CODE\n",
		host, until);
	return 0;
}

int fg_setup_revoke(const char *dir, const char *role, const char *name, struct fg_error *err)
{
	struct fg_store *store = NULL;
	int64_t n = 0;
	int rc = role_check(role, true, err);

	if (rc == 0)
		rc = fg_pki_name_check(name, err);
	if (rc == 0)
		rc = store_open(dir, &store, err);
	if (rc == 0)
		rc = fg_store_revoke(store, role, name, "fixgate-server", fg_now_ms(), &n, err);
	fg_store_close(store);
	if (rc < 0)
		return rc;
	printf("revoked %" PRId64 " certificates of %s %s%s\n", n, role, name,
	       fg_serve_notify(dir) ? "" : " (no server runs on the folder)");
	return 0;
}
