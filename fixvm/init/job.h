/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The job as dom0 wrote it into the initramfs (fixgate/fixvm.h).  Strict: unknown keys, values out of range and
 * strings of the wrong form are refused, so that what is here needs no second look.
 */
#ifndef FG_FIXVM_JOB_H
#define FG_FIXVM_JOB_H

#include <fixgate/bundle.h>
#include <fixgate/error.h>
#include <fixgate/fixvm.h>

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#define FG_JOB_BYTES_MAX (256u << 10)
#define FG_JOB_NEIGHBOURS_MAX 16
#define FG_JOB_DISKS_MAX 64
#define FG_JOB_CLOSED_WAIT_S 60

struct fg_job_address {
	int family; /* AF_INET, AF_INET6 */
	uint8_t bytes[16]; /* network order; the first 4 for AF_INET */
	unsigned prefix; /* bits; the whole length where the text has none */
	char text[INET6_ADDRSTRLEN];
};

struct fg_job_neighbour {
	struct fg_job_address address;
	uint8_t mac[6];
};

struct fg_job_disk {
	char vdev[32]; /* "xvda", "vda" */
	bool writable;
};

struct fg_job {
	bool inspect;
	char job[37], guest[37];
	char name[256];
	char nonce[FG_FIXVM_NONCE_HEX + 1];
	int64_t now_s;
	/* Not in mode inspect. */
	struct fg_job_address server;
	uint16_t port;
	char token[257];
	uint8_t mac[6];
	bool dhcp;
	struct fg_job_address address, gateway; /* family 0: none */
	struct fg_job_neighbour neighbours[FG_JOB_NEIGHBOURS_MAX];
	size_t n_neighbours;
	/* Both modes. */
	char digest[FG_DIGEST_HEX];
	uint8_t head_digest[FG_DIGEST_BYTES];
	struct fg_job_disk disks[FG_JOB_DISKS_MAX];
	size_t n_disks;
	int64_t closed_wait_s;
};

/* "10.0.0.1", "fd00::1"; with prefix: "10.0.0.1/24". */
int fg_job_address_parse(const char *text, bool prefix, struct fg_job_address *out, struct fg_error *err) FG_MUST_CHECK;
/* FORMAT (the text names the key) or LIMIT; out is untouched then. */
int fg_job_parse(const char *text, size_t len, struct fg_job *out, struct fg_error *err) FG_MUST_CHECK;

#endif
