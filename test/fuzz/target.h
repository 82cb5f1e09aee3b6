/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A fuzz target as libFuzzer calls it.  https://llvm.org/docs/LibFuzzer.html */
#ifndef FG_FUZZ_TARGET_H
#define FG_FUZZ_TARGET_H

#include <stddef.h>
#include <stdint.h>

#define FUZZ_NOW 1811808000 /* 2027-06-01T00:00:00Z; the seeds are valid then */
#define FUZZ_TRUST "test/data/fuzz_trust"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
