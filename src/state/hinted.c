/*
 * hinted.c
 *	  Reading many rows of a state table by number, see hinted.h.
 *
 * A recommendation reads one row per item of a history, and half of the time
 * of each goes into the descent of the index.  A session therefore remembers
 * which tuple identifier the index gave for a key.  That is no more than a
 * hint: it counts only if the tuple there, or a later version in its chain of
 * heap-only updates, is visible in the snapshot and has the key.  The key is
 * unique, so there can be no other.  In any other case the index is asked.
 *
 * A memory belongs to a relation by its OID and holds about as many hints as
 * the relation has rows, up to a limit.  Numbers are dense, so the place of a
 * hint is the number itself.  A session has a few memories, the oldest gives
 * way.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relscan.h"
#include "access/tableam.h"
#include "storage/bufmgr.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "compat.h"
#include "state/hinted.h"

#define MEMORIES		4
#define MIN_HINTS		1024
#define MAX_HINTS		65536	/* 768 kB */
#define ROWS_PER_BLOCK	16		/* of half a kilobyte, as 50 neighbours are */

typedef struct Hint
{
	int32		key;			/* 0 = none: numbers start at 1 */
	ItemPointerData tid;		/* as in the index */
} Hint;

typedef struct Memory
{
	Oid			relid;
	uint32		n;				/* a power of two */
	Hint	   *hints;			/* by key modulo n */
} Memory;

static Memory memories[MEMORIES];
static int	next_memory = 0;

struct HintedReader
{
	StateTable *table;
	Snapshot	snapshot;
	const Memory *memory;
	BlockNumber nblocks;		/* of the table; hints beyond are old */
	IndexFetchTableData *fetch;
	IndexScanDesc scan;			/* NULL until the index is asked */
};

static const Memory *
memory_of(Oid relid, BlockNumber nblocks)
{
	Memory	   *memory = NULL;
	uint32		n = MIN_HINTS;

	while (n < MAX_HINTS && n < (uint64) nblocks * ROWS_PER_BLOCK)
		n *= 2;
	for (int i = 0; i < MEMORIES; i++)
		if (memories[i].relid == relid)
			memory = &memories[i];
	if (memory && memory->n >= n)
		return memory;
	if (memory == NULL)
	{
		memory = &memories[next_memory];
		next_memory = (next_memory + 1) % MEMORIES;
	}

	/* a new relation, or one that has grown */
	memory->relid = InvalidOid;
	if (memory->hints)
		pfree(memory->hints);
	memory->hints = NULL;
	memory->hints = MemoryContextAllocZero(TopMemoryContext, sizeof(Hint) * n);
	memory->n = n;
	memory->relid = relid;
	return memory;
}

HintedReader *
hinted_begin(StateTable *t, Snapshot snapshot)
{
	HintedReader *reader = palloc0(sizeof(HintedReader));

	reader->table = t;
	reader->snapshot = snapshot;
	reader->nblocks = RelationGetNumberOfBlocks(t->rel);
	reader->memory = memory_of(RelationGetRelid(t->rel), reader->nblocks);
	reader->fetch = table_index_fetch_begin(t->rel);
	return reader;
}

/* Is the row where the hint says?  It is in the slot then. */
static bool
follow_hint(HintedReader *reader, const Hint *hint)
{
	TupleTableSlot *slot = reader->table->slot;
	ItemPointerData tid = hint->tid;
	bool		again = false;
	bool		dead;
	bool		isnull;

	return ItemPointerGetBlockNumber(&tid) < reader->nblocks &&
		table_index_fetch_tuple(reader->fetch, &tid, reader->snapshot, slot, &again, &dead) &&
		DatumGetInt32(slot_getattr(slot, 1, &isnull)) == hint->key && !isnull;
}

static TupleTableSlot *
ask_index(HintedReader *reader, int32 key, Hint *hint)
{
	StateTable *t = reader->table;

	if (reader->scan == NULL)
		reader->scan = compat_index_beginscan(t->rel, t->index, reader->snapshot, 1, 0);
	t->keys[0].sk_argument = Int32GetDatum(key);
	index_rescan(reader->scan, t->keys, 1, NULL, 0);
	while (index_getnext_tid(reader->scan, ForwardScanDirection))
	{
		/* finding the visible version replaces it */
		ItemPointerData tid = reader->scan->xs_heaptid;

		if (index_fetch_heap(reader->scan, t->slot))
		{
			hint->key = key;
			hint->tid = tid;
			return t->slot;
		}
	}
	return NULL;
}

TupleTableSlot *
hinted_get(HintedReader *reader, int32 key)
{
	const Memory *memory = reader->memory;
	Hint	   *hint = &memory->hints[(uint32) key & (memory->n - 1)];

	if (hint->key == key && key != 0 && follow_hint(reader, hint))
		return reader->table->slot;
	return ask_index(reader, key, hint);
}

void
hinted_end(HintedReader *reader)
{
	ExecClearTuple(reader->table->slot);
	table_index_fetch_end(reader->fetch);
	if (reader->scan)
		index_endscan(reader->scan);
	pfree(reader);
}
