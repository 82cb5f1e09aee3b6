/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "signer.h"
#include "pki.h"

#include <errno.h>
#include <fixgate/protocol.h>
#include <jansson.h>
#include <lib/log.h>
#include <lib/util.h>
#include <poll.h>
#include <server/config.h>
#include <server/store/certs.h>
#include <string.h>

struct fg_signer {
	struct fg_pki_ca *ca;
};

struct issuing {
	struct fg_signer *signer;
	const struct fg_pki_csr *csr;
	struct fg_pki_issued issued;
};

int fg_signer_load(const char *dir, struct fg_signer **out, struct fg_error *err)
{
	fg_autofree char *cert = fg_asprintf("%s/%s", dir, FG_SERVER_CA_PEM);
	fg_autofree char *key = fg_asprintf("%s/%s", dir, FG_SERVER_CA_KEY);
	struct fg_signer *signer = fg_calloc(1, sizeof(*signer));
	int rc = fg_pki_ca_open(cert, key, &signer->ca, err);

	if (rc < 0) {
		free(signer);
		return rc;
	}
	*out = signer;
	return 0;
}

void fg_signer_free(struct fg_signer *signer)
{
	if (!signer)
		return;
	fg_pki_ca_close(signer->ca);
	free(signer);
}

static int issue(const char *host, struct fg_store_cert *cert, char **pem, void *arg, struct fg_error *err)
{
	struct issuing *i = arg;
	const struct fg_pki_request request = { .cn = host, .ou = FG_ROLE_AGENT, .use = FG_PKI_CLIENT };
	int rc = fg_pki_certify(i->signer->ca, &request, i->csr, pem, &i->issued, err);

	cert->serial = i->issued.serial;
	cert->not_after_s = i->issued.not_after_s;
	return rc;
}

static int renew(struct issuing *i, struct fg_store *store, const json_t *request, char **pem, struct fg_error *err)
{
	struct fg_store_cert cert = { .role = FG_ROLE_AGENT, .issued_ms = fg_now_ms() };
	const char *serial = NULL;
	fg_autofree char *made = NULL;
	int rc = fg_json_string(request, "host", &cert.name, err);

	if (rc == 0)
		rc = fg_json_string(request, "serial", &serial, err);
	if (rc == 0)
		rc = fg_pki_name_check(cert.name, err);
	if (rc == 0)
		rc = fg_store_cert_check(store, serial, cert.role, cert.name, err);
	if (rc == 0)
		rc = issue(cert.name, &cert, &made, i, err);
	if (rc == 0)
		rc = fg_store_cert_add(store, &cert, cert.name, "renew", err);
	if (rc == 0)
		*pem = FG_TAKE(made);
	return rc;
}

static int answer(struct fg_signer *signer, struct fg_store *store, const json_t *request, char **pem,
		  struct fg_error *err)
{
	const char *text = NULL, *code = NULL;
	struct fg_pki_csr *csr = NULL;
	int rc = fg_json_string(request, "csr", &text, err);

	if (rc == 0)
		rc = fg_json_string_opt(request, "code", &code, err);
	if (rc == 0)
		rc = fg_pki_csr_read(text, &csr, err);
	if (rc < 0)
		return rc;
	struct issuing i = { .signer = signer, .csr = csr };
	if (code)
		rc = fg_store_code_use(store, code, fg_pki_csr_key_hash(csr), fg_now_ms(), issue, &i, pem, err);
	else
		rc = renew(&i, store, request, pem, err);
	fg_pki_csr_free(csr);
	return rc;
}

static void handle(struct fg_signer *signer, struct fg_store *store, struct fg_bus *bus, const struct fg_bus_message *m)
{
	struct fg_error err = FG_ERROR_INIT;
	fg_autojson json_t *request = NULL;
	fg_autofree char *pem = NULL;
	int64_t id = 0;
	int rc = fg_json_parse(m->data, m->len, &request, &err);

	if (rc == 0)
		rc = fg_json_int(request, "id", 0, INT64_MAX, &id, &err);
	if (rc == 0)
		rc = answer(signer, store, request, &pem, &err);
	if (rc < 0)
		fg_log_warn("no certificate: %s", err.text);
	fg_autojson json_t *reply =
		rc == 0 ? json_pack("{s:I, s:s}", "id", (json_int_t)id, "certificate", pem)
			: json_pack("{s:I, s:i, s:s}", "id", (json_int_t)id, "code", err.code, "text", err.text);
	fg_autofree char *text = fg_json_dump(reply);
	if (!fg_bus_send(bus, m->from, FG_BUS_SIGNED, text, strlen(text)))
		fg_log_warn("worker %u takes no answers, ignoring", m->from);
}

int fg_signer_run(struct fg_signer *signer, struct fg_store *store, struct fg_bus *bus, struct fg_error *err)
{
	fg_autofree struct fg_bus_message *m = fg_calloc(1, sizeof(*m));
	struct pollfd fd = { .fd = fg_bus_fd(bus), .events = POLLIN };
	bool missed;

	for (;;) {
		if (poll(&fd, 1, -1) < 0 && errno != EINTR)
			return fg_error_errno(err, FG_EFAILED, errno, "poll");
		while (fg_bus_receive(bus, m, &missed))
			if (m->kind == FG_BUS_SIGN)
				handle(signer, store, bus, m);
	}
}
