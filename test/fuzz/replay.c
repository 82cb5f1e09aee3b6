/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * main() for a fuzz target where libFuzzer is not linked: feeds it each file of test/data/<program>/ and, for each,
 * a fixed sequence of damaged copies.  TAP; run from the top of the tree.  A finding is a crash or a sanitizer's report.
 */
#include <lib/util.h>

#include <dirent.h>
#include <string.h>

#include "target.h"

#define DAMAGED_COPIES 2000
#define SEED_MAX (1u << 20)

static uint32_t next_random(uint32_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 17;
	*x ^= *x << 5;
	return *x;
}

/* One to four of: a flipped bit, a byte of interest, a cut, a doubled stretch. */
static size_t damage(uint8_t *bytes, size_t len, size_t max, uint32_t *x)
{
	static const uint8_t interesting[] = { 0, 1, 0x7f, 0x80, 0xff, '"', '{', '[', '\\', 0x30, 0x02, 0x04 };

	for (uint32_t n = 1 + next_random(x) % 4; n && len; n--) {
		size_t at = next_random(x) % len, run = 1 + next_random(x) % 32;
		switch (next_random(x) % 5) {
		case 0:
		case 1:
			bytes[at] ^= (uint8_t)(1u << next_random(x) % 8);
			break;
		case 2:
			bytes[at] = interesting[next_random(x) % sizeof(interesting)];
			break;
		case 3:
			len = next_random(x) % 8 ? len : at;
			break;
		default:
			if (run > len - at)
				run = len - at;
			if (len + run > max)
				break;
			memmove(bytes + at + run, bytes + at, len - at);
			len += run;
		}
	}
	return len;
}

static void feed(const char *seed, size_t len)
{
	uint32_t x = 2463534242u;
	size_t max = 2 * len + 64;

	/* exact copies, so that a sanitizer sees a read behind the end */
	for (int i = 0; i <= DAMAGED_COPIES; i++) {
		fg_autofree uint8_t *work = fg_calloc(max, 1);
		memcpy(work, seed, len);
		size_t n = i ? damage(work, len, max, &x) : len;
		fg_autofree uint8_t *exact = fg_calloc(n, 1);
		memcpy(exact, work, n);
		LLVMFuzzerTestOneInput(exact, n);
	}
}

int main(int argc, char **argv)
{
	const char *name = strrchr(argv[0], '/') ? strrchr(argv[0], '/') + 1 : argv[0];
	fg_autofree char *dir = argc > 1 ? fg_strdup(argv[1]) : fg_asprintf("test/data/%s", name);
	struct dirent **entries = NULL;
	int n = scandir(dir, &entries, NULL, alphasort), done = 0;

	for (int i = 0; i < n; i++) {
		fg_autofree char *path = fg_asprintf("%s/%s", dir, entries[i]->d_name);
		fg_autofree char *seed = NULL;
		size_t len = 0;
		if (entries[i]->d_name[0] != '.' && fg_file_read(path, SEED_MAX, &seed, &len, NULL) == 0) {
			feed(seed, len);
			printf("ok %d - %s/%s\n", ++done, name, entries[i]->d_name);
		}
		free(entries[i]);
	}
	free(entries);
	printf("1..%d\n", done);
	return done ? 0 : 1;
}
