/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Captures in the classic pcap format (pcap-savefile(5)): either byte order, micro- or nanoseconds, Ethernet.
 * A reader of its own: libpcap brings eight more libraries into a command that runs, privileged, for each vif that appears.
 *
 *	fg_pcap_open(&p, file, &err);
 *	while ((rc = fg_pcap_next(&p, &frame, &err)) > 0)
 *		…
 *	fg_pcap_close(&p);
 */
#ifndef FG_FILTER_PCAP_H
#define FG_FILTER_PCAP_H

#include <fixgate/filter.h>

#include <stdio.h>

#define FG_PCAP_FRAME_MAX 262144 /* bytes captured of one frame; libpcap's MAXIMUM_SNAPLEN */

struct fg_pcap {
	FILE *file; /* the caller's */
	uint8_t *buf; /* of the last frame */
	size_t cap;
	bool swapped, nanoseconds;
	uint64_t n; /* frames read */
};

/* FORMAT if it is no such capture, IO if it cannot be read.  Nothing to close after a failure. */
int fg_pcap_open(struct fg_pcap *p, FILE *file, struct fg_error *err) FG_MUST_CHECK;
/* 1 and the next frame, whose bytes are valid until the next call; 0 at the end; FORMAT, LIMIT, IO. */
int fg_pcap_next(struct fg_pcap *p, struct fg_filter_frame *out, struct fg_error *err) FG_MUST_CHECK;
void fg_pcap_close(struct fg_pcap *p);

#endif
