/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Results of fixgatectl for people. */
#ifndef FG_CTL_PRINT_H
#define FG_CTL_PRINT_H

#include <jansson.h>

void fg_print_result(const char *cmd, const json_t *result);
void fg_print_event(const json_t *event);

#endif
