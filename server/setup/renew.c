/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The end of the server's certificate. */
#include "pki.h"
#include "setup.h"

#include <lib/log.h>
#include <lib/util.h>
#include <server/config.h>
#include <stdio.h>

#define DAY_S 86400

int fg_setup_renew(const char *dir, char **addresses, size_t n, struct fg_error *err)
{
	fg_autofree char *ca = fg_asprintf("%s/%s", dir, FG_SERVER_CA_PEM);
	fg_autofree char *ca_key = fg_asprintf("%s/%s", dir, FG_SERVER_CA_KEY);
	fg_autofree char *cert = fg_asprintf("%s/%s", dir, FG_SERVER_PEM);
	fg_autofree char *key = fg_asprintf("%s/%s", dir, FG_SERVER_KEY);
	const struct fg_pki_request request = { .cn = "fixgate-server",
						.use = FG_PKI_SERVER,
						.addresses = (const char *const *)addresses,
						.n_addresses = n };
	struct fg_pki_issued issued;
	char when[21];
	int rc = fg_pki_renew(ca, ca_key, &request, cert, key, err);

	if (rc == 0)
		rc = fg_pki_describe(cert, &issued, err);
	if (rc < 0)
		return rc;
	fg_time_format(issued.not_after_s, when);
	printf("valid until %s; a server that runs takes it up when it is reloaded\n", when);
	return 0;
}

static int64_t ends_s(const char *dir, const char *name, int days, const char *advice)
{
	struct fg_error err = FG_ERROR_INIT;
	fg_autofree char *path = fg_asprintf("%s/%s", dir, name);
	struct fg_pki_issued issued;
	char when[21];

	if (fg_pki_describe(path, &issued, &err) < 0) {
		fg_log_warn("%s", err.text);
		return 0;
	}
	if (issued.not_after_s < fg_now_ms() / 1000 + (int64_t)days * DAY_S) {
		fg_time_format(issued.not_after_s, when);
		fg_log_warn("%s ends at %s: %s", name, when, advice);
	}
	return issued.not_after_s;
}

int64_t fg_setup_ends_s(const char *dir)
{
	(void)ends_s(dir, FG_SERVER_CA_PEM, FG_SETUP_WARN_CA_DAYS, "see \"The server CA changes\" in docs/keys.md");
	return ends_s(dir, FG_SERVER_PEM, FG_SETUP_WARN_DAYS, "run fixgate-server renew, and reload");
}
