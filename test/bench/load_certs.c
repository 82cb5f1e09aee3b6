/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * load_certs SERVER-DIR N OUT-DIR: certificates of N hosts, made and remembered by what enrolment uses, in one transaction.
 * The hosts share a key, for its making takes most of the time.  Prints the list that load_driver takes.
 */
#include <fixgate/protocol.h>
#include <lib/util.h>
#include <openssl/pem.h>
#include <server/config.h>
#include <server/setup/pki.h>
#include <server/store/certs.h>
#include <server/store/store.h>
#include <string.h>

static void must(int rc, const struct fg_error *err)
{
	if (rc >= 0)
		return;
	fprintf(stderr, "load_certs: %s\n", err->text);
	exit(2);
}

static char *csr_make(const char *key_file)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509_REQ *req = X509_REQ_new();
	BIO *out = BIO_new_file(key_file, "w"), *text = BIO_new(BIO_s_mem());
	char *data = NULL;

	if (!key || !req || !out || !text || X509_REQ_set_pubkey(req, key) != 1 ||
	    X509_REQ_sign(req, key, EVP_sha256()) <= 0 ||
	    PEM_write_bio_PrivateKey(out, key, NULL, NULL, 0, NULL, NULL) != 1 ||
	    PEM_write_bio_X509_REQ(text, req) != 1)
		abort();
	BIO_write(text, "", 1);
	BIO_get_mem_data(text, &data);
	char *pem = fg_strdup(data);
	BIO_free(text);
	BIO_free(out);
	X509_REQ_free(req);
	EVP_PKEY_free(key);
	return pem;
}

static void issue(const struct fg_pki_ca *ca, const struct fg_pki_csr *csr, struct fg_store *store, const char *name,
		  const char *file)
{
	struct fg_pki_request request = { .cn = name, .ou = FG_ROLE_AGENT, .use = FG_PKI_CLIENT };
	struct fg_error err = FG_ERROR_INIT;
	struct fg_pki_issued issued;
	fg_autofree char *pem = NULL;

	must(fg_pki_certify(ca, &request, csr, &pem, &issued, &err), &err);
	const struct fg_store_cert cert = { .serial = issued.serial,
					    .role = FG_ROLE_AGENT,
					    .name = name,
					    .not_after_s = issued.not_after_s,
					    .issued_ms = fg_now_ms() };
	must(fg_store_cert_add(store, &cert, "load_certs", "enrol", &err), &err);
	FILE *f = fopen(file, "we");
	bool written = f && fputs(pem, f) >= 0;
	if (f && fclose(f) != 0)
		written = false;
	if (!written) {
		perror(file);
		exit(2);
	}
}

int main(int argc, char **argv)
{
	struct fg_error err = FG_ERROR_INIT;
	struct fg_store *store = NULL;
	struct fg_pki_ca *ca = NULL;
	struct fg_pki_csr *csr = NULL;

	if (argc != 4) {
		fputs("usage: load_certs SERVER-DIR N OUT-DIR\n", stderr);
		return 2;
	}
	fg_autofree char *db = fg_asprintf("%s/%s", argv[1], FG_SERVER_DB);
	fg_autofree char *ca_cert = fg_asprintf("%s/%s", argv[1], FG_SERVER_CA_PEM);
	fg_autofree char *ca_key = fg_asprintf("%s/%s", argv[1], FG_SERVER_CA_KEY);
	fg_autofree char *key = fg_asprintf("%s/key", argv[3]);
	fg_autofree char *pem = csr_make(key);
	must(fg_store_open(db, &store, &err), &err);
	must(fg_pki_ca_open(ca_cert, ca_key, &ca, &err), &err);
	must(fg_pki_csr_read(pem, &csr, &err), &err);
	must(fg_store_begin(store, &err), &err);
	for (unsigned long i = 0, n = strtoul(argv[2], NULL, 10); i < n; i++) {
		fg_autofree char *name = fg_asprintf("fleet-%lu", i), *file = fg_asprintf("%s/%lu.pem", argv[3], i);
		issue(ca, csr, store, name, file);
		printf("%s %s\n", file, key);
	}
	must(fg_store_end(store, 0, &err), &err);
	fg_pki_csr_free(csr);
	fg_pki_ca_close(ca);
	fg_store_close(store);
	return 0;
}
