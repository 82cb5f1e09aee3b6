/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "pki.h"
#include "setup.h"

#include <fixgate/protocol.h>
#include <lib/util.h>
#include <server/config.h>
#include <server/store/store.h>
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

static int audit(const char *dir, const char *host, struct fg_error *err)
{
	fg_autofree char *path = fg_asprintf("%s/%s", dir, FG_SERVER_DB);
	fg_autofree char *detail = fg_asprintf("host %s: key and certificate made", host);
	struct fg_store *store = NULL;
	int rc = fg_store_open(path, &store, err);

	if (rc == 0)
		rc = fg_store_audit_add(store, fg_now_ms(), "fixgate-server", "enrol", detail, err);
	fg_store_close(store);
	return rc;
}

int fg_setup_enrol(const char *dir, const char *host, const char *out, struct fg_error *err)
{
	fg_autofree char *ca = fg_asprintf("%s/%s", dir, FG_SERVER_CA_PEM);
	fg_autofree char *ca_key = fg_asprintf("%s/%s", dir, FG_SERVER_CA_KEY);
	fg_autofree char *cert = fg_asprintf("%s/agent.pem", out), *key = fg_asprintf("%s/agent.key", out);
	fg_autofree char *ca_copy = fg_asprintf("%s/%s", out, FG_SERVER_CA_PEM);
	fg_autofree char *text = NULL;
	const char *const made[] = { cert, key, ca_copy };
	struct fg_pki_request agent = { .cn = host, .ou = FG_ROLE_AGENT, .use = FG_PKI_CLIENT };
	size_t len = 0;
	int rc = fg_pki_name_check(host, err);

	if (rc == 0)
		rc = none_there(made, FG_COUNT(made), err);
	if (rc == 0)
		rc = fg_mkdir_p(out, 0700, err);
	if (rc == 0)
		rc = fg_file_read(ca, CA_FILE_MAX, &text, &len, err);
	if (rc == 0)
		rc = audit(dir, host, err);
	if (rc == 0)
		rc = fg_pki_issue(ca, ca_key, &agent, cert, key, err);
	return rc < 0 ? rc : fg_file_write_durable(ca_copy, text, len, 0644, err);
}
