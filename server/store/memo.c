/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "memo.h"

#include <string.h>

uint64_t fg_memo_moment(struct fg_memo *memo, struct fg_db *db)
{
	struct fg_db_moment now;

	if (!fg_db_moment(db, &now))
		return 0;
	if (!memo->moment || memcmp(&now, &memo->seen, sizeof(now)) != 0) {
		memo->seen = now;
		memo->moment++;
	}
	return memo->moment;
}

/* FNV-1a (draft-eastlake-fnv); NULL if the key is too long. */
static struct fg_memo_slot *slot_of(struct fg_memo *memo, const char *key)
{
	uint32_t hash = 2166136261u;
	size_t len = strlen(key);

	if (len >= FG_MEMO_KEY - 2)
		return NULL;
	for (size_t i = 0; i < len; i++)
		hash = (hash ^ (unsigned char)key[i]) * 16777619u;
	return &memo->slot[(hash ^ hash >> 16) % FG_MEMO_SLOTS];
}

bool fg_memo_get(struct fg_memo *memo, uint64_t moment, const char *key, int64_t values[2])
{
	const struct fg_memo_slot *slot = moment ? slot_of(memo, key) : NULL;

	if (!slot || slot->moment != moment || strcmp(slot->key, key) != 0)
		return false;
	memcpy(values, slot->values, sizeof(slot->values));
	memo->hits++;
	return true;
}

void fg_memo_put(struct fg_memo *memo, uint64_t moment, const char *key, const int64_t values[2])
{
	struct fg_memo_slot *slot = moment ? slot_of(memo, key) : NULL;

	if (!slot)
		return;
	slot->moment = moment;
	memcpy(slot->values, values, sizeof(slot->values));
	memcpy(slot->key, key, strlen(key) + 1);
}

void fg_memo_key(char key[FG_MEMO_KEY], char kind, const char *a, const char *b, const char *c)
{
	const char *const texts[] = { a, b, c };
	size_t len = 0;

	key[len++] = kind;
	for (size_t i = 0; i < FG_COUNT(texts) && texts[i]; i++) {
		size_t n = strlen(texts[i]), room = FG_MEMO_KEY - 2 - len;
		if (n > room)
			n = room;
		memcpy(key + len, texts[i], n);
		len += n;
		if (len < FG_MEMO_KEY - 2)
			key[len++] = '\n';
	}
	key[len] = '\0';
}
