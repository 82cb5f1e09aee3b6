/* SPDX-License-Identifier: GPL-3.0-or-later */
/* fg_filter_list for one guest: its rules only are read, however many guests there are. */
#ifndef FG_FILTER_STATUS_H
#define FG_FILTER_STATUS_H

#include <fixgate/filter.h>

/* *out is NULL if the kernel holds nothing for the guest.  Free with fg_filter_status_free(*out, 1). */
int fg_filter_status_of(struct fg_filter *f, const char *uuid, struct fg_filter_status **out,
			struct fg_error *err) FG_MUST_CHECK;

#endif
