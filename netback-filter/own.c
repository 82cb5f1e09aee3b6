/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "own.h"

#include "filter.h"

bool fg_filter_is_own(const struct fg_filter *f, uint32_t portid)
{
	return portid == f->nft.portid;
}
