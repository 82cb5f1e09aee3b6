/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "backoff.h"

uint32_t fg_backoff_next_ms(struct fg_backoff *b, uint32_t random)
{
	uint32_t ceiling = FG_BACKOFF_MIN_MS;

	for (unsigned i = 0; i < b->failures && ceiling < FG_BACKOFF_MAX_MS; i++)
		ceiling *= 2;
	if (ceiling >= FG_BACKOFF_MAX_MS)
		ceiling = FG_BACKOFF_MAX_MS;
	else
		b->failures++;
	return ceiling / 2 + random % (ceiling / 2 + 1);
}
