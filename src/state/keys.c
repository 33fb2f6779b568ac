/*
 * keys.c
 *	  Dictionaries from keys to dense numbers: open addressing with linear
 *	  probing, at most 2/3 full, deletion by shifting back.
 *
 * Bytes of text keys live in the map's memory context until it is reset.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "utils/memutils.h"

#include "state/keys.h"

#define KEYMAP_MIN_SLOTS 1024

static uint32
hash_key(const KeyMap *map, const KeyValue *key)
{
	if (map->column->kind == KEY_INT)
		return murmurhash32((uint32) key->num ^ murmurhash32((uint32) (key->num >> 32)));
	return hash_bytes((const unsigned char *) key->bytes, key->len);
}

static void
allocate_slots(KeyMap *map, uint32 nslots)
{
	map->nslots = nslots;
	map->nused = 0;
	map->slots = MemoryContextAllocExtended(map->context,
											sizeof(map->slots[0]) * (Size) nslots,
											MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	map->bytes += sizeof(map->slots[0]) * (Size) nslots;
}

KeyMap *
keymap_create(MemoryContext parent, const KeyColumn *column)
{
	KeyMap	   *map = MemoryContextAllocZero(parent, sizeof(KeyMap));

	/* of our own: the source is read again whenever its declaration changes */
	map->column = MemoryContextAlloc(parent, sizeof(KeyColumn));
	*map->column = *column;
	map->context = AllocSetContextCreate(parent, "recsys keys", ALLOCSET_DEFAULT_SIZES);
	allocate_slots(map, KEYMAP_MIN_SLOTS);
	return map;
}

void
keymap_reset(KeyMap *map)
{
	MemoryContextReset(map->context);
	map->bytes = 0;
	allocate_slots(map, KEYMAP_MIN_SLOTS);
}

KeyValue
keymap_value(const KeyMap *map, StoredKey stored)
{
	KeyValue	key = {0};

	if (map->column->kind == KEY_INT)
		key.num = stored.num;
	else
	{
		memcpy(&key.len, stored.bytes, sizeof(int32));
		key.bytes = stored.bytes + sizeof(int32);
	}
	return key;
}

static inline bool
same_key(const KeyMap *map, StoredKey stored, const KeyValue *key)
{
	int32		len;

	if (map->column->kind == KEY_INT)
		return stored.num == key->num;
	memcpy(&len, stored.bytes, sizeof(len));
	return len == key->len && memcmp(stored.bytes + sizeof(int32), key->bytes, len) == 0;
}

/* The slot that holds the key, or the free one where it belongs. */
static struct KeySlot *
find_slot(const KeyMap *map, const KeyValue *key, uint32 hash)
{
	uint32		mask = map->nslots - 1;

	for (uint32 at = hash & mask;; at = (at + 1) & mask)
	{
		struct KeySlot *slot = &map->slots[at];

		if (slot->number == 0 ||
			(slot->hash == hash && same_key(map, slot->key, key)))
			return slot;
	}
}

int32
keymap_get(KeyMap *map, const KeyValue *key)
{
	return find_slot(map, key, hash_key(map, key))->number;
}

/* Ask for the memory that keymap_get() will read. */
void
keymap_prefetch(KeyMap *map, const KeyValue *key)
{
	__builtin_prefetch(&map->slots[hash_key(map, key) & (map->nslots - 1)]);
}

static void
grow(KeyMap *map)
{
	struct KeySlot *old = map->slots;
	uint32		nold = map->nslots;
	uint32		mask = nold * 2 - 1;

	allocate_slots(map, nold * 2);
	for (uint32 i = 0; i < nold; i++)
	{
		uint32		at = old[i].hash & mask;

		if (old[i].number == 0)
			continue;
		while (map->slots[at].number != 0)
			at = (at + 1) & mask;
		map->slots[at] = old[i];
		map->nused++;
	}
	map->bytes -= sizeof(old[0]) * (Size) nold;
	pfree(old);
}

StoredKey
keymap_put(KeyMap *map, const KeyValue *key, int32 number)
{
	uint32		hash = hash_key(map, key);
	struct KeySlot *slot;

	if (map->nused >= map->nslots / 3 * 2)
		grow(map);
	slot = find_slot(map, key, hash);
	Assert(slot->number == 0);
	if (map->column->kind == KEY_INT)
		slot->key.num = key->num;
	else
	{
		slot->key.bytes = MemoryContextAlloc(map->context, sizeof(int32) + key->len);
		memcpy(slot->key.bytes, &key->len, sizeof(int32));
		memcpy(slot->key.bytes + sizeof(int32), key->bytes, key->len);
		map->bytes += GetMemoryChunkSpace(slot->key.bytes);
	}
	slot->hash = hash;
	slot->number = number;
	map->nused++;
	return slot->key;
}

void
keymap_remove(KeyMap *map, const KeyValue *key)
{
	uint32		mask = map->nslots - 1;
	struct KeySlot *slot = find_slot(map, key, hash_key(map, key));
	uint32		hole = slot - map->slots;

	if (slot->number == 0)
		return;
	/* Move later members of the run back, unless that passes their home. */
	for (uint32 at = (hole + 1) & mask; map->slots[at].number != 0; at = (at + 1) & mask)
	{
		uint32		home = map->slots[at].hash & mask;

		if (((at - home) & mask) >= ((at - hole) & mask))
		{
			map->slots[hole] = map->slots[at];
			hole = at;
		}
	}
	map->slots[hole].number = 0;
	map->nused--;
}
