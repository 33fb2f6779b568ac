/*
 * keys.h
 *	  Dictionaries from keys to dense numbers, in memory.
 */
#ifndef RECSYS_KEYS_H
#define RECSYS_KEYS_H

#include "postgres.h"

#include "state/clean.h"

/* A key in a dictionary: the integer itself, or the owned bytes. */
typedef union StoredKey
{
	int64		num;
	char	   *bytes;			/* int32 length, then the bytes */
} StoredKey;

typedef struct KeyMap
{
	MemoryContext context;		/* of slots and bytes; owned by the map */
	KeyColumn  *column;
	uint32		nslots;			/* power of two */
	uint32		nused;
	struct KeySlot
	{
		StoredKey	key;
		int32		number;		/* 0 = free */
		uint32		hash;
	}		   *slots;
	Size		bytes;			/* memory in use */
} KeyMap;

extern KeyMap *keymap_create(MemoryContext parent, const KeyColumn *column);
extern int32 keymap_get(KeyMap *map, const KeyValue *key);	/* 0 if unknown */
extern void keymap_prefetch(KeyMap *map, const KeyValue *key);
/* The key must not be there.  Returns where its bytes are kept. */
extern StoredKey keymap_put(KeyMap *map, const KeyValue *key, int32 number);
extern void keymap_remove(KeyMap *map, const KeyValue *key);
extern void keymap_reset(KeyMap *map);
extern KeyValue keymap_value(const KeyMap *map, StoredKey key);

#endif							/* RECSYS_KEYS_H */
